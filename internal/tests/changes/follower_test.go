// Package changes follows databases through all that can happen to them, and compares what
// it is told with what they hold. It consists of tests.
package changes

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// follower is told of changes, one after the other, and keeps what they make.
type follower struct {
	at     uint64
	state  fixture.State
	loads  map[uint64]fixture.Commit // what was loaded, by its number: the changes do not tell
	groups int
}

func newFollower() *follower {
	return &follower{state: fixture.State{}, loads: make(map[uint64]fixture.Commit)}
}

// guarded is a context that ends long after the test should have, so that one that waits in
// vain fails.
func guarded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// through follows up to a number.
func (f *follower) through(ctx context.Context, d *db.DB, number uint64) error {
	if f.at >= number {
		return nil
	}
	for c, err := range d.Changes(ctx, f.at) {
		if err == nil {
			err = f.take(c)
		}
		if err != nil {
			return err
		}
		if f.at >= number {
			return nil
		}
	}
	return errors.New("the loop has ended without an error")
}

// take takes one change.
func (f *follower) take(c db.Change) error {
	switch {
	case c.First != f.at+1:
		return fmt.Errorf("a change begins with %d, want %d", c.First, f.at+1)
	case uint64(len(c.Ops)) != c.Seq-c.First+1:
		return fmt.Errorf("a change from %d to %d has %d operations", c.First, c.Seq, len(c.Ops))
	}
	var commit fixture.Commit
	for i, o := range c.Ops {
		converted, err := f.operation(c.First+uint64(i), o)
		if err != nil {
			return err
		}
		commit = append(commit, converted...)
	}
	f.state.Apply(commit)
	f.at = c.Seq
	f.groups++
	return nil
}

// operation is an operation in the words of the model.
func (f *follower) operation(number uint64, o db.Op) (fixture.Commit, error) {
	if o.Kind != db.OpLoad {
		return fixture.Told(o), nil
	}
	loaded := f.loads[number]
	if loaded == nil || string(o.Key) != loaded[0].Key || string(o.End) != loaded[len(loaded)-1].Key+"\x00" {
		return nil, fmt.Errorf("load %d of [%q, %q)", number, o.Key, o.End)
	}
	return loaded, nil
}

// mustBe compares with what a database must hold.
func (f *follower) mustBe(t testing.TB, want fixture.State, now int64) {
	t.Helper()
	if err := fixture.Differ(want.At(now), f.state.At(now)); err != nil {
		t.Fatalf("what was followed up to %d: %v", f.at, err)
	}
}

// follow collects what a number of steps yield, as text, and the error that ends them.
func follow(ctx context.Context, d *db.DB, after uint64, steps int) (list []string, err error) {
	for c, err := range d.Changes(ctx, after) {
		if err != nil {
			return list, err
		}
		text := fmt.Sprintf("%d-%d", c.First, c.Seq)
		for _, o := range c.Ops {
			text += " " + words(o)
		}
		if list = append(list, text); len(list) == steps {
			break
		}
	}
	return list, nil
}

// words says what an operation is.
func words(o db.Op) string {
	switch o.Kind {
	case db.OpPut:
		text := fmt.Sprintf("%s=%s", o.Key, o.Value)
		if !o.Until.IsZero() {
			text += fmt.Sprintf("@%d", o.Until.UnixNano())
		}
		return text
	case db.OpDelete:
		return fmt.Sprintf("-%s", o.Key)
	case db.OpMerge:
		return fmt.Sprintf("%s+%s", o.Key, o.Value)
	}
	end := fmt.Sprintf("%q", o.End)
	if o.End == nil {
		end = "nil"
	}
	return fmt.Sprintf("%s[%q,%s)", o.Kind, o.Key, end)
}
