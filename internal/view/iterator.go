package view

import (
	"bytes"
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"lsmdb/internal/base"
	"lsmdb/internal/merge"
	"lsmdb/manifest"
	"lsmdb/memtable"
	"lsmdb/sstable"
)

// Iterator walks the keys that have a value at one sequence number, from lower to
// upper. One goroutine at a time uses it; package db tells what its moves do.
type Iterator struct {
	*inside // nil once closed

	position         position
	keysOnly, noFill bool
	guarded          bool // memtables that were moved may be looked at
	odd              bool // one of these, or there are range deletes: no entry is simply shown
	merged           bool // the version that Prev met last is an operand
	err              error

	stats Stats
	hold  hold
}

// inside is what Iterators pass on to later ones. What an Iterator showed stays readable
// when it is closed: so what may be shown of it is not passed on.
type inside struct {
	published    *Published
	closed       *atomic.Bool // the database is
	at           At
	lower, upper []byte // [lower, upper); nil: unbounded

	key   []byte // the key shown, unless position is forward or aside
	value []byte // its value, when position is aside, backward or behind
	until int64  // the time at which the value shown ends; 0: never

	state     *State
	own       []*memtable.Memtable
	entries   merge.Iterator      // all versions of all keys
	memtables []memtable.Iterator // of the state that Iterator shows
	tables    []manifest.LevelIterator
	runs      []merge.Run // all of these, newest first
	search    base.InternalKey
	barren    barren
	covers    covers
	operands  [][]byte

	kept   []byte    // what a value was copied to, to be shown
	folded base.Fold // makes values to be shown

	place *place // in the list of iterators
	since int64  // when the last Iterator was opened that has used it
	holds int    // how many were opened in the same moment
}

var insides = sync.Pool{New: func() any { return newInside() }}

// position tells where an iterator stands, and where its entries stand with it.
type position uint8

const (
	nowhere  position = iota // not positioned yet
	forward                  // on a key; entries stand on the version shown
	aside                    // like forward, but the value is not simply that of entries
	backward                 // on a key; entries stand before all its versions
	behind                   // on a key that has operands; entries stand behind all its versions
	atStart                  // before the first key
	atEnd                    // after the last key
	failed                   // an error ended the last move; only First, Last and the seeks go on
)

const (
	// ReadAheadBytes is the longest read of a scan over blocks that are not cached. It
	// spares most system calls, and fits into the processor's cache together with what
	// is decoded.
	ReadAheadBytes = 64 << 10

	maxPooledBytes = 64 << 10 // longer buffers are not kept for the next Iterator
)

// Open lets an Iterator that Hold has begun show what there is within bounds that the caller
// does not change any more, and before that what lies in a transaction's own memtables, newest
// first. Once closed is true it shows nothing. With KeysOnly its Value is empty; tables are
// always read lazily, and ahead, which o is made to say.
func (it *Iterator) Open(own []*memtable.Memtable, o *sstable.IteratorOptions, closed *atomic.Bool) {
	in, p := it.inside, it.inside.published
	if in.at.Now == 0 && slices.ContainsFunc(own, (*memtable.Memtable).Expiring) {
		in.at.Now = p.Now()
	}
	it.keysOnly, it.noFill = o.KeysOnly, o.NoCacheFill
	in.at, in.own, in.closed, in.lower, in.upper, in.key = p.fix(in.at), own, closed, o.Lower, o.Upper, []byte{}
	if len(own) == 0 { // otherwise they do not tell all
		in.barren.gaps = &p.gaps
	}
	o.Lazy, o.ReadAheadBytes, o.Entered = true, ReadAheadBytes, &it.stats.Blocks
	in.open(o)
	it.odd = it.keysOnly || it.noFill || len(in.covers.sources) > 0
}

// open makes entries the merge of every sorted run that may hold a key of the range.
func (in *inside) open(o *sstable.IteratorOptions) {
	state := in.state
	for _, m := range in.own {
		in.add(m, in.at.Own)
	}
	if !state.Active.Empty() {
		in.add(state.Active, in.at.Seq)
	}
	for _, m := range state.Sealed {
		in.add(m, in.at.Seq)
	}
	for i := range in.memtables {
		in.runs = append(in.runs, merge.Run{Iterator: &in.memtables[i]})
	}
	in.tables = state.Version.AppendRuns(in.tables, o)
	for i := range in.tables {
		in.runs = append(in.runs, in.tables[i].Run())
		if tables := in.tables[i].Deleting(); len(tables) > 0 {
			in.covers.sources = append(in.covers.sources, source{run: len(in.memtables) + i, seq: in.at.Seq, tables: tables})
		}
	}
	in.entries.Reset(in.runs)
}

