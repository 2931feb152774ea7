package db

import (
	"bytes"
	"iter"
	"sync"

	"lsmdb/internal/base"
	"lsmdb/internal/merge"
	"lsmdb/manifest"
	"lsmdb/memtable"
	"lsmdb/sstable"
	"lsmdb/stages"
)

// IterOptions bounds an iterator. The zero value, like a nil pointer, means
// everything. The slices are copied.
type IterOptions struct {
	Lower  []byte // first key that may be shown; nil: no bound
	Upper  []byte // first key that is not shown any more; nil: no bound
	Prefix []byte // only keys that start with this; combines with the bounds
}

// bounds returns the range [lower, upper) that the options amount to; nil means
// unbounded. An impossible range comes back as an empty one.
func (o *IterOptions) bounds() (lower, upper []byte) {
	if o == nil {
		return nil, nil
	}
	lower, upper = bytes.Clone(o.Lower), bytes.Clone(o.Upper)
	if len(o.Prefix) > 0 {
		if lower == nil || bytes.Compare(o.Prefix, lower) > 0 {
			lower = bytes.Clone(o.Prefix)
		}
		if end := afterPrefix(o.Prefix); end != nil && (upper == nil || bytes.Compare(end, upper) < 0) {
			upper = end
		}
	}
	return lower, upper
}

// afterPrefix returns the first key after all keys with the prefix, nil where none
// is.
func afterPrefix(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			end := bytes.Clone(prefix[:i+1])
			end[i]++
			return end
		}
	}
	return nil
}

// Iterator walks the keys of one instant in order, forward and backward. It starts
// before the first and after the last key at once: Next begins at the first, Prev
// at the last. At either end the move in the other direction comes back.
//
// Every move reports whether it stands on a key. When it does not, that is the end
// of the range or an error: ask Err. After an error Next and Prev do not go on, but
// First, Last and the seeks do: a seek leads past a damaged place. Key and Value belong to the iterator and are
// valid until its next move. An iterator is used by one goroutine at a time and must
// be closed; it keeps what it shows from being deleted.
type Iterator struct {
	db           *DB
	seq          base.Seq
	lower, upper []byte
	inside       *inside // nil once closed

	place place
	key   []byte // the key shown while walking backward
	value []byte // its value
	err   error
}

// inside is what Iterators pass on to later ones. Nothing in it may be shown: what an
// Iterator showed stays readable when it is closed.
type inside struct {
	state     *stages.ReadState
	entries   merge.Iterator      // all versions of all keys
	memtables []memtable.Iterator // of the state that Iterator shows
	tables    []manifest.LevelIterator
	runs      []base.Iterator // all of these, newest first
	search    base.InternalKey
}

var insides = sync.Pool{New: func() any { return new(inside) }}

// place tells where an iterator stands, and where its entries stand with it.
type place int

const (
	nowhere  place = iota // not positioned yet
	forward               // on a key; entries stand on the version shown
	backward              // on a key; entries stand before all its versions
	atStart               // before the first key
	atEnd                 // after the last key
	failed                // an error ended the last move; only First, Last and the seeks go on
)

// NewIterator returns an iterator over what is visible now.
func (d *DB) NewIterator(o *IterOptions) (*Iterator, error) {
	if d.closed.Load() {
		return nil, ErrClosed
	}
	// The state is loaded before the sequence number: see stages.Published.
	state := d.published.Enter()
	return newIterator(d, state, d.published.Visible(), o)
}

// readAheadBytes is the longest read of a scan over blocks that are not cached. It spares
// most system calls, and fits into the processor's cache together with what is decoded.
const readAheadBytes = 64 << 10

func newIterator(d *DB, state stages.Reading, seq base.Seq, o *IterOptions) (*Iterator, error) {
	defer state.Leave()
	it := &Iterator{db: d, seq: seq, inside: insides.Get().(*inside)}
	it.lower, it.upper = o.bounds()
	it.inside.open(state.ReadState, sstable.IteratorOptions{ReadAheadBytes: readAheadBytes, Lower: it.lower, Upper: it.upper})
	return it, nil
}

