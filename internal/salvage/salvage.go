// Package salvage makes a new database of what is left of a damaged one, and says exactly
// what is lost or doubtful.
//
// An open database trusts its MANIFEST, its indexes and the order of its log, and refuses to
// go on where one of them is damaged. Salvage trusts nothing but checksums. Each data block of
// a table and each record of a log is bound by its checksum to its file and its place, so it
// can be proven by itself. What is proven is merged, newest version first, as a compaction of
// everything would do it, and written to the tables of the new database:
//
//	MANIFEST   which tables count, with their ranges and numbers             tree.go
//	tables     each block that verifies, found without an index if need be   survey.go, table.go, find.go
//	logs       each record that verifies, also behind holes                  log.go, records.go
//	operands   are kept only if nothing can be missing below them            operands.go
//	merge      all runs as one, range deletes applied                        run.go, write.go
//
// Everything is plain, synchronous code. The source is only read, under a shared lock that
// writes nothing. The new database is one from the moment when its CURRENT is written, which
// is done last; whatever fails or interrupts before leaves none.
//
// It takes memory for one memtable, for a block and the index of as many tables as share keys, for
// the range deletes, and for the places of blocks in tables that lost their index.
package salvage

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/checkpoint"
	"lsmdb/internal/output"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
)

// Place is a directory in a file system.
type Place struct {
	FS  vfs.FS
	Dir string
}

// Report says what became of the database.
type Report struct {
	Entries uint64   // keys in the new database that have a value now, or operands
	Losses  []Loss   // what is lost or doubtful
	Notes   []string // what else people may want to know
}

// OK reports whether nothing is lost or doubtful.
func (r *Report) OK() bool { return len(r.Losses) == 0 }

// Loss is something that is lost or doubtful. An operation that is in the old database and not
// in the new one, and one that is hidden in the old one and shows in the new one for lack of
// another, has a Loss that Covers it.
type Loss struct {
	File     string // without directory
	Offset   int64  // where in the file; -1: no single place
	Detail   string
	From, To []byte   // the first and the last user key that may be concerned; nil: unknown
	FirstSeq base.Seq // the smallest sequence number that may be concerned; 0: unknown
	LastSeq  base.Seq // the largest one; 0: unknown
	Doubtful bool     // perhaps nothing is lost
}

// Covers reports whether an operation on a key lies within.
func (l *Loss) Covers(key []byte, seq base.Seq) bool {
	return (l.From == nil || bytes.Compare(l.From, key) <= 0) && (l.To == nil || bytes.Compare(key, l.To) <= 0) &&
		l.FirstSeq <= seq && (l.LastSeq == 0 || seq <= l.LastSeq)
}

// Observer hears how far it is. It may be nil.
type Observer func(file string, doneBytes, totalBytes int64)

// Run makes a database in to, which must be absent or empty, of what is left of the one in
// from. There is no database where nothing of one is left: fs.ErrNotExist. If somebody has it
// open for writing the error is base.ErrLocked. After an error to is absent or empty.
func Run(ctx context.Context, from, to Place, observe Observer) (report *Report, err error) {
	r := &rescue{ctx: ctx, dir: from.Dir, observe: observe, now: time.Now().UnixNano()}
	if r.observe == nil {
		r.observe = func(string, int64, int64) {}
	}
	if r.fs, err = from.FS.OpenDirectory(from.Dir); err != nil {
		return nil, fmt.Errorf("open %s: %w", from.Dir, err)
	}
	defer r.fs.Close()
	if err := r.lock(); err != nil {
		return nil, err
	}
	if err := r.list(); err != nil {
		return nil, err
	}
	if r.target, err = checkpoint.NewDirectory(to.FS, to.Dir); err != nil {
		return nil, err
	}
	err = errors.New("salvage has panicked") // if fill does not return
	defer func() { err = r.target.End(err) }()
	err = r.fill(to.Dir)
	return &r.Report, err
}

// rescue is one Run in progress.
type rescue struct {
	ctx     context.Context
	dir     string
	fs      vfs.Directory
	observe Observer
	now     int64 // of the system's clock, in nanoseconds since 1970
	Report

	doneBytes, totalBytes int64

	names  map[string]int64 // the files of the database that are there, and their sizes
	tree   tree
	log    log
	survey survey
	tables []*table // that are used

	guessed bool    // tables are used that no MANIFEST lists
	certain []*hole // losses for which something is missing, not only doubt
	target  *checkpoint.Directory
	out     *output.Directory     // the same
	made    []*manifest.TableMeta // the tables of the new database
}

// lock keeps writers away. A LOCK that is damaged itself does not keep anybody from rescuing
// the rest, but then a writer might be there.
func (r *rescue) lock() error {
	err := r.fs.Lock(true)
	if err == nil || errors.Is(err, base.ErrLocked) {
		return err
	}
	r.lose(Loss{File: base.LockName, Offset: -1, Doubtful: true,
		Detail: fmt.Sprintf("the database could not be locked (%v): if a process has it open, anything may have changed meanwhile", err)})
	return nil
}

// list notes the files of the database.
func (r *rescue) list() error {
	found, err := r.fs.List(r.dir)
	if err != nil {
		return fmt.Errorf("list %s: %w", r.dir, err)
	}
	r.names = make(map[string]int64)
	for _, name := range found {
		switch kind, _ := base.ParseFileName(name); kind {
		case base.FileTable, base.FileWAL, base.FileManifest, base.FileCurrent:
			info, _ := r.fs.Stat(filepath.Join(r.dir, name)) // what cannot be described is told when it is opened
			r.names[name] = info.SizeBytes
			r.totalBytes += info.SizeBytes
		}
	}
	if len(r.names) == 0 {
		return fmt.Errorf("no database in %s: %w", r.dir, fs.ErrNotExist)
	}
	r.totalBytes *= 2 // everything is checked, and then read once more
	return nil
}

// fill goes through all steps.
func (r *rescue) fill(dir string) error {
	r.begin(dir)
	defer r.out.Files.CloseAll()
	for _, step := range []func() error{r.findTree, r.surveyTables, r.readLogs, r.readTables, r.compare, r.write, r.finish} {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		if err := step(); err != nil {
			return err
		}
	}
	slices.SortStableFunc(r.Losses, func(a, b Loss) int { return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Offset, b.Offset)) })
	return nil
}

// lose adds to the report what is doubtful, but gives no reason to think that anything is
// missing.
func (r *rescue) lose(l Loss) { r.Losses = append(r.Losses, l) }

// miss adds to the report what is missing.
func (r *rescue) miss(l Loss) {
	r.lose(l)
	r.certain = append(r.certain, &hole{Loss: l})
}

// progress tells that so much more was read.
func (r *rescue) progress(name string, bytes int64) error {
	r.doneBytes = min(r.doneBytes+bytes, r.totalBytes)
	r.observe(name, r.doneBytes, r.totalBytes)
	return r.ctx.Err()
}
