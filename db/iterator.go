package db

import (
	"bytes"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"lsmdb/internal/view"
	"lsmdb/memtable"
	"lsmdb/sstable"
)

// IterOptions says what an iterator shows. The zero value, like a nil pointer, means
// everything. The slices are copied.
type IterOptions struct {
	Lower  []byte // first key that may be shown; nil: no bound
	Upper  []byte // first key that is not shown any more; nil: no bound
	Prefix []byte // only keys that start with this; combines with the bounds

	// KeysOnly leaves Value empty: large values are not read, and operands are not merged.
	KeysOnly bool

	// NoCacheFill leaves the block cache as it is: for a walk over much that is not read
	// again soon.
	NoCacheFill bool
}

// forView returns the options with the range [Lower, Upper) that they amount to, as copies;
// nil means unbounded. An impossible range comes back as an empty one.
func (o *IterOptions) forView() (v sstable.IteratorOptions) {
	if o == nil {
		return v
	}
	v.Lower, v.Upper = PrefixRange(o.Prefix)
	if bytes.Compare(o.Lower, v.Lower) > 0 {
		v.Lower = bytes.Clone(o.Lower)
	}
	if v.Upper == nil || o.Upper != nil && bytes.Compare(o.Upper, v.Upper) < 0 {
		v.Upper = bytes.Clone(o.Upper)
	}
	v.KeysOnly, v.NoCacheFill = o.KeysOnly, o.NoCacheFill
	return v
}

// rangeIn returns the range of whole keys that is [start, end) within the keys with a
// prefix. A nil end is the end of these.
func rangeIn(prefix, start, end []byte) (wholeStart, wholeEnd []byte) {
	if len(prefix) == 0 {
		return start, end
	}
	if end == nil {
		return slices.Concat(prefix, start), afterPrefix(prefix)
	}
	return slices.Concat(prefix, start), slices.Concat(prefix, end)
}

// PrefixRange returns the range [start, end) of all keys with a prefix. A nil end, after a
// prefix that is empty or nothing but bytes 0xff, means that nothing follows them. The
// slices are new.
func PrefixRange(prefix []byte) (start, end []byte) { return rangeIn(prefix, nil, nil) }

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

// Iterator walks the keys of one instant in order, forward and backward: those that have
// a value then, as DB.Get says; a value that ends meanwhile is still shown. It starts
// before the first and after the last key at once: Next begins at the first, Prev
// at the last. At either end the move in the other direction comes back.
//
// Every move reports whether it stands on a key. When it does not, that is the end
// of the range or an error: ask Err. After an error Next and Prev do not go on, but
// First, Last and the seeks do: a seek leads past a damaged place, or past a key whose
// operands cannot be merged. Key and Value belong
// to the iterator and are valid until its next move. An iterator is used by one goroutine
// at a time and must be closed: until then the files and the memory of what it shows
// are kept.
type Iterator struct {
	walk view.Iterator
	part *part // nil: the whole database
}

// part is what an iterator of a keyspace or a transaction has besides.
type part struct {
	prefix []byte // of the keyspace, in every key and never shown
	whole  []byte // the last key that was sought, with the prefix

	tx    *Tx // that it belongs to; nil: none
	reads *view.Walk
}

// IteratorStats counts what an iterator did. Versions are entries that it passed over, each time
// that it did: those of a key for which a newer one decides, those that a range delete covers,
// that had ended, or that are newer than what it shows.
type IteratorStats struct {
	Entries      uint64 `json:"entries"` // moves that stood on a key
	Versions     uint64 `json:"versions"`
	Tombstones   uint64 `json:"tombstones"`    // deletes passed over, likewise
	BlocksRead   uint64 `json:"blocks_read"`   // of tables, from files
	BlocksCached uint64 `json:"blocks_cached"` // of tables, from the cache
}

// NewIterator returns an iterator over what is visible now.
func (d *DB) NewIterator(o *IterOptions) (*Iterator, error) {
	d.catchUp()
	return d.iterate(nil, nil, nil, &d.closed, o)
}

// iterate returns an iterator over the keys with a prefix, which it does not show: of what is
// visible now or, where at is not nil, of that instant, and what is in own. Whether that is
// closed is asked last: see lookAt. Its caller is what the user has called: see view.Hold.
func (d *DB) iterate(prefix []byte, at *view.At, own []*memtable.Memtable, closed *atomic.Bool, o *IterOptions) (*Iterator, error) {
	v, it := o.forView(), new(Iterator)
	if len(prefix) > 0 {
		v.Lower, v.Upper = rangeIn(prefix, v.Lower, v.Upper)
		it.part = &part{prefix: prefix}
	}
	d.published.Hold(&it.walk, d.clock.Now(), at)
	if closed.Load() || d.closed.Load() {
		_ = it.walk.Close()
		return nil, ErrClosed
	}
	it.walk.Open(own, &v, &d.closed)
	return it, nil
}

