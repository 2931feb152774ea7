package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"lsmdb/internal/base"
)

// OS is the file system of the operating system.
var OS FS = osFS{}

// Nobody but the owner reads a database.
const (
	fileMode fs.FileMode = 0o600
	dirMode  fs.FileMode = 0o700
)

// osFS implements FS by package os, which repeats calls that a signal interrupted.
type osFS struct{}

func (osFS) Create(name string) (File, error) {
	f, err := createFile(name)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// createFile makes a new file of mode 0600. A umask can only take bits away; where
// it took some of the owner's, they come back, or the next open would fail.
func createFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return nil, mapDiskFull(err)
	}
	info, err := f.Stat()
	if err == nil {
		err = restoreMode(info, fileMode, f.Chmod)
	}
	if err != nil {
		return nil, errors.Join(mapDiskFull(err), f.Close(), os.Remove(name))
	}
	return f, nil
}

// restoreMode sets the permissions of what info describes and this process has
// just made. Some file systems have no permissions to set: they refuse, which
// matters only if the owner is locked out.
func restoreMode(info fs.FileInfo, want fs.FileMode, chmod func(fs.FileMode) error) error {
	have := info.Mode()
	if runtime.GOOS == "windows" || have.Perm() == want {
		return nil
	}
	err := chmod(have&^fs.ModePerm | want)
	if err != nil && have&want != want {
		return err
	}
	return nil
}

func (osFS) Open(name string) (File, error) {
	f, err := openExisting(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// openExisting opens a file but nothing else that may bear its name: opening a
// named pipe would wait for ever.
func openExisting(name string, flag int) (*os.File, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	const others = fs.ModeDir | fs.ModeNamedPipe | fs.ModeSocket | fs.ModeDevice | fs.ModeCharDevice
	if info.Mode()&others != 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errNotFile}
	}
	return os.OpenFile(name, flag, 0)
}

var errNotFile = errors.New("not a file")

func (osFS) Remove(name string) error {
	// os.Remove would take an empty directory as well.
	if info, err := os.Lstat(name); err == nil && info.IsDir() {
		return &fs.PathError{Op: "remove", Path: name, Err: errNotFile}
	}
	return mapDiskFull(os.Remove(name))
}

func (osFS) Rename(oldname, newname string) error {
	return mapDiskFull(os.Rename(oldname, newname))
}

// MkdirAll differs from os.MkdirAll in that a strict umask does not break it.
// Directories that exist keep their mode.
func (o osFS) MkdirAll(dir string) error {
	dir = filepath.Clean(dir)
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
	}
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if parent := filepath.Dir(dir); parent != dir {
		if err := o.MkdirAll(parent); err != nil {
			return err
		}
	}
	return mkdir(dir)
}

func mkdir(dir string) error {
	made := os.Mkdir(dir, dirMode)
	if made != nil && !errors.Is(made, fs.ErrExist) {
		return mapDiskFull(made)
	}
	info, err := os.Stat(dir)
	if made != nil {
		if err == nil && info.IsDir() {
			return nil // another process was faster
		}
		return made
	}
	if err != nil {
		return err
	}
	return restoreMode(info, dirMode, func(mode fs.FileMode) error { return os.Chmod(dir, mode) })
}

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
	info, err := f.Stat()
	switch {
	case err == nil && !info.IsDir():
		err = &fs.PathError{Op: "syncdir", Path: dir, Err: syscall.ENOTDIR}
	case err == nil && runtime.GOOS != "windows":
		err = f.Sync()
	}
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return mapDiskFull(errors.Join(err, f.Close()))
}

func (osFS) Lock(name string, shared bool) (io.Closer, error) {
	return processLocks.lock(name, shared)
}

// osFile implements File.
type osFile struct{ file *os.File }

func (f osFile) ReadAt(p []byte, offset int64) (int, error) { return f.file.ReadAt(p, offset) }

func (f osFile) WriteAt(p []byte, offset int64) (int, error) {
	n, err := f.file.WriteAt(p, offset)
	return n, mapDiskFull(err)
}

func (f osFile) Sync() error               { return mapDiskFull(syncData(f.file)) }
func (f osFile) Truncate(size int64) error { return mapDiskFull(f.file.Truncate(size)) }
func (f osFile) Close() error              { return mapDiskFull(f.file.Close()) }

func (f osFile) Size() (int64, error) {
	info, err := f.file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// mapDiskFull makes the system's ways of saying "no room" match base.ErrDiskFull.
func mapDiskFull(err error) error {
	if err == nil || !isDiskFull(err) {
		return err
	}
	return fmt.Errorf("%w: %w", base.ErrDiskFull, err)
}
