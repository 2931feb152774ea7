package compactor

import (
	"slices"

	"lsmdb/manifest"
)

const bottom = manifest.NumLevels - 1

// Policy says what shape the tree should have. The zero Policy is not usable; make
// one with NewPolicy and change fields before its first use.
type Policy struct {
	L0Trigger       int   // number of level-0 tables that makes their compaction due
	L0Limit         int   // number of level-0 tables beyond which writers are held
	JobInputs       int   // level-0 tables in one job: it has all of them open at once
	BaseBytes       int64 // largest target size of the base level, the first one that level 0 is merged into
	Multiplier      int64 // target size of a level over that of the level above
	TableBytes      int64 // size of tables in the base level; doubles per level
	TableLimitBytes int64 // up to this size
}

// The smallest sizes that still make a tree; memtables of tests come close.
const (
	minTableBytes = 4 << 10
	minBaseBytes  = 16 << 10

	// Of smaller tables the files cost more than what is in them. Only a memtable of
	// less makes smaller ones.
	fairTableBytes = 64 << 10
)

// NewPolicy derives the default shape from the size of a memtable. Each table of
// level 0 is one more run to read, but the more go down at once, the less often the
// base level is rewritten for them.
func NewPolicy(memtableBytes int64) Policy {
	return Policy{
		L0Trigger:       8,
		L0Limit:         24,
		JobInputs:       32,
		BaseBytes:       max(8*memtableBytes, minBaseBytes),
		Multiplier:      10,
		TableBytes:      max(memtableBytes/8, min(memtableBytes, fairTableBytes), minTableBytes),
		TableLimitBytes: max(memtableBytes, minTableBytes),
	}
}

// Targets is the shape that a Version should have.
type Targets struct {
	Base  int                       // the level that level 0 is merged into, at least 1
	Bytes [manifest.NumLevels]int64 // size of each level below level 0; 0: should be empty
}

// Targets derives the wanted sizes from the largest level: each level above gets
// a fixed fraction of it, until the fraction fits into BaseBytes. So the bulk of
// the data lies in the largest level whatever the size of the tree, and space and
// write amplification stay put (the scheme is RocksDB's dynamic level bytes). A
// level above the base that still holds tables is to be emptied, and until it is,
// level 0 goes there: nothing may sink past older versions of its keys.
func (p Policy) Targets(v *manifest.Version) Targets {
	var t Targets
	largest := p.BaseBytes
	for level := 1; level <= bottom; level++ {
		largest = max(largest, totalBytes(v.Levels[level]))
	}
	t.Base = bottom
	t.Bytes[bottom] = largest
	for t.Base > 1 && t.Bytes[t.Base] > p.BaseBytes {
		t.Base--
		t.Bytes[t.Base] = t.Bytes[t.Base+1] / p.Multiplier
	}
	for level := 1; level < t.Base; level++ {
		if len(v.Levels[level]) > 0 {
			t.Base = level
		}
	}
	return t
}

// MergeEntries is what it takes to empty level 0.
func (p Policy) MergeEntries(v *manifest.Version) int64 {
	return int64(totalEntries(v.Levels[0]) + totalEntries(v.Levels[p.Targets(v).Base]))
}

// outputBytes is the size at which tables written to level are cut. The doubling
// counts from the topmost level that holds the base at this tree size.
func (p Policy) outputBytes(t Targets, level int) int64 {
	size := p.TableBytes
	for above := t.Base; above < level && size < p.TableLimitBytes; above++ {
		if t.Bytes[above] > 0 {
			size *= 2
		}
	}
	return min(size, p.TableLimitBytes)
}

// jobLimitBytes bounds the inputs that are added to a job because it is cheap to
// take them along.
func (p Policy) jobLimitBytes(tableBytes int64) int64 { return 16 * tableBytes }

// overlapLimitBytes is how much of the level after next an output may overlap:
// that is what compacting it once more will have to rewrite.
func (p Policy) overlapLimitBytes(tableBytes int64) int64 { return p.Multiplier * tableBytes }

func totalBytes(tables []*manifest.TableMeta) (sum int64) {
	for _, t := range tables {
		sum += t.SizeBytes
	}
	return sum
}

func totalEntries(tables []*manifest.TableMeta) (sum uint64) {
	for _, t := range tables {
		sum += t.Entries
	}
	return sum
}

// LoadLevel returns the deepest level to which tables with new keys from lower to upper,
// both included, can be added: it holds nothing of that range, and nothing above it does.
func LoadLevel(v *manifest.Version, lower, upper []byte) int {
	for level := range v.Levels {
		if len(v.Overlapping(level, lower, upper)) > 0 {
			return max(0, level-1)
		}
	}
	return bottom
}

// Overtaken reports whether loaded tables lie between those that the edit of a job adds to a
// level: a load was faster, and the job is to be done again.
func Overtaken(e *manifest.Edit, v *manifest.Version) bool {
	for _, a := range e.Added {
		if a.Level == 0 {
			continue // where tables may overlap
		}
		for _, t := range v.Overlapping(a.Level, a.Meta.Smallest.UserKey(), a.Meta.Largest.UserKey()) {
			if t.Placeholder != 0 && t.SharesKeys(a.Meta) && !slices.Contains(e.Removed, manifest.RemovedTable{Level: a.Level, Number: t.Number}) {
				return true
			}
		}
	}
	return false
}
