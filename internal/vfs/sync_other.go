//go:build !linux

package vfs

import "os"

// syncData is fsync, on macOS F_FULLFSYNC, on Windows FlushFileBuffers.
func syncData(f *os.File) error { return f.Sync() }
