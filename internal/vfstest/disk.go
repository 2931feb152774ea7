// Package vfstest has file systems for tests: Disk, which lies in memory and can lose
// its power, and Fault, which makes another file system fail. Only tests import it, and package dbtest for the tests of others.
package vfstest

import (
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"lsmdb/internal/vfs"
)

// Disk is a file system in memory. It keeps apart what was synced and what was
// not, so that CrashClone can show what a power failure would leave. Paths are
// taken from one root, which always exists; "a" and "/a" are the same file. It
// differs from the operating system in that only MoveDirectory and RemoveDirectory
// rename and remove directories.
type Disk struct {
	diskFiles
	// mu is held whole by what changes the tree, and by CrashClone; what changes or
	// syncs contents shares it and holds the file's own lock. So a crash sees all
	// files at one instant, and reads of contents never meet it.
	mu         sync.RWMutex
	entries    map[string]*diskNode  // all files and directories by their clean path
	durable    map[string]*diskNode  // those that a SyncDir has made certain
	pending    []treeChange          // what no SyncDir has, oldest first
	trace      atomic.Pointer[Trace] // what Record keeps; nil: nothing
	usedBytes  atomic.Int64          // sizes of all files that have a name or are open
	limitBytes atomic.Int64          // 0: none
}

// diskFiles are all files of a Disk, by their paths, or those of one open directory.
type diskFiles struct {
	disk   *Disk
	dir    string    // as it was opened
	handle *diskNode // the directory; nil: all
}

// diskNode is a directory or a file. All fields but contents are guarded by Disk.mu.
type diskNode struct {
	isDir     bool
	uses      int     // how often a file has a name or is open
	locks     []*lock // held on it
	mirror    *mirror // what windows show of the file; nil: it offers none
	*contents         // empty if a directory
}

func newNode(isDir bool) *diskNode {
	return &diskNode{isDir: isDir, contents: &contents{pages: make(map[int64]*page), durable: make(map[int64]*page)}}
}

// treeChange is what one operation makes of some paths, nil of those it removes. A
// crash keeps it whole or not at all: a rename has two.
type treeChange map[string]*diskNode

func (c treeChange) applyTo(entries map[string]*diskNode) {
	for name, node := range c {
		if node == nil {
			delete(entries, name)
		} else {
			entries[name] = node
		}
	}
}

// NewDisk returns an empty file system.
func NewDisk() *Disk {
	root := map[string]*diskNode{"/": newNode(true)}
	d := &Disk{entries: root, durable: maps.Clone(root)}
	d.disk = d
	return d
}

// SetLimit bounds the sum of all file sizes. What would go beyond it changes nothing
// and fails with syscall.ENOSPC. 0 removes the bound. Files that are larger
// already stay.
func (d *Disk) SetLimit(bytes int64) { d.limitBytes.Store(bytes) }

// UsedBytes returns the sum of the sizes of all files, counting those that were
// removed but are open still.
func (d *Disk) UsedBytes() int64 { return d.usedBytes.Load() }

// resize accounts for the growth of a file, if there is room.
func (d *Disk) resize(growth int64) error {
	used, limit := d.usedBytes.Add(growth), d.limitBytes.Load()
	if growth > 0 && limit > 0 && used > limit {
		d.usedBytes.Add(-growth)
		return syscall.ENOSPC
	}
	return nil
}

// Create implements vfs.FS.
func (v diskFiles) Create(name string) (vfs.File, error) {
	d := v.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	node, err := d.create("create", name, v.at(name))
	if err != nil {
		return nil, err
	}
	node.uses++
	file := &diskFile{disk: d, among: v, node: node, name: name, writable: true}
	if t := d.trace.Load(); t != nil && t.windows != "" {
		return t.offerWindows(file)
	}
	return file, nil
}

// Open implements vfs.FS.
func (v diskFiles) Open(name string) (vfs.File, error) {
	d := v.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	node, err := d.find("open", name, v.at(name), false)
	if err != nil {
		return nil, err
	}
	node.uses++
	return &diskFile{disk: d, among: v, node: node, name: name}, nil
}

// Remove implements vfs.FS. The contents stay for those who have the file open, and, so
// that a crash can bring it back, until SyncDir.
func (v diskFiles) Remove(name string) error {
	d := v.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	at := v.at(name)
	_, err := d.find("remove", name, at, false)
	if err == nil {
		d.change(Event{Kind: OpRemove, Name: at, tree: treeChange{at: nil}})
	}
	return err
}

