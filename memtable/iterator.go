package memtable

import (
	"bytes"
	"math/rand/v2"

	"lsmdb/internal/base"
)

// Iterator walks a memtable in internal order, forwards and backwards, every
// version of every key. It implements base.Iterator and never fails. Key and
// Value share the arena: they stay unchanged even after the iterator moved on,
// until Renew. But after Follow, a key stays only until the next but one is asked for.
//
// An iterator of a table that is being written meets every entry that was there
// when it was positioned, and may meet later ones.
type Iterator struct {
	list  *skiplist
	place place // of entry
	entry entry // start: not on an entry

	// Where numbers lack an offset: the key of an entry, and that of the one before, which
	// whoever merges still looks at.
	key, previous base.InternalKey
	keyOf         entry

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
	it.place = it.list.find(it.list.sought(key.UserKey(), key.Trailer()))
	return it.stand()
}

// SeekLT moves to the last entry before key.
func (it *Iterator) SeekLT(key base.InternalKey) bool {
	it.place = it.list.find(it.list.sought(key.UserKey(), key.Trailer()))
	return it.back()
}

// SeekRandom moves to an entry at random, each about as likely as any other one. It may
// fail to find one, in an empty memtable always.
func (it *Iterator) SeekRandom(rng *rand.Rand) bool {
	l := it.list
	top := l.top.Load()
	at, level := address(top), int(top>>32)
	for {
		x := l.block(at)
		w := word(x.word.Load())
		if w.dead() {
			at = w.heir()
			continue
		}
		it.place = place{x, w, rng.IntN(w.count())}
		if level == 0 {
			it.entry = it.place.entry()
			return it.Valid()
		}
		at, level = address(x.below(w.at(it.place.pos)).Load()), level-1
	}
}

// Next moves to the next entry.
func (it *Iterator) Next() bool {
	if !it.Valid() {
		return false
	}
	x := it.place.block
	it.place.pos++
	ok := it.stand()
	if it.place.block != x {
		it.ahead()
	}
	return ok
}

// ahead touches every entry of the block that a walk enters. They lie anywhere in the
// arena, and a walk that came to one after the other would wait for memory each time;
// these loads do not depend on each other and wait together.
func (it *Iterator) ahead() {
	for _, e := range it.place.block.entries[:it.place.word.count()] {
		it.touched += it.list.arena.bytes[int(e)*unitBytes+entryHeaderBytes-1]
	}
}

// Prev moves to the previous entry. The list has no links backwards: the block before
// another one is searched for.
func (it *Iterator) Prev() bool {
	if !it.Valid() {
		return false
	}
	if it.place.pos > 0 {
		return it.back()
	}
	ok := it.SeekLT(it.Key())
	it.ahead()
	return ok
}

// back moves to the entry before place, which is in its block, or is start.
func (it *Iterator) back() bool {
	it.place.pos--
	it.entry = it.place.entry()
	return it.Valid()
}

// stand takes the entry of place, or the first one of the next block.
func (it *Iterator) stand() bool {
	p := &it.place
	if p.pos == p.word.count() && !it.list.settle(p) {
		it.entry = start
		return false
	}
	it.entry = p.entry()
	return true
}

// Valid reports whether the iterator stands on an entry.
func (it *Iterator) Valid() bool { return it.entry != start }

// Key returns the internal key of the entry.
func (it *Iterator) Key() base.InternalKey {
	key, _ := it.list.arena.entry(it.entry)
	if it.list.offset != 0 {
		return it.numbered(key)
	}
	return key
}

// numbered returns a copy of the entry's key with its whole number.
func (it *Iterator) numbered(key base.InternalKey) base.InternalKey {
	if it.keyOf != it.entry {
		it.key, it.previous, it.keyOf = it.previous, it.key, it.entry
		it.key = base.AppendInternalKey(it.key[:0], key.UserKey(), key.Trailer()+it.list.offset)
	}
	return it.key
}

// Value returns the value of the entry; it is empty for a delete.
func (it *Iterator) Value() []byte {
	_, value := it.list.arena.entry(it.entry)
	return value
}

// Err returns nil: memory does not fail.
func (it *Iterator) Err() error { return nil }

// Close leaves the entry. The iterator may be positioned again.
func (it *Iterator) Close() error {
	it.entry = start
	return nil
}
