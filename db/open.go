package db

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"lsmdb/compactor"
	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/internal/view"
	"lsmdb/manifest"
	"lsmdb/memtable"
	"lsmdb/sstable"
	"lsmdb/stages"
)

// opening carries one Open through its steps, and later takes the database over.
// Until the new CURRENT is in place, no step removes or changes anything that an
// earlier state needs, so it may be interrupted anywhere and start over.
type opening struct {
	dir     string
	options Options
	fs      vfs.FS
	began   time.Time
	env     *stages.Environment

	lock  vfs.Directory // the directory, locked; o.fs is the same from then on
	files directory
	facts RecoveryMetrics

	current   manifest.Current
	state     manifest.State
	fresh     uint64 // first number of a file made by this Open; 0: none can exist yet
	switching bool   // CURRENT may name a file of this Open
	replay    *replay
	begun     stages.Begun // files of a takeover that is not through
}

func newOpening(dir string, options Options) *opening {
	env := &stages.Environment{
		FS:            options.fs,
		Dir:           dir,
		MemtableBytes: options.MemtableBytes,
		Policy:        compactor.NewPolicy(options.MemtableBytes),
		Workers:       compactionWorkers(),
		Tables:        options.tableOptions(),
		Cache:         options.blockCache(),
		Stats:         &sstable.Stats{},
		Files:         &sstable.OpenFiles{},
		Logger:        options.Logger,
	}
	if options.tune != nil {
		options.tune(env)
	}
	return &opening{dir: dir, options: options, fs: options.fs, env: env, began: time.Now()}
}

// run performs the steps in order.
func (o *opening) run() (*DB, error) {
	for _, step := range []func() error{o.takeLock, o.readCurrent, o.loadTree, o.replayLog} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if o.options.ReadOnly {
		return o.readOnly(), nil
	}
	return o.start(), nil
}

// abandon releases what a failed Open holds.
func (o *opening) abandon() {
	o.env.Files.CloseAll()
	o.takeBack()
	if o.lock != nil {
		o.lock.Close()
	}
}

// takeBack removes what was made by an Open that failed, or for a takeover that was
// not carried through, so that repeated failures do not fill the disk. If CURRENT may
// name it, the next Open has to decide.
func (o *opening) takeBack() {
	o.begun.Close()
	if o.fresh == 0 || o.switching || o.options.ReadOnly {
		return
	}
	files, err := listDirectory(o.fs, o.dir)
	if err != nil {
		return // the next Open removes what is not listed
	}
	for _, name := range files.names(o.fresh) {
		_ = o.fs.Remove(filepath.Join(o.dir, name)) // likewise
	}
}

// takeLock makes the directory, unless it must exist, and locks it.
func (o *opening) takeLock() error {
	mayCreate := !o.options.ReadOnly && !o.options.MustExist
	_, err := o.fs.Stat(o.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && mayCreate:
		if err := o.makeDirectory(); err != nil {
			return err
		}
	case err != nil:
		return fmt.Errorf("lsmdb: open %s: %w", o.dir, err)
	}
	if !mayCreate {
		if err := o.mustExist(); err != nil {
			return err
		}
	}
	directory, err := o.fs.OpenDirectory(o.dir)
	if err != nil {
		return fmt.Errorf("lsmdb: open %s: %w", o.dir, err)
	}
	o.lock, o.fs, o.env.FS = directory, directory, directory
	return directory.Lock(o.options.ReadOnly)
}

// makeDirectory makes the directory and its missing parents, each durable in the
// directory above it: what is synced in a directory that a power failure takes away
// would be lost all the same.
func (o *opening) makeDirectory() error {
	var above []string // directories that get a new entry
	for dir := filepath.Clean(o.dir); ; dir = filepath.Dir(dir) {
		if _, err := o.fs.Stat(dir); err == nil || filepath.Dir(dir) == dir {
			break
		}
		above = append(above, filepath.Dir(dir))
	}
	if err := o.fs.MkdirAll(o.dir); err != nil {
		return fmt.Errorf("lsmdb: create %s: %w", o.dir, err)
	}
	for _, dir := range above {
		err := o.fs.SyncDir(dir)
		if errors.Is(err, fs.ErrPermission) {
			// Who may not read the directory above cannot sync it. File systems with a journal
			// have the entry of a new directory on disk when the directory itself is synced.
			err = o.fs.SyncDir(o.dir)
		}
		if err != nil {
			return fmt.Errorf("lsmdb: create %s: %w", o.dir, err)
		}
	}
	return nil
}

