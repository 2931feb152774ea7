package memtable

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"
)

// address names a block: its first cell in the arena.
type address uint32

const (
	noBlock address = 0 // start is there

	slots = 14
)

// block holds up to slots entries, in the order in which they came; word tells their
// sorted order. A slot is written once, before the word that names it. Slot 0 is the
// first entry for life. A block of an upper level begins with one, and its entries are the
// first ones of blocks one level below.
//
// Two cache lines hold all that a search needs.
type block struct {
	word    atomic.Uint64 // a word
	next    atomic.Uint32 // the block to the right
	skip    uint32        // leading bytes that the first entries of this and the next block share, or fewer
	heads   [slots]uint32 // the four bytes of each key behind skip
	entries [slots]entry
}

// upper is a block above the entries. Slot i leads down to the block that begins with
// entries[i].
type upper struct {
	block
	below [slots]atomic.Uint32
	_     [8]byte // to a whole number of cells
}

// word is the state of a block, which one store publishes:
//
//	bits 0-3    number of entries
//	bits 4-59   the slots in sorted order, four bits each
//	bit  63     the block is dead; bits 0-31 name the left one of the two blocks that
//	            took its place
type word uint64

const (
	wordDead   word = 1 << 63
	wordSorted word = 0xdcba98765432100
)

func sortedWord(count int) word { return wordSorted&(1<<(4+4*count)-1) | word(count) }

func (w word) dead() bool     { return w&wordDead != 0 }
func (w word) heir() address  { return address(w) }
func (w word) count() int     { return int(w & 15) }
func (w word) at(pos int) int { return int(w >> (4 + 4*uint(pos)) & 15) }

// insert returns the word after the first free slot came to pos.
func (w word) insert(pos int) word {
	shift := 4 + 4*uint(pos)
	before, after := w&(1<<shift-1), w>>shift<<(shift+4)
	return (after | w&15<<shift | before) + 1
}

// entryAt returns the entry that w has at pos.
func (b *block) entryAt(w word, pos int) entry { return b.entries[w.at(pos)] }

// right returns where the list goes on, or noBlock.
func (b *block) right() address { return address(b.next.Load()) }

// below returns where a block of an upper level has the way down from a slot.
func (b *block) below(slot int) *atomic.Uint32 { return &(*upper)(unsafe.Pointer(b)).below[slot] }

// bounds returns between which positions the entries have the given head.
//
// Counting all slots is faster than a binary search through the word: its loads
// do not wait for each other, and nothing is there to be mispredicted.
func (b *block) bounds(w word, head uint32) (low, high int) {
	count, more := w.count(), 0
	for _, h := range b.heads[:count] {
		low += int((uint64(h) - uint64(head)) >> 63)
		more += int((uint64(head) - uint64(h)) >> 63)
	}
	return low, count - more
}

// headOf returns the four bytes of key behind skip as a number. Where the heads of
// two keys that share skip bytes differ they order the keys; where they are equal
// they say nothing, because a short key is padded with a byte that a longer one
// may really have.
func headOf(key []byte, skip uint32) uint32 {
	if uint64(len(key)) >= uint64(skip)+4 {
		return binary.BigEndian.Uint32(key[skip:])
	}
	var padded [4]byte
	copy(padded[:], key[min(int(skip), len(key)):])
	return binary.BigEndian.Uint32(padded[:])
}
