package memtable

import (
	"bytes"

	"lsmdb/internal/base"
)

// item is what a slot holds; child only in an index node.
type item struct {
	head  uint32
	entry entry
	child node
}

// add puts an item at pos of the node of the path at level, of which the path goes
// on at position own (after the insert). In an index node the item is the left one
// of two nodes that take the place of one, and right is the other.
func (t *tree) add(level, pos, own int, new item, right node) {
	n := t.path[level].node
	x := t.leaf(n)
	w := word(x.word.Load())
	free := w.count()
	if free == slots {
		t.split(level, pos, own, new, right)
		return
	}
	open := t.path[level].low == noEntry || x.next.Load() == uint32(noNode)
	new.head = t.headIn(x, t.userKey(new.entry), open)
	t.put(level, n, free, new)
	t.reserved += reservedFor(level, free+1) - reservedFor(level, free)
	x.word.Store(uint64(w.insert(pos)))
	if level > 0 {
		// Readers that have the old word must not follow it to here: see find.
		t.index(n).children[w.at(pos)].Store(uint32(right))
	}
}

// put fills a slot that no word names yet.
func (t *tree) put(level int, n node, slot int, i item) {
	x := t.leaf(n)
	x.heads[slot], x.entries[slot] = i.head, i.entry
	if level > 0 {
		t.index(n).children[slot].Store(uint32(i.child))
	}
}

// split is add where the node is full: two new nodes take its place. It stays as
// it is for readers that are in it; its word leads others on.
//
// The promise is that used + reserved <= charged at all times. With even splits it
// holds because whatever a node has beyond evenEntries is reserved for its split
// as it comes, entry by entry, out of what these entries are charged. An uneven
// split leaves a fuller node, for which more must stay reserved, so there is one
// only where earlier entries left enough over.
func (t *tree) split(level, pos, own int, new item, right node) {
	at := t.splitPoint(level, pos, new.entry)
	if at == 0 || at == slots+1 {
		t.extend(at == 0, new.entry)
		return
	}
	step := &t.path[level]
	old, low := step.node, step.low
	x := t.leaf(old)
	next := node(x.next.Load())
	open := low == noEntry || next == noNode
	var items [slots + 1]item
	w := word(x.word.Load())
	for i := range slots {
		to := &items[i]
		if i >= pos {
			to = &items[i+1]
		}
		to.head, to.entry = x.heads[w.at(i)], x.entryAt(w, i)
		if level > 0 {
			to.child = node(t.index(old).children[w.at(i)].Load())
		}
	}
	new.head = t.headIn(x, t.userKey(new.entry), open)
	items[pos] = new
	if level > 0 {
		items[pos+1].child = right
	}

	middle := items[at-1].entry
	newRight := t.rebuild(level, items[at:], x.skip, middle, open, next)
	newLeft := t.rebuild(level, items[:at], x.skip, low, open, newRight)
	t.reserved += reservedFor(level, at) + reservedFor(level, slots+1-at) - reservedFor(level, slots)

	if level == 0 {
		t.linkFrom(low, newLeft)
	}
	x.word.Store(uint64(wordDead) | uint64(newLeft))
	side := 0
	step.node = newLeft
	if own >= at {
		side, step.node, step.low = 1, newRight, middle
		if level == 0 {
			t.newestPos -= at
		}
	}
	t.hang(level, old, item{entry: middle, child: newLeft}, newRight, side)
}

// linkFrom links n to the right of the leaf that ends with low.
func (t *tree) linkFrom(low entry, n node) {
	if low != noEntry {
		s := t.searchFor(low)
		t.find(&s, nil).leaf.next.Store(uint32(n))
	}
}

// hang puts two nodes in the place of old above level. The path goes on in the
// left one if side is 0, else in the right one.
func (t *tree) hang(level int, old node, left item, right node, side int) {
	if level == t.height() {
		t.grow(old, left, right)
		return
	}
	parent, s := t.leaf(t.path[level+1].node), t.searchFor(left.entry)
	pos := t.lowerBound(parent, word(parent.word.Load()), &s, true) // where old is
	t.add(level+1, pos, pos+side, left, right)
}

