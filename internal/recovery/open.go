// Package recovery opens a database: it locks the directory, reads and checks what is
// there, replays the log (Open), and takes the database over before the first change
// (Opening.Begin). Until CURRENT names the new MANIFEST, nothing that was there is changed.
// Verify goes the same way and writes nothing.
//
// It starts no goroutine. An Opening is used by one at a time, but for Facts: by who opens
// the database, then by the Keeper, then by who closes it.
package recovery

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/changes"
	"lsmdb/internal/output"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
	"lsmdb/memtable"
	"lsmdb/wal"
)

// Opening carries one Open through its steps, and later takes the database over. Until
// the new CURRENT is in place, no step removes or changes anything that an earlier state
// needs, so it may be interrupted anywhere and start over.
type Opening struct {
	directory *output.Directory
	fs        vfs.FS // until directory.FS is open
	options   Options
	began     time.Time

	files     files
	facts     Facts
	told      atomic.Pointer[Facts] // as of the last step
	current   manifest.Current
	state     manifest.State
	listed    uint64 // beyond every number that the state, as it was loaded, or an earlier one lists; 0: not loaded
	switching bool   // CURRENT may name a file of this Open
	replay    *replay
	changes   []changes.Part // what there is to follow once the database is taken over
	unsynced  string         // path of the segment among them that need not be durable; "": there is none
	begun     Begun          // files of a takeover that is not through
}

// Options says how a database is opened.
type Options struct {
	MemtableBytes       int64
	ReadOnly, MustExist bool
	KeepChangesBytes    int64 // of segments that recovery does not need; not positive: none
}

// Facts is what an Open found and did; db.RecoveryMetrics explains them.
type Facts struct {
	Created       bool
	CleanClose    bool
	Segments      int
	Commits       uint64
	Operations    uint64
	Bytes         int64
	TornBytes     int64
	TablesWritten int
	FilesRemoved  int
	Time          time.Duration
}

// Begun is what the changes of a database go to.
type Begun struct {
	State    manifest.State // with the tables made of what was replayed
	Manifest *manifest.Log  // its state is State
	Log      *wal.Writer    // the first segment, empty
	Changes  []changes.Part // what there is to follow
}

// Close closes the files that are there, as they are. Nothing depends on them, or all
// in them is durable; so errors change nothing.
func (b Begun) Close() {
	if b.Manifest != nil {
		_ = b.Manifest.Close()
	}
	if b.Log != nil {
		_ = b.Log.Close()
	}
}

// Open locks the database in d.Dir on fsys, creating it if it may, reads and checks it
// and replays the log. It fills in what d lacks: FS, Numbers and DatabaseID. After an
// error everything is as it was.
func Open(fsys vfs.FS, d *output.Directory, options Options) (*Opening, error) {
	o := &Opening{directory: d, fs: fsys, options: options, began: time.Now()}
	for _, step := range []func() error{o.takeLock, o.readCurrent, o.loadTree, o.replayLog} {
		if err := step(); err != nil {
			o.abandon()
			return nil, err
		}
	}
	o.facts.Time = time.Since(o.began)
	o.tell()
	return o, nil
}

// State returns the tree and the last number of the log.
func (o *Opening) State() manifest.State {
	state := o.state
	state.LastSeq = o.replay.lastSeq
	return state
}

// Memtables returns what the log holds, in no table yet; newest first.
func (o *Opening) Memtables() []*memtable.Memtable {
	newest := slices.Clone(o.replay.memtables)
	slices.Reverse(newest)
	return newest
}

// Marked reports whether the mark of a clean close holds until something changes.
func (o *Opening) Marked() bool { return o.current.Clean != nil || o.facts.Created }

// Facts returns what was found and done so far. Any goroutine may call it.
func (o *Opening) Facts() Facts { return *o.told.Load() }

func (o *Opening) tell() {
	facts := o.facts
	o.told.Store(&facts)
}

// abandon releases what a failed Open holds.
func (o *Opening) abandon() {
	o.directory.Files.CloseAll()
	o.TakeBack()
	if o.directory.FS != nil {
		o.directory.FS.Close()
	}
}

