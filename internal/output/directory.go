package output

import (
	"errors"
	"io/fs"
	"path/filepath"
	"sync/atomic"

	"github.com/rs/zerolog"

	"lsmdb/internal/base"
	"lsmdb/internal/budget"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
	"lsmdb/memtable"
	"lsmdb/sstable"
	"lsmdb/wal"
)

// Directory is the directory of one open database, and how its files are made and
// read. All of it is fixed when the stages start; what moves (Numbers, Cache, Stats,
// Files) is safe for concurrent use.
type Directory struct {
	FS         vfs.Directory
	Dir        string
	DatabaseID uint64
	Tables     sstable.WriterOptions // Identity is set for each table; see tablesOf
	Cache      *sstable.Cache        // nil: none
	Stats      *sstable.Stats
	Files      *sstable.OpenFiles
	Account    *budget.Account // pays for the memory that all of it takes; nil: nobody does
	Numbers    *FileNumbers
	Logger     zerolog.Logger

	Merger        *base.Merger  // nil: none
	MergeFailures atomic.Uint64 // how often it failed in flushes and compactions, once for each key and stretch of operands
}

// NewRetention returns what keeps, of what flushes or compactions write again, what the
// scope asks for. The directory's Merger merges operands; when that fails for the first
// time it is logged.
func (d *Directory) NewRetention(s Scope) *Retention {
	s.Merger = d.Merger
	s.Failed = func(err error) {
		if d.MergeFailures.Add(1) == 1 {
			d.Logger.Error().Err(err).Msg("the merge operator failed; such operands stay as they are, and reads of their keys fail")
		}
	}
	return NewRetention(s)
}

// FileNumbers hands out the numbers of files. One counter serves all types of
// files, and a number is never handed out twice.
type FileNumbers struct {
	next  atomic.Uint64
	ahead atomic.Uint64 // was handed out by Ahead
}

// NewFileNumbers returns a counter whose first number is next.
func NewFileNumbers(next uint64) *FileNumbers {
	n := &FileNumbers{}
	n.next.Store(next)
	return n
}

// Next hands out a number.
func (n *FileNumbers) Next() uint64 {
	for {
		if number := n.next.Add(1) - 1; number != n.ahead.Load() {
			return number
		}
	}
}

// aheadNumbers is more than how many files are made while a large batch is prepared.
const aheadNumbers = 1 << 10

// Ahead hands out a number that lies so far ahead that Next will hardly come to it while
// somebody prepares a file that is to be the latest then. If Next does, it goes past.
func (n *FileNumbers) Ahead() uint64 {
	for {
		number := max(n.next.Load()+aheadNumbers, n.ahead.Load()+1)
		n.ahead.Store(number)
		if n.next.Load() <= number {
			return number
		}
	}
}

// Pass has Next hand out only larger numbers from now on.
func (n *FileNumbers) Pass(number uint64) {
	for next := n.next.Load(); next <= number && !n.next.CompareAndSwap(next, number+1); next = n.next.Load() {
	}
}

// Peek returns the number that Next would hand out.
func (n *FileNumbers) Peek() uint64 { return n.next.Load() }

// tablesOf says how the tables of a level are written. What lies in levels 0 and 1 is soon
// written again, so that Zstandard would take its time for little.
func (d *Directory) tablesOf(level int) sstable.WriterOptions {
	o := d.Tables
	if o.Compression == sstable.CompressionZstd && level < 2 {
		o.Compression = sstable.CompressionSnappy
	}
	return o
}

// Attach gives a table of the tree its handle, unless it has one.
func (d *Directory) Attach(t *manifest.TableMeta) {
	if t.Handle != nil {
		return
	}
	o := sstable.ReaderOptions{SizeBytes: t.SizeBytes, Identity: t.Identity, Cache: d.Cache, Stats: d.Stats}
	if t.Placeholder != 0 {
		o.Seq = t.LargestSeq
	}
	t.Handle = sstable.NewHandle(d.FS, base.TablePath(d.Dir, t.Number), o, d.Files)
}

