package vfs

import (
	"errors"

	"golang.org/x/sys/windows"
)

// isDiskFull reports whether the disk or the quota is exhausted.
func isDiskFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) ||
		errors.Is(err, windows.ERROR_DISK_QUOTA_EXCEEDED)
}
