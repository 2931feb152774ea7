//go:build !linux

package vfs

import "os"

// Close ends the window. Only Linux has any.
func (w *Window) Close() error { return nil }

// syncData is fsync, on macOS F_FULLFSYNC, on Windows FlushFileBuffers.
func syncData(f *os.File) error { return f.Sync() }
