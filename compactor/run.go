package compactor

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/internal/merge"
	"lsmdb/internal/output"
	"lsmdb/internal/ranges"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
	"lsmdb/sstable"
)

// Inputs are read from end to end, ahead of need: each by so much, unless there are many.
const (
	readAheadBytes    = 256 << 10
	allReadAheadBytes = 4 << 20
)

// Run merges the inputs and returns the tables that replace them, durable but not
// yet part of any Version: apply Edit(outputs) next. readers are those of now; newer ones
// may appear meanwhile. v is a Version that holds the
// job's tables. yield is called every few microseconds with what was read since: see
// output.Tables.Copy.
//
// It ends early with the cause of ctx. On any error no output is left behind and
// the inputs are untouched: the same tables may be tried again, except after
// output.ErrDirectorySync, or when Damaged names some. Its calls, for different jobs, may
// run concurrently.
func (j *Job) Run(ctx context.Context, dir *output.Directory, readers output.Readers, v *manifest.Version, yield func(entries, bytes int64)) ([]*manifest.TableMeta, error) {
	if j.Unread() {
		panic("invariant: a compaction that reads nothing is run")
	}
	deletes, err := j.rangeDeletes()
	if err != nil {
		return nil, vfs.Shortage(err)
	}
	entries := j.open()
	tables := output.NewTables(dir, j.OutputLevel, j.cutter())
	scope := output.Scope{Readers: readers, Ranges: deletes}
	if j.OutputLevel > 0 { // what stays in level 0 may lie over older tables there
		holdsNo := j.elision(v)
		scope.Elide = func(userKey []byte) bool { return holdsNo(userKey, userKey) }
		scope.ElideRange = j.elision(v)
	}
	retention := dir.NewRetention(scope)
	tables.Ranges(retention.Keep(), j.borders())
	count, err := tables.Copy(ctx, entries, retention, yield)
	err = cmp.Or(err, entries.Close())
	// The inputs are thrown away for what was read.
	if want := j.InputEntries(); err == nil && count != want {
		err = base.Corruptf("inputs of the compaction", -1, "%d entries were read, the manifest counts %d", count, want)
	}
	if err != nil {
		return nil, errors.Join(vfs.Shortage(err), tables.Abort())
	}
	outputs, err := tables.Finish()
	newest := newestIn(j.tables())
	if found := newestIn(outputs); found > newest {
		// Whoever waits until all of an output can be seen would wait for ever.
		dir.RemoveTables(j.Edit(outputs))
		return nil, base.Corruptf("inputs of the compaction", -1, "hold sequence number %d, the manifest says %d at most", found, newest)
	}
	return outputs, err
}

func newestIn(tables []*manifest.TableMeta) (newest base.Seq) {
	for _, t := range tables {
		newest = max(newest, t.LargestSeq)
	}
	return newest
}

// rangeDeletes returns those of all inputs.
func (j *Job) rangeDeletes() (ranges.List, error) {
	var lists []ranges.List
	for _, t := range j.tables() {
		if t.RangeDeletes == 0 {
			continue
		}
		table, err := t.Handle.Table()
		if err != nil {
			return nil, err
		}
		lists = append(lists, table.Ranges())
	}
	return ranges.Merge(lists...), nil
}

// borders returns where range deletes may be cut between two entries: where tables of the
// level after next begin.
func (j *Job) borders() (keys [][]byte) {
	for _, t := range j.Grandparents {
		keys = append(keys, t.Smallest.UserKey())
	}
	return keys
}

// Runs are the tables that the job replaces: in each run their keys ascend.
func (j *Job) Runs() [][]*manifest.TableMeta {
	runs := [][]*manifest.TableMeta{j.Inputs}
	if j.Level == 0 {
		runs = slices.Collect(slices.Chunk(j.Inputs, 1))
	}
	return append(runs, j.Overlaps)
}

// open returns all entries of the inputs in internal order.
func (j *Job) open() base.Iterator {
	sorted := j.Runs()
	options := sstable.IteratorOptions{NoCacheFill: true, ReadAheadBytes: min(readAheadBytes, allReadAheadBytes/len(sorted))}
	var runs []merge.Run
	for _, tables := range sorted {
		runs = append(runs, manifest.NewLevelIterator(tables, options).Run())
	}
	return merge.New(runs...)
}

// cutter returns what ends an output where the next one should begin.
//
// It is asked with ascending user keys. A table ends at its full size, or where
// it overlaps too much of the level after next. Where a grandparent ends is also a
// good place once it is half full: tables whose borders coincide overlap fewer of
// each other when they are compacted.
func (j *Job) cutter() func(sizeBytes int64, next []byte) bool {
	ahead, passedBytes := j.Grandparents, int64(0) // since the last cut
	return func(sizeBytes int64, next []byte) bool {
		before := len(ahead)
		for len(ahead) > 0 && ahead[0].EndsBefore(next) {
			passedBytes += ahead[0].SizeBytes
			ahead = ahead[1:]
		}
		passed := len(ahead) < before
		cut := sizeBytes >= j.TableBytes || passedBytes > j.OverlapBytes || (passed && sizeBytes >= j.TableBytes/2)
		if cut {
			passedBytes = 0
		}
		return cut
	}
}

// elision returns what tells whether deletes may go, because no table that lies deeper
// than the job's output can hold a user key from lower to upper; it is asked with ascending
// ones.
func (j *Job) elision(v *manifest.Version) func(lower, upper []byte) bool {
	var deeper [][]*manifest.TableMeta // of each level, what the keys have not yet passed
	for level := j.OutputLevel + 1; level <= bottom; level++ {
		deeper = append(deeper, v.Overlapping(level, j.Lower, j.Upper))
	}
	return func(lower, upper []byte) bool {
		for i, tables := range deeper {
			for len(tables) > 0 && tables[0].EndsBefore(lower) {
				tables = tables[1:]
			}
			deeper[i] = tables
			if len(tables) > 0 && bytes.Compare(tables[0].Smallest.UserKey(), upper) <= 0 {
				return false
			}
		}
		return true
	}
}
