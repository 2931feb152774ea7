package attach_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/beside"
	"lsmdb/internal/tests/fixture"
)

// follow collects changes up to a number.
func follow(changes func(yield func(db.Change, error) bool), until uint64) (all []db.Change, err error) {
	for c, err := range changes {
		if err != nil {
			return all, err
		}
		kept := db.Change{First: c.First, Seq: c.Seq}
		for _, o := range c.Ops {
			o.Key, o.Value, o.End = clone(o.Key), clone(o.Value), clone(o.End)
			if !o.Until.IsZero() {
				o.Until = time.Unix(0, o.Until.UnixNano())
			}
			kept.Ops = append(kept.Ops, o)
		}
		if all = append(all, kept); c.Seq >= until {
			break
		}
	}
	return all, nil
}

// clone keeps nil apart from what is empty.
func clone(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append([]byte{}, b...)
}

// Who follows through the socket sees what somebody sees who has the database, as it comes.
func TestChanges(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, &db.Options{Merger: &db.Merger{Name: fixture.MergerName, Merge: fixture.MergeFold}, KeepChangesBytes: 1 << 20})
	serve(t, d, forever)
	c := dial(t, dir)
	began, came := make(chan struct{}), make(chan error, 1)
	var remote []db.Change
	fixture.Must(t, d.Put([]byte("first"), nil))
	go func() {
		var err error
		remote, err = follow(func(yield func(db.Change, error) bool) {
			for change, err := range c.Changes(t.Context(), 0) {
				if change.First == 1 {
					close(began)
				}
				if !yield(change, err) {
					return
				}
			}
		}, 8)
		came <- err
	}()
	<-began
	fixture.Must(t, d.Put([]byte("a"), []byte("1")))
	fixture.Must(t, d.PutUntil([]byte("b"), []byte{}, fixture.Epoch))
	fixture.Must(t, d.Delete([]byte("a")))
	fixture.Must(t, d.DeleteRange([]byte("a"), []byte("c")))
	fixture.Must(t, d.DeleteRange([]byte("x"), nil))
	fixture.Must(t, d.Merge([]byte("m"), []byte("operand")))
	fixture.Must(t, fixture.Commit{{Key: "k", Value: "loaded"}}.Load(t.Context(), d))
	fixture.Must(t, <-came)
	own, err := follow(d.Changes(t.Context(), 0), 8)
	fixture.Must(t, err)
	flat := func(all []db.Change) (ops []db.Op) { // however they were grouped
		for _, c := range all {
			ops = append(ops, c.Ops...)
		}
		return ops
	}
	if a, b := flat(own), flat(remote); len(a) != 8 || !reflect.DeepEqual(a, b) {
		t.Errorf("here  %+v\nthere %+v", a, b)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = follow(c.Changes(ctx, 8), 9)
	fixture.WantErr(t, "a context that has ended", err, context.Canceled)
	go func() {
		_, err := follow(c.Changes(t.Context(), 8), 9)
		came <- err
	}()
	fixture.Must(t, d.Close())
	fixture.WantErr(t, "when the database is closed", <-came, beside.ErrLost)
}

// What was given up is said on the other side, too.
func TestChangesTrimmed(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, &db.Options{KeepChangesBytes: -1})
	serve(t, d, forever)
	fixture.Must(t, d.Put([]byte("a"), []byte("1")))
	fixture.Must(t, d.Flush(t.Context()))
	fixture.Must(t, d.Put([]byte("a"), []byte("2")))
	var here, there *db.TrimmedError
	eventually(t, "it was given up", func() bool {
		_, err := follow(d.Changes(t.Context(), 0), 1)
		return errors.As(err, &here)
	})
	_, err := follow(dial(t, dir).Changes(t.Context(), 0), 1)
	if !errors.As(err, &there) || *here != *there {
		t.Errorf("here %v, there %v", here, err)
	}
}