// Rename implements vfs.FS for files.
func (v diskFiles) Rename(oldname, newname string) error {
	d := v.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	from, to := v.at(oldname), v.at(newname)
	node, err := d.find("rename", oldname, from, false)
	if err != nil {
		return err
	}
	if _, err = d.find("rename", newname, path.Dir(to), true); err != nil {
		return err
	}
	if replaced := d.entries[to]; replaced != nil && replaced.isDir {
		return pathError("rename", newname, syscall.EISDIR)
	}
	// In this order: a file renamed to itself stays.
	step := treeChange{from: nil}
	step[to] = node
	d.change(Event{Kind: OpRename, Name: from, NewName: to, tree: step})
	return nil
}

// MkdirAll implements vfs.FS.
func (v diskFiles) MkdirAll(dir string) error {
	d := v.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mkdirAll(v.place(dir))
}

func (d *Disk) mkdirAll(dir string) error {
	if d.entries[dir] == nil {
		if err := d.mkdirAll(path.Dir(dir)); err != nil {
			return err
		}
		d.change(Event{Kind: OpMkdir, Name: dir, tree: treeChange{dir: newNode(true)}})
	}
	_, err := d.find("mkdir", dir, dir, true)
	return err
}

// List implements vfs.FS.
func (v diskFiles) List(dir string) ([]string, error) {
	d := v.disk
	d.mu.RLock()
	defer d.mu.RUnlock()
	at := v.place(dir)
	if _, err := d.find("list", dir, at, true); err != nil {
		return nil, err
	}
	var names []string
	for name := range d.entries {
		if path.Dir(name) == at && name != "/" {
			names = append(names, path.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

// Stat implements vfs.FS.
func (v diskFiles) Stat(name string) (vfs.Info, error) {
	d := v.disk
	d.mu.Lock() // whole, for the size
	defer d.mu.Unlock()
	node := d.entries[v.whichever(name)]
	if node == nil {
		return vfs.Info{}, pathError("stat", name, fs.ErrNotExist)
	}
	return vfs.Info{SizeBytes: node.size, IsDir: node.isDir}, nil
}

// SyncDir implements vfs.FS.
func (v diskFiles) SyncDir(dir string) error {
	d := v.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	at := v.place(dir)
	if at == nowhere {
		return nil // as in a directory that was removed
	}
	if _, err := d.find("syncdir", dir, at, true); err != nil {
		return err
	}
	d.pending = syncDir(d.durable, d.pending, at)
	d.note(Event{Kind: OpSyncDir, Name: at})
	return nil
}

// syncDir makes those of the pending changes durable that touch a directory, and
// returns the others.
func syncDir(durable map[string]*diskNode, pending []treeChange, dir string) []treeChange {
	return slices.DeleteFunc(pending, func(c treeChange) bool {
		for name := range c {
			if path.Dir(name) == dir {
				c.applyTo(durable)
				return true
			}
		}
		return false
	})
}

// find returns a file or a directory, whichever is asked for. name is what the caller
// called it, at its clean path. The caller holds mu.
func (d *Disk) find(operation, name, at string, isDir bool) (*diskNode, error) {
	node := d.entries[at]
	switch {
	case node == nil:
		return nil, pathError(operation, name, fs.ErrNotExist)
	case isDir && !node.isDir:
		return nil, pathError(operation, name, syscall.ENOTDIR)
	case !isDir && node.isDir:
		return nil, pathError(operation, name, syscall.EISDIR)
	}
	return node, nil
}

// create makes an empty file. The caller holds mu whole.
func (d *Disk) create(operation, name, at string) (*diskNode, error) {
	if _, err := d.find(operation, name, path.Dir(at), true); err != nil {
		return nil, err
	}
	if d.entries[at] != nil {
		return nil, pathError(operation, name, fs.ErrExist)
	}
	node := newNode(false)
	d.change(Event{Kind: OpCreate, Name: at, tree: treeChange{at: node}})
	return node, nil
}

// change changes the tree and keeps in mind that it is not durable. The caller holds
// mu whole.
func (d *Disk) change(e Event) {
	c := e.tree
	for _, node := range c {
		if node != nil {
			node.uses++ // before release: a rename gives a name and takes one
		}
	}
	for name := range c {
		if old := d.entries[name]; old != nil {
			d.release(old)
		}
	}
	c.applyTo(d.entries)
	d.pending = append(d.pending, c)
	d.note(e)
}

// release ends one use of a file, and with the last returns its room. The caller
// holds mu whole.
func (d *Disk) release(node *diskNode) {
	if node.uses--; node.uses == 0 {
		d.usedBytes.Add(-node.size)
	}
}

func clean(name string) string { return path.Clean("/" + filepath.ToSlash(name)) }

// pathError says what failed. nil stays nil.
func pathError(operation, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: operation, Path: name, Err: err}
}
