package db

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"

	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/manifest"
)

// Load adds everything that sorted yields, in strictly ascending order of keys, as one
// commit: all of it becomes visible at once, or none. It writes tables instead of the
// log, so it is faster than batches, and it may be larger than memory. What
// lies under the same keys is overwritten, like by Put. When Load returns nil, what was
// loaded survives a power failure.
//
// Sorted runs in this goroutine; it may use its slices again for the next pair. A key
// that does not lie behind the one before is an error that names both; after any error
// nothing of the input stays. Ctx bounds the time until the tables are handed over. Of
// many loads at the same time some wait before they begin: see Options.MaxOpenFiles.
// Reads and writes go on meanwhile. Only in the end writers wait, until what was written
// shortly before is flushed, and if loads of the same keys come faster than they are merged.
//
// Errors: those of Put, and the context's.
func (d *DB) Load(ctx context.Context, sorted iter.Seq2[[]byte, []byte]) error {
	if sorted == nil {
		return errors.New("lsmdb: load: there is no input")
	}
	if err := d.Flush(ctx); err != nil { // also has the database taken over, which removes unlisted tables
		return err
	}
	tables, err := d.writeSorted(ctx, sorted)
	switch {
	case err != nil && d.closed.Load(): // its files went away meanwhile
		return ErrClosed
	case errors.Is(err, output.ErrDirectorySync):
		return d.pipeline.Fail(err)
	case err != nil || len(tables) == 0:
		return err
	}
	_ = d.Flush(ctx) // so that writers wait less; what is wrong is told by Load, which then removes the tables
	return d.pipeline.Load(ctx, tables)
}

// writeSorted writes the input to tables that nothing lists yet.
func (d *DB) writeSorted(ctx context.Context, sorted iter.Seq2[[]byte, []byte]) (done []*manifest.TableMeta, err error) {
	select {
	case d.loading <- struct{}{}:
		defer func() { <-d.loading }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	limit := d.pipeline.TableLimitBytes()
	tables := output.NewLoadedTables(d.directory, d.pipeline.Aside, func(sizeBytes int64, _ []byte) bool { return sizeBytes >= limit })
	defer func() { err = errors.Join(err, tables.Abort()) }() // also after a panic of the input
	var key base.InternalKey                                  // the last one
	for user, value := range sorted {
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case d.closed.Load():
			return nil, ErrClosed
		case key != nil && bytes.Compare(user, key.UserKey()) <= 0:
			return nil, fmt.Errorf("lsmdb: load: the input is not sorted: %q follows %q", user, key.UserKey())
		}
		if err := base.CheckSizes(len(user), len(value)); err != nil {
			return nil, err
		}
		key = base.AppendInternalKey(key[:0], user, base.MakeTrailer(output.LoadedSeq, base.KindSet))
		if err := tables.Add(key, value); err != nil {
			return nil, err
		}
	}
	if ctx.Err() != nil { // whoever makes the input may end it so
		return nil, ctx.Err()
	}
	return tables.Finish()
}
