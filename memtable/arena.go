package memtable

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"lsmdb/internal/base"
)

// entry names an entry: its offset in the arena, in units. An entry is
//
//	value length u32 | user key length u16 | user key | trailer u64 | value
//
// rounded up to whole units. User key and trailer are an internal key in one
// piece.
type entry uint32

const (
	start entry = 0 // before all others: each level begins with it

	unitBytes        = 4
	cellBytes        = 64
	blockBytes       = int64(unsafe.Sizeof(block{}))
	upperBytes       = int64(unsafe.Sizeof(upper{}))
	entryHeaderBytes = 4 + 2
	fixedEntryBytes  = entryHeaderBytes + base.TrailerBytes

	// A full block is split, and an even split leaves half on either side. So as many
	// inserts pay for the next one: for two blocks and a place in the level above. There
	// each place pays its share of a split in the same way.
	half            = slots / 2
	upperShareBytes = (2*upperBytes + half - 2) / (half - 1)
	blockShareBytes = (2*blockBytes + upperShareBytes + half - 1) / half

	// entryOverheadBytes is what an entry is charged on top of its payload.
	entryOverheadBytes = fixedEntryBytes + unitBytes - 1 + blockShareBytes

	// headBytes pays for what is there from the start, whatever the arena's size.
	headBytes   = blockBytes + upperBytes
	filterShare = 128 // one byte of filter for so many of the arena

	// An arena in which more than that is used is about to be filled. Large pages make that
	// cheaper, but would cost a database of a few entries 4 MiB.
	littleBytes = 1 << 20

	// On 64 bits an entry is addressed by 32 bits in units; on 32 bits the address
	// space ends first.
	maxTotalBytes int64 = 1<<34*(bits.UintSize/64) + 1<<30*(1-bits.UintSize/64)
	maxArenaBytes int64 = maxTotalBytes/(filterShare+1)*filterShare - headBytes - 4*cellBytes
)

// What a block of entries and one of an upper level take, and what one of its items pays
// for splits.
var (
	sizesBytes  = [2]int64{blockBytes, upperBytes}
	sharesBytes = [2]int64{blockShareBytes, upperShareBytes}
)

// arena is the memory of one memtable: one piece without pointers, which
// nothing moves in and nothing is freed from before the whole is. Another memtable may
// get it then: it holds anything, but the filter and new blocks are zero. Start
// and the filter come first; entries grow behind it and blocks down from the end, so that each
// kind is dense. A part that is not used yet was never touched.
type arena struct {
	cells         []cell
	bytes         []byte // the same
	filter        filter
	capacityBytes int64

	_ [cellBytes]byte // see Memtable

	// The writer's own. Used never exceeds charged, because each block has the shares of
	// what it holds beyond half put by for its next split, which pay for an even one. The
	// highest one has those of all, and a level above it is built from them. The other shares
	// go to spare, and an uneven split takes from there what it costs more, or does not
	// happen: see divide.
	used     int64 // by entries and blocks, except what headBytes paid for
	charged  int64 // FootprintBytes of all entries
	spare    int64
	entryEnd int64   // in bytes
	blocks   address // the lowest one
	busy     bool    // has large pages if there are any, or shall have none
}

type cell [cellBytes / 8]uint64

// initialize makes it empty, in as many cells as take returns. They are zero, unless
// they were used.
func (a *arena) initialize(arenaBytes int64, take func(count int64) []cell, used bool) {
	if arenaBytes < 0 || arenaBytes > maxArenaBytes {
		panic(fmt.Sprintf("invariant: memtable of %d bytes; at most %d are possible", arenaBytes, maxArenaBytes))
	}
	filterCells := 1 + arenaBytes/filterShare/cellBytes
	count := 1 + filterCells + (arenaBytes+headBytes+cellBytes-1)/cellBytes
	a.capacityBytes = arenaBytes
	a.cells = take(count)
	a.bytes = unsafe.Slice((*byte)(unsafe.Pointer(&a.cells[0])), count*cellBytes)
	a.filter = unsafe.Slice((*atomic.Uint64)(unsafe.Pointer(&a.cells[1])), filterCells*cellBytes/8)
	if base.Invariants && used { // whoever still looks shall notice
		copy(a.bytes, bytes.Repeat([]byte{0xdd}, len(a.bytes)))
	}
	if used {
		clear(a.cells[:1+filterCells])
	}
	binary.LittleEndian.PutUint64(a.bytes[entryHeaderBytes:], ^uint64(0)) // the trailer of start
	a.entryEnd = (1 + filterCells) * cellBytes
	a.blocks = address(count)
}

