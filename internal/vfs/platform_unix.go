//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package vfs

import (
	"errors"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var (
	diskFull  = []error{syscall.ENOSPC, syscall.EDQUOT}
	scarce    = []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN, syscall.EINTR}
	lockTaken = []error{syscall.EWOULDBLOCK}
	noLocks   = []error{syscall.EBADF, syscall.EINVAL, syscall.EISDIR, syscall.ENOLCK, syscall.ENOSYS, syscall.ENOTSUP, syscall.EOPNOTSUPP}
)

// guardFlags keep a link or a named pipe in the place of a file from leading elsewhere
// or making us wait. For plain files they change nothing.
const guardFlags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// lockFile takes flock(2) without waiting. Descriptors of package os are closed on
// exec, so children do not inherit it.
func lockFile(f *os.File, shared bool) error {
	if shared {
		return flock(f, syscall.LOCK_SH|syscall.LOCK_NB)
	}
	return flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
}

func unlockFile(f *os.File) error { return flock(f, syscall.LOCK_UN) }

// A directory is locked like a file. NFS cannot lock what is open for reading only.
var lockDirectory, unlockDirectory = lockFile, unlockFile

func flock(f *os.File, how int) error {
	return retryInterrupted(func() error { return syscall.Flock(int(f.Fd()), how) })
}

// retryInterrupted calls again for as long as a signal interrupts.
func retryInterrupted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// measure is for SizeOf. Package os takes five times as long to open a file and to close it.
func (d *osDirectory) measure(name string) (sizeBytes int64, ok bool) {
	var about unix.Stat_t
	fd, err := -1, error(nil)
	directory := int(d.handle.Fd())
	err = retryInterrupted(func() error {
		fd, err = unix.Openat(directory, d.file(name), unix.O_RDONLY|unix.O_CLOEXEC|guardFlags, 0)
		return err
	})
	if err != nil {
		return 0, false
	}
	err = unix.Fstat(fd, &about)
	_ = unix.Close(fd) // it was only looked at
	return about.Size, err == nil && about.Mode&unix.S_IFMT == unix.S_IFREG
}

// removalBytes is what a step of removeInSteps takes: a millisecond for a common file system.
const removalBytes = 1 << 20

// removeInSteps is for RemoveInSteps. A file that has another name, as in a checkpoint, stays
// whole. If it cannot be opened, it is removed all the same.
func (o osFiles) removeInSteps(name string, pause func(took time.Duration)) error {
	f, unopened := o.calls.openFile(o.file(name), os.O_RDWR|guardFlags, 0)
	if unopened == nil {
		defer f.Close() // which gives back the rest
	}
	if err := o.Remove(name); err != nil || unopened != nil {
		return err
	}
	var about unix.Stat_t
	err := retryInterrupted(func() error { return unix.Fstat(int(f.Fd()), &about) })
	if err != nil || about.Nlink > 0 || about.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	for left := about.Size - removalBytes; left > 0; left -= removalBytes {
		start := time.Now()
		if f.Truncate(left) != nil {
			break
		}
		if pause != nil {
			pause(time.Since(start))
		}
	}
	return nil
}

// DescriptorLimit returns how many descriptors this process may have, 0 where the system
// does not tell.
func DescriptorLimit() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return int(min(uint64(limit.Cur), 1<<30))
}

// MapOver makes the file, from its start, what lies in memory that mmap(2) has given: it can
// only be read from now on. Whoever reads it meanwhile finds the old or the new.
func (f osFile) MapOver(memory []byte) error {
	at := unsafe.Pointer(&memory[0])
	return retryInterrupted(func() error {
		_, err := unix.MmapPtr(int(f.Fd()), 0, at, uintptr(len(memory)), unix.PROT_READ, unix.MAP_SHARED|unix.MAP_FIXED)
		return pathError("mmap", f.Name(), err)
	})
}
