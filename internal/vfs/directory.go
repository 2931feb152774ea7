package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"lsmdb/internal/base"
)

// inside holds names to one directory. The zero value lets all pass.
type inside struct{ dir string }

// file returns what a name is called within the directory, which is "." itself.
func (i inside) file(name string) string {
	dir := filepath.Clean(i.dir)
	switch {
	case i.dir == "":
		return name
	case filepath.Clean(name) == dir:
		return "."
	case filepath.Dir(name) == dir:
		return filepath.Base(name)
	}
	panic("invariant: " + name + " is no file of " + i.dir)
}

// osDirectory implements Directory by calls relative to an open directory.
type osDirectory struct {
	osFiles
	root    *os.Root    // the directory of handle, which can neither be synced nor locked by it
	self    fs.FileInfo // its identity
	path    string      // absolute, so that Check does not depend on the working directory
	lock    string      // the path of LOCK in it
	held    osLock      // what Lock took
	listing sync.Mutex  // one reader at a time: a directory is read from a position
}

func (osFS) OpenDirectory(dir string) (Directory, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	handle, err := root.Open(".")
	if err != nil {
		return nil, errors.Join(within(err, dir), root.Close())
	}
	calls := &osCalls{root.Lstat, root.OpenFile, root.Remove, root.Rename}
	d := &osDirectory{osFiles: osFiles{inside{dir}, handle, calls}, root: root, path: path, lock: filepath.Join(path, base.LockName)}
	if d.self, err = handle.Stat(); err != nil {
		return nil, errors.Join(within(err, dir), d.Close())
	}
	return d, nil
}

// Link follows the path, as every system can, and then looks whether it came to the
// file that is meant.
func (d *osDirectory) Link(name, newname string) error {
	if err := os.Link(filepath.Join(d.path, d.file(name)), newname); err != nil {
		return err
	}
	info, err := d.root.Lstat(d.file(name))
	found := FoundOther
	if err == nil {
		found, err = look(info)(os.Lstat(newname))
	}
	if err = errors.Join(err, DisplacedFile(name, found)); err != nil {
		err = errors.Join(err, os.Remove(newname))
	}
	return err
}

// SyncFile opens the file for writing, without which some systems sync none.
func (d *osDirectory) SyncFile(name string) error {
	if err := d.mustBeRegular(name); err != nil {
		return err
	}
	f, err := d.open(name, os.O_RDWR)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d *osDirectory) SyncDir(dir string) error {
	d.file(dir)
	return syncDirectory(d.handle)
}

func (d *osDirectory) List(dir string) ([]string, error) {
	d.file(dir)
	d.listing.Lock()
	defer d.listing.Unlock()
	if _, err := d.handle.Seek(0, io.SeekStart); err != nil {
		return nil, within(err, dir)
	}
	names, err := d.handle.Readdirnames(-1)
	slices.Sort(names)
	return names, within(err, dir)
}

func (d *osDirectory) Stat(name string) (Info, error) {
	info, err := describe(d.root.Lstat(d.file(name)))
	return info, within(err, name)
}

// Check follows the path to LOCK. Only if that is not the file that is held, it looks why.
func (d *osDirectory) Check() error {
	if d.held.file != nil {
		if found, err := stands(d.held.file, nil, d.lock); err == nil && found == FoundSame {
			return nil
		}
	}
	self, err := look(d.self)(os.Stat(d.path))
	if err != nil {
		return err
	}
	lock := FoundSame
	if d.held.file != nil {
		lock, err = look(d.held.info)(d.root.Lstat(base.LockName))
	}
	return errors.Join(within(err, d.path), DisplacedDirectory(d.dir, self, lock))
}

func (d *osDirectory) Close() error {
	return errors.Join(d.held.release(d.handle), d.handle.Close(), d.root.Close())
}
