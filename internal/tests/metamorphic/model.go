package metamorphic

import (
	"bytes"
	"slices"
	"sort"

	"lsmdb/internal/base"
)

// Model is the Store that is right by being simple: a sorted list. Restarting it
// changes nothing but who is closed and what is refused.
type Model struct {
	modelView
	shared   bool // entries belong to somebody else as well
	readOnly bool
}

// NewModel returns an empty model.
func NewModel() *Model { return &Model{modelView: modelView{closed: new(bool)}} }

type modelEntry struct{ key, value []byte }

// Put implements Store, like the rest of the methods.
func (m *Model) Put(key, value []byte, _ Durability) error {
	return m.change(func() { m.put(key, value) })
}

func (m *Model) put(key, value []byte) {
	e := modelEntry{bytes.Clone(key), bytes.Clone(value)}
	if i, found := m.find(key); found {
		m.entries[i] = e
	} else {
		m.entries = slices.Insert(m.entries, i, e)
	}
}

// Delete implements Store.
func (m *Model) Delete(key []byte, _ Durability) error {
	return m.change(func() { m.delete(key) })
}

func (m *Model) delete(key []byte) {
	if i, found := m.find(key); found {
		m.entries = slices.Delete(m.entries, i, i+1)
	}
}

// Apply implements Store.
func (m *Model) Apply(writes []Write, _ Durability) error {
	return m.change(func() {
		for _, w := range writes {
			if w.Delete {
				m.delete(w.Key)
			} else {
				m.put(w.Key, w.Value.Bytes())
			}
		}
	})
}

// Submit implements Store.
func (m *Model) Submit(writes []Write, d Durability) (func() error, error) {
	return func() error { return nil }, m.Apply(writes, d)
}

func (m *Model) change(do func()) error {
	if m.readOnly {
		return base.ErrReadOnly
	}
	if m.shared {
		m.entries, m.shared = slices.Clone(m.entries), false
	}
	do()
	return nil
}

// Sync implements Store.
func (m *Model) Sync() error { return m.change(func() {}) }

// Flush implements Store.
func (m *Model) Flush() error { return m.change(func() {}) }

// Compact implements Store.
func (m *Model) Compact(_, _ []byte) error { return m.change(func() {}) }

// NewSnapshot implements Store.
func (m *Model) NewSnapshot() (Snapshot, error) {
	m.shared = true
	view := m.modelView
	return &view, nil
}

// Restart implements Store.
func (m *Model) Restart(o Operation) error {
	*m.closed = true
	m.closed, m.readOnly = new(bool), o.ReadOnly
	return nil
}

// Close implements Store.
func (m *Model) Close() error { return nil }

// modelView is what one instant looks like.
type modelView struct {
	entries []modelEntry // sorted by key
	closed  *bool        // of the database that it belongs to
}

func (v *modelView) find(key []byte) (int, bool) {
	return slices.BinarySearchFunc(v.entries, key, func(e modelEntry, key []byte) int { return bytes.Compare(e.key, key) })
}

func (v *modelView) Get(key []byte) ([]byte, error) {
	if *v.closed {
		return nil, base.ErrClosed
	}
	i, found := v.find(key)
	if !found {
		return nil, base.ErrNotFound
	}
	return v.entries[i].value, nil
}

func (v *modelView) Has(key []byte) (bool, error) {
	_, found := v.find(key)
	if *v.closed {
		return false, base.ErrClosed
	}
	return found, nil
}

func (v *modelView) NewIterator(lower, upper, prefix []byte) (Iterator, error) {
	if *v.closed {
		return nil, base.ErrClosed
	}
	it := &modelIterator{closed: v.closed, fresh: true}
	for _, e := range v.entries {
		if bytes.HasPrefix(e.key, prefix) && bytes.Compare(e.key, lower) >= 0 && (upper == nil || bytes.Compare(e.key, upper) < 0) {
			it.entries = append(it.entries, e)
		}
	}
	return it, nil
}

func (v *modelView) Close() error { return nil }

// modelIterator stands at one of the entries of its range, or at -1, before the
// first, or behind the last.
type modelIterator struct {
	entries []modelEntry
	at      int
	fresh   bool // it has not moved yet
	closed  *bool
	err     error
}

// to ends every move.
func (it *modelIterator) to(at int) bool {
	it.at, it.fresh = min(max(at, -1), len(it.entries)), false
	if *it.closed {
		it.err = base.ErrClosed
	}
	return it.Valid()
}

func (it *modelIterator) First() bool { return it.to(0) }
func (it *modelIterator) Last() bool  { return it.to(len(it.entries) - 1) }

func (it *modelIterator) Next() bool {
	if it.fresh {
		return it.First()
	}
	return it.to(it.at + 1)
}

func (it *modelIterator) Prev() bool {
	if it.fresh {
		return it.Last()
	}
	return it.to(it.at - 1)
}

func (it *modelIterator) SeekGE(key []byte) bool { return it.to(it.search(key)) }
func (it *modelIterator) SeekLT(key []byte) bool { return it.to(it.search(key) - 1) }

func (it *modelIterator) search(key []byte) int {
	return sort.Search(len(it.entries), func(i int) bool { return bytes.Compare(it.entries[i].key, key) >= 0 })
}

func (it *modelIterator) Valid() bool {
	return it.err == nil && !it.fresh && it.at >= 0 && it.at < len(it.entries)
}

func (it *modelIterator) Key() []byte {
	if !it.Valid() {
		return nil
	}
	return it.entries[it.at].key
}

func (it *modelIterator) Value() []byte {
	if !it.Valid() {
		return nil
	}
	return it.entries[it.at].value
}

func (it *modelIterator) Err() error   { return it.err }
func (it *modelIterator) Close() error { return nil }
