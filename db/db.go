// Package db is the public API of lsmdb: an embedded, ordered, crash-safe
// key-value store.
//
// Open returns a DB, which maps keys to values, and Close ends it. Keys and values are
// bytes; keys are in the order of bytes.Compare.
//
//   - Writes: Put; PutUntil, whose value ends at a time; Delete; DeleteRange, for any
//     number of keys at once; Merge, which changes a value without reading it. Apply and
//     Submit take a Batch of these. Load takes sorted input of any size.
//   - Reads: Get, AppendValue, Has, GetSize. An Iterator walks over many keys.
//   - A Snapshot shows what there was at one instant; View is short for one.
//   - Update runs a transaction, a Tx: it reads and writes, and has the effect that it
//     would have if nobody else wrote meanwhile.
//   - A Keyspace is the part of the database whose keys begin with a prefix.
//   - Changes yields what is written, as it becomes durable, and what was written before as
//     far as it is kept.
//   - A Checkpoint is a copy of the running database, and Restore makes a database of one.
//   - Sync, Flush, Compact, Metrics, Pins, Health and Verify are for care. Explain tells how
//     a read comes to its answer, SpaceOf what takes the space.
//
// By default a write that returned nil survives a power failure: see Durability. A batch,
// a transaction and a load are there whole or not at all, for readers and after a crash.
//
// All ways of reading agree. A key has a value from a Put, PutUntil, Merge or Load on. It
// has none after a Delete, or a DeleteRange that covers it, and from the end of a PutUntil
// on, whatever was stored before. A Merge onto a key without a value makes one.
//
// A DB is safe for concurrent use. Writes are messages to a pipeline of stages
// (package stages); reads look at an immutable state that the stages publish and
// never wait for them.
//
// Package dbtest has databases for the tests of programs: they close by themselves, and can
// lose their power.
package db

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/budget"
	"lsmdb/internal/door"
	"lsmdb/internal/output"
	"lsmdb/internal/recovery"
	"lsmdb/internal/vfs"
	"lsmdb/internal/view"
	"lsmdb/memtable"
	"lsmdb/stages"
)

// DB is an open database. All its methods may be called concurrently, also while
// it is being closed; on a closed database they return ErrClosed.
type DB struct {
	dir       string
	options   Options
	opened    time.Time
	directory *output.Directory
	recovery  *recovery.Opening
	merger    string // name of the merge operator that is recorded, or is with the first change

	pipeline  *stages.Pipeline // nil if the database was opened read-only
	unused    stages.Snapshots // those of a read-only database, where nothing is ever dropped
	clock     *stages.Clock    // of Pin.Since
	published *view.Published  // what readers see
	calls     sync.Pool        // *call, see takeCall
	loading   chan struct{}    // a place for each load that writes tables: whoever has one takes it out again

	begun, committed, conflicted atomic.Uint64 // transactions

	guest     atomic.Pointer[door.Guest] // what serves it to others
	closed    atomic.Bool
	closeOnce sync.Once
	closeErr  error
}

// Open opens the database in dir, creating it (directory mode 0700, files 0600) if
// there is none, and recovers what an unclean end left. A nil opts means the
// defaults.
//
// Errors: ErrLocked while somebody else has it open, *CorruptionError for a file
// that is damaged or missing, ErrIncompatible for files of a newer version,
// ErrDiskFull, fs.ErrNotExist (with ReadOnly or MustExist), and what the file
// system reports, with the name of the file. A failed Open changes nothing that a later
// one needs.
//
// Open reads and checks. It writes nothing unless it creates the database or the log
// holds more than one memtable. The database is taken over later: before the first
// write, or at once in the background where a log was replayed or a compaction is due.
// Then what was replayed becomes tables, a WAL segment and a MANIFEST are begun, and
// CURRENT is switched. The first write waits for that; reads do not. A full disk there
// refuses writes until there is room.
func Open(dir string, opts *Options) (*DB, error) {
	options, err := opts.resolved()
	if err != nil {
		return nil, err
	}
	if options.InMemory {
		dir = "memory"
	} else if dir, err = absolute(options.fs, dir); err != nil {
		return nil, fmt.Errorf("lsmdb: open: %w", err)
	}
	d, err := open(dir, options)
	if err != nil {
		err = vfs.Shortage(err) // a later Open can do all of it again
		options.Logger.Error().Str("dir", dir).Err(err).Msg("open failed")
		return nil, err
	}
	return d, nil
}

