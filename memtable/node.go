package memtable

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"
)

// node names a leaf or an index node: its first cell in the arena.
type node uint32

const (
	noNode node = 0 // the filter is there

	slots     = 14
	maxHeight = 12 // of index nodes above a leaf; each has 7 children or more, the root 2
)

// leaf holds up to slots entries, in the order in which they came; word tells
// their sorted order. A slot is written once, before the word that names it. An
// index node begins with a leaf, in which entries are the upper fences of its
// children.
//
// Two cache lines hold all that a search needs.
type leaf struct {
	word    atomic.Uint64 // a word
	next    atomic.Uint32 // the node to the right
	skip    uint32        // leading bytes that the node's fences share; 0 if one is missing
	heads   [slots]uint32 // the four bytes of each key behind skip
	entries [slots]entry
}

// index is a node above the leaves. Slot i leads to the keys up to and including
// entries[i], or to all further ones if that is noEntry.
type index struct {
	leaf
	children [slots]atomic.Uint32
	_        [8]byte // to a whole number of cells
}

// word is the state of a node, which one store publishes:
//
//	bits 0-3    number of entries
//	bits 4-59   the slots in sorted order, four bits each
//	bit  63     the node is dead; bits 0-31 name the left one of the two nodes that
//	            took its place
type word uint64

const (
	wordDead   word = 1 << 63
	wordSorted word = 0xdcba98765432100
)

func sortedWord(count int) word { return wordSorted&(1<<(4+4*count)-1) | word(count) }

func (w word) dead() bool     { return w&wordDead != 0 }
func (w word) heir() node     { return node(w) }
func (w word) count() int     { return int(w & 15) }
func (w word) at(pos int) int { return int(w >> (4 + 4*uint(pos)) & 15) }

// insert returns the word after the first free slot came to pos.
func (w word) insert(pos int) word {
	shift := 4 + 4*uint(pos)
	before, after := w&(1<<shift-1), w>>shift<<(shift+4)
	return (after | w&15<<shift | before) + 1
}

// entryAt returns the entry that w has at pos.
func (l *leaf) entryAt(w word, pos int) entry { return l.entries[w.at(pos)] }

// last returns the last entry of a node that has one. No entry behind it ever
// comes to a node that has a right neighbor: it is the node's upper fence.
func (l *leaf) last(w word) entry { return l.entryAt(w, w.count()-1) }

// child returns where an index node has the child of a slot.
func (l *leaf) child(slot int) *atomic.Uint32 { return &(*index)(unsafe.Pointer(l)).children[slot] }

// bounds returns between which positions the entries have the given head.
//
// Counting all slots is faster than a binary search through the word: its loads
// do not wait for each other, and nothing is there to be mispredicted.
func (l *leaf) bounds(w word, head uint32) (low, high int) {
	count, more := w.count(), 0
	for _, h := range l.heads[:count] {
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
