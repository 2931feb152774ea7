// Package output turns a sorted stream of entries into table files: it decides
// which versions must be kept (Retention) and writes the survivors to as many
// tables as needed (Tables). Flushes and compactions share it.
//
// Invariants: all versions of a user key lie in one table, so the tables that one
// Tables makes have disjoint ranges of user keys; a table that Finish returned is
// durable, its directory entry included; whatever fails, no file stays behind.
//
// Nothing here is safe for concurrent use; each job makes its own.
package output

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
	"lsmdb/sstable"
)

// ErrDirectorySync marks the failure to make the names of new tables durable. It
// is not to be retried: what the directory holds on disk is unknown from then on.
var ErrDirectorySync = errors.New("directory sync failed")

// Tables writes entries to new tables. Either Finish or Abort ends it; after an
// error of Add, Abort must be called, and calling it always is harmless.
type Tables struct {
	dir     *Directory
	options sstable.WriterOptions
	cut     func(sizeBytes int64, next []byte) bool

	writer *sstable.Writer // of the table under way; nil between tables
	number uint64          // its file number
	user   []byte          // user key of the last entry
	made   []string        // path of every file created
	done   []*manifest.TableMeta
}

// NewTables starts writing tables of a level. cut is asked before the first entry of each user key
// that could start another table, with the size of the table so far and that
// user key, in ascending order; nil: everything goes into one table.
func NewTables(dir *Directory, level int, cut func(sizeBytes int64, next []byte) bool) *Tables {
	return &Tables{dir: dir, options: dir.tablesOf(level), cut: cut}
}

// pauseBytes is how much Copy reads between two looks at its surroundings: a few
// microseconds, so that whoever waits gets the processor soon.
const pauseBytes = 1024

// Copy adds the entries that retention keeps and returns how many there were in all.
// yield is called every few microseconds. It ends early with the cause of ctx.
func (t *Tables) Copy(ctx context.Context, entries base.Iterator, retention *Retention, yield func()) (count uint64, err error) {
	unpausedBytes := pauseBytes // look at ctx before the first entry
	for ok := entries.First(); ok; ok = entries.Next() {
		if unpausedBytes >= pauseBytes {
			if ctx.Err() != nil {
				return count, context.Cause(ctx)
			}
			yield()
			unpausedBytes = 0
		}
		key, value := entries.Key(), entries.Value()
		unpausedBytes += len(key) + len(value)
		count++
		if !retention.Keep(key) {
			continue
		}
		if err := t.Add(key, value); err != nil {
			return count, err
		}
	}
	return count, entries.Err()
}

// Add writes the next entry; keys ascend strictly. Key and value may be reused
// when it returns.
func (t *Tables) Add(key base.InternalKey, value []byte) error {
	user := key.UserKey()
	if t.writer != nil && t.cut != nil && !bytes.Equal(user, t.user) && t.cut(t.writer.SizeBytes(), user) {
		if err := t.finishTable(); err != nil {
			return err
		}
	}
	if t.writer == nil {
		if err := t.startTable(); err != nil {
			return err
		}
	}
	if t.cut != nil {
		t.user = append(t.user[:0], user...)
	}
	if err := t.writer.Add(key, value); err != nil {
		return fmt.Errorf("write table %d: %w", t.number, vfs.Shortage(err))
	}
	return nil
}

// Finish completes the last table and makes the names of all durable. Without
// entries there are no tables. On an error every file is removed.
func (t *Tables) Finish() ([]*manifest.TableMeta, error) {
	if t.writer != nil {
		if err := t.finishTable(); err != nil {
			return nil, errors.Join(err, t.Abort())
		}
	}
	if len(t.done) > 0 {
		if err := t.dir.FS.SyncDir(t.dir.Dir); err != nil {
			return nil, errors.Join(fmt.Errorf("%w: %s: %w", ErrDirectorySync, t.dir.Dir, err), t.Abort())
		}
	}
	t.made = nil
	return t.done, nil
}

// Abort closes and removes every file made, unless Finish succeeded. The error
// tells of files that could not be removed; the next open of the database does it.
func (t *Tables) Abort() error {
	if t.writer != nil {
		_ = t.writer.Abort() // the file goes away: what closing says has no meaning
		t.writer = nil
	}
	var failed error
	for _, path := range t.made {
		if err := t.dir.FS.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			failed = errors.Join(failed, err)
		}
	}
	t.made, t.done = nil, nil
	return failed
}

func (t *Tables) startTable() error {
	t.number = t.dir.Numbers.Next()
	path := base.TablePath(t.dir.Dir, t.number)
	file, err := t.dir.FS.Create(path)
	if !errors.Is(err, fs.ErrExist) {
		t.made = append(t.made, path) // also after an error: it may have come too late
	}
	if err != nil {
		return fmt.Errorf("create table %d: %w", t.number, vfs.Shortage(err))
	}
	options := t.options
	options.Identity = sstable.Identity(t.dir.DatabaseID, t.number)
	t.writer = sstable.NewWriter(file, path, options)
	return nil
}

// finishTable leaves the writer in place on an error, so that Abort closes it.
func (t *Tables) finishTable() error {
	properties, err := t.writer.Finish()
	if err != nil {
		return fmt.Errorf("finish table %d: %w", t.number, vfs.Shortage(err))
	}
	t.writer = nil
	t.done = append(t.done, manifest.MetaOf(t.number, properties))
	return nil
}

// Retention decides which versions of a key live on when entries are written
// again. The live snapshots cut history into stripes: a snapshot at sequence
// number s sees everything up to and including s, so stripe i holds the numbers
// above snapshot i-1 and up to snapshot i, and the last stripe those above every
// snapshot. All readers of one stripe see the same version of a key, the newest in
// it: that one is kept, and every older one of the stripe is shadowed.
//
// A delete is itself dropped only in the oldest stripe, where nobody looks for an
// older version, and only if nothing deeper in the tree holds the key: otherwise
// the older version there would come back.
//
// A Retention belongs to one goroutine.
type Retention struct {
	snapshots []base.Seq
	elide     func(userKey []byte) bool

	started bool
	user    []byte // user key of the last entry
	stripe  int    // stripe of the last entry
}

// NewRetention keeps what the live snapshots, given in ascending order, and
// readers of the newest state can see. elide says whether nothing deeper in the
// tree holds a user key; it is asked with ascending keys. Nil: never.
func NewRetention(snapshots []base.Seq, elide func(userKey []byte) bool) *Retention {
	if !slices.IsSorted(snapshots) {
		panic("invariant: snapshots are not in ascending order")
	}
	return &Retention{snapshots: snapshots, elide: elide}
}

// Keep reports whether the entry with this key must be written. It is fed every
// entry, in internal order.
func (r *Retention) Keep(key base.InternalKey) bool {
	user, trailer := key.UserKey(), key.Trailer()
	stripe := 0
	if len(r.snapshots) > 0 {
		stripe, _ = slices.BinarySearch(r.snapshots, trailer.Seq())
	}
	if r.started && bytes.Equal(user, r.user) {
		if stripe == r.stripe {
			return false
		}
	} else {
		r.user = append(r.user[:0], user...)
		r.started = true
	}
	r.stripe = stripe
	droppable := stripe == 0 && trailer.Kind() == base.KindDelete && r.elide != nil
	return !droppable || !r.elide(user)
}
