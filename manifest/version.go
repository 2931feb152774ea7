// Package manifest knows which tables make up the database.
//
// A Version is the tree of tables at one instant, an Edit a change to it, and a
// State a Version together with the counters that must outlive a process. Edits
// are applied by pure functions that check every invariant and are made durable
// in a Log, the file MANIFEST-n; Load reads it back. CURRENT names the log that
// counts. docs/format-manifest.md describes both files.
//
// Invariants of a Version: every table number appears once; level 0 is ordered
// newest first, and of two tables there that share user keys one is newer as a
// whole; in a deeper level the tables are ordered by key and no two share a user
// key.
//
// Versions, their tables and decoded edits are immutable once published and free
// to share. A Log and a LevelIterator are used by one goroutine at a time.
package manifest

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"sort"
	"sync/atomic"

	"lsmdb/internal/base"
	"lsmdb/internal/ranges"
)

// NumLevels is the number of levels of the tree. Level 0 receives flushes.
const NumLevels = 7

// Version is an immutable tree of tables. The zero Version is empty.
type Version struct {
	// Levels holds the tables of each level: level 0 newest first, every other one
	// by ascending key.
	Levels [NumLevels][]*TableMeta

	// ends holds, for each level, the prefixes of the tables' last user keys,
	// so that Find reads one array instead of chasing pointers. Apply makes them.
	ends [NumLevels][]uint64

	// Deleting are the tables of each level that hold range deletes. Apply finds them.
	Deleting [NumLevels][]*TableMeta

	// LastSeq is the number of the newest write of which the tables hold what is left, as
	// they do of all before it, and of none behind it. State.Apply tells it.
	LastSeq base.Seq

	mergeBytes int64        // what merging level 0 away would write; Apply finds it
	detours    atomic.Int64 // see Detour
}

// Detour counts what reads spend on looking into tables of level 0, in bytes that a
// compaction merges in that time. It reports true once: when all of it together has
// reached what merging level 0 away would cost.
//
// A renter who buys when the rent has reached the price never pays more than twice
// what foresight would. LevelDB counts seeks for the same reason.
func (v *Version) Detour(bytes int64) bool {
	return reaches(&v.detours, bytes, v.mergeBytes)
}

// reaches adds to a sum and reports whether that takes it to its limit.
func reaches(sum *atomic.Int64, bytes, limit int64) bool {
	after := sum.Add(bytes)
	return after >= limit && after-bytes < limit
}

// DetoursPay reports whether Detour has reported true.
func (v *Version) DetoursPay() bool { return v.mergeBytes > 0 && v.detours.Load() >= v.mergeBytes }

// passedBytes is what a compaction could merge while a reader passes one entry that it
// cannot show, some 45 nanoseconds.
const passedBytes = 16

// Pass is told how many deletes and deleted entries a reader passed in a table of a level
// before it came to something that it could show. They are detours as well: of level
// 0, or of the table itself, which pay for its merge when they have reached its size. It
// reports true once: when it is time for the merge.
func (v *Version) Pass(level int, t *TableMeta, entries int64) bool {
	bytes := entries * passedBytes
	if level == 0 {
		return v.Detour(bytes)
	}
	return reaches(&t.detours, bytes, t.SizeBytes)
}

// TopRuns are the runs that merging level 0 away would merge: its tables, each by itself, and
// the level that they go to.
func (v *Version) TopRuns() [][]*TableMeta {
	runs := slices.Collect(slices.Chunk(v.Levels[0], 1))
	for _, tables := range v.Levels[1:] {
		if len(tables) > 0 {
			return append(runs, tables)
		}
	}
	return runs
}

// Find returns the table of a level other than 0 whose bounds enclose userKey,
// nil when there is none. It does not allocate.
func (v *Version) Find(level int, userKey []byte) *TableMeta {
	tables := v.Levels[level]
	at := firstNotBefore(tables, v.ends[level], userKey)
	if at == len(tables) || bytes.Compare(tables[at].Smallest.UserKey(), userKey) > 0 {
		return nil
	}
	return tables[at]
}

