package db

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/internal/view"
	"lsmdb/manifest"
	"lsmdb/stages"
)

// Put stores value under key. It returns when the write is as durable as w, or
// else Options.Durability, says; readers see it from then on. Key and value may be
// reused at once. Waiting for room in the pipeline is not bounded: Apply takes a
// context.
//
// Errors: ErrKeyTooLarge, ErrValueTooLarge, ErrDiskFull, ErrReadOnly, ErrClosed, and the
// system's error where it has no descriptor or no memory for the next log segment. A
// write that failed with ErrReadOnly, because the log could not be written, may or may
// not be there after the next Open. After any other error nothing was stored.
func (d *DB) Put(key, value []byte, w ...Durability) error {
	return d.write(w, nil, &operation{kind: base.KindSet, key: key, value: value})
}

// Delete removes key, whether it exists or not. Otherwise it is like Put.
func (d *DB) Delete(key []byte, w ...Durability) error {
	return d.write(w, nil, &operation{kind: base.KindDelete, key: key})
}

// DeleteRange removes every key of [start, end), whatever there is; a nil end is no bound.
// It costs its own bytes only, however much it covers: readers skip what is deleted, and
// the space comes back soon after the next flush. Snapshots and iterators that are open
// keep what they see. Where start does not lie before end, nothing happens. See PrefixRange
// for all keys with a prefix. A start or end longer than MaxKeyBytes is ErrKeyTooLarge.
// Otherwise it is like Put.
func (d *DB) DeleteRange(start, end []byte, w ...Durability) error {
	return d.write(w, nil, &operation{kind: base.KindRangeDelete, key: start, value: end})
}

// Merge adds operand to what key has: readers see what Options.Merger makes of both, or of
// operand alone where key has no value. That costs as much as a Put, as nothing is read. An
// operand does not end, also where the value that it is merged onto does; when that has
// ended, it counts as no value. Without a Merger it is ErrNoMerger; an operand that the
// Merger refuses is an error of whoever reads the key, until the key is put, or deleted.
// Otherwise it is like Put.
func (d *DB) Merge(key, operand []byte, w ...Durability) error {
	return d.write(w, nil, &operation{kind: base.KindMerge, key: key, value: operand})
}

// PutUntil is Put for a value that is there until a time, by Options.Now, and then no
// more, as if key had been deleted: what was there before does not come back. The zero
// time means that it stays. A time that is past is allowed, and takes away what is there.
// The space of values that have ended comes back by itself. Times beyond the year 2262
// never come.
func (d *DB) PutUntil(key, value []byte, until time.Time, w ...Durability) error {
	return d.write(w, nil, &operation{kind: base.KindSet, key: key, value: value, until: until})
}

// write commits one operation on keys with a prefix.
func (d *DB) write(w []Durability, prefix []byte, op *operation) error {
	c := d.takeCall()
	err := c.add(prefix, op)
	if err == nil && c.Len() == 0 { // a range without keys
		err = d.writable(context.Background())
	} else if err == nil {
		queued := d.durability(w) == Queued
		c.Queued = queued
		if err = d.commit(context.Background(), c.Commit, w); err == nil && queued {
			return nil // the Writer gives it back
		}
	}
	d.giveBack(c)
	return err
}

// operation is what a caller wants done.
type operation struct {
	kind       base.Kind
	key, value []byte    // of a range delete its start and end
	until      time.Time // when the value of a set ends; zero: never
}

// add adds an operation on a key that is joined with a prefix, in a buffer.
func add(to *stages.Operations, buffer *[]byte, prefix []byte, op *operation) error {
	kind, key, value, until := op.kind, op.key, op.value, int64(0)
	if kind == base.KindRangeDelete {
		key, value = rangeIn(prefix, key, value)
	} else if len(prefix) > 0 {
		key = whole(buffer, prefix, key)
	}
	if !op.until.IsZero() {
		kind, until = base.KindSetExpiring, view.Nanoseconds(op.until)
	}
	return to.Add(kind, key, value, until)
}

// call is the commit of a call that waits.
type call struct {
	*stages.Commit
	whole []byte // the key in hand, with a prefix
}

