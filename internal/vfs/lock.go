package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
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

// heldLock is one entry of the table: a lock until it is closed.
type heldLock[F any] struct {
	table  *lockTable[F]
	file   F
	shared bool
}

// take enters a lock beside which all others on that file are shared as well.
func (t *lockTable[F]) take(name string, file F, shared bool) (io.Closer, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, other := range t.held {
		if t.same(other.file, file) && !(shared && other.shared) {
			return nil, lockedError(name, fmt.Sprintf("this process, pid %d", os.Getpid()))
		}
	}
	l := &heldLock[F]{table: t, file: file, shared: shared}
	t.held = append(t.held, l)
	return l, nil
}

// Close gives the lock up. A second Close fails with fs.ErrClosed.
func (l *heldLock[F]) Close() error {
	l.table.mu.Lock()
	defer l.table.mu.Unlock()
	i := slices.Index(l.table.held, l)
	if i < 0 {
		return fs.ErrClosed
	}
	l.table.held = slices.Delete(l.table.held, i, i+1)
	return nil
}

func lockedError(name, holder string) error {
	return fmt.Errorf("%w: %s is held by %s", base.ErrLocked, name, holder)
}

// processLocks stands before the kernel's locks, which need not tell two users
// within one process apart.
var processLocks = lockTable[fs.FileInfo]{same: os.SameFile}

// osLock is a lock of the kernel. The kernel drops the locks of a process that ends,
// so none is ever stale. The file stays: unlinking it would let two processes lock
// two files of one name.
type osLock struct {
	entry io.Closer // in processLocks
	file  *os.File
}

// Lock opens read-only for a shared lock, which must write nothing.
func (osFS) Lock(name string, shared bool) (io.Closer, error) {
	flags := os.O_RDWR | os.O_CREATE
	if shared {
		flags = os.O_RDONLY
	}
	file, err := os.OpenFile(name, flags|guardFlags, 0o600)
	if err != nil {
		return nil, err
	}
	entry, err := lockOpen(file, shared)
	if err != nil {
		file.Close() // nothing was written; err says more
		return nil, err
	}
	return osLock{entry, file}, nil
}

// lockOpen locks a file for this process and then for the kernel.
func lockOpen(file *os.File, shared bool) (io.Closer, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	entry, err := processLocks.take(file.Name(), info, shared)
	if err != nil {
		return nil, err
	}
	if err = lockFile(file, shared); err == nil {
		if !shared {
			noteHolder(file)
		}
		return entry, nil
	}
	entry.Close()
	if matchesAny(err, lockTaken) {
		return nil, lockedError(file.Name(), readHolder(file))
	}
	return nil, pathError("lock", file.Name(), err)
}

// Close unlocks first: a child between fork and exec has a copy of the descriptor,
// which would keep the lock beyond a mere close.
func (l osLock) Close() error {
	if err := l.entry.Close(); err != nil {
		return err
	}
	l.file.Truncate(0) // as in noteHolder; a shared lock's file is read-only and stays as it is
	return errors.Join(unlockFile(l.file), l.file.Close())
}

// noteHolder notes in the file who has it exclusively. It only serves messages: a
// full disk must not keep a database from being opened, so errors do not count.
func noteHolder(file *os.File) {
	host, _ := os.Hostname()
	file.Truncate(0)
	fmt.Fprintf(file, "pid %d, host %s, since %s\n", os.Getpid(), host, time.Now().UTC().Format(time.RFC3339))
}

// readHolder says what is known of another process that has the lock. A shared holder
// leaves no note and does not remove that of an exclusive one that was killed before.
func readHolder(file *os.File) string {
	var note [256]byte
	n, _ := file.ReadAt(note[:], 0)
	if n == 0 {
		return "another process"
	}
	return fmt.Sprintf("another process; the last for writing: %q", strings.TrimSpace(string(note[:n])))
}
