// Package flusher turns a sealed memtable into a table of level 0. It is a plain
// function: the goroutine that calls it stands in stages.
package flusher

import (
	"context"
	"errors"
	"runtime"

	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/manifest"
)

// pauseBytes is how much Run writes between two looks at its surroundings: a
// few microseconds, so that a waiting writer gets the processor soon.
const pauseBytes = 1024

// Run writes entries, a memtable in internal order, to one durable table. Versions
// that no reader can see, given the live snapshots in ascending order, are left
// out; deletes stay, because older versions may lie in the tree. There is no table
// when there is no entry.
//
// It ends early with the cause of ctx. On any error no file is left behind and the
// same entries may be tried again, except after output.ErrDirectorySync. The
// iterator stays the caller's to close.
func Run(ctx context.Context, env output.Environment, entries base.Iterator, snapshots []base.Seq) ([]*manifest.TableMeta, error) {
	tables := output.NewTables(env, nil)
	if err := copyEntries(ctx, tables, entries, output.NewRetention(snapshots, nil)); err != nil {
		return nil, errors.Join(err, tables.Abort())
	}
	return tables.Finish()
}

func copyEntries(ctx context.Context, tables *output.Tables, entries base.Iterator, retention *output.Retention) error {
	unpausedBytes := pauseBytes // look at ctx before the first entry
	for ok := entries.First(); ok; ok = entries.Next() {
		if unpausedBytes >= pauseBytes {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			runtime.Gosched()
			unpausedBytes = 0
		}
		key, value := entries.Key(), entries.Value()
		unpausedBytes += len(key) + len(value)
		if !retention.Keep(key) {
			continue
		}
		if err := tables.Add(key, value); err != nil {
			return err
		}
	}
	return entries.Err()
}