// takeCall returns an empty one, perhaps with the buffers of another. Each database has its
// own: a channel must stay within one bubble of testing/synctest.
func (d *DB) takeCall() *call {
	if c, ok := d.calls.Get().(*call); ok {
		return c
	}
	c := &call{Commit: stages.NewCommit()}
	c.Recycle = func() { d.giveBack(c) }
	return c
}

// maxPooledBytes bounds these buffers.
const maxPooledBytes = 64 << 10

func (c *call) add(prefix []byte, op *operation) error {
	return add(&c.Operations, &c.whole, prefix, op)
}

// giveBack recycles the call, whose commit was answered, or never sent.
func (d *DB) giveBack(c *call) {
	if c.Bytes()+cap(c.whole) > maxPooledBytes {
		return
	}
	c.Reset()
	d.calls.Put(c)
}

// commit sends a commit and waits for the answer, unless it is Queued. If ctx ends before
// the commit is being written, it is taken back.
func (d *DB) commit(ctx context.Context, c *stages.Commit, w []Durability) error {
	queued := c.Queued
	if err := d.enqueue(ctx, c, w); err != nil || queued {
		return err
	}
	return c.WaitOrAbandon(ctx)
}

// durability returns the one that a call asks for. One that does not exist counts as Sync:
// better slow than lost.
func (d *DB) durability(w []Durability) Durability {
	chosen := d.options.Durability
	if len(w) > 0 {
		chosen = w[len(w)-1]
	}
	if chosen < Sync || chosen > Queued {
		return Sync
	}
	return chosen
}

// enqueue sends a commit into the pipeline, if there is one.
func (d *DB) enqueue(ctx context.Context, c *stages.Commit, w []Durability) error {
	if err := d.writable(ctx); err != nil {
		return err
	}
	if d.options.Merger == nil && c.NeedMerger() {
		return ErrNoMerger
	}
	c.Sync = d.durability(w) == Sync
	return d.pipeline.Enqueue(ctx, c)
}

// Apply applies a batch, whole or not at all. It waits like Put, but no longer
// than ctx: if ctx ends while the batch is queued or back-pressure holds it, the
// batch is taken back, nothing of it is stored, and Apply returns the context's
// error. Once the batch is being written, Apply waits for the outcome. An empty
// batch with Sync is the same as DB.Sync. Until Apply returns, nobody else may use the
// batch: see Batch.
//
// Errors: those of Put, and ErrBatchTooLarge.
func (d *DB) Apply(ctx context.Context, b *Batch, w ...Durability) error {
	b, err := b.claimFor(ctx)
	if err != nil {
		return err
	}
	defer b.inUse.Store(false)
	if b.ops.Len() > 0 && d.durability(w) == Queued {
		_, err = d.submit(ctx, b, w)
		return err
	}
	c := d.takeCall()
	buffer := c.Operations
	c.Operations = b.ops
	err = d.commit(ctx, c.Commit, w)
	if !c.Abandoned() { // then the Writer will still come across it
		c.Operations = buffer
		d.giveBack(c)
	}
	return err
}

// Sync makes every acknowledged write durable.
func (d *DB) Sync(ctx context.Context) error { return d.Apply(ctx, d.NewBatch(), Sync) }

// Submit sends a batch into the pipeline without waiting for it to be written, so
// that one goroutine can keep many batches under way. They are written in the order
// of the calls of one goroutine. What is submitted is what the batch holds now. The batch
// may be reset, changed or applied again at once, but Reset keeps its memory only if the
// Pending has resolved by then. Ctx bounds the wait for a place in the queue only: an
// error of Submit means that nothing was or will be written. A batch that needs half a
// memtable or more is prepared here, which takes its time, and may be refused for it.
func (d *DB) Submit(ctx context.Context, b *Batch, w ...Durability) (*Pending, error) {
	b, err := b.claimFor(ctx)
	if err != nil {
		return nil, err
	}
	defer b.inUse.Store(false)
	return d.submit(ctx, b, w)
}

