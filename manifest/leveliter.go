package manifest

import (
	"bytes"
	"slices"
	"sort"

	"lsmdb/internal/base"
	"lsmdb/internal/merge"
	"lsmdb/sstable"
)

// LevelIterator walks the tables of one sorted level as one, opening a table when
// the walk reaches it. An error ends the walk; First, Last and the seeks try again.
//
// Invariant: valid means that open stands on an entry of tables[at].
type LevelIterator struct {
	tables  []*TableMeta
	ends    []uint64 // their endPrefixes
	version *Version // that they come from; nil: of no interest
	options sstable.IteratorOptions
	open    sstable.Iterator // over tables[at], if at is not -1
	level   int
	at      int
	valid   bool
	err     error
}

var _ base.Iterator = (*LevelIterator)(nil)

// NewLevelIterator returns an unpositioned iterator over tables, which are in
// ascending order, share no keys, and have Handles.
func NewLevelIterator(tables []*TableMeta, o sstable.IteratorOptions) *LevelIterator {
	return &LevelIterator{tables: tables, ends: endPrefixes(tables), options: o, at: -1}
}

// AppendRuns appends iterators over all tables that hold keys of the range that o
// bounds, newest first, and uses the memory of those that lie behind the end of dst.
// They are to be used where they are: none may be copied.
func (v *Version) AppendRuns(dst []LevelIterator, o *sstable.IteratorOptions) []LevelIterator {
	for level, tables := range v.Levels {
		ends := v.ends[level]
		if level > 0 && len(tables) > 0 {
			dst = v.appendRun(dst, level, tables, ends, o)
			continue
		}
		for i := range tables {
			dst = v.appendRun(dst, level, tables[i:i+1], ends[i:i+1], o)
		}
	}
	return dst
}

// appendRun appends an iterator over those of the tables that the range needs.
func (v *Version) appendRun(dst []LevelIterator, level int, tables []*TableMeta, ends []uint64, o *sstable.IteratorOptions) []LevelIterator {
	from, to, n := 0, len(tables), len(dst)
	if o.Lower != nil {
		from = firstNotBefore(tables, ends, o.Lower)
	}
	if o.Upper != nil {
		to = sort.Search(to, func(i int) bool { return bytes.Compare(tables[i].Smallest.UserKey(), o.Upper) >= 0 })
	}
	if from < to {
		dst = slices.Grow(dst, 1)[:n+1]
		it := &dst[n] // whose open stays: to copy it would take longer than all else
		it.tables, it.ends, it.version, it.level, it.options = tables[from:to], ends[from:to], v, level, *o
		it.at, it.valid, it.err = -1, false, nil
	}
	return dst
}

// Run returns the iterator as a child of a merge.
func (it *LevelIterator) Run() merge.Run { return merge.Run{Iterator: it, Table: &it.open} }

// Pass is Version.Pass for the current table.
func (it *LevelIterator) Pass(entries int64) bool {
	return it.at >= 0 && it.version.Pass(it.level, it.tables[it.at], entries)
}

// Deleting returns tables that hold range deletes, among them all that do of those that the
// iterator walks. They share no keys.
func (it *LevelIterator) Deleting() []*TableMeta {
	switch {
	case it.level > 0:
		return it.version.Deleting[it.level]
	case it.tables[0].RangeDeletes > 0: // there is one in a run of level 0
		return it.tables
	}
	return nil
}

// First moves to the first entry of the level.
func (it *LevelIterator) First() bool { return it.enter(0) && it.onward(it.open.First(), 1) }

// Last moves to the last entry of the level.
func (it *LevelIterator) Last() bool {
	return it.enter(len(it.tables)-1) && it.onward(it.open.Last(), -1)
}

// SeekGE moves to the first entry at or after key.
func (it *LevelIterator) SeekGE(key base.InternalKey) bool {
	return it.enter(firstNotBefore(it.tables, it.ends, key.UserKey())) && it.onward(it.open.SeekGE(key), 1)
}

// SeekLT moves to the last entry before key.
func (it *LevelIterator) SeekLT(key base.InternalKey) bool {
	at := firstNotBefore(it.tables, it.ends, key.UserKey())
	if at == len(it.tables) || base.Compare(it.tables[at].Smallest, key) >= 0 {
		at--
	}
	return it.enter(at) && it.onward(it.open.SeekLT(key), -1)
}

// Next moves to the following entry.
func (it *LevelIterator) Next() bool { return it.valid && (it.open.Next() || it.onward(false, 1)) }

// Prev moves to the preceding entry.
func (it *LevelIterator) Prev() bool { return it.valid && (it.open.Prev() || it.onward(false, -1)) }

// Valid reports whether the iterator stands on an entry.
func (it *LevelIterator) Valid() bool { return it.valid }

// Key returns the current internal key.
func (it *LevelIterator) Key() base.InternalKey { return it.open.Key() }

// Value returns the current value.
func (it *LevelIterator) Value() []byte { return it.open.Value() }

// Err returns the error that ended the walk, nil at a plain end.
func (it *LevelIterator) Err() error { return it.err }

// Close closes the open table's iterator, leaves no table to walk, and returns Err. It is
// idempotent.
func (it *LevelIterator) Close() error {
	it.leave()
	it.tables, it.ends, it.version, it.options = nil, nil, nil, sstable.IteratorOptions{}
	return it.err
}

// onward reports whether the walk stands on an entry. While the open table has none
// left it goes on to the next one, by 1 or -1, unless the open one ended with an error.
func (it *LevelIterator) onward(stands bool, by int) bool {
	for !stands {
		if err := it.open.Err(); err != nil {
			it.valid, it.err = false, err
			return false
		}
		if !it.enter(it.at + by) {
			return false
		}
		if by > 0 {
			stands = it.open.First()
		} else {
			stands = it.open.Last()
		}
	}
	it.valid = true
	return true
}

// enter opens table at, which may lie outside the level, unpositioned. It keeps
// the one that is open if it is the same.
func (it *LevelIterator) enter(at int) bool {
	it.valid, it.err = false, nil
	if at < 0 || at >= len(it.tables) {
		return false
	}
	if it.at == at {
		return true
	}
	it.leave()
	table, err := it.tables[at].Handle.Table()
	if err != nil {
		it.err = err
		return false
	}
	it.at = at
	it.open.Reset(table, &it.options)
	return true
}

// leave closes the open table's iterator.
func (it *LevelIterator) leave() {
	it.valid, it.at = false, -1
	_ = it.open.Close() // repeats what its Err has told
}