// addEntry makes an entry that no block names yet.
func (a *arena) addEntry(key, value []byte, t base.Trailer) entry {
	payload := int64(len(key)) + int64(len(value))
	size := (fixedEntryBytes + payload + unitBytes - 1) &^ (unitBytes - 1)
	if size > a.capacityBytes-a.used {
		panic(fmt.Sprintf("invariant: entry of %d bytes in a memtable with %d of %d bytes used", size, a.used, a.capacityBytes))
	}
	e := entry(a.entryEnd / unitBytes)
	at := a.bytes[a.entryEnd : a.entryEnd+size]
	binary.LittleEndian.PutUint32(at, uint32(len(value)))
	binary.LittleEndian.PutUint16(at[4:], uint16(len(key)))
	at = at[entryHeaderBytes+copy(at[entryHeaderBytes:], key):]
	binary.LittleEndian.PutUint64(at, uint64(t))
	copy(at[base.TrailerBytes:], value)
	a.entryEnd += size
	a.used += size
	a.charged += FootprintBytes(1, payload)
	return e
}

// addBlock makes a block that nothing leads to yet.
func (a *arena) addBlock(level int) address {
	size := sizesBytes[min(level, 1)]
	a.blocks -= address(size / cellBytes)
	if int64(a.blocks)*cellBytes < a.entryEnd {
		panic(fmt.Sprintf("invariant: block in a memtable with %d of %d bytes used", a.used, a.capacityBytes))
	}
	clear(a.cells[a.blocks:][:size/cellBytes])
	a.used += size
	if a.used > littleBytes && !a.busy {
		a.busy = true
		enlargePages(a.bytes)
	}
	return a.blocks
}

func (a *arena) block(at address) *block { return (*block)(unsafe.Pointer(&a.cells[at])) }

// entry returns the internal key and the value of e; both share the arena.
func (a *arena) entry(e entry) (key base.InternalKey, value []byte) {
	start, middle := a.keyBounds(e)
	middle += base.TrailerBytes
	end := middle + int(binary.LittleEndian.Uint32(a.bytes[start-entryHeaderBytes:]))
	return a.bytes[start:middle:middle], a.bytes[middle:end:end]
}

// userKey returns the user key of e.
func (a *arena) userKey(e entry) []byte {
	start, end := a.keyBounds(e)
	return a.bytes[start:end]
}

func (a *arena) keyBounds(e entry) (start, end int) {
	start = int(e)*unitBytes + entryHeaderBytes
	return start, start + int(binary.LittleEndian.Uint16(a.bytes[start-2:]))
}

// precedes reports whether e stands before s.
func (a *arena) precedes(e entry, s *search) bool { return a.compare(e, s) < 0 }

// compare compares the positions of e and s.
func (a *arena) compare(e entry, s *search) int {
	start, end := a.keyBounds(e)
	if c := bytes.Compare(a.bytes[start:end], s.user); c != 0 {
		return c
	}
	return cmp.Compare(s.trailer, base.Trailer(binary.LittleEndian.Uint64(a.bytes[end:])))
}

// filter is a Bloom filter (B. Bloom, "Space/Time Trade-offs in Hash Coding with
// Allowable Errors", 1970) in which all bits of a key lie in one word: a lookup
// costs one cache miss, and the one writer adds a key with one store. A word of
// zeros that nobody writes costs no memory.
type filter []atomic.Uint64

// place returns the word of a key's hash and its bits in there: up to four.
func (f filter) place(hash uint64) (*atomic.Uint64, uint64) {
	at, _ := bits.Mul64(hash, uint64(len(f)))
	mask := uint64(1)<<(hash&63) | 1<<(hash>>6&63) | 1<<(hash>>12&63) | 1<<(hash>>18&63)
	return &f[at], mask
}

// mayContain reports false only for a hash that was not added.
func (f filter) mayContain(hash uint64) bool {
	place, mask := f.place(hash)
	return place.Load()&mask == mask
}
