// Package output turns a sorted stream of entries, and range deletes, into table files: it
// decides which versions must be kept (Retention) and writes the survivors to as many
// tables as needed (Tables). Flushes and compactions share it.
//
// Invariants: all versions of a user key lie in one table, so the tables that one
// Tables makes have disjoint ranges of user keys; range deletes are cut where tables are,
// so that all tables together hold exactly what they were given; a table that Finish returned is
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
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/ranges"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
	"lsmdb/sstable"
)

// ErrDirectorySync marks the failure to make the names of new tables durable. It
// is not to be retried: what the directory holds on disk is unknown from then on.
var ErrDirectorySync = errors.New("directory sync failed")

// BackOff decides whether and when a failed job is tried again. A shortage is waited
// out for ever; other errors get three tries in all, but a directory whose sync failed
// none. The zero value is for a new job.
type BackOff struct {
	Delay    time.Duration // until the next try
	failures int           // in a row, other than shortages
}

const (
	firstBackOff   = 50 * time.Millisecond
	maxTries       = 3
	LongestBackOff = 5 * time.Second // is the longest Delay
)

// After notes an error and reports whether to try again after Delay.
func (b *BackOff) After(err error) bool {
	if errors.Is(err, ErrDirectorySync) {
		return false
	}
	if !base.IsShortage(err) {
		if b.failures++; b.failures >= maxTries {
			return false
		}
	}
	b.Delay = min(max(2*b.Delay, firstBackOff), LongestBackOff)
	return true
}

// Tables writes entries to new tables. Either Finish or Abort ends it; after an
// error of Add, Abort must be called, and calling it always is harmless.
type Tables struct {
	dir     *Directory
	options sstable.WriterOptions
	cut     func(sizeBytes int64, next []byte) bool

	ranges ranges.List // range deletes, from the last cut on
	stops  []stop      // where they can or must be cut between two entries, ascending

	writer *sstable.Writer // of the table under way; nil between tables
	ending func() error    // waits until the table before it is complete
	number uint64          // its file number
	user   []byte          // user key of the last entry
	made   []string        // path of every file created
	done   []*manifest.TableMeta
}

// stop is a user key before which range deletes are cut: if cut says so or, as the table
// would have too many otherwise, in any case.
type stop struct {
	key  []byte
	must bool
}

// NewTables starts writing tables of a level. cut is asked before the first entry of each user key
// that could start another table, with the size of the table so far and that
// user key, in ascending order; nil: everything goes into one table.
//
// Where a range delete has many tables below it and no entry in this one, nobody would
// ask: see Ranges.
func NewTables(dir *Directory, level int, cut func(sizeBytes int64, next []byte) bool) *Tables {
	return &Tables{dir: dir, options: dir.tablesOf(level), cut: cut, ending: func() error { return nil }}
}

// LoadedSeq stands in what a load writes in place of its number: see NewLoadedTables.
const LoadedSeq base.Seq = 1

// NewLoadedTables is NewTables for a load, which gets its number only when all is written.
// Until then LoadedSeq stands for it. aside is sstable.WriterOptions.Aside; a table is
// completed aside, too, while the next one is written.
func NewLoadedTables(dir *Directory, aside func(job func() error) (wait func() error), cut func(sizeBytes int64, next []byte) bool) *Tables {
	t := NewTables(dir, manifest.NumLevels-1, cut)
	t.options.Placeholder, t.options.Aside = true, aside
	return t
}

// Ranges has range deletes written as well. It is called before the first Add. cut is
// asked about each of borders, ascending user keys, that would cut them. Many range deletes
// make several tables even where there is no cut: they are one block, whose length is limited.
func (t *Tables) Ranges(l ranges.List, borders [][]byte) {
	t.ranges = l
	for _, key := range l.Pieces(maxRangeBytes) {
		t.stops = append(t.stops, stop{key, true})
	}
	for _, key := range borders {
		t.stops = append(t.stops, stop{key, false})
	}
	slices.SortStableFunc(t.stops, func(a, b stop) int { return bytes.Compare(a.key, b.key) })
}

// maxRangeBytes bounds the range deletes of a table: a block has 512 MiB at most, and they
// stay in memory. Tests lower it.
var maxRangeBytes int64 = 64 << 20

// pauseBytes is how much Copy reads between two looks at its surroundings: a few
// microseconds, so that whoever waits gets the processor soon.
const pauseBytes = 1024

