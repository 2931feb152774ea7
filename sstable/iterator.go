package sstable

import (
	"bytes"
	"slices"

	"lsmdb/internal/base"
)

// Iterator walks the entries of a table in both directions. It implements
// base.Iterator. After warming up its buffers it allocates nothing but the blocks that
// it puts into the cache.
type Iterator struct {
	table       *Table // nil once closed
	first, last int    // blocks outside of which nothing of the range lies
	reader      *blockReader
	keysOnly    bool   // large values are never read
	stubs       bool   // they are not read when their block is entered
	into        *block // blocks are decoded into this one; nil: they fill the cache
	own         *block // which is kept for that
	stub        *block // with stubs this one stands for their blocks
	large       *block // what the stub stands for, once it was read

	block  *block // nil until one was entered
	i      int    // its number, or -1
	entry  int    // number in the block
	count  int    // of the entries in the block
	key    base.InternalKey
	prefix int    // bytes that all keys of the block share: key starts with them already
	lead   uint64 // the first eight of these, padded with zeros
	head   uint64 // of what follows them in key
	valid  bool
	err    error

	entered *BlockCounts // nil: nobody is interested
}

// IteratorOptions says how an iterator reads.
type IteratorOptions struct {
	NoCacheFill    bool // leave the cache as it is, also what it holds: for what reads much of the table once
	KeysOnly       bool // read no large value that lies in a block of its own: see Iterator.Value
	Lazy           bool // read such a value only when Value is called, which may fail then: see there
	ReadAheadBytes int  // longest read when moving forward block by block; 0: one block at a time

	Entered *BlockCounts // counts the blocks that the iterator enters; nil: nobody is interested

	// Only user keys from Lower to Upper, which is excluded, matter: blocks that hold
	// none are not read, other keys may show or not. nil: no bound.
	Lower, Upper []byte
}

// BlockCounts counts the data blocks that one reader needed, by where they came from.
type BlockCounts struct{ Read, Cached uint64 }

// maxKeptKeyBytes bounds the buffer for keys that is kept for another table.
const maxKeptKeyBytes = 4 << 10

// NewIterator returns an iterator that stands nowhere yet.
func (t *Table) NewIterator(o IteratorOptions) *Iterator {
	it := new(Iterator)
	it.Reset(t, &o)
	return it
}

// Reset makes it an iterator over t that stands nowhere yet, in the memory it has. The
// Key that it showed last changes with the next move.
func (it *Iterator) Reset(t *Table, o *IteratorOptions) {
	*it = Iterator{table: t, i: -1, last: t.index.count() - 1, key: it.key[:0], reader: it.reader, own: it.own, stub: it.stub}
	it.keysOnly, it.stubs, it.entered = o.KeysOnly, o.KeysOnly || o.Lazy && t.index.largeValues > 0, o.Entered
	if cap(it.key) > maxKeptKeyBytes {
		it.key = nil
	}
	if o.NoCacheFill {
		if it.own == nil {
			it.own = new(block)
		}
		it.into = it.own
	}
	if it.stubs && it.stub == nil {
		it.stub = new(block)
	}
	if (o.NoCacheFill || o.ReadAheadBytes > 0) && it.reader == nil {
		it.reader = new(blockReader)
	}
	if it.reader != nil {
		it.reader.rest()
		it.reader.restart(int64(o.ReadAheadBytes), t.handle.files.Account)
		it.reader.keysOnly = o.KeysOnly
	}
	if o.Lower != nil {
		it.first = t.index.find(base.AppendSearchKey(it.key[:0], o.Lower, base.MaxSeq))
	}
	if o.Upper != nil {
		it.last = min(it.last, t.index.lastBefore(base.AppendSearchKey(it.key[:0], o.Upper, base.MaxSeq)))
	}
}

// First moves to the first entry.
func (it *Iterator) First() bool { return it.begin() && it.enter(it.first) && it.stand(0) }

// Last moves to the last entry.
func (it *Iterator) Last() bool { return it.begin() && it.enter(it.last) && it.stand(it.count-1) }

// SeekGE moves to the first entry at or after key.
func (it *Iterator) SeekGE(key base.InternalKey) bool {
	return it.begin() && it.enter(max(it.first, it.table.index.find(key))) && it.move(it.block.find(key))
}

// SeekLT moves to the last entry before key.
func (it *Iterator) SeekLT(key base.InternalKey) bool {
	return it.begin() && it.enter(min(it.last, it.table.index.find(key))) && it.move(it.block.find(key)-1)
}

// Next moves to the entry after the current one.
func (it *Iterator) Next() bool { return it.valid && it.move(it.entry+1) }

// Prev moves to the entry before the current one.
func (it *Iterator) Prev() bool { return it.valid && it.move(it.entry-1) }

