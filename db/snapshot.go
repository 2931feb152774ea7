package db

import (
	"sync/atomic"

	"lsmdb/internal/base"
	"lsmdb/internal/view"
	"lsmdb/stages"
)

// Snapshot shows the database as it was at one instant. Until it is closed, every
// version it can see is kept, which costs space. It is safe for concurrent use.
type Snapshot struct {
	db     *DB
	seq    base.Seq
	held   *stages.Snapshot // nil in a read-only database, where nothing is ever dropped
	closed atomic.Bool
}

// NewSnapshot returns a snapshot of what is visible now. Close it.
func (d *DB) NewSnapshot() (*Snapshot, error) {
	if d.closed.Load() {
		return nil, ErrClosed
	}
	s := &Snapshot{db: d}
	if d.pipeline == nil {
		s.seq = d.published.Visible()
		return s, nil
	}
	s.held = d.pipeline.Acquire()
	s.seq = s.held.Seq()
	return s, nil
}

// at is the instant that it shows.
func (s *Snapshot) at() view.At { return view.At{Seq: s.seq} }

// Get returns a copy of the value that key had, or ErrNotFound.
func (s *Snapshot) Get(key []byte) ([]byte, error) { return s.AppendValue(nil, key) }

// AppendValue appends the value that key had to dst; see DB.AppendValue.
func (s *Snapshot) AppendValue(dst, key []byte) ([]byte, error) {
	r, err := s.enter()
	if err != nil {
		return dst, err
	}
	return appendValue(dst, r, s.at(), key)
}

// Has reports whether key had a value.
func (s *Snapshot) Has(key []byte) (bool, error) {
	r, err := s.enter()
	if err != nil {
		return false, err
	}
	return has(r, s.at(), key)
}

// NewIterator returns an iterator over what the snapshot shows. It stays usable
// when the snapshot is closed.
func (s *Snapshot) NewIterator(o *IterOptions) (*Iterator, error) {
	r, err := s.enter()
	if err != nil {
		return nil, err
	}
	return newIterator(s.db, r, s.at(), o)
}

// Close releases what only the snapshot needed. It is idempotent.
func (s *Snapshot) Close() error {
	if s.closed.CompareAndSwap(false, true) && s.held != nil {
		s.db.pipeline.Release(s.held)
	}
	return nil
}

// enter returns what to search, and to leave then. It is loaded before the snapshot is
// asked whether it is open: what is published after a Close may lack versions that only
// this snapshot needed.
func (s *Snapshot) enter() (view.Reading, error) {
	r := s.db.published.Enter()
	if s.closed.Load() || s.db.closed.Load() {
		r.Leave()
		return r, ErrClosed
	}
	return r, nil
}
