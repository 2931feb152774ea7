package db

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"runtime"
	"time"

	"github.com/rs/zerolog"

	"lsmdb/compactor"
	"lsmdb/internal/base"
	"lsmdb/internal/budget"
	"lsmdb/internal/door"
	"lsmdb/internal/output"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
	"lsmdb/memtable"
	"lsmdb/sstable"
	"lsmdb/stages"
)

// Durability says when a write is acknowledged.
type Durability int

const (
	// Sync acknowledges a write when the write-ahead log is fsynced. The write, and
	// every one before it, then survives a power failure.
	Sync Durability = iota
	// NoSync acknowledges a write when the operating system has it, as after
	// write(2). It then survives a killed process. A power failure may take the
	// newest such writes: always a suffix of the history, never part of a batch.
	NoSync
	// Queued acknowledges a write when it lies in the mailbox of the goroutine that writes
	// the log. Whoever reads in this process sees it: a read that finds such writes queued
	// waits until they are written. The end of the process, however that comes but by Close,
	// may take the newest ones: always a suffix of the history, never part of a batch. Sync,
	// Flush, Close and every write with another durability cover all that were queued
	// before. A full disk holds them up, and with them all who write or read; it drops none
	// until the database is closed. If they cannot be stored, the database turns read-only:
	// later writes, Sync and Close say so. A transaction is acknowledged as with NoSync, as
	// only then it is certain that what it has read holds. So is what Submit returns.
	Queued
)

// Compression says how blocks of tables are stored.
type Compression int

const (
	// Snappy compresses every block where that saves at least an eighth.
	Snappy Compression = iota
	// NoCompression stores blocks as they are.
	NoCompression
	// Zstd compresses tables below level 1 by Zstandard, where nearly all of a large
	// database is, and by Snappy what is soon written again. Files are smaller, writing and
	// uncached reads take more processor time.
	Zstd
)

// Options configures a database. The zero value, like a nil pointer, means the
// defaults. Open copies it; changing it later has no effect.
type Options struct {
	// Durability of writes that do not choose their own. Default: Sync.
	Durability Durability

	// MemtableBytes is the size at which a memtable is sealed and flushed. Up to
	// four may exist while writers are held back. The sizes of tables and levels
	// follow from it. Default: 64 MiB; anything below 16 KiB counts as that. With Memory
	// it is flushed earlier where the budget asks for it.
	MemtableBytes int64

	// CacheBytes bounds the block cache, counting blocks as they lie in memory.
	// Indexes and filters of tables are kept beside it. Default: 64 MiB or, with Memory,
	// what the budget has left; negative: no cache.
	CacheBytes int64

	// Memory bounds what this database and all others with the same budget take
	// together. Default: none; then each has what the other options say.
	Memory *MemoryBudget

	// MaxOpenFiles bounds the descriptors of the database. Files of tables are closed,
	// and opened again, as reads need them; an eighth is for loads, of which so many may
	// write at a time. Checkpoint.Link has a few more, in its own directory, and each loop over
	// Changes one. Default: half
	// of what the process may have, at most 4,096; anything below 32 counts as that.
	MaxOpenFiles int

	// FilterBitsPerKey is the size of the Bloom filters. 10 lets about one miss in
	// a hundred through. Default: 10; negative: no filters. It applies to tables
	// written from now on.
	FilterBitsPerKey int

	// Compression of tables written from now on. Default: Snappy.
	Compression Compression

	// KeepChangesBytes is how much of the log is kept for DB.Changes behind what recovery
	// needs. If it is positive, the newest segments stay, whether somebody follows or not, as
	// long as they have no more bytes than that together; they survive Close and the end of
	// the process. Default, 0: nothing stays for later, but while a loop over Changes runs, up
	// to 64 MiB that it has not read yet do. Negative: nothing ever. A segment is about as
	// large as a memtable, and goes as a whole.
	KeepChangesBytes int64

	// InMemory keeps everything in memory and touches no directory; the directory
	// given to Open is ignored, and the data is gone after Close. Default: false.
	InMemory bool

	// ReadOnly writes nothing at all to the directory: a write-ahead log is
	// replayed in memory. Any number of read-only users may open a database at the
	// same time, but none beside a writer. Default: false.
	ReadOnly bool

	// MustExist makes it an error (fs.ErrNotExist) to open a directory without a
	// database, instead of creating one. Default: false; implied by ReadOnly.
	MustExist bool

	// Merger says what Merge does to values. The database keeps its name, from the first
	// write on of whoever opens it with one; Open with another one is ErrIncompatible.
	// Default: none; Merge is then an error, as are reads of keys that have operands.
	Merger *Merger

	// Now is the clock by which values of PutUntil end. It may be called by several
	// goroutines at the same time, and only is where such values are. Where it runs back,
	// it counts as standing still, also after Close and Open, and a time before 1970 as
	// 1970. Default: time.Now.
	Now func() time.Time

	// Logger receives events: recovery, flushes, compactions, stalls, errors. SlogLogger
	// makes one of a slog.Logger. Default: none.
	Logger zerolog.Logger

	fs   vfs.FS                    // of tests; nil: the operating system's, or memory
	tune func(*stages.Environment) // of tests; nil: nothing to change
}

