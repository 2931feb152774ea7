package db

import "time"

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
	m.Iterator = IteratorMetrics{Open: int(pinned.Iterators), MemtableBytes: pinned.MemtableBytes}
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
		}
	}
	if d.directory.Cache != nil {
		m.Cache = CacheMetrics(d.directory.Cache.Metrics())
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
	for _, t := range p.Traffic {
		m.Stages = append(m.Stages, StageMetrics(t))
	}
	w := p.Writer
	m.Writes = WriteMetrics{Commits: w.Commits, Groups: w.Groups, Operations: w.Operations, UserBytes: w.UserBytes}
	m.WAL = WALMetrics{
		Segment: w.Segment, OffsetBytes: w.Offset, DurableBytes: w.Durable, ReservedBytes: w.Reserved,
		BytesWritten: w.LogBytes, Syncs: w.Syncs, SyncTime: w.SyncTime, Rotations: w.Rotations,
	}
	m.Flush, m.Compact = JobMetrics(p.Flush), JobMetrics(p.Compact)
	m.Stalls = StallMetrics{Count: w.Stalls, Time: w.StallTime}
	if w.Stalled {
		m.Stalls.Behind = "flusher"
		if p.Level0Full {
			m.Stalls.Behind = "compactor"
		}
	}
	for i, t := range p.Levels {
		level := &m.Levels[i]
		level.Jobs, level.Moves = t.Jobs, t.Moves
		level.BytesRead, level.BytesWritten = t.BytesRead, t.BytesWritten
	}
	m.Snapshot = SnapshotMetrics{Open: p.Snapshots, Oldest: p.OldestSnapshot}
	m.Files.ObsoleteDeleted, m.Files.ObsoletePending = p.Deleted, p.Pending
	m.Files.ManifestBytes = p.ManifestBytes
	if err := d.pipeline.Failed(); err != nil {
		m.Failure = err.Error()
	}
}
