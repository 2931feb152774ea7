package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"lsmdb/internal/base"
)

// lockRegistry holds the file locks of this process. It stands before the
// kernel's locks for what those cannot do everywhere: tell two users within one
// process apart, also where the second comes by another path. Each file is open
// at most once: where the kernel's locks belong to the process, closing a second
// descriptor would drop the lock of the first.
//
// The kernel drops the locks of a process that ends, so no lock is ever stale. The
// file stays: unlinking it would let two processes lock two files of one name.
type lockRegistry struct {
	mu   sync.Mutex // makes "look, ask the kernel, note" one step; nothing waits for a lock under it
	held []*heldLock
}

// processLocks is one per process because the kernel's locks are.
var processLocks lockRegistry

// heldLock is one file that is locked.
type heldLock struct {
	path    string      // absolute, symbolic links resolved
	info    fs.FileInfo // knows the file under other names: hard links, bind mounts, other case
	file    *os.File
	shared  bool
	holders int // 1 if exclusive
}

// lockHolder is what Lock returns: one holder's part in a heldLock.
type lockHolder struct {
	registry *lockRegistry
	lock     *heldLock // nil once closed; guarded by registry.mu
}

// lock implements FS.Lock for the operating system.
func (r *lockRegistry) lock(name string, shared bool) (io.Closer, error) {
	path, err := resolvePath(name)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.find(path)
	if l != nil && !(shared && l.shared) {
		return nil, lockedError(name, fmt.Sprintf("this process, pid %d", os.Getpid()))
	}
	if l == nil {
		if l, err = takeLock(path, shared); err != nil {
			return nil, err
		}
		r.held = append(r.held, l)
	}
	l.holders++
	return &lockHolder{registry: r, lock: l}, nil
}

func (r *lockRegistry) find(path string) *heldLock {
	info, err := os.Stat(path) // not open: see lockRegistry
	for _, l := range r.held {
		if l.path == path || err == nil && os.SameFile(l.info, info) {
			return l
		}
	}
	return nil
}

// Close gives the lock up. A second Close fails with fs.ErrClosed.
func (h *lockHolder) Close() error {
	r := h.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	l := h.lock
	if l == nil {
		return fs.ErrClosed
	}
	h.lock = nil
	l.holders--
	if l.holders > 0 {
		return nil
	}
	r.held = slices.DeleteFunc(r.held, func(other *heldLock) bool { return other == l })
	if !l.shared {
		l.file.Truncate(0) // as in writeHolder
	}
	// Unlocked first: a child between fork and exec has a copy of the descriptor,
	// which would keep the lock beyond a mere close.
	return errors.Join(unlockFile(l.file), l.file.Close())
}

// resolvePath gives one name to all paths of a file. What cannot be resolved is
// left to the open that follows, whose error is clearer.
func resolvePath(name string) (string, error) {
	path, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		return resolved, nil
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(dir, filepath.Base(path)), nil
	}
	return path, nil
}

// takeLock locks a file that this process does not hold yet.
func takeLock(path string, shared bool) (*heldLock, error) {
	file, err := openLockFile(path, shared)
	if err != nil {
		return nil, err
	}
	taken, err := lockFile(file, shared)
	if err != nil {
		err = fmt.Errorf("lock %s: %w", path, err)
	} else if !taken {
		err = lockedError(path, readHolder(file, shared))
	}
	info, statErr := file.Stat()
	if err = errors.Join(err, statErr); err != nil {
		file.Close() // nothing was written; err says more
		return nil, err
	}
	if !shared {
		writeHolder(file)
	}
	return &heldLock{path: path, info: info, file: file, shared: shared}, nil
}

// openLockFile opens read-only for a shared lock, which must write nothing.
func openLockFile(path string, shared bool) (*os.File, error) {
	if shared {
		return openExisting(path, os.O_RDONLY)
	}
	file, err := openExisting(path, os.O_RDWR)
	if !errors.Is(err, fs.ErrNotExist) {
		return file, err
	}
	file, err = createFile(path)
	if errors.Is(err, fs.ErrExist) { // another process was faster
		return openExisting(path, os.O_RDWR)
	}
	return file, err
}

// writeHolder notes in the file who holds it exclusively. It only serves messages:
// a full disk must not keep a database from being opened, so errors do not count.
func writeHolder(file *os.File) {
	host, _ := os.Hostname()
	text := fmt.Sprintf("pid %d\nhost %s\nsince %s\n", os.Getpid(), host, time.Now().UTC().Format(time.RFC3339))
	if file.Truncate(0) == nil {
		file.WriteAt([]byte(text), 0)
	}
}

// readHolder says who keeps this process from the lock. Shared holders leave no
// note, and one of an exclusive holder that was killed may stand: whether a
// shared lock can be had tells them apart.
func readHolder(file *os.File, shared bool) string {
	if !shared {
		if readers, err := lockFile(file, true); readers && err == nil {
			unlockFile(file)
			return "another process, for reading"
		}
	}
	var text [256]byte
	n, _ := file.ReadAt(text[:], 0)
	lines := strings.FieldsFunc(string(text[:n]), func(r rune) bool { return !unicode.IsPrint(r) })
	if len(lines) == 0 || !strings.HasPrefix(lines[0], "pid ") {
		return "another process"
	}
	return strings.Join(lines, ", ")
}

func lockedError(name, holder string) error {
	return fmt.Errorf("%w: %s is held by %s", base.ErrLocked, name, holder)
}
