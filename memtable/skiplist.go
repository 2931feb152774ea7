package memtable

import (
	"math/rand/v2"
	"sync/atomic"

	"lsmdb/internal/base"
)

// skiplist keeps the entries of an arena in internal order.
type skiplist struct {
	top    atomic.Uint64 // the highest level << 32 | its first block
	offset base.Trailer  // is missing in all entries: see Follow
	arena                // ends with what the writer changes all the time, as does the rest

	newest place    // of the newest entry
	coins  rand.PCG // they fall in the same way in each memtable
}

// search is what an entry is compared with: a position in internal order.
type search struct {
	user    []byte
	trailer base.Trailer
}

// place is a position in a block as the block was when it was read.
type place struct {
	block *block
	word  word
	pos   int
}

func (m *Memtable) initialize(arenaBytes int64, from *memory) {
	l := &m.list
	l.arena.initialize(arenaBytes, func(count int64) []cell { return m.take(count, from) }, from != nil)
	l.raise(0, noBlock)
	l.raise(1, l.blocks)
	l.used, l.spare = 0, 0 // see headBytes
}

// sought returns the search for a position.
func (l *skiplist) sought(user []byte, t base.Trailer) *search {
	return &search{user, t - min(t, l.offset)} // at or before the offset: behind all versions
}

func (l *skiplist) height() int { return int(l.top.Load() >> 32) }

// find returns the place of s: in the last block that begins before s, behind all
// entries before it, of which there always is one.
func (l *skiplist) find(s *search) place {
	top := l.top.Load()
	at, level := address(top), int(top>>32)
	certain := true // that no block to the right of it begins before s
	for {
		x := l.block(at)
		w, next := word(x.word.Load()), x.right()
		if w.dead() {
			at, certain = w.heir(), false
			continue
		}
		if !certain && next != noBlock && l.precedes(l.first(next), s) {
			at = next
			continue
		}
		here := place{x, w, l.lowerBound(x, w, s)}
		if level == 0 {
			return here
		}
		below := x.below(here.way()).Load()
		if word(x.word.Load()) == w { // or else below may be the left half of what w knows
			at, level, certain = address(below), level-1, true
		}
	}
}

// way returns the slot before a place: in upper levels the way goes down from there.
func (p *place) way() int { return p.word.at(p.pos - 1) }

// settle moves a place from the end of a block to the next one. It returns false if there
// is none.
func (l *skiplist) settle(p *place) bool {
	at := p.block.right()
	if at == noBlock {
		return false
	}
	for p.word = wordDead | word(at); p.word.dead(); p.word = word(p.block.word.Load()) {
		p.block = l.block(p.word.heir())
	}
	p.pos = 0
	return true
}

// entry returns the entry behind a place, which is not the end of a block.
func (p *place) entry() entry { return p.block.entryAt(p.word, p.pos) }

// first returns the first entry of a block, dead or not.
func (l *skiplist) first(at address) entry { return l.block(at).entries[0] }

// lowerBound returns the position of the first entry of x at or after s. The first of all
// is before s, or it is start and s equals that.
func (l *skiplist) lowerBound(x *block, w word, s *search) int {
	low, high := x.bounds(w, headOf(s.user, x.skip))
	for low = max(low, 1); low < high; { // heads that are equal decide nothing
		middle := int(uint(low+high) / 2)
		if l.precedes(x.entryAt(w, middle), s) {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}
