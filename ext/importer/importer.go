// Package importer moves databases of other stores into lsmdb: bbolt, Badger, LevelDB and
// goleveldb, Pebble, and RocksDB where it can be read.
//
//	result, err := importer.Import(ctx, importer.Order{Source: "old.db", Destination: "new"})
//
// The source is opened for reading only and stays as it is. The destination is made under
// another name beside its place, filled with one sorted Load, read again beside the source, and
// only then gets its name: so it is whole, or it is not there.
//
// What an entry becomes: key and value are taken byte for byte. A value of Badger that will end
// keeps its end; one that has ended is left out. Of several versions the newest counts. The
// buckets of bbolt become keyspaces, see Prefix.
package importer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"lsmdb/db"
)

// The kinds of databases that can be imported.
const (
	Bbolt   = "bbolt"
	Badger  = "badger"
	LevelDB = "leveldb" // and goleveldb
	Pebble  = "pebble"
	RocksDB = "rocksdb"
)

// Kinds are all of them.
func Kinds() []string { return []string{Bbolt, Badger, LevelDB, Pebble, RocksDB} }

// ErrDestination is the error of a destination that exists already.
var ErrDestination = errors.New("the destination must be new")

// Order says what is to be imported.
type Order struct {
	Kind        string // "": Detect finds out
	Source      string // a directory, or the file of bbolt
	Destination string // must not exist, or be an empty directory; the directory above it must exist

	// Progress, if it is set, is called now and then from the importing goroutine, with what is
	// being done and how many entries that concerned so far.
	Progress func(step string, entries int64)
}

// The steps that Progress tells.
const (
	Writing   = "writing"
	Verifying = "verifying"
)

// Result is what was imported.
type Result struct {
	Kind      string     `json:"kind"`
	Entries   int64      `json:"entries"`
	Verified  bool       `json:"verified"`            // each entry was read again on both sides
	Keyspaces []Keyspace `json:"keyspaces,omitempty"` // of bbolt: every bucket, also empty ones
}

// Keyspace is what a bucket has become.
type Keyspace struct {
	Path   [][]byte `json:"path_base64"` // the names of the buckets from the outermost on
	Prefix []byte   `json:"prefix_base64"`
}

// entry is one entry of a source. Its slices are valid until the next one.
type entry struct {
	key, value []byte
	until      time.Time // zero: for ever
}

// source is an open database of another store.
type source interface {
	// entries shows all entries in ascending order of their keys, each time anew, until yield
	// returns false. An error of the source comes last.
	entries(yield func(entry, error) bool)
	keyspaces() ([]Keyspace, error)
	io.Closer
}

