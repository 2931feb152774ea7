package db

import (
	"sync/atomic"

	"lsmdb/internal/view"
	"lsmdb/stages"
)

// Snapshot shows the database as it was at one instant: values that had not ended then
// stay, and later deletes of keys or ranges change nothing. Until it is closed, every
// version it can see is kept, which costs space. It is safe for concurrent use.
type Snapshot struct {
	db     *DB
	at     view.At
	held   stages.Snapshot // not in a read-only database, where nothing is ever dropped
	closed atomic.Bool

	// A view has its original and a prefix, and nothing else; see In.
	of     *Snapshot
	prefix []byte
}

// NewSnapshot returns a snapshot of what is visible now. Close it.
func (d *DB) NewSnapshot() (*Snapshot, error) {
	if d.closed.Load() {
		return nil, ErrClosed
	}
	s := &Snapshot{db: d}
	if d.pipeline == nil {
		s.at = d.published.At()
		return s, nil
	}
	s.at = d.pipeline.Acquire(&s.held).At()
	return s, nil
}

// In returns the same snapshot as it is seen from a keyspace: keys are those of k, whatever
// keyspace s is seen from. Closing either closes both.
func (s *Snapshot) In(k *Keyspace) *Snapshot { return &Snapshot{of: s.original(), prefix: k.prefix} }

// original returns the snapshot that is registered.
func (s *Snapshot) original() *Snapshot {
	if s.of != nil {
		return s.of
	}
	return s
}

// Get returns a copy of the value that key had, or ErrNotFound.
func (s *Snapshot) Get(key []byte) ([]byte, error) { return s.AppendValue(nil, key) }

// AppendValue appends the value that key had to dst; see DB.AppendValue.
func (s *Snapshot) AppendValue(dst, key []byte) (value []byte, err error) {
	value = dst
	err = s.read(key, func(r view.Reading, at view.At, key []byte) error {
		value, err = appendValue(dst, r, at, key)
		return err
	})
	return value, err
}

// Has reports whether key had a value.
func (s *Snapshot) Has(key []byte) (found bool, err error) {
	err = s.read(key, func(r view.Reading, at view.At, key []byte) error { found, err = has(r, at, key); return err })
	return found, err
}

// GetSize returns the length of the value that key had; see DB.GetSize.
func (s *Snapshot) GetSize(key []byte) (bytes int, err error) {
	err = s.read(key, func(r view.Reading, at view.At, key []byte) error { bytes, err = getSize(r, at, key); return err })
	return bytes, err
}

// read has look look up a key, and leave.
func (s *Snapshot) read(key []byte, look func(r view.Reading, at view.At, whole []byte) error) error {
	r, err := s.enter()
	if err != nil {
		return err
	}
	if len(s.prefix) > 0 {
		w := whole(s.prefix, key)
		defer wholes.Put(w)
		key = *w
	}
	return look(r, s.original().at, key)
}

// NewIterator returns an iterator over what the snapshot shows. It stays usable
// when the snapshot is closed.
func (s *Snapshot) NewIterator(o *IterOptions) (*Iterator, error) {
	r, err := s.enter()
	if err != nil {
		return nil, err
	}
	return newIterator(s.original().db, r, s.original().at, s.prefix, o)
}

// Close releases what only the snapshot needed. It is idempotent.
func (s *Snapshot) Close() error {
	s = s.original()
	if s.closed.CompareAndSwap(false, true) && s.db.pipeline != nil {
		s.db.pipeline.Release(&s.held)
	}
	return nil
}

// enter returns what to search, and to leave then. It is loaded before the snapshot is
// asked whether it is open: what is published after a Close may lack versions that only
// this snapshot needed.
func (s *Snapshot) enter() (view.Reading, error) {
	s = s.original()
	r := s.db.published.Enter()
	if s.closed.Load() || s.db.closed.Load() {
		r.Leave()
		return r, ErrClosed
	}
	return r, nil
}
