package beside

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"time"

	"lsmdb/db"
	"lsmdb/internal/inside"
)

// Direct reads a database that this process has open. Whoever asks may leave: then it neither
// waits for what was Queued, nor goes on copying.
type Direct struct{ DB *db.DB }

// snapshot is what there is now, to be read without waiting for anybody.
func (d Direct) snapshot(ctx context.Context) (*db.Snapshot, error) {
	s, err := inside.Snapshot(ctx, d.DB)
	if err != nil {
		return nil, err
	}
	return s.(*db.Snapshot), nil
}

// Get implements Reader. The snapshot holds value and end to one instant.
func (d Direct) Get(ctx context.Context, key []byte) (e Entry, err error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return e, err
	}
	defer s.Close()
	value, err := s.Get(key)
	if err != nil {
		return e, err
	}
	until, err := Until(s, key)
	return Entry{Key: key, Value: value, Until: until}, err
}

// GetSize implements Reader.
func (d Direct) GetSize(ctx context.Context, key []byte) (int, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	return s.GetSize(key)
}

// Scan implements Reader.
func (d Direct) Scan(ctx context.Context, q Query, visit func(Entry) error) error {
	s, err := d.snapshot(ctx)
	if err != nil {
		return err
	}
	it, err := s.NewIterator(q.options())
	_ = s.Close() // the iterator holds what it shows
	if err != nil {
		return err
	}
	defer it.Close()
	n := int64(0)
	return Walk(ctx, it, q.Reverse, func(key, value []byte) (bool, error) {
		n++
		return n != q.Limit, visit(Entry{Key: key, Value: value, Until: it.Until()})
	})
}

// Count implements Reader.
func (d Direct) Count(ctx context.Context, q Query) (c Counts, err error) {
	err = d.Scan(ctx, q, func(e Entry) error {
		c.Entries++
		c.KeyBytes += int64(len(e.Key))
		c.ValueBytes += int64(len(e.Value))
		if !e.Until.IsZero() {
			c.Ending++
		}
		return nil
	})
	return c, err
}

// Metrics implements Reader.
func (d Direct) Metrics(context.Context) (db.Metrics, error) { return d.DB.Metrics(), nil }

// Health implements Reader.
func (d Direct) Health(context.Context) (string, error) {
	if wrong := d.DB.Health(); wrong != nil {
		return wrong.Error(), nil
	}
	return "", nil
}

// Pins implements Reader.
func (d Direct) Pins(context.Context) ([]db.Pin, error) { return d.DB.Pins(), nil }

// SpaceOf implements Reader.
func (d Direct) SpaceOf(ctx context.Context, start, end []byte) (db.Space, error) {
	return d.DB.SpaceOf(ctx, start, end)
}

// Explain implements Reader.
func (d Direct) Explain(ctx context.Context, key []byte) (db.Explanation, error) {
	return d.DB.Explain(ctx, key)
}

// Checkpoint implements Reader.
func (d Direct) Checkpoint(ctx context.Context, dir string) (made Copied, err error) {
	c, err := d.DB.NewCheckpoint(ctx)
	if err != nil {
		return made, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	err = inside.Link(ctx, c, dir)
	made.Sequence = c.Seq()
	for f := range c.Files() {
		made.Files++
		made.Bytes += f.Bytes
	}
	return made, err
}

// Close implements Reader. It closes the database.
func (d Direct) Close() error { return d.DB.Close() }

// Walk calls visit for each entry in the direction until it returns false.
func Walk(ctx context.Context, it *db.Iterator, reverse bool, visit func(key, value []byte) (more bool, err error)) error {
	entries := iter.Seq2[[]byte, []byte](it.All())
	if reverse {
		entries = it.Backward()
	}
	n := 0
	for key, value := range entries {
		if n++; n%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if more, err := visit(key, value); err != nil || !more {
			return err
		}
	}
	return it.Err()
}

// Until says when the value of a key ends; zero: never, or there is none.
func Until(in interface {
	NewIterator(o *db.IterOptions) (*db.Iterator, error)
}, key []byte) (until time.Time, err error) {
	it, err := in.NewIterator(&db.IterOptions{Lower: key, Upper: append(bytes.Clone(key), 0), KeysOnly: true})
	if err != nil {
		return until, err
	}
	defer it.Close()
	if it.First() {
		until = it.Until()
	}
	return until, it.Err()
}
