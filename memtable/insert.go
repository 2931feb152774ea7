package memtable

import (
	"bytes"
	"fmt"
	"math/bits"

	"lsmdb/internal/base"
)

// oddsBits coins must fall one way for one more level.
const oddsBits = 4

// insert adds an entry for the one writer.
func (l *skiplist) insert(key, value []byte, trailer base.Trailer) {
	s := search{key, trailer}
	run := l.besideNewest(&s)
	if run == 0 || l.newest.word.count() == slots {
		l.newest = l.descend(&s, run)
	}
	if base.Invariants && !l.belongs(&s, l.newest.pos) {
		panic(fmt.Sprintf("invariant: %x at %d inserted in a wrong place or twice", key, trailer))
	}
	l.put(0, &l.newest, l.addEntry(key, value, trailer), noBlock)
}

// besideNewest returns +1 if s lies directly behind the newest entry, as in an ascending
// load; -1 if directly before it, as in a descending one or when the same key is written
// again; 0 elsewhere. Nothing cold is touched to find out the last. Otherwise newest
// becomes the place of s.
func (l *skiplist) besideNewest(s *search) int {
	x, w, pos := l.newest.block, l.newest.word, l.newest.pos
	if x == nil || !bytes.HasPrefix(s.user, l.userKey(l.newest.entry())[:x.skip]) {
		return 0
	}
	head, newest := headOf(s.user, x.skip), x.heads[w.at(pos)]
	if head >= newest && (pos+1 == w.count() || head <= x.heads[w.at(pos+1)]) && l.belongs(s, pos+1) {
		l.newest.pos++
		return +1
	}
	if head <= newest && head >= x.heads[l.newest.way()] && l.belongs(s, pos) {
		return -1
	}
	return 0
}

// belongs reports whether s lies at a position of newest's block, between its neighbors.
func (l *skiplist) belongs(s *search, pos int) bool {
	x, w := l.newest.block, l.newest.word
	if pos == 0 || !l.precedes(x.entryAt(w, pos-1), s) {
		return false
	}
	if pos < w.count() {
		return l.compare(x.entryAt(w, pos), s) > 0
	}
	return x.right() == noBlock || l.compare(l.first(x.right()), s) > 0
}

// descend returns the place of s in a block of entries that has room. Each full block on
// the way is split before the way leads into it, so there is room for what that adds to
// the level above. Blocks below the height that coins give end where s belongs.
func (l *skiplist) descend(s *search, run int) (at place) {
	height, top := 0, l.top.Load()
	if run == 0 {
		height = bits.TrailingZeros64(l.coins.Uint64()) / oddsBits
	}
	if at = l.placeIn(address(top), s); at.word.count() == slots {
		l.raise(l.height()+1, address(top))
		at = l.placeIn(l.blocks, s)
	}
	for level := l.height() - 1; level >= 0; {
		below := l.placeIn(address(at.block.below(at.way()).Load()), s)
		if left := l.divide(&below, level, run, level < height); left > 0 {
			l.split(&at, &below, level, left)
			height = min(height, level) // once in each level
		} else {
			at, level = below, level-1
		}
	}
	return at
}

// placeIn returns the place of s in a block.
func (l *skiplist) placeIn(at address, s *search) place {
	x := l.block(at)
	w := word(x.word.Load())
	return place{x, w, l.lowerBound(x, w, s)}
}

// raise makes one more level, which leads to the first block of the one below.
func (l *skiplist) raise(level int, below address) {
	at := l.addBlock(level)
	l.put(level, &place{block: l.block(at)}, start, below)
	l.spare += (half-1)*upperShareBytes - upperBytes // see arena
	l.top.Store(uint64(level)<<32 | uint64(at))
}

// divide returns how many items of a block are to go to the left if it is to be split,
// otherwise 0. Half of them do, but where keys come in ascending or descending order as
// many as a run will not come back to stay together, and where coins end the block all
// before the place: if that is paid for.
func (l *skiplist) divide(at *place, level, run int, ends bool) int {
	count, left := at.word.count(), half
	full, ends := count == slots, ends && at.pos < count
	switch {
	case ends:
		left = at.pos
	case !full:
		return 0
	case run > 0:
		left = max(half, at.pos-1)
	case run < 0:
		left = min(half, at.pos)
	}
	beyond := func(count int) int64 { return int64(max(0, count-half)) * sharesBytes[min(level, 1)] }
	price := 2*sizesBytes[min(level, 1)] + upperShareBytes - beyond(count) // of an even split
	if more := beyond(left) + beyond(count-left); price+more <= l.spare {
		price += more
	} else if left = half; !full {
		return 0
	}
	l.spare -= price
	return left
}

// split puts two new blocks in place of one, and so many of its items into the left one. It
// stays as it is for readers that are in it; its word leads others on, and then what led to
// it does. Above goes on to lead to the place.
func (l *skiplist) split(above, at *place, level, count int) {
	x, way := at.block, above.way()
	right := l.build(level, at, count, at.word.count(), x.right())
	left := l.build(level, at, 0, count, right)
	x.word.Store(uint64(wordDead) | uint64(left))
	if level == 0 && x.entries[0] != start { // in upper levels nobody comes from the left
		l.before(above, x.entries[0]).next.Store(uint32(left))
	}
	l.put(level+1, above, l.first(right), right)
	above.block.below(way).Store(uint32(left))
	if at.pos > count {
		above.pos++
	}
}

// before returns the block of entries to the left of the one that begins with e, where the
// way goes down from above.
func (l *skiplist) before(above *place, e entry) *block {
	if above.pos > 1 {
		return l.block(address(above.block.below(above.word.at(above.pos - 2)).Load()))
	}
	key, _ := l.entry(e)
	return l.find(&search{key.UserKey(), key.Trailer()}).block
}

// build makes a block of a part of another one. Its heads skip more bytes if there is a
// block to the right and that seems worth touching all keys.
func (l *skiplist) build(level int, from *place, start, end int, right address) address {
	at, x := l.addBlock(level), from.block
	b := l.block(at)
	b.skip = x.skip
	if right != noBlock {
		b.next.Store(uint32(right))
		if (x.heads[from.word.at(start)]^x.heads[from.word.at(end-1)])>>16 == 0 {
			first := x.entryAt(from.word, start)
			b.skip = uint32(base.CommonPrefix(l.userKey(first), l.userKey(l.first(right))))
		}
	}
	for slot := range end - start {
		was := from.word.at(start + slot)
		b.heads[slot], b.entries[slot] = x.heads[was], x.entries[was]
		if b.skip != x.skip {
			b.heads[slot] = headOf(l.userKey(b.entries[slot]), b.skip)
		}
		if level > 0 {
			b.below(slot).Store(x.below(was).Load())
		}
	}
	l.cells[at][0] = uint64(sortedWord(end - start)) // the word
	return at
}

// put adds an entry to a block that has room, for readers too. In an upper level below is
// the block that begins with it.
func (l *skiplist) put(level int, at *place, e entry, below address) {
	x, slot := at.block, at.word.count()
	if slot < half && level < l.height() {
		l.spare += sharesBytes[min(level, 1)]
	}
	x.heads[slot], x.entries[slot] = headOf(l.userKey(e), x.skip), e
	if level > 0 {
		x.below(slot).Store(uint32(below))
	}
	at.word = at.word.insert(at.pos)
	x.word.Store(uint64(at.word))
}