// Import imports a database. If ctx ends, nothing is left of the destination.
func Import(ctx context.Context, o Order) (r Result, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // memory maps of a source whose pages are gone
	if r.Kind = o.Kind; r.Kind == "" {
		if r.Kind, err = Detect(o.Source); err != nil {
			return r, err
		}
	}
	if err := mustBeNew(o.Destination); err != nil {
		return r, err
	}
	from, err := open(r.Kind, o.Source)
	if err != nil {
		return r, fmt.Errorf("open %s as %s: %w", o.Source, r.Kind, err)
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	if r.Keyspaces, err = from.keyspaces(); err != nil {
		return r, fmt.Errorf("read %s: %w", o.Source, err)
	}

	parent, name := filepath.Split(filepath.Clean(o.Destination))
	unfinished, err := os.MkdirTemp(filepath.Clean(parent+"."), "."+name+".importing-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(unfinished) // nothing, once it has its name
	w := &work{Order: o, ctx: ctx, from: from}
	if r.Entries, err = w.fill(unfinished); err != nil {
		return r, err
	}
	if err := w.place(unfinished); err != nil {
		return r, err
	}
	r.Verified = true
	return r, nil
}

// mustBeNew refuses a destination that holds something.
func mustBeNew(dir string) error {
	names, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil || len(names) > 0:
		return fmt.Errorf("%w: %s exists", ErrDestination, dir)
	}
	return nil
}

// work is one import under way.
type work struct {
	Order
	ctx  context.Context
	from source
}

// tellEntries is how many entries pass between two calls of Progress.
const tellEntries = 4096

func (w *work) tell(step string, entries int64) {
	if w.Progress != nil {
		w.Progress(step, entries)
	}
}

// fill makes a database of all entries and verifies it.
func (w *work) fill(dir string) (entries int64, err error) {
	d, err := db.Open(dir, nil)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	entries, ending, err := w.load(d)
	if err == nil && ending > 0 {
		err = w.putEnding(d, entries)
	}
	if err != nil {
		return 0, err
	}
	return w.verify(d)
}

// load loads what has no end. It counts what has one.
func (w *work) load(d *db.DB) (entries, ending int64, err error) {
	ctx, cancel := context.WithCancelCause(w.ctx) // the input ends early by ending it
	defer cancel(nil)
	loadErr := d.Load(ctx, func(yield func(key, value []byte) bool) {
		for e, readErr := range w.from.entries {
			switch {
			case readErr != nil:
				err = fmt.Errorf("read %s: %w", w.Source, readErr)
				cancel(err)
				return
			case ctx.Err() != nil:
				return
			case !e.until.IsZero():
				ending++
				continue
			case !yield(e.key, e.value):
				return
			}
			if entries++; entries%tellEntries == 0 {
				w.tell(Writing, entries)
			}
		}
	})
	if err == nil && loadErr != nil {
		err = fmt.Errorf("write: %w", loadErr)
	}
	w.tell(Writing, entries)
	return entries, ending, err
}

// putEnding writes what has an end, which cannot be loaded.
func (w *work) putEnding(d *db.DB, entries int64) error {
	b := d.NewBatch()
	for e, err := range w.from.entries {
		if err != nil {
			return fmt.Errorf("read %s: %w", w.Source, err)
		}
		if e.until.IsZero() {
			continue
		}
		if err := b.PutUntil(e.key, e.value, e.until); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if b.Len() == 1000 {
			if err := d.Apply(w.ctx, b, db.NoSync); err != nil {
				return fmt.Errorf("write: %w", err)
			}
			b.Reset()
		}
		if entries++; entries%tellEntries == 0 {
			w.tell(Writing, entries)
		}
	}
	if err := d.Apply(w.ctx, b, db.Sync); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// verify reads both sides and compares them entry by entry. It returns how many there are.
func (w *work) verify(d *db.DB) (entries int64, err error) {
	it, err := d.NewIterator(&db.IterOptions{NoCacheFill: true})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	written := it.First()
	for e, err := range w.from.entries {
		if err != nil {
			return 0, fmt.Errorf("read %s again: %w", w.Source, err)
		}
		if w.ctx.Err() != nil {
			return 0, context.Cause(w.ctx)
		}
		for written && hasEnded(it.Until()) && bytes.Compare(it.Key(), e.key) < 0 {
			written = it.Next() // the source does not show it any more
		}
		switch {
		case written && bytes.Equal(it.Key(), e.key) && bytes.Equal(it.Value(), e.value) && it.Until().Equal(e.until):
			written = it.Next()
			entries++
		case hasEnded(e.until): // between the two reads
			if written && bytes.Equal(it.Key(), e.key) {
				written = it.Next()
			}
		default:
			return 0, errors.Join(fmt.Errorf("verify: key %q is not in the copy as it is in the source", e.key), it.Err())
		}
		if entries%tellEntries == 0 {
			w.tell(Verifying, entries)
		}
	}
	for written && hasEnded(it.Until()) {
		written = it.Next()
	}
	if err := it.Err(); err != nil {
		return 0, err
	}
	if written {
		return 0, fmt.Errorf("verify: key %q is in the copy only", it.Key())
	}
	w.tell(Verifying, entries)
	return entries, nil
}

// hasEnded reports whether a value has ended, or will within a second: whole seconds are what
// Badger counts.
func hasEnded(until time.Time) bool {
	return !until.IsZero() && time.Until(until) < time.Second
}

// place gives the finished database its name.
func (w *work) place(unfinished string) error {
	if err := os.Chmod(unfinished, 0o700); err != nil {
		return err
	}
	if err := mustBeNew(w.Destination); err != nil { // somebody may have been faster
		return err
	}
	_ = os.Remove(w.Destination) // an empty directory
	if err := os.Rename(unfinished, w.Destination); err != nil {
		return err
	}
	parent, err := os.Open(filepath.Dir(filepath.Clean(w.Destination)))
	if err != nil {
		return nil // not every system opens directories
	}
	_ = parent.Sync()
	return parent.Close()
}
