// Package memtable holds the newest writes, sorted, until they are flushed to a
// table: a probabilistic skiplist inside one arena.
//
// # Invariants
//
//   - Entries are only ever added. A node is complete before the atomic store
//     that links it in, and its key and value never change after that.
//   - A node is linked at level 0 first. A reader that meets it at some level
//     finds it at every lower one.
//   - Level 0 holds all entries in internal order: user key ascending, then
//     sequence number descending. Each higher level is a subsequence of the one
//     below.
//   - The arena holds offsets instead of Go pointers, so the garbage collector
//     never scans it.
//   - What FootprintBytes says is enough, whatever heights the towers draw: see
//     arena.allocate.
//
// # Concurrency
//
// One writer at a time calls Insert and Fits. Any number of readers may call
// everything else at the same time, without locks and without waiting. A reader
// sees every Insert that returned before the reader learned of it; it may or may
// not see later ones, which it tells by their sequence numbers.
//
// # Files
//
// arena.go is memory and the layout of a node, skiplist.go is order and search,
// iterator.go walks. This file is what the engine calls; a structure beside the
// skiplist that speeds up some of it (larger leaves, a hash table of offsets)
// gets a file of its own and is fed from Insert.
//
// The skiplist is due to W. Pugh, "Skip Lists: A Probabilistic Alternative to
// Balanced Trees" (1990).
package memtable

import (
	"fmt"
	"sync/atomic"

	"lsmdb/internal/base"
)

// Memtable is a sorted, multi-version map in memory. See the package comment for
// who may call what at the same time.
type Memtable struct {
	list skiplist

	// The writer changes the rest with every entry. The gap keeps these lines
	// out of the ones that every read needs.
	_     [cacheLineBytes]byte
	count atomic.Int64
}

// New makes an empty memtable whose entries may use arenaBytes. What
// FootprintBytes says of a set of entries is an arena size that holds them. It
// panics if arenaBytes is negative or exceeds MaxArenaBytes.
func New(arenaBytes int64) *Memtable {
	m := &Memtable{}
	m.list.initialize(arenaBytes)
	return m
}

// MaxArenaBytes returns the largest arena that this platform can address.
func MaxArenaBytes() int64 { return maxArenaBytes }

// FootprintBytes returns how much of an arena is enough for count entries whose
// keys and values add up to payload bytes.
func FootprintBytes(count int64, payload int64) int64 {
	return count*entryOverheadBytes + payload
}

// Fits reports whether entries of that FootprintBytes still have room, all of
// them. Only the writer may ask.
func (m *Memtable) Fits(footprint int64) bool {
	return footprint <= m.list.arena.freeBytes()
}

// Insert adds one version of key and copies key and value. The caller is the
// only writer, has asked Fits, and never inserts the same key, sequence number
// and kind twice. Readers see the entry by the time Insert returns.
func (m *Memtable) Insert(key, value []byte, seq base.Seq, kind base.Kind) {
	if len(key) > base.MaxKeyBytes || len(value) > base.MaxValueBytes || seq > base.MaxSeq {
		panic(fmt.Sprintf("invariant: insert of a %d-byte key and a %d-byte value at %d exceeds a limit",
			len(key), len(value), seq))
	}
	m.list.insert(key, value, base.MakeTrailer(seq, kind))
	m.count.Store(m.count.Load() + 1) // one writer: no need for a locked add
}

// Get returns the newest version of key whose sequence number is at most seq. A
// delete is a version: look at the kind of t. value shares the arena, must not be
// changed, and is valid as long as the caller holds it. Get does not allocate.
func (m *Memtable) Get(key []byte, seq base.Seq) (value []byte, t base.Trailer, ok bool) {
	n := m.list.seek(searchFor(key, base.MakeTrailer(seq, base.KindSeek)))
	if n == none || !m.list.arena.hasUserKey(n, key) {
		return nil, 0, false
	}
	stored, value := m.list.arena.entry(n)
	return value, stored.Trailer(), true
}

// NewIterator returns an unpositioned iterator over all versions. It keeps the
// memtable's memory alive until nobody holds it or what it returned.
func (m *Memtable) NewIterator() *Iterator { return &Iterator{list: &m.list} }

// Len returns the number of entries, every version counted.
func (m *Memtable) Len() int64 { return m.count.Load() }

// Empty reports whether nothing was inserted yet.
func (m *Memtable) Empty() bool { return m.Len() == 0 }

// UsedBytes returns how many bytes of the arena hold entries.
func (m *Memtable) UsedBytes() int64 { return m.list.arena.usedBytes.Load() }

// CapacityBytes returns how many bytes of entries the arena can hold.
func (m *Memtable) CapacityBytes() int64 { return m.list.arena.capacityBytes }
