package vfs

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

var _ LogFile = osFile{}

// Allocate is fallocate(2). The error matches errors.ErrUnsupported where the file
// system cannot do it.
func (f osFile) Allocate(offset, length int64) error {
	return f.call("fallocate", func(fd int) error { return syscall.Fallocate(fd, 0, offset, length) })
}

// Map is mmap(2).
func (f osFile) Map(offset, length int64) (w *Window, err error) {
	err = f.call("mmap", func(fd int) error {
		memory, err := syscall.Mmap(fd, offset, int(length), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
		w = &Window{offset: offset, memory: memory}
		return err
	})
	return w, err
}

// StartWriteback is sync_file_range(2), which neither waits for the disk nor takes
// errors away from the sync that must report them.
func (f osFile) StartWriteback(offset, length int64) {
	_ = f.call("sync_file_range", func(fd int) error {
		return syscall.SyncFileRange(fd, offset, length, 2) // SYNC_FILE_RANGE_WRITE
	})
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
