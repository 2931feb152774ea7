package memtable

import (
	"math/bits"
	"slices"
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
	new, left, height, side := item{entry: e}, noBlock, 0, 0
	for level := 0; level <= l.top(); level++ {
		if level >= height && !l.isFull(level) {
			l.put(level, side, new, left)
			return
		}
		count := l.splitPoint(level, height)
		switch {
		case level == 0:
			height = l.drawHeight()
		case level >= height && level < l.top() && !l.isFull(level+1):
			height = level + 1
		}
		new, left, side = l.split(level, height, count, side, new, left)
		if level >= height {
			return
		}
	}
	l.grow(side, new, left)
}

// isFull reports whether the path leads to a block without room at a level.
func (l *skiplist) isFull(level int) bool {
	return word(l.path[level].block.word.Load()).count() == slots
}

// oddsBits coins must fall one way for one more level.
const oddsBits = 4

// drawHeight returns in how many levels above a new block of entries gets a place: in one,
// and with odds of one in sixteen each in one more. What was not paid for is not built: a block without
// a place above is found from its left neighbor.
func (l *skiplist) drawHeight() int {
	top := l.top()
	height := min(1+bits.TrailingZeros64(l.coins.Uint64())/oddsBits, top+1, maxHeight)
	for ; height > 0; height-- {
		splits := int64(height - 1)
		if height <= top && l.isFull(height) {
			splits++
		}
		if splits*2*upperBytes <= l.spare {
			break
		}
	}
	return height
}

// put adds an item to a block that has room, for readers too. Left is what the slot
// before it leads to from now on, unless it is noBlock. The way goes on behind the item
// if side is 1.
func (l *skiplist) put(level, side int, new item, left address) {
	at := &l.path[level]
	x := at.block
	w := word(x.word.Load())
	free := w.count()
	new.head = headOf(l.userKey(new.entry), x.skip)
	x.set(level, free, new)
	if level == 0 {
		if free < evenEntries {
			l.spare += blockShareBytes
		}
		x.word.Store(uint64(w.insert(at.pos)))
		return
	}
	x.word.Store(uint64(w.insert(at.pos + 1)))
	if left != noBlock {
		// Readers that have the old word must not follow it to here: see find.
		x.below(w.at(at.pos)).Store(uint32(left))
	}
	at.pos += side
}

// set fills a slot that no word names yet.
func (b *block) set(level, slot int, i item) {
	b.heads[slot], b.entries[slot] = i.head, i.entry
	if level > 0 {
		b.below(slot).Store(uint32(i.below))
	}
}

// split puts two new blocks in place of the one that the path leads to, with one item
// more. That stays as it is for readers that are in it; its word leads others on. What
// it gets and returns is what put gets, at this level and at the one above.
func (l *skiplist) split(level, height, count, side int, new item, left address) (item, address, int) {
	at := &l.path[level]
	x := at.block
	w, next := word(x.word.Load()), x.link()
	items := make([]item, w.count(), slots+1)
	for pos := range items {
		slot := w.at(pos)
		items[pos] = item{head: x.heads[slot], entry: x.entries[slot]}
		if level > 0 {
			items[pos].below = address(x.below(slot).Load())
		}
	}
	if left != noBlock {
		items[at.pos].below = left
	}
	new.head = headOf(l.userKey(new.entry), x.skip)
	items = slices.Insert(items, at.pos+min(level, 1), new)
	newRight := l.build(level, items[count:], x, next, false)
	newLeft := l.build(level, items[:count], x, makeLink(newRight, level >= height), l.isHead(level))
	above := item{entry: items[count].entry, below: newRight}
	left = l.lead(level, height, newLeft)
	x.word.Store(uint64(wordDead) | uint64(newLeft))

	if at.pos += side; at.pos < count {
		at.block, side = l.block(newLeft), 0
		return above, left, side
	}
	at.block, at.pos, at.from = l.block(newRight), at.pos-count, nil
	if level >= height {
		at.from = l.block(newLeft)
	}
	return above, left, 1
}

// isHead reports whether the path leads to the first block of a level.
func (l *skiplist) isHead(level int) bool {
	if l.path[level].from != nil {
		return false
	}
	if level == l.top() {
		return true
	}
	above := &l.path[level+1]
	return above.block.entryAt(word(above.block.word.Load()), above.pos) == noEntry
}

// lead makes those lead to the left one of two new blocks that lead to the old one, but
// the level above only if it does not learn of the right one. Otherwise it gets what
// lead returns, if anything. The old block's word shows the way without these links too,
// but once more at each split.
func (l *skiplist) lead(level, height int, left address) address {
	at := &l.path[level]
	switch {
	case at.from != nil:
		at.from.next.Store(uint32(makeLink(left, true)))
		return noBlock
	case level < height:
	case level == l.top():
		l.heads.Store(uint64(level)<<32 | uint64(left))
	default:
		above := &l.path[level+1]
		above.block.below(word(above.block.word.Load()).at(above.pos)).Store(uint32(left))
	}
	if level == 0 && !l.isHead(0) { // in upper levels nobody comes this way
		l.leftOf(at.block).next.Store(uint32(left))
	}
	return left
}

// leftOf returns the block of entries to the left of x, the one that the path leads to
// from above.
func (l *skiplist) leftOf(x *block) *block {
	above := &l.path[1]
	if above.pos == 0 {
		key, _ := l.entry(x.entries[0])
		return l.find(&search{key.UserKey(), key.Trailer()}, nil).block
	}
	slot := word(above.block.word.Load()).at(above.pos - 1)
	b := l.block(address(above.block.below(slot).Load()))
	for b.link().isLow() {
		b = l.block(b.link().to())
	}
	return b
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
		if pos++; level < height || pos == slots && x.link().to() == noBlock {
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

// build makes a block of items in place of a part of x. Between two blocks that the
// level above knows its heads skip more bytes than those of x if that seems worth
// touching all keys.
func (l *skiplist) build(level int, items []item, x *block, next link, isHead bool) address {
	at := l.addBlock(level)
	b := l.block(at)
	b.skip = x.skip
	if !isHead && next.to() != noBlock && !next.isLow() && (items[0].head^items[len(items)-1].head)>>16 == 0 {
		b.skip = l.shared(items[0].entry, l.first(next.to()))
	}
	for slot, i := range items {
		if b.skip != x.skip {
			i.head = headOf(l.userKey(i.entry), b.skip)
		}
		b.set(level, slot, i)
	}
	if next.to() != noBlock && level > 0 {
		*b.bound() = headOf(l.userKey(l.first(next.to())), b.skip)
	}
	if next.to() != noBlock {
		b.next.Store(uint32(next))
	}
	l.cells[at][0] = uint64(sortedWord(len(items))) // the word
	return at
}

// grow puts a new level above all others, of the head that leads to left and of an item.
func (l *skiplist) grow(side int, new item, left address) {
	level := l.top() + 1
	if left == noBlock {
		left = address(l.heads.Load())
	}
	new.head = headOf(l.userKey(new.entry), 0)
	head := l.build(level, []item{{0, noEntry, left}, new}, &block{}, makeLink(noBlock, false), true)
	l.used -= upperBytes // see headBytes
	l.path[level] = place{block: l.block(head), pos: side}
	l.heads.Store(uint64(level)<<32 | uint64(head))
}
