package db

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"testing"
)

// history is the model of a database: what it must show now, and which of its
// states may come back after it was killed or lost its power.
type history struct {
	now     view
	start   view     // at the last open
	startAt uint64   // its sequence number
	commits []commit // since then, in order
	durable int      // so many of them must survive a power failure
}

// view is what one instant looks like. Views share their values.
type view map[string]string

// commit is what became visible at once, one sequence number for each operation.
type commit []operation

type operation struct {
	key, value string
	delete     bool
}

func (v view) apply(c commit) {
	for _, o := range c {
		if o.delete {
			delete(v, o.key)
		} else {
			v[o.key] = o.value
		}
	}
}

// add notes a commit that was acknowledged.
func (h *history) add(c commit, d Durability) {
	if len(c) > 0 {
		h.now.apply(c)
		h.commits = append(h.commits, c)
	}
	if d == Sync {
		h.durable = len(h.commits)
	}
}

// reopened checks what an open found: the state after some commit, at least after
// the first `certain` ones. It becomes the new beginning.
func (h *history) reopened(certain int, sequence uint64, found view) error {
	expected, at := maps.Clone(h.start), h.startAt
	for n := 0; ; n++ {
		if at == sequence && n >= certain {
			if err := differ(expected, found); err != nil {
				return fmt.Errorf("after commit %d of %d: %w", n, len(h.commits), err)
			}
			*h = history{now: expected, start: maps.Clone(expected), startAt: at}
			return nil
		}
		if n == len(h.commits) || at > sequence {
			return fmt.Errorf("sequence number %d after the open is not the end of a commit from %d on (%d) up to %d (%d)",
				sequence, certain, h.sequenceAfter(certain), len(h.commits), h.sequenceAfter(len(h.commits)))
		}
		expected.apply(h.commits[n])
		at += uint64(len(h.commits[n]))
	}
}

func (h *history) sequenceAfter(commits int) uint64 {
	at := h.startAt
	for _, c := range h.commits[:commits] {
		at += uint64(len(c))
	}
	return at
}

// differ names a key that two views disagree about.
func differ(want, got view) error {
	for k, v := range want {
		if g, ok := got[k]; !ok {
			return fmt.Errorf("key %s is missing (%d of %d keys are there)", short(k), len(got), len(want))
		} else if g != v {
			return fmt.Errorf("key %s has value %s, want %s", short(k), short(g), short(v))
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			return fmt.Errorf("key %s should not be there (%d keys instead of %d)", short(k), len(got), len(want))
		}
	}
	return nil
}

func short(s string) string {
	if len(s) <= 24 {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q... (%d bytes)", s[:24], len(s))
}

// modelIterator is an iterator together with what it must show.
type modelIterator struct {
	*Iterator
	name string
	view view
	keys []string // of the range
	at   int      // index into keys; -1: before the first; len(keys): behind the last
	none bool     // not positioned yet
}

func newModelIterator(it *Iterator, v view, o *IterOptions) *modelIterator {
	m := &modelIterator{Iterator: it, view: v, none: true, name: "iterator over everything"}
	for k := range v {
		if o == nil || within(o, k) {
			m.keys = append(m.keys, k)
		}
	}
	slices.Sort(m.keys)
	if o != nil {
		m.name = fmt.Sprintf("iterator from %s (nil: %v) to %s (nil: %v) prefix %s",
			short(string(o.Lower)), o.Lower == nil, short(string(o.Upper)), o.Upper == nil, short(string(o.Prefix)))
	}
	return m
}

func within(o *IterOptions, key string) bool {
	return strings.HasPrefix(key, string(o.Prefix)) && key >= string(o.Lower) && (o.Upper == nil || key < string(o.Upper))
}

// move makes the same move on both sides and compares. op is one of the letters
// f(irst), l(ast), n(ext), p(rev), g(e), s(eek less than).
func (m *modelIterator) move(op byte, key string) error {
	var ok bool
	switch op {
	case 'f':
		ok, m.at = m.First(), 0
	case 'l':
		ok, m.at = m.Last(), len(m.keys)-1
	case 'n':
		ok = m.Next()
		if m.none {
			m.at = -1
		}
		m.at = min(m.at+1, len(m.keys))
	case 'p':
		ok = m.Prev()
		if m.none {
			m.at = len(m.keys)
		}
		m.at = max(m.at-1, -1)
	case 'g':
		ok, m.at = m.SeekGE([]byte(key)), sort.SearchStrings(m.keys, key)
	case 's':
		ok, m.at = m.SeekLT([]byte(key)), sort.SearchStrings(m.keys, key)-1
	}
	m.none = false
	if err := m.compare(ok); err != nil {
		return fmt.Errorf("%s, move %c %s: %w", m.name, op, short(key), err)
	}
	return nil
}

func (m *modelIterator) compare(ok bool) error {
	if err := m.Err(); err != nil {
		return err
	}
	want := m.at >= 0 && m.at < len(m.keys)
	if ok != want || m.Valid() != want {
		return fmt.Errorf("returned %v, Valid %v, want %v (key %s, place %d of %d)", ok, m.Valid(), want, short(string(m.Key())), m.at, len(m.keys))
	}
	if !want {
		if m.Key() != nil || m.Value() != nil {
			return fmt.Errorf("not valid, but shows %q", m.Key())
		}
		return nil
	}
	key := m.keys[m.at]
	if string(m.Key()) != key || string(m.Value()) != m.view[key] {
		return fmt.Errorf("shows %s = %s, want %s = %s", short(string(m.Key())), short(string(m.Value())), short(key), short(m.view[key]))
	}
	return nil
}

// scan reads everything in both directions.
func (m *modelIterator) scan() error {
	if err := m.move('f', ""); err != nil {
		return err
	}
	for m.Valid() {
		if err := m.move('n', ""); err != nil {
			return err
		}
	}
	for ok := true; ok; ok = m.Valid() {
		if err := m.move('p', ""); err != nil {
			return err
		}
	}
	return nil
}

// contents reads a whole database by its iterator.
func contents(t testing.TB, d *DB) view {
	t.Helper()
	it, err := d.NewIterator(nil)
	must(t, err)
	v := view{}
	for key, value := range it.All() {
		v[string(key)] = string(value)
	}
	must(t, it.Close())
	return v
}
