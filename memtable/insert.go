package memtable

import (
	"math/bits"
	"slices"
	"sync/atomic"
)

// item is what a slot holds; below only in an upper level.
type item struct {
	head  uint32
	entry entry
	below address
}

// add puts an entry where the path leads to. Where that is full, two blocks take the place
// of one, and the right one gets a height: all levels up to there get its first entry.
func (l *skiplist) add(e entry) {
	new, height, side := item{entry: e}, 0, 1
	var left *block // of what the item leads to
	for level := 0; ; level++ {
		if level > 0 && level < height && l.path[level].pos == 0 && l.isFull(level) {
			height = level // nothing is left of it in the first block
		}
		known, below, splits := left, new.below, level < height || l.isFull(level)
		if splits {
			count := l.splitPoint(level, height)
			if level == 0 {
				height = l.drawHeight()
			}
			if level >= height && level < maxHeight && l.spare >= 2*upperBytes { // full
				height = level + 1
			}
			new, left, side = l.split(level, count, side, new)
		} else {
			l.put(level, side, new)
		}
		if known != nil { // from above now: see find
			known.next.Store(uint32(below))
		}
		if !splits || level >= height {
			return
		}
	}
}

// isFull reports whether the path leads to a block without room at a level.
func (l *skiplist) isFull(level int) bool {
	return word(l.path[level].block.word.Load()).count() == slots
}

// oddsBits coins must fall one way for one more level.
const oddsBits = 6

// drawHeight returns how high the first entry of a new block reaches: one level, and with
// odds of one in 64 each one more, of which one at most is new. What was not paid for is
// not built: a block without a place above is found from its left neighbor.
func (l *skiplist) drawHeight() int {
	height := 1 + bits.TrailingZeros64(l.coins.Uint64())/oddsBits
	return min(height, l.top()+1, maxHeight, int(l.spare/(2*upperBytes)))
}

// put adds an item to a block that has room, for readers too. The way goes on from there
// if side is 1.
func (l *skiplist) put(level, side int, new item) {
	at := &l.path[level]
	w := word(at.block.word.Load())
	free := w.count()
	if level == 0 && free < evenEntries {
		l.spare += blockShareBytes
	}
	new.head = headOf(l.userKey(new.entry), at.block.skip)
	at.block.set(level, free, new)
	at.block.word.Store(uint64(w.insert(at.pos)))
	at.pos += side
	if level > l.top() {
		l.highest.Store(uint32(level))
	}
}

// set fills a slot that no word names yet.
func (b *block) set(level, slot int, i item) {
	b.heads[slot], b.entries[slot] = i.head, i.entry
	if level > 0 {
		b.below(slot).Store(uint32(i.below))
	}
}

// split puts two new blocks in place of the one that the path leads to, with one item
// more. That stays as it is for readers that are in it; its word leads others on, and so
// does what led to it. It returns what to add to the level above, what is to the left of
// that, and its side.
func (l *skiplist) split(level, count, side int, new item) (item, *block, int) {
	at := &l.path[level]
	x := at.block
	w := word(x.word.Load())
	items := make([]item, w.count(), slots+1)
	for pos := range items {
		slot := w.at(pos)
		items[pos] = item{head: x.heads[slot], entry: x.entries[slot]}
		if level > 0 {
			items[pos].below = address(x.below(slot).Load())
		}
	}
	new.head = headOf(l.userKey(new.entry), x.skip)
	items = slices.Insert(items, at.pos, new)
	right := l.build(level, items[count:], x, x.link(), false)
	left := l.build(level, items[:count], x, low|link(right), l.isHead(level))

	way := l.way(level)
	way.Store(way.Load()&uint32(low) | uint32(left))
	if level == 0 && !l.isHead(0) { // in upper levels nobody comes this way
		before := at.from
		if before == nil {
			key, _ := l.entry(x.entries[0])
			before = l.find(&search{key.UserKey(), key.Trailer()}, nil).block
		}
		before.next.Store(before.next.Load()&uint32(low) | uint32(left))
	}
	x.word.Store(uint64(wordDead) | uint64(left))

	above := item{entry: items[count].entry, below: right}
	if at.pos += side; at.pos <= count {
		at.block = l.block(left)
		return above, at.block, 0
	}
	at.block, at.pos, at.from = l.block(right), at.pos-count, l.block(left)
	return above, at.from, 1
}

// isHead reports whether the path leads to the first block of a level.
func (l *skiplist) isHead(level int) bool {
	return l.path[level].from == nil && l.path[level+1].pos == 0
}

// way returns what leads to the block of the path.
func (l *skiplist) way(level int) *atomic.Uint32 {
	from, above := l.path[level].from, &l.path[level+1]
	switch {
	case from != nil && from.link().isLow():
		return &from.next
	case above.pos == 0:
		return &l.heads[level]
	}
	return above.block.below(word(above.block.word.Load()).at(above.pos - 1))
}

// splitPoint returns how many of the items of a block, one more than w has, go to the left
// when one is added at pos. In an upper level under the height those before pos do.
// Otherwise half of them do, but where keys come in ascending or descending order as
// many as a run will not come back to stay together, if that is paid for.
func (l *skiplist) splitPoint(level, height int) int {
	count, x, pos := evenEntries, l.path[level].block, l.path[level].pos
	w := word(x.word.Load())
	if level > 0 {
		l.spare -= 2 * upperBytes
		if level < height || pos == slots && x.link().to() == noBlock {
			return pos
		}
		return count
	}
	switch {
	case pos > 0 && l.newest == x.entryAt(w, pos-1):
		count = max(count, pos)
	case pos < slots && l.newest == x.entryAt(w, pos):
		count = min(slots+1-count, pos+1)
	}
	l.spare += paying*blockShareBytes - 2*blockBytes
	price := int64(max(count, slots+1-count)-evenEntries) * blockShareBytes
	if price > l.spare {
		return evenEntries
	}
	l.spare -= price
	return count
}

// build makes a block of items in place of a part of x. Its heads skip more bytes than
// those of x if it has blocks on both sides and that seems worth touching all keys.
func (l *skiplist) build(level int, items []item, x *block, next link, isHead bool) address {
	at := l.addBlock(level)
	b := l.block(at)
	b.skip = x.skip
	if !isHead && next.to() != noBlock && (items[0].head^items[len(items)-1].head)>>16 == 0 {
		b.skip = l.shared(items[0].entry, l.first(next.to()))
	}
	for slot, i := range items {
		if b.skip != x.skip {
			i.head = headOf(l.userKey(i.entry), b.skip)
		}
		b.set(level, slot, i)
	}
	if next.to() != noBlock {
		b.next.Store(uint32(next))
	}
	l.cells[at][0] = uint64(sortedWord(len(items))) // the word
	return at
}
