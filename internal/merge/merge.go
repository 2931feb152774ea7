// Package merge walks several sorted iterators as one.
//
// The children come newest first. Entries appear in internal order; where two
// children hold the very same internal key, both appear, the earlier child's
// first. So (key, index of the child) is a total order, walked the same way in
// both directions.
//
// Children may be memtables that grow while they are read. Turning round
// therefore seeks every child around the current key and never trusts a position
// taken earlier: an entry inserted meanwhile may appear, but never out of order.
package merge

import (
	"bytes"
	"fmt"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/sstable"
)

// Iterator is the merge of its children, itself a base.Iterator. It is used by
// one goroutine at a time. An error of any child ends the walk: Valid turns
// false and Err tells it; First, Last and the seeks try again.
//
// The children that stand on an entry form a binary heap whose root is the
// current one. While one child keeps winning, as it does over a run of
// neighbouring keys, a step costs one comparison, with the runner-up; a single
// child costs none. Within a block of a table not even an interface is called.
// Moves do not allocate.
type Iterator struct {
	children []child
	heap     []entry
	current  *child // at the root; nil when there is none
	runner   int    // heap index of the second best; 0: there is none
	limit    uint64 // its rank; the highest of all if there is none
	reverse  bool
	flip     uint64 // all ones in reverse, so that ranks compare alike in both directions
	again    bool
	previous []byte // user key that a move started from
	checked  []byte // last current key, kept for the order check of invariant builds
	err      error
}

var _ base.Iterator = (*Iterator)(nil)

// maxKeptKeyBytes bounds the buffer that Close keeps for the next walk.
const maxKeptKeyBytes = 4 << 10

// Run is one child. Where its walk stands in tables, Table is the iterator over the
// current one, which stays the same: within a block it is asked directly.
type Run struct {
	base.Iterator
	Table *sstable.Iterator // nil: there are no tables, and keys that it showed stay unchanged
}

// child is a Run and, unless that stands in a table, the key it stands on.
type child struct {
	Run
	shown base.InternalKey
}

// key returns the key that a child in the heap stands on.
func (c *child) key() base.InternalKey {
	if c.Table != nil {
		return c.Table.Key()
	}
	return c.shown
}

// entry is a child's place in the heap. rank is the first eight bytes of its user
// key, so that most comparisons touch nothing but the heap.
type entry struct {
	rank  uint64
	index int
}

// New returns the merge of children, newest first, unpositioned. The children
// belong to it until Close.
func New(children ...Run) *Iterator {
	it := &Iterator{}
	it.Reset(children)
	return it
}

// Reset makes it the merge of other children, unpositioned, as New does but in
// the memory it has. Former children that Close has not closed are the caller's
// again.
func (it *Iterator) Reset(children []Run) {
	clear(it.children)
	it.children = it.children[:0]
	for _, run := range children {
		it.children = append(it.children, child{Run: run})
	}
	it.heap = slices.Grow(it.heap[:0], len(children))
	it.start(false)
}

// First moves to the first entry of all.
func (it *Iterator) First() bool { return it.position(false, base.Iterator.First) }

// Last moves to the last entry of all.
func (it *Iterator) Last() bool { return it.position(true, base.Iterator.Last) }

// SeekGE moves to the first entry at or after key.
func (it *Iterator) SeekGE(key base.InternalKey) bool {
	return it.position(false, func(c base.Iterator) bool { return c.SeekGE(key) })
}

// SeekLT moves to the last entry before key.
func (it *Iterator) SeekLT(key base.InternalKey) bool {
	return it.position(true, func(c base.Iterator) bool { return c.SeekLT(key) })
}

// Next moves to the following entry.
func (it *Iterator) Next() bool { return it.move(1, false) }

// Prev moves to the preceding entry.
func (it *Iterator) Prev() bool { return it.move(-1, true) }

// InMemtable reports whether the current entry is in none of the tables.
func (it *Iterator) InMemtable() bool { return it.current != nil && it.current.Table == nil }

// Child returns the index of the child that the current entry comes from.
func (it *Iterator) Child() int { return it.heap[0].index }

// Valid reports whether the iterator stands on an entry.
func (it *Iterator) Valid() bool { return it.current != nil }

// Key returns the internal key of the entry that the iterator stands on.
func (it *Iterator) Key() base.InternalKey { return it.current.key() }

