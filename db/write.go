package db

import (
	"context"
	"time"

	"lsmdb/internal/view"
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
	c := d.takeCommit()
	err := c.Put(key, value)
	if err == nil {
		err = d.commit(context.Background(), c, w)
	}
	d.giveBack(c)
	return err
}

// Delete removes key, whether it exists or not. Otherwise it is like Put.
func (d *DB) Delete(key []byte, w ...Durability) error {
	c := d.takeCommit()
	err := c.Delete(key)
	if err == nil {
		err = d.commit(context.Background(), c, w)
	}
	d.giveBack(c)
	return err
}

// DeleteRange removes the keys of [start, end); a nil end is open. It costs the two keys,
// whatever lies between them. Operands and values that end are removed like others; what
// is written later stays, as does what snapshots and iterators show already. Where end is
// not behind start, be it empty, there is nothing to do. Otherwise it is like Put.
func (d *DB) DeleteRange(start, end []byte, w ...Durability) error {
	c := d.takeCommit()
	err := c.DeleteRange(start, end)
	switch {
	case err != nil:
	case c.Len() == 0:
		err = d.writable()
	default:
		err = d.commit(context.Background(), c, w)
	}
	d.giveBack(c)
	return err
}

// Merge makes of the value of key what Options.Merger makes of it and operand, when it is
// read or compacted. A key that was deleted, or that a range delete covers, has no value
// then, nor has one whose value has ended: its operands do not end with it. They are
// merged onto it as long as it is there, and onto nothing from then on. Operands that the
// Merger refuses are the errors of reads, not of Merge. Without Options.Merger, Merge is
// ErrNoMerger. Otherwise it is like Put.
func (d *DB) Merge(key, operand []byte, w ...Durability) error {
	if d.options.Merger == nil {
		return ErrNoMerger
	}
	c := d.takeCommit()
	err := c.Merge(key, operand)
	if err == nil {
		err = d.commit(context.Background(), c, w)
	}
	d.giveBack(c)
	return err
}

// PutUntil stores value under key for as long as Options.Now is before until, to the
// nanosecond. From then on the key has no value, whatever was stored before; so a time
// that has passed is like a delete. The zero time makes it a Put. A time before 1678 has
// passed; one beyond 2262 never comes. Snapshots and iterators show what had a value when
// they were made. Otherwise it is like Put.
func (d *DB) PutUntil(key, value []byte, until time.Time, w ...Durability) error {
	c := d.takeCommit()
	err := putUntil(&c.Operations, key, value, until)
	if err == nil {
		err = d.commit(context.Background(), c, w)
	}
	d.giveBack(c)
	return err
}

// putUntil adds the operation of PutUntil.
func putUntil(ops *stages.Operations, key, value []byte, until time.Time) error {
	if until.IsZero() {
		return ops.Put(key, value)
	}
	return ops.PutUntil(key, value, view.Nanoseconds(until))
}

// maxPooledBytes bounds the buffers that are kept for the next write.
const maxPooledBytes = 64 << 10

// takeCommit returns an empty commit for a call that waits.
func (d *DB) takeCommit() *stages.Commit {
	if c, ok := d.commits.Get().(*stages.Commit); ok {
		return c
	}
	return stages.NewCommit()
}

// giveBack recycles a commit that was answered, or never sent.
func (d *DB) giveBack(c *stages.Commit) {
	if c.Bytes() > maxPooledBytes {
		return
	}
	c.Reset()
	d.commits.Put(c)
}

// commit sends a commit and waits for the answer. If ctx ends before the commit is
// being written, it is taken back.
func (d *DB) commit(ctx context.Context, c *stages.Commit, w []Durability) error {
	if err := d.enqueue(ctx, c, w); err != nil {
		return err
	}
	done := ctx.Done()
	if done == nil {
		return c.Wait()
	}
	select {
	case err := <-c.Answered():
		return err
	case <-done:
		if c.Abandon() {
			return ctx.Err()
		}
		return c.Wait()
	}
}

// durability is what the call chose, or else the database's default. A value that
// does not exist counts as Sync: better slow than lost.
func (d *DB) durability(w []Durability) Durability {
	if len(w) > 0 {
		return w[len(w)-1]
	}
	return d.options.Durability
}

// enqueue sends a commit into the pipeline, if there is one.
func (d *DB) enqueue(ctx context.Context, c *stages.Commit, w []Durability) error {
	if err := d.writable(); err != nil {
		return err
	}
	c.Sync = d.durability(w) != NoSync
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
	b, err := b.claimFor(ctx, d)
	if err != nil {
		return err
	}
	defer b.inUse.Store(false)
	c := d.takeCommit()
	buffer := c.Operations
	c.Operations = b.ops
	err = d.commit(ctx, c, w)
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
// error of Submit means that nothing was or will be written.
func (d *DB) Submit(ctx context.Context, b *Batch, w ...Durability) (*Pending, error) {
	b, err := b.claimFor(ctx, d)
	if err != nil {
		return nil, err
	}
	defer b.inUse.Store(false)
	c := stages.NewPendingCommit()
	c.Operations = b.ops
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
		return p.commit.Result()
	default:
	}
	select {
	case <-p.commit.Resolved():
		return p.commit.Result()
	case <-ctx.Done():
		return ctx.Err()
	}
}