// add adds a memtable of which what seq sees counts.
func (in *inside) add(m *memtable.Memtable, seq base.Seq) {
	if lists := m.RangeDeletes.Lists(); lists != nil {
		in.covers.sources = append(in.covers.sources, source{run: len(in.memtables), seq: seq, lists: lists})
	}
	in.memtables = append(in.memtables, *m.NewIterator())
}

// Close releases what the iterator holds and returns the error of its last move. What
// it showed last stays readable. It is idempotent.
func (it *Iterator) Close() error {
	in := it.inside
	if in == nil {
		return nil
	}
	in.entries.Close()
	it.letGo()
	clear(in.memtables)
	clear(in.runs)
	in.state, in.own, in.published, in.closed, in.lower, in.upper, in.barren.gaps = nil, nil, nil, nil, nil, nil, nil
	in.memtables, in.tables, in.runs = in.memtables[:0], in.tables[:0], in.runs[:0]
	in.key, in.value, in.until, in.kept, in.folded = nil, nil, 0, nil, base.Fold{}
	in.covers.reset()
	if cap(in.search)+cap(in.operands) > maxPooledBytes || it.noFill { // whose blocks are no others'
		*in = inside{place: in.place, since: in.since, holds: in.holds}
	}
	insides.Put(in)
	it.inside, it.position = nil, nowhere
	return it.err
}

// First moves to the first key of the range.
func (it *Iterator) First() bool {
	if !it.ready() {
		return it.again(it.First)
	}
	return it.SeekGE(it.lower)
}

// Last moves to the last key of the range.
func (it *Iterator) Last() bool {
	switch {
	case !it.ready():
		return it.again(it.Last)
	case it.upper != nil:
		return it.SeekLT(it.upper)
	}
	return it.seekPrevious(nil)
}

// SeekGE moves to the first key of the range at or after key.
func (it *Iterator) SeekGE(key []byte) bool {
	if !it.ready() {
		sought := key // a closure over key itself would slow down every seek
		return it.again(func() bool { return it.SeekGE(sought) })
	}
	if bytes.Compare(key, it.lower) < 0 {
		key = it.lower
	}
	it.payDetour()
	it.inside.barren.begin(key)
	key, endless := it.inside.barren.skipForward(key, &it.at)
	if endless {
		return it.stop(atEnd)
	}
	return it.goForward(it.seekGE(key, it.at.newest()), false)
}

// SeekLT moves to the last key of the range before key.
func (it *Iterator) SeekLT(key []byte) bool {
	if !it.ready() {
		sought := key
		return it.again(func() bool { return it.SeekLT(sought) })
	}
	if it.upper != nil && bytes.Compare(key, it.upper) > 0 {
		key = it.upper
	}
	if key == nil {
		key = []byte{} // nothing lies before the empty key; nil is the end
	}
	return it.seekPrevious(key)
}

// seekPrevious moves to the last key of the range before key; nil: to the last one.
func (it *Iterator) seekPrevious(key []byte) bool {
	it.payDetour()
	it.inside.barren.begin(key)
	if key = it.inside.barren.skipBackward(key, &it.at); key == nil {
		return it.goBackward(it.inside.entries.Last())
	}
	return it.goBackward(it.seekLT(key))
}

// Next moves to the next key.
func (it *Iterator) Next() bool {
	failure := it.err
	if !it.ready() {
		return it.again(func() bool { it.err = failure; return it.Next() })
	}
	it.inside.barren.reset()
	switch it.position {
	case forward, aside:
		return it.goForward(it.inside.entries.Next(), true)
	case backward:
		return it.showNext(it.seekGE(it.key, 0), false)
	case behind:
		return it.showNext(it.inside.entries.Valid(), false)
	case nowhere, atStart:
		return it.First()
	case failed:
		it.err = failure
	}
	return false
}