// Succeed gives new tables their handles, and finds out what of them belongs into the cache
// because of what it holds of runs of other tables: see sstable.Succeed.
func (d *Directory) Succeed(runs [][]*manifest.TableMeta, heirs []*manifest.TableMeta) *sstable.Succession {
	for _, t := range heirs {
		d.Attach(t)
	}
	handles := make([][]*sstable.Handle, 1+len(runs))
	for i, tables := range append(runs, heirs) {
		for _, t := range tables {
			handles[i] = append(handles[i], t.Handle)
		}
	}
	return sstable.Succeed(handles[:len(runs)], handles[len(runs)])
}

// NewSegment creates a WAL segment that follows previous, durable in its
// directory. On an error nothing is left of it.
func (d *Directory) NewSegment(previous wal.Previous) (*wal.Writer, error) {
	number := d.Numbers.Next()
	return wal.Create(d.FS, base.WALPath(d.Dir, number), number, previous)
}

// PrepareSegment prepares a WAL segment of one record for PlaceSegment: see wal.Prepare.
func (d *Directory) PrepareSegment(interrupted func() error, parts ...[]byte) (*wal.Writer, error) {
	number := d.Numbers.Ahead()
	return wal.Prepare(d.FS, base.WALPath(d.Dir, number), number, interrupted, parts...)
}

// PlaceSegment makes a prepared segment the one that follows previous: see wal.Writer.Place.
func (d *Directory) PlaceSegment(w *wal.Writer, previous wal.Previous, start []byte) error {
	d.Numbers.Pass(w.Segment())
	return w.Place(d.FS, base.WALPath(d.Dir, w.Segment()), previous, start)
}

// MoveOut moves a memtable into a file that loses its name before anything is in it: so it
// is gone when nobody looks at the memtable any more, or when the process is killed. The error
// matches errors.ErrUnsupported where the file system cannot do that.
func (d *Directory) MoveOut(m *memtable.Memtable) error {
	name := filepath.Join(d.Dir, base.TableName(0)+".tmp") // a number that no table has
	file, err := d.FS.Create(name)
	if err != nil {
		return errors.Join(err, d.FS.Remove(name)) // perhaps it could not be removed before
	}
	if err = d.FS.Remove(name); err == nil {
		if f, ok := file.(memtable.MappableFile); ok {
			err = m.MoveTo(f)
		} else {
			err = errors.ErrUnsupported
		}
	}
	return errors.Join(err, file.Close())
}

// CheckPlace fails with vfs.ErrDisplaced if the directory is not where it was opened, or
// LOCK is gone: what is written to it may be found by nobody. Where the system would not
// tell, nothing is known, and it passes.
func (d *Directory) CheckPlace() error {
	if err := d.FS.Check(); errors.Is(err, vfs.ErrDisplaced) {
		return err
	}
	return nil
}

// RemoveTables deletes the tables that an edit would have added to the tree, but
// not those it only would have moved. What cannot be deleted now is unlisted, so the
// next open removes it.
func (d *Directory) RemoveTables(edit *manifest.Edit) {
	for _, a := range edit.Added {
		if edit.Moves(a.Meta) {
			continue // it is in the tree already
		}
		if a.Meta.Handle != nil {
			if err := a.Meta.Handle.Close(); err != nil { // what the cache holds of it goes, too
				d.Logger.Warn().Uint64("table", a.Meta.Number).Err(err).Msg("closing an unused table")
			}
		}
		path := base.TablePath(d.Dir, a.Meta.Number)
		if err := vfs.RemoveInSteps(d.FS, path, nil); err != nil && !errors.Is(err, fs.ErrNotExist) {
			d.Logger.Warn().Str("file", filepath.Base(path)).Err(err).Msg("an unused table stays until the next open")
		}
	}
}
