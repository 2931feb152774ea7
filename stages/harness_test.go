package stages

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/rs/zerolog"

	"lsmdb/compactor"
	"lsmdb/internal/base"
	"lsmdb/internal/changes"
	"lsmdb/internal/output"
	"lsmdb/internal/recovery"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
	"lsmdb/internal/view"
	"lsmdb/manifest"
	"lsmdb/memtable"
	"lsmdb/sstable"
	"lsmdb/wal"
)

const (
	testDir           = "db"
	testMemtableBytes = 16 << 10
	testDatabaseID    = 7
)

var errBroken = errors.New("the disk is broken")

// rig is a new database on a disk in memory that the test controls: its stages may
// be built one by one, or all together with open.
type rig struct {
	t         *testing.T
	mem       *vfstest.Disk
	env       *Environment
	start     recovery.Begun // what newRig made
	active    *memtable.Memtable
	begun     atomic.Int64 // calls of Begin
	published view.Published
	snapshots Snapshots
	p         *Pipeline

	hook atomic.Pointer[func(vfstest.Op) error]

	mu    sync.Mutex
	trace []string              // operations that change something, as "sync 000001.wal"
	files map[*rigFile]struct{} // open now
	calls map[string]int        // all operations, by "read table" and the like
}

// rigFS notes which files are open; the rest of a rig's disk is vfstest.Fault.
type rigFS struct {
	vfs.Directory
	rig *rig
}

type rigFile struct {
	vfs.File
	rig  *rig
	name string
}

func (f rigFS) Create(name string) (vfs.File, error) { return f.rig.track(f.Directory.Create, name) }
func (f rigFS) Open(name string) (vfs.File, error)   { return f.rig.track(f.Directory.Open, name) }

func (r *rig) track(open func(string) (vfs.File, error), name string) (vfs.File, error) {
	under, err := open(name)
	if err != nil {
		return nil, err
	}
	f := &rigFile{under, r, filepath.Base(name)}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files[f] = struct{}{}
	return f, nil
}

func (f *rigFile) Close() error {
	f.rig.mu.Lock()
	delete(f.rig.files, f)
	f.rig.mu.Unlock()
	return f.File.Close()
}

// newRig makes the files of an empty database.
func newRig(t *testing.T, configure ...func(*Environment)) *rig {
	t.Helper()
	r := &rig{t: t, mem: vfstest.NewDisk(), files: make(map[*rigFile]struct{}), calls: make(map[string]int)}
	must(t, r.mem.MkdirAll(testDir))
	must(t, r.mem.SyncDir("."))
	opened, err := vfstest.NewFault(r.mem, r.inject).OpenDirectory(testDir)
	must(t, err)
	r.env = &Environment{
		Directory: &output.Directory{
			FS:         rigFS{opened, r},
			Dir:        testDir,
			DatabaseID: testDatabaseID,
			Tables:     sstable.WriterOptions{BlockBytes: 512, FilterBitsPerKey: 10},
			Cache:      sstable.NewCache(1 << 20),
			Stats:      &sstable.Stats{},
			Files:      &sstable.OpenFiles{},
			Numbers:    output.NewFileNumbers(1),
			Logger:     zerolog.Nop(),
		},
		MemtableBytes: testMemtableBytes,
		Policy:        compactor.NewPolicy(testMemtableBytes),
		Workers:       1,
	}
	for _, change := range configure {
		change(r.env)
	}
	log, err := r.env.NewSegment(wal.Previous{})
	must(t, err)
	number := r.env.Numbers.Next()
	state := manifest.State{
		DatabaseID: testDatabaseID, Version: &manifest.Version{},
		NextFile: r.env.Numbers.Peek(), OldestWAL: log.Segment(),
	}
	edits, err := manifest.CreateLog(r.env.FS, testDir, number, state)
	must(t, err)
	must(t, manifest.WriteCurrent(r.env.FS, testDir, manifest.Current{Manifest: number}))
	r.start, r.active = recovery.Begun{State: state, Manifest: edits, Log: log, Changes: changes.Join(nil, nil, 1)}, memtable.New(r.env.MemtableBytes)
	r.published.Publish(&view.State{Active: r.active, Version: state.Version}, 0)
	r.forget()
	return r
}

// following is what stages by themselves tell of segments.
func (r *rig) following() *changes.Log {
	l := changes.NewLog(r.env.FS, func(segment uint64) string { return base.WALPath(testDir, segment) }, 0, func() {})
	l.Resume(r.start.Changes)
	return l
}

// ready describes the rig's database, which needs nothing more to be taken over.
func (r *rig) ready() Start {
	return Start{State: r.start.State, Marked: true, Takeover: begin(func() (recovery.Begun, error) {
		r.begun.Add(1)
		return r.start, nil
	})}
}

// begin is a takeover that is a function.
type begin func() (recovery.Begun, error)

func (b begin) Begin() (recovery.Begun, error) { return b() }

// open starts the whole pipeline.
func (r *rig) open() *rig {
	r.p = New(r.env, r.ready())
	return r
}

func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// inject notes an operation and asks the test about it.
func (r *rig) inject(op vfstest.Op) error {
	switch op.Kind {
	case vfstest.OpRead, vfstest.OpStat, vfstest.OpList, vfstest.OpClose, vfstest.OpOpen:
	default:
		name := filepath.Base(op.Name)
		if op.NewName != "" {
			name = filepath.Base(op.NewName)
		}
		r.mu.Lock()
		r.trace = append(r.trace, op.Kind.String()+" "+name)
		r.mu.Unlock()
	}
	if hook := r.hook.Load(); hook != nil {
		return (*hook)(op)
	}
	return nil
}

