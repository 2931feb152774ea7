package db

import (
	"bytes"
	"iter"

	"lsmdb/internal/base"
	"lsmdb/internal/merge"
	"lsmdb/manifest"
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
	state        *stages.ReadState // keeps memtables and tables alive
	seq          base.Seq
	lower, upper []byte
	entries      *merge.Iterator // all versions of all keys

	place  place
	key    []byte // the key shown
	value  []byte // its value
	copied []byte // holds the value while walking backward
	search base.InternalKey
	err    error
	closed bool
}

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
	state := d.published.State()
	return newIterator(d, state, d.published.Visible(), o)
}

func newIterator(d *DB, state *stages.ReadState, seq base.Seq, o *IterOptions) (*Iterator, error) {
	it := &Iterator{db: d, state: state, seq: seq}
	it.lower, it.upper = o.bounds()
	runs, err := it.runs()
	if err != nil {
		return nil, err
	}
	it.entries = merge.New(runs...)
	return it, nil
}

// runs opens every sorted run that may hold a key of the range, newest first.
func (it *Iterator) runs() ([]base.Iterator, error) {
	var runs []base.Iterator
	if !it.state.Active.Empty() {
		runs = append(runs, it.state.Active.NewIterator())
	}
	for _, m := range it.state.Sealed {
		runs = append(runs, m.NewIterator())
	}
	options := sstable.IteratorOptions{}
	for _, t := range it.state.Version.Overlapping(0, it.lower, it.upper) {
		table, err := t.Handle.Table()
		if err != nil {
			return nil, err
		}
		runs = append(runs, table.NewIterator(options))
	}
	for level := 1; level < manifest.NumLevels; level++ {
		if tables := it.state.Version.Overlapping(level, it.lower, it.upper); len(tables) > 0 {
			runs = append(runs, manifest.NewLevelIterator(tables, options))
		}
	}
	return runs, nil
}

// First moves to the first key of the range.
func (it *Iterator) First() bool {
	if !it.ready() {
		return false
	}
	if it.lower != nil {
		it.entries.SeekGE(it.searchKey(it.lower, it.seq))
	} else {
		it.entries.First()
	}
	return it.showNext(false)
}

// Last moves to the last key of the range.
func (it *Iterator) Last() bool {
	if !it.ready() {
		return false
	}
	if it.upper != nil {
		it.entries.SeekLT(it.searchKey(it.upper, base.MaxSeq))
	} else {
		it.entries.Last()
	}
	return it.showPrevious()
}

// SeekGE moves to the first key of the range at or after key.
func (it *Iterator) SeekGE(key []byte) bool {
	if it.lower != nil && bytes.Compare(key, it.lower) < 0 {
		return it.First()
	}
	if !it.ready() {
		return false
	}
	it.entries.SeekGE(it.searchKey(key, it.seq))
	return it.showNext(false)
}

// SeekLT moves to the last key of the range before key.
func (it *Iterator) SeekLT(key []byte) bool {
	if it.upper != nil && bytes.Compare(key, it.upper) > 0 {
		return it.Last()
	}
	if !it.ready() {
		return false
	}
	it.entries.SeekLT(it.searchKey(key, base.MaxSeq))
	return it.showPrevious()
}

// Next moves to the next key.
func (it *Iterator) Next() bool {
	failure := it.err
	if !it.ready() {
		return false
	}
	switch it.place {
	case nowhere, atStart:
		return it.First()
	case atEnd:
		return false
	case failed:
		it.err = failure
		return false
	}
	if it.place == backward {
		it.entries.SeekGE(it.searchKey(it.key, base.MaxSeq))
	} else {
		it.entries.Next()
	}
	return it.showNext(true)
}

// Prev moves to the previous key.
func (it *Iterator) Prev() bool {
	failure := it.err
	if !it.ready() {
		return false
	}
	switch it.place {
	case nowhere, atEnd:
		return it.Last()
	case atStart:
		return false
	case failed:
		it.err = failure
		return false
	}
	if it.place == forward {
		it.entries.SeekLT(it.searchKey(it.key, base.MaxSeq))
	}
	return it.showPrevious()
}

