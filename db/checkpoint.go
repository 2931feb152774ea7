package db

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path/filepath"
	"sync"

	"lsmdb/internal/checkpoint"
	"lsmdb/internal/vfs"
	"lsmdb/internal/view"
	"lsmdb/manifest"
)

// Checkpoint is the database as it was at one instant, to be copied while the database goes
// on: into another directory (Link), or into a stream (WriteTo) from which Restore makes
// a database. It holds every write, whatever its Durability, that was acknowledged before
// NewCheckpoint was called, and none that was begun after it returned: deletes, merges and
// expiries as they are. The copy is a database of its own, with the same identity.
//
// Until it is closed, all files of the checkpoint are kept, also those that the database
// itself needs no more: Metrics.Checkpoint tells how much room that takes. It keeps no memory
// but for a list of the files. A Checkpoint is safe for concurrent use.
type Checkpoint struct {
	db     *DB
	pinned *view.State // its tables
	files  *checkpoint.Files

	// mu is held for reading while files are copied, so that Close waits for that: what
	// it gives up may be deleted at once. Nobody who reads or writes the database takes it.
	mu     sync.RWMutex
	closed bool
}

// CheckpointFile is one file of a checkpoint.
type CheckpointFile struct {
	Name  string // without directory
	Bytes int64
}

// NewCheckpoint flushes what is in memory, as Flush does, and returns a checkpoint of what
// the tables hold then. Writers go on meanwhile; they wait no longer than for the change to
// another log segment. If ctx ends before, nothing stays open. Close the checkpoint.
//
// Errors: those of Flush. On a database that was opened read-only it is ErrReadOnly: nobody
// writes to its directory then, so plain copies of all its files are as good. After a
// failure that made the database read-only, it is ErrReadOnly with the cause.
func (d *DB) NewCheckpoint(ctx context.Context) (*Checkpoint, error) {
	pc := view.Caller(2)
	if err := d.Flush(ctx); err != nil {
		return nil, err
	}
	// Whatever is flushed, loaded and merged between the two, a tree holds all of the history
	// up to some write and nothing else.
	pinned := d.published.Pin(view.Opened{Since: d.clock.Now(), PC: pc})
	files, err := checkpoint.New(d.directory, manifest.State{
		DatabaseID: d.directory.DatabaseID, Version: pinned.Version, LastSeq: pinned.Version.LastSeq,
		Now: d.published.NotBefore(0), Merger: d.merger,
	})
	if err != nil {
		d.published.Unpin(pinned)
		return nil, fmt.Errorf("lsmdb: checkpoint: %w", err)
	}
	return &Checkpoint{db: d, pinned: pinned, files: files}, nil
}

// Seq returns the sequence number of the newest write that the checkpoint holds; compare
// Metrics.Sequence.
func (c *Checkpoint) Seq() uint64 { return uint64(c.pinned.Version.LastSeq) }

// Files ranges over the files that a copy consists of, CURRENT last. It can be called any
// number of times, also after Close.
func (c *Checkpoint) Files() iter.Seq[CheckpointFile] {
	return func(yield func(CheckpointFile) bool) {
		c.files.All(func(name string, sizeBytes int64) bool { return yield(CheckpointFile{name, sizeBytes}) })
	}
}

// Link makes a copy in dir, which must be absent or empty; missing parents are made. Tables
// never change, so on the same file system the copy shares them with the database by hard
// links, which takes no time and no room; where that cannot be, they are copied. When Link
// returns nil, all of the copy is durable and can be opened. After an error dir is absent or
// empty. If the process is killed meanwhile, dir is no database: empty it and link again.
// Link may be called more than once. The checkpoint of a database with InMemory is copied
// into a directory of the operating system.
//
// Blocks of tables are not read: a damaged one stays damaged, and Verify finds it.
//
// Errors: fs.ErrExist if dir is not empty, ErrDiskFull, ErrClosed when the checkpoint or
// the database is closed, or is closed meanwhile, and what the file system reports.
func (c *Checkpoint) Link(dir string) error { return c.link(context.Background(), dir) }

// link is Link for somebody who may leave: it gives up when ctx ends.
func (c *Checkpoint) link(ctx context.Context, dir string) error {
	fsys := c.db.options.fs
	if c.db.options.InMemory {
		fsys = vfs.OS
	}
	return c.copy("link to "+dir, func() error {
		dir, err := absolute(fsys, dir)
		if err == nil {
			err = c.files.Link(ctx, fsys, dir)
		}
		return err
	})
}

// WriteTo writes all files to w as one stream for Restore, and returns how many bytes w has
// taken. It reads and checks every table before it is sent: a damaged one is a
// *CorruptionError, so that no backup can be made that cannot be restored. The stream is not
// compressed further than the tables are. WriteTo may be called more than once.
//
// Errors: ErrCorrupt, those of w, and ErrClosed as for Link. What w has got then is not
// restored by Restore.
func (c *Checkpoint) WriteTo(w io.Writer) (n int64, err error) {
	err = c.copy("write", func() error { n, err = c.files.WriteTo(w); return err })
	return n, err
}

// copy does something that needs the files.
func (c *Checkpoint) copy(what string, do func() error) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed || c.db.closed.Load() {
		return ErrClosed
	}
	err := do()
	switch {
	case err == nil:
		return nil
	case c.db.closed.Load(): // its files went away meanwhile
		return ErrClosed
	}
	return fmt.Errorf("lsmdb: checkpoint: %s: %w", what, vfs.Shortage(err))
}

// Close gives up what only the checkpoint keeps. It waits for a Link or WriteTo that is under
// way. Copies are not touched. It is idempotent, and may be called when the database is
// closed.
func (c *Checkpoint) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed = true
		c.db.published.Unpin(c.pinned)
	}
	return nil
}

// Restore makes a database in dir of a stream that Checkpoint.WriteTo wrote. dir must be
// absent or empty; missing parents are made. Restore reads r to its end. It compares all
// checksums, makes everything durable, and verifies the result as Verify does; only then
// dir becomes a database, which holds exactly what the checkpoint held. After an error dir
// is absent or empty. If the process is killed meanwhile, dir is no database: empty it and
// restore again.
//
// When ctx ends, Restore returns its error, but not before r returns from a Read.
//
// Errors: ErrCorrupt if a byte of the stream is changed, missing or added; ErrIncompatible
// for a stream or a file of a newer version; fs.ErrExist if dir is not empty; ErrDiskFull;
// those of r and of the file system.
func Restore(ctx context.Context, r io.Reader, dir string) error {
	if ctx == nil {
		return errNilContext
	}
	return restore(ctx, r, vfs.OS, dir)
}

func restore(ctx context.Context, r io.Reader, fsys vfs.FS, dir string) error {
	dir, err := absolute(fsys, dir)
	if err == nil {
		err = checkpoint.Restore(ctx, r, fsys, dir)
	}
	if err != nil {
		return fmt.Errorf("lsmdb: restore to %s: %w", dir, vfs.Shortage(err))
	}
	return nil
}

// absolute makes the path of a directory independent of the working directory, which a
// program may change.
func absolute(fsys vfs.FS, dir string) (string, error) {
	switch {
	case dir == "":
		return "", errors.New("the directory is an empty string")
	case fsys == vfs.OS:
		return filepath.Abs(dir)
	}
	return dir, nil
}