// open recovers the database and lets readers and writers in.
func open(dir string, options Options) (*DB, error) {
	env := options.environment(dir)
	r, err := recovery.Open(options.fs, env.Directory, recovery.Options{
		MemtableBytes: env.RecoveryBytes, ReadOnly: options.ReadOnly, MustExist: options.MustExist, KeepChangesBytes: options.kept(),
	})
	if err != nil {
		env.Account.Close()
		return nil, err
	}
	for _, m := range r.Memtables() {
		m.Charge(env.Account, budget.Sealed)
		if options.ReadOnly {
			m.Keep()
		}
	}
	d := &DB{dir: dir, options: options, opened: time.Now(), directory: env.Directory, recovery: r, merger: r.State().Merger, loading: make(chan struct{}, options.loads()), clock: stages.NewClock()}
	if options.ReadOnly {
		d.published = &view.Published{Merger: options.Merger, Clock: options.Now}
		d.published.NotBefore(r.State().Now)
		d.published.Publish(&view.State{
			Active: memtable.New(minMemtableBytes), Sealed: r.Memtables(), Version: r.State().Version,
		}, r.State().LastSeq)
	} else {
		d.pipeline = stages.New(env, stages.Start{State: r.State(), Sealed: r.Memtables(), Marked: r.Marked(), Changes: r.Changes(), Takeover: r})
		d.published = &d.pipeline.Published
	}
	if m := d.published.Merger; m != nil {
		d.merger = m.Name
	}
	facts, event := r.Facts(), options.Logger.Info()
	if facts.TornBytes > 0 {
		event = options.Logger.Warn()
	}
	event.Str("dir", d.dir).Bool("created", facts.Created).Bool("clean_close", facts.CleanClose).
		Int("segments", facts.Segments).Uint64("operations", facts.Operations).Int64("torn_bytes", facts.TornBytes).
		Dur("took", facts.Time).Msg("opened")
	return d, nil
}

// Flush writes what is in memory to tables and waits for that. Ctx bounds the
// wait: what has begun goes on, and what has not is taken back.
func (d *DB) Flush(ctx context.Context) error {
	if err := d.writable(ctx); err != nil {
		return err
	}
	return d.pipeline.Flush(ctx)
}

// Compact merges everything between start and end (both included; nil: unbounded)
// into one sorted run, dropping deleted and overwritten entries that no snapshot
// needs. What is written meanwhile is not waited for. If ctx ends, the compaction
// stops between two jobs.
//
// A damaged table is left as it is; its *CorruptionError is returned after the rest
// was compacted.
func (d *DB) Compact(ctx context.Context, start, end []byte) error {
	if err := d.Flush(ctx); err != nil {
		return err
	}
	return d.pipeline.Compact(ctx, start, end)
}

// writable says why a call with ctx cannot write, if so.
func (d *DB) writable(ctx context.Context) error {
	switch {
	case ctx == nil:
		return errNilContext
	case d.closed.Load():
		return ErrClosed
	case d.pipeline == nil:
		return ErrReadOnly
	}
	return ctx.Err() // a request that is sent may be carried out before anybody looks
}

// receive is door.Receive. Whoever closes the database after it sees the guest, or is seen here.
func (d *DB) receive(g *door.Guest) error {
	under, tested := d.options.fs.(interface{ Before() vfs.FS })
	switch {
	case d.closed.Load():
		return ErrClosed
	case d.options.fs != vfs.OS && !(tested && under.Before() == vfs.OS):
		return errors.New("the database lies in no directory")
	case d.pipeline == nil:
		return ErrReadOnly
	case !d.guest.CompareAndSwap(nil, g):
		return errors.New("the database is served already, by another Server")
	case d.closed.Load():
		return ErrClosed
	}
	return nil
}

