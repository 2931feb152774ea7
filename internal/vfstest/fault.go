package vfstest

import (
	"fmt"
	"io"
	"path/filepath"
	"sync/atomic"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
)

// Fault is a file system that fails on demand: it asks a function before every
// operation on another file system and returns its error instead of acting. It is
// as concurrent as that function, which is called from all goroutines that act and
// may block them.
type Fault struct {
	under     vfs.Files // a vfs.FS or, where directory is true, a vfs.Directory
	inject    func(Op) error
	open      *atomic.Int64 // see OpenFiles
	directory bool
}

// NewFault puts inject before under. inject returns nil to let an operation pass,
// ShortWrite to write a part, Lost to drop what a sync should have made durable, Late
// to act and yet fail, or any other error.
func NewFault(under vfs.FS, inject func(Op) error) *Fault {
	return &Fault{under: under, inject: inject, open: new(atomic.Int64)}
}

// Before returns the file system that f was put before; a database on it can be served.
func (f *Fault) Before() vfs.FS { return f.under.(vfs.FS) }

// Op is an operation that is about to happen.
type Op struct {
	Kind    OpKind
	Name    string // as it was passed; for a file, the name it was opened by
	NewName string // of OpRename and OpLink
	Offset  int64  // of OpRead and OpWrite; of OpTruncate the new size
	Length  int    // of OpRead and OpWrite, in bytes

	// InDirectory is true of what is asked of a vfs.Directory: it follows no path and
	// needs no descriptor but for a file.
	InDirectory bool
}

// OpKind says what an operation does.
type OpKind string

// The operations. OpStat is also a file's Size, and OpCheck a file's Check.
const (
	OpCreate   OpKind = "create"
	OpOpen     OpKind = "open"
	OpRead     OpKind = "read"
	OpWrite    OpKind = "write"
	OpSync     OpKind = "sync"
	OpTruncate OpKind = "truncate"
	OpClose    OpKind = "close"
	OpRemove   OpKind = "remove"
	OpRename   OpKind = "rename"
	OpList     OpKind = "list"
	OpStat     OpKind = "stat"
	OpSyncDir  OpKind = "syncdir"
	OpOpenDir  OpKind = "opendir"
	OpLock     OpKind = "lock"
	OpCheck    OpKind = "check"
	OpMkdir    OpKind = "mkdir"
	OpLink     OpKind = "link"
)

// String returns the name of the operation.
func (k OpKind) String() string { return string(k) }

// ShortWrite makes an OpWrite write its first Bytes bytes and then fail with Err.
type ShortWrite struct {
	Bytes int
	Err   error
}

func (s *ShortWrite) Error() string { return fmt.Sprintf("after %d bytes: %v", s.Bytes, s.Err) }

// Late makes an operation happen and then fail with Err, as a sync may that
// fails although the data has arrived.
type Late struct{ Err error }

func (l *Late) Error() string { return fmt.Sprintf("too late: %v", l.Err) }

// do asks inject and acts unless the answer forbids it.
func (f *Fault) do(op Op, act func() error) error {
	op.InDirectory = f.directory
	injected := f.inject(op)
	late, isLate := injected.(*Late)
	switch {
	case injected == nil:
		return act()
	case isLate:
		act() // its own error would only stand beside the injected one
		return late.Err
	case op.Kind == OpClose:
		act() // a close that fails has closed nevertheless, as close(2) has
	}
	return injected
}

// fetch is do for an operation that returns something, which an injected error keeps
// from the caller: it is closed, for nobody else would.
func fetch[T any](f *Fault, op Op, act func() (T, error)) (T, error) {
	var result, none T
	var own error
	err := f.do(op, func() error { result, own = act(); return own })
	if err == own {
		return result, err
	}
	if opened, ok := any(result).(io.Closer); ok {
		opened.Close() // as nothing was done with it
	}
	return none, err
}

// Create implements vfs.FS.
func (f *Fault) Create(name string) (vfs.File, error) { return f.file(OpCreate, name, f.under.Create) }

// Open implements vfs.FS.
func (f *Fault) Open(name string) (vfs.File, error) { return f.file(OpOpen, name, f.under.Open) }

func (f *Fault) file(kind OpKind, name string, open func(string) (vfs.File, error)) (vfs.File, error) {
	file, err := fetch(f, Op{Kind: kind, Name: name}, func() (vfs.File, error) { return open(name) })
	if err != nil {
		return nil, err
	}
	f.open.Add(1)
	wrapped := &faultFile{fault: f, name: name, under: file}
	if log, ok := file.(vfs.LogFile); ok {
		return &faultLogFile{wrapped, log}, nil
	}
	return wrapped, nil
}