// Copy adds what retention keeps of the entries and returns how many there were in all.
// yield is called every few microseconds, with what was read since the last call, so that
// others get the processor and know how far this is. It ends early with the cause of ctx.
func (t *Tables) Copy(ctx context.Context, entries base.Iterator, retention *Retention, yield func(entries, bytes int64)) (count uint64, err error) {
	write := t.Add
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	var unpaused, unpausedBytes int64
	for ok := entries.First(); ok; ok = entries.Next() {
		if unpausedBytes >= pauseBytes {
			yield(unpaused, unpausedBytes)
			if ctx.Err() != nil {
				return count, context.Cause(ctx)
			}
			unpaused, unpausedBytes = 0, 0
		}
		key, value := entries.Key(), entries.Value()
		unpausedBytes += int64(len(key) + len(value))
		unpaused++
		count++
		if err := retention.Take(key, value, write); err != nil {
			return count, err
		}
	}
	if err := entries.Err(); err != nil {
		return count, err
	}
	return count, retention.End(write)
}

// Add writes the next entry; keys ascend strictly. Key and value may be reused
// when it returns.
func (t *Tables) Add(key base.InternalKey, value []byte) error {
	user := key.UserKey()
	if err := t.advance(user); err != nil {
		return err
	}
	if t.cut != nil && (t.writer == nil || !bytes.Equal(user, t.user)) {
		if err := t.mayCut(stop{key: user}); err != nil {
			return err
		}
		t.user = append(t.user[:0], user...)
	}
	if t.writer == nil {
		if err := t.startTable(); err != nil {
			return err
		}
	}
	if err := t.writer.Add(key, value); err != nil {
		return fmt.Errorf("write table %d: %w", t.number, vfs.Shortage(err))
	}
	return nil
}

// advance goes past the stops up to a user key; nil: all that are left.
func (t *Tables) advance(user []byte) error {
	for len(t.stops) > 0 && (user == nil || bytes.Compare(t.stops[0].key, user) <= 0) {
		next := t.stops[0]
		t.stops = t.stops[1:]
		if err := t.mayCut(next); err != nil {
			return err
		}
	}
	return nil
}

// mayCut ends the table before a stop, if there is anything to put into it.
func (t *Tables) mayCut(at stop) error {
	sizeBytes := int64(0)
	if t.writer != nil {
		sizeBytes = t.writer.SizeBytes()
	} else if len(t.ranges) == 0 || bytes.Compare(t.ranges[0].Start, at.key) >= 0 {
		return nil
	}
	if !at.must && (t.cut == nil || !t.cut(sizeBytes, at.key)) {
		return nil
	}
	return t.finishTable(at.key)
}

// Finish completes the last table and makes the names of all durable. Without
// entries and range deletes there are no tables. On an error every file is removed.
func (t *Tables) Finish() ([]*manifest.TableMeta, error) {
	if err := t.finishLast(); err != nil {
		return nil, errors.Join(err, t.Abort())
	}
	if len(t.done) > 0 {
		if err := t.dir.FS.SyncDir(t.dir.Dir); err != nil {
			return nil, errors.Join(fmt.Errorf("%w: %s: %w", ErrDirectorySync, t.dir.Dir, err), t.Abort())
		}
	}
	t.made = nil
	return t.done, nil
}

// finishLast completes what there is after the last entry.
func (t *Tables) finishLast() error {
	if err := t.advance(nil); err != nil {
		return err
	}
	if t.writer != nil || len(t.ranges) > 0 {
		if err := t.finishTable(nil); err != nil {
			return err
		}
	}
	return t.ending()
}

// Abort closes and removes every file made, unless Finish succeeded. The error
// tells of files that could not be removed; the next open of the database does it.
func (t *Tables) Abort() error {
	_ = t.ending() // no file is made any more
	if t.writer != nil {
		_ = t.writer.Abort() // the file goes away: what closing says has no meaning
		t.writer = nil
	}
	var failed error
	for _, path := range t.made {
		if err := vfs.RemoveInSteps(t.dir.FS, path, nil); !errors.Is(err, fs.ErrNotExist) {
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

// finishTable completes the table that ends before next; nil: the last one. Aside, ending
// waits for that. At most one table is completed while another is written.
func (t *Tables) finishTable(next []byte) error {
	if t.writer == nil {
		if err := t.startTable(); err != nil {
			return err
		}
	}
	if len(t.ranges) > 0 {
		within := t.ranges
		t.ranges = nil
		if next != nil {
			next = bytes.Clone(next) // the lists keep it
			within, t.ranges = within.Clip(nil, next), within.Clip(next, nil)
		}
		t.writer.AddRanges(within)
	}
	if err := t.ending(); err != nil {
		return err
	}
	writer, number := t.writer, t.number
	t.writer = nil
	complete := func() error {
		properties, err := writer.Finish()
		if err != nil {
			return fmt.Errorf("finish table %d: %w", number, vfs.Shortage(err))
		}
		t.done = append(t.done, manifest.MetaOf(number, properties))
		return nil
	}
	if t.options.Aside == nil {
		return complete()
	}
	t.ending = t.options.Aside(complete)
	return nil
}
