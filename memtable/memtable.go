// Package memtable holds the newest writes, sorted, until they are flushed to a
// table: a skip list of blocks inside one arena.
//
// # Structure
//
// As in every skip list there are levels, each a list that is sorted and linked to the
// right. The lowest has all entries. A level above has some of those one below, and leads
// down from each, so that a search skips most of what lies before its key: it starts in
// the highest level, and goes down from the last entry before its key. Each level begins
// with start, an entry before all others. Coins have a say in how high an entry reaches.
//
// Unlike in Pugh's, which has a node for each entry, up to 14 entries of a level that
// follow each other share a block. So a search meets six blocks of two or three cache
// lines where it would meet some twenty nodes. The entries that begin a block are those
// that have a place above, and that leads to their block:
//
//	level 2   [start                g                              t]
//	level 1   [start     c]-->      [g        k           n]-->    [t       w]
//	level 0   [start a b]-->[c d f]-->[g h]-->[k l m]-->[n p]-->[t]-->[w x y]
//
// An insert goes down once, and nothing climbs back. Before the way leads into a block, that
// is split if one of two things asks for it. Coins do: the insert draws a height, with odds
// of one in 16 for each level more, and every block below that height ends where the new entry
// belongs. What lies behind begins another block, and so gets a place one level higher.
// Or the block is full: then half of it goes into another one. So there is always room for a
// place that the level below asks for. Where keys come in ascending or descending order no
// coins fall, and a full block is split so that the blocks which the run leaves are full.
//
// An entry is written once and never moves. A block has the offset of each, four bytes of
// its key (the head) and one word that tells the sorted order. What the first entries of
// two neighbors have in common all keys between them share, so heads are taken from
// behind it and tell long similar keys apart. Where heads are equal the keys are compared
// in full. The first and the last block of each level skip nothing.
//
// A Bloom filter beside the list answers most lookups of absent keys.
//
// # Invariants
//
//   - Entries are only ever added. A slot of a block is complete before the atomic
//     store of the word that names it, and its entry never changes after that.
//   - A block that is split is replaced by two new ones that are complete. It stays as it is,
//     for readers that are in it, and the same store that makes its word lead on to them
//     publishes them. Nothing is reused before Renew, and a block begins with the same
//     entry for life.
//   - A way through old blocks therefore meets all that was there when it began, and
//     links to the right lead from any block to all behind it, so a reader needs no
//     lock. Until the level above knows the new blocks the word of the old one shows the way.
//   - The level above learns of the right one first and of the left one last, in place of
//     the old. So a reader whose way down leads to the left one can see that there is more.
//     Only readers that came through an old block look to the right.
//   - Blocks of a level are linked in internal order: user key ascending, then sequence
//     number descending.
//   - The arena holds offsets instead of Go pointers, so the garbage collector
//     never scans it.
//   - What FootprintBytes says is enough, in any order of inserts and however the coins
//     fall: see arena. The coins fall in the same way in every memtable, so the same
//     inserts make the same one.
//
// # Concurrency
//
// One writer at a time calls Insert, Apply and Fits. Any number of readers may call
// everything else at the same time, without locks and without waiting. A reader
// sees every Insert that returned before the reader learned of it; it may or may
// not see later ones, which it tells by their sequence numbers.
//
// # Files
//
// memory.go is memory, arena.go the filter and the layout of an entry, block.go the layout
// of blocks, skiplist.go searches, insert.go adds and splits, iterator.go is what its name says.
// This file is what the engine calls.
//
// # Sources
//
// W. Pugh, "Skip Lists: A Probabilistic Alternative to Balanced Trees" (1990). Blocks in
// them: D. Golovin, "The B-Skip-List: A Simpler Uniquely Represented Alternative to
// B-Trees" (2010); Y. Luo, S. Hao, B. Wheatman, P. Pandey and H. Xu, "Bridging
// Cache-Friendliness and Concurrency: A Locality-Optimized In-Memory B-Skiplist" (2025), which
// also inserts from the top down. There the new entry itself begins a block in all levels
// under its height, while locks keep others away, and what is split because it is full gets no
// place above. Here what lies behind the new entry begins the blocks. So each is complete
// when something leads to it, and readers need no locks. And every split gets a place, for
// fewer steps to the right. Links to
// the right, which make splits invisible: P. Lehman and S. Yao, "Efficient Locking for
// Concurrent Operations on B-Trees" (1981). Blocks whose order is one word: Y. Mao, E.
// Kohler and R. Morris, "Cache Craftiness for Fast Multicore Key-Value Storage" (2012).
// Keys without what their neighbors share: R. Bayer and K. Unterauer, "Prefix B-Trees"
// (1977).
package memtable