func init() {
	door.Set = func(o any, fsys vfs.FS, tune func(*stages.Environment)) {
		o.(*Options).fs, o.(*Options).tune = fsys, tune
	}
	door.Sites = func(d any) { d.(*DB).published.Remember = true }
	door.Compact = func(d any) error { return d.(*DB).pipeline.Compact(context.Background(), nil, nil) }
	door.Receive = func(d any, g *door.Guest) (string, io.Writer, error) {
		of := d.(*DB)
		return of.dir, of.options.Logger, of.receive(g)
	}
	door.Dismiss = func(d any, g *door.Guest) { d.(*DB).guest.CompareAndSwap(g, nil) }
	door.Restore = restore
	door.Verify = func(fsys vfs.FS, dir string) (any, error) { return verify(context.Background(), fsys, dir, nil) }
}

// Defaults of Options.
const (
	DefaultMemtableBytes    = 64 << 20
	DefaultCacheBytes       = 64 << 20
	DefaultFilterBitsPerKey = 10
)

const (
	minOpenFiles        = 32
	maxOpenFiles        = 4096 // by default
	minMemtableBytes    = 16 << 10
	maxFilterBitsPerKey = 64
)

// resolved returns a copy in which every default is filled in, or says what is
// wrong. Memtable sizes beyond what the platform can address are refused here.
func (o *Options) resolved() (Options, error) {
	var r Options
	if o != nil {
		r = *o
	}
	r.MemtableBytes = cmp.Or(r.MemtableBytes, DefaultMemtableBytes)
	if r.Memory != nil {
		r.CacheBytes = cmp.Or(r.CacheBytes, r.Memory.budget.LimitBytes())
	}
	r.CacheBytes = cmp.Or(r.CacheBytes, DefaultCacheBytes)
	r.FilterBitsPerKey = cmp.Or(r.FilterBitsPerKey, DefaultFilterBitsPerKey)
	r.MaxOpenFiles = cmp.Or(r.MaxOpenFiles, min(cmp.Or(vfs.DescriptorLimit()/2, maxOpenFiles), maxOpenFiles))
	switch {
	case r.MemtableBytes < 0 || r.MemtableBytes > memtable.MaxArenaBytes()/2:
		return r, fmt.Errorf("lsmdb: Options.MemtableBytes is %d, must lie between 1 and %d", r.MemtableBytes, memtable.MaxArenaBytes()/2)
	case r.MaxOpenFiles < 0:
		return r, fmt.Errorf("lsmdb: Options.MaxOpenFiles is %d, must not be negative", r.MaxOpenFiles)
	case r.FilterBitsPerKey > maxFilterBitsPerKey:
		return r, fmt.Errorf("lsmdb: Options.FilterBitsPerKey is %d, must be at most %d", r.FilterBitsPerKey, maxFilterBitsPerKey)
	case r.Durability < Sync || r.Durability > Queued:
		return r, fmt.Errorf("lsmdb: Options.Durability is %d, must be Sync, NoSync or Queued", r.Durability)
	case r.Compression < Snappy || r.Compression > Zstd:
		return r, fmt.Errorf("lsmdb: Options.Compression is %d, must be Snappy, NoCompression or Zstd", r.Compression)
	case r.Merger != nil && (r.Merger.Merge == nil || r.Merger.Name == "" || len(r.Merger.Name) > manifest.MaxMergerBytes):
		return r, fmt.Errorf("lsmdb: Options.Merger needs a function, and a name of at most %d bytes", manifest.MaxMergerBytes)
	case r.InMemory && r.ReadOnly:
		return r, fmt.Errorf("lsmdb: Options.InMemory and ReadOnly exclude each other")
	}
	r.MemtableBytes = max(r.MemtableBytes, minMemtableBytes)
	r.MaxOpenFiles = max(r.MaxOpenFiles, minOpenFiles)
	if r.fs == nil {
		r.fs = vfs.OS
		if r.InMemory {
			r.fs = vfs.NewMem()
		}
	}
	return r, nil
}

