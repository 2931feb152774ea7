package db

import (
	"lsmdb/internal/view"
	"lsmdb/memtable"
)

// ReadAheadBytes is the longest read of a scan.
const ReadAheadBytes = view.ReadAheadBytes

// Resolved returns the options with every default filled in.
func (o *Options) Resolved() (Options, error) { return o.resolved() }

// SetOps makes of a batch one that has gathered these bytes.
func (b *Batch) SetOps(ops []byte) { b.commit.Ops = ops }

// MemtableBytes is the size that was chosen at Open.
func (d *DB) MemtableBytes() int64 { return d.options.MemtableBytes }

// FirstSealed is the oldest memtable that is not in a table yet.
func (d *DB) FirstSealed() *memtable.Memtable { return d.published.State().Sealed[0] }
