package vfs

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"syscall"
)

// OS is the file system of the operating system.
var OS FS = osFS{osFiles{calls: byPath}}

// osFiles are the operations on files by path and within an open directory alike.
// Package os repeats calls that a signal interrupted.
type osFiles struct {
	inside
	handle *os.File // of the directory; nil: names are paths
	calls  *osCalls
}

// osCalls are what package os offers for paths and within a directory alike.
type osCalls struct {
	lstat    func(name string) (fs.FileInfo, error)
	openFile func(name string, flags int, mode fs.FileMode) (*os.File, error)
	remove   func(name string) error
	rename   func(oldname, newname string) error
}

// byPath are the calls that follow a path from its beginning each time.
var byPath = &osCalls{os.Lstat, os.OpenFile, os.Remove, os.Rename}

func (o osFiles) Create(name string) (File, error) {
	return o.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (o osFiles) Open(name string) (File, error) {
	if err := o.mustBeRegular(name); err != nil {
		return nil, err
	}
	return o.open(name, os.O_RDONLY)
}

func (o osFiles) open(name string, flags int) (File, error) {
	f, err := o.calls.openFile(o.file(name), flags|guardFlags, 0o600)
	if err != nil {
		return nil, within(err, name)
	}
	return osFile{f, o}, nil
}

// mustBeRegular refuses what would lead elsewhere or make us wait, in a sentence.
func (o osFiles) mustBeRegular(name string) error {
	info, err := o.calls.lstat(o.file(name))
	switch {
	case err != nil:
		return within(err, name)
	case info.Mode()&fs.ModeSymlink != 0:
		return pathError("open", name, errors.New("is a symbolic link, and the files of a database are never links"))
	case !info.Mode().IsRegular():
		return pathError("open", name, errors.New("is not a regular file"))
	}
	return nil
}

func (o osFiles) Remove(name string) error {
	return within(o.calls.remove(o.file(name)), name)
}

func (o osFiles) Rename(oldname, newname string) error {
	return within(o.calls.rename(o.file(oldname), o.file(newname)), oldname, newname)
}

// within gives an error from inside of a directory the whole paths.
func within(err error, names ...string) error {
	switch e := err.(type) {
	case *fs.PathError:
		e.Path = names[0]
	case *os.LinkError:
		e.Old, e.New = names[0], names[1]
	}
	return err
}

// osFS implements FS by paths.
type osFS struct{ osFiles }

func (osFS) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o700) }

func (o osFS) List(dir string) ([]string, error) {
	d, err := o.OpenDirectory(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.List(dir)
}

func (osFS) Stat(name string) (Info, error) { return describe(os.Stat(name)) }

func describe(info fs.FileInfo, err error) (Info, error) {
	if err != nil {
		return Info{}, err
	}
	return Info{SizeBytes: info.Size(), IsDir: info.IsDir()}, nil
}

func (osFS) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(syncDirectory(f), f.Close())
}

// syncDirectory asks nothing of Windows, which has no such call and journals names on
// its own. A file system that says it cannot sync directories is believed: no
// other call would do more.
func syncDirectory(f *os.File) (err error) {
	if runtime.GOOS != "windows" {
		err = f.Sync()
	}
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return err
}

// osFile implements File.
type osFile struct {
	*os.File
	among osFiles // where it was opened
}

func (f osFile) Sync() error { return syncData(f.File) }

func (f osFile) Size() (int64, error) {
	info, err := describe(f.Stat())
	return info.SizeBytes, err
}

func (f osFile) Check() error {
	found, err := stands(f.File, f.among.handle, f.among.file(f.Name()))
	return errors.Join(within(err, f.Name()), DisplacedFile(f.Name(), found))
}

// look compares what is under a name with what was opened there.
func look(opened fs.FileInfo) func(fs.FileInfo, error) (Found, error) {
	return func(info fs.FileInfo, err error) (Found, error) {
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
			return FoundNothing, nil
		case err == nil && !os.SameFile(info, opened):
			return FoundOther, nil
		}
		return FoundSame, err
	}
}

// pathError says what failed. nil stays nil.
func pathError(operation, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: operation, Path: name, Err: err}
}