// Prev moves to the previous key.
func (it *Iterator) Prev() bool {
	failure := it.err
	if !it.ready() {
		return it.again(func() bool { it.err = failure; return it.Prev() })
	}
	switch it.position {
	case backward:
		it.inside.barren.reset()
		return it.goBackward(it.inside.entries.Valid())
	case forward, aside, behind:
		return it.seekPrevious(it.Key())
	case nowhere, atEnd:
		return it.Last()
	case failed:
		it.err = failure
	}
	return false
}

// Valid reports whether the iterator stands on a key.
func (it *Iterator) Valid() bool {
	return it.position >= forward && it.position <= behind
}

// Key returns the key, nil when not Valid.
func (it *Iterator) Key() []byte {
	switch it.position {
	case forward, aside:
		key := it.inside.entries.Key().UserKey()
		switch {
		case !it.inside.entries.InMemtable():
			return key
		case it.careful():
			if !it.guard(func() bool { it.Key(); return true }) {
				return nil
			}
		default: // the memory may go when the iterator is closed
			it.key = append(it.key[:0], key...)
		}
		return it.key
	case backward, behind:
		return it.key
	}
	return nil
}

// Err returns the error that ended the last move.
func (it *Iterator) Err() error { return it.err }

// payDetour counts what a seek spends on level 0.
func (it *Iterator) payDetour() {
	if v := it.inside.state.Version; len(v.Levels[0]) > 0 {
		it.published.detour(v.Detour(seekDetourBytes * int64(len(v.Levels[0]))))
	}
}

// seekGE moves entries to the newest version of user that seq sees, or behind them all, as with 0.
func (it *Iterator) seekGE(user []byte, seq base.Seq) bool {
	it.inside.search = base.AppendSearchKey(it.inside.search[:0], user, seq)
	return it.inside.entries.SeekGE(it.inside.search)
}

// seekLT moves entries before the newest version of user.
func (it *Iterator) seekLT(user []byte) bool {
	it.inside.search = base.AppendSearchKey(it.inside.search[:0], user, base.MaxSeq)
	return it.inside.entries.SeekLT(it.inside.search)
}

// manyVersions of one key in a row are more than walking past the rest is worth: a key
// that is written all the time has thousands in a memtable. Tables keep no more of one
// than there are snapshots. There nothing is sought: if somebody forged one whose keys
// are in no order, seeking in it might lead back again and again.
const manyVersions = 32

// plain reports whether entries stand on a visible version that is simply a value: nearly
// always. goForward and goBackward do the rest of a move then, with little to ask.
func (it *Iterator) plain() bool {
	t := it.inside.entries.Key().Trailer()
	return t.Kind() == base.KindSet && t.Seq() <= it.at.Seq && !it.odd
}

// goForward is showNext, for moves that have passed nothing yet.
func (it *Iterator) goForward(stands, pass bool) bool {
	entries := &it.inside.entries
	if stands && entries.Again() {
		stands = it.passAgain()
	}
	if stands && !entries.Again() && it.plain() && (it.upper == nil || bytes.Compare(entries.Key().UserKey(), it.upper) < 0) {
		it.position = forward
		it.stats.Entries++
		return true
	}
	return it.showNext(stands, pass)
}

// goBackward is showPrevious, for moves that have passed nothing yet.
func (it *Iterator) goBackward(stands bool) bool {
	entries, found := &it.inside.entries, false
	for versions := 0; stands && versions < manyVersions && it.plain(); versions++ {
		user := entries.Key().UserKey()
		if it.lower != nil && bytes.Compare(user, it.lower) < 0 {
			break
		}
		it.key, it.value = append(it.key[:0], user...), entries.Value()
		if found = it.value != nil; !found {
			break
		}
		if entries.InMemtable() {
			it.value = it.copied(it.value)
		}
		if stands = entries.Prev(); stands && !entries.Again() {
			it.position = backward
			it.stats.Entries++
			return true
		}
		it.stats.Versions++ // unless it is the last: see showPrevious
	}
	return it.showPrevious(stands, found)
}

