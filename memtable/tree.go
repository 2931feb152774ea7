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

	// The finger, the writer's own: the newest entry, its position in its leaf,
	// and the way to there.
	newest    entry
	newestPos int
	path      path
}

// path is, per level, a node and the entry that stands directly before all that it
// covers (noEntry for the leftmost one).
type path [maxHeight + 1]struct {
	node node
	low  entry
}

// search is what an entry is compared with: a position in internal order.
type search struct {
	user    []byte
	trailer base.Trailer
}

// place is a position in a leaf as the leaf was when it was read.
type place struct {
	leaf *leaf
	word word
	pos  int   // word.count() behind the last entry of all
	low  entry // stands directly before the leaf's first, or noEntry
}

func (t *tree) initialize(arenaBytes int64) {
	t.arena.initialize(arenaBytes)
	t.path[0].node = t.addNode(leafBytes)
	t.used = 0
	t.root.Store(uint64(t.path[0].node))
}

func (t *tree) height() int { return int(t.root.Load() >> 32) }

// find returns the place of the first entry at or after s, and the way to there
// in p if that is not nil.
func (t *tree) find(s *search, p *path) place {
	root := t.root.Load()
	n, level, low, open := node(root), int(root>>32), noEntry, true
	for {
		x := t.leaf(n)
		w := word(x.word.Load())
		if w.dead() {
			n, low, open = t.follow(w.heir(), low, s)
			continue
		}
		pos := t.lowerBound(x, w, s, open || low == noEntry)
		if p != nil {
			p[level].node, p[level].low = n, low
		}
		if level == 0 {
			// Only the last leaf has a place behind its entries, until a run goes on in a
			// new one. What came between w and that link came later than this search.
			if next := node(x.next.Load()); pos == w.count() && next != noNode {
				n, low, open = t.follow(next, x.last(w), s)
				continue
			}
			return place{x, w, pos, low}
		}
		child := node(t.index(n).children[w.at(pos)].Load())
		if word(x.word.Load()) != w {
			continue // the child may be the right half of the one that w knows
		}
		if pos > 0 {
			low = x.entryAt(w, pos-1)
		}
		n, level, open = child, level-1, x.entryAt(w, pos) == noEntry
	}
}

// follow goes right from n, where s may lie behind all that n covers, to the node
// that covers s. It returns that, what stands directly before it, and whether it
// is the last one. Heads mean nothing on the way: s need not share the bytes that
// they skip.
func (t *tree) follow(n node, low entry, s *search) (node, entry, bool) {
	for {
		x := t.leaf(n)
		w := word(x.word.Load())
		if w.dead() {
			n = w.heir()
			continue
		}
		next := node(x.next.Load())
		if next == noNode || !t.precedes(x.last(w), s) {
			return n, low, next == noNode
		}
		n, low = next, x.last(w)
	}
}

// lowerBound returns the position of the first entry of x at or after s.
func (t *tree) lowerBound(x *leaf, w word, s *search, open bool) int {
	low, high := x.bounds(w, t.headIn(x, s.user, open))
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

// headIn returns the head that key has in x. An open node has, as far as the
// caller knows, no fence on one side or on both; what it skips is then only what
// its first slot begins with, and keys without that come before or after all that
// have it.
func (t *tree) headIn(x *leaf, key []byte, open bool) uint32 {
	if open && x.skip > 0 {
		skipped := t.userKey(x.entries[0])[:x.skip]
		switch c := bytes.Compare(key[:min(len(key), len(skipped))], skipped); {
		case c < 0:
			return 0
		case c > 0:
			return headAfterAll
		}
	}
	return headOf(key, x.skip)
}

// insert adds an entry for the one writer.
func (t *tree) insert(key, value []byte, trailer base.Trailer) {
	s := search{key, trailer}
	pos, ok := t.besideNewest(&s)
	if !ok {
		pos = t.find(&s, &t.path).pos
	}
	if base.Invariants {
		t.checkPosition(&s, pos)
	}
	e := t.addEntry(key, value, trailer)
	t.newestPos = pos // a split moves it on
	t.add(0, pos, pos, item{entry: e}, noNode)
	t.newest = e
	if base.Invariants && t.used+t.reserved > t.charged {
		panic(fmt.Sprintf("invariant: memtable uses %d bytes and reserves %d of %d charged", t.used, t.reserved, t.charged))
	}
}

// besideNewest returns the position of s if it lies directly behind the newest
// entry, as in an ascending load, or directly before it, as in a descending one
// or when the same key is written again. Nothing cold is touched to find out that
// it lies elsewhere.
func (t *tree) besideNewest(s *search) (pos int, ok bool) {
	if t.newest == noEntry {
		return 0, false
	}
	x := t.leaf(t.path[0].node)
	newest, skip := t.userKey(t.newest), int(x.skip)
	if !bytes.HasPrefix(s.user, newest[:min(skip, len(newest))]) {
		return 0, false
	}
	w := word(x.word.Load())
	pos = t.newestPos
	if !t.precedes(t.newest, s) {
		previous := t.path[0].low
		if pos > 0 {
			previous = x.entryAt(w, pos-1)
		}
		return pos, previous == noEntry || t.precedes(previous, s)
	}
	pos++
	if pos == w.count() {
		return pos, x.next.Load() == uint32(noNode)
	}
	return pos, !t.precedes(x.entryAt(w, pos), s)
}

// checkPosition verifies that s belongs to pos in the leaf of the path, and is new.
func (t *tree) checkPosition(s *search, pos int) {
	x, previous := t.leaf(t.path[0].node), t.path[0].low
	w := word(x.word.Load())
	if pos > 0 {
		previous = x.entryAt(w, pos-1)
	}
	wrong := w.dead() || previous != noEntry && !t.precedes(previous, s) || pos == w.count() && x.next.Load() != 0
	if pos < w.count() {
		after := t.searchFor(x.entryAt(w, pos))
		wrong = wrong || bytes.Compare(s.user, after.user) > 0 || bytes.Equal(s.user, after.user) && s.trailer <= after.trailer
	}
	if wrong {
		panic(fmt.Sprintf("invariant: %x at %d inserted in a wrong place or twice", s.user, s.trailer))
	}
}