// TakeBack removes what was made by an Open that failed, or for a takeover that was
// not carried through, so that repeated failures do not fill the disk. If CURRENT may
// name it, the next Open has to decide.
func (o *Opening) TakeBack() {
	o.begun.Close()
	if o.listed == 0 || o.switching || o.options.ReadOnly {
		return
	}
	files, err := listFiles(o.directory.FS, o.directory.Dir)
	if err != nil {
		return // the next Open removes what is not listed
	}
	for _, name := range files.numbered(o.firstNumber()) {
		_ = vfs.RemoveInSteps(o.directory.FS, filepath.Join(o.directory.Dir, name), nil) // likewise
	}
}

// firstNumber is the number of the first file that this Open makes in a database.
func (o *Opening) firstNumber() uint64 { return max(o.files.largest+1, o.listed) }

// takeLock makes the directory, unless it must exist, and locks it.
func (o *Opening) takeLock() (err error) {
	dir := o.directory.Dir
	if o.mayCreate() {
		if err := vfs.MakeDirectory(o.fs, dir); err != nil {
			return fmt.Errorf("lsmdb: create %s: %w", dir, err)
		}
	}
	if o.directory.FS, err = o.fs.OpenDirectory(dir); err != nil {
		return fmt.Errorf("lsmdb: open %s: %w", dir, err)
	}
	if !o.mayCreate() {
		if err := o.list(); err != nil { // before a LOCK is left there
			return err
		}
	}
	return o.directory.FS.Lock(o.options.ReadOnly)
}

func (o *Opening) mayCreate() bool { return !o.options.ReadOnly && !o.options.MustExist }

// list reads the directory and refuses one without a database, unless it may be created.
func (o *Opening) list() (err error) {
	o.files, err = listFiles(o.directory.FS, o.directory.Dir)
	if err == nil && !o.mayCreate() && !o.files.hasCurrent && len(o.files.data()) == 0 {
		err = fmt.Errorf("lsmdb: no database in %s: %w", o.directory.Dir, fs.ErrNotExist)
	}
	return err
}

// readCurrent finds the database in the directory, or creates one where nothing
// of one is there.
func (o *Opening) readCurrent() (err error) {
	if err = o.list(); err != nil {
		return err
	}
	o.current, err = manifest.ReadCurrent(o.directory.FS, o.directory.Dir)
	data := o.files.data()
	switch {
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case len(data) > 0:
		return base.Corruptf(filepath.Join(o.directory.Dir, base.CurrentName), -1, "missing, but %s is there", data[0])
	case !o.mayCreate(): // it was there when the directory was listed
		return err
	}
	if err = o.create(); err != nil {
		return fmt.Errorf("lsmdb: create %s: %w", o.directory.Dir, err)
	}
	return nil
}

// create makes an empty database. CURRENT is its commit point: before it, what is
// there is the leftover that files.data does not count as data.
func (o *Opening) create() error {
	if err := vfs.SyncAbove(o.fs, o.directory.Dir); err != nil {
		o.directory.Logger.Debug().Err(err).Msg("a directory above the new database was not synced")
	}
	for _, leftover := range o.files.numbered(0) { // a MANIFEST: see data
		if err := o.directory.FS.Remove(filepath.Join(o.directory.Dir, leftover)); err != nil {
			return err
		}
	}
	empty := manifest.State{DatabaseID: newDatabaseID(), Version: &manifest.Version{}, NextFile: firstManifest + 1}
	log, err := manifest.CreateLog(o.directory.FS, o.directory.Dir, firstManifest, empty)
	if err != nil {
		return err
	}
	o.current = manifest.Current{Manifest: firstManifest}
	o.files.all = append(o.files.all, base.ManifestName(firstManifest))
	o.facts.Created = true
	return errors.Join(log.Close(), manifest.WriteCurrent(o.directory.FS, o.directory.Dir, o.current))
}

// newDatabaseID draws the number that makes this database's tables distinguishable
// from all others.
func newDatabaseID() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails, says its documentation
	return binary.LittleEndian.Uint64(b[:]) | 1
}

