//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd || windows)

package vfs

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

// lockFile refuses: a database without a lock would be damaged by a second process.
func lockFile(*os.File, bool) (taken bool, err error) {
	return false, fmt.Errorf("file locks on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func unlockFile(*os.File) error { return nil }
