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
	highest atomic.Uint32 // the level that searches start in; those above are empty
	heads   [maxHeight + 1]atomic.Uint32
	arena   // ends with what the writer changes all the time, as do the fields below

	// The writer's own: the finger, which is the newest entry and the way to it, and
	// the coins that heights are drawn with. They fall in the same way in each memtable.
	newest entry
	path   path
	coins  rand.PCG
}

// path is a place per level, that of the entries first, and one more that is empty. Its
// words may be out of date.
type path [maxHeight + 2]place

// search is what an entry is compared with: a position in internal order.
type search struct {
	user    []byte
	trailer base.Trailer
}

// place is a position in a block as the block was when it was read: behind all entries
// before a search. In an upper level the way goes down from the last of these.
type place struct {
	block *block
	word  word
	pos   int
	from  *block // to the left of it, if that is known
}

func (m *Memtable) initialize(arenaBytes int64, from *memory) {
	l := &m.list
	l.arena.initialize(arenaBytes, func(count int64) []cell { return m.take(count, from) }, from != nil)
	for level := range l.heads {
		head := l.addBlock(level)
		l.heads[level].Store(uint32(head))
		l.path[level].block = l.block(head)
	}
	l.used = 0 // see headBytes
	l.highest.Store(1)
}

func (l *skiplist) top() int { return int(l.highest.Load()) }

// find returns the place of s: in the last block that begins before s, behind all
// entries before it. It also leaves the way to there in p if that is not nil.
func (l *skiplist) find(s *search, p *path) place {
	level := l.top()
	at, certain := address(l.heads[level].Load()), true // that no block which is not low lies before s
	var above place
	var from *block
	for {
		x := l.block(at)
		w, next := word(x.word.Load()), x.link()
		if w.dead() {
			at, certain = w.heir(), false
			continue
		}
		if above.block == nil && l.top() > level || above.block != nil && word(above.block.word.Load()) != above.word {
			certain = false // a block that was not known above may begin before s
		}
		if (!certain || next.isLow()) && next.to() != noBlock && l.precedes(l.first(next.to()), s) {
			at, from = next.to(), x
			continue
		}
		here := place{x, w, l.lowerBound(x, w, s), from}
		if p != nil {
			p[level] = here
		}
		if level == 0 {
			return here
		}
		level--
		below := &l.heads[level]
		if here.pos > 0 {
			below = x.below(w.at(here.pos - 1))
		}
		at, above, from, certain = address(below.Load()), here, nil, true
	}
}

// first returns the first entry of a block that is no head, dead or not.
func (l *skiplist) first(at address) entry { return l.block(at).entries[0] }

// lowerBound returns the position of the first entry of x at or after s.
func (l *skiplist) lowerBound(x *block, w word, s *search) int {
	low, high := x.bounds(w, headOf(s.user, x.skip))
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
	head, newest := headOf(s.user, x.skip), x.heads[w.at(at.pos-1)]
	if head >= newest && (at.pos == w.count() || head <= x.heads[w.at(at.pos)]) && l.belongs(s) {
		return true
	}
	if head > newest || at.pos > 1 && head < x.heads[w.at(at.pos-2)] {
		return false
	}
	if at.pos--; l.belongs(s) {
		return true
	}
	at.pos++
	return false
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