// onDisk sets what is asked before every operation on the disk; nil: nothing.
func (r *rig) onDisk(hook func(vfstest.Op) error) {
	if hook == nil {
		r.hook.Store(nil)
		return
	}
	r.hook.Store(&hook)
}

// on matches one kind of operation on one type of file.
func on(kind vfstest.OpKind, file base.FileType) func(vfstest.Op) bool {
	return func(op vfstest.Op) bool { return op.Kind == kind && fileType(op.Name) == file }
}

func fileType(path string) base.FileType {
	t, _ := base.ParseFileName(filepath.Base(path))
	return t
}

// fail makes every operation that matches fail.
func (r *rig) fail(matches func(vfstest.Op) bool, err error) {
	r.onDisk(func(op vfstest.Op) error {
		if matches(op) {
			return err
		}
		return nil
	})
}

// hold makes every operation that matches wait until release is called.
func (r *rig) hold(matches func(vfstest.Op) bool) (release func()) {
	gate := make(chan struct{})
	r.onDisk(func(op vfstest.Op) error {
		if matches(op) {
			<-gate
		}
		return nil
	})
	return sync.OnceFunc(func() {
		r.onDisk(nil)
		close(gate)
	})
}

// forget empties the trace; traced returns it.
func (r *rig) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trace = nil
}

func (r *rig) traced(prefixes ...string) (list []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, entry := range r.trace {
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(entry, p) }) {
			list = append(list, entry)
		}
	}
	return list
}

// names lists the files of one type, sorted.
func (r *rig) names(file base.FileType) (list []string) {
	r.t.Helper()
	all, err := r.mem.List(testDir)
	must(r.t, err)
	for _, name := range all {
		if fileType(name) == file {
			list = append(list, name)
		}
	}
	return list
}

// checkClosed checks that the stages left no file open. The tables in the tree are
// the database's to close, and so are the files of a takeover that was not begun.
func (r *rig) checkClosed() {
	r.t.Helper()
	if r.p != nil && r.begun.Load() == 0 {
		r.start.Close()
	}
	if err := r.env.Files.CloseAll(); err != nil {
		r.t.Error(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for f := range r.files {
		r.t.Errorf("%s is still open", f.name)
	}
}

// close ends the pipeline, which must be in good order, and checks what it left.
func (r *rig) close() {
	r.t.Helper()
	if err := r.p.Close(); err != nil {
		r.t.Errorf("Close: %v", err)
	}
	r.checkClosed()
	current, err := manifest.ReadCurrent(r.mem, testDir)
	must(r.t, err)
	if current.Clean == nil {
		r.t.Error("an orderly Close left no mark")
	}
}

// set and del make commits; sync asks for durability.
func set(pairs ...string) *Commit {
	c := NewCommit()
	for i := 0; i < len(pairs); i += 2 {
		if err := c.Add(base.KindSet, []byte(pairs[i]), []byte(pairs[i+1]), 0); err != nil {
			panic(err)
		}
	}
	return c
}

func del(keys ...string) *Commit {
	c := NewCommit()
	for _, key := range keys {
		if err := c.Add(base.KindDelete, []byte(key), nil, 0); err != nil {
			panic(err)
		}
	}
	return c
}

func synced(c *Commit) *Commit {
	c.Sync = true
	return c
}

// put sends a commit through the pipeline and waits.
func (r *rig) put(c *Commit) error {
	if err := r.p.Enqueue(context.Background(), c); err != nil {
		return err
	}
	return c.Wait()
}

// kilobyte is the value that fill writes under a key.
func kilobyte(key string) string { return strings.Repeat(key+".", 1024/(len(key)+1)) }

// fill writes n keys of a kilobyte each, prefix000, prefix001, and so on.
func (r *rig) fill(prefix string, n int) {
	r.t.Helper()
	for i := range n {
		key := fmt.Sprintf("%s%03d", prefix, i)
		must(r.t, r.put(set(key, kilobyte(key))))
	}
}

func (r *rig) checkFilled(prefix string, n int) {
	r.t.Helper()
	for i := range n {
		key := fmt.Sprintf("%s%03d", prefix, i)
		if got, ok := r.get(key); !ok || got != kilobyte(key) {
			r.t.Errorf("%s reads as %.20q, %v", key, got, ok)
		}
	}
}

// get reads as package db does.
func (r *rig) get(key string) (string, bool) {
	r.t.Helper()
	published := &r.published
	if r.p != nil {
		published = &r.p.Published
	}
	state := published.Enter()
	defer state.Leave()
	value, ok, err := readAt(state.State, published.Visible(), key)
	if err != nil {
		r.t.Errorf("reading %s: %v", key, err)
	}
	return value, ok
}

// readAt finds the newest version of key that is visible at seq.
func readAt(s *view.State, seq base.Seq, key string) (string, bool, error) {
	for _, m := range append([]*memtable.Memtable{s.Active}, s.Sealed...) {
		if value, t, ok := m.Get([]byte(key), base.Hash([]byte(key)), seq); ok {
			return string(value), t.Kind() == base.KindSet, nil
		}
	}
	search := base.AppendSearchKey(nil, []byte(key), seq)
	for level := range s.Version.Levels {
		for _, meta := range s.Version.Overlapping(level, []byte(key), []byte(key)) {
			table, err := meta.Handle.Table()
			if err != nil {
				return "", false, err
			}
			value, _, t, ok, err := table.Find(search, base.Hash([]byte(key)), true)
			if ok || err != nil {
				return string(value), ok && t.Kind() == base.KindSet, err
			}
		}
	}
	return "", false, nil
}
