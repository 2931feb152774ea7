package stages

import (
	"time"

	"lsmdb/internal/base"
	"lsmdb/manifest"
)

// Metrics is a picture of the pipeline. Each part is consistent in itself.
type Metrics struct {
	Stages         []StageMetrics // in the order of the pipeline
	Writer         WriterStats
	Flush, Compact JobMetrics
	Levels         [manifest.NumLevels]JobMetrics
	ManifestBytes  int64
	Deleted        uint64 // obsolete files
	Pending        int    // obsolete files that could not be deleted yet
	Snapshots      int
	MergeFailures  uint64   // times that a flush or compaction left operands as they are
	OldestSnapshot base.Seq // 0: none
	Transactions   int      // open
}

// Metrics collects the picture. It blocks no stage.
func (p *Pipeline) Metrics() Metrics {
	m := Metrics{
		Stages: []StageMetrics{
			p.writer.inbox.metrics("writer"),
			p.flusher.inbox.metrics("flusher"),
			p.keeper.inbox.metrics("keeper"),
			p.compactor.inbox.metrics("compactor"),
			p.sweeper.inbox.metrics("sweeper"),
		},
		Writer:        p.writer.snapshotStats(),
		ManifestBytes: p.keeper.logBytes.Load(),
		Deleted:       uint64(p.sweeper.deleted.Load()),
		Pending:       int(p.sweeper.pending.Load()),
		MergeFailures: p.env.MergeFailures.Load(),
		Transactions:  int(p.writer.transactions.Load()),
	}
	m.Flush, _ = p.flusher.jobs.snapshot()
	m.Compact, m.Levels = p.compactor.jobs.snapshot()
	m.Levels[0].add(m.Flush) // every flush goes there
	m.Snapshots, m.OldestSnapshot = p.Count()
	if m.Writer.Behind != "" && len(p.State().Version.Levels[0]) >= p.env.Policy.L0Limit {
		m.Writer.Behind = "compactor"
	}
	return m
}

// WriteMetrics counts what callers wrote.
type WriteMetrics struct {
	Commits    uint64 `json:"commits"` // Put, Delete, Apply, Submit, Sync and Flush calls
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

// StallMetrics says how long writers were held back, and by which stage.
type StallMetrics struct {
	Count  uint64        `json:"count"`
	Time   time.Duration `json:"time_ns"`
	Behind string        `json:"behind,omitempty"` // the stage that writers wait for now: flusher, or compactor where level 0 is full
}

// WriterStats counts the Writer's work.
type WriterStats struct {
	WriteMetrics
	WALMetrics
	StallMetrics
}

// count changes the statistics and notes where the WAL stands.
func (w *Writer) count(change func(*WriterStats)) {
	w.statsMu.Lock()
	defer w.statsMu.Unlock()
	change(&w.stats)
	w.stats.Segment = w.log.Segment()
	w.stats.OffsetBytes, w.stats.DurableBytes, w.stats.ReservedBytes = w.log.Offset(), w.log.Durable(), w.log.ReservedBytes()
}

// snapshotStats returns the statistics; any goroutine may call it.
func (w *Writer) snapshotStats() WriterStats {
	w.statsMu.Lock()
	defer w.statsMu.Unlock()
	return w.stats
}
