package sstable

import (
	"runtime"

	"lsmdb/internal/base"
)

// Iterator walks the entries of a table in both directions. It implements
// base.Iterator and keeps its table open. After warming up its buffers it allocates
// nothing but the blocks that it puts into the cache.
type Iterator struct {
	table   *Table // nil once closed
	options IteratorOptions
	cursor  cursor
	block   int // the data block the cursor is in; -1: none
	valid   bool
	err     error

	own     block  // without filling the cache: the block under the cursor
	decoded []byte // ... and its payload where that was compressed
	ahead   readAhead
}

// IteratorOptions says how an iterator reads.
type IteratorOptions struct {
	NoFill         bool // leave the cache as it is: for compactions, which read everything once
	ReadAheadBytes int  // longest read when moving forward block by block; 0: one block at a time
}

// readAhead is the part of the file that was read last, and how far a sequential
// reader may look ahead. Reads start short and double, so that a seek followed by a
// few steps does not pay for a scan.
type readAhead struct {
	bytes     []byte
	offset    int64
	next      int // the block that a sequential reader asks for next
	sizeBytes int64
}

const firstReadAheadBytes = 16 << 10

// NewIterator returns an iterator that stands nowhere yet.
func (t *Table) NewIterator(o IteratorOptions) *Iterator {
	return &Iterator{table: t, options: o, block: -1, ahead: readAhead{next: -1}}
}

// First moves to the first entry.
func (it *Iterator) First() bool {
	return it.begin() && it.firstOf(0)
}

// Last moves to the last entry.
func (it *Iterator) Last() bool {
	return it.begin() && it.lastOf(it.table.index.count()-1)
}

// SeekGE moves to the first entry at or after key.
func (it *Iterator) SeekGE(key base.InternalKey) bool {
	if !it.begin() {
		return false
	}
	i := it.table.index.find(key)
	if i == it.table.index.count() || !it.enter(i) {
		return false
	}
	if it.cursor.seekGE(key) {
		return it.stand()
	}
	return it.firstOf(i + 1)
}

// SeekLT moves to the last entry before key.
func (it *Iterator) SeekLT(key base.InternalKey) bool {
	if !it.begin() {
		return false
	}
	i := it.table.index.find(key)
	if i == it.table.index.count() {
		return it.lastOf(i - 1)
	}
	if !it.enter(i) {
		return false
	}
	if it.cursor.seekLT(key) {
		return it.stand()
	}
	return it.lastOf(i - 1)
}

// Next moves to the entry after the current one.
func (it *Iterator) Next() bool {
	if !it.valid {
		return false
	}
	if it.cursor.next() {
		return true
	}
	it.valid = false
	return it.firstOf(it.block + 1)
}

// Prev moves to the entry before the current one.
func (it *Iterator) Prev() bool {
	if !it.valid {
		return false
	}
	if it.cursor.prev() {
		return true
	}
	it.valid = false
	return it.lastOf(it.block - 1)
}

// Valid reports whether the iterator stands on an entry.
func (it *Iterator) Valid() bool { return it.valid }

// Key returns the current key, valid until the next move.
func (it *Iterator) Key() base.InternalKey { return it.cursor.key }

// Value returns the current value, valid until the next move.
func (it *Iterator) Value() []byte { return it.cursor.value }

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

// firstOf moves to the first entry of block i, and ends the iteration where there is
// no such block or the cursor has failed before. Blocks are never empty.
func (it *Iterator) firstOf(i int) bool {
	if it.failed() || i >= it.table.index.count() || !it.enter(i) {
		return false
	}
	return it.cursor.first() && it.stand() || !it.failed() && it.firstOf(i+1)
}

// lastOf is firstOf's mirror image.
func (it *Iterator) lastOf(i int) bool {
	if it.failed() || i < 0 || !it.enter(i) {
		return false
	}
	return it.cursor.last() && it.stand() || !it.failed() && it.lastOf(i-1)
}

func (it *Iterator) stand() bool {
	it.valid = true
	return true
}

// failed passes on what the cursor found wrong with its block.
func (it *Iterator) failed() bool {
	if err := it.cursor.err; err != nil {
		it.cursor.err = nil
		it.err = base.DamageAt(it.table.source.name, it.table.index.offsets[it.block], err)
		it.block = -1
	}
	return it.err != nil
}

// enter puts the cursor into block i, unless it is there already.
func (it *Iterator) enter(i int) bool {
	if it.block == i {
		it.cursor.err = nil
		return true
	}
	it.block = -1
	b, err := it.load(i)
	runtime.KeepAlive(it.table)
	if err != nil {
		it.err = err
		return false
	}
	it.cursor.reset(b)
	it.block = i
	return true
}

func (it *Iterator) load(i int) (*block, error) {
	s := it.table.source
	if b := s.cached(i); b != nil {
		if !it.options.NoFill {
			s.hit(b)
		}
		return b, nil
	}
	raw, offset, err := it.read(i)
	if err != nil {
		return nil, err
	}
	s.stats.blocksRead.Add(1)
	if !it.options.NoFill {
		b, err := s.ownBlock(raw, offset, false)
		if err != nil {
			return nil, err
		}
		return s.fill(i, b), nil
	}
	payload, c, err := s.openBlock(it.decoded, raw, BlockData, offset)
	if err != nil {
		return nil, err
	}
	if c != CompressionNone {
		it.decoded = payload
	}
	if err := it.own.init(payload); err != nil {
		return nil, base.DamageAt(s.name, offset, err)
	}
	return &it.own, nil
}

// read returns block i as stored, valid until the next read, and where it starts.
func (it *Iterator) read(i int) (raw []byte, offset int64, err error) {
	e, a := it.table.index.extent(i), &it.ahead
	sequential := i == a.next
	a.next = i + 1
	if e.offset >= a.offset && e.end() <= a.offset+int64(len(a.bytes)) {
		return a.bytes[e.offset-a.offset : e.end()-a.offset], e.offset, nil
	}
	a.sizeBytes = min(max(2*a.sizeBytes, firstReadAheadBytes), int64(it.options.ReadAheadBytes))
	if !sequential {
		a.sizeBytes = 0
	}
	if err = it.fetch(it.wholeBlocks(i, a.sizeBytes)); err != nil {
		err = it.fetch(e) // what lies behind the block does not matter to its reader
	}
	if err != nil {
		return nil, 0, err
	}
	return a.bytes[:e.length], e.offset, nil
}

// wholeBlocks returns the extent of block i and of those after it that fit in size.
func (it *Iterator) wholeBlocks(i int, sizeBytes int64) extent {
	x := it.table.index
	last := i
	for last+1 < x.count() && x.offsets[last+2]-x.offsets[i] <= sizeBytes {
		last++
	}
	return extent{offset: x.offsets[i], length: x.offsets[last+1] - x.offsets[i]}
}

// fetch reads part of the file into the read-ahead buffer.
func (it *Iterator) fetch(e extent) error {
	a, s := &it.ahead, it.table.source
	if int64(cap(a.bytes)) < e.length {
		a.bytes = make([]byte, e.length)
	}
	a.bytes, a.offset = a.bytes[:e.length], e.offset
	if err := s.readAt(a.bytes, e.offset); err != nil {
		a.bytes = a.bytes[:0]
		return err
	}
	s.stats.bytesRead.Add(uint64(e.length))
	return nil
}
