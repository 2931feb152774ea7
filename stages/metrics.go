package stages

import "lsmdb/manifest"

// Metrics is a picture of the pipeline. Each part is consistent in itself.
type Metrics struct {
	Traffic        []Traffic // in the order of the pipeline
	Writer         WriterStats
	Flush, Compact JobStats
	Levels         [manifest.NumLevels]LevelTraffic
	Level0Full     bool // flushes wait for compaction
	ManifestBytes  int64
	Deleted        uint64 // obsolete files
	Pending        int    // obsolete files that could not be deleted yet
	Snapshots      int
	MergeFailures  uint64 // times that a flush or compaction left operands as they are
	OldestSnapshot uint64 // 0: none
}

// Metrics collects the picture. It blocks no stage.
func (p *Pipeline) Metrics() Metrics {
	m := Metrics{
		Traffic: []Traffic{
			p.writer.inbox.traffic("writer"),
			p.flusher.inbox.traffic("flusher"),
			p.keeper.inbox.traffic("keeper"),
			p.compactor.inbox.traffic("compactor"),
			p.sweeper.inbox.traffic("sweeper"),
		},
		Writer:        p.writer.snapshotStats(),
		Level0Full:    p.keeper.held.Load(),
		ManifestBytes: p.keeper.logBytes.Load(),
		Deleted:       uint64(p.sweeper.deleted.Load()),
		Pending:       int(p.sweeper.pending.Load()),
		MergeFailures: p.env.MergeFailures.Load(),
	}
	m.Flush, _ = p.flusher.jobs.snapshot()
	m.Compact, m.Levels = p.compactor.jobs.snapshot()
	m.Levels[0].Jobs += m.Flush.Jobs // every flush goes there
	m.Levels[0].BytesWritten += m.Flush.BytesWritten
	if open, oldest := p.Count(); open > 0 {
		m.Snapshots, m.OldestSnapshot = open, uint64(oldest)
	}
	return m
}
