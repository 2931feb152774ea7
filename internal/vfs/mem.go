package vfs

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"lsmdb/internal/base"
)

// Mem is a file system in memory, for what need not outlive the process: syncs have
// nothing to do. It knows no directories. A name is one string, as filepath.Join makes
// it; every name can be created, and List finds those that begin with a directory's.
type Mem struct{ memFiles }

// memFiles are the files of one directory of a Mem, or all.
type memFiles struct {
	*memTree
	inside
}

// memTree is what all directories of a Mem share.
type memTree struct {
	mu    sync.Mutex // guards files, and is held for a look or a change only
	files map[string]*memContents
	locks lockTable[string] // on the names of directories
}

// NewMem returns an empty file system.
func NewMem() *Mem {
	tree := &memTree{files: make(map[string]*memContents)}
	tree.locks.same = func(a, b string) bool { return a == b }
	return &Mem{memFiles{memTree: tree}}
}

// Create implements FS.
func (v memFiles) Create(name string) (File, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.file(name) // panics if it is elsewhere
	if v.files[name] != nil {
		return nil, pathError("create", name, fs.ErrExist)
	}
	contents := new(memContents)
	v.files[name] = contents
	return &memFile{memContents: contents, tree: v.memTree, name: name, writable: true}, nil
}

// Open implements FS.
func (v memFiles) Open(name string) (File, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	contents, err := v.find("open", name)
	if err != nil {
		return nil, err
	}
	return &memFile{memContents: contents, tree: v.memTree, name: name}, nil
}

// Remove implements FS.
func (v memFiles) Remove(name string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, err := v.find("remove", name)
	delete(v.files, name)
	return err
}

// Rename implements FS.
func (v memFiles) Rename(oldname, newname string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	contents, err := v.find("rename", oldname)
	v.file(newname) // panics if it is elsewhere, as in find
	if err == nil {
		delete(v.files, oldname) // first: a file renamed to itself stays
		v.files[newname] = contents
	}
	return err
}

// MkdirAll implements FS. It has nothing to do.
func (m *Mem) MkdirAll(string) error { return nil }

