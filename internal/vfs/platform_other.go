//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd || windows)

package vfs

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

const guardFlags = 0

var (
	diskFull, scarce, lockTaken []error // nothing is written where no lock can be had
	noLocks                     = []error{errors.ErrUnsupported}
)

// lockFile refuses: a database without a lock would be damaged by a second process.
func lockFile(*os.File, bool) error {
	return fmt.Errorf("file locks on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func unlockFile(*os.File) error { return nil }

var lockDirectory, unlockDirectory = lockFile, unlockFile

// DescriptorLimit returns 0: this system does not tell.
func DescriptorLimit() int { return 0 }