// Again reports whether Next or Prev came here from an entry of the same user key.
func (it *Iterator) Again() bool { return it.again }

// Value returns the value of the entry that the iterator stands on.
func (it *Iterator) Value() []byte {
	if it.current.Table != nil {
		return it.current.Table.Value()
	}
	return it.current.Iterator.Value()
}

// ValueErr says why Value, of a lazy child, has just returned nil: nil if that is the value.
func (it *Iterator) ValueErr() error {
	if it.current.Table == nil {
		return nil
	}
	return it.current.Table.Err()
}

// Expiry returns the time at which the current value ends, one of base.KindSetExpiring.
func (it *Iterator) Expiry() int64 {
	if it.current.Table != nil {
		return it.current.Table.Expiry()
	}
	return base.Until(it.current.Iterator.Value())
}

// Err returns the error that ended the walk, nil at a plain end.
func (it *Iterator) Err() error { return it.err }

// Close closes every child and returns Err. The iterator is then without children; Reset gives
// it new ones.
func (it *Iterator) Close() error {
	if it.current != nil && it.current.Table != nil {
		it.current.Table.GiveUpKey() // whoever was shown it may still look at it
	}
	for i := range it.children {
		_ = it.children[i].Close() // repeats what its Err has told
	}
	clear(it.children)
	it.children, it.heap, it.current, it.again = it.children[:0], it.heap[:0], nil, false
	if cap(it.previous) > maxKeptKeyBytes {
		it.previous = nil
	}
	return it.err
}

// start empties the heap for a walk in the given direction.
func (it *Iterator) start(reverse bool) {
	it.heap, it.current, it.again, it.err = it.heap[:0], nil, false, nil
	it.reverse, it.flip = reverse, 0
	if reverse {
		it.flip = ^uint64(0)
	}
}

// position moves every child and takes the best of them.
func (it *Iterator) position(reverse bool, move func(base.Iterator) bool) bool {
	it.start(reverse)
	for i := range it.children {
		if !it.admit(i, move(it.children[i].Iterator)) {
			return false
		}
	}
	it.build()
	return it.current != nil
}

// admit takes child i into the heap's memory if it stands on an entry. It reports
// false, ending the walk, when the child failed.
func (it *Iterator) admit(i int, stands bool) bool {
	c := &it.children[i]
	if !stands {
		err := c.Iterator.Err()
		return err == nil || it.fail(err)
	}
	c.shown = c.Iterator.Key()
	it.heap = append(it.heap, entry{rank: it.rank(c.shown), index: i})
	return true
}

// Leap moves the current child alone over entries that nobody wants: to its first at or
// after key, or, where the walk goes back, to its last before it; nil: to its end. Then it
// stands on the nearest entry of all children.
func (it *Iterator) Leap(key base.InternalKey) bool {
	c := it.current
	it.previous = append(it.previous[:0], it.Key().UserKey()...)
	switch {
	case key == nil:
		it.advance(c, false)
	case it.reverse:
		it.advance(c, c.Iterator.SeekLT(key))
	default:
		it.advance(c, c.Iterator.SeekGE(key))
	}
	it.again = it.current != nil && bytes.Equal(it.previous, it.Key().UserKey())
	return it.current != nil
}

// turn changes the direction of the walk: the current child stays, every other
// one moves to its nearest entry on the far side of the current key.
func (it *Iterator) turn(reverse bool) bool {
	current := it.heap[0].index
	key := it.Key()
	it.start(reverse)
	it.admit(current, true)
	for i := range it.children {
		if i == current {
			continue
		}
		if !it.admit(i, beyond(it.children[i].Iterator, key, i < current, reverse)) {
			return false
		}
	}
	it.build()
	return true
}

// beyond moves c to its nearest entry past (key, current child). An equal key of
// an earlier child lies before that, one of a later child after it.
func beyond(c base.Iterator, key base.InternalKey, earlier, reverse bool) bool {
	switch {
	case reverse && !earlier:
		return c.SeekLT(key)
	case reverse:
		if c.SeekGE(key) && base.Compare(c.Key(), key) == 0 {
			return true
		}
		return c.Err() == nil && c.SeekLT(key)
	}
	if stands := c.SeekGE(key); !stands || !earlier || base.Compare(c.Key(), key) != 0 {
		return stands
	}
	return c.Next()
}

