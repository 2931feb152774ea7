package recovery

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

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
	v.Opening.fs = fsys
	defer v.abandon()
	if err := v.takeLock(); err != nil {
		return err
	}
	err := v.readCurrent()
	v.addFile(base.CurrentName, "current", min(1, v.current.Manifest), nil) // 0 if it could not be read
	if err != nil {
		return v.note(base.CurrentName, err, true)
	}
	return v.tree()
}

// VerifyWithout is Verify for a new directory that the caller has locked. CURRENT, which
// comes last, is not there yet, but will be this; there is no log.
func VerifyWithout(ctx context.Context, directory vfs.Directory, dir string, current manifest.Current, o Observer) error {
	v := newVerification(ctx, dir, o)
	v.directory.FS, v.current = directory, current
	defer v.directory.Files.CloseAll()
	return v.tree()
}

func newVerification(ctx context.Context, dir string, o Observer) *verification {
	return &verification{ctx: ctx, Observer: o, Opening: &Opening{
		directory: &output.Directory{Dir: dir, Files: &sstable.OpenFiles{}, Logger: zerolog.Nop()},
		options:   Options{ReadOnly: true},
	}}
}

// verification is one Verify in progress. It goes the way of an Open, but
// collects what is wrong instead of stopping at it.
type verification struct {
	Observer
	*Opening
	ctx context.Context

	doneBytes, totalBytes int64
}

// tree goes through what CURRENT names.
func (v *verification) tree() error {
	name := base.ManifestName(v.current.Manifest)
	edits, err := v.loadManifest()
	v.addFile(name, "manifest", uint64(edits), nil)
	if err = v.note(name, err, true); err != nil || v.state.Version == nil {
		return err
	}
	for _, t := range slices.Concat(v.state.Version.Levels[:]...) {
		v.totalBytes += t.SizeBytes
	}
	for level, tables := range v.state.Version.Levels {
		for _, t := range tables {
			if err := v.table(level, t); err != nil {
				return err
			}
		}
	}
	if err := v.keptLogs(); err != nil {
		return err
	}
	return v.log()
}

// table reads one table from end to end and compares it with what the MANIFEST
// says of it.
func (v *verification) table(level int, t *manifest.TableMeta) error {
	name := base.TableName(t.Number)
	if err := v.ctx.Err(); err != nil {
		return err
	}
	end := v.doneBytes + t.SizeBytes
	defer func() { v.doneBytes = end }()
	if err := checkTable(v.directory.FS, v.directory.Dir, level, t); err != nil {
		return v.note(name, err, true)
	}
	v.addFile(name, "table", t.Entries, t)
	v.directory.Attach(t)
	table, err := t.Handle.Table()
	if err != nil {
		return v.note(name, err, false)
	}
	defer t.Handle.Close()
	found := table.Verify(func(bytes int64) {
		v.doneBytes += bytes
		v.Progress(name, v.doneBytes, v.totalBytes)
	})
	if own := manifest.MetaOf(t.Number, table.Properties()); found == nil && !own.Equal(t) {
		found = base.Corruptf(base.TablePath(v.directory.Dir, t.Number), -1, "describes itself as %s, the MANIFEST as %s", own, t)
	}
	if found == nil {
		return nil
	}
	// Every block that is damaged counts or, where each is sound by itself, what was found.
	for _, err := range table.Blocks() {
		if err == nil {
			continue
		}
		found = nil
		if err := v.note(name, err, false); err != nil {
			return err
		}
	}
	return v.note(name, found, false)
}

// log replays the WAL without keeping anything.
func (v *verification) log() error {
	r := v.newReplay()
	r.discard = true
	err := r.run()
	for _, s := range r.segments {
		v.addFile(base.WALName(s.number), "wal", s.operations, nil)
	}
	return v.note(base.WALName(r.reading), err, true)
}

// keptLogs reads segments that are only there for those who follow the changes. Each must end
// where the one behind it says that it did.
func (v *verification) keptLogs() error {
	var before *segment
	for _, number := range append(v.retired(), v.state.OldestWAL) {
		s := &segment{number: number, path: base.WALPath(v.directory.Dir, number)}
		err := v.newReplay().open(s)
		if err == nil && before != nil && s.reader.Previous().Segment == before.number {
			if err := v.note(base.WALName(before.number), before.mustEndAt(s.reader.Previous()), false); err != nil {
				return err
			}
		}
		isKept := number < v.state.OldestWAL // log reads the other one
		if err == nil && isKept {
			err = s.read()
		}
		if before = nil; err == nil {
			before = s
		}
		if s.file != nil {
			_ = s.file.Close() // it was only read
		}
		if isKept {
			v.addFile(base.WALName(number), "wal", s.operations, nil)
			if err := v.note(base.WALName(number), err, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// read reads all of a segment and counts its operations.
func (s *segment) read() error {
	for {
		payload, offset, err := s.reader.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		_, ops, err := base.DecodeGroup(payload)
		count := uint32(0)
		if err == nil {
			count, _, err = base.CountOps(ops)
		}
		if err != nil {
			return base.DamageAt(s.path, offset, err)
		}
		s.operations += uint64(count)
	}
}

// note turns an error about a file into a problem, if there is one; errors that are not
// about the file's contents are returned.
func (v *verification) note(name string, err error, fatal bool) error {
	damage, isDamage := errors.AsType[*base.CorruptionError](err)
	switch {
	case isDamage:
		v.Problem(filepath.Base(damage.File), damage.Offset, damage.Detail, fatal)
	case errors.Is(err, base.ErrCorrupt), errors.Is(err, base.ErrIncompatible), errors.Is(err, fs.ErrNotExist):
		v.Problem(name, -1, err.Error(), fatal)
	default:
		return err
	}
	return nil
}

func (v *verification) addFile(name, kind string, entries uint64, table *manifest.TableMeta) {
	info, _ := v.directory.FS.Stat(filepath.Join(v.directory.Dir, name)) // without a size if it is gone
	v.File(name, kind, info.SizeBytes, entries, table)
}
