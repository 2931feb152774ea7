package db

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"lsmdb/flusher"
	"lsmdb/internal/base"
	"lsmdb/manifest"
	"lsmdb/memtable"
	"lsmdb/stages"
	"lsmdb/wal"
)

// flush writes a replayed memtable to a table of level 0. Only the state in memory
// lists it: if Open fails, it is unlisted and the next open removes it.
func (o *opening) flush(m *memtable.Memtable) error {
	tables, err := flusher.Run(context.Background(), o.env.Output(), m.NewIterator(), nil)
	if err != nil {
		return fmt.Errorf("lsmdb: writing what was recovered: %w", err)
	}
	edit := &manifest.Edit{}
	for _, t := range tables {
		o.env.Attach(t)
		edit.Added = append(edit.Added, manifest.AddedTable{Level: 0, Meta: t})
	}
	o.facts.TablesWritten += len(tables)
	o.state, err = o.state.Apply(edit)
	return err
}

// flushReplayed writes the memtable that replay ended with.
func (o *opening) flushReplayed() error {
	for _, m := range o.replay.memtables {
		if err := o.flush(m); err != nil {
			return err
		}
	}
	o.replay.memtables = nil
	return nil
}

// commit begins a new WAL segment and a new MANIFEST and makes them the database
// by switching CURRENT. That also takes the mark of a clean close back.
func (o *opening) commit() (err error) {
	// The segment names no predecessor. What was replayed need not be durable where
	// it was read; should this recovery be cut short by a power failure, the next one
	// may find less, and that must not look like damage.
	if o.wal, err = stages.NewSegment(o.env, wal.Previous{}); err != nil {
		return fmt.Errorf("lsmdb: beginning the WAL: %w", err)
	}
	number := o.env.Numbers.Next()
	edit := &manifest.Edit{
		LastSeq:   o.replay.lastSeq,
		OldestWAL: o.wal.Segment(),
		NextFile:  o.env.Numbers.Peek(),
	}
	if o.state, err = o.state.Apply(edit); err != nil {
		return fmt.Errorf("invariant: recovery made an impossible state: %w", err)
	}
	if o.log, err = manifest.CreateLog(o.fs, o.dir, number, o.state); err != nil {
		return fmt.Errorf("lsmdb: beginning the MANIFEST: %w", err)
	}
	if err := manifest.WriteCurrent(o.fs, o.dir, manifest.Current{Manifest: number}); err != nil {
		o.switching = !errors.Is(err, base.ErrDiskFull) // which promises that nothing changed
		return fmt.Errorf("lsmdb: switching CURRENT: %w", err)
	}
	o.switching = true
	return nil
}

// sweep removes the files of ours that the new state does not list. A failure is
// no reason not to open: the files stay unlisted.
func (o *opening) sweep() error {
	listed := make(map[string]bool)
	for _, tables := range o.state.Version.Levels {
		for _, t := range tables {
			listed[base.TableName(t.Number)] = true
		}
	}
	names := append(o.files.names(0), o.files.temporaries...)
	if o.facts.Created {
		names = append(names, base.ManifestName(firstManifest))
	}
	for _, name := range names {
		if listed[name] {
			continue
		}
		if err := o.fs.Remove(filepath.Join(o.dir, name)); err != nil {
			o.options.Logger.Warn().Str("file", name).Err(err).Msg("an unlisted file could not be removed")
			continue
		}
		o.facts.FilesRemoved++
	}
	return nil
}

func sortNumbers(lists ...[]uint64) {
	for _, list := range lists {
		slices.Sort(list)
	}
}
