package recovery

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/rs/zerolog"

	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
	"lsmdb/sstable"
)

// Observer hears what Verify finds. Names are without directory.
type Observer struct {
	// File is told of each file that was read, and how many edits, entries or operations it
	// holds. Of a table it gets what the MANIFEST says.
	File     func(name, kind string, sizeBytes int64, entries uint64, table *manifest.TableMeta)
	Problem  func(name string, offset int64, detail string, fatal bool)
	Progress func(name string, doneBytes, totalBytes int64)
}

// Verify reads every byte of a database, as db.Verify describes.
func Verify(ctx context.Context, fsys vfs.FS, dir string, o Observer) error {
	v := newVerification(ctx, dir, o)
	v.opening.fs = fsys
	defer v.opening.abandon()
	if err := v.opening.takeLock(); err != nil {
		return err
	}
	v.fs = v.opening.directory.FS
	return v.run()
}

// VerifyWithout is Verify for a new directory that the caller has locked. CURRENT, which
// comes last, is not there yet, but will be this; there is no log.
func VerifyWithout(ctx context.Context, directory vfs.Directory, dir string, current manifest.Current, o Observer) error {
	v := newVerification(ctx, dir, o)
	v.opening.directory.FS, v.opening.current, v.fs = directory, current, directory
	defer v.opening.directory.Files.CloseAll()
	return v.tree()
}

func newVerification(ctx context.Context, dir string, o Observer) *verification {
	return &verification{ctx: ctx, Observer: o, opening: &Opening{
		directory: &output.Directory{Dir: dir, Files: &sstable.OpenFiles{}, Logger: zerolog.Nop()},
		options:   Options{ReadOnly: true},
	}}
}

// verification is one Verify in progress. It goes the way of an Open, but
// collects what is wrong instead of stopping at it.
type verification struct {
	Observer
	ctx     context.Context
	fs      vfs.Files
	opening *Opening

	doneBytes, totalBytes int64
}

func (v *verification) run() error {
	o := v.opening
	if err := o.readCurrent(); err != nil {
		v.addFile(base.CurrentName, "current", 0, nil)
		return v.note(base.CurrentName, err, true)
	}
	v.addFile(base.CurrentName, "current", 1, nil)
	return v.tree()
}

// tree goes through what CURRENT names.
func (v *verification) tree() error {
	o := v.opening
	manifestName := base.ManifestName(o.current.Manifest)
	state, facts, err := manifest.Load(v.fs, o.directory.Dir, o.current.Manifest)
	v.addFile(manifestName, "manifest", uint64(facts.Edits), nil)
	if err != nil {
		return v.note(manifestName, err, true)
	}
	if clean := o.current.Clean; clean != nil && (!facts.End.Sealed || facts.End.Offset != clean.ManifestEnd) {
		v.Problem(manifestName, facts.End.Offset, fmt.Sprintf("ends here, but a clean close left it at %d", clean.ManifestEnd), true)
	}
	o.state = state
	for _, tables := range state.Version.Levels {
		for _, t := range tables {
			v.totalBytes += t.SizeBytes
		}
	}
	for level, tables := range state.Version.Levels {
		for _, t := range tables {
			if err := v.table(level, t); err != nil {
				return err
			}
		}
	}
	return v.log()
}

// table reads one table from end to end and compares it with what the MANIFEST
// says of it.
func (v *verification) table(level int, t *manifest.TableMeta) error {
	o := v.opening
	name := base.TableName(t.Number)
	if err := v.ctx.Err(); err != nil {
		return err
	}
	start := v.doneBytes
	defer func() { v.doneBytes = start + t.SizeBytes }()
	if err := checkTable(v.fs, o.directory.Dir, level, t); err != nil {
		return v.note(name, err, true)
	}
	v.addFile(name, "table", t.Entries, t)
	o.directory.Attach(t)
	table, err := t.Handle.Table()
	if err != nil {
		return v.note(name, err, false)
	}
	defer t.Handle.Close()
	err = table.Verify(func(bytes int64) {
		v.doneBytes += bytes
		v.Progress(name, v.doneBytes, v.totalBytes)
	})
	if err == nil {
		err = matchesManifest(base.TablePath(o.directory.Dir, t.Number), t, table.Properties())
	}
	if err != nil {
		return v.damagedTable(name, table, err)
	}
	return nil
}

// damagedTable notes every block that is damaged, or what was found first where
// each block is sound by itself.
func (v *verification) damagedTable(name string, table *sstable.Table, found error) error {
	sound := true
	for _, err := range table.Blocks() {
		if err == nil {
			continue
		}
		sound = false
		if err := v.note(name, err, false); err != nil {
			return err
		}
	}
	if sound {
		return v.note(name, found, false)
	}
	return nil
}

// matchesManifest compares a table's own account of itself with the MANIFEST's.
func matchesManifest(path string, t *manifest.TableMeta, p sstable.Properties) error {
	if own := manifest.MetaOf(t.Number, p); !own.Equal(t) {
		return base.Corruptf(path, -1, "describes itself as %s, the MANIFEST as %s", own, t)
	}
	return nil
}

// log replays the WAL without keeping anything.
func (v *verification) log() error {
	r := v.opening.newReplay()
	r.discard = true
	err := r.run()
	for _, number := range r.segments {
		if number >= v.opening.state.OldestWAL {
			v.addFile(base.WALName(number), "wal", r.operations[number], nil)
		}
	}
	if err != nil {
		return v.note(base.WALName(r.reading), err, true)
	}
	return nil
}

// note turns an error about a file into a problem; errors that are not about the
// file's contents are returned.
func (v *verification) note(name string, err error, fatal bool) error {
	var damage *base.CorruptionError
	switch {
	case errors.As(err, &damage):
		v.Problem(filepath.Base(damage.File), damage.Offset, damage.Detail, fatal)
	case errors.Is(err, base.ErrCorrupt), errors.Is(err, base.ErrIncompatible), errors.Is(err, fs.ErrNotExist):
		v.Problem(name, -1, err.Error(), fatal)
	default:
		return err
	}
	return nil
}

func (v *verification) addFile(name, kind string, entries uint64, table *manifest.TableMeta) {
	o := v.opening
	size := int64(0)
	if info, err := v.fs.Stat(filepath.Join(o.directory.Dir, name)); err == nil {
		size = info.SizeBytes
	}
	v.File(name, kind, size, entries, table)
}
