package vfs

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

var _ LogFile = osFile{}

// Allocate is fallocate(2). The error matches errors.ErrUnsupported where the file
// system cannot do it.
func (f osFile) Allocate(offset, length int64) error {
	return f.call("fallocate", func(fd int) error { return syscall.Fallocate(fd, 0, offset, length) })
}

// These are variables for tests.
var fstatfs, syncFileRange = unix.Fstatfs, unix.SyncFileRange

// Map is mmap(2). The error matches errors.ErrUnsupported on file systems that may send writes
// past mapped memory: a page of that, when it goes to the disk, undoes what was written.
func (f osFile) Map(offset, length int64) (w *Window, err error) {
	err = f.call("mmap", func(fd int) error {
		var system unix.Statfs_t
		if err := fstatfs(fd, &system); err != nil {
			return err
		}
		switch uint32(system.Type) {
		case unix.V9FS_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC:
			return errors.ErrUnsupported
		}
		memory, err := syscall.Mmap(fd, offset, int(length), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
		w = &Window{offset: offset, memory: memory}
		return err
	})
	return w, err
}

// StartWriteback is sync_file_range(2), which neither waits for the disk nor takes
// errors away from the sync that must report them.
func (f osFile) StartWriteback(offset, length int64) {
	_ = f.syncRange(offset, length, unix.SYNC_FILE_RANGE_WRITE)
}

// AwaitWriteback is sync_file_range(2) as well. The errors of the disk are those that
// fdatasync would have returned, and will not return any more. With any other the system
// says that it does not do that here, and has waited for nothing.
func (f osFile) AwaitWriteback(offset, length int64) error {
	err := f.syncRange(offset, length, unix.SYNC_FILE_RANGE_WAIT_BEFORE)
	if errors.Is(err, unix.EIO) || errors.Is(err, unix.ENOSPC) {
		return err
	}
	return nil
}

func (f osFile) syncRange(offset, length int64, flags int) error {
	return f.call("sync_file_range", func(fd int) error { return syncFileRange(fd, offset, length, flags) })
}

// Close ends the window, which then covers nothing. It is idempotent.
func (w *Window) Close() error {
	if w == nil || w.memory == nil {
		return nil
	}
	memory := w.memory
	w.memory = nil
	return syscall.Munmap(memory)
}

// syncData is fdatasync: contents and size, but no time stamps, which spares a
// write into preallocated space the journal of the file system.
func syncData(f *os.File) error {
	return osFile{File: f}.call("fdatasync", syscall.Fdatasync)
}

// call makes a system call on the descriptor, again if a signal interrupts it.
func (f osFile) call(name string, call func(fd int) error) error {
	err := retryInterrupted(func() error { return call(int(f.Fd())) })
	if errors.Is(err, syscall.EBADF) {
		err = fs.ErrClosed // as every other call says it
	}
	return pathError(name, f.Name(), err)
}

// stands tells what a name in a directory leads to, compared with an open file. It asks
// for no times: a file that was asked for its times pays with new ones, and a slower
// fdatasync, at its next write (multigrain timestamps, since Linux 6.13).
func stands(f *os.File, directory *os.File, name string) (Found, error) {
	at := unix.AT_FDCWD
	if directory != nil {
		at = int(directory.Fd())
	}
	var own, found unix.Statx_t
	err := osFile{File: f}.call("statx", func(fd int) error { return unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_INO, &own) })
	if err != nil {
		return FoundSame, err
	}
	err = retryInterrupted(func() error { return unix.Statx(at, name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO, &found) })
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		return FoundNothing, nil
	case err == nil && (own.Ino != found.Ino || own.Dev_major != found.Dev_major || own.Dev_minor != found.Dev_minor):
		return FoundOther, nil
	}
	return FoundSame, pathError("statx", name, err)
}
