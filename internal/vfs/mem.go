package vfs

import (
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"lsmdb/internal/base"
)

// Mem is a file system in memory. It keeps apart what was synced and what was
// not, so that CrashClone can show what a power failure would leave. Paths are
// taken from one root, which always exists; "a" and "/a" are the same file. It
// differs from the operating system in that directories cannot be renamed.
type Mem struct {
	// mu is held whole by what changes the tree, and by CrashClone; what changes or
	// syncs contents shares it and holds the file's own lock. So a crash sees all
	// files at one instant, and reads of contents never meet it.
	mu         sync.RWMutex
	root       *memNode
	pending    []dirChange // changes of directories that no SyncDir has made durable, oldest first
	locks      map[string]*memLock
	usedBytes  atomic.Int64 // sizes of all files that have a name or are open
	limitBytes atomic.Int64 // 0: none
}

// memNode is a directory or a file. All fields but contents are guarded by Mem.mu.
type memNode struct {
	entries map[string]*memNode // of a directory; nil: this is a file
	durable map[string]*memNode // the entries as of the last SyncDir
	names   int                 // of a file: how many entries lead to it
	handles int                 // of a file: how often it is open
	contents
}

// dirChange is one step of a directory, which a crash keeps whole or not at all: a
// rename is two bindings.
type dirChange []binding

// binding says what a name in a directory leads to; nil: nothing.
type binding struct {
	dir  *memNode
	name string
	node *memNode
}

func (b binding) applyTo(entries map[string]*memNode) {
	if b.node == nil {
		delete(entries, b.name)
	} else {
		entries[b.name] = b.node
	}
}

// memLock is a lock that is held.
type memLock struct {
	shared  bool
	holders int
}

// NewMem returns an empty file system.
func NewMem() *Mem {
	return &Mem{root: newMemDir(), locks: make(map[string]*memLock)}
}

func newMemDir() *memNode {
	return &memNode{entries: make(map[string]*memNode), durable: make(map[string]*memNode)}
}

// SetLimit bounds the sum of all file sizes. Beyond it, writes are cut short and fail
// with base.ErrDiskFull. 0 removes the bound. Files that are larger already stay.
func (m *Mem) SetLimit(bytes int64) { m.limitBytes.Store(bytes) }

// UsedBytes returns the sum of the sizes of all files, counting those that were
// removed but are open still.
func (m *Mem) UsedBytes() int64 { return m.usedBytes.Load() }

// take reserves bytes for growth, as many of them as the limit leaves.
func (m *Mem) take(bytes int64) int64 {
	for bytes > 0 {
		used, limit := m.usedBytes.Load(), m.limitBytes.Load()
		if limit > 0 {
			bytes = max(0, min(bytes, limit-used))
		}
		if m.usedBytes.CompareAndSwap(used, used+bytes) {
			break
		}
	}
	return max(0, bytes)
}

// Create implements FS.
func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.create(name)
	if err != nil {
		return nil, pathError("create", name, err)
	}
	node.handles++
	return &memFile{mem: m, node: node, name: name, writable: true}, nil
}

func (m *Mem) create(name string) (*memNode, error) {
	dir, last, err := m.parent(name)
	if err != nil {
		return nil, err
	}
	if last == "" || dir.entries[last] != nil {
		return nil, fs.ErrExist
	}
	node := &memNode{}
	m.change(binding{dir, last, node})
	return node, nil
}

// Open implements FS.
func (m *Mem) Open(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.find(name)
	if err == nil && node.entries != nil {
		err = errNotFile
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	node.handles++
	return &memFile{mem: m, node: node, name: name}, nil
}

// Remove implements FS. The contents stay for those who have the file open, and, so
// that a crash can bring it back, until SyncDir.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, last, _, err := m.file(name)
	if err != nil {
		return pathError("remove", name, err)
	}
	m.change(binding{dir, last, nil})
	return nil
}

// Rename implements FS for files.
func (m *Mem) Rename(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	failed := func(err error) error {
		return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: err}
	}
	from, fromLast, node, err := m.file(oldname)
	if err != nil {
		return failed(err)
	}
	to, toLast, err := m.parent(newname)
	if err != nil {
		return failed(err)
	}
	replaced := to.entries[toLast]
	switch {
	case toLast == "" || replaced != nil && replaced.entries != nil:
		return failed(errNotFile)
	case replaced != node:
		m.change(binding{from, fromLast, nil}, binding{to, toLast, node})
	}
	return nil
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	node := m.root
	for _, part := range splitPath(dir) {
		next := node.entries[part]
		if next == nil {
			next = newMemDir()
			m.change(binding{node, part, next})
		}
		if next.entries == nil {
			return pathError("mkdir", dir, syscall.ENOTDIR)
		}
		node = next
	}
	return nil
}

