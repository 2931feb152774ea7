// Package vfs is the file system as lsmdb sees it: the few operations that a
// storage engine needs, each with the durability it gives. There is one
// implementation over the operating system and one in memory. Package vfstest has
// those that can be crashed and that fail on demand.
package vfs

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"lsmdb/internal/base"
)

// Files are the files of a file system or of one directory. Names are paths of the
// operating system's form. All methods may be called concurrently. Errors match
// fs.ErrNotExist and fs.ErrExist as those of package os do; what the system says passes
// through, and Shortage tells which of it passes by itself.
type Files interface {
	// Create makes a new file, mode 0600, for reading and writing. It fails with
	// fs.ErrExist where the name is taken. The entry is durable after SyncDir.
	Create(name string) (File, error)
	// Open opens an existing file for reading. It refuses whatever is not a regular
	// file: no symbolic link is followed in the file's own name, no pipe waited for.
	Open(name string) (File, error)
	// Remove unlinks a file. Open files stay readable.
	Remove(name string) error
	// Rename replaces newname by oldname atomically.
	Rename(oldname, newname string) error
	// List returns the names in a directory, sorted.
	List(dir string) ([]string, error)
	// Stat describes a file or directory. A Directory shows links as they are.
	Stat(name string) (Info, error)
	// SyncDir makes creations, renames and removals in a directory durable.
	SyncDir(dir string) error
}

// SizeOf returns the size of a file that Open would open.
func SizeOf(files Files, name string) (int64, error) {
	if quick, ok := files.(interface {
		measure(name string) (int64, bool)
	}); ok {
		if sizeBytes, ok := quick.measure(name); ok {
			return sizeBytes, nil
		}
	}
	f, err := files.Open(name) // which also finds the words for what is wrong
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Size()
}

// RemoveInSteps removes a file that nobody reads any more. A large one is given back piece by
// piece once it has no name: to take all of it at once keeps everybody who syncs meanwhile
// waiting for the journal of the file system. pause is called between two pieces, with the
// time that one took; nil: no pauses.
func RemoveInSteps(files Files, name string, pause func(took time.Duration)) error {
	if stepwise, ok := files.(interface {
		removeInSteps(name string, pause func(took time.Duration)) error
	}); ok {
		return stepwise.removeInSteps(name, pause)
	}
	return files.Remove(name)
}

// FS is a file system.
type FS interface {
	Files
	// MkdirAll makes a directory, mode 0700, and its missing parents. It does not
	// sync the parents.
	MkdirAll(dir string) error
	// OpenDirectory opens an existing directory, which may be named by a link.
	OpenDirectory(dir string) (Directory, error)
}

// Directory is an open directory with its files. Names are paths that
// begin with it, as it was opened; any other name is a bug and panics. Whatever
// becomes of its path, every operation reaches the directory that was opened and never
// one that took its place, and SyncDir, List and Check need no new descriptor.
type Directory interface {
	Files
	// Lock takes the lock on the directory without waiting: exclusive, making the file
	// LOCK (mode 0600) where it is missing, or shared, which writes nothing. The lock is
	// on LOCK and, where the system can do that, on the directory itself, so that
	// deleting LOCK lets nobody in. A lock that is taken, by another process or within
	// this one, is base.ErrLocked, and the error names what is known of the holder.
	Lock(shared bool) error
	// NoteHolder notes in LOCK, for the messages of others, that this process has it
	// exclusively. A LOCK with contents that are no such note stays as it is.
	NoteHolder()
	// Link gives a file of the directory another name, which may lie in any directory of
	// the file system: it is one file then, whose contents are as durable under both. The
	// entry is durable after SyncDir there. It fails where the system cannot do that.
	Link(name, newname string) error
	// SyncFile makes the contents and the size of an existing file durable, whoever wrote
	// them.
	SyncFile(name string) error
	// Check fails with ErrDisplaced if the path does not lead to this directory any more
	// or LOCK is not the file that was locked. Where the system would not tell, the error
	// is the system's. It is cheap enough to stand beside every sync.
	Check() error
	// Close releases the lock, leaves LOCK, and closes the directory.
	Close() error
}

// ErrDisplaced says that somebody moved, replaced or removed what is open. What is
// written to it may be found by nobody.
var ErrDisplaced = errors.New("lsmdb: files of the open database were moved, replaced or removed")

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
	// Check fails with ErrDisplaced if the name that the file was opened by does not lead
	// to it any more.
	Check() error
	// Close releases the file. Later calls fail with fs.ErrClosed.
	Close() error
}

// Info describes a file.
type Info struct {
	SizeBytes int64
	IsDir     bool
}

// Found is what stands under a name: what was opened there, something else, or
// nothing.
type Found int

// What Found can be.
const (
	FoundSame Found = iota
	FoundOther
	FoundNothing
)

// DisplacedFile is a File's Check: the error for what was found under its name.
func DisplacedFile(name string, found Found) error {
	switch found {
	case FoundOther:
		return fmt.Errorf("%w: %s was replaced by another file", ErrDisplaced, name)
	case FoundNothing:
		return fmt.Errorf("%w: %s was deleted or moved away", ErrDisplaced, name)
	}
	return nil
}

// DisplacedDirectory is a Directory's Check: the error for what was found under its
// path and, within it, under the name of the LOCK that it holds.
func DisplacedDirectory(dir string, self, lock Found) error {
	what := "was moved away"
	switch {
	case self == FoundSame:
		return DisplacedFile(filepath.Join(dir, base.LockName), lock)
	case lock == FoundNothing:
		what = "was deleted"
	}
	if self == FoundOther {
		what += ", and another one put in its place"
	}
	return fmt.Errorf("%w: the directory %s %s", ErrDisplaced, dir, what)
}

// Shortage turns err, which ended a step that only prepares, into a
// *base.ShortageError if it is one that passes by itself. A step prepares as long as
// no write or sync that somebody relies on was tried: then nothing is lost when the
// same is tried again. Every other step must leave its error alone, because after a
// failed write or sync nobody knows what the disk holds. So an error is final unless
// the step that met it says otherwise.
func Shortage(err error) error {
	switch {
	case base.IsShortage(err):
	case matchesAny(err, diskFull):
		return &base.ShortageError{Cause: err, DiskFull: true}
	case matchesAny(err, scarce):
		return &base.ShortageError{Cause: err}
	}
	return err
}

func matchesAny(err error, targets []error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}
