package vfs

import (
	"io"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"lsmdb/internal/base"
)

// Mem is a file system in memory. It keeps apart what was synced and what was
// not, so that CrashClone can show what a power failure would leave. Paths are
// taken from one root, which always exists; "a" and "/a" are the same file. It
// differs from the operating system in that directories cannot be renamed or removed.
type Mem struct {
	// mu is held whole by what changes the tree, and by CrashClone; what changes or
	// syncs contents shares it and holds the file's own lock. So a crash sees all
	// files at one instant, and reads of contents never meet it.
	mu         sync.RWMutex
	entries    map[string]*memNode // all files and directories by their clean path
	durable    map[string]*memNode // those that a SyncDir has made certain
	pending    []treeChange        // what no SyncDir has, oldest first
	locks      lockTable[*memNode]
	usedBytes  atomic.Int64 // sizes of all files that have a name or are open
	limitBytes atomic.Int64 // 0: none
}

// memNode is a directory or a file. All fields but contents are guarded by Mem.mu.
type memNode struct {
	isDir     bool
	uses      int // how often a file has a name or is open
	*contents     // empty if a directory
}

func newNode(isDir bool) *memNode {
	return &memNode{isDir: isDir, contents: &contents{pages: make(map[int64]*page), durable: make(map[int64]*page)}}
}

// treeChange is what one operation makes of some paths, nil of those it removes. A
// crash keeps it whole or not at all: a rename has two.
type treeChange map[string]*memNode

func (c treeChange) applyTo(entries map[string]*memNode) {
	for name, node := range c {
		if node == nil {
			delete(entries, name)
		} else {
			entries[name] = node
		}
	}
}

// NewMem returns an empty file system.
func NewMem() *Mem {
	root := map[string]*memNode{"/": newNode(true)}
	return &Mem{entries: root, durable: maps.Clone(root), locks: lockTable[*memNode]{same: func(a, b *memNode) bool { return a == b }}}
}

// SetLimit bounds the sum of all file sizes. What would go beyond it changes nothing
// and fails with base.ErrDiskFull. 0 removes the bound. Files that are larger
// already stay.
func (m *Mem) SetLimit(bytes int64) { m.limitBytes.Store(bytes) }

// UsedBytes returns the sum of the sizes of all files, counting those that were
// removed but are open still.
func (m *Mem) UsedBytes() int64 { return m.usedBytes.Load() }

// resize accounts for the growth of a file, if there is room.
func (m *Mem) resize(growth int64) error {
	used, limit := m.usedBytes.Add(growth), m.limitBytes.Load()
	if growth > 0 && limit > 0 && used > limit {
		m.usedBytes.Add(-growth)
		return base.ErrDiskFull
	}
	return nil
}

// Create implements FS.
func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.create("create", name)
	if err != nil {
		return nil, err
	}
	node.uses++
	return &memFile{mem: m, node: node, name: name, writable: true}, nil
}

// Open implements FS.
func (m *Mem) Open(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.find("open", name, false)
	if err != nil {
		return nil, err
	}
	node.uses++
	return &memFile{mem: m, node: node, name: name}, nil
}

// Remove implements FS. The contents stay for those who have the file open, and, so
// that a crash can bring it back, until SyncDir.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, err := m.find("remove", name, false)
	if err == nil {
		m.change(treeChange{clean(name): nil})
	}
	return err
}

// Rename implements FS for files.
func (m *Mem) Rename(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.find("rename", oldname, false)
	if err != nil {
		return err
	}
	if _, err = m.find("rename", path.Dir(clean(newname)), true); err != nil {
		return err
	}
	if replaced := m.entries[clean(newname)]; replaced != nil && replaced.isDir {
		return pathError("rename", newname, syscall.EISDIR)
	}
	// In this order: a file renamed to itself stays.
	step := treeChange{clean(oldname): nil}
	step[clean(newname)] = node
	m.change(step)
	return nil
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mkdirAll(clean(dir))
}

func (m *Mem) mkdirAll(dir string) error {
	if m.entries[dir] == nil {
		if err := m.mkdirAll(path.Dir(dir)); err != nil {
			return err
		}
		m.change(treeChange{dir: newNode(true)})
	}
	_, err := m.find("mkdir", dir, true)
	return err
}

// List implements FS.
func (m *Mem) List(dir string) ([]string, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if _, err := m.find("list", dir, true); err != nil {
		return nil, err
	}
	var names []string
	for name := range m.entries {
		if path.Dir(name) == clean(dir) && name != "/" {
			names = append(names, path.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

// Stat implements FS.
func (m *Mem) Stat(name string) (Info, error) {
	m.mu.Lock() // whole, for the size
	defer m.mu.Unlock()
	node := m.entries[clean(name)]
	if node == nil {
		return Info{}, pathError("stat", name, fs.ErrNotExist)
	}
	return Info{SizeBytes: node.size, IsDir: node.isDir}, nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.find("syncdir", dir, true); err != nil {
		return err
	}
	m.pending = slices.DeleteFunc(m.pending, func(c treeChange) bool {
		for name := range c {
			if path.Dir(name) == clean(dir) {
				c.applyTo(m.durable)
				return true
			}
		}
		return false
	})
	return nil
}

// Lock implements FS within this Mem.
func (m *Mem) Lock(name string, shared bool) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.entries[clean(name)] == nil && !shared {
		if _, err := m.create("lock", name); err != nil {
			return nil, err
		}
	}
	node, err := m.find("lock", name, false)
	if err != nil {
		return nil, err
	}
	return m.locks.take(name, node, shared)
}

// find returns a file or a directory, whichever is asked for. The caller holds mu.
func (m *Mem) find(operation, name string, isDir bool) (*memNode, error) {
	node := m.entries[clean(name)]
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
func (m *Mem) create(operation, name string) (*memNode, error) {
	if _, err := m.find(operation, path.Dir(clean(name)), true); err != nil {
		return nil, err
	}
	if m.entries[clean(name)] != nil {
		return nil, pathError(operation, name, fs.ErrExist)
	}
	node := newNode(false)
	m.change(treeChange{clean(name): node})
	return node, nil
}

// change changes the tree and keeps in mind that it is not durable. The caller holds
// mu whole.
func (m *Mem) change(c treeChange) {
	for _, node := range c {
		if node != nil {
			node.uses++ // before release: a rename gives a name and takes one
		}
	}
	for name := range c {
		if old := m.entries[name]; old != nil {
			m.release(old)
		}
	}
	c.applyTo(m.entries)
	m.pending = append(m.pending, c)
}

// release ends one use of a file, and with the last returns its room. The caller
// holds mu whole.
func (m *Mem) release(node *memNode) {
	if node.uses--; node.uses == 0 {
		m.usedBytes.Add(-node.size)
	}
}

func clean(name string) string { return path.Clean("/" + filepath.ToSlash(name)) }
