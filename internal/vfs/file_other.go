//go:build !linux

package vfs

import (
	"os"
	"path/filepath"
)

// Close ends the window. Only Linux has any.
func (w *Window) Close() error { return nil }

// syncData is fsync, on macOS F_FULLFSYNC, on Windows FlushFileBuffers.
func syncData(f *os.File) error { return f.Sync() }

// stands tells what a name in a directory leads to, compared with an open file.
func stands(f *os.File, directory *os.File, name string) (Found, error) {
	opened, err := f.Stat()
	if err != nil {
		return FoundSame, err
	}
	if directory != nil {
		name = filepath.Join(directory.Name(), name)
	}
	return look(opened)(os.Lstat(name))
}
