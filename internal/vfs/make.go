package vfs

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
)

// MakeDirectory makes a directory and its missing parents, each durable in the
// directory above it: what is synced in a directory that a power failure takes away
// would be lost all the same.
func MakeDirectory(fsys FS, dir string) error {
	var above []string // directories that get a new entry
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		if _, err := fsys.Stat(d); err == nil || filepath.Dir(d) == d {
			break
		}
		above = append(above, filepath.Dir(d))
	}
	if len(above) == 0 {
		return nil // it is there
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return err
	}
	for _, d := range above {
		err := fsys.SyncDir(d)
		if errors.Is(err, fs.ErrPermission) {
			// Who may not read the directory above cannot sync it. File systems with a journal
			// have the entry of a new directory on disk when the directory itself is synced.
			err = fsys.SyncDir(dir)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// SyncAbove makes the way to a directory durable. What MakeDirectory made it has synced,
// but an earlier call may have been interrupted between the two, or somebody else made
// the directory, and nobody can tell. So this is done on suspicion, and an error, of
// directories where it cannot be done (other people's), is no reason to stop.
func SyncAbove(fsys FS, dir string) (failed error) {
	for d := filepath.Clean(dir); filepath.Dir(d) != d; d = filepath.Dir(d) {
		failed = errors.Join(failed, fsys.SyncDir(filepath.Dir(d)))
	}
	return failed
}

// WriteFile makes a file of what fill writes, durable but for its entry in the directory.
func WriteFile(fsys Files, name string, fill func(io.Writer) error) error {
	file, err := fsys.Create(name)
	if err != nil {
		return err
	}
	if err = fill(io.NewOffsetWriter(file, 0)); err == nil {
		err = file.Sync()
	}
	return cmp.Or(err, file.Close()) // the first failure says whether trying again helps
}
