package db

import (
	"fmt"

	"lsmdb/internal/base"
	"lsmdb/memtable"
	"lsmdb/stages"
)

// Batch collects operations that are applied together: all of them become
// visible, and survive a crash, or none. Later operations of a batch supersede
// earlier ones on the same key.
//
// A batch is used by one goroutine at a time. It may be applied more than once,
// and reused after Reset. Its methods copy their arguments.
type Batch struct {
	commit *stages.Commit
	err    error // of the first operation that was refused
}

// NewBatch returns an empty batch.
func (d *DB) NewBatch() *Batch { return &Batch{commit: stages.NewCommit()} }

// Put adds the operation that stores value under key. An operation beyond a
// limit is refused with ErrKeyTooLarge, ErrValueTooLarge or ErrBatchTooLarge;
// until Reset, applying the batch then fails with the same error.
func (b *Batch) Put(key, value []byte) error {
	if err := b.check(len(key), len(value)); err != nil {
		return err
	}
	b.commit.Ops = base.AppendSet(b.commit.Ops, key, value)
	b.added(len(key) + len(value))
	return nil
}

// Delete adds the operation that removes key, whether it exists or not. Errors
// are those of Put.
func (b *Batch) Delete(key []byte) error {
	if err := b.check(len(key), 0); err != nil {
		return err
	}
	b.commit.Ops = base.AppendDelete(b.commit.Ops, key)
	b.added(len(key))
	return nil
}

// Len returns the number of operations.
func (b *Batch) Len() int { return int(b.commit.Count) }

// Bytes returns the encoded size.
func (b *Batch) Bytes() int { return len(b.commit.Ops) }

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	b.commit.Reset()
	b.err = nil
}

func (b *Batch) added(payload int) {
	b.commit.Count++
	b.commit.PayloadBytes += int64(payload)
}

// check refuses an operation beyond a limit, before it changes anything.
func (b *Batch) check(keyBytes, valueBytes int) error {
	err := checkSizes(keyBytes, valueBytes)
	if err == nil {
		err = b.checkTotal(int64(keyBytes) + int64(valueBytes))
	}
	if err != nil && b.err == nil {
		b.err = err
	}
	return err
}

// operationOverhead is the most that encoding adds to key and value.
const operationOverhead = 1 + 3 + 4

func (b *Batch) checkTotal(payload int64) error {
	total := int64(len(b.commit.Ops)) + payload + operationOverhead
	footprint := memtable.FootprintBytes(int64(b.commit.Count)+1, b.commit.PayloadBytes+payload)
	if total > MaxBatchBytes || footprint > memtable.MaxArenaBytes()/2 {
		return fmt.Errorf("%w: %d bytes, which take %d in memory; at most %d and %d",
			ErrBatchTooLarge, total, footprint, MaxBatchBytes, memtable.MaxArenaBytes()/2)
	}
	return nil
}

func checkSizes(keyBytes, valueBytes int) error {
	if keyBytes > MaxKeyBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrKeyTooLarge, keyBytes, MaxKeyBytes)
	}
	if valueBytes > MaxValueBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrValueTooLarge, valueBytes, MaxValueBytes)
	}
	return nil
}

// detach gives the batch a commit of its own again, when another owner still
// looks at its present one.
func (b *Batch) detach() {
	old := b.commit
	b.commit = stages.NewCommit()
	b.commit.Ops = append([]byte(nil), old.Ops...)
	b.commit.Count, b.commit.PayloadBytes = old.Count, old.PayloadBytes
}
