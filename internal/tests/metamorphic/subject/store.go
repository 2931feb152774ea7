// Package subject makes a database a Store, so that metamorphic histories run on it.
// Only tests import it.
package subject

import (
	"context"
	"errors"
	"fmt"
	"os"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/tests/metamorphic"
)

// Place is where a database lies.
type Place interface {
	// Open opens the database; o is a copy for this call.
	Open(o *db.Options) (*db.DB, error)
	// Verify checks it while it is closed.
	Verify() (*db.VerifyReport, error)
	// End is called before the database is closed, and sees to it that what the Close
	// does changes nothing any more, unless it is a clean one.
	End(metamorphic.End)
	// Remove removes it.
	Remove() error
}

// Open makes a Store of a new database. Options are drawn anew for each open; the
// argument counts them.
func Open(place Place, options func(opening int) db.Options) (metamorphic.Store, error) {
	s := &store{place: place, options: options, clock: fixture.NewClock()}
	s.seen = s.clock.UnixNano()
	return s, s.open(false)
}

type store struct {
	*db.DB
	place    Place
	options  func(opening int) db.Options
	openings int
	readOnly bool
	clock    *fixture.Clock
	seen     int64 // the latest that it stood at
	copies   int   // databases made of checkpoints
}

func (s *store) open(readOnly bool) error {
	o := fixture.Speaking(s.options(s.openings), s.clock)
	s.openings++
	s.readOnly = readOnly
	if readOnly {
		o.ReadOnly, o.InMemory = true, false // the place keeps what is in memory
	}
	var err error
	s.DB, err = s.place.Open(&o)
	return err
}

func durability(d metamorphic.Durability) []db.Durability {
	switch d {
	case metamorphic.Synced:
		return []db.Durability{db.Sync}
	case metamorphic.Unsynced:
		return []db.Durability{db.NoSync}
	case metamorphic.Queued:
		return []db.Durability{db.Queued}
	}
	return nil
}

func (s *store) Put(key, value []byte, d metamorphic.Durability) error {
	return s.DB.Put(key, value, durability(d)...)
}

func (s *store) Delete(key []byte, d metamorphic.Durability) error {
	return s.DB.Delete(key, durability(d)...)
}

func (s *store) Apply(writes []metamorphic.Write, d metamorphic.Durability) error {
	b, err := s.batch(writes)
	if err != nil {
		return err
	}
	return s.DB.Apply(context.Background(), b, durability(d)...)
}

func (s *store) Submit(writes []metamorphic.Write, d metamorphic.Durability) (func() error, error) {
	b, err := s.batch(writes)
	if err != nil {
		return nil, err
	}
	p, err := s.DB.Submit(context.Background(), b, durability(d)...)
	if err != nil {
		return nil, err
	}
	return func() error { return p.Wait(context.Background()) }, nil
}

func (s *store) batch(writes []metamorphic.Write) (*db.Batch, error) {
	b := s.DB.NewBatch()
	var errs []error
	for _, w := range writes {
		errs = append(errs, s.add(b, w))
	}
	return b, errors.Join(errs...)
}

func (s *store) Sync() error  { return s.DB.Sync(context.Background()) }
func (s *store) Flush() error { return s.DB.Flush(context.Background()) }
func (s *store) Compact(start, end []byte) error {
	return s.DB.Compact(context.Background(), start, end)
}

func (s *store) NewIterator(lower, upper, prefix []byte) (metamorphic.Iterator, error) {
	return iterator(s.DB, lower, upper, prefix, false)
}

func (s *store) NewSnapshot() (metamorphic.Snapshot, error) {
	inner, err := s.DB.NewSnapshot()
	if err != nil {
		return nil, err
	}
	return snapshot{wide{inner, s.DB}, inner.Close}, nil
}

// Restart implements metamorphic.Store.
func (s *store) Restart(o metamorphic.Operation) error {
	if o.End == metamorphic.PowerLost && !s.readOnly {
		if err := s.Sync(); err != nil {
			return err
		}
	}
	if o.End == metamorphic.Killed && !s.readOnly { // which may take what is Queued, unless somebody has read since
		if _, err := s.DB.Has(nil); err != nil {
			return err
		}
	}
	if o.End != metamorphic.CleanClose || s.readOnly {
		s.clock.Set(s.seen) // only a clean close keeps what was seen
	}
	s.place.End(o.End)
	if err := s.DB.Close(); err != nil && o.End == metamorphic.CleanClose {
		return err
	}
	if o.Verify {
		report, err := s.place.Verify()
		if err != nil {
			return err
		}
		if !report.OK() {
			return fmt.Errorf("Verify found %+v", report.Problems)
		}
	}
	return s.open(o.ReadOnly)
}

// Close implements metamorphic.Store.
func (s *store) Close() error {
	var err error
	if s.DB != nil { // nil after an open that failed
		err = s.DB.Close()
	}
	return errors.Join(err, s.place.Remove())
}

// Directory is a Place on the real file system. Nothing takes its power and nobody
// kills it: its ends are all clean.
type Directory string

// Open implements Place.
func (d Directory) Open(o *db.Options) (*db.DB, error) { return db.Open(string(d), o) }

// Verify implements Place.
func (d Directory) Verify() (*db.VerifyReport, error) {
	return db.Verify(context.Background(), string(d), nil)
}

// End implements Place.
func (d Directory) End(metamorphic.End) {}

// Remove implements Place.
func (d Directory) Remove() error { return os.RemoveAll(string(d)) }
