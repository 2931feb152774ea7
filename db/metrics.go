package db

import (
	"time"

	"lsmdb/internal/recovery"
	"lsmdb/internal/view"
	"lsmdb/manifest"
	"lsmdb/sstable"
	"lsmdb/stages"
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
	Filter   FilterMetrics   `json:"filter"`
	Snapshot SnapshotMetrics `json:"snapshots"`
	Iterator IteratorMetrics `json:"iterators"`

	Transaction TransactionMetrics `json:"transactions"`

	Checkpoint CheckpointMetrics `json:"checkpoints"`

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

// What the lower floors count, they also describe.
type (
	// StageMetrics describes one stage of the pipeline and its mailbox.
	StageMetrics = stages.StageMetrics
	// WriteMetrics counts what callers wrote.
	WriteMetrics = stages.WriteMetrics
	// WALMetrics describes the write-ahead log.
	WALMetrics = stages.WALMetrics
	// JobMetrics counts background jobs: flushes or compactions.
	JobMetrics = stages.JobMetrics
	// StallMetrics says how long writers were held back, and by which stage.
	StallMetrics = stages.StallMetrics
	// CacheMetrics describes the block cache.
	CacheMetrics = sstable.CacheMetrics
	// RecoveryMetrics tells what Open found and did.
	RecoveryMetrics = recovery.Metrics
	// IteratorMetrics describes the open iterators and what only they keep.
	IteratorMetrics = view.IteratorMetrics
	// CheckpointMetrics describes the open checkpoints and what only they keep.
	CheckpointMetrics = view.CheckpointMetrics
)

// MemtableMetrics describes what is held in memory only (and in the WAL).
type MemtableMetrics struct {
	ActiveBytes int64 `json:"active_bytes"`
	ActiveCount int64 `json:"active_entries"`
	Sealed      int   `json:"sealed"` // memtables waiting for the flusher or in it
	SealedBytes int64 `json:"sealed_bytes"`
	SealedCount int64 `json:"sealed_entries"`
}

// ReadMetrics counts what reading cost. Cache hits cost nothing here.
type ReadMetrics struct {
	BlocksRead uint64 `json:"blocks_read"` // from table files, by reads and compactions
	BytesRead  uint64 `json:"bytes_read"`
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

// FileMetrics describes the directory as the database sees it.
type FileMetrics struct {
	OpenTables      int    `json:"open_tables"` // tables whose file is open
	ObsoleteDeleted uint64 `json:"obsolete_deleted"`
	ObsoletePending int    `json:"obsolete_pending"` // not needed any more, but still read, or not to be deleted yet
	ManifestBytes   int64  `json:"manifest_bytes"`
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
		Recovery: d.recovery.Metrics(),
		Files:    FileMetrics{OpenTables: d.directory.Files.Len()},
	}
	m.Iterator, m.Checkpoint = d.published.Pinned()
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
		m.Cache = d.directory.Cache.Metrics()
	}
	reads := d.directory.Stats.Metrics()
	m.Reads = ReadMetrics{BlocksRead: reads.BlocksRead, BytesRead: reads.BytesRead}
	m.Filter = FilterMetrics{
		Checks: reads.FilterChecks, Negatives: reads.FilterNegatives, FalsePositives: reads.FilterFalsePositives,
	}
	if d.pipeline != nil {
		d.addPipeline(&m)
	}
	return m
}

// addPipeline fills in what the stages count.
func (d *DB) addPipeline(m *Metrics) {
	p := d.pipeline.Metrics()
	m.Stages, m.Flush, m.Compact = p.Stages, p.Flush, p.Compact
	m.Writes, m.WAL, m.Stalls = p.Writer.WriteMetrics, p.Writer.WALMetrics, p.Writer.StallMetrics
	for i, t := range p.Levels {
		level := &m.Levels[i]
		level.Jobs, level.Moves = t.Jobs, t.Moves
		level.BytesRead, level.BytesWritten = t.BytesRead, t.BytesWritten
	}
	m.Snapshot = SnapshotMetrics{Open: p.Snapshots, Oldest: uint64(p.OldestSnapshot)}
	m.Transaction = TransactionMetrics{
		Open: p.Transactions, Begun: d.begun.Load(), Committed: d.committed.Load(), Conflicted: d.conflicted.Load(),
	}
	m.Files.ObsoleteDeleted, m.Files.ObsoletePending = p.Deleted, p.Pending
	m.Files.ManifestBytes = p.ManifestBytes
	m.MergeFailures = p.MergeFailures
	if err := d.pipeline.Failed(); err != nil {
		m.Failure = err.Error()
	}
}
