package db

import (
	"context"
	"sync"

	"lsmdb/internal/base"
	"lsmdb/stages"
)

// Put stores value under key. It returns when the write is as durable as w, or
// else Options.Durability, says; readers see it from then on. Key and value may be
// reused at once. Waiting for room in the pipeline is not bounded: Apply takes a
// context.
//
// Errors: ErrKeyTooLarge, ErrValueTooLarge, ErrDiskFull, ErrReadOnly, ErrClosed.
// A write that failed with ErrReadOnly, because the log could not be written, may
// or may not be there after the next Open.
func (d *DB) Put(key, value []byte, w ...Durability) error {
	if err := checkSizes(len(key), len(value)); err != nil {
		return err
	}
	c := takeCommit()
	c.Ops = base.AppendSet(c.Ops, key, value)
	c.PayloadBytes = int64(len(key)) + int64(len(value))
	return d.writeOne(c, w)
}

// Delete removes key, whether it exists or not. Otherwise it is like Put.
func (d *DB) Delete(key []byte, w ...Durability) error {
	if err := checkSizes(len(key), 0); err != nil {
		return err
	}
	c := takeCommit()
	c.Ops = base.AppendDelete(c.Ops, key)
	c.PayloadBytes = int64(len(key))
	return d.writeOne(c, w)
}

// commits recycles the messages of single writes with their buffers.
var commits = sync.Pool{New: func() any { return stages.NewCommit() }}

// maxPooledBytes bounds the buffers that are kept for the next write.
const maxPooledBytes = 64 << 10

func takeCommit() *stages.Commit { return commits.Get().(*stages.Commit) }

func giveBack(c *stages.Commit) {
	if cap(c.Ops) > maxPooledBytes {
		return
	}
	c.Reset()
	commits.Put(c)
}

// writeOne applies a commit of one operation and recycles it.
func (d *DB) writeOne(c *stages.Commit, w []Durability) error {
	defer giveBack(c)
	c.Count = 1
	c.Sync = d.durability(w) != NoSync
	if err := d.enqueue(context.Background(), c); err != nil {
		return err
	}
	return c.Wait()
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
func (d *DB) enqueue(ctx context.Context, c *stages.Commit) error {
	if err := d.writable(); err != nil {
		return err
	}
	return d.pipeline.Enqueue(ctx, c)
}

// Apply applies a batch, whole or not at all. It waits like Put, but no longer
// than ctx: if ctx ends while the batch is queued or back-pressure holds it, the
// batch is taken back, nothing of it is stored, and Apply returns the context's
// error. Once the batch is being written, Apply waits for the outcome. An empty
// batch with Sync is the same as DB.Sync. The batch may be reused when Apply returns.
//
// Errors: those of Put, and ErrBatchTooLarge.
func (d *DB) Apply(ctx context.Context, b *Batch, w ...Durability) error {
	if b.err != nil {
		return b.err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	b.commit.Sync = d.durability(w) != NoSync
	if err := d.enqueue(ctx, b.commit); err != nil {
		return err
	}
	return d.await(ctx, b)
}

// await waits for the answer to the batch's commit, or takes it back.
func (d *DB) await(ctx context.Context, b *Batch) error {
	var err error
	select {
	case err = <-b.commit.Answered():
	case <-ctx.Done():
		if b.commit.Abandon() {
			b.detach()
			return ctx.Err()
		}
		err = b.commit.Wait()
	}
	b.commit.Rearm()
	return err
}

// Sync makes every acknowledged write durable.
func (d *DB) Sync(ctx context.Context) error { return d.Apply(ctx, d.NewBatch(), Sync) }

// Submit sends a batch into the pipeline without waiting for it to be written, so
// that one goroutine can keep many batches under way. They are written in the order
// of the calls of one goroutine. Until the Pending resolves, the batch belongs to
// the database. Ctx bounds the wait for a place in the queue only: an error of
// Submit means that nothing was or will be written.
func (d *DB) Submit(ctx context.Context, b *Batch, w ...Durability) (*Pending, error) {
	if b.err != nil {
		return nil, b.err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c := stages.NewPendingCommit()
	c.Ops, c.Count, c.PayloadBytes = b.commit.Ops, b.commit.Count, b.commit.PayloadBytes
	c.Sync = d.durability(w) != NoSync
	if err := d.enqueue(ctx, c); err != nil {
		return nil, err
	}
	return &Pending{commit: c}, nil
}

// Pending is a write under way. It may be used by any number of goroutines.
type Pending struct{ commit *stages.Commit }

// Done is closed when the write is acknowledged or has failed.
func (p *Pending) Done() <-chan struct{} { return p.commit.Resolved() }

// Wait returns the outcome, as Apply would have. If ctx ends before, it returns the
// context's error; the write goes on.
func (p *Pending) Wait(ctx context.Context) error {
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
