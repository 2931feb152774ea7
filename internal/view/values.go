package view

import (
	"bytes"

	"lsmdb/internal/base"
	"lsmdb/sstable"
)

// Value returns the value, nil when not Valid.
func (it *Iterator) Value() []byte {
	if it.position != forward {
		if !it.Valid() {
			return nil
		}
		return it.value
	}
	if it.inside.entries.InMemtable() && it.careful() {
		var value []byte
		it.guard(func() bool { value = it.Value(); return true })
		return value
	}
	value := it.inside.entries.Value()
	if value == nil {
		if value = it.standing(); it.err != nil {
			it.stop(failed)
		}
	}
	if it.inside.entries.InMemtable() {
		return it.copied(value)
	}
	return value
}

// Until returns the time at which the value ends, in nanoseconds since 1970: 0 where it
// stays, or was merged, and when not Valid.
func (it *Iterator) Until() int64 {
	if !it.Valid() {
		return 0
	}
	return it.until
}

// gone reports whether a visible version says that its key has no value, whatever is
// older; or err that it cannot be told.
func (it *Iterator) gone(user []byte, t base.Trailer) bool {
	if covers := &it.inside.covers; len(covers.sources) > 0 {
		if hidden, err := covers.hide(user, t.Seq()); hidden || err != nil {
			it.err = err
			return true
		}
	}
	switch t.Kind() {
	case base.KindDelete:
		return true
	case base.KindSetExpiring:
		until := it.inside.entries.Expiry()
		if until <= it.at.Now {
			return true
		}
		it.until = until
	}
	return false
}

// standing returns the value of the version that entries stand on.
func (it *Iterator) standing() []byte {
	if it.keysOnly {
		return []byte{}
	}
	value := it.stored()
	if it.until != 0 && value != nil {
		value = value[base.ExpiryBytes:]
	}
	return value
}

// stored returns the value of the version that entries stand on, as it is stored. A large
// one is read only now: nil may mean that this failed, as err tells.
func (it *Iterator) stored() []byte {
	value := it.inside.entries.Value()
	if value == nil && it.err == nil {
		it.err = it.inside.entries.ValueErr()
	}
	return value
}

// showOdd shows the version that entries stand on where Value is not simply theirs.
func (it *Iterator) showOdd(t base.Trailer) bool {
	if t.Kind() == base.KindMerge {
		return it.fold()
	}
	if it.position, it.value = aside, it.standing(); it.inside.entries.InMemtable() {
		it.value = it.copied(it.value)
	}
	return it.err == nil || it.stop(failed)
}

// keep notes what a visible version tells of the key that is key. It reports whether that
// has a value.
func (it *Iterator) keep(t base.Trailer) bool {
	it.until, it.merged = 0, t.Kind() == base.KindMerge
	if it.gone(it.key, t) {
		return false
	}
	it.keepValue()
	return true
}

// keepValue makes value that of the version that entries stand on, and will leave.
func (it *Iterator) keepValue() {
	if it.value = it.standing(); it.noFill || it.inside.entries.InMemtable() {
		it.value = it.copied(it.value)
	}
}

// copied returns a copy that stays until the next move. The memory of blocks that are not
// cached is used again for the next one, and that of memtables may go with the iterator.
func (it *Iterator) copied(value []byte) []byte {
	if it.kept = append(it.kept[:0], value...); it.kept == nil {
		it.kept = []byte{} // an empty value is a value
	}
	return it.kept
}

// newest finds the value that user has, if it has one, by seeking its newest visible
// version, and leaves entries before all its versions.
func (it *Iterator) newest(user []byte) (found bool) {
	entries := &it.inside.entries
	it.key, it.until = append(it.key[:0], user...), 0
	stands := it.seekGE(it.key, it.at.newest())
	if stands && !it.at.sees(entries.Key().Seq()) { // there is no own version
		stands = it.seekGE(it.key, it.at.Seq)
	}
	if stands && bytes.Equal(entries.Key().UserKey(), it.key) && !it.gone(it.key, entries.Key().Trailer()) {
		if entries.Key().Kind() == base.KindMerge {
			found = it.fold()
		} else {
			found = true
			it.keepValue()
		}
	}
	return it.err == nil && entries.Err() == nil && (it.seekLT(it.key) || entries.Err() == nil) && found
}

// fold shows the key that entries stand on the newest version of, an operand. It merges it,
// and those that follow, onto what is older. Entries stand behind all versions then.
func (it *Iterator) fold() bool {
	in := it.inside
	it.key = append(it.key[:0], in.entries.Key().UserKey()...)
	older := it.collect()
	it.position, it.value, it.until = behind, []byte{}, 0
	if in.entries.Err() == nil && it.err == nil && (!it.keysOnly || it.published.Merger == nil) {
		it.value, it.err = in.folded.Onto(it.published.Merger, it.key, older, in.operands)
	}
	clear(in.operands)
	return in.entries.Err() == nil && it.err == nil || it.stop(atEnd)
}

// collect gathers the operands that entries stand on, newest first, and returns what they
// are to be merged onto: nil where there is no value. It leaves entries behind the key.
func (it *Iterator) collect() (older []byte) {
	in, entries := it.inside, &it.inside.entries
	in.operands = in.operands[:0]
	complete := it.keysOnly
	for versions := 0; ; versions++ {
		t := entries.Key().Trailer()
		switch {
		case complete || !it.at.sees(t.Seq()):
		case it.gone(it.key, t):
			complete = true
		case t.Kind() == base.KindMerge:
			in.operands = append(in.operands, it.lasting(it.stored()))
		default:
			complete, older = true, it.lasting(it.standing())
		}
		if !entries.Next() || !entries.Again() {
			return older
		}
		if complete && versions >= manyVersions && entries.InMemtable() {
			it.seekGE(it.key, 0)
			return older
		}
	}
}

// lasting returns a value that stays when entries move on.
func (it *Iterator) lasting(value []byte) []byte {
	if it.noFill {
		return append([]byte{}, value...)
	}
	return value
}

// Stats counts what an Iterator did.
type Stats struct {
	Entries    uint64 // shown
	Versions   uint64 // passed over
	Tombstones uint64 // passed over
	Blocks     sstable.BlockCounts
}

// Stats returns what the Iterator has done so far, also when it is closed.
func (it *Iterator) Stats() Stats { return it.stats }

// pass counts an entry that a move passes over.
func (it *Iterator) pass(kind base.Kind) {
	if kind == base.KindDelete {
		it.stats.Tombstones++
	} else {
		it.stats.Versions++
	}
}

// passAgain moves entries over more versions of the key, if they are not many.
func (it *Iterator) passAgain() (stands bool) {
	entries := &it.inside.entries
	stands = true
	for versions := 0; stands && versions < manyVersions && entries.Again(); versions++ {
		it.pass(entries.Key().Kind())
		stands = entries.Next()
	}
	return stands
}
