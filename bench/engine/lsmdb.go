package engine

import (
	"context"
	"errors"
	"iter"
	"time"

	"lsmdb/db"
)

var lsmdbKind = Kind{
	Name: "lsmdb", Fixed: "this checkout", Go: true, LSM: true, Queues: true,
	Can:  []Ability{Transactions, Loads, RangeDeletes, Expiry, Checkpoints, Zstd},
	Open: openLsmdb,
	Settings: func(Options) []string {
		return []string{"defaults otherwise"}
	},
}

type lsmdbEngine struct{ d *db.DB }

func openLsmdb(o Options) (Engine, error) {
	durability := db.NoSync
	switch {
	case o.Sync:
		durability = db.Sync
	case o.Queued:
		durability = db.Queued
	}
	compression := db.Snappy
	if o.Zstd {
		compression = db.Zstd
	}
	d, err := db.Open(o.Dir, &db.Options{
		Durability:       durability,
		MemtableBytes:    o.MemtableBytes,
		CacheBytes:       o.CacheBytes,
		FilterBitsPerKey: o.FilterBits,
		Compression:      compression,
	})
	if err != nil {
		return nil, err
	}
	return &lsmdbEngine{d: d}, nil
}

func (e *lsmdbEngine) Get(dst, key []byte) ([]byte, error) {
	return lsmdbValue(e.d.AppendValue(dst, key))
}

func lsmdbValue(value []byte, err error) ([]byte, error) {
	if errors.Is(err, db.ErrNotFound) {
		return value, ErrNotFound
	}
	return value, err
}

func (e *lsmdbEngine) Put(key, value []byte) error { return e.d.Put(key, value) }
func (e *lsmdbEngine) Delete(key []byte) error     { return e.d.Delete(key) }
func (e *lsmdbEngine) Flush() error                { return e.d.Flush(context.Background()) }
func (e *lsmdbEngine) Close() error                { return e.d.Close() }
func (e *lsmdbEngine) NewBatch() Batch             { return &lsmdbBatch{d: e.d, b: e.d.NewBatch()} }

// Persist waits for what is queued. Nothing else is to be done: write(2), or a map, comes
// before every other answer.
func (e *lsmdbEngine) Persist() error {
	return e.d.Apply(context.Background(), e.d.NewBatch(), db.NoSync)
}

func (e *lsmdbEngine) NewIterator(reverse bool) (Iterator, error) {
	it, err := e.d.NewIterator(nil)
	if err != nil {
		return nil, err
	}
	if reverse {
		return lsmdbReverse{it}, nil
	}
	return lsmdbForward{it}, nil
}

type lsmdbForward struct{ *db.Iterator }

func (f lsmdbForward) Seek(key []byte) bool { return f.SeekGE(key) }

type lsmdbReverse struct{ *db.Iterator }

func (r lsmdbReverse) First() bool      { return r.Iterator.Last() }
func (r lsmdbReverse) Next() bool       { return r.Iterator.Prev() }
func (r lsmdbReverse) Seek([]byte) bool { panic("invariant: reverse iterators do not seek") }

type lsmdbBatch struct {
	d *db.DB
	b *db.Batch
}

func (b *lsmdbBatch) Put(key, value []byte) error { return b.b.Put(key, value) }
func (b *lsmdbBatch) Delete(key []byte) error     { return b.b.Delete(key) }

func (b *lsmdbBatch) Commit() error {
	err := b.d.Apply(context.Background(), b.b)
	b.b.Reset()
	return err
}

func (b *lsmdbBatch) PutUntil(key, value []byte, until time.Time) error {
	return b.b.PutUntil(key, value, until)
}

type lsmdbTx struct{ *db.Tx }

func (t lsmdbTx) Get(dst, key []byte) ([]byte, error) { return lsmdbValue(t.AppendValue(dst, key)) }

type lsmdbReader struct{ s *db.Snapshot }

func (r lsmdbReader) Get(dst, key []byte) ([]byte, error) {
	return lsmdbValue(r.s.AppendValue(dst, key))
}

func (e *lsmdbEngine) Update(fn func(Tx) error) error {
	return e.d.Update(context.Background(), func(tx *db.Tx) error { return fn(lsmdbTx{tx}) })
}

func (e *lsmdbEngine) View(fn func(Reader) error) error {
	return e.d.View(func(s *db.Snapshot) error { return fn(lsmdbReader{s}) })
}

func (e *lsmdbEngine) Load(sorted iter.Seq2[[]byte, []byte]) error {
	return e.d.Load(context.Background(), sorted)
}

func (e *lsmdbEngine) DeleteRange(start, end []byte) error { return e.d.DeleteRange(start, end) }

func (e *lsmdbEngine) Checkpoint(dir string) error {
	c, err := e.d.NewCheckpoint(context.Background())
	if err != nil {
		return err
	}
	return errors.Join(c.Link(dir), c.Close())
}

// lsmdbPipeline is a ring of batches under way, the oldest at next.
type lsmdbPipeline struct {
	d       *db.DB
	batches []*db.Batch
	pending []*db.Pending // nil: nothing under way in this place
	next    int
}

func (e *lsmdbEngine) NewPipeline(depth int) Pipeline {
	p := &lsmdbPipeline{d: e.d, pending: make([]*db.Pending, depth)}
	for range depth {
		p.batches = append(p.batches, e.d.NewBatch())
	}
	return p
}

func (p *lsmdbPipeline) Put(key, value []byte, acknowledged func()) error {
	if err := p.wait(p.next); err != nil {
		return err
	}
	b := p.batches[p.next]
	b.Reset()
	if err := b.Put(key, value); err != nil {
		return err
	}
	pending, err := p.d.Submit(context.Background(), b)
	if err != nil {
		return err
	}
	if acknowledged != nil {
		go func() {
			<-pending.Done()
			acknowledged()
		}()
	}
	p.pending[p.next] = pending
	p.next = (p.next + 1) % len(p.batches)
	return nil
}

func (p *lsmdbPipeline) wait(place int) error {
	pending := p.pending[place]
	if pending == nil {
		return nil
	}
	p.pending[place] = nil
	return pending.Wait(context.Background())
}

func (p *lsmdbPipeline) Drain() error {
	for place := range p.pending {
		if err := p.wait(place); err != nil {
			return err
		}
	}
	return nil
}
