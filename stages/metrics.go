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
	}
	var flushed, compacted [manifest.NumLevels]LevelTraffic
	m.Flush, flushed = p.flusher.jobs.snapshot()
	m.Compact, compacted = p.compactor.jobs.snapshot()
	for i := range m.Levels {
		m.Levels[i] = LevelTraffic{
			Jobs:         flushed[i].Jobs + compacted[i].Jobs,
			Moves:        flushed[i].Moves + compacted[i].Moves,
			BytesRead:    flushed[i].BytesRead + compacted[i].BytesRead,
			BytesWritten: flushed[i].BytesWritten + compacted[i].BytesWritten,
		}
	}
	if open, oldest := p.Count(); open > 0 {
		m.Snapshots, m.OldestSnapshot = open, uint64(oldest)
	}
	return m
}