// Remove implements vfs.FS.
func (f *Fault) Remove(name string) error {
	return f.do(Op{Kind: OpRemove, Name: name}, func() error { return f.under.Remove(name) })
}

// Rename implements vfs.FS.
func (f *Fault) Rename(oldname, newname string) error {
	op := Op{Kind: OpRename, Name: oldname, NewName: newname}
	return f.do(op, func() error { return f.under.Rename(oldname, newname) })
}

// MkdirAll implements vfs.FS.
func (f *Fault) MkdirAll(dir string) error {
	return f.do(Op{Kind: OpMkdir, Name: dir}, func() error { return f.under.(vfs.FS).MkdirAll(dir) })
}

// List implements vfs.FS.
func (f *Fault) List(dir string) ([]string, error) {
	return fetch(f, Op{Kind: OpList, Name: dir}, func() ([]string, error) { return f.under.List(dir) })
}

// Stat implements vfs.FS.
func (f *Fault) Stat(name string) (vfs.Info, error) {
	return fetch(f, Op{Kind: OpStat, Name: name}, func() (vfs.Info, error) { return f.under.Stat(name) })
}

// SyncDir implements vfs.FS.
func (f *Fault) SyncDir(dir string) error {
	return f.do(Op{Kind: OpSyncDir, Name: dir}, func() error { return f.under.SyncDir(dir) })
}

// OpenDirectory implements vfs.FS. The directory asks the same function.
func (f *Fault) OpenDirectory(dir string) (vfs.Directory, error) {
	under, err := fetch(f, Op{Kind: OpOpenDir, Name: dir}, func() (vfs.Directory, error) { return f.under.(vfs.FS).OpenDirectory(dir) })
	if err != nil {
		return nil, err
	}
	return &faultDirectory{Fault: Fault{under: under, inject: f.inject, open: f.open, directory: true}, under: under, dir: dir}, nil
}

// faultDirectory asks before every operation on a directory. Its lock passes through
// once it is taken.
type faultDirectory struct {
	Fault
	under vfs.Directory
	dir   string
}

func (f *faultDirectory) Lock(shared bool) error {
	return f.do(Op{Kind: OpLock, Name: filepath.Join(f.dir, base.LockName)}, func() error { return f.under.Lock(shared) })
}

func (f *faultDirectory) Link(name, newname string) error {
	op := Op{Kind: OpLink, Name: name, NewName: newname}
	return f.do(op, func() error { return f.under.Link(name, newname) })
}

func (f *faultDirectory) SyncFile(name string) error {
	return f.do(Op{Kind: OpSync, Name: name}, func() error { return f.under.SyncFile(name) })
}

func (f *faultDirectory) Check() error {
	return f.do(Op{Kind: OpCheck, Name: f.dir}, f.under.Check)
}

func (f *faultDirectory) NoteHolder()  { f.under.NoteHolder() }
func (f *faultDirectory) Close() error { return f.under.Close() }

// faultFile asks before every operation on a file.
type faultFile struct {
	fault *Fault
	name  string
	under vfs.File
}

func (f *faultFile) ReadAt(p []byte, offset int64) (int, error) {
	op := Op{Kind: OpRead, Name: f.name, Offset: offset, Length: len(p)}
	return fetch(f.fault, op, func() (int, error) { return f.under.ReadAt(p, offset) })
}

func (f *faultFile) WriteAt(p []byte, offset int64) (int, error) {
	op := Op{Kind: OpWrite, Name: f.name, Offset: offset, Length: len(p)}
	n, err := fetch(f.fault, op, func() (int, error) { return f.under.WriteAt(p, offset) })
	if short, ok := err.(*ShortWrite); ok {
		n, _ = f.under.WriteAt(p[:min(short.Bytes, len(p))], offset)
		err = short.Err
	}
	return n, err
}

func (f *faultFile) Sync() error {
	err := f.fault.do(Op{Kind: OpSync, Name: f.name}, f.under.Sync)
	if lost, ok := err.(*Lost); ok {
		f.under.(*diskFile).lose(lost.Visible)
		return lost.Err
	}
	return err
}

func (f *faultFile) Check() error {
	return f.fault.do(Op{Kind: OpCheck, Name: f.name}, f.under.Check)
}

func (f *faultFile) Truncate(size int64) error {
	op := Op{Kind: OpTruncate, Name: f.name, Offset: size}
	return f.fault.do(op, func() error { return f.under.Truncate(size) })
}

func (f *faultFile) Size() (int64, error) {
	return fetch(f.fault, Op{Kind: OpStat, Name: f.name}, f.under.Size)
}

func (f *faultFile) Close() error {
	return f.fault.do(Op{Kind: OpClose, Name: f.name}, func() error {
		err := f.under.Close()
		if err == nil {
			f.fault.open.Add(-1)
		}
		return err
	})
}
