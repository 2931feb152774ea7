package db

import (
	"context"
	"fmt"
	"iter"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/changes"
	"lsmdb/internal/view"
)

// Change is one or more whole batches, transactions or other writes, or one load.
type Change struct {
	// First and Seq are the numbers of the first and the last operation. First is the Seq of
	// the Change before, and one more.
	First, Seq uint64

	// Ops are the operations in the order of their numbers: Ops[i] has First + i. They, and
	// all bytes in them, are valid until the next step of the loop, and must not be changed.
	Ops []Op
}

// Op is one operation. Keys are whole, with the prefix of the keyspace that they were
// written to.
type Op struct {
	Kind  OpKind
	Key   []byte    // of OpDeleteRange and OpLoad the first key
	Value []byte    // of OpPut, and of OpMerge the operand; otherwise nil
	End   []byte    // of OpDeleteRange and OpLoad: behind the last key; nil: there is no end
	Until time.Time // of OpPut: when the value ends; zero: never
}

// OpKind says what an operation does.
type OpKind uint8

// What operations do.
const (
	OpPut         OpKind = iota + 1 // Key has Value, until a time if there is one
	OpDelete                        // Key has no value
	OpDeleteRange                   // keys of [Key, End) have no value
	OpMerge                         // the operand Value comes onto the value of Key
	OpLoad                          // tables were loaded, all of whose keys lie in [Key, End); what they hold only a read tells
)

func (k OpKind) String() string {
	return base.NameOf([]string{"", "put", "delete", "delete range", "merge", "load"}, "operation", k)
}

// Changes yields what is written, in the order of the numbers that operations have, without
// a gap: all behind number after, and then whatever comes, as long as the loop runs. Who
// wants only what comes begins with Metrics().Sequence; who goes on later begins with the Seq
// of the last Change. After may lie inside a batch, whose rest comes then, or beyond all that
// was written. A range of a Change is never torn out of a batch otherwise.
//
// Only what is durable is shown: nobody who follows is ever ahead of what a power failure
// leaves. It is visible to reads, too. Changes causes no sync. Writes with NoSync or
// Queued are shown when something syncs the log: a write with Sync, DB.Sync, Flush, or the
// change to the next segment when a memtable is full. A load is one operation, which tells
// its range of keys.
//
// What is kept for those who come later Options.KeepChangesBytes says. Who needs what is not
// kept any more gets a *TrimmedError, always between two batches, and never a Change that
// leaves something out.
//
// The loop ends with a pair that has an error and no Change, unless it is left by break:
// ctx.Err(); ErrClosed, also when the database is closed while it waits; *TrimmedError;
// *CorruptionError for damage in the newest segment of the log; ErrReadOnly for a database
// that was opened read-only; or what the file system says. Damage in an older segment is a
// *TrimmedError and a *CorruptionError, as what lies behind it can still be had. A failure
// that makes the database read-only does not end the loop: it waits.
//
// It reads the log's files in the caller's goroutine, with one descriptor of its own
// beside Options.MaxOpenFiles, and holds one group of writes in memory: some
// mebibytes, or one batch if that is larger. Any number of loops may run, each for one
// goroutine at a time. Nobody who writes waits for them.
func (d *DB) Changes(ctx context.Context, after uint64) iter.Seq2[Change, error] {
	opened := view.Opened{Since: d.clock.Now(), PC: view.Caller(2)}
	return func(yield func(Change, error) bool) {
		loop, err := d.follow(ctx, after, opened)
		if err != nil {
			yield(Change{}, err)
			return
		}
		defer loop.Close()
		var ops []Op
		for {
			var c Change
			g, err := loop.Next(ctx)
			if err == nil {
				ops, err = appendOps(ops[:0], g)
				c = Change{First: uint64(g.First), Seq: uint64(g.First) + uint64(g.Count) - 1, Ops: ops}
			}
			if err != nil {
				yield(Change{}, err)
				return
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

// follow begins a loop.
func (d *DB) follow(ctx context.Context, after uint64, opened view.Opened) (*changes.Loop, error) {
	switch {
	case ctx == nil:
		return nil, errNilContext
	case d.closed.Load():
		return nil, ErrClosed
	case d.pipeline == nil: // what its log holds need not be durable
		return nil, ErrReadOnly
	}
	return d.pipeline.Changes.Follow(after, opened)
}

// appendOps appends the operations of a group, which share its memory.
func appendOps(ops []Op, g changes.Group) ([]Op, error) {
	if l := g.Load; l != nil {
		return append(ops, Op{Kind: OpLoad, Key: l.First, End: append(l.Last[:len(l.Last):len(l.Last)], 0)}), nil
	}
	ops, err := decodeOps(ops, g.Count, g.Ops)
	if err != nil {
		err = fmt.Errorf("lsmdb: changes from %d on: %w", g.First, err)
	}
	return ops, err
}

// decodeOps appends so many operations of the log, whose memory they share.
func decodeOps(ops []Op, count uint32, encoded []byte) ([]Op, error) {
	for range count {
		var o base.Op
		var err error
		if o, encoded, err = base.DecodeOp(encoded); err != nil {
			return ops, err
		}
		ops = append(ops, opOf(o))
	}
	return ops, nil
}

// opOf is what an operation of the log means.
func opOf(o base.Op) Op {
	switch o.Kind {
	case base.KindDelete:
		return Op{Kind: OpDelete, Key: o.Key}
	case base.KindRangeDelete:
		if len(o.Value) == 0 {
			return Op{Kind: OpDeleteRange, Key: o.Key}
		}
		return Op{Kind: OpDeleteRange, Key: o.Key, End: o.Value}
	case base.KindMerge:
		return Op{Kind: OpMerge, Key: o.Key, Value: o.Value}
	case base.KindSetExpiring:
		return Op{Kind: OpPut, Key: o.Key, Value: o.Value[base.ExpiryBytes:], Until: time.Unix(0, base.Until(o.Value))}
	}
	return Op{Kind: OpPut, Key: o.Key, Value: o.Value}
}
