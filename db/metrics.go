package db

import (
	"context"
	"time"

	"lsmdb/compactor"
	"lsmdb/internal/budget"
	"lsmdb/internal/inside"
	"lsmdb/internal/view"
	"lsmdb/manifest"
)

// Metrics is a picture of the database at one moment. Counters count since Open;
// sizes are in bytes. It marshals to JSON with durations in nanoseconds.
type Metrics struct {
	Uptime   time.Duration   `json:"uptime_ns"`
	Sequence uint64          `json:"sequence"`          // of the newest visible write
	Failure  string          `json:"failure,omitempty"` // why the database turned read-only; empty while all is well
	Levels   []LevelMetrics  `json:"levels"`            // level 0 first
	Stages   []StageMetrics  `json:"stages"`            // in the order of the pipeline
	Memtable MemtableMetrics `json:"memtable"`
	Writes   WriteMetrics    `json:"writes"`
	WAL      WALMetrics      `json:"wal"`
	Flush    JobMetrics      `json:"flush"`
	Compact  JobMetrics      `json:"compact"`
	Stalls   StallMetrics    `json:"stalls"`
	Reads    ReadMetrics     `json:"reads"`
	Cache    CacheMetrics    `json:"cache"`
	Memory   MemoryMetrics   `json:"memory"` // what this database takes; MemoryBudget.Metrics has all of a budget
	Filter   FilterMetrics   `json:"filter"`
	Snapshot SnapshotMetrics `json:"snapshots"`
	Iterator IteratorMetrics `json:"iterators"`

	Transaction TransactionMetrics `json:"transactions"`

	Checkpoint CheckpointMetrics `json:"checkpoints"`

	Changes ChangesMetrics `json:"changes"`

	Files    FileMetrics     `json:"files"`
	Recovery RecoveryMetrics `json:"recovery"`

	MergeFailures uint64 `json:"merge_failures"` // times that the Merger failed in a flush or compaction, which left the operands as they are
}

// LevelMetrics describes one level of the tree.
type LevelMetrics struct {
	Level        int    `json:"level"`
	Tables       int    `json:"tables"`
	Bytes        int64  `json:"bytes"`
	Entries      uint64 `json:"entries"`
	Deletes      uint64 `json:"deletes"`       // tombstones among the entries
	RangeDeletes uint64 `json:"range_deletes"` // beside the entries, each once in every span into which they cut each other
	Merges       uint64 `json:"merges"`        // operands among the entries
	Expiring     uint64 `json:"expiring"`      // values that end among the entries
	BytesWritten uint64 `json:"bytes_written"` // into this level, by flushes and compactions
	BytesRead    uint64 `json:"bytes_read"`    // by compactions whose outputs went to this level
	Jobs         uint64 `json:"jobs"`          // that wrote to this level
	Moves        uint64 `json:"moves"`         // tables that came down without being rewritten
}

// StageMetrics describes one stage of the pipeline and its mailbox.
type StageMetrics struct {
	Name     string        `json:"name"`
	Depth    int           `json:"depth"`      // messages waiting
	Capacity int           `json:"capacity"`   // messages that may wait
	Messages uint64        `json:"messages"`   // received
	Blocked  time.Duration `json:"blocked_ns"` // time senders waited because the mailbox was full
	Busy     time.Duration `json:"busy_ns"`    // time the stage spent on messages, its own waiting for others included
}

// MemtableMetrics describes what is held in memory only (and in the WAL).
type MemtableMetrics struct {
	ActiveBytes int64 `json:"active_bytes"`
	ActiveCount int64 `json:"active_entries"`
	Sealed      int   `json:"sealed"` // memtables waiting for the flusher or in it
	SealedBytes int64 `json:"sealed_bytes"`
	SealedCount int64 `json:"sealed_entries"`
}

// WriteMetrics counts what callers wrote.
type WriteMetrics struct {
	Commits    uint64 `json:"commits"` // Put, Delete, Apply, Submit, Sync and Flush calls, and reads that waited for what was Queued
	Queued     uint64 `json:"queued"`  // calls that were acknowledged when they were queued
	Large      uint64 `json:"large"`   // commits that their callers prepared, as they are too large for the Writer to hold others up with
	Groups     uint64 `json:"groups"`  // they were merged into, each one WAL record at most
	Operations uint64 `json:"operations"`
	UserBytes  uint64 `json:"user_bytes"` // keys and values
}

