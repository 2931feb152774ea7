package memtable

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync/atomic"

	"lsmdb/internal/base"
)

// skiplist keeps the nodes of an arena in internal order. Half of the nodes of
// each level reach the next: that touches fewer nodes than the usual quarter,
// and with prefixes inlined every node touched is a cache miss. Lookups in
// 400,000 entries gained 6 to 18 %, random inserts 1 to 10 %, for 2.7 bytes of
// links more per entry.
type skiplist struct {
	height atomic.Int32 // of the tallest tower; readers may see an old one, which costs them steps
	arena  arena        // ends with what the writer changes all the time, as do the fields below

	// The finger, the writer's own: the newest node and the last nodes before it
	// at every level.
	newest       node
	newestHeight int
	before       path

	random uint64 // state of the height generator, never 0
}

// path is the last node before some position, per level.
type path [maxHeight]node

// search is what a node is compared with: a position in internal order.
type search struct {
	prefix  uint64
	user    []byte
	trailer base.Trailer
}

func searchFor(user []byte, t base.Trailer) search { return search{prefixOf(user), user, t} }

func (l *skiplist) initialize(arenaBytes int64) {
	l.arena.initialize(arenaBytes)
	l.height.Store(1)
	l.newest = head
	l.newestHeight = maxHeight
	for level := range l.before {
		l.before[level] = head
	}
	l.random = 0x9e3779b97f4a7c15 // every memtable the same: a run can be repeated
}

// insert adds an entry for the one writer.
func (l *skiplist) insert(key, value []byte, t base.Trailer) {
	s := searchFor(key, t)
	if !l.moveFinger(s) {
		l.descend(s, 0, &l.before)
	}
	if base.Invariants {
		l.checkPosition(s)
	}
	n, height := l.arena.allocate(key, value, t, l.drawHeight())
	if height > int(l.height.Load()) {
		l.height.Store(int32(height))
	}
	for level := range height {
		l.arena.setFreshNext(n, level, l.arena.next(l.before[level], level))
	}
	for level := range height { // level 0 first: see the package comment
		l.arena.setNext(l.before[level], level, n)
	}
	l.newest, l.newestHeight = n, height
}

// moveFinger sets before for s without a search where s lies directly behind the
// newest node, as in an ascending load, or directly before it, as in a
// descending one or when the same key is written again. Neighbours at level 0
// have no node between them at any level, so one comparison on each side is
// enough.
func (l *skiplist) moveFinger(s search) bool {
	if l.newest != head && !l.precedes(l.newest, s) {
		previous := l.before[0]
		return previous == head || l.precedes(previous, s)
	}
	next := l.arena.next(l.newest, 0)
	if next != none && l.precedes(next, s) {
		return false
	}
	for level := range l.newestHeight {
		l.before[level] = l.newest
	}
	return true
}

// seek returns the first node at or after s, or none.
func (l *skiplist) seek(s search) node {
	_, at := l.descend(s, 0, nil)
	return at
}

// descend returns, at the bottom level, the last node before s (or head) and the
// first at or after it (or none); p, if not nil, gets the former for every level
// that was searched.
func (l *skiplist) descend(s search, bottom int, p *path) (last, first node) {
	last = head
	for level := int(l.height.Load()) - 1; level >= bottom; level-- {
		for {
			next := l.arena.next(last, level)
			if next == first { // the end of the list, or compared one level higher
				break
			}
			if !l.precedes(next, s) {
				first = next
				break
			}
			last = next
		}
		if p != nil {
			p[level] = last
		}
	}
	return last, first
}

// last returns the last node, or head.
func (l *skiplist) last() node {
	n := head
	for level := int(l.height.Load()) - 1; level >= 0; level-- {
		for next := l.arena.next(n, level); next != none; next = l.arena.next(n, level) {
			n = next
		}
	}
	return n
}

// precedes reports whether n stands before s.
func (l *skiplist) precedes(n node, s search) bool {
	prefix := l.arena.units[n]
	return prefix < s.prefix || prefix == s.prefix && l.precedesInFull(n, s)
}

// precedesInFull is precedes where the prefixes decide nothing.
func (l *skiplist) precedesInFull(n node, s search) bool {
	header := l.arena.units[n-1]
	start := l.arena.keyStart(n, headerHeight(header))
	end := start + headerKeyBytes(header)
	if c := bytes.Compare(l.arena.bytes[start:end], s.user); c != 0 {
		return c < 0
	}
	return base.Trailer(binary.LittleEndian.Uint64(l.arena.bytes[end:])) > s.trailer
}

// searchForNode returns the position of n itself.
func (l *skiplist) searchForNode(n node) search {
	key, _ := l.arena.entry(n)
	return search{l.arena.units[n], key.UserKey(), key.Trailer()}
}

// drawHeight returns h with a probability of 2^-h.
func (l *skiplist) drawHeight() int {
	// xorshift64*: G. Marsaglia, "Xorshift RNGs" (2003), with S. Vigna's multiplier.
	l.random ^= l.random >> 12
	l.random ^= l.random << 25
	l.random ^= l.random >> 27
	drawn := l.random * 0x2545f4914f6cdd1d >> 32
	return 1 + bits.TrailingZeros64(drawn|1<<(maxHeight-1))
}

// checkPosition verifies that before is where s belongs and that s is new.
func (l *skiplist) checkPosition(s search) {
	for level, n := range l.before {
		next := l.arena.next(n, level)
		if n != head && !l.precedes(n, s) || next != none && l.precedes(next, s) {
			panic(fmt.Sprintf("invariant: %x at %d inserted in the wrong place of level %d", s.user, s.trailer, level))
		}
		if next != none && l.arena.hasUserKey(next, s.user) && l.searchForNode(next).trailer == s.trailer {
			panic(fmt.Sprintf("invariant: %x at %d inserted twice", s.user, s.trailer))
		}
	}
}
