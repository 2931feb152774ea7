// Package flusher turns a sealed memtable into a table of level 0. It is a plain
// function: the goroutine that calls it stands in stages.
package flusher

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/internal/ranges"
	"lsmdb/manifest"
	"lsmdb/memtable"
)

// Run writes a memtable's entries, in internal order, and its range deletes to one
// durable table. Versions that no reader can see are left out; deletes stay, because older
// versions may lie in the tree. There is no table when there is nothing to write.
//
// yield is called every few microseconds with what was read since: see output.Tables.Copy.
// It ends early with the cause of ctx. On any error no file is left behind and the
// same entries may be tried again, except after output.ErrDirectorySync. The
// iterator stays the caller's to close.
func Run(ctx context.Context, dir *output.Directory, entries base.Iterator, deletes ranges.List, readers output.Readers, yield func(entries, bytes int64)) ([]*manifest.TableMeta, error) {
	tables := output.NewTables(dir, 0, nil)
	retention := dir.NewRetention(output.Scope{Readers: readers, Ranges: deletes})
	tables.Ranges(retention.Keep(), nil)
	if _, err := tables.Copy(ctx, entries, retention, yield); err != nil {
		return nil, errors.Join(err, tables.Abort())
	}
	return tables.Finish()
}

// RangeDeletes returns those of a memtable as a table can hold them: none reaches farther
// than all that is older than the memtable, which is in the tree, and what is in itself.
// Behind that there is nothing to delete. What no reader can tell apart is one.
func RangeDeletes(m *memtable.Memtable, tree *manifest.Version, readers output.Readers) ranges.List {
	if m.RangeDeletes.Empty() {
		return nil
	}
	var end []byte // behind every key; it may be the successor of the longest key
	reach := func(bound []byte) {
		if bytes.Compare(bound, end) > 0 {
			end = bound
		}
	}
	it := m.NewIterator()
	defer it.Close()
	if it.Last() {
		reach(successor(it.Key().UserKey()))
	}
	for _, t := range slices.Concat(tree.Levels[:]...) {
		if t.LargestExcluded() {
			reach(t.Largest.UserKey())
		} else {
			reach(successor(t.Largest.UserKey()))
		}
	}
	if end == nil {
		return nil
	}
	return readers.Merge(m.RangeDeletes.Lists()...).Clip(nil, end)
}

// successor returns the first key behind another one.
func successor(key []byte) []byte { return append(bytes.Clone(key), 0) }
