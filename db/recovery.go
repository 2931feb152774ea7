package db

import (
	"context"
	"fmt"
	"path/filepath"

	"lsmdb/flusher"
	"lsmdb/internal/base"
	"lsmdb/manifest"
	"lsmdb/memtable"
	"lsmdb/stages"
	"lsmdb/wal"
)

// begin takes the database over, in the order that crash safety asks for: tables of
// what was replayed, a WAL segment, a MANIFEST that names them, all durable; then
// CURRENT names that MANIFEST, and only then what it does not list is removed. A
// crash before the switch leaves files that nothing names beside all that was there.
// After a shortage begin goes on where it stopped when it is called again.
func (o *opening) begin(d *DB) (stages.Begun, error) {
	defer o.tell(d)
	for _, step := range []func() error{o.flushReplayed, o.commit, o.sweep} {
		if err := step(); err != nil {
			return stages.Begun{}, err
		}
	}
	o.options.Logger.Info().Int("tables_written", o.facts.TablesWritten).Int("files_removed", o.facts.FilesRemoved).Msg("taken over")
	begun := o.begun
	begun.State = o.state
	// Close still knows o, which must not keep old tables open nor memtables in memory.
	o.begun, o.state, o.replay = stages.Begun{}, manifest.State{}, nil
	return begun, nil
}

// flush writes a replayed memtable to a table of level 0. Only the state in memory
// lists it, until commit.
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
		o.replay.memtables = o.replay.memtables[1:]
	}
	return nil
}

// commit begins a new WAL segment and a new MANIFEST, unless they are there from an
// attempt before, and makes them the database by switching CURRENT. That also takes
// the mark of a clean close back.
func (o *opening) commit() (err error) {
	// The segment names no predecessor. What was replayed need not be durable where
	// it was read; should this recovery be cut short by a power failure, the next one
	// may find less, and that must not look like damage.
	if o.begun.Log == nil {
		if o.begun.Log, err = stages.NewSegment(o.env, wal.Previous{}); err != nil {
			return fmt.Errorf("lsmdb: beginning the WAL: %w", err)
		}
	}
	if o.begun.Manifest == nil {
		number := o.env.Numbers.Next()
		edit := manifest.Edit{OldestWAL: o.begun.Log.Segment(), NextFile: o.env.Numbers.Peek()}
		if o.state, err = o.state.Apply(&edit); err != nil {
			return fmt.Errorf("invariant: recovery made an impossible state: %w", err)
		}
		if o.begun.Manifest, err = manifest.CreateLog(o.fs, o.dir, number, o.state); err != nil {
			return fmt.Errorf("lsmdb: beginning the MANIFEST: %w", err)
		}
	}
	o.switching = true // also should WriteCurrent panic
	err = manifest.WriteCurrent(o.fs, o.dir, manifest.Current{Manifest: o.begun.Manifest.Number()})
	o.switching = !base.IsShortage(err) // which promises that nothing changed
	if err != nil {
		return fmt.Errorf("lsmdb: switching CURRENT: %w", err)
	}
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
	for _, name := range append(o.files.names(0), o.files.temporaries...) {
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
