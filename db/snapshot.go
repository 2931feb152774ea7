package db

import (
	"context"

	"lsmdb/internal/view"
	"lsmdb/stages"
)

// Snapshot shows the database as it was at one instant: values that had not ended then
// stay, and later deletes of keys or ranges change nothing. Until it is closed, every
// version it can see is kept, which costs space. It is safe for concurrent use.
type Snapshot struct {
	db   *DB
	at   view.At
	held stages.Snapshot

	// A view has its original and a prefix, and nothing else; see In. An original is its own.
	of     *Snapshot
	prefix []byte
}

// NewSnapshot returns a snapshot of what is visible now. Close it.
func (d *DB) NewSnapshot() (*Snapshot, error) {
	return d.snapshot(context.Background(), view.Caller(2))
}

// snapshot returns a snapshot that was asked for in a place, unless ctx ends before.
func (d *DB) snapshot(ctx context.Context, pc uintptr) (*Snapshot, error) {
	if d.closed.Load() {
		return nil, ErrClosed
	}
	if err := d.catchUpUntil(ctx); err != nil {
		return nil, err
	}
	s := &Snapshot{db: d}
	s.of, s.held.Opened = s, view.Opened{Since: d.clock.Now(), PC: pc}
	if d.pipeline == nil {
		s.at = d.unused.Register(&s.held, d.published.At).At()
	} else {
		s.at = d.pipeline.Acquire(&s.held).At()
	}
	return s, nil
}

// In returns the same snapshot as it is seen from a keyspace: keys are those of k, whatever
// keyspace s is seen from. Closing either closes both.
func (s *Snapshot) In(k *Keyspace) *Snapshot { return &Snapshot{of: s.of, prefix: k.prefix} }

// Get returns a copy of the value that key had, or ErrNotFound.
func (s *Snapshot) Get(key []byte) ([]byte, error) { return s.AppendValue(nil, key) }

// AppendValue appends the value that key had to dst; see DB.AppendValue.
func (s *Snapshot) AppendValue(dst, key []byte) (value []byte, err error) {
	return s.of.look(s.prefix, &look{key: key}).appendValue(dst)
}

// Has reports whether key had a value.
func (s *Snapshot) Has(key []byte) (found bool, err error) {
	return s.of.look(s.prefix, &look{key: key}).has()
}

// GetSize returns the length of the value that key had; see DB.GetSize.
func (s *Snapshot) GetSize(key []byte) (bytes int, err error) {
	return s.of.look(s.prefix, &look{key: key}).size()
}

// NewIterator returns an iterator over what the snapshot shows. It stays usable
// when the snapshot is closed.
func (s *Snapshot) NewIterator(o *IterOptions) (*Iterator, error) {
	return s.of.db.iterate(s.prefix, &s.of.at, nil, &s.of.held.Closed, o)
}

// Close releases what only the snapshot needed. It is idempotent.
func (s *Snapshot) Close() error {
	s = s.of
	switch {
	case !s.held.Closed.CompareAndSwap(false, true):
	case s.db.pipeline == nil:
		s.db.unused.Unregister(&s.held)
	default:
		s.db.pipeline.Release(&s.held)
	}
	return nil
}

// look looks at what the snapshot shows. The state is loaded before the snapshot is asked
// whether it is open: what is published after a Close may lack versions that only this
// snapshot needed.
func (s *Snapshot) look(prefix []byte, l *look) *look {
	if len(prefix) > 0 {
		l.within(prefix, l.key)
	}
	if s.db.lookAt(l); l.State != nil && s.held.Closed.Load() {
		l.Leave()
		l.State = nil
	}
	l.at = s.at
	return l
}