// move moves the current child by one entry, back in reverse.
func (it *Iterator) move(by int, reverse bool) bool {
	c := it.current
	if c == nil || it.reverse != reverse && !it.turn(reverse) {
		return false
	}
	if c.Table != nil && it.heap[0].rank < it.limit { // no other child stands on this user key
		if moved, again := c.Table.Step(by); moved {
			it.again = again
			if it.runner > 0 || base.Invariants {
				it.settle(c.Table.Head() ^ it.flip)
			}
			return true
		}
	}
	previous := c.key().UserKey()
	if c.Table != nil {
		it.previous = append(it.previous[:0], previous...)
		previous = it.previous
	}
	if by > 0 {
		it.advance(c, c.Iterator.Next())
	} else {
		it.advance(c, c.Iterator.Prev())
	}
	it.again = it.current != nil && bytes.Equal(previous, it.current.key().UserKey())
	return it.current != nil
}

// advance restores the heap after the root's child moved.
func (it *Iterator) advance(c *child, stands bool) {
	if stands {
		c.shown = c.Iterator.Key()
		it.settle(it.rank(c.shown))
	} else if err := c.Iterator.Err(); err != nil {
		it.fail(err)
	} else {
		last := len(it.heap) - 1
		it.heap[0] = it.heap[last]
		it.heap = it.heap[:last]
		it.sift(0)
		it.choose()
	}
}

// settle moves the root, whose child now has the given rank, down if it lost its
// place.
func (it *Iterator) settle(rank uint64) {
	h := it.heap
	h[0].rank = rank
	if r := it.runner; rank >= it.limit && r > 0 && it.less(h[r], h[0]) {
		h[0], h[r] = h[r], h[0]
		it.sift(r)
		it.choose()
	}
	if base.Invariants {
		it.checkOrder()
	}
}

// build orders the heap. turn relies on an entry that is smallest staying first.
func (it *Iterator) build() {
	for i := len(it.heap)/2 - 1; i >= 0; i-- {
		it.sift(i)
	}
	it.choose()
	it.checked = it.checked[:0]
	it.checkOrder()
}

// choose finds the current child and the runner-up in an ordered heap.
func (it *Iterator) choose() {
	h := it.heap
	it.current, it.runner, it.limit = nil, 0, ^uint64(0)
	if len(h) > 0 {
		it.current = &it.children[h[0].index]
	}
	if len(h) > 1 {
		it.runner = 1
		if len(h) > 2 && it.less(h[2], h[1]) {
			it.runner = 2
		}
		it.limit = h[it.runner].rank
	}
}

// sift moves the entry at i down to where no child of it is smaller.
func (it *Iterator) sift(i int) {
	h := it.heap
	if i >= len(h) {
		return
	}
	moving := h[i]
	for next := 2*i + 1; next < len(h); next = 2*i + 1 {
		if right := next + 1; right < len(h) && it.less(h[right], h[next]) {
			next = right
		}
		if !it.less(h[next], moving) {
			break
		}
		h[i], i = h[next], next
	}
	h[i] = moving
}

// less reports whether a comes before b in the direction of the walk.
func (it *Iterator) less(a, b entry) bool {
	if a.rank != b.rank {
		return a.rank < b.rank
	}
	return it.lessFully(a, b)
}

func (it *Iterator) lessFully(a, b entry) bool {
	c := base.Compare(it.children[a.index].key(), it.children[b.index].key())
	if c == 0 {
		c = a.index - b.index
	}
	return (c < 0) != it.reverse
}

// rank is the head of a key, such that the child that comes first has the lowest.
func (it *Iterator) rank(key base.InternalKey) uint64 { return key.Head() ^ it.flip }

func (it *Iterator) fail(err error) bool {
	it.heap, it.current, it.err = it.heap[:0], nil, err
	return false
}

// checkOrder panics if the walk stepped the wrong way, as it would over a child
// that is out of order.
func (it *Iterator) checkOrder() {
	if !base.Invariants || it.current == nil {
		return
	}
	key := it.Key()
	if len(it.checked) > 0 && base.Compare(it.checked, key) != 0 && (base.Compare(it.checked, key) < 0) == it.reverse {
		panic(fmt.Sprintf("invariant: merged keys out of order: %s, then %s", base.InternalKey(it.checked), key))
	}
	it.checked = append(it.checked[:0], key...)
}
