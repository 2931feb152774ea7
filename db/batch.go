package db

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"lsmdb/internal/base"
	"lsmdb/stages"
)

// Batch collects operations that are applied together: all of them become
// visible, and survive a crash, or none. Later operations of a batch supersede
// earlier ones on the same key. The zero value is an empty batch.
//
// A batch is used by one goroutine at a time. Put, Delete, Reset, Apply and Submit panic
// when they meet another goroutine in one of them, before anything is changed or written.
// A batch may be applied more than once, changed after Apply and Submit have returned,
// and reused after Reset. Its methods copy their arguments. It must not be copied.
type Batch struct {
	inUse atomic.Bool // by a goroutine
	self  *Batch      // the address at its first use
	ops   stages.Operations
	err   error // of the first operation that was refused

	// submitted is what the last Submit sent. It shares the memory of ops, which therefore
	// only grows until it is answered. So may others before it, if lent.
	submitted *stages.Commit
	lent      bool

	// A view has its original and a prefix, and nothing else; see In.
	of     *Batch
	prefix []byte
	whole  []byte // of an original: the key of a view in hand
}

var errNilContext = errors.New("lsmdb: the context is nil")

// NewBatch returns an empty batch.
func (d *DB) NewBatch() *Batch { return new(Batch) }

// Put adds the operation that stores value under key. An operation beyond a
// limit is refused with ErrKeyTooLarge, ErrValueTooLarge or ErrBatchTooLarge;
// until Reset, applying the batch then fails with the same error.
func (b *Batch) Put(key, value []byte) error {
	return b.add(&operation{kind: base.KindSet, key: key, value: value})
}

// Delete adds the operation that removes key, whether it exists or not. Errors
// are those of Put.
func (b *Batch) Delete(key []byte) error { return b.add(&operation{kind: base.KindDelete, key: key}) }

// DeleteRange adds the operation that removes every key of [start, end), those that the
// batch itself has put before included. See DB.DeleteRange. Errors are those of Put.
func (b *Batch) DeleteRange(start, end []byte) error {
	return b.add(&operation{kind: base.KindRangeDelete, key: start, value: end})
}

// Merge adds the operation that merges operand onto what key has. See DB.Merge: without
// Options.Merger, the batch cannot be applied. Errors are those of Put.
func (b *Batch) Merge(key, operand []byte) error {
	return b.add(&operation{kind: base.KindMerge, key: key, value: operand})
}

// PutUntil adds the operation that stores value under key until a time. See DB.PutUntil.
// Errors are those of Put.
func (b *Batch) PutUntil(key, value []byte, until time.Time) error {
	return b.add(&operation{kind: base.KindSet, key: key, value: value, until: until})
}

// In returns the same batch as it is seen from a keyspace: its keys get the prefix of k,
// whatever keyspace b is seen from. Both have one Len, one Reset and so on, and applying
// either applies all operations of both. So a batch can change several keyspaces at once.
func (b *Batch) In(k *Keyspace) *Batch { return &Batch{of: b.original(), prefix: k.prefix} }

// original returns the batch that holds the operations.
func (b *Batch) original() *Batch { return cmp.Or(b.of, b) }

// add adds an operation to the original; see the function add. An error is noted, if it is
// the first.
func (b *Batch) add(op *operation) error {
	o := b.original()
	o.claim()
	err := add(&o.ops, &o.whole, b.prefix, op)
	if o.err == nil {
		o.err = err
	}
	o.inUse.Store(false)
	return err
}

// Len returns the number of operations.
func (b *Batch) Len() int { return b.original().ops.Len() }

// Bytes returns the encoded size.
func (b *Batch) Bytes() int { return b.original().ops.Bytes() }

// Reset empties the batch. It keeps the memory, unless a Submit is still under way, whose
// operations stay as they are.
func (b *Batch) Reset() {
	b = b.original()
	b.claim()
	if b.lent || b.underWay() {
		b.ops = stages.Operations{}
	}
	b.ops.Clear()
	b.err, b.submitted, b.lent = nil, nil, false
	b.inUse.Store(false)
}

// claim makes the batch this goroutine's until inUse is false again.
func (b *Batch) claim() {
	if free := b.inUse.CompareAndSwap(false, true); !free || b.self != b {
		b.look(free)
	}
}

// look is what claim does in other cases than the common one.
func (b *Batch) look(free bool) {
	if !free {
		panic("lsmdb: a Batch is used by two goroutines at the same time")
	}
	if b.self != nil {
		panic("lsmdb: a Batch was copied")
	}
	b.self = b
}

// claimFor claims the original for a call that is to apply it. After an error it is free.
func (b *Batch) claimFor(ctx context.Context) (*Batch, error) {
	switch {
	case b == nil:
		return nil, errors.New("lsmdb: the batch is nil")
	case ctx == nil:
		return nil, errNilContext
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	b = b.original()
	b.claim()
	if b.err != nil {
		defer b.inUse.Store(false)
	}
	return b, b.err
}

// underWay reports whether the last Submit is not answered yet.
func (b *Batch) underWay() bool { return b.submitted != nil && !b.submitted.IsResolved() }