import (
	"bytes"
	"fmt"
	"sync/atomic"

	"lsmdb/internal/base"
	"lsmdb/internal/ranges"
)

// Memtable is a sorted, multi-version map in memory. See the package comment for
// who may call what at the same time.
type Memtable struct {
	RangeDeletes ranges.Set // that were applied so far; beside the list, on Go's heap
	list         skiplist
	memory       memory
	charge       charge

	// The writer changes the rest with every entry. The gap keeps these lines
	// out of the ones that every read needs.
	_      [cellBytes]byte
	filled atomic.Uint64 // bytes used << countBits | number of entries: one store for both
	inFile atomic.Bool   // see MoveTo

	deletes    atomic.Int64
	passed     atomic.Int64 // see Pass
	expiring   atomic.Bool
	rangeBytes int64 // what RangeDeletes take counts as used
	whole      bool  // see Follow
}

// countBits is enough for the smallest entries in the largest arena.
const countBits = 30

// New makes an empty memtable whose entries may use arenaBytes. What
// FootprintBytes says of a set of entries is an arena size that holds them. It
// panics if arenaBytes is negative or exceeds MaxArenaBytes.
func New(arenaBytes int64) *Memtable {
	m := &Memtable{}
	m.initialize(arenaBytes, nil)
	return m
}

// Renew makes an empty memtable in the arena of m. Whoever still looked at an entry
// of m would meet others.
func (m *Memtable) Renew() *Memtable {
	if m.InFile() {
		panic("invariant: the arena of a memtable that was moved to a file was to be used again")
	}
	next := &Memtable{}
	next.initialize(m.CapacityBytes(), &m.memory)
	return next
}

// MaxArenaBytes returns the largest arena that this platform can address.
func MaxArenaBytes() int64 { return maxArenaBytes }

// FootprintBytes returns how much of an arena is enough for count entries whose
// keys and values add up to payload bytes.
func FootprintBytes(count int64, payload int64) int64 {
	return count*entryOverheadBytes + payload
}

// Fits reports whether entries of that FootprintBytes still have room, all of
// them. Only the writer may ask. Each insert may split a block at every level, but
// all together they never use more than they were charged.
func (m *Memtable) Fits(footprint int64) bool {
	l, inserts := &m.list, footprint/entryOverheadBytes+1
	splits := min(l.charged-l.used, inserts*2*(blockBytes+upperBytes*int64(l.height()+1)))
	return footprint == 0 || !m.whole && footprint+splits <= l.capacityBytes-l.used-m.rangeBytes
}

// Follow gives all that was inserted its place in the history, behind a number that was not
// known yet: each number grows by that. Nothing fits in any more. The writer calls it before
// anybody else knows the memtable.
func (m *Memtable) Follow(last base.Seq) {
	m.list.offset, m.whole = base.MakeTrailer(last, 0), true
	m.RangeDeletes.Follow(last)
}

// Apply makes an operation part of the memtable. Otherwise it is like Insert.
func (m *Memtable) Apply(op base.Op, seq base.Seq) {
	if op.Kind != base.KindRangeDelete {
		m.Insert(op.Key, op.Value, seq, op.Kind)
		return
	}
	end := op.Value
	if len(end) == 0 {
		end = nil
	}
	grown := m.RangeDeletes.Add(op.Key, end, seq)
	m.rangeBytes += FootprintBytes(1, int64(len(op.Key)+len(end))) + numberBytes*grown
	m.added()
}

const numberBytes = 8 // of what a range delete adds to the spans that it has keys in common with

