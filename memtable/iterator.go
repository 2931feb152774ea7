package memtable

import (
	"bytes"

	"lsmdb/internal/base"
)

// Iterator walks a memtable in internal order, forwards and backwards, every
// version of every key. It implements base.Iterator and never fails. Key and
// Value share the arena: they stay unchanged even after the iterator moved on,
// until Renew.
//
// An iterator of a table that is being written meets every entry that was there
// when it was positioned, and may meet later ones.
type Iterator struct {
	tree  *tree
	place place // of entry
	entry entry // noEntry: not on an entry

	touched byte // what ahead loads, so that it has to
}

var _ base.Iterator = (*Iterator)(nil)

// First moves to the first entry.
func (it *Iterator) First() bool { return it.SeekGE(beforeAll) }

// Last moves to the last entry.
func (it *Iterator) Last() bool { return it.SeekLT(afterAll) }

// The user key of afterAll is longer than any, and so behind all of them.
var (
	beforeAll = base.AppendInternalKey(nil, nil, ^base.Trailer(0))
	afterAll  = base.AppendInternalKey(nil, bytes.Repeat([]byte{0xff}, base.MaxKeyBytes+1), 0)
)

// SeekGE moves to the first entry at or after key.
func (it *Iterator) SeekGE(key base.InternalKey) bool {
	it.place = it.tree.find(&search{key.UserKey(), key.Trailer()}, nil)
	return it.stand()
}

// SeekLT moves to the last entry before key.
func (it *Iterator) SeekLT(key base.InternalKey) bool {
	it.place = it.tree.find(&search{key.UserKey(), key.Trailer()}, nil)
	return it.back()
}

// Next moves to the next entry.
func (it *Iterator) Next() bool {
	if it.entry == noEntry {
		return false
	}
	p := &it.place
	p.pos++
	n := node(p.leaf.next.Load())
	if p.pos < p.word.count() || n == noNode {
		return it.stand()
	}
	for p.word = wordDead | word(n); p.word.dead(); p.word = word(p.leaf.word.Load()) {
		p.leaf = it.tree.leaf(p.word.heir())
	}
	p.pos, p.low = 0, it.entry
	it.ahead()
	return it.stand()
}

// ahead touches every entry of the leaf that a walk enters. They lie anywhere in the
// arena, and a walk that came to one after the other would wait for memory each time;
// these loads do not depend on each other and wait together.
func (it *Iterator) ahead() {
	for _, e := range it.place.leaf.entries[:it.place.word.count()] {
		it.touched += it.tree.arena.bytes[int(e)*unitBytes+entryHeaderBytes-1]
	}
}

// Prev moves to the previous entry.
func (it *Iterator) Prev() bool { return it.entry != noEntry && it.back() }

// back moves to the entry before place. The one before a leaf's first is known, but
// not its leaf, since leaves have no links backwards.
func (it *Iterator) back() bool {
	if it.place.pos > 0 {
		it.place.pos--
		return it.stand()
	}
	if it.place.low == noEntry {
		it.entry = noEntry
		return false
	}
	key, _ := it.tree.entry(it.place.low)
	return it.SeekGE(key)
}

// stand takes the entry of place, if there is one.
func (it *Iterator) stand() bool {
	it.entry = noEntry
	if p := &it.place; p.pos < p.word.count() {
		it.entry = p.leaf.entryAt(p.word, p.pos)
	}
	return it.entry != noEntry
}

// Valid reports whether the iterator stands on an entry.
func (it *Iterator) Valid() bool { return it.entry != noEntry }

// Key returns the internal key of the entry.
func (it *Iterator) Key() base.InternalKey {
	key, _ := it.tree.arena.entry(it.entry)
	return key
}

// Value returns the value of the entry; it is empty for a delete.
func (it *Iterator) Value() []byte {
	_, value := it.tree.arena.entry(it.entry)
	return value
}

// Err returns nil: memory does not fail.
func (it *Iterator) Err() error { return nil }

// Close leaves the entry. The iterator may be positioned again.
func (it *Iterator) Close() error {
	it.entry = noEntry
	return nil
}
