package vfs

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"syscall"
)

// OS is the file system of the operating system.
var OS FS = osFS{}

// osFS implements FS by package os, which repeats calls that a signal interrupted.
type osFS struct{}

func (osFS) Create(name string) (File, error) { return openFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL) }

func (osFS) Open(name string) (File, error) { return openFile(name, os.O_RDONLY) }

func openFile(name string, flags int) (File, error) {
	f, err := os.OpenFile(name, flags|guardFlags, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Remove(name string) error { return os.Remove(name) }

func (osFS) Rename(oldname, newname string) error { return os.Rename(oldname, newname) }

func (osFS) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o700) }

func (osFS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names, nil
}

func (osFS) Stat(name string) (Info, error) {
	info, err := os.Stat(name)
	if err != nil {
		return Info{}, err
	}
	return Info{SizeBytes: info.Size(), IsDir: info.IsDir()}, nil
}

// SyncDir asks nothing of Windows, which has no such call and journals names on
// its own. A file system that says it cannot sync directories is believed: no
// other call would do more.
func (osFS) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	if runtime.GOOS != "windows" {
		err = f.Sync()
	}
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// osFile implements File.
type osFile struct{ *os.File }

func (f osFile) Sync() error { return syncData(f.File) }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// pathError says what failed. nil stays nil.
func pathError(operation, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: operation, Path: name, Err: err}
}