// added publishes how much there is after one more operation.
func (m *Memtable) added() {
	m.filled.Store(uint64(m.list.used+m.rangeBytes)<<countBits | uint64(m.Len()+1))
}

// Insert adds one version of key and copies key and value. The caller is the
// only writer, has asked Fits, and never inserts the same key, sequence number
// and kind twice. Readers see the entry by the time Insert returns.
func (m *Memtable) Insert(key, value []byte, seq base.Seq, kind base.Kind) {
	if len(key) > base.MaxKeyBytes || len(value) > base.MaxValueBytes || seq > base.MaxSeq {
		panic(fmt.Sprintf("invariant: insert of a %d-byte key and a %d-byte value at %d exceeds a limit",
			len(key), len(value), seq))
	}
	// The filter's word is in no cache. It is asked for before the search, which
	// does not wait for it, and written after: readers may miss what Insert has
	// not returned from.
	place, mask := m.list.filter.place(base.Hash(key))
	word := place.Load()
	m.list.insert(key, value, base.MakeTrailer(seq, kind))
	if word&mask != mask {
		place.Store(word | mask)
	}
	m.added()
	switch kind {
	case base.KindDelete:
		m.deletes.Store(m.deletes.Load() + 1)
	case base.KindSetExpiring:
		m.expiring.Store(true)
	}
}

// Get returns the newest version of key whose sequence number is at most seq; hash
// is base.Hash(key). A delete is a version: look at the kind of t. value shares the
// arena, must not be changed, and is valid as long as the caller holds the memtable, or until
// Renew or Free. Get does not allocate. Of a key that has no version it mostly reads one word of memory.
func (m *Memtable) Get(key []byte, hash uint64, seq base.Seq) (value []byte, t base.Trailer, ok bool) {
	if !m.list.filter.mayContain(hash) {
		return nil, 0, false
	}
	at := m.list.find(m.list.sought(key, base.MakeTrailer(seq, base.KindSeek)))
	if at.pos == at.word.count() && !m.list.settle(&at) {
		return nil, 0, false
	}
	stored, value := m.list.entry(at.entry())
	if !bytes.Equal(stored.UserKey(), key) {
		return nil, 0, false
	}
	return value, stored.Trailer() + m.list.offset, true
}

// NewIterator returns an unpositioned iterator over all versions. It keeps the memtable's
// memory alive while somebody has it; it does not prevent Renew and Free. What it returned
// keeps nothing.
func (m *Memtable) NewIterator() *Iterator { return &Iterator{list: &m.list} }

// Len returns the number of operations: entries, every version counted, and range deletes.
func (m *Memtable) Len() int64 { return int64(m.filled.Load() & (1<<countBits - 1)) }

// Expiring reports whether there is a value that ends.
func (m *Memtable) Expiring() bool { return m.expiring.Load() }

// Deletes returns the number of entries that are deletes.
func (m *Memtable) Deletes() int64 { return m.deletes.Load() }

// Pass is told how many deletes and deleted entries a reader passed before it came to
// something that it could show. It reports true once: when they have cost as much as to
// flush the memtable, after which they can be dropped.
func (m *Memtable) Pass(entries int64) bool {
	was := m.PassesPay()
	m.passed.Add(entries)
	return !was && m.PassesPay()
}

// What Pass compares, in bytes that could be written meanwhile.
const (
	passedBytes = 16      // for one entry
	flushBytes  = 1 << 20 // for the syncs of a flush
)

// PassesPay reports whether Pass has reported true.
func (m *Memtable) PassesPay() bool { return m.passed.Load()*passedBytes >= flushBytes+m.UsedBytes() }

// Empty reports whether nothing was inserted yet.
func (m *Memtable) Empty() bool { return m.Len() == 0 }

// UsedBytes returns how many bytes hold entries and range deletes.
func (m *Memtable) UsedBytes() int64 { return int64(m.filled.Load() >> countBits) }

// CapacityBytes returns how many bytes of entries the arena can hold.
func (m *Memtable) CapacityBytes() int64 { return m.list.capacityBytes }
