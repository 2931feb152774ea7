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
	err := retryInterrupted(func() error { return syscall.Fdatasync(int(f.Fd())) })
	if errors.Is(err, syscall.EBADF) {
		err = fs.ErrClosed // as every other call says it
	}
	return pathError("fdatasync", f.Name(), err)
}
