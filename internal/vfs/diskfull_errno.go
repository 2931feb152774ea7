//go:build unix || js || wasip1

package vfs

import (
	"errors"
	"syscall"
)

// isDiskFull reports whether the disk or the quota is exhausted.
func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
