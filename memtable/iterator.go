package memtable

import "lsmdb/internal/base"

// Iterator walks a memtable in internal order, forwards and backwards, every
// version of every key. It implements base.Iterator and never fails. Key and
// Value share the arena: they stay unchanged even after the iterator moved on.
//
// An iterator of a table that is being written meets every entry that was there
// when it was positioned, and may meet later ones.
type Iterator struct {
	list *skiplist
	at   node // none: not on an entry

	// Nodes have no links backwards, so Prev searches. When the one before was a
	// Prev too, it collects the nodes before at in ascending order, which the
	// following ones take from the end. Entries inserted meanwhile are missed:
	// they are later than the position.
	collected  [64]node
	count      int
	descending bool // the last move was Prev
}

var _ base.Iterator = (*Iterator)(nil)

// collectLevel is where the search for a run of nodes ends that Prev collects:
// runs have 2^collectLevel nodes on average.
const collectLevel = 4

// First moves to the first entry.
func (it *Iterator) First() bool { return it.moveTo(it.list.arena.next(head, 0)) }

// Last moves to the last entry.
func (it *Iterator) Last() bool { return it.moveTo(it.list.last()) }

// SeekGE moves to the first entry at or after key.
func (it *Iterator) SeekGE(key base.InternalKey) bool {
	return it.moveTo(it.list.seek(searchFor(key.UserKey(), key.Trailer())))
}

// SeekLT moves to the last entry before key.
func (it *Iterator) SeekLT(key base.InternalKey) bool {
	last, _ := it.list.descend(searchFor(key.UserKey(), key.Trailer()), 0, nil)
	return it.moveTo(last)
}

// Next moves to the next entry.
func (it *Iterator) Next() bool {
	if it.at == none {
		return false
	}
	return it.moveTo(it.list.arena.next(it.at, 0))
}

// Prev moves to the previous entry.
func (it *Iterator) Prev() bool {
	if it.at == none {
		return false
	}
	if !it.descending {
		last, _ := it.list.descend(it.list.searchForNode(it.at), 0, nil)
		it.moveTo(last)
		it.descending = true
		return it.Valid()
	}
	if it.count == 0 {
		it.collect()
	}
	if it.count == 0 {
		return it.moveTo(none)
	}
	it.count--
	it.at = it.collected[it.count]
	return true
}

// collect gathers the nodes directly before at: of a long run the last ones.
func (it *Iterator) collect() {
	last, _ := it.list.descend(it.list.searchForNode(it.at), collectLevel, nil)
	if last == head {
		last = it.list.arena.next(head, 0)
	}
	for n := last; n != it.at; n = it.list.arena.next(n, 0) {
		if it.count == len(it.collected) {
			it.count = copy(it.collected[:], it.collected[len(it.collected)/2:])
		}
		it.collected[it.count] = n
		it.count++
	}
}

// moveTo stands on n, or on nothing if n is none or the head.
func (it *Iterator) moveTo(n node) bool {
	if n == head {
		n = none
	}
	it.at, it.count, it.descending = n, 0, false
	return n != none
}

// Valid reports whether the iterator stands on an entry.
func (it *Iterator) Valid() bool { return it.at != none }

// Key returns the internal key of the entry.
func (it *Iterator) Key() base.InternalKey {
	key, _ := it.list.arena.entry(it.at)
	return key
}

// Value returns the value of the entry; it is empty for a delete.
func (it *Iterator) Value() []byte {
	_, value := it.list.arena.entry(it.at)
	return value
}

// Err returns nil: memory does not fail.
func (it *Iterator) Err() error { return nil }

// Close leaves the entry. The iterator may be positioned again.
func (it *Iterator) Close() error {
	it.moveTo(none)
	return nil
}
