package memtable

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"lsmdb/internal/base"
)

// node names an entry: the index of its prefix in arena.units. A node is
//
//	header  u64     value length u32 | user key length u16 | (unused) u8 | height u8
//	prefix  u64     first eight bytes of the user key, big-endian, zero padded   <- node
//	tower   u32 * height   next node per level, lowest first
//	key     user key, then trailer: an internal key in one piece
//	value
//
// rounded up to whole units. Prefix and the low links are neighbours because a
// search that passes a node needs exactly these: mostly one cache line.
type node uint32

const (
	none node = 0 // unit 0 is the header of the head, so no prefix is there
	head node = 1 // stands before all entries and has no key

	unitBytes      = 8
	cacheLineBytes = 64
	maxHeight      = 24
	headUnits      = 2 + maxHeight/2

	// fixedNodeBytes is what every node has besides its tower, key and value.
	fixedNodeBytes = 16 + base.TrailerBytes
	linkBytes      = 4

	// entryOverheadBytes is what an entry is charged on top of its payload: the
	// fixed part, a tower of height 1, the worst rounding, and enough to pay for
	// the taller towers of an average entry whatever its size.
	entryOverheadBytes = fixedNodeBytes + linkBytes + (unitBytes - 1) + 5

	// creditLimitBytes bounds what is saved for tall towers. The tallest costs 92
	// bytes more than the lowest.
	creditLimitBytes = 1 << 10

	// On 64 bits a node is addressed by 32 bits in units of 8 bytes; on 32 bits
	// the address space ends first.
	maxArenaUnits = (1<<32-1)*(bits.UintSize/64) + 1<<27*(1-bits.UintSize/64)
	maxArenaBytes = (maxArenaUnits - headUnits) * unitBytes
)

// arena is the memory of one memtable: one allocation, seen as units, as links
// and as bytes. Nothing in it moves and nothing is freed before the whole is.
type arena struct {
	units         []uint64        // headers and prefixes
	links         []atomic.Uint32 // towers: those of node n start at 2*(n+1)
	freshLinks    []uint32        // the same, for towers that no reader can see yet
	bytes         []byte          // keys and values
	capacityBytes int64

	_           [cacheLineBytes]byte // see Memtable
	usedBytes   atomic.Int64         // changed by the writer only
	creditBytes int64                // charged to entries so far, but not used; the writer's
}

func (a *arena) initialize(arenaBytes int64) {
	if arenaBytes < 0 || arenaBytes > maxArenaBytes {
		panic(fmt.Sprintf("invariant: memtable of %d bytes; at most %d are possible", arenaBytes, int64(maxArenaBytes)))
	}
	a.capacityBytes = roundUp(arenaBytes)
	count := headUnits + int(a.capacityBytes/unitBytes)
	a.units = make([]uint64, count)
	start := unsafe.Pointer(&a.units[0])
	a.links = unsafe.Slice((*atomic.Uint32)(start), 2*count)
	a.freshLinks = unsafe.Slice((*uint32)(start), 2*count)
	a.bytes = unsafe.Slice((*byte)(start), unitBytes*count)
	a.units[head-1] = makeHeader(0, 0, maxHeight)
}

// freeBytes returns how much may still be promised.
func (a *arena) freeBytes() int64 {
	return a.capacityBytes - a.usedBytes.Load() - a.creditBytes
}

// allocate makes a node that is not linked yet, of the wanted height or less.
//
// Every entry is charged the same for its tower. What a low tower leaves over is
// saved and pays for taller ones; a tower that cannot be paid for is made lower.
// So used plus saved bytes never grow by more than FootprintBytes, in any order
// of heights and sizes, and a promise made by freeBytes holds.
func (a *arena) allocate(key, value []byte, t base.Trailer, height int) (node, int) {
	payload := int64(len(key)) + int64(len(value))
	available := a.creditBytes + FootprintBytes(1, payload)
	for height > 1 && nodeBytes(height, payload) > available {
		height--
	}
	size, used := nodeBytes(height, payload), a.usedBytes.Load()
	if size > a.capacityBytes-used {
		panic(fmt.Sprintf("invariant: entry of %d bytes in a memtable with %d of %d bytes used",
			size, used, a.capacityBytes))
	}
	n := node(headUnits + used/unitBytes + 1)
	a.units[n-1] = makeHeader(len(key), len(value), height)
	a.units[n] = prefixOf(key)
	at := a.keyStart(n, height)
	at += copy(a.bytes[at:], key)
	binary.LittleEndian.PutUint64(a.bytes[at:], uint64(t))
	copy(a.bytes[at+base.TrailerBytes:], value)
	a.creditBytes = min(available-size, creditLimitBytes)
	a.usedBytes.Store(used + size)
	return n, height
}

// next returns the successor of n at a level below its height. It acquires what
// the writer did before it linked the successor.
func (a *arena) next(n node, level int) node {
	return node(a.links[2*(int(n)+1)+level].Load())
}

// setNext links next behind n for all readers.
func (a *arena) setNext(n node, level int, next node) {
	a.links[2*(int(n)+1)+level].Store(uint32(next))
}

// setFreshNext is setNext on a node that is not linked itself yet.
func (a *arena) setFreshNext(n node, level int, next node) {
	a.freshLinks[2*(int(n)+1)+level] = uint32(next)
}

// entry returns the internal key and the value of n; both share the arena.
func (a *arena) entry(n node) (key base.InternalKey, value []byte) {
	header := a.units[n-1]
	start := a.keyStart(n, headerHeight(header))
	middle := start + headerKeyBytes(header) + base.TrailerBytes
	end := middle + headerValueBytes(header)
	return a.bytes[start:middle:middle], a.bytes[middle:end:end]
}

// hasUserKey reports whether n is a version of user.
func (a *arena) hasUserKey(n node, user []byte) bool {
	header := a.units[n-1]
	if headerKeyBytes(header) != len(user) {
		return false
	}
	start := a.keyStart(n, headerHeight(header))
	return bytes.Equal(a.bytes[start:start+len(user)], user)
}

func (a *arena) keyStart(n node, height int) int {
	return unitBytes*(int(n)+1) + linkBytes*height
}

// prefixOf returns the first eight bytes of key as a number. Where the numbers
// of two keys differ they order the keys; where they are equal they say nothing,
// because a short key is padded with a byte that a longer one may really have.
func prefixOf(key []byte) uint64 {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	var padded [8]byte
	copy(padded[:], key)
	return binary.BigEndian.Uint64(padded[:])
}

func nodeBytes(height int, payload int64) int64 {
	return roundUp(fixedNodeBytes + linkBytes*int64(height) + payload)
}

func roundUp(sizeBytes int64) int64 { return (sizeBytes + unitBytes - 1) &^ (unitBytes - 1) }

func makeHeader(keyBytes, valueBytes, height int) uint64 {
	return uint64(valueBytes)<<32 | uint64(keyBytes)<<16 | uint64(height)
}

func headerHeight(header uint64) int     { return int(header & 0xff) }
func headerKeyBytes(header uint64) int   { return int(header >> 16 & 0xffff) }
func headerValueBytes(header uint64) int { return int(header >> 32) }
