package recovery

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"lsmdb/flusher"
	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
	"lsmdb/wal"
)

// Begin takes the database over, in the order that crash safety asks for: tables of
// what was replayed, a WAL segment, a MANIFEST that names them, all durable; then
// CURRENT names that MANIFEST, and only then what it does not list is removed. A
// crash before the switch leaves files that nothing names beside all that was there.
// After a shortage Begin goes on where it stopped when it is called again.
func (o *Opening) Begin() (Begun, error) {
	defer o.tell()
	if err := o.flushReplayed(); err != nil {
		return Begun{}, err
	}
	o.syncKept()
	if err := o.commit(); err != nil {
		return Begun{}, err
	}
	o.remove(o.isKept) // what only the state before needed
	o.directory.Logger.Info().Int("tables_written", o.facts.TablesWritten).Int("files_removed", o.facts.FilesRemoved).Msg("taken over")
	begun := o.begun
	begun.State, begun.Changes = o.state, o.changes
	// The Keeper still knows o, which must not keep old tables open nor memtables in memory.
	o.begun, o.state, o.replay = Begun{}, manifest.State{}, nil
	return begun, nil
}

// sweepLeft removes what takeovers left that were not carried through, before anything
// is written: so they need no more space each time. Older files stay until the switch,
// listed or not. Where a process was killed before a sync of MANIFEST or directory, a
// power failure would bring back the state before, which may list them.
func (o *Opening) sweepLeft() {
	o.remove(func(name string) bool {
		kind, number := base.ParseFileName(name)
		return number < o.listed && kind != base.FileTemporary || kind == base.FileWAL && o.replay.needs(number)
	})
}

// flushReplayed writes the memtable that replay has filled to tables of level 0. Only the
// state in memory lists them, until commit.
func (o *Opening) flushReplayed() error {
	var courtesy base.Courtesy
	o.sweepLeft()
	for _, m := range o.replay.memtables {
		deletes := flusher.RangeDeletes(m, o.state.Version, output.Readers{})
		tables, err := flusher.Run(context.Background(), o.directory, m.NewIterator(), deletes, output.Readers{}, func(_, _ int64) { courtesy.Give() })
		if err != nil {
			return fmt.Errorf("lsmdb: writing what was recovered: %w", err)
		}
		edit := &manifest.Edit{}
		for _, t := range tables {
			o.directory.Attach(t)
			edit.Add(0, t)
		}
		o.facts.TablesWritten += len(tables)
		if o.state, err = o.state.Apply(edit); err != nil {
			return err
		}
		o.replay.memtables = o.replay.memtables[1:]
	}
	return nil
}

// commit begins a new WAL segment and a new MANIFEST, unless they are there from an
// attempt before, and makes them the database by switching CURRENT. That also takes
// the mark of a clean close back.
func (o *Opening) commit() (err error) {
	// The segment names no predecessor. What was replayed need not be durable where
	// it was read; should this recovery be cut short by a power failure, the next one
	// may find less, and that must not look like damage.
	if o.begun.Log == nil {
		if o.begun.Log, err = o.directory.NewSegment(wal.Previous{}); err != nil {
			return fmt.Errorf("lsmdb: beginning the WAL: %w", err)
		}
	}
	if o.begun.Manifest == nil {
		number := o.directory.Numbers.Next()
		edit := manifest.Edit{OldestWAL: o.begun.Log.Segment(), NextFile: o.directory.Numbers.Peek(), LastSeq: o.replay.lastSeq}
		if merger := o.directory.Merger; merger != nil && o.state.Merger == "" {
			edit.Merger = merger.Name // before the first operand
		}
		o.state.Loaded = slices.DeleteFunc(slices.Clone(o.state.Loaded), func(l manifest.Loaded) bool { return l.Seq < o.changes[0].First })
		if o.state, err = o.state.Apply(&edit); err != nil {
			return fmt.Errorf("invariant: recovery made an impossible state: %w", err)
		}
		if o.begun.Manifest, err = manifest.CreateLog(o.directory.FS, o.directory.Dir, number, o.state); err != nil {
			return fmt.Errorf("lsmdb: beginning the MANIFEST: %w", err)
		}
	}
	o.switching = true // also should WriteCurrent panic
	err = manifest.WriteCurrent(o.directory.FS, o.directory.Dir, manifest.Current{Manifest: o.begun.Manifest.Segment()})
	o.switching = !base.IsShortage(err) // which promises that nothing changed
	if err != nil {
		return fmt.Errorf("lsmdb: switching CURRENT: %w", err)
	}
	return nil
}

// remove removes the files that were there at first, but for the needed ones and the
// tables of the tree. A failure is no reason not to open: the files stay unlisted.
func (o *Opening) remove(needed func(name string) bool) {
	listed := make(map[string]bool)
	for _, t := range slices.Concat(o.state.Version.Levels[:]...) {
		listed[base.TableName(t.Number)] = true
	}
	o.files.all = slices.DeleteFunc(o.files.all, func(name string) bool {
		if listed[name] || needed(name) {
			return false
		}
		if err := vfs.RemoveInSteps(o.directory.FS, filepath.Join(o.directory.Dir, name), nil); err != nil {
			o.directory.Logger.Warn().Str("file", name).Err(err).Msg("an unlisted file could not be removed")
		} else {
			o.facts.FilesRemoved++
		}
		return true
	})
}
