package view

import (
	"sync/atomic"

	"lsmdb/internal/base"
)

// Recent is what the Writer remembers of the latest operations while transactions are
// open: which keys they change. So it can tell, without a look at memtables and tables,
// what came between a transaction's own look and its turn. Only the Writer uses it, except
// Since.
type Recent struct {
	recording bool
	since     atomic.Uint64
	changes   []change
	keys      []byte // of these, one after the other
}

// change is an operation without its value.
type change struct {
	seq      base.Seq
	kind     base.Kind
	key, end []byte // of a range delete [key, end); nil: open
}

const (
	maxChanges     = 4096      // that are remembered when a group begins
	maxChangeBytes = 256 << 10 // of their keys
)

// Since is the number behind which every operation is remembered, if any are.
func (r *Recent) Since() base.Seq { return base.Seq(r.since.Load()) }

// Begin prepares for a group whose first operation follows last, and reports whether to
// Add its operations: only while there are transactions. When there is too much to
// remember, all is forgotten. So every operation is added once and compared with few.
func (r *Recent) Begin(last base.Seq, transactions bool) bool {
	if transactions && (!r.recording || len(r.changes) >= maxChanges || len(r.keys) >= maxChangeBytes) {
		r.Forget(last)
	}
	r.recording = transactions
	return transactions
}

// Forget forgets what there was up to last.
func (r *Recent) Forget(last base.Seq) {
	if r.changes, r.keys = r.changes[:0], r.keys[:0]; cap(r.changes) > 4*maxChanges || cap(r.keys) > 4*maxChangeBytes {
		r.changes, r.keys = nil, nil
	}
	r.since.Store(uint64(last))
}

// Add remembers an operation.
func (r *Recent) Add(op base.Op, seq base.Seq) {
	c := change{seq: seq, kind: op.Kind, key: r.copy(op.Key)}
	if len(op.Value) > 0 && op.Kind == base.KindRangeDelete {
		c.end = r.copy(op.Value)
	}
	r.changes = append(r.changes, c)
}

// copy returns a copy of a key. It stays where it is when the memory grows.
func (r *Recent) copy(key []byte) []byte {
	start := len(r.keys)
	r.keys = append(r.keys, key...)
	return r.keys[start:]
}

// Changed is like Published.Changed, for a number that is not before Since.
func (r *Recent) Changed(reads *Reads, after base.Seq) (found *base.ConflictError) {
	for i := len(r.changes) - 1; i >= 0 && r.changes[i].seq > after; i-- {
		c := &r.changes[i]
		key, hit := c.key, false
		if c.kind != base.KindRangeDelete {
			hit = reads.Has(key)
		} else {
			key, hit = reads.First(key, c.end)
		}
		if hit {
			found = first(found, key, c.seq)
		}
	}
	return found
}
