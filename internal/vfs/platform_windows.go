package vfs

import (
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

var (
	scarce    = []error{windows.ERROR_TOO_MANY_OPEN_FILES, windows.ERROR_NOT_ENOUGH_MEMORY, windows.ERROR_NO_SYSTEM_RESOURCES}
	diskFull  = []error{syscall.ENOSPC, windows.ERROR_DISK_FULL, windows.ERROR_HANDLE_DISK_FULL, windows.ERROR_DISK_QUOTA_EXCEEDED}
	noLocks   = []error{windows.ERROR_INVALID_FUNCTION, windows.ERROR_NOT_SUPPORTED}
	lockTaken = []error{windows.ERROR_LOCK_VIOLATION, windows.ERROR_IO_PENDING}
)

const guardFlags = 0 // links need a privilege here, and pipes are not in directories

// lockedRange is the byte that is locked, far behind the contents: Windows denies
// other processes the bytes themselves, and they want to read who holds the lock.
func lockedRange() *windows.Overlapped { return &windows.Overlapped{OffsetHigh: 1 << 30} }

// lockFile takes LockFileEx without waiting.
func lockFile(f *os.File, shared bool) error {
	flags := uint32(windows.LOCKFILE_FAIL_IMMEDIATELY)
	if !shared {
		flags |= windows.LOCKFILE_EXCLUSIVE_LOCK
	}
	return windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, lockedRange())
}

func unlockFile(f *os.File) error {
	return windows.UnlockFileEx(windows.Handle(f.Fd()), 0, 1, 0, lockedRange())
}

// No directory can be locked here. None needs it: nobody can delete LOCK while it is
// open.
var (
	lockDirectory   = func(*os.File, bool) error { return nil }
	unlockDirectory = func(*os.File) error { return nil }
)

// DescriptorLimit returns 0: this system does not tell.
func DescriptorLimit() int { return 0 }
