package db

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
	"lsmdb/sstable"
)

// VerifyProgress tells how far a Verify has come.
type VerifyProgress struct {
	File       string `json:"file"` // being read
	DoneBytes  int64  `json:"done_bytes"`
	TotalBytes int64  `json:"total_bytes"`
}

// VerifyReport is what Verify found.
type VerifyReport struct {
	Files    []VerifiedFile `json:"files"`
	Problems []Problem      `json:"problems"`
}

// OK reports whether nothing is wrong.
func (r *VerifyReport) OK() bool { return len(r.Problems) == 0 }

// VerifiedFile is one file that was read.
type VerifiedFile struct {
	Name    string `json:"name"` // without directory
	Type    string `json:"type"` // current, manifest, table or wal
	Bytes   int64  `json:"bytes"`
	Entries uint64 `json:"entries"` // edits, entries or operations
}

// Problem is one thing that is wrong.
type Problem struct {
	File   string `json:"file"`   // without directory
	Offset int64  `json:"offset"` // of the damage; -1 where no single place can be named
	Detail string `json:"detail"`
	Fatal  bool   `json:"fatal"` // Open will refuse the database; otherwise only reads of the damaged place fail
}

// Verify reads every byte of the database in dir and reports what is wrong. It
// takes the shared lock, writes nothing and does not open the database. Progress,
// which may be nil, is called from time to time. The error says that the check could not be
// carried out: no database there, locked, ctx ended.
func Verify(ctx context.Context, dir string, progress func(VerifyProgress)) (*VerifyReport, error) {
	return verify(ctx, vfs.OS, dir, progress)
}

func verify(ctx context.Context, fsys vfs.FS, dir string, progress func(VerifyProgress)) (*VerifyReport, error) {
	options, err := (&Options{ReadOnly: true, CacheBytes: -1, fs: fsys}).resolved()
	if err != nil {
		return nil, err
	}
	if progress == nil {
		progress = func(VerifyProgress) {}
	}
	v := &verification{
		ctx: ctx, fs: fsys, dir: dir, report: &VerifyReport{}, progress: progress,
		opening: newOpening(dir, options),
	}
	defer v.opening.abandon()
	if err := v.opening.takeLock(); err != nil {
		return nil, err
	}
	if err := v.run(); err != nil {
		return nil, err
	}
	return v.report, nil
}

// verification is one Verify in progress. It goes the way of an Open, but
// collects what is wrong instead of stopping at it.
type verification struct {
	ctx      context.Context
	fs       vfs.FS
	dir      string
	report   *VerifyReport
	progress func(VerifyProgress)
	opening  *opening

	doneBytes, totalBytes int64
}

func (v *verification) run() error {
	o := v.opening
	if err := o.readCurrent(); err != nil {
		v.addFile(base.CurrentName, "current", 0)
		return v.note(base.CurrentName, err, true)
	}
	v.addFile(base.CurrentName, "current", 1)
	manifestName := base.ManifestName(o.current.Manifest)
	state, facts, err := manifest.Load(v.fs, v.dir, o.current.Manifest)
	v.addFile(manifestName, "manifest", uint64(facts.Edits))
	if err != nil {
		return v.note(manifestName, err, true)
	}
	if clean := o.current.Clean; clean != nil && (!facts.End.Sealed || facts.End.Offset != clean.ManifestEnd) {
		v.add(Problem{manifestName, facts.End.Offset, fmt.Sprintf("ends here, but a clean close left it at %d", clean.ManifestEnd), true})
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
	name := base.TableName(t.Number)
	if err := v.ctx.Err(); err != nil {
		return err
	}
	start := v.doneBytes
	defer func() { v.doneBytes = start + t.SizeBytes }()
	if err := checkTable(v.fs, v.dir, level, t); err != nil {
		return v.note(name, err, true)
	}
	v.addFile(name, "table", t.Entries)
	path := base.TablePath(v.dir, t.Number)
	file, err := v.fs.Open(path)
	if err != nil {
		return err
	}
	table, err := sstable.Open(file, path, sstable.ReaderOptions{SizeBytes: t.SizeBytes, Identity: t.Identity})
	if err != nil { // and the file is closed
		return v.note(name, err, false)
	}
	defer table.Close()
	err = table.Verify(func(bytes int64) {
		v.doneBytes += bytes
		v.progress(VerifyProgress{File: name, DoneBytes: v.doneBytes, TotalBytes: v.totalBytes})
	})
	if err == nil {
		err = matchesManifest(path, t, table.Properties())
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
	own := manifest.MetaOf(t.Number, p)
	if own.Entries != t.Entries || own.Deletes != t.Deletes || own.SmallestSeq != t.SmallestSeq || own.LargestSeq != t.LargestSeq ||
		base.Compare(own.Smallest, t.Smallest) != 0 || base.Compare(own.Largest, t.Largest) != 0 {
		return base.Corruptf(path, -1, "describes itself as %d entries from %s to %s, the MANIFEST as %d from %s to %s",
			own.Entries, own.Smallest, own.Largest, t.Entries, t.Smallest, t.Largest)
	}
	return nil
}

// log replays the WAL without keeping anything.
func (v *verification) log() error {
	o := v.opening
	r := o.newReplay()
	r.discard = true
	err := r.run()
	for _, number := range r.segments {
		if number >= o.state.OldestWAL {
			v.addFile(base.WALName(number), "wal", 0)
		}
	}
	if err != nil {
		return v.note(base.WALName(r.last.Segment), err, true)
	}
	if i := slices.IndexFunc(v.report.Files, func(f VerifiedFile) bool { return f.Name == base.WALName(r.last.Segment) }); i >= 0 {
		v.report.Files[i].Entries = r.facts.Operations
	}
	return nil
}

// note turns an error about a file into a problem; errors that are not about the
// file's contents are returned.
func (v *verification) note(name string, err error, fatal bool) error {
	var damage *CorruptionError
	switch {
	case errors.As(err, &damage):
		v.add(Problem{filepath.Base(damage.File), damage.Offset, damage.Detail, fatal})
	case errors.Is(err, ErrCorrupt), errors.Is(err, ErrIncompatible), errors.Is(err, fs.ErrNotExist):
		v.add(Problem{name, -1, err.Error(), fatal})
	default:
		return err
	}
	return nil
}

func (v *verification) add(p Problem) { v.report.Problems = append(v.report.Problems, p) }

func (v *verification) addFile(name, kind string, entries uint64) {
	size := int64(0)
	if info, err := v.fs.Stat(filepath.Join(v.dir, name)); err == nil {
		size = info.SizeBytes
	}
	v.report.Files = append(v.report.Files, VerifiedFile{name, kind, size, entries})
}