// Valid reports whether the iterator stands on a key.
func (it *Iterator) Valid() bool { return it.place == forward || it.place == backward }

// Key returns the key, nil when not Valid.
func (it *Iterator) Key() []byte {
	if !it.Valid() {
		return nil
	}
	return it.key
}

// Value returns the value, nil when not Valid.
func (it *Iterator) Value() []byte {
	if !it.Valid() {
		return nil
	}
	return it.value
}

// Err returns the error that ended the last move: nil at the end of the range, a
// *CorruptionError, or ErrClosed when the database or the iterator was closed.
func (it *Iterator) Err() error { return it.err }

// Close releases what the iterator holds and returns the error of its last move.
// What it showed last stays readable. It is idempotent.
func (it *Iterator) Close() error {
	if it.closed {
		return nil
	}
	it.closed = true
	it.entries.Close()
	it.state, it.place = nil, nowhere
	return it.err
}

// All ranges over the keys and values from the first to the last. The slices are
// valid until the next step. When the loop ends by itself, ask Err.
func (it *Iterator) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for ok := it.First(); ok && yield(it.key, it.value); ok = it.Next() {
		}
	}
}

// Backward ranges from the last to the first; otherwise it is like All.
func (it *Iterator) Backward() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for ok := it.Last(); ok && yield(it.key, it.value); ok = it.Prev() {
		}
	}
}

// ready checks, before a move, that there is still something to move on.
func (it *Iterator) ready() bool {
	if it.closed || it.db.closed.Load() {
		it.err, it.place = ErrClosed, nowhere
		return false
	}
	it.err = nil
	return true
}

func (it *Iterator) searchKey(user []byte, seq base.Seq) base.InternalKey {
	it.search = base.AppendSearchKey(it.search[:0], user, seq)
	return it.search
}

// showNext shows the first key at or after where entries stand that has a visible
// value. Versions of the key shown last are passed over if pass is set.
func (it *Iterator) showNext(pass bool) bool {
	for ; it.entries.Valid(); it.entries.Next() {
		entry := it.entries.Key()
		user := entry.UserKey()
		if it.upper != nil && bytes.Compare(user, it.upper) >= 0 {
			return it.stop(atEnd)
		}
		if entry.Seq() > it.seq || (pass && bytes.Equal(user, it.key)) {
			continue
		}
		it.key = append(it.key[:0], user...)
		if entry.Kind() == base.KindSet {
			it.value, it.place = it.entries.Value(), forward
			return true
		}
		pass = true // deleted: so are all its older versions
	}
	return it.stop(atEnd)
}

// showPrevious shows the last key at or before where entries stand that has a
// visible value. Going backward, the versions of a key come oldest first: the last
// visible one before the key changes counts.
func (it *Iterator) showPrevious() bool {
	found := false
	for ; it.entries.Valid(); it.entries.Prev() {
		entry := it.entries.Key()
		user := entry.UserKey()
		if found && !bytes.Equal(user, it.key) {
			break
		}
		if it.lower != nil && bytes.Compare(user, it.lower) < 0 {
			break
		}
		if entry.Seq() > it.seq {
			continue
		}
		if found = entry.Kind() == base.KindSet; found {
			it.key = append(it.key[:0], user...)
			it.copied = append(it.copied[:0], it.entries.Value()...)
		}
	}
	if !found || it.entries.Err() != nil {
		return it.stop(atStart)
	}
	it.value, it.place = it.copied, backward
	return true
}

// stop ends a move that found no key.
func (it *Iterator) stop(p place) bool {
	it.place = p
	if err := it.entries.Err(); err != nil {
		it.place = failed
		it.err = err
		if it.db.closed.Load() {
			it.err = ErrClosed
		}
	}
	return false
}