// mustExist refuses a directory without a database before a LOCK is left in it.
func (o *opening) mustExist() error {
	files, err := listDirectory(o.fs, o.dir)
	if err == nil && !files.hasCurrent && len(files.data()) == 0 {
		err = fmt.Errorf("lsmdb: no database in %s: %w", o.dir, fs.ErrNotExist)
	}
	return err
}

// readCurrent finds the database in the directory, or creates one where nothing
// of one is there.
func (o *opening) readCurrent() (err error) {
	if o.files, err = listDirectory(o.fs, o.dir); err != nil {
		return err
	}
	o.env.Numbers = stages.NewFileNumbers(o.files.largest + 1)
	o.current, err = manifest.ReadCurrent(o.fs, o.dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if data := o.files.data(); len(data) > 0 {
		return base.Corruptf(filepath.Join(o.dir, base.CurrentName), -1, "missing, but %s is there", data[0])
	}
	if o.options.ReadOnly || o.options.MustExist {
		return fmt.Errorf("lsmdb: no database in %s: %w", o.dir, fs.ErrNotExist)
	}
	return o.create()
}

// create makes an empty database. CURRENT is its commit point: before it, what is
// there is the leftover that directory.data does not count as data.
func (o *opening) create() error {
	o.syncAbove()
	for _, number := range o.files.manifests {
		if err := o.fs.Remove(filepath.Join(o.dir, base.ManifestName(number))); err != nil {
			return fmt.Errorf("lsmdb: create %s: %w", o.dir, err)
		}
	}
	o.env.Numbers = stages.NewFileNumbers(firstManifest + 1) // also where a leftover held the first
	empty := manifest.State{DatabaseID: newDatabaseID(), Version: &manifest.Version{}, NextFile: firstManifest + 1}
	log, err := manifest.CreateLog(o.fs, o.dir, firstManifest, empty)
	if err != nil {
		return fmt.Errorf("lsmdb: create %s: %w", o.dir, err)
	}
	if err := errors.Join(log.Close(), manifest.WriteCurrent(o.fs, o.dir, manifest.Current{Manifest: firstManifest})); err != nil {
		return fmt.Errorf("lsmdb: create %s: %w", o.dir, err)
	}
	o.current = manifest.Current{Manifest: firstManifest}
	o.files.manifests = []uint64{firstManifest}
	o.facts.Created = true
	return nil
}

// syncAbove makes the way to the directory durable. What makeDirectory made it has
// synced, but an earlier creation may have been interrupted between the two, and
// nobody can tell. So this is done on suspicion, and where it cannot be done (other
// people's directories above) the creation goes on.
func (o *opening) syncAbove() {
	for dir := filepath.Clean(o.dir); filepath.Dir(dir) != dir; dir = filepath.Dir(dir) {
		if err := o.options.fs.SyncDir(filepath.Dir(dir)); err != nil {
			o.options.Logger.Debug().Str("dir", filepath.Dir(dir)).Err(err).Msg("a directory above the new database was not synced")
		}
	}
}

// newDatabaseID draws the number that makes this database's tables distinguishable
// from all others.
func newDatabaseID() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails, says its documentation
	return binary.LittleEndian.Uint64(b[:]) | 1
}

