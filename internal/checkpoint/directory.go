package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
)

// Directory is a new database being made. It is locked, so that nobody opens it. Without
// CURRENT what is in it is no database, whatever interrupts.
type Directory struct {
	vfs.Directory
	fs   vfs.FS
	dir  string
	Made []string // names of files, in this order
}

// NewDirectory locks dir, which must be absent, and is made then with its parents, or
// empty.
func NewDirectory(fsys vfs.FS, dir string) (*Directory, error) {
	if err := vfs.MakeDirectory(fsys, dir); err != nil {
		return nil, err
	}
	_ = vfs.SyncAbove(fsys, dir)
	opened, err := fsys.OpenDirectory(dir)
	if err != nil {
		return nil, err
	}
	d := &Directory{Directory: opened, fs: fsys, dir: dir}
	if err = d.mustHold(); err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	if err = opened.Lock(false); err == nil {
		err = d.mustHold(base.LockName) // nobody came in between
	}
	switch {
	case err == nil:
		return d, nil
	case errors.Is(err, base.ErrLocked) || errors.Is(err, fs.ErrExist): // LOCK is somebody else's, too
		return nil, errors.Join(err, opened.Close())
	}
	return nil, d.End(err)
}

// mustHold refuses a directory that holds anything but some files.
func (d *Directory) mustHold(names ...string) error {
	found, err := d.List(d.dir)
	if err == nil && !slices.Equal(found, names) {
		err = fmt.Errorf("%s is not empty: %q: %w", d.dir, found, fs.ErrExist)
	}
	return err
}

// write makes a file, durable but for its entry.
func (d *Directory) write(name string, fill func(io.Writer) error) error {
	d.Made = append(d.Made, name)
	return vfs.WriteFile(d, filepath.Join(d.dir, name), fill)
}

// Commit makes the directory a database, when all that current leads to is durable there.
func (d *Directory) Commit(current manifest.Current) error {
	if err := errors.Join(d.SyncDir(d.dir), d.Check()); err != nil {
		return err
	}
	d.Made = append(d.Made, base.CurrentName)
	return manifest.WriteCurrent(d, d.dir, current)
}

// End gives the directory up: to users or, after an error, empty. LOCK goes in any case,
// as who opens the database makes it anew. What cannot be removed must not hide err, and
// what is durable stays so whatever Close says.
func (d *Directory) End(err error) error {
	if err != nil {
		for _, name := range slices.Backward(d.Made) { // CURRENT first
			_ = vfs.RemoveInSteps(d.Directory, filepath.Join(d.dir, name), nil)
		}
	}
	lock := filepath.Join(d.dir, base.LockName)
	kept := d.Remove(lock)
	if err != nil {
		_ = d.SyncDir(d.dir)
	}
	_ = d.Close()
	if kept != nil && !errors.Is(kept, fs.ErrNotExist) { // Windows removes no open file
		_ = d.fs.Remove(lock)
	}
	return err
}
