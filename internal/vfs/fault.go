package vfs

import (
	"errors"
	"fmt"
	"io"
)

// Fault is a file system that fails on demand: it asks a function before every
// operation on another file system and returns its error instead of acting. It is
// as concurrent as that function, which is called from all goroutines that act and
// may block them.
type Fault struct {
	under  FS
	inject func(Op) error
}

// NewFault puts inject before under. inject returns nil to let an operation pass,
// ShortWrite to write a part, Late to act and yet fail, or any other error.
func NewFault(under FS, inject func(Op) error) *Fault { return &Fault{under, inject} }

// Op is an operation that is about to happen.
type Op struct {
	Kind    OpKind
	Name    string // as it was passed; for a file, the name it was opened by
	NewName string // of OpRename
	Offset  int64  // of OpRead and OpWrite; of OpTruncate the new size
	Length  int    // of OpRead and OpWrite, in bytes
}

// OpKind says what an operation does.
type OpKind int

// The operations. OpStat is also a file's Size, OpClose also giving a lock up.
const (
	OpCreate OpKind = iota
	OpOpen
	OpRead
	OpWrite
	OpSync
	OpTruncate
	OpClose
	OpRemove
	OpRename
	OpList
	OpStat
	OpSyncDir
	OpLock
	OpMkdir
)

var opNames = [...]string{"create", "open", "read", "write", "sync", "truncate", "close",
	"remove", "rename", "list", "stat", "syncdir", "lock", "mkdir"}

// String returns the name of the operation.
func (k OpKind) String() string {
	if k < 0 || int(k) >= len(opNames) {
		return fmt.Sprintf("operation %d", int(k))
	}
	return opNames[k]
}

// ShortWrite makes an OpWrite write its first Bytes bytes and then fail with Err.
type ShortWrite struct {
	Bytes int
	Err   error
}

func (s *ShortWrite) Error() string { return fmt.Sprintf("after %d bytes: %v", s.Bytes, s.Err) }

// Unwrap returns Err.
func (s *ShortWrite) Unwrap() error { return s.Err }

// Late makes an operation happen and then fail with Err, as a sync may that
// fails although the data has arrived.
type Late struct{ Err error }

func (l *Late) Error() string { return fmt.Sprintf("too late: %v", l.Err) }

// Unwrap returns Err.
func (l *Late) Unwrap() error { return l.Err }

// before asks inject. With act false the operation is not to be done; err, where it
// is not nil, is the answer in both cases.
func (f *Fault) before(op Op) (act bool, err error) {
	err = f.inject(op)
	if late, ok := errors.AsType[*Late](err); ok {
		return true, late.Err
	}
	// A close that fails has closed nevertheless, as close(2) has.
	return err == nil || op.Kind == OpClose, err
}

// do runs an operation that returns nothing but an error.
func (f *Fault) do(op Op, action func() error) error {
	_, err := fetch(f, op, func() (struct{}, error) { return struct{}{}, action() })
	return err
}

// fetch runs an operation that returns something. The result of one that fails
// late is closed if it can be: nobody would.
func fetch[T any](f *Fault, op Op, action func() (T, error)) (T, error) {
	var none T
	act, injected := f.before(op)
	if !act {
		return none, injected
	}
	result, err := action()
	if injected == nil {
		return result, err
	}
	if closer, ok := any(result).(io.Closer); ok && err == nil {
		return none, errors.Join(injected, closer.Close())
	}
	return none, injected
}

// Create implements FS.
func (f *Fault) Create(name string) (File, error) {
	return fetch(f, Op{Kind: OpCreate, Name: name}, func() (File, error) { return f.file(name, f.under.Create) })
}

// Open implements FS.
func (f *Fault) Open(name string) (File, error) {
	return fetch(f, Op{Kind: OpOpen, Name: name}, func() (File, error) { return f.file(name, f.under.Open) })
}

func (f *Fault) file(name string, open func(string) (File, error)) (File, error) {
	file, err := open(name)
	if err != nil {
		return nil, err
	}
	return &faultFile{fault: f, name: name, under: file}, nil
}

// Remove implements FS.
func (f *Fault) Remove(name string) error {
	return f.do(Op{Kind: OpRemove, Name: name}, func() error { return f.under.Remove(name) })
}

// Rename implements FS.
func (f *Fault) Rename(oldname, newname string) error {
	op := Op{Kind: OpRename, Name: oldname, NewName: newname}
	return f.do(op, func() error { return f.under.Rename(oldname, newname) })
}

// MkdirAll implements FS.
func (f *Fault) MkdirAll(dir string) error {
	return f.do(Op{Kind: OpMkdir, Name: dir}, func() error { return f.under.MkdirAll(dir) })
}

// List implements FS.
func (f *Fault) List(dir string) ([]string, error) {
	return fetch(f, Op{Kind: OpList, Name: dir}, func() ([]string, error) { return f.under.List(dir) })
}

// Stat implements FS.
func (f *Fault) Stat(name string) (Info, error) {
	return fetch(f, Op{Kind: OpStat, Name: name}, func() (Info, error) { return f.under.Stat(name) })
}

// SyncDir implements FS.
func (f *Fault) SyncDir(dir string) error {
	return f.do(Op{Kind: OpSyncDir, Name: dir}, func() error { return f.under.SyncDir(dir) })
}

// Lock implements FS.
func (f *Fault) Lock(name string, shared bool) (io.Closer, error) {
	return fetch(f, Op{Kind: OpLock, Name: name}, func() (io.Closer, error) {
		lock, err := f.under.Lock(name, shared)
		if err != nil {
			return nil, err
		}
		return &faultLock{fault: f, name: name, under: lock}, nil
	})
}

// faultLock asks before it is given up.
type faultLock struct {
	fault *Fault
	name  string
	under io.Closer
}

func (l *faultLock) Close() error {
	return l.fault.do(Op{Kind: OpClose, Name: l.name}, l.under.Close)
}

// faultFile asks before every operation on a file.
type faultFile struct {
	fault *Fault
	name  string
	under File
}

func (f *faultFile) ReadAt(p []byte, offset int64) (int, error) {
	op := Op{Kind: OpRead, Name: f.name, Offset: offset, Length: len(p)}
	return fetch(f.fault, op, func() (int, error) { return f.under.ReadAt(p, offset) })
}

func (f *faultFile) WriteAt(p []byte, offset int64) (int, error) {
	act, injected := f.fault.before(Op{Kind: OpWrite, Name: f.name, Offset: offset, Length: len(p)})
	if short, ok := errors.AsType[*ShortWrite](injected); ok {
		act, injected = true, short.Err
		p = p[:min(max(short.Bytes, 0), len(p))]
	}
	if !act {
		return 0, injected
	}
	n, err := f.under.WriteAt(p, offset)
	if injected != nil {
		err = injected
	}
	return n, err
}

func (f *faultFile) Sync() error {
	return f.fault.do(Op{Kind: OpSync, Name: f.name}, f.under.Sync)
}

func (f *faultFile) Truncate(size int64) error {
	op := Op{Kind: OpTruncate, Name: f.name, Offset: size}
	return f.fault.do(op, func() error { return f.under.Truncate(size) })
}

func (f *faultFile) Size() (int64, error) {
	return fetch(f.fault, Op{Kind: OpStat, Name: f.name}, f.under.Size)
}

func (f *faultFile) Close() error {
	return f.fault.do(Op{Kind: OpClose, Name: f.name}, f.under.Close)
}
