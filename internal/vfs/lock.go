package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"lsmdb/internal/base"
)

// lockTable has the locks that this process holds on the files of one file system.
// F identifies a file, under whatever name.
type lockTable[F any] struct {
	same func(a, b F) bool
	mu   sync.Mutex // makes "look and note" one step; nothing waits for a lock under it
	held []*heldLock[F]
}

// heldLock is one entry of the table.
type heldLock[F any] struct {
	file   F
	shared bool
}

// take enters a lock beside which all others on that file are shared as well. giveUp ends
// it, and fails with fs.ErrClosed the second time.
func (t *lockTable[F]) take(name string, file F, shared bool) (giveUp func() error, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, other := range t.held {
		if t.same(other.file, file) && !(shared && other.shared) {
			return nil, lockedError(name, fmt.Sprintf("this process, pid %d", os.Getpid()))
		}
	}
	l := &heldLock[F]{file, shared}
	t.held = append(t.held, l)
	return func() error {
		t.mu.Lock()
		defer t.mu.Unlock()
		i := slices.Index(t.held, l)
		if i < 0 {
			return fs.ErrClosed
		}
		t.held = slices.Delete(t.held, i, i+1)
		return nil
	}, nil
}

func lockedError(name, holder string) error {
	return fmt.Errorf("%w: %s is held by %s; a lock ends with its process and is never stale, so never delete LOCK",
		base.ErrLocked, name, holder)
}

// processLocks stands before the kernel's locks, which need not tell two users
// within one process apart. It has directories and LOCK files.
var processLocks = lockTable[fs.FileInfo]{same: os.SameFile}

// osLock is what locks a directory. The kernel drops the locks of a process that ends,
// so none is ever stale. LOCK stays: unlinking it would let two processes lock
// two files of one name.
type osLock struct {
	file    *os.File       // LOCK; nil: none is locked
	info    fs.FileInfo    // of what was taken last: file, if it is not nil
	noted   bool           // the holder, in file
	entries []func() error // give up what is in processLocks
}

// Lock begins with the directory: where LOCK was deleted, a user who is refused must
// not leave a new one.
func (d *osDirectory) Lock(shared bool) error {
	var l osLock
	if err := d.lockBoth(&l, filepath.Join(d.dir, base.LockName), shared); err != nil {
		return errors.Join(err, l.release(d.handle))
	}
	d.held = l
	return d.Check() // nothing was replaced meanwhile
}

// lockBoth locks the directory and LOCK. A directory that cannot be locked itself, as on
// NFS, is guarded by LOCK and Check alone. One without LOCK is a copy that no writer
// ever opened.
func (d *osDirectory) lockBoth(l *osLock, name string, shared bool) error {
	err := l.take(d.handle, name, lockDirectory, shared)
	if err != nil && !matchesAny(err, noLocks) {
		return d.refused(name, err)
	}
	l.file, err = d.openLock(name, shared)
	if shared && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return d.refused(name, l.take(l.file, name, lockFile, shared))
}

// refused says why there is no lock.
func (d *osDirectory) refused(name string, err error) error {
	switch {
	case matchesAny(err, lockTaken):
		return lockedError(name, d.readHolder(name))
	case matchesAny(err, noLocks):
		return fmt.Errorf("lsmdb: the file system of %s has no file locks (%w), and without a lock a second process could "+
			"open the database and destroy it: keep it on a file system that has them, such as a local disk", d.dir, err)
	}
	return err
}

// openLock opens read-only for a shared lock, which must write nothing. Windows lets
// nobody delete a file that was opened by its path.
func (d *osDirectory) openLock(name string, shared bool) (*os.File, error) {
	flags := os.O_RDWR | os.O_CREATE
	if shared {
		flags = os.O_RDONLY
	}
	if err := d.mustBeRegular(name); err != nil && (shared || !errors.Is(err, fs.ErrNotExist)) {
		return nil, err
	}
	found, open := d.file(name), d.calls.openFile
	if runtime.GOOS == "windows" {
		found, open = name, byPath.openFile
	}
	file, err := open(found, flags|guardFlags, 0o600)
	return file, within(err, name)
}

// take locks a file for this process and then for the kernel.
func (l *osLock) take(file *os.File, name string, lock func(*os.File, bool) error, shared bool) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	entry, err := processLocks.take(name, info, shared)
	if err != nil {
		return err
	}
	l.entries, l.info = append(l.entries, entry), info
	return pathError("lock", name, lock(file, shared))
}

// release unlocks before it closes: a child between fork and exec has a copy of the
// descriptor, which would keep the lock beyond a mere close.
func (l *osLock) release(directory *os.File) (err error) {
	if l.noted {
		l.file.Truncate(0) // as in NoteHolder
	}
	if l.file != nil {
		err = errors.Join(unlockFile(l.file), l.file.Close())
	}
	if len(l.entries) > 0 {
		unlockDirectory(directory)
	}
	for _, giveUp := range l.entries {
		giveUp()
	}
	*l = osLock{}
	return err
}

// NoteHolder only serves messages: a full disk must not keep a database from being
// opened, so errors do not count. A file that begins otherwise is somebody else's.
func (d *osDirectory) NoteHolder() {
	file := d.held.file
	if file == nil {
		return
	}
	if old := readNote(file); old != "" && !strings.HasPrefix(old, notePrefix) {
		return
	}
	host, _ := os.Hostname()
	d.held.noted = true
	file.Truncate(0) // fails in a file that is open for reading, as writing does
	fmt.Fprintf(file, "%s%d, host %s, since %s\n", notePrefix, os.Getpid(), host, time.Now().UTC().Format(time.RFC3339))
}

const notePrefix = "pid "

// readHolder says what is known of another process that has the lock. A shared holder
// leaves no note and does not remove that of an exclusive one that was killed before.
func (d *osDirectory) readHolder(name string) string {
	const unknown = "another process"
	file, err := d.openLock(name, true)
	if err != nil {
		return unknown
	}
	defer file.Close()
	if note := readNote(file); note != "" {
		return fmt.Sprintf("%s; the last for writing: %q", unknown, strings.TrimSpace(note))
	}
	return unknown
}

// readNote returns the beginning of LOCK.
func readNote(file *os.File) string {
	var note [256]byte
	n, _ := file.ReadAt(note[:], 0)
	return string(note[:n])
}