// Close finishes the writes that are queued, makes all of them durable, stops every
// goroutine and closes every file. Iterators and snapshots that are still open
// return ErrClosed from then on, and loops over Changes end with it. If a failure had stopped the database, Close
// returns its cause. A full disk is none: what is acknowledged is in the log, and the
// next Open finds it there. Close is idempotent: later calls wait for the first and
// return the same.
func (d *DB) Close() error {
	d.closeOnce.Do(func() {
		d.closed.Store(true)
		if guest := d.guest.Load(); guest != nil {
			guest.Leave()
			defer guest.Gone()
		}
		d.clock.Stop()
		if d.pipeline == nil {
			d.closeErr = d.directory.Files.CloseAll()
		} else {
			d.pipeline.Changes.Close()
			d.closeErr = errors.Join(d.pipeline.Close(), d.directory.Files.CloseAll())
			d.pipeline.SweepLeft()
			d.recovery.TakeBack()
		}
		d.published.End()
		d.directory.Account.Close()
		d.closeErr = errors.Join(d.closeErr, d.directory.FS.Close())
		d.options.Logger.Info().Str("dir", d.dir).Err(d.closeErr).Msg("closed")
	})
	return d.closeErr
}

// What a caller can test for with errors.Is.
var (
	// ErrNotFound: the key has no value.
	ErrNotFound = base.ErrNotFound
	// ErrClosed: the database, iterator or snapshot is closed.
	ErrClosed = base.ErrClosed
	// ErrLocked: another process, or this one, has the database open.
	ErrLocked = base.ErrLocked
	// ErrReadOnly: the database was opened read-only, or turned read-only after a
	// failure, whose cause is wrapped as well.
	ErrReadOnly = base.ErrReadOnly
	// ErrCorrupt: a file is damaged; errors.As with *CorruptionError says where.
	ErrCorrupt = base.ErrCorrupt
	// ErrKeyTooLarge: a key is longer than MaxKeyBytes.
	ErrKeyTooLarge = base.ErrKeyTooLarge
	// ErrValueTooLarge: a value is longer than MaxValueBytes.
	ErrValueTooLarge = base.ErrValueTooLarge
	// ErrBatchTooLarge: a batch is longer than MaxBatchBytes.
	ErrBatchTooLarge = base.ErrBatchTooLarge
	// ErrDiskFull: there is no room, or no quota. Nothing of the write was stored; writes
	// succeed again once there is room.
	ErrDiskFull = base.ErrDiskFull
	// ErrDisplaced: somebody moved, replaced or removed the directory, the live log or
	// LOCK while the database was open. It is read-only from then on.
	ErrDisplaced = vfs.ErrDisplaced
	// ErrIncompatible: a file was written by a newer version, or with another Merger.
	ErrIncompatible = base.ErrIncompatible
	// ErrNoMerger: Merge, or a read of a key that has operands, without Options.Merger.
	ErrNoMerger = base.ErrNoMerger
	// ErrConflict: somebody has changed what a transaction has read; errors.As with
	// *ConflictError says which key. Nothing of it was stored.
	ErrConflict = base.ErrConflict
	// ErrTrimmed: changes that were asked for are not kept any more; errors.As with
	// *TrimmedError says which are.
	ErrTrimmed = base.ErrTrimmed
)

// CorruptionError says which file is damaged, and where.
type CorruptionError = base.CorruptionError

// ConflictError says which key that a transaction has read was changed, and by which
// write.
type ConflictError = base.ConflictError

// TrimmedError says that DB.Changes cannot go on, and behind which number it could: Oldest is
// the smallest after for which everything is there.
type TrimmedError = base.TrimmedError

// Limits. Beyond them a call fails before any state changes.
const (
	MaxKeyBytes   = base.MaxKeyBytes
	MaxValueBytes = base.MaxValueBytes
	MaxBatchBytes = base.MaxBatchBytes
)
