// Package vfs is the file system as lsmdb sees it: the few operations that a
// storage engine needs, each with the durability it gives. There is one
// implementation over the operating system and one in memory. Package vfstest has
// those that can be crashed and that fail on demand.
package vfs

import "io"

// FS is a file system. Names are paths of the operating system's form. All
// methods may be called concurrently. Errors match fs.ErrNotExist and
// fs.ErrExist as those of package os do; what the system says passes through, and
// Shortage tells which of it passes by itself.
type FS interface {
	// Create makes a new file, mode 0600, for reading and writing. It fails with
	// fs.ErrExist where the name is taken. The entry is durable after SyncDir.
	Create(name string) (File, error)
	// Open opens an existing file for reading. Like Create and Lock it follows no
	// symbolic link in the file's own name, where the system can refuse one.
	Open(name string) (File, error)
	// Remove unlinks a file. Open files stay readable, except on Windows.
	Remove(name string) error
	// Rename replaces newname by oldname atomically.
	Rename(oldname, newname string) error
	// MkdirAll makes a directory, mode 0700, and its missing parents. It does not
	// sync the parents.
	MkdirAll(dir string) error
	// List returns the names in a directory, sorted.
	List(dir string) ([]string, error)
	// Stat describes a file or directory.
	Stat(name string) (Info, error)
	// SyncDir makes creations, renames and removals in a directory durable.
	SyncDir(dir string) error
	// Lock takes the lock on a file without waiting: exclusive, creating the file
	// (mode 0600) where it is missing, or shared, which needs it to exist. A lock that
	// is taken, by another process or within this one, is base.ErrLocked and the
	// error names what is known of the holder. Close releases it and leaves the file.
	Lock(name string, shared bool) (io.Closer, error)
}

// File is an open file. Reads and writes at different offsets may run
// concurrently. There is no position: every access names its offset.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Sync makes the contents and the size durable (fdatasync where it exists).
	Sync() error
	// Truncate sets the size in bytes.
	Truncate(size int64) error
	// Size returns the size in bytes.
	Size() (int64, error)
	// Close releases the file. Later calls fail with fs.ErrClosed.
	Close() error
}

// Info describes a file.
type Info struct {
	SizeBytes int64
	IsDir     bool
}
