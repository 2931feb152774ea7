package db

import (
	"lsmdb/internal/view"
	"lsmdb/memtable"
)

// ReadAheadBytes is the longest read of a scan.
const ReadAheadBytes = view.ReadAheadBytes

// Resolved returns the options with every default filled in.
func (o *Options) Resolved() (Options, error) { return o.resolved() }

// MemtableBytes is the size that was chosen at Open.
func (d *DB) MemtableBytes() int64 { return d.options.MemtableBytes }

// FirstSealed is the oldest memtable that is not in a table yet.
func (d *DB) FirstSealed() *memtable.Memtable { return d.published.State().Sealed[0] }

// Claim is what a goroutine does that is in the middle of something with the batch.
func (b *Batch) Claim() { b.claim() }

// Free ends what Claim began.
func (b *Batch) Free() { b.inUse.Store(false) }

// Copied returns the batch in another place, which go vet would not let us do.
func (b *Batch) Copied() *Batch { return &Batch{self: b.self, ops: b.ops} }

// WholeKeyRoom is how long a buffer for keys with their prefixes is that somebody gets.
func WholeKeyRoom() int {
	buffer := wholes.Get().(*[]byte)
	defer wholes.Put(buffer)
	return cap(*buffer)
}
