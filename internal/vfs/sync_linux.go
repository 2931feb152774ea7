package vfs

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// syncData is fdatasync: contents and size, but no time stamps, which spares a
// write into preallocated space the journal of the file system.
func syncData(f *os.File) error {
	connection, err := f.SyscallConn()
	if err != nil {
		return err
	}
	closed := connection.Control(func(fd uintptr) {
		err = retryInterrupted(func() error { return unix.Fdatasync(int(fd)) })
	})
	if closed != nil { // Control itself fails for no other reason
		err = fs.ErrClosed
	}
	if err != nil {
		return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}