// noted reports whether the moves are reads of a transaction. Once that has ended, they
// are none at all.
func (it *Iterator) noted() bool {
	if it.part.tx == nil {
		return false
	}
	if it.part.tx.txSpace == nil {
		_ = it.walk.Close() // the moves return ErrClosed then
	}
	return it.part.tx.txSpace != nil
}

// First moves to the first key of the range.
func (it *Iterator) First() bool {
	if it.part != nil && it.noted() {
		return it.part.reads.First(&it.walk)
	}
	return it.walk.First()
}

// Last moves to the last key of the range.
func (it *Iterator) Last() bool {
	if it.part != nil && it.noted() {
		return it.part.reads.Last(&it.walk)
	}
	return it.walk.Last()
}

// SeekGE moves to the first key of the range at or after key.
func (it *Iterator) SeekGE(key []byte) bool {
	if it.part != nil && it.noted() {
		return it.part.reads.SeekGE(&it.walk, it.seek(key))
	}
	return it.walk.SeekGE(it.seek(key))
}

// SeekLT moves to the last key of the range before key.
func (it *Iterator) SeekLT(key []byte) bool {
	if it.part != nil && it.noted() {
		return it.part.reads.SeekLT(&it.walk, it.seek(key))
	}
	return it.walk.SeekLT(it.seek(key))
}

// seek returns the whole key.
func (it *Iterator) seek(key []byte) []byte {
	if it.part == nil || len(it.part.prefix) == 0 {
		return key
	}
	return whole(&it.part.whole, it.part.prefix, key)
}

// Next moves to the next key.
func (it *Iterator) Next() bool {
	if it.part != nil && it.noted() {
		return it.part.reads.Next(&it.walk)
	}
	return it.walk.Next()
}

// Prev moves to the previous key.
func (it *Iterator) Prev() bool {
	if it.part != nil && it.noted() {
		return it.part.reads.Prev(&it.walk)
	}
	return it.walk.Prev()
}

// Valid reports whether the iterator stands on a key.
func (it *Iterator) Valid() bool { return it.walk.Valid() }

// Key returns the key, nil when not Valid.
func (it *Iterator) Key() []byte {
	key := it.walk.Key()
	if it.part != nil {
		key = key[min(len(it.part.prefix), len(key)):]
	}
	return key
}

// Value returns the value, nil when not Valid and empty with KeysOnly. A large value of a
// table, of some 2 KiB and more, is read only now when walking forward: so a walk that asks
// for no values reads none of these. Where that fails, Value returns nil, the iterator is
// not Valid any more, and Err tells why. All and Backward never show such a value.
func (it *Iterator) Value() []byte { return it.walk.Value() }

// Until returns the time at which the value ends. It is the zero time for a value that
// stays, for one that operands were merged onto, and when not Valid.
func (it *Iterator) Until() time.Time {
	until := it.walk.Until()
	if until == 0 {
		return time.Time{}
	}
	return time.Unix(0, until)
}

// Err returns the error that ended the last move: nil at the end of the range, a
// *CorruptionError, that of a Merger or of the file system, or ErrClosed when the database or
// the iterator was closed.
func (it *Iterator) Err() error { return it.walk.Err() }

// Stats returns what the iterator has done so far. It tells why a walk was slow. It may also
// be called after Close.
func (it *Iterator) Stats() IteratorStats {
	s := it.walk.Stats()
	return IteratorStats{s.Entries, s.Versions, s.Tombstones, s.Blocks.Read, s.Blocks.Cached}
}

// Close releases what the iterator holds and returns the error of its last move.
// What it showed last stays readable. It is idempotent.
func (it *Iterator) Close() error {
	if it.part != nil {
		if it.noted() {
			it.part.tx.walked--
		}
		it.part.tx = nil
	}
	return it.walk.Close()
}

// All ranges over the keys and values from the first to the last. The slices are
// valid until the next step. When the loop ends by itself, ask Err.
func (it *Iterator) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for ok := it.First(); ok && it.show(yield); ok = it.Next() {
		}
	}
}

// show yields what the iterator stands on, unless the value cannot be read.
func (it *Iterator) show(yield func(key, value []byte) bool) bool {
	key, value := it.Key(), it.Value()
	return it.Valid() && yield(key, value)
}

// Backward ranges from the last to the first; otherwise it is like All.
func (it *Iterator) Backward() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for ok := it.Last(); ok && it.show(yield); ok = it.Prev() {
		}
	}
}