// List implements FS.
func (m *Mem) List(dir string) ([]string, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	node, err := m.dir(dir)
	if err != nil {
		return nil, pathError("list", dir, err)
	}
	return slices.Sorted(maps.Keys(node.entries)), nil
}

// Stat implements FS.
func (m *Mem) Stat(name string) (Info, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	node, err := m.find(name)
	if err != nil {
		return Info{}, pathError("stat", name, err)
	}
	return Info{SizeBytes: node.sizeNow(), IsDir: node.entries != nil}, nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.dir(dir)
	if err != nil {
		return pathError("syncdir", dir, err)
	}
	m.pending = slices.DeleteFunc(m.pending, func(c dirChange) bool {
		if !slices.ContainsFunc(c, func(b binding) bool { return b.dir == node }) {
			return false
		}
		for _, b := range c {
			b.applyTo(b.dir.durable)
		}
		return true
	})
	return nil
}

// Lock implements FS within this Mem.
func (m *Mem) Lock(name string, shared bool) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.find(name)
	switch {
	case err == fs.ErrNotExist && !shared:
		_, err = m.create(name)
	case err == nil && node.entries != nil:
		err = errNotFile
	}
	if err != nil {
		return nil, pathError("lock", name, err)
	}
	key := strings.Join(splitPath(name), "/")
	lock := m.locks[key]
	if lock == nil {
		lock = &memLock{shared: shared}
		m.locks[key] = lock
	} else if !shared || !lock.shared {
		return nil, lockedError(name, "this process, pid "+strconv.Itoa(os.Getpid()))
	}
	lock.holders++
	return &memLockHolder{mem: m, key: key}, nil
}

// memLockHolder is what Lock returns.
type memLockHolder struct {
	mem    *Mem
	key    string
	closed bool // guarded by Mem.mu
}

func (h *memLockHolder) Close() error {
	h.mem.mu.Lock()
	defer h.mem.mu.Unlock()
	if h.closed {
		return fs.ErrClosed
	}
	h.closed = true
	lock := h.mem.locks[h.key]
	if lock.holders--; lock.holders == 0 {
		delete(h.mem.locks, h.key)
	}
	return nil
}

// change applies one step to the tree and keeps it in mind as not durable. The caller
// holds mu.
func (m *Mem) change(step ...binding) {
	for _, b := range step {
		old := b.dir.entries[b.name]
		b.applyTo(b.dir.entries)
		if b.node != nil {
			b.node.names++
		}
		if old != nil {
			old.names--
			defer m.release(old) // at the end: a rename gives the file its new name last
		}
	}
	m.pending = append(m.pending, step)
}

// release returns the room of a file that nothing leads to any more.
func (m *Mem) release(node *memNode) {
	if node.names == 0 && node.handles == 0 {
		m.usedBytes.Add(-node.sizeNow())
	}
}

// find walks to a file or directory. The caller holds mu, shared or whole.
func (m *Mem) find(name string) (*memNode, error) {
	node := m.root
	for _, part := range splitPath(name) {
		if node.entries == nil {
			return nil, syscall.ENOTDIR
		}
		if node = node.entries[part]; node == nil {
			return nil, fs.ErrNotExist
		}
	}
	return node, nil
}

func (m *Mem) dir(name string) (*memNode, error) {
	node, err := m.find(name)
	if err == nil && node.entries == nil {
		err = syscall.ENOTDIR
	}
	return node, err
}

// parent returns the directory of a name and its last part, "" for the root.
func (m *Mem) parent(name string) (dir *memNode, last string, err error) {
	parts := splitPath(name)
	if len(parts) == 0 {
		return m.root, "", nil
	}
	last = parts[len(parts)-1]
	dir, err = m.dir(path.Join(parts[:len(parts)-1]...))
	return dir, last, err
}

// file returns a file that exists, and where it is.
func (m *Mem) file(name string) (dir *memNode, last string, node *memNode, err error) {
	if dir, last, err = m.parent(name); err != nil {
		return nil, "", nil, err
	}
	node = dir.entries[last]
	if last == "" || node != nil && node.entries != nil {
		return nil, "", nil, errNotFile
	}
	if node == nil {
		return nil, "", nil, fs.ErrNotExist
	}
	return dir, last, node, nil
}

// splitPath returns the names on the way from the root.
func splitPath(name string) []string {
	clean := path.Clean("/" + filepath.ToSlash(name))[1:]
	if clean == "" {
		return nil
	}
	return strings.Split(clean, "/")
}

func pathError(operation, name string, err error) error {
	return &fs.PathError{Op: operation, Path: name, Err: err}
}

// noRoom is the answer beyond the limit.
func noRoom(operation, name string) error { return pathError(operation, name, base.ErrDiskFull) }