// loadTree reads the MANIFEST and checks that every table it lists is there.
func (o *opening) loadTree() error {
	state, facts, err := manifest.Load(o.fs, o.dir, o.current.Manifest)
	if err != nil {
		return err
	}
	path := filepath.Join(o.dir, base.ManifestName(o.current.Manifest))
	if clean := o.current.Clean; clean != nil {
		if !facts.End.Sealed || facts.End.Offset != clean.ManifestEnd {
			return base.Corruptf(path, facts.End.Offset, "ends here, but a clean close left it at %d", clean.ManifestEnd)
		}
		o.facts.CleanClose = true
	}
	o.state = state
	o.env.DatabaseID = state.DatabaseID
	o.env.Numbers = stages.NewFileNumbers(max(o.env.Numbers.Peek(), state.NextFile))
	o.fresh = o.env.Numbers.Peek()
	for level, tables := range state.Version.Levels {
		for _, t := range tables {
			if err := checkTable(o.fs, o.dir, level, t); err != nil {
				return err
			}
			o.env.Attach(t)
		}
	}
	return nil
}

// checkTable refuses a table that is missing or of the wrong size.
func checkTable(fsys vfs.FS, dir string, level int, t *manifest.TableMeta) error {
	path := base.TablePath(dir, t.Number)
	info, err := fsys.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return base.Corruptf(path, -1, "missing, but the MANIFEST lists it in level %d", level)
	case err != nil:
		return fmt.Errorf("lsmdb: open %s: %w", path, err)
	case info.SizeBytes != t.SizeBytes:
		return base.Corruptf(path, -1, "has %d bytes, the MANIFEST says %d", info.SizeBytes, t.SizeBytes)
	}
	return nil
}

// replayLog reads the WAL into memtables.
func (o *opening) replayLog() error {
	o.replay = o.newReplay()
	if !o.options.ReadOnly {
		o.lock.NoteHolder() // the directory was accepted
		o.replay.full = o.flush
	}
	return o.replay.run()
}

// newReplay prepares to read the WAL that belongs to the tree.
func (o *opening) newReplay() *replay {
	return &replay{
		fs: o.fs, dir: o.dir, state: o.state, clean: o.current.Clean, segments: o.files.wals,
		memtableBytes: o.options.MemtableBytes, lastSeq: o.state.LastSeq, facts: &o.facts,
	}
}

// readOnly serves reads from what is on disk and what the WAL was replayed to.
func (o *opening) readOnly() *DB {
	sealed := o.replay.memtables
	slices.Reverse(sealed)
	d := o.database()
	d.published = &view.Published{}
	d.published.Publish(&view.State{
		Active: memtable.New(minMemtableBytes), Sealed: sealed, Version: o.state.Version,
	}, o.replay.lastSeq)
	return d
}

// start runs the stages on what was recovered: one memtable at most, full ones have
// become tables. From now on the Keeper alone has o, until Close.
func (o *opening) start() *DB {
	d := o.database()
	d.takeBack = o.takeBack
	o.state.LastSeq = o.replay.lastSeq
	d.pipeline = stages.New(o.env, stages.Start{
		State: o.state, Sealed: o.replay.memtables, Marked: o.current.Clean != nil || o.facts.Created, Begin: func() (stages.Begun, error) { return o.begin(d) },
	})
	d.published = &d.pipeline.Published
	return d
}

func (o *opening) database() *DB {
	o.facts.Time = time.Since(o.began)
	d := &DB{dir: o.dir, options: o.options, opened: time.Now(), env: o.env, lock: o.lock}
	o.tell(d)
	event := o.options.Logger.Info()
	if o.facts.TornBytes > 0 {
		event = o.options.Logger.Warn()
	}
	event.Str("dir", o.dir).Bool("created", o.facts.Created).Bool("clean_close", o.facts.CleanClose).
		Int("segments", o.facts.Segments).Uint64("operations", o.facts.Operations).Int64("torn_bytes", o.facts.TornBytes).
		Dur("took", o.facts.Time).Msg("opened")
	return d
}

// tell shows what is known of the recovery in d's Metrics.
func (o *opening) tell(d *DB) {
	facts := o.facts
	d.recovery.Store(&facts)
}