// WALMetrics describes the write-ahead log.
type WALMetrics struct {
	Segment       uint64        `json:"segment"`        // number of the segment being written
	OffsetBytes   int64         `json:"offset_bytes"`   // written in it
	DurableBytes  int64         `json:"durable_bytes"`  // known to be fsynced in it
	ReservedBytes int64         `json:"reserved_bytes"` // preallocated in it
	BytesWritten  uint64        `json:"bytes_written"`  // in all segments, without preallocation
	Syncs         uint64        `json:"syncs"`
	SyncTime      time.Duration `json:"sync_ns"`
	Rotations     uint64        `json:"rotations"`
}

// JobMetrics counts background jobs: flushes or compactions.
type JobMetrics struct {
	Jobs         uint64        `json:"jobs"`
	Running      int           `json:"running"`
	Moves        uint64        `json:"moves"` // tables moved down without being rewritten
	Drops        uint64        `json:"drops"` // jobs that removed tables without reading them
	BytesRead    uint64        `json:"bytes_read"`
	BytesWritten uint64        `json:"bytes_written"`
	EntriesIn    uint64        `json:"entries_in"`
	EntriesOut   uint64        `json:"entries_out"`
	Time         time.Duration `json:"time_ns"`
	Retries      uint64        `json:"retries"`   // attempts that failed and were repeated
	SetAside     int           `json:"set_aside"` // damaged tables that compaction leaves alone
}

// StallMetrics says how long writers were held back, and by which stage. They are slowed
// down first, to the pace of flushes, which are slowed down to the pace of compactions where
// level 0 is nearly full. They are stopped only if that was not enough.
type StallMetrics struct {
	Count  uint64        `json:"count"`
	Time   time.Duration `json:"time_ns"`
	Behind string        `json:"behind,omitempty"` // the stage that writers wait for now: flusher, or compactor where level 0 is (nearly) full

	Slowed          uint64        `json:"slowed"` // groups of writes that had to wait for a flush to go on
	SlowedTime      time.Duration `json:"slowed_time_ns"`
	FlushSlowedTime time.Duration `json:"flush_slowed_time_ns"` // flushes waited for compactions to go on
	RotationTime    time.Duration `json:"rotation_time_ns"`     // syncs when one log segment followed another
}

// ReadMetrics counts what reading cost. Cache hits cost nothing here.
type ReadMetrics struct {
	BlocksRead uint64 `json:"blocks_read"` // from table files, by reads and compactions
	BytesRead  uint64 `json:"bytes_read"`
}

// CacheMetrics describes the block cache.
type CacheMetrics struct {
	Capacity  int64  `json:"capacity_bytes"`
	Used      int64  `json:"used_bytes"`
	Blocks    int    `json:"blocks"`
	Hits      uint64 `json:"hits"`
	Misses    uint64 `json:"misses"`
	Evictions uint64 `json:"evictions"`
}

// MemoryMetrics says what memory is taken for, by one database or by all of a MemoryBudget.
// It is what they count, in bytes, and not what the system says.
type MemoryMetrics struct {
	Limit     int64 `json:"limit_bytes"`     // of the budget; 0: there is none
	Used      int64 `json:"used_bytes"`      // the sum of the others
	Memtables int64 `json:"memtables_bytes"` // that are being filled
	Sealed    int64 `json:"sealed_bytes"`    // ... that are full, until they are flushed and no iterator needs them; the log of a read-only open
	Cache     int64 `json:"cache_bytes"`
	Tables    int64 `json:"tables_bytes"`    // indexes, filters and range deletes
	Jobs      int64 `json:"jobs_bytes"`      // what flushes, compactions and loads hold of the tables they write
	ReadAhead int64 `json:"readahead_bytes"` // of iterators and compactions
	Collector int64 `json:"collector_bytes"` // garbage that Go's collector may leave beside all of these but memtables (GOGC)
}

func memoryMetrics(u budget.Usage) MemoryMetrics {
	return MemoryMetrics{
		Limit: u.LimitBytes, Used: u.UsedBytes(), Memtables: u.Taken[budget.Active], Sealed: u.Taken[budget.Sealed] + u.Taken[budget.Kept],
		Cache: u.Taken[budget.Cache], Tables: u.Taken[budget.Tables], Jobs: u.Taken[budget.Writers],
		ReadAhead: u.Taken[budget.Readers], Collector: u.CollectorBytes,
	}
}

// FilterMetrics tells what the Bloom filters are worth.
type FilterMetrics struct {
	Checks         uint64 `json:"checks"`
	Negatives      uint64 `json:"negatives"`       // tables that were not read thanks to a filter
	FalsePositives uint64 `json:"false_positives"` // tables that were read in vain
}

// SnapshotMetrics describes the open snapshots.
type SnapshotMetrics struct {
	Open   int    `json:"open"`   // those of transactions among them
	Oldest uint64 `json:"oldest"` // its sequence number; 0 when none is open
}

