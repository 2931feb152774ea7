package sstable

import (
	"lsmdb/internal/base"
)

// Iterator walks the entries of a table in both directions. It implements
// base.Iterator and keeps its table open. After warming up its buffers it allocates
// nothing but the blocks that it puts into the cache.
type Iterator struct {
	table  *Table // nil once closed
	reader blockReader
	own    *block // blocks are decoded into this one; nil: they fill the cache

	block  *block // nil until one was entered
	i      int    // its number, or -1
	entry  int    // number in the block
	key    base.InternalKey
	value  []byte
	prefix int // bytes that all keys of the block share: key starts with them already
	valid  bool
	err    error
}

// IteratorOptions says how an iterator reads.
type IteratorOptions struct {
	NoFill         bool // leave the cache as it is: for compactions, which read everything once
	ReadAheadBytes int  // longest read when moving forward block by block; 0: one block at a time
}

// NewIterator returns an iterator that stands nowhere yet.
func (t *Table) NewIterator(o IteratorOptions) *Iterator {
	it := &Iterator{table: t, i: -1}
	it.reader.maxAheadBytes = int64(o.ReadAheadBytes)
	if o.NoFill || t.source.cache == nil {
		it.own = new(block)
	}
	return it
}

// First moves to the first entry.
func (it *Iterator) First() bool {
	return it.begin() && it.enter(0) && it.stand(0)
}

// Last moves to the last entry.
func (it *Iterator) Last() bool {
	return it.begin() && it.enter(it.table.index.count()-1) && it.stand(it.block.count()-1)
}

// SeekGE moves to the first entry at or after key.
func (it *Iterator) SeekGE(key base.InternalKey) bool {
	return it.begin() && it.enter(it.table.index.find(key)) && it.move(it.block.find(key))
}

// SeekLT moves to the last entry before key.
func (it *Iterator) SeekLT(key base.InternalKey) bool {
	if !it.begin() {
		return false
	}
	i := it.table.index.find(key)
	if i == it.table.index.count() {
		return it.Last()
	}
	return it.enter(i) && it.move(it.block.find(key)-1)
}

// Next moves to the entry after the current one.
func (it *Iterator) Next() bool { return it.valid && it.move(it.entry+1) }

// Prev moves to the entry before the current one.
func (it *Iterator) Prev() bool { return it.valid && it.move(it.entry-1) }

// Valid reports whether the iterator stands on an entry.
func (it *Iterator) Valid() bool { return it.valid }

// Key returns the current key, valid until the next move.
func (it *Iterator) Key() base.InternalKey { return it.key }

// Value returns the current value, valid until the next move.
func (it *Iterator) Value() []byte { return it.value }

// Err returns the error that ended the last move, nil if it was the end of the table.
func (it *Iterator) Err() error { return it.err }

// Close lets go of the table and returns Err. What Key and Value returned last stays
// readable. It is idempotent; a later seek fails with base.ErrClosed.
func (it *Iterator) Close() error {
	it.table, it.valid = nil, false
	return it.err
}

// begin prepares for a move that does not depend on where the iterator stands.
func (it *Iterator) begin() bool {
	it.valid, it.err = false, nil
	if it.table == nil || it.table.source.closed.Load() {
		it.err = base.ErrClosed
		return false
	}
	return true
}

// enter makes i the current block.
func (it *Iterator) enter(i int) bool {
	it.valid = false
	if i < 0 || i >= it.table.index.count() {
		return false
	}
	if i != it.i {
		b, err := it.table.block(i, &it.reader, it.own)
		if err != nil {
			it.err = err
			return false
		}
		it.block, it.i, it.prefix = b, i, b.prefix
		it.key = append(it.key[:0], b.data[:b.prefix]...)
	}
	return true
}

// move moves to entry j of the current block. The entry before its first is the last
// one of the block before, the one after its last the first of the block after.
func (it *Iterator) move(j int) bool {
	switch {
	case j < 0:
		return it.enter(it.i-1) && it.stand(it.block.count()-1)
	case j >= it.block.count():
		return it.enter(it.i+1) && it.stand(0)
	}
	return it.stand(j)
}

func (it *Iterator) stand(j int) bool {
	it.key = append(it.key[:it.prefix], it.block.rest(j)...)
	it.value = it.block.value(j)
	it.entry, it.valid = j, true
	return true
}
