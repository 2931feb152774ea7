package memtable

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"lsmdb/internal/base"
)

// skiplist keeps the entries of an arena in internal order.
type skiplist struct {
	heads atomic.Uint64 // the highest level << 32 | address of its first block
	arena               // ends with what the writer changes all the time, as do the fields below

	// The writer's own: the finger, which is the newest entry and the way to it, and
	// the coins that heights are drawn with. They fall in the same way in each memtable.
	newest entry
	path   path
	coins  rand.PCG
}

// path is a place per level, that of the entries first; its words may be out of date.
type path [maxHeight + 1]place

// search is what an entry is compared with: a position in internal order.
type search struct {
	user    []byte
	trailer base.Trailer
}

// place is a position in a block as the block was when it was read: behind all entries
// before a search; in an upper level, of the last of these, where the way goes down.
type place struct {
	block *block
	word  word
	pos   int
	from  *block // to the left of it if the way came from there, nil if from above
}

func (m *Memtable) initialize(arenaBytes int64, from *memory) {
	l := &m.list
	l.arena.initialize(arenaBytes, func(count int64) []cell { return m.take(count, from) }, from != nil)
	head := l.addBlock(0)
	l.used = 0 // see headBytes
	l.path[0].block = l.block(head)
	l.heads.Store(uint64(head))
}

func (l *skiplist) top() int { return int(l.heads.Load() >> 32) }

// find returns the place of s: in the last block that begins before s, behind all
// entries before it. It also leaves the way to there in p if that is not nil.
func (l *skiplist) find(s *search, p *path) place {
	heads := l.heads.Load()
	at, level := address(heads), int(heads>>32)
	certain := true    // that s lies before the next block, unless the link there is low
	known := uint32(0) // leading bytes that s is known to share with the block
	var from *block
	for {
		x := l.block(at)
		w := word(x.word.Load())
		if w.dead() {
			at, certain = w.heir(), false
			continue
		}
		if certain {
			known = x.skip
		}
		next, head := x.link(), headOf(s.user, x.skip)
		if (!certain || next.isLow()) && l.liesBehind(x, next, s, head, x.skip <= known && level > 0) {
			at, from, certain = next.to(), x, false
			continue
		}
		pos := l.lowerBound(x, w, s, head)
		if level == 0 {
			if p != nil {
				p[0] = place{x, w, pos, from}
			}
			return place{x, w, pos, from}
		}
		pos-- // the last one before s; a head has noEntry before all
		if p != nil {
			p[level] = place{x, w, pos, from}
		}
		below := x.below(w.at(pos)).Load()
		if word(x.word.Load()) != w {
			continue // a block that w does not know of may begin before s
		}
		at, from, level, certain, known = address(below), nil, level-1, true, 0
	}
}

// liesBehind reports whether s lies behind the first entry of the block to the right of
// x. That block is in no cache: if s shares the bytes that x skips, the bound of x is
// asked first.
func (l *skiplist) liesBehind(x *block, next link, s *search, head uint32, bounded bool) bool {
	if next.to() == noBlock {
		return false
	}
	if bounded && head != *x.bound() {
		return head > *x.bound()
	}
	return l.precedes(l.first(next.to()), s)
}

// first returns the first entry of a block that is no head, dead or not.
func (l *skiplist) first(at address) entry { return l.block(at).entries[0] }

// lowerBound returns the position of the first entry of x at or after s.
func (l *skiplist) lowerBound(x *block, w word, s *search, head uint32) int {
	low, high := x.bounds(w, head)
	for low < high { // heads that are equal decide nothing
		middle := int(uint(low+high) / 2)
		if l.precedes(x.entryAt(w, middle), s) {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// insert adds an entry for the one writer.
func (l *skiplist) insert(key, value []byte, trailer base.Trailer) {
	s := search{key, trailer}
	if !l.besideNewest(&s) {
		l.find(&s, &l.path)
	}
	if base.Invariants && !l.belongs(&s) {
		panic(fmt.Sprintf("invariant: %x at %d inserted in a wrong place or twice", key, trailer))
	}
	e := l.addEntry(key, value, trailer)
	l.add(e)
	l.newest = e
}

// besideNewest makes the path lead to s if that lies directly behind the newest
// entry, as in an ascending load, or directly before it, as in a descending one
// or when the same key is written again. Nothing cold is touched to find out that
// it lies elsewhere.
func (l *skiplist) besideNewest(s *search) bool {
	at := &l.path[0]
	x := at.block
	if l.newest == noEntry || !bytes.HasPrefix(s.user, l.userKey(l.newest)[:x.skip]) {
		return false
	}
	w := word(x.word.Load())
	head, own := headOf(s.user, x.skip), x.heads[w.at(at.pos)]
	if head >= own && (at.pos+1 == w.count() || head <= x.heads[w.at(at.pos+1)]) {
		at.pos++
		if l.belongs(s) {
			return true
		}
		at.pos--
	}
	return head <= own && (at.pos == 0 || head >= x.heads[w.at(at.pos-1)]) && l.belongs(s)
}

// belongs reports whether s lies where the path leads to, between its neighbors.
func (l *skiplist) belongs(s *search) bool {
	x, pos := l.path[0].block, l.path[0].pos
	w := word(x.word.Load())
	if pos == 0 && !l.isHead(0) || pos > 0 && !l.precedes(x.entryAt(w, pos-1), s) {
		return false
	}
	if pos < w.count() {
		return l.compare(x.entryAt(w, pos), s) > 0
	}
	next := x.link().to()
	return next == noBlock || l.compare(l.first(next), s) > 0
}