// TransactionMetrics counts transactions. Those of Update count once for each run. What
// neither committed nor conflicted, nor is open, was discarded or failed.
type TransactionMetrics struct {
	Open       int    `json:"open"`
	Begun      uint64 `json:"begun"`
	Committed  uint64 `json:"committed"`  // those that wrote nothing included
	Conflicted uint64 `json:"conflicted"` // their Commit was refused with ErrConflict
}

// CheckpointMetrics describes the open checkpoints and what only they keep.
type CheckpointMetrics struct {
	Open       int   `json:"open"`
	TableBytes int64 `json:"table_bytes"` // of tables that are not in the tree any more
}

// ChangesMetrics describes the loops over DB.Changes, and what is kept for them.
type ChangesMetrics struct {
	Loops    int    `json:"loops"`         // that run
	Segments int    `json:"kept_segments"` // of the log, that recovery does not need any more
	Bytes    int64  `json:"kept_bytes"`    // of these
	Oldest   uint64 `json:"oldest"`        // changes behind this sequence number are there; 0 also before what was recovered is durable
}

// IteratorMetrics describes the open iterators and what only they keep.
type IteratorMetrics struct {
	Open          int   `json:"open"`
	MemtableBytes int64 `json:"memtable_bytes"` // memory of memtables that are in tables already
	FileBytes     int64 `json:"file_bytes"`     // of those that were moved to the disk, in files without a name
}

// FileMetrics describes the directory as the database sees it.
type FileMetrics struct {
	OpenTables      int    `json:"open_tables"` // tables whose file is open
	ObsoleteDeleted uint64 `json:"obsolete_deleted"`
	ObsoletePending int    `json:"obsolete_pending"` // not needed any more, but still read, or not to be deleted yet
	ManifestBytes   int64  `json:"manifest_bytes"`
}

// RecoveryMetrics tells what Open found and did. TablesWritten and FilesRemoved grow
// when the database is taken over (see Open), in the background.
type RecoveryMetrics struct {
	Created       bool          `json:"created"`        // the directory held no database before
	CleanClose    bool          `json:"clean_close"`    // the last use ended with Close
	Segments      int           `json:"segments"`       // WAL segments replayed
	Commits       uint64        `json:"commits"`        // commit groups replayed
	Operations    uint64        `json:"operations"`     // operations replayed
	Bytes         int64         `json:"bytes"`          // WAL bytes replayed
	TornBytes     int64         `json:"torn_bytes"`     // bytes of an unfinished write that were cut off
	TablesWritten int           `json:"tables_written"` // tables made of what was replayed
	FilesRemoved  int           `json:"files_removed"`  // left over and unlisted
	Time          time.Duration `json:"time_ns"`
}

// Tables returns the number of tables in all levels and their bytes.
func (m *Metrics) Tables() (count int, sizeBytes int64) {
	for _, l := range m.Levels {
		count += l.Tables
		sizeBytes += l.Bytes
	}
	return count, sizeBytes
}

// WriteAmplification is the bytes written to WAL and tables for each byte that
// callers wrote since Open; 0 before the first write.
func (m *Metrics) WriteAmplification() float64 {
	if m.Writes.UserBytes == 0 {
		return 0
	}
	return float64(m.WAL.BytesWritten+m.Flush.BytesWritten+m.Compact.BytesWritten) / float64(m.Writes.UserBytes)
}

// ReadAmplification is the number of sorted runs that a read of an absent key
// without filters would look into: memtables, tables of level 0 and each
// populated deeper level.
func (m *Metrics) ReadAmplification() int {
	runs := 1 + m.Memtable.Sealed
	for _, l := range m.Levels {
		switch {
		case l.Level == 0:
			runs += l.Tables
		case l.Tables > 0:
			runs++
		}
	}
	return runs
}

// NumLevels is the number of levels of the tree.
const NumLevels = manifest.NumLevels