// submit sends what a batch holds, which is lent until that is answered.
func (d *DB) submit(ctx context.Context, b *Batch, w []Durability) (*Pending, error) {
	c := stages.NewPendingCommit()
	c.Operations, c.Queued = b.ops, b.ops.Len() > 0 && d.durability(w) == Queued
	if err := d.enqueue(ctx, c, w); err != nil {
		return nil, err
	}
	b.lent = b.lent || b.underWay()
	b.submitted = c
	return &Pending{commit: c}, nil
}

// Pending is a write under way. It may be used by any number of goroutines.
type Pending struct{ commit *stages.Commit }

// Done is closed when the write is acknowledged or has failed.
func (p *Pending) Done() <-chan struct{} { return p.commit.Resolved() }

// Wait returns the outcome, as Apply would have. If ctx ends before, it returns the
// context's error; the write goes on.
func (p *Pending) Wait(ctx context.Context) error {
	if ctx == nil {
		return errNilContext
	}
	select {
	case <-p.commit.Resolved():
	case <-ctx.Done():
		if !p.commit.IsResolved() {
			return ctx.Err()
		}
	}
	return p.commit.Result()
}

// Load adds everything that sorted yields, in strictly ascending order of keys, as one
// commit: all of it becomes visible at once, or none. It writes tables instead of the
// log, so it is faster than batches, and it may be larger than memory. What
// lies under the same keys is overwritten, like by Put. When Load returns nil, what was
// loaded survives a power failure.
//
// Sorted runs in this goroutine; it may use its slices again for the next pair. A key
// that does not lie behind the one before is an error that names both; after any error
// nothing of the input stays. Ctx bounds the time until the tables are handed over. Of
// many loads at the same time some wait before they begin: see Options.MaxOpenFiles.
// Reads and writes go on meanwhile. Only in the end writers wait, until what was written
// shortly before is flushed, and if loads of the same keys come faster than they are merged.
//
// Errors: those of Put, and the context's.
func (d *DB) Load(ctx context.Context, sorted iter.Seq2[[]byte, []byte]) error {
	if sorted == nil {
		return errors.New("lsmdb: load: there is no input")
	}
	if err := d.Flush(ctx); err != nil { // also has the database taken over, which removes unlisted tables
		return err
	}
	tables, err := d.writeSorted(ctx, sorted)
	switch {
	case err != nil && d.closed.Load(): // its files went away meanwhile
		return ErrClosed
	case errors.Is(err, output.ErrDirectorySync):
		return d.pipeline.Fail(err)
	case err != nil || len(tables) == 0:
		return err
	}
	_ = d.Flush(ctx) // so that writers wait less; what is wrong is told by Load, which then removes the tables
	return d.pipeline.Load(ctx, tables)
}

// writeSorted writes the input to tables that nothing lists yet.
func (d *DB) writeSorted(ctx context.Context, sorted iter.Seq2[[]byte, []byte]) (done []*manifest.TableMeta, err error) {
	select {
	case d.loading <- struct{}{}:
		defer func() { <-d.loading }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	limit := d.pipeline.TableLimitBytes()
	tables := output.NewLoadedTables(d.directory, d.pipeline.Aside, func(sizeBytes int64, _ []byte) bool { return sizeBytes >= limit })
	defer func() { err = errors.Join(err, tables.Abort()) }() // also after a panic of the input
	var key base.InternalKey                                  // the last one
	for user, value := range sorted {
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case d.closed.Load():
			return nil, ErrClosed
		case key != nil && bytes.Compare(user, key.UserKey()) <= 0:
			return nil, fmt.Errorf("lsmdb: load: the input is not sorted: %q follows %q", user, key.UserKey())
		}
		if err := base.CheckSizes(len(user), len(value)); err != nil {
			return nil, err
		}
		key = base.AppendInternalKey(key[:0], user, base.MakeTrailer(output.LoadedSeq, base.KindSet))
		if err := tables.Add(key, value); err != nil {
			return nil, err
		}
	}
	if ctx.Err() != nil { // whoever makes the input may end it so
		return nil, ctx.Err()
	}
	return tables.Finish()
}