// showNext shows the first key at or after where entries stand, if they do, that has a
// visible value. With pass, those that have the key they just stood on are passed over.
func (it *Iterator) showNext(stands, pass bool) bool {
	entries, barren := &it.inside.entries, &it.inside.barren
	for versions := 0; stands; {
		if versions++; !entries.Again() {
			versions, pass = 0, false
		}
		user, trailer := entries.Key().UserKey(), entries.Key().Trailer()
		switch {
		case versions == manyVersions && pass && entries.InMemtable():
			stands = it.seekGE(user, 0)
			continue
		case versions == manyVersions && !pass && entries.InMemtable():
			stands = it.seekGE(user, it.at.below(trailer.Seq()))
			continue
		case pass:
		case it.upper != nil && bytes.Compare(user, it.upper) >= 0:
			return it.stop(atEnd)
		case !it.at.sees(trailer.Seq()):
		case !it.odd && trailer.Kind() == base.KindSet, !it.gone(user, trailer):
			it.note(barren.start, user, false, user)
			it.position = forward
			if (it.odd || trailer.Kind() != base.KindSet) && !it.showOdd(trailer) {
				return false
			}
			it.stats.Entries++
			return true
		case it.err != nil:
			return it.stop(atEnd)
		default: // nor has it what is older
			pass, barren.run = true, entries.Child()
			if next, endless, skip := barren.passForward(user, &it.at); endless {
				return it.stop(atEnd)
			} else if skip {
				stands, pass = it.seekGE(next, it.at.newest()), false
				continue
			}
			if it.inside.covers.leaps(barren.run) {
				stands, pass = it.inside.leap(it.inside.covers.window.Until), false
				continue
			}
		}
		it.pass(trailer.Kind())
		stands = entries.Next()
	}
	return it.stop(atEnd)
}

// showPrevious shows the last key at or before where entries stand, if they do, that
// has a visible value. Going backward, the versions of a key come oldest first: the
// last visible one before the key changes counts. Found: key has one already, and entries
// stand before it.
func (it *Iterator) showPrevious(stands, found bool) bool {
	entries, versions := &it.inside.entries, 0
	deleted, run := false, 0 // the newest version met of this key is no value, and where
	it.merged = false
	for stands && (!found || entries.Again()) {
		if versions++; !entries.Again() {
			versions = 0
			if deleted {
				deleted, it.inside.barren.run = false, run
				if next, skip := it.inside.barren.passBackward(it.key, &it.at); skip {
					stands = it.seekLT(next)
					continue
				}
			}
		}
		user, trailer := entries.Key().UserKey(), entries.Key().Trailer()
		if it.lower != nil && bytes.Compare(user, it.lower) < 0 {
			break
		}
		if versions == manyVersions && entries.InMemtable() {
			if found, it.merged = it.newest(user), false; found || it.err != nil {
				it.stats.Versions++
				break
			}
			stands, deleted = entries.Valid(), false
			continue
		}
		if it.at.sees(trailer.Seq()) {
			it.key = append(it.key[:0], user...)
			if found = it.keep(trailer); it.err != nil {
				break
			}
			if deleted, run = !found, entries.Child(); deleted && it.inside.covers.leaps(run) {
				stands = it.inside.leap(it.inside.covers.window.From)
				continue
			}
		}
		it.pass(trailer.Kind())
		stands = entries.Prev()
	}
	if found && it.merged && entries.Err() == nil {
		found = it.newest(it.key)
	}
	if !found || it.err != nil || entries.Err() != nil {
		return it.stop(atStart)
	}
	if it.inside.barren.walked >= worthNoting {
		it.note(append(it.key[:len(it.key):len(it.key)], 0), it.inside.barren.start, it.inside.barren.endless, it.key)
	}
	it.position = backward
	it.stats.Entries++
	it.stats.Versions-- // it was counted when it was met
	return true
}

// stop ends a move that found no key.
func (it *Iterator) stop(p position) bool {
	it.position, it.value = p, nil
	err := cmp.Or(it.inside.entries.Err(), it.err)
	switch {
	case err != nil:
		it.position = failed
		it.err = err
		if it.closed.Load() {
			it.err = base.ErrClosed
		}
	case p == atEnd:
		it.note(it.inside.barren.start, it.upper, it.upper == nil, nil)
	default:
		it.note(it.lower, it.inside.barren.start, it.inside.barren.endless, nil)
	}
	return false
}