// open makes entries the merge of every sorted run that may hold a key of the range.
func (in *inside) open(state *stages.ReadState, o sstable.IteratorOptions) {
	if !state.Active.Empty() {
		in.memtables = append(in.memtables, *state.Active.NewIterator())
	}
	for _, m := range state.Sealed {
		in.memtables = append(in.memtables, *m.NewIterator())
	}
	in.state = state
	state.Hold(1)
	in.tables = state.Version.AppendRuns(in.tables, o)
	for i := range in.memtables {
		in.runs = append(in.runs, &in.memtables[i])
	}
	for i := range in.tables {
		in.runs = append(in.runs, &in.tables[i])
	}
	in.entries.Reset(in.runs)
}

// release closes what is open and keeps the rest for another Iterator. Memtables are
// left to the garbage collector if what was shown last may lie there.
func (in *inside) release(shown bool) {
	in.entries.Close()
	if !shown {
		in.state.Hold(-1)
	}
	clear(in.memtables)
	clear(in.runs)
	in.state = nil
	in.memtables, in.tables, in.runs = in.memtables[:0], in.tables[:0], in.runs[:0]
	if cap(in.search) <= maxPooledBytes {
		insides.Put(in)
	}
}

// First moves to the first key of the range.
func (it *Iterator) First() bool { return it.SeekGE(it.lower) }

// Last moves to the last key of the range.
func (it *Iterator) Last() bool {
	if !it.ready() {
		return false
	}
	if it.upper == nil {
		return it.showPrevious(it.inside.entries.Last())
	}
	return it.SeekLT(it.upper)
}

// SeekGE moves to the first key of the range at or after key.
func (it *Iterator) SeekGE(key []byte) bool {
	if !it.ready() {
		return false
	}
	if bytes.Compare(key, it.lower) < 0 {
		key = it.lower
	}
	return it.showNext(it.inside.entries.SeekGE(it.searchKey(key, it.seq)), false)
}

// SeekLT moves to the last key of the range before key.
func (it *Iterator) SeekLT(key []byte) bool {
	if !it.ready() {
		return false
	}
	if it.upper != nil && bytes.Compare(key, it.upper) > 0 {
		key = it.upper
	}
	return it.showPrevious(it.inside.entries.SeekLT(it.searchKey(key, base.MaxSeq)))
}

// Next moves to the next key.
func (it *Iterator) Next() bool {
	failure := it.err
	if !it.ready() {
		return false
	}
	switch it.place {
	case forward:
		return it.showNext(it.inside.entries.Next(), true)
	case backward: // behind the oldest version
		it.inside.search = base.AppendInternalKey(it.inside.search[:0], it.key, 0)
		return it.showNext(it.inside.entries.SeekGE(it.inside.search), false)
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
		return false
	}
	switch it.place {
	case backward:
		return it.showPrevious(it.inside.entries.Valid())
	case forward:
		return it.showPrevious(it.inside.entries.SeekLT(it.searchKey(it.Key(), base.MaxSeq)))
	case nowhere, atEnd:
		return it.Last()
	case failed:
		it.err = failure
	}
	return false
}

// Valid reports whether the iterator stands on a key.
func (it *Iterator) Valid() bool { return it.place == forward || it.place == backward }

// Key returns the key, nil when not Valid.
func (it *Iterator) Key() []byte {
	switch it.place {
	case forward:
		return it.inside.entries.Key().UserKey()
	case backward:
		return it.key
	}
	return nil
}

// Value returns the value, nil when not Valid.
func (it *Iterator) Value() []byte {
	switch it.place {
	case forward:
		return it.inside.entries.Value()
	case backward:
		return it.value
	}
	return nil
}

// Err returns the error that ended the last move: nil at the end of the range, a
// *CorruptionError, or ErrClosed when the database or the iterator was closed.
func (it *Iterator) Err() error { return it.err }

// Close releases what the iterator holds and returns the error of its last move.
// What it showed last stays readable. It is idempotent.
func (it *Iterator) Close() error {
	if it.inside == nil {
		return nil
	}
	it.inside.release(it.place == backward || it.place == forward && it.inside.entries.InMemtable())
	it.inside, it.place = nil, nowhere
	return it.err
}

// All ranges over the keys and values from the first to the last. The slices are
// valid until the next step. When the loop ends by itself, ask Err.
func (it *Iterator) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for ok := it.First(); ok && yield(it.Key(), it.Value()); ok = it.Next() {
		}
	}
}

