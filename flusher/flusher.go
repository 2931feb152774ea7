// Package flusher turns a sealed memtable into a table of level 0. It is a plain
// function: the goroutine that calls it stands in stages.
package flusher

import (
	"context"
	"errors"

	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/manifest"
)

// Run writes entries, a memtable in internal order, to one durable table. Versions
// that no reader can see, given the live snapshots in ascending order, are left
// out; deletes stay, because older versions may lie in the tree. There is no table
// when there is no entry.
//
// It ends early with the cause of ctx. On any error no file is left behind and the
// same entries may be tried again, except after output.ErrDirectorySync. The
// iterator stays the caller's to close.
func Run(ctx context.Context, dir *output.Directory, entries base.Iterator, snapshots []base.Seq) ([]*manifest.TableMeta, error) {
	var courtesy base.Courtesy
	tables := output.NewTables(dir, 0, nil)
	if _, err := tables.Copy(ctx, entries, output.NewRetention(snapshots, nil), func() { courtesy.Give() }); err != nil {
		return nil, errors.Join(err, tables.Abort())
	}
	return tables.Finish()
}