// loadTree reads the MANIFEST and checks that every table it lists is there.
func (o *Opening) loadTree() error {
	if _, err := o.loadManifest(); err != nil {
		return err
	}
	if merger := o.directory.Merger; merger != nil && o.state.Merger != "" && merger.Name != o.state.Merger {
		return fmt.Errorf("%w: %s: the merge operator of the database is %q, not %q", base.ErrIncompatible,
			filepath.Join(o.directory.Dir, base.ManifestName(o.current.Manifest)), o.state.Merger, merger.Name)
	}
	o.listed = o.state.NextFile
	o.directory.DatabaseID = o.state.DatabaseID
	o.directory.Numbers = output.NewFileNumbers(o.firstNumber())
	for level, tables := range o.state.Version.Levels {
		for _, t := range tables {
			if err := checkTable(o.directory.FS, o.directory.Dir, level, t); err != nil {
				return err
			}
			o.directory.Attach(t)
		}
	}
	return nil
}

// loadManifest reads the MANIFEST that CURRENT names, and returns how many edits it has.
func (o *Opening) loadManifest() (edits int, err error) {
	state, facts, err := manifest.Load(o.directory.FS, o.directory.Dir, o.current.Manifest)
	if err != nil {
		return facts.Edits, err
	}
	o.state, o.facts.CleanClose = state, o.current.Clean != nil
	if clean := o.current.Clean; clean != nil && (!facts.End.Sealed || facts.End.Offset != clean.ManifestEnd) {
		path := filepath.Join(o.directory.Dir, base.ManifestName(o.current.Manifest))
		err = base.Corruptf(path, facts.End.Offset, "ends here, but a clean close left it at %d", clean.ManifestEnd)
	}
	return facts.Edits, err
}

// checkTable refuses a table that is missing, cannot be read, or is of the wrong size.
func checkTable(fsys vfs.Files, dir string, level int, t *manifest.TableMeta) error {
	path := base.TablePath(dir, t.Number)
	switch sizeBytes, err := vfs.SizeOf(fsys, path); {
	case errors.Is(err, fs.ErrNotExist):
		return base.Corruptf(path, -1, "missing, but the MANIFEST lists it in level %d", level)
	case err != nil:
		return fmt.Errorf("lsmdb: opening a table: %w", err)
	case sizeBytes != t.SizeBytes:
		return base.Corruptf(path, -1, "has %d bytes, the MANIFEST says %d", sizeBytes, t.SizeBytes)
	}
	return nil
}

// replayLog reads the WAL into memtables.
func (o *Opening) replayLog() error {
	o.replay = o.newReplay()
	if !o.options.ReadOnly {
		o.directory.FS.NoteHolder() // the directory was accepted
	}
	if err := o.replay.run(); err != nil {
		return err
	}
	o.setChanges(o.replay.kept)
	return nil
}

// firstManifest is the number of the MANIFEST that creation writes.
const firstManifest = 1

// files is what lies in a database directory.
type files struct {
	hasCurrent bool
	all        []string // numbered files and temporaries
	largest    uint64   // number of any file
}

// listFiles reads a directory. Files that are not ours are ignored.
func listFiles(fs vfs.Files, dir string) (files, error) {
	var d files
	names, err := fs.List(dir)
	if err != nil {
		return d, fmt.Errorf("lsmdb: list %s: %w", dir, err)
	}
	for _, name := range names {
		switch t, number := base.ParseFileName(name); {
		case t == base.FileCurrent:
			d.hasCurrent = true
		case t != base.FileOther && t != base.FileLock && number < manifest.MaxFileNumber: // no database gets farther
			d.all = append(d.all, name)
			d.largest = max(d.largest, number)
		}
	}
	return d, nil
}

// numbered returns the names of the numbered files from a number on.
func (d *files) numbered(from uint64) []string {
	return slices.DeleteFunc(slices.Clone(d.all), func(name string) bool {
		t, number := base.ParseFileName(name)
		return t == base.FileTemporary || number < from
	})
}

// data names the files that would be lost if a database were created here. A lone
// first MANIFEST is none: a creation that was interrupted before CURRENT leaves
// it, and a database that was ever written to has a WAL as well.
func (d *files) data() []string {
	names := d.numbered(0)
	if len(names) == 1 && names[0] == base.ManifestName(firstManifest) {
		return nil
	}
	return names
}