// extend is split for a run of keys that reached the end of its leaf: a new leaf
// beside it begins with e, and the old one stays as it is, alive and full. What the
// new one skips may be a guess, that the run goes on as it did: see headIn. The old
// one gets a fence that has what it skips: see splitPoint.
func (t *tree) extend(left bool, e entry) {
	step := &t.path[0]
	old := step.node
	neighbor, next := t.newest, noNode
	if left {
		next = old
		if step.low != noEntry {
			neighbor = step.low
		}
	}
	skip := t.shared(neighbor, e)
	step.node = t.build(0, []item{{t.head(e, skip), e, noNode}}, skip, next)
	t.newestPos = 0
	if left {
		t.linkFrom(step.low, step.node)
		t.hang(0, old, item{entry: e, child: step.node}, old, 0)
		return
	}
	step.low = neighbor
	t.leaf(old).next.Store(uint32(step.node))
	t.hang(0, old, item{entry: neighbor, child: old}, step.node, 1)
}

// splitPoint returns how many of slots+1 items go to the left when one is added at
// pos: half of them, but where keys come in ascending or descending order as many
// as a run will not come back to stay together. None or all means extend.
func (t *tree) splitPoint(level, pos int, new entry) int {
	if level > 0 {
		return evenEntries
	}
	x, at, nodes := t.leaf(t.path[0].node), evenEntries, int64(2)
	w := word(x.word.Load())
	switch {
	case pos == slots && t.newest == x.last(w) && t.shares(x, t.newest):
		at, nodes = slots+1, 1
	case pos == 0 && t.newest == x.entryAt(w, 0) && t.shares(x, new):
		at, nodes = 0, 1
	case pos > 0 && t.newest == x.entryAt(w, pos-1):
		at = max(at, pos)
	case pos < slots && t.newest == x.entryAt(w, pos):
		at = min(slots+1-at, pos+1)
	}
	more := nodes*leafBytes + indexShareBytes + reservedFor(0, at) + reservedFor(0, slots+1-at) - reservedFor(0, slots)
	if t.used+t.reserved+more > t.charged {
		return evenEntries
	}
	return at
}

// shares reports whether e has what x skips, so that it can be a fence of x.
func (t *tree) shares(x *leaf, e entry) bool {
	return bytes.HasPrefix(t.userKey(e), t.userKey(x.entries[0])[:x.skip])
}

// rebuild is build for a part of an old node, open or not, behind low. The new one
// skips more than the old only where that is worth touching all keys, and less
// only where it must.
func (t *tree) rebuild(level int, items []item, old uint32, low entry, open bool, next node) node {
	const worthwhile = 2
	first, last := items[0], items[len(items)-1]
	certain := !open || old == 0 // the old heads still hold
	if certain && (first.head^last.head)>>(32-8*worthwhile) != 0 {
		return t.build(level, items, old, next)
	}
	if last.entry == noEntry {
		last = items[len(items)-2]
	}
	skip := uint32(0)
	if low != noEntry {
		skip = t.shared(low, last.entry)
	} else if len(items) > 1 {
		skip = t.shared(first.entry, last.entry)
	}
	if certain && skip < old+worthwhile {
		return t.build(level, items, old, next)
	}
	for i := range items {
		items[i].head = t.head(items[i].entry, skip)
	}
	return t.build(level, items, skip, next)
}

// build makes a node of items whose heads skip so many bytes.
func (t *tree) build(level int, items []item, skip uint32, next node) node {
	sizeBytes := leafBytes
	if level > 0 {
		sizeBytes = indexBytes
	}
	n := t.addNode(sizeBytes)
	for slot, i := range items {
		t.put(level, n, slot, i)
	}
	x := t.leaf(n)
	x.skip = skip
	x.next.Store(uint32(next))
	x.word.Store(uint64(sortedWord(len(items))))
	return n
}

// grow puts a new root above the two nodes that took the place of the old one.
func (t *tree) grow(old node, left item, right node) {
	level := t.height() + 1
	skip := uint32(base.MaxKeyBytes)
	for _, e := range t.leaf(old).entries {
		if e != noEntry {
			skip = min(skip, t.shared(e, left.entry))
		}
	}
	left.head = t.head(left.entry, skip)
	root := t.build(level, []item{left, {headAfterAll, noEntry, right}}, skip, noNode)
	t.used -= indexBytes // see rootBytes
	t.path[level].node, t.path[level].low = root, noEntry
	t.root.Store(uint64(level)<<32 | uint64(root))
}

func (t *tree) head(e entry, skip uint32) uint32 {
	if e == noEntry {
		return headAfterAll
	}
	return headOf(t.userKey(e), skip)
}

// reservedFor returns what is reserved for the split of a node with count entries.
func reservedFor(level, count int) int64 {
	share := leafShareBytes
	if level > 0 {
		share = indexShareBytes
	}
	return int64(max(0, count-evenEntries)) * share
}