// Backward ranges from the last to the first; otherwise it is like All.
func (it *Iterator) Backward() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for ok := it.Last(); ok && yield(it.Key(), it.Value()); ok = it.Prev() {
		}
	}
}

// ready checks, before a move, that there is still something to move on.
func (it *Iterator) ready() bool {
	if it.inside == nil || it.db.closed.Load() {
		it.err, it.place = ErrClosed, nowhere
		return false
	}
	it.err = nil
	return true
}

// searchKey returns the position before all versions of user that seq sees.
func (it *Iterator) searchKey(user []byte, seq base.Seq) base.InternalKey {
	if state := it.inside.state; len(state.Version.Levels[0]) > 0 {
		state.Detoured(seekDetourBytes * int64(len(state.Version.Levels[0])))
	}
	it.inside.search = base.AppendSearchKey(it.inside.search[:0], user, seq)
	return it.inside.search
}

// manyVersions of one key in a row are more than walking past the rest is worth: a key
// that is written all the time has thousands in a memtable. Tables keep no more of one
// than there are snapshots. There nothing is sought: if somebody forged one whose keys
// are in no order, seeking in it might lead back again and again.
const manyVersions = 32

// showNext shows the first key at or after where entries stand, if they do, that has a
// visible value. With pass, those that have the key they just stood on are passed over.
func (it *Iterator) showNext(stands, pass bool) bool {
	entries := &it.inside.entries
	for versions := 0; stands; {
		if versions++; !entries.Again() {
			versions, pass = 0, false
		}
		user, trailer := entries.Key().UserKey(), entries.Key().Trailer()
		switch {
		case versions == manyVersions && pass && entries.InMemtable(): // behind the oldest
			it.inside.search = base.AppendInternalKey(it.inside.search[:0], user, 0)
			stands = entries.SeekGE(it.inside.search)
			continue
		case versions == manyVersions && !pass && entries.InMemtable(): // to the newest that is visible
			stands = entries.SeekGE(it.searchKey(user, it.seq))
			continue
		case pass:
		case it.upper != nil && bytes.Compare(user, it.upper) >= 0:
			return it.stop(atEnd)
		case trailer.Seq() > it.seq:
		case trailer.Kind() == base.KindSet:
			it.place = forward
			return true
		default:
			pass = true // deleted: so are all its older versions
		}
		stands = entries.Next()
	}
	return it.stop(atEnd)
}

// showPrevious shows the last key at or before where entries stand, if they do, that
// has a visible value. Going backward, the versions of a key come oldest first: the
// last visible one before the key changes counts.
func (it *Iterator) showPrevious(stands bool) bool {
	entries, found, versions := &it.inside.entries, false, 0
	for stands && (!found || entries.Again()) {
		if versions++; !entries.Again() {
			versions = 0
		}
		user, trailer := entries.Key().UserKey(), entries.Key().Trailer()
		if it.lower != nil && bytes.Compare(user, it.lower) < 0 {
			break
		}
		if versions == manyVersions && entries.InMemtable() {
			if found = it.newest(user); found {
				break
			}
			stands = entries.Valid()
			continue
		}
		if trailer.Seq() <= it.seq {
			if found = trailer.Kind() == base.KindSet; found {
				it.key = append(it.key[:0], user...)
				it.value = entries.Value()
			}
		}
		stands = entries.Prev()
	}
	if !found || entries.Err() != nil {
		return it.stop(atStart)
	}
	it.place = backward
	return true
}

// newest finds the value that user has, if it has one, by seeking its newest visible
// version, and leaves entries before all its versions.
func (it *Iterator) newest(user []byte) (found bool) {
	entries := &it.inside.entries
	it.key = append(it.key[:0], user...)
	if entries.SeekGE(it.searchKey(it.key, it.seq)) && bytes.Equal(entries.Key().UserKey(), it.key) {
		if found = entries.Key().Kind() == base.KindSet; found {
			it.value = entries.Value()
		}
	}
	return entries.Err() == nil && (entries.SeekLT(it.searchKey(it.key, base.MaxSeq)) || entries.Err() == nil) && found
}

// stop ends a move that found no key.
func (it *Iterator) stop(p place) bool {
	it.place = p
	if err := it.inside.entries.Err(); err != nil {
		it.place = failed
		it.err = err
		if it.db.closed.Load() {
			it.err = ErrClosed
		}
	}
	return false
}
