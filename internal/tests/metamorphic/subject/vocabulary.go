package subject

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/tests/metamorphic"
)

// Copying is a Place that has room for databases made of checkpoints.
type Copying interface {
	// OpenCopy makes of a checkpoint the n-th of them. Remove removes it.
	OpenCopy(c *db.Checkpoint, n int, o *db.Options) (d *db.DB, remove func() error, err error)
}

// OpenCopy implements Copying.
func (d Directory) OpenCopy(c *db.Checkpoint, n int, o *db.Options) (*db.DB, func() error, error) {
	dir := fmt.Sprintf("%s-checkpoint-%d", d, n)
	if err := c.Link(dir); err != nil {
		return nil, nil, err
	}
	copied, err := db.Open(dir, o)
	return copied, func() error { return os.RemoveAll(dir) }, err
}

// wide is a Reader that knows the whole vocabulary.
type wide struct {
	fixture.Reader
	db *db.DB
}

// iterator opens one.
func iterator(from fixture.Reader, lower, upper, prefix []byte, keysOnly bool) (metamorphic.Iterator, error) {
	it, err := from.NewIterator(&db.IterOptions{Lower: lower, Upper: upper, Prefix: prefix, KeysOnly: keysOnly})
	if err != nil {
		return nil, err
	}
	return ending{it}, nil
}

// ending tells of an iterator until when values are there.
type ending struct{ *db.Iterator }

func (it ending) Until() int64 { return fixture.Until(it.Iterator) }

func (r wide) NewIterator(lower, upper, prefix []byte) (metamorphic.Iterator, error) {
	return iterator(r.Reader, lower, upper, prefix, false)
}

func (r wide) NewKeyIterator(lower, upper, prefix []byte) (metamorphic.Iterator, error) {
	return iterator(r.Reader, lower, upper, prefix, true)
}

func (r wide) Size(key []byte) (int, error) { return r.Reader.GetSize(key) }

func (r wide) In(space []byte) metamorphic.Reader {
	k := r.db.Keyspace(space)
	switch from := r.Reader.(type) {
	case *db.Snapshot:
		return wide{from.In(k), r.db}
	case *db.Tx:
		return wide{from.In(k), r.db}
	}
	return wide{k, r.db}
}

type snapshot struct {
	wide
	close func() error
}

func (s snapshot) Close() error { return s.close() }

func (s *store) wide() wide { return wide{s.DB, s.DB} }

func (s *store) Size(key []byte) (int, error)       { return s.wide().Size(key) }
func (s *store) In(space []byte) metamorphic.Reader { return s.wide().In(space) }
func (s *store) NewKeyIterator(lower, upper, prefix []byte) (metamorphic.Iterator, error) {
	return s.wide().NewKeyIterator(lower, upper, prefix)
}

// spaced is where a write of a batch or a transaction goes: the same, seen from a keyspace.
func (s *store) spaced(to fixture.Writer, w metamorphic.Write) fixture.Writer {
	if w.Space == nil {
		return to
	}
	k := s.DB.Keyspace(w.Space)
	if tx, ok := to.(*db.Tx); ok {
		return tx.In(k)
	}
	return to.(*db.Batch).In(k)
}

// add adds a write to a batch or a transaction.
func (s *store) add(to fixture.Writer, w metamorphic.Write) error {
	key, value, end := clone(w.Key), w.Value.Bytes(), clone(w.End)
	defer fixture.Clobber(key, value, end)
	to = s.spaced(to, w)
	switch {
	case w.Range:
		return to.DeleteRange(key, end)
	case w.Delete:
		return to.Delete(key)
	case w.Merge:
		return to.Merge(key, value)
	case w.Until != 0:
		return to.PutUntil(key, value, at(w.Until))
	}
	return to.Put(key, value)
}

// clone keeps nil, which as an end is no bound.
func clone(key []byte) []byte {
	if key == nil {
		return nil
	}
	return append([]byte{}, key...)
}

func at(seconds int) time.Time { return fixture.Epoch.Add(time.Duration(seconds) * time.Second) }

// direct is what a database and a keyspace have in common.
type direct interface {
	Put(key, value []byte, w ...db.Durability) error
	Delete(key []byte, w ...db.Durability) error
	DeleteRange(start, end []byte, w ...db.Durability) error
	Merge(key, operand []byte, w ...db.Durability) error
	PutUntil(key, value []byte, until time.Time, w ...db.Durability) error
}

// Write implements metamorphic.Vocabulary.
func (s *store) Write(w metamorphic.Write, d metamorphic.Durability) error {
	key, value, end := clone(w.Key), w.Value.Bytes(), clone(w.End)
	defer fixture.Clobber(key, value, end)
	var to direct = s.DB
	if w.Space != nil {
		to = s.DB.Keyspace(w.Space)
	}
	switch {
	case w.Range:
		return to.DeleteRange(key, end, durability(d)...)
	case w.Delete:
		return to.Delete(key, durability(d)...)
	case w.Merge:
		return to.Merge(key, value, durability(d)...)
	case w.Until != 0:
		return to.PutUntil(key, value, at(w.Until), durability(d)...)
	}
	return to.Put(key, value, durability(d)...)
}

// Load implements metamorphic.Vocabulary.
func (s *store) Load(writes []metamorphic.Write) error {
	var c fixture.Commit
	for _, w := range writes {
		c = append(c, fixture.Operation{Key: string(w.Key), Value: string(w.Value.Bytes())})
	}
	return c.Load(context.Background(), s.DB)
}

// SetClock implements metamorphic.Vocabulary.
func (s *store) SetClock(seconds int) {
	s.clock.Set(at(seconds).UnixNano())
	s.seen = max(s.seen, s.clock.UnixNano())
}

// Begin implements metamorphic.Vocabulary.
func (s *store) Begin() (metamorphic.Tx, error) {
	tx, err := s.DB.Begin()
	if err != nil {
		return nil, err
	}
	return transaction{wide{tx, s.DB}, tx, s}, nil
}

type transaction struct {
	wide
	tx    *db.Tx
	store *store
}

func (t transaction) Write(w metamorphic.Write) error { return t.store.add(t.tx, w) }

func (t transaction) Commit(d metamorphic.Durability) error {
	err := t.tx.Commit(context.Background(), durability(d)...)
	if errors.Is(err, db.ErrConflict) {
		return metamorphic.ErrConflict
	}
	return err
}

func (t transaction) Close() error {
	t.tx.Discard()
	return nil
}

// Checkpoint implements metamorphic.Vocabulary.
func (s *store) Checkpoint() (metamorphic.Snapshot, error) {
	place, ok := s.place.(Copying)
	if !ok {
		return s.NewSnapshot()
	}
	c, err := s.DB.NewCheckpoint(context.Background())
	if err != nil {
		return nil, err
	}
	s.copies++
	o := fixture.Speaking(s.options(s.openings), s.clock)
	o.InMemory = false
	d, remove, err := place.OpenCopy(c, s.copies, &o)
	if err = errors.Join(err, c.Close()); err != nil {
		return nil, err
	}
	return snapshot{wide{d, d}, func() error { return errors.Join(d.Close(), remove()) }}, nil
}
