package vfs

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

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