// Metrics returns a picture of the database. It is cheap, blocks no stage, and may
// be called at any time, also after Close.
func (d *DB) Metrics() Metrics {
	state := d.published.State()
	m := Metrics{
		Uptime:   time.Since(d.opened),
		Sequence: uint64(d.published.Visible()),
		Levels:   make([]LevelMetrics, NumLevels),
		Memtable: MemtableMetrics{
			ActiveBytes: state.Active.UsedBytes(),
			ActiveCount: state.Active.Len(),
			Sealed:      len(state.Sealed),
		},
		Recovery: RecoveryMetrics(d.recovery.Facts()),
		Files:    FileMetrics{OpenTables: d.directory.Files.Len()},
	}
	pinned := d.published.Pinned()
	m.Iterator = IteratorMetrics{Open: int(pinned.Iterators), MemtableBytes: pinned.MemtableBytes, FileBytes: pinned.FileBytes}
	m.Checkpoint = CheckpointMetrics{Open: pinned.Pins, TableBytes: pinned.TableBytes}
	for _, sealed := range state.Sealed {
		m.Memtable.SealedBytes += sealed.UsedBytes()
		m.Memtable.SealedCount += sealed.Len()
	}
	for i := range m.Levels {
		level := &m.Levels[i]
		level.Level = i
		for _, t := range state.Version.Levels[i] {
			level.Tables++
			level.Bytes += t.SizeBytes
			level.Entries += t.Entries
			level.Deletes += t.Deletes
			level.RangeDeletes += t.RangeDeletes
			level.Merges += t.Merges
			level.Expiring += t.Expiring
		}
	}
	if d.directory.Cache != nil {
		m.Cache = CacheMetrics(d.directory.Cache.Metrics())
	}
	m.Memory = memoryMetrics(d.directory.Account.Usage())
	m.Reads, m.Filter = ReadMetrics(d.directory.Stats.Reads()), FilterMetrics(d.directory.Stats.Filters())
	if d.pipeline != nil {
		d.addPipeline(&m)
	} else {
		m.Changes = ChangesMetrics(d.recovery.Kept())
	}
	return m
}

// addPipeline fills in what the stages count.
func (d *DB) addPipeline(m *Metrics) {
	p := d.pipeline.Metrics()
	for _, t := range p.Traffic {
		m.Stages = append(m.Stages, StageMetrics(t))
	}
	w := p.Writer
	m.Writes = WriteMetrics{Commits: w.Commits, Queued: uint64(p.Queued), Large: w.Large, Groups: w.Groups, Operations: w.Operations, UserBytes: w.UserBytes}
	m.WAL = WALMetrics{
		Segment: w.Segment, OffsetBytes: w.Offset, DurableBytes: w.Durable, ReservedBytes: w.Reserved,
		BytesWritten: w.LogBytes, Syncs: w.Syncs, SyncTime: w.SyncTime, Rotations: w.Rotations,
	}
	m.Flush, m.Compact = JobMetrics(p.Flush), JobMetrics(p.Compact)
	m.Stalls = StallMetrics{
		Count: w.Stalls, Time: w.StallTime, RotationTime: w.RotationTime,
		Slowed: p.Slowed.Times, SlowedTime: p.Slowed.Time, FlushSlowedTime: p.FlushSlowed.Time,
	}
	if w.Stalled || p.Slowed.Now {
		m.Stalls.Behind = "flusher"
		if p.Level0Full || p.FlushSlowed.Now {
			m.Stalls.Behind = "compactor"
		}
	}
	for i, t := range p.Levels {
		level := &m.Levels[i]
		level.Jobs, level.Moves = t.Jobs, t.Moves
		level.BytesRead, level.BytesWritten = t.BytesRead, t.BytesWritten
	}
	m.Snapshot = SnapshotMetrics{Open: p.Snapshots, Oldest: uint64(p.OldestSnapshot)}
	m.Transaction = TransactionMetrics{
		Open: p.Transactions, Begun: d.begun.Load(), Committed: d.committed.Load(), Conflicted: d.conflicted.Load(),
	}
	m.Changes = ChangesMetrics(d.pipeline.Changes.Stats())
	m.Files.ObsoleteDeleted, m.Files.ObsoletePending = p.Deleted, p.Pending
	m.Files.ManifestBytes = p.ManifestBytes
	m.MergeFailures = p.MergeFailures
	if err := d.pipeline.Failed(); err != nil {
		m.Failure = err.Error()
	}
}

func init() {
	inside.Look = func(d any) inside.Picture { return d.(*DB).picture() }
	inside.Snapshot = func(ctx context.Context, d any) (any, error) { return d.(*DB).snapshot(ctx, view.Caller(2)) }
	inside.Link = func(ctx context.Context, c any, dir string) error { return c.(*Checkpoint).link(ctx, dir) }
	inside.DecodeOps = func(ops any, count uint32, encoded []byte) (err error) {
		to := ops.(*[]Op)
		*to, err = decodeOps(*to, count, encoded)
		return err
	}
}

// picture is what package inside shows of it.
func (d *DB) picture() inside.Picture {
	p := inside.Picture{
		Closed: d.closed.Load(), ReadOnly: d.pipeline == nil, Version: d.published.State().Version,
		Policy: compactor.NewPolicy(d.options.MemtableBytes), MemtableBytes: d.options.MemtableBytes,
	}
	if d.pipeline != nil {
		p.Running, p.Workers = d.pipeline.Running()
	}
	return p
}
