package memtable

import (
	"bytes"
	"fmt"
	"sync/atomic"

	"lsmdb/internal/base"
)

// tree keeps the entries of an arena in internal order.
type tree struct {
	root  atomic.Uint64 // number of index levels << 32 | node
	arena               // ends with what the writer changes all the time, as do the fields below

	// The finger, the writer's own: the newest entry and the way to it.
	newest entry
	path   path
}

// path is a place per level, leaf first; its words may be out of date.
type path [maxHeight + 1]place

// search is what an entry is compared with: a position in internal order.
type search struct {
	user    []byte
	trailer base.Trailer
}

// place is a position in a node as the node was when it was read.
type place struct {
	leaf *leaf
	word word
	pos  int   // word.count() behind the last entry of all
	low  entry // stands directly before all that the node covers, or noEntry
}

func (m *Memtable) initialize(arenaBytes int64, from *memory) {
	t := &m.tree
	t.arena.initialize(arenaBytes, func(count int64) []cell { return m.take(count, from) }, from != nil)
	root := t.addNode(0)
	t.used = 0 // see rootBytes
	t.path[0].leaf = t.leaf(root)
	t.root.Store(uint64(root))
}

func (t *tree) height() int { return int(t.root.Load() >> 32) }

// find returns the place of the first entry at or after s, and the way to there
// in p if that is not nil.
func (t *tree) find(s *search, p *path) place {
	root := t.root.Load()
	n, level, low := node(root), int(root>>32), noEntry
	certain := true // that s lies between the fences of n
	for {
		x := t.leaf(n)
		w := word(x.word.Load())
		if w.dead() {
			n, certain = w.heir(), false
			continue
		}
		// An heir may end before s. Its heads mean nothing before it is certain that s
		// shares the bytes they skip.
		if next := node(x.next.Load()); !certain && next != noNode && t.precedes(x.last(w), s) {
			n, low = next, x.last(w)
			continue
		}
		pos := t.lowerBound(x, w, s)
		if p != nil {
			p[level] = place{x, w, pos, low}
		}
		if level == 0 {
			return place{x, w, pos, low}
		}
		child := x.child(w.at(pos)).Load()
		if word(x.word.Load()) != w {
			continue // the child may be the right half of the one that w knows
		}
		if pos > 0 {
			low = x.entryAt(w, pos-1)
		}
		n, level, certain = node(child), level-1, true
	}
}

// lowerBound returns the position of the first entry of x at or after s.
func (t *tree) lowerBound(x *leaf, w word, s *search) int {
	low, high := x.bounds(w, headOf(s.user, x.skip))
	for low < high { // heads that are equal decide nothing
		middle := int(uint(low+high) / 2)
		if t.precedes(x.entryAt(w, middle), s) {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// insert adds an entry for the one writer.
func (t *tree) insert(key, value []byte, trailer base.Trailer) {
	s := search{key, trailer}
	if !t.besideNewest(&s) {
		t.find(&s, &t.path)
	}
	if base.Invariants && !t.belongs(&s) {
		panic(fmt.Sprintf("invariant: %x at %d inserted in a wrong place or twice", key, trailer))
	}
	e := t.addEntry(key, value, trailer)
	t.add(0, 0, item{entry: e}, noNode)
	t.newest = e
}

// besideNewest makes the path lead to s if that lies directly behind the newest
// entry, as in an ascending load, or directly before it, as in a descending one
// or when the same key is written again. Nothing cold is touched to find out that
// it lies elsewhere.
func (t *tree) besideNewest(s *search) bool {
	if t.newest == noEntry || !bytes.HasPrefix(s.user, t.userKey(t.newest)[:t.path[0].leaf.skip]) {
		return false
	}
	t.path[0].pos++
	if t.belongs(s) {
		return true
	}
	t.path[0].pos--
	return t.belongs(s)
}

// belongs reports whether s lies where the path leads to, between its neighbors.
func (t *tree) belongs(s *search) bool {
	x, low, pos := t.path[0].leaf, t.path[0].low, t.path[0].pos
	w := word(x.word.Load())
	if pos > 0 {
		low = x.entryAt(w, pos-1)
	}
	behind := low == noEntry || t.precedes(low, s)
	if pos == w.count() {
		return behind && x.next.Load() == uint32(noNode)
	}
	return behind && t.compare(x.entryAt(w, pos), s) > 0
}