// List implements FS.
func (v memFiles) List(dir string) ([]string, error) {
	v.file(dir)
	v.mu.Lock()
	defer v.mu.Unlock()
	var names []string
	for name := range v.files {
		if filepath.Dir(name) == dir {
			names = append(names, filepath.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

// Stat implements FS.
func (v memFiles) Stat(name string) (Info, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if name == v.dir {
		return Info{IsDir: true}, nil
	}
	contents, err := v.find("stat", name)
	if err != nil {
		return Info{}, err
	}
	return Info{SizeBytes: contents.size.Load()}, nil
}

// SyncDir implements FS. It has nothing to do.
func (v memFiles) SyncDir(dir string) error {
	v.file(dir)
	return nil
}

// OpenDirectory implements FS.
func (m *Mem) OpenDirectory(dir string) (Directory, error) {
	return &memDirectory{memFiles: memFiles{m.memTree, inside{dir}}}, nil
}

// find returns a file's contents. The caller holds mu.
func (v memFiles) find(operation, name string) (*memContents, error) {
	v.file(name) // panics if it is elsewhere
	if contents := v.files[name]; contents != nil {
		return contents, nil
	}
	return nil, pathError(operation, name, fs.ErrNotExist)
}

// memDirectory implements Directory. As there are no directories, only its LOCK can be
// displaced.
type memDirectory struct {
	memFiles
	lock   *memContents // LOCK, as it was locked
	giveUp func() error // the lock; nil: there is none
}

// Lock implements Directory within the Mem.
func (d *memDirectory) Lock(shared bool) error {
	name := filepath.Join(d.dir, base.LockName)
	giveUp, err := d.locks.take(name, filepath.Clean(d.dir), shared)
	if err != nil {
		return err
	}
	if !shared {
		d.Create(name) // fails if it is there, as it should be
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.giveUp, d.lock = giveUp, d.files[name]
	return nil
}

// Link refuses: copies in memory are cheap.
func (d *memDirectory) Link(name, _ string) error {
	return pathError("link", name, errors.ErrUnsupported)
}

// SyncFile has nothing to do but to find the file.
func (d *memDirectory) SyncFile(name string) error {
	f, err := d.Open(name)
	if err != nil {
		return err
	}
	return f.Close()
}

// NoteHolder has nobody to serve.
func (d *memDirectory) NoteHolder() {}

func (d *memDirectory) Check() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	lock := FoundSame
	if d.lock != nil {
		lock = d.look(filepath.Join(d.dir, base.LockName), d.lock)
	}
	return DisplacedDirectory(d.dir, FoundSame, lock)
}

// Close fails the second time, if there was a lock, with fs.ErrClosed.
func (d *memDirectory) Close() error {
	if d.giveUp == nil {
		return nil
	}
	return d.giveUp()
}

// look compares what is under a name with what was opened there. The caller holds mu.
func (v *memTree) look(name string, opened *memContents) Found {
	switch v.files[name] {
	case opened:
		return FoundSame
	case nil:
		return FoundNothing
	}
	return FoundOther
}

// memPage is a piece of a file: growing copies no bytes.
type memPage [16 << 10]byte

const memPageBytes = int64(len(memPage{}))

// memContents are the bytes of a file, which stay for those who have it open when its
// name is gone.
type memContents struct {
	mu    sync.RWMutex // guards pages and changes of size; reads of one file run side by side
	pages []*memPage   // as many as size needs; bytes behind it are zeros
	size  atomic.Int64
}

// resize adds zeros, or drops bytes. The caller holds mu whole.
func (c *memContents) resize(size int64) {
	count := int((size + memPageBytes - 1) / memPageBytes)
	for len(c.pages) < count {
		c.pages = append(c.pages, new(memPage))
	}
	clear(c.pages[count:]) // lets go of their memory
	c.pages = c.pages[:count]
	if tail := size % memPageBytes; tail > 0 && size < c.size.Load() {
		clear(c.pages[count-1][tail:])
	}
	c.size.Store(size)
}

// memFile implements File.
type memFile struct {
	*memContents
	tree     *memTree
	name     string
	writable bool
	closed   atomic.Bool
}

func (f *memFile) ReadAt(p []byte, offset int64) (n int, err error) {
	if err := f.check("read", false, offset, len(p)); err != nil {
		return 0, err
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	length := int(max(0, min(int64(len(p)), f.size.Load()-offset)))
	for n < length {
		at := offset + int64(n)
		n += copy(p[n:length], f.pages[at/memPageBytes][at%memPageBytes:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, offset int64) (n int, err error) {
	if err := f.check("write", true, offset, len(p)); err != nil || len(p) == 0 {
		return 0, err // writing nothing behind the end does not move it
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.resize(max(f.size.Load(), offset+int64(len(p))))
	for n < len(p) {
		at := offset + int64(n)
		n += copy(f.pages[at/memPageBytes][at%memPageBytes:], p[n:])
	}
	return n, nil
}

func (f *memFile) Truncate(size int64) error {
	if err := f.check("truncate", true, size, 0); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.resize(size)
	return nil
}

// Sync has nothing to do but to refuse who may not write, as Windows does.
func (f *memFile) Sync() error { return f.check("sync", true, 0, 0) }

func (f *memFile) Size() (int64, error) { return f.size.Load(), f.check("size", false, 0, 0) }

func (f *memFile) Check() error {
	f.tree.mu.Lock()
	defer f.tree.mu.Unlock()
	return errors.Join(f.check("check", false, 0, 0), DisplacedFile(f.name, f.tree.look(f.name, f.memContents)))
}

func (f *memFile) Close() error {
	err := f.check("close", false, 0, 0)
	f.closed.Store(true)
	return err
}

// check says why an operation cannot be.
func (f *memFile) check(operation string, writes bool, offset int64, length int) (err error) {
	switch {
	case f.closed.Load():
		err = fs.ErrClosed
	case offset < 0 || offset+int64(length) < 0:
		err = fs.ErrInvalid
	case writes && !f.writable:
		err = fs.ErrPermission
	}
	return pathError(operation, f.name, err)
}