// Overlapping returns the tables of a level that hold user keys from lower to
// upper, both included, in the order of the level. A nil bound is open; an empty
// one is the empty key. The result may share the memory of the Version: it is not
// to be changed.
func (v *Version) Overlapping(level int, lower, upper []byte) []*TableMeta {
	tables := v.Levels[level]
	if level == 0 {
		return slices.DeleteFunc(slices.Clone(tables), func(t *TableMeta) bool { return !t.Overlaps(lower, upper) })
	}
	tables = tables[firstNotBefore(tables, v.ends[level], lower):] // all, if it is nil
	count := sort.Search(len(tables), func(i int) bool { return tables[i].startsAfter(upper) })
	return tables[:count:count]
}

// firstNotBefore returns the index of the first of the tables of a level other than 0
// that does not end before userKey. ends are their endPrefixes.
func firstNotBefore(tables []*TableMeta, ends []uint64, userKey []byte) int {
	prefix := prefixOf(userKey)
	low, high := 0, len(ends)
	for low < high {
		middle := int(uint(low+high) >> 1)
		end := ends[middle]
		before := end < prefix
		if end == prefix { // rarely: so EndsBefore, which is not inlined, stays out of the loop
			c := bytes.Compare(tables[middle].Largest.UserKey(), userKey)
			before = c < 0 || c == 0 && tables[middle].LargestExcluded()
		}
		if before {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// deleting returns the tables that hold range deletes.
func deleting(tables []*TableMeta) []*TableMeta {
	return slices.DeleteFunc(slices.Clone(tables), func(t *TableMeta) bool { return t.RangeDeletes == 0 })
}

// Window says what the range deletes of some tables, which ascend and share no keys, tell
// of key: see ranges.List.Window. No table but the one that holds key is opened.
func Window(tables []*TableMeta, key []byte, seq base.Seq) (w ranges.Window, err error) {
	i := sort.Search(len(tables), func(i int) bool { return !tables[i].EndsBefore(key) })
	if i > 0 {
		w.From = tables[i-1].Largest.UserKey() // no range delete covers that
	}
	if i < len(tables) && bytes.Compare(tables[i].Smallest.UserKey(), key) <= 0 {
		table, err := tables[i].Handle.Table()
		if err != nil {
			return w, err
		}
		if w = table.Ranges().Window(key, seq); w.From == nil {
			w.From = tables[i].Smallest.UserKey()
		}
		i++
	}
	if w.Until == nil && i < len(tables) {
		w.Until = tables[i].Smallest.UserKey()
	}
	return w, nil
}

// prefixOf returns the first eight bytes of a user key, zero padded. Keys with
// different prefixes are ordered as these are.
func prefixOf(userKey []byte) uint64 {
	if len(userKey) >= 8 {
		return binary.BigEndian.Uint64(userKey)
	}
	var padded [8]byte
	copy(padded[:], userKey)
	return binary.BigEndian.Uint64(padded[:])
}

// endPrefixes returns the prefixes that Find searches.
func endPrefixes(tables []*TableMeta) []uint64 {
	ends := make([]uint64, len(tables))
	for i, t := range tables {
		ends[i] = prefixOf(t.Largest.UserKey())
	}
	return ends
}

// levelOrder returns the order of tables in a level: newest first in level 0, by
// key elsewhere.
func levelOrder(level int) func(a, b *TableMeta) int {
	if level > 0 {
		return func(a, b *TableMeta) int { return base.Compare(a.Smallest, b.Smallest) }
	}
	return func(a, b *TableMeta) int {
		return cmp.Or(cmp.Compare(b.LargestSeq, a.LargestSeq), cmp.Compare(b.SmallestSeq, a.SmallestSeq), cmp.Compare(b.Number, a.Number))
	}
}

// Lists reports whether the Version holds the very table that t describes.
func (v *Version) Lists(t *TableMeta) bool {
	for level, tables := range v.Levels {
		if level == 0 && slices.Contains(tables, t) || level > 0 && v.Find(level, t.Smallest.UserKey()) == t {
			return true
		}
	}
	return false
}