// Step moves by one entry, forward or back, if that lies in the same block, and
// otherwise not at all. again tells that it has the same user key. The iterator must
// stand on an entry.
func (it *Iterator) Step(by int) (moved, again bool) {
	j := it.entry + by
	if uint(j) >= uint(it.count) {
		return false, false
	}
	rest := it.block.rest(j)
	h := rest.Head()
	again = h == it.head && bytes.Equal(rest.UserKey(), it.key[it.prefix:].UserKey())
	it.key = it.key[:it.prefix]
	it.key = append(it.key, rest...)
	it.entry, it.head = j, h
	return true, again
}

// Head returns the first eight bytes of the current user key, padded with zeros. That
// is faster than to ask the key that a move has just put together.
func (it *Iterator) Head() uint64 { return it.lead | it.head>>(8*uint(it.prefix)) }

// Valid reports whether the iterator stands on an entry.
func (it *Iterator) Valid() bool { return it.valid }

// Key returns the current key, valid until the next move.
func (it *Iterator) Key() base.InternalKey { return it.key }

// Value returns the current value, valid until the next move, and as long as it is
// held where the iterator fills the cache. With KeysOnly a large value, in a block of its
// own, is empty but for the time at which it ends, if it does. With Lazy it is read now:
// nil means that this failed, and Err tells why.
func (it *Iterator) Value() []byte {
	if it.stubs && it.block == it.stub && !it.keysOnly {
		return it.largeValue()
	}
	return it.block.value(it.entry)
}

// Expiry returns the time at which the current value ends, one of KindSetExpiring. It
// reads nothing.
func (it *Iterator) Expiry() int64 { return base.Until(it.block.value(it.entry)) }

// largeValue returns the value that the stub stands for.
func (it *Iterator) largeValue() []byte {
	if it.large == nil {
		if it.large, it.err = it.fetch(it.i); it.err != nil {
			return nil
		}
	}
	return it.large.value(0)
}

// Err returns the error that ended the last move, nil if it was the end of the table.
func (it *Iterator) Err() error { return it.err }

// Close lets go of the table and returns Err. What Key and Value returned last stays
// readable until Reset. It is idempotent; a later seek fails with base.ErrClosed.
func (it *Iterator) Close() error {
	it.table, it.block, it.large, it.entered, it.valid = nil, nil, nil, nil, false
	it.reader.rest()
	return it.err
}

// GiveUpKey leaves what Key returned last to whoever holds it: later moves write keys
// elsewhere.
func (it *Iterator) GiveUpKey() { it.key = nil }

// begin prepares for a move that does not depend on where the iterator stands.
func (it *Iterator) begin() bool {
	it.valid, it.err = false, nil
	if it.table == nil || it.table.handle.closed.Load() {
		it.err = base.ErrClosed
		return false
	}
	return true
}

// enter makes i the current block.
func (it *Iterator) enter(i int) bool {
	it.valid = false
	if i < it.first || i > it.last {
		return false
	}
	if i != it.i {
		b, err := it.load(i)
		if err != nil {
			it.err, it.i = err, -1 // what was decoded here before may be gone
			return false
		}
		shared := b.shared()
		it.block, it.i, it.count, it.prefix, it.large = b, i, b.count(), len(shared), nil
		it.key = base.AppendInternalKey(slices.Grow(it.key[:0], len(shared)+64), shared, 0)
		it.lead = it.key.Head()
	}
	return true
}

// load returns block i, or what stands for it.
func (it *Iterator) load(i int) (*block, error) {
	if _, large := it.table.index.large(i); large && it.stubs {
		it.table.index.stub(i, it.stub)
		if it.reader != nil && it.keysOnly {
			it.reader.pass(i)
		}
		return it.stub, nil
	}
	return it.fetch(i)
}

// fetch returns block i itself, and counts it.
func (it *Iterator) fetch(i int) (*block, error) {
	switch {
	case it.entered == nil:
	case it.table.slots[i].Load() != nil:
		it.entered.Cached++
	default:
		it.entered.Read++
	}
	return it.table.block(i, it.reader, it.into)
}

// move moves to entry j of the current block. The entry before its first is the last
// one of the block before, the one after its last the first of the block after.
func (it *Iterator) move(j int) bool {
	switch {
	case j < 0:
		return it.enter(it.i-1) && it.stand(it.count-1)
	case j >= it.count:
		return it.enter(it.i+1) && it.stand(0)
	}
	return it.stand(j)
}

func (it *Iterator) stand(j int) bool {
	rest := it.block.rest(j)
	it.key = append(it.key[:it.prefix], rest...)
	it.entry, it.head, it.valid = j, rest.Head(), true
	return true
}