// environment is what the stages share.
func (o *Options) environment(dir string) *stages.Environment {
	compressions := [...]sstable.Compression{Snappy: sstable.CompressionSnappy, NoCompression: sstable.CompressionNone, Zstd: sstable.CompressionZstd}
	var shared *budget.Budget
	memtableBytes := o.MemtableBytes
	if o.Memory != nil { // larger memtables would never be filled
		shared = o.Memory.budget
		memtableBytes = min(memtableBytes, max(shared.LimitBytes()/4, minMemtableBytes))
	}
	account := budget.Open(shared)
	env := &stages.Environment{
		Directory: &output.Directory{
			Dir: dir, Stats: &sstable.Stats{}, Merger: o.Merger, Logger: o.Logger, Account: account,
			Tables: sstable.WriterOptions{
				Compression: compressions[o.Compression], FilterBitsPerKey: max(o.FilterBitsPerKey, 0), Account: account,
			},
		},
		MemtableBytes: memtableBytes,
		RecoveryBytes: max(memtableBytes, leastRecoveryBytes),
		Policy:        compactor.NewPolicy(o.MemtableBytes),
		// Half of the processors are left to everybody else, but a long compaction deep in
		// the tree must not delay level 0.
		Workers:          max(2, min(runtime.GOMAXPROCS(0)/2, 8)),
		Clock:            o.Now,
		KeepChangesBytes: o.KeepChangesBytes,
	}
	if o.CacheBytes >= 0 {
		env.Cache = sstable.NewCache(min(o.CacheBytes, math.MaxInt64/2))
		env.Cache.Account, account.Give[budget.Cache] = account, env.Cache.Give
	}
	env.Files = &sstable.OpenFiles{Limit: o.MaxOpenFiles - otherFiles - env.Workers - 2*o.loads(), Account: account}
	account.Give[budget.Tables] = env.Files.GiveTables
	if o.tune != nil {
		o.tune(env)
	}
	return env
}

// kept is how much of what was flushed stays from an earlier open. Who only reads takes nothing
// away.
func (o *Options) kept() int64 {
	if o.ReadOnly {
		return math.MaxInt64
	}
	return o.KeepChangesBytes
}

// otherFiles is how many descriptors are none of tables that are read, nor of those that
// compactions and loads write: the directory (2), LOCK, two logs and one that is prepared, two
// MANIFESTs, CURRENT, the table of a flush, and one to look at a file.
const otherFiles = 11

// loads is how many loads may write tables at a time. Each has two open: one that is
// written, and the one before, while that becomes durable.
func (o *Options) loads() int { return o.MaxOpenFiles / 16 }

// leastRecoveryBytes is the smallest memtable that recovery fills: a process before may
// have left a log that would become thousands of tables with today's MemtableBytes.
const leastRecoveryBytes = 4 << 20

// MemoryBudget bounds the memory that any number of databases take together: memtables,
// block caches, indexes and filters of tables, what flushes, compactions and loads hold of
// the tables they write, and what iterators have read ahead. Give it to the databases as
// Options.Memory. Its methods may be called concurrently.
//
// The budget is not divided. Whoever needs memory takes it, and when the budget is used up,
// the fullest gives way: cached blocks, or indexes and filters, of the database that has
// most of them are dropped, and of memtables that together exceed a quarter of the budget
// the largest is flushed. MemtableBytes and CacheBytes stay bounds of each database. What
// lies on Go's heap counts with the garbage that the collector may leave beside it (GOGC):
// so a budget of 1 GiB means 1 GiB of the system's memory, more or less, and about half of
// that in cached blocks with the default GOGC.
//
// A database needs some memory whatever the budget is: a memtable of 64 KiB, a block for
// each iterator, half a mebibyte for each table that it writes. Below that, and where a
// batch or a value is larger than the budget, the bound does not hold, but everything works.
type MemoryBudget struct{ budget *budget.Budget }

// NewMemoryBudget makes a budget of so many bytes. Anything below 1 counts as 1.
func NewMemoryBudget(bytes int64) *MemoryBudget {
	return &MemoryBudget{budget.New(bytes)}
}

// Metrics returns what all databases with this budget take.
func (m *MemoryBudget) Metrics() MemoryMetrics { return memoryMetrics(m.budget.Usage()) }

// Merger says what Merge does to a value. See Options.Merger, and SumInt64, MaxBytes and
// AppendBytes, which are ready made.
type Merger = base.Merger

// SumInt64 adds numbers of eight bytes, little endian, of which the sum wraps around. A
// key without a value counts as 0. Values and operands of another length are errors.
var SumInt64 = &Merger{Name: "lsmdb.SumInt64", Merge: func(dst, _, older, newer []byte) ([]byte, error) {
	if older == nil {
		older = make([]byte, 8)
	}
	if len(older) != 8 || len(newer) != 8 {
		return nil, fmt.Errorf("numbers of %d and %d bytes, where both need 8", len(older), len(newer))
	}
	return binary.LittleEndian.AppendUint64(dst, binary.LittleEndian.Uint64(older)+binary.LittleEndian.Uint64(newer)), nil
}}

// MaxBytes keeps what is largest in the order of bytes.Compare.
var MaxBytes = &Merger{Name: "lsmdb.MaxBytes", Merge: func(dst, _, older, newer []byte) ([]byte, error) {
	if bytes.Compare(older, newer) > 0 {
		newer = older
	}
	return append(dst, newer...), nil
}}

// AppendBytes puts operands behind the value, in the order in which they came.
var AppendBytes = &Merger{Name: "lsmdb.AppendBytes", Merge: func(dst, _, older, newer []byte) ([]byte, error) {
	return append(append(dst, older...), newer...), nil
}}
