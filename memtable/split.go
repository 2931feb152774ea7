package memtable

import (
	"math"
	"slices"
)

// item is what a slot holds; child only in an index node.
type item struct {
	head  uint32
	entry entry
	child node
}

// add puts an item where the path leads to at level. In an index node the item is
// the left one of two nodes that take the place of one, right is the other, and
// the path goes on in that if side is 1.
func (t *tree) add(level, side int, new item, right node) {
	at := &t.path[level]
	x := at.leaf
	w := word(x.word.Load())
	new.head = headOf(t.userKey(new.entry), x.skip)
	free := w.count()
	if free == slots {
		t.split(level, side, new, right)
		return
	}
	if level == 0 && free < evenEntries {
		t.spare += leafShareBytes
	}
	x.put(level, free, new)
	x.word.Store(uint64(w.insert(at.pos)))
	if level > 0 {
		// Readers that have the old word must not follow it to here: see find.
		x.child(w.at(at.pos)).Store(uint32(right))
	}
	at.pos += side
}

// put fills a slot that no word names yet.
func (l *leaf) put(level, slot int, i item) {
	l.heads[slot], l.entries[slot] = i.head, i.entry
	if level > 0 {
		l.child(slot).Store(uint32(i.child))
	}
}

// split is add where the node is full: two new nodes take its place. It stays as
// it is for readers that are in it; its word leads others on.
func (t *tree) split(level, side int, new item, right node) {
	at := &t.path[level]
	x := at.leaf
	w, next := word(x.word.Load()), node(x.next.Load())
	items := make([]item, slots, slots+1)
	for pos := range items {
		slot := w.at(pos)
		items[pos] = item{head: x.heads[slot], entry: x.entries[slot]}
		if level > 0 {
			items[pos].child = node(x.child(slot).Load())
		}
	}
	items = slices.Insert(items, at.pos, new)
	count := evenEntries
	if level == 0 {
		count = t.splitPoint(x, w, at.pos)
	} else {
		items[at.pos+1].child = right
	}

	middle := items[count-1].entry
	newRight := t.build(level, items[count:], x.skip, middle, next)
	newLeft := t.build(level, items[:count], x.skip, at.low, newRight)
	// The old node's word shows the way without this link too, but once more at
	// each split. Of an index node's links only those between heirs are followed.
	if parent := &t.path[level+1]; parent.pos > 0 {
		neighbor := parent.leaf.child(word(parent.leaf.word.Load()).at(parent.pos - 1)).Load()
		t.leaf(node(neighbor)).next.Store(uint32(newLeft))
	} else if level == 0 && at.low != noEntry {
		low, _ := t.entry(at.low)
		t.find(&search{low.UserKey(), low.Trailer()}, nil).leaf.next.Store(uint32(newLeft))
	}
	x.word.Store(uint64(wordDead) | uint64(newLeft))

	if at.pos += side; at.pos < count {
		at.leaf, side = t.leaf(newLeft), 0
	} else {
		at.leaf, at.low, at.pos, side = t.leaf(newRight), middle, at.pos-count, 1
	}
	left := item{entry: middle, child: newLeft}
	if level == t.height() {
		t.grow(side, left, newRight)
		return
	}
	t.add(level+1, side, left, newRight)
}

// splitPoint returns how many of slots+1 items go to the left when one is added at
// pos of a leaf: half of them, but where keys come in ascending or descending order
// as many as a run will not come back to stay together, if that is paid for.
func (t *tree) splitPoint(x *leaf, w word, pos int) int {
	count := evenEntries
	switch {
	case pos > 0 && t.newest == x.entryAt(w, pos-1):
		count = max(count, pos)
	case pos < slots && t.newest == x.entryAt(w, pos):
		count = min(slots+1-count, pos+1)
	}
	price := int64(max(count, slots+1-count)-evenEntries) * leafShareBytes
	if price > t.spare {
		return evenEntries
	}
	t.spare -= price
	return count
}

// build makes a node of items for keys behind low, whose heads skip so many bytes.
// It skips more if it has a fence on either side and that seems worth touching all
// keys.
func (t *tree) build(level int, items []item, skip uint32, low entry, next node) node {
	n := t.addNode(level)
	x := t.leaf(n)
	x.skip = skip
	last := items[len(items)-1]
	if low != noEntry && next != noNode && (items[0].head^last.head)>>16 == 0 {
		x.skip = t.shared(low, last.entry)
	}
	for slot, i := range items {
		if x.skip != skip {
			i.head = headOf(t.userKey(i.entry), x.skip)
		}
		x.put(level, slot, i)
	}
	if next != noNode {
		x.next.Store(uint32(next))
	}
	t.cells[n][0] = uint64(sortedWord(len(items))) // the word
	return n
}

// grow puts a new root above the two nodes that took the place of the old one.
func (t *tree) grow(side int, left item, right node) {
	level := t.height() + 1
	left.head = headOf(t.userKey(left.entry), 0)
	root := t.build(level, []item{left, {math.MaxUint32, noEntry, right}}, 0, noEntry, noNode)
	t.used -= indexBytes // see rootBytes
	t.path[level] = place{leaf: t.leaf(root), pos: side}
	t.root.Store(uint64(level)<<32 | uint64(root))
}
