package stages

import (
	"fmt"
	"sync"
	"time"

	"lsmdb/internal/base"
	"lsmdb/manifest"
)

// Metrics is a picture of the pipeline. Each part is consistent in itself.
type Metrics struct {
	Traffic        []Traffic // in the order of the pipeline, the Preparer last
	Writer         WriterStats
	Flush, Compact JobStats
	Levels         [manifest.NumLevels]JobStats
	Level0Full     bool   // flushes wait for compaction
	Slowed         Slowed // the Writer, to the pace of flushes
	FlushSlowed    Slowed // flushes, to the pace of compactions
	ManifestBytes  int64
	Deleted        uint64 // obsolete files
	Pending        int    // obsolete files that could not be deleted yet
	Snapshots      int
	MergeFailures  uint64   // times that a flush or compaction left operands as they are
	OldestSnapshot base.Seq // 0: none
	Transactions   int      // open
	Queued         int64    // commits that were acknowledged when they were sent
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
			p.preparer.inbox.traffic("preparer"),
		},
		Writer:        p.writer.snapshotStats(),
		Level0Full:    len(p.State().Version.Levels[0]) >= p.env.Policy.L0Limit,
		Slowed:        p.writer.pace.slowed(),
		FlushSlowed:   p.flusher.pace.slowed(),
		ManifestBytes: p.keeper.logBytes.Load(),
		Deleted:       uint64(p.sweeper.deleted.Load()),
		Pending:       int(p.sweeper.pending.Load()),
		MergeFailures: p.env.MergeFailures.Load(),
		Transactions:  int(p.writer.transactions.Load()),
		Queued:        p.queued.Load(),
	}
	m.Flush, _ = p.flusher.jobs.snapshot()
	m.Compact, m.Levels = p.compactor.jobs.snapshot()
	m.Levels[0].add(m.Flush) // every flush goes there
	m.Snapshots, m.OldestSnapshot = p.Count()
	return m
}

// Running lists the flush and the compactions at work, and says how many of these there may be.
func (p *Pipeline) Running() (jobs []Running, workers int) {
	return p.compactor.toil.list(p.writer.pace.work.list(nil)), p.env.Workers
}

// WriterStats counts the Writer's work.
type WriterStats struct {
	Commits, Groups, Operations uint64
	Large                       uint64 // commits that their callers have prepared
	UserBytes                   uint64 // keys and values
	LogBytes                    uint64 // written to all segments, without preallocation
	Syncs, Rotations, Stalls    uint64
	SyncTime, StallTime         time.Duration
	RotationTime                time.Duration // without the waits for the Flusher
	Stalled                     bool          // waiting for the Flusher right now
	Segment                     uint64
	Offset, Durable, Reserved   int64 // in the segment
}

// count changes the statistics and notes where the WAL stands.
func (w *Writer) count(change func(*WriterStats)) {
	w.statsMu.Lock()
	defer w.statsMu.Unlock()
	change(&w.stats)
	w.stats.Segment = w.log.Segment()
	w.stats.Offset, w.stats.Durable, w.stats.Reserved = w.log.Offset(), w.log.Durable(), w.log.ReservedBytes()
}

// snapshotStats returns the statistics; any goroutine may call it.
func (w *Writer) snapshotStats() WriterStats {
	w.statsMu.Lock()
	defer w.statsMu.Unlock()
	return w.stats
}

// longStall is how long writers may be held up before that is worth a word: a burst of writes
// waits for a flush, which is as it should be.
const longStall = time.Second

// Health returns nil, or why writes fail or wait now, or what background work waits for. If
// it was the Writer, or the Keeper for it, who met a shortage, it tries again, so that a
// later call tells whether there still is one.
func (p *Pipeline) Health() error {
	if p.Failed() != nil {
		return p.Refusal()
	}
	w := p.writer
	for i, s := range []*base.Shortage{&w.shortage, &p.keeper.shortage, &p.flusher.shortage, &p.compactor.shortage} {
		if err := s.Now(); err != nil {
			if i < 2 && len(w.inbox.ch) == 0 { // otherwise it tries anyway
				p.wake()
			}
			return err
		}
	}
	working, began := w.courtesy.commits.Load()%2 == 1, time.Unix(0, w.began.Load())
	if !working || time.Since(began) < longStall {
		return nil
	}
	behind := "disk"
	if w.snapshotStats().Stalled || w.pace.waiting.Load() {
		behind = "flusher"
		if p.flusher.pace.waiting.Load() || len(p.State().Version.Levels[0]) >= p.env.Policy.L0Limit {
			behind = "compactor"
		}
	}
	return fmt.Errorf("lsmdb: writers have been waiting for the %s since %s", behind, began.Format(time.RFC3339))
}

// JobStats counts background jobs of one sort, or is what one job did.
type JobStats struct {
	Jobs                    uint64
	Running                 int
	Moves, Drops            uint64 // that read nothing
	BytesRead, BytesWritten uint64
	EntriesIn, EntriesOut   uint64
	Time                    time.Duration
	Retries                 uint64
	SetAside                int // damaged tables that compaction leaves alone
}

// written is what a job did that wrote tables.
func written(tables []*manifest.TableMeta) JobStats {
	done := JobStats{Jobs: 1}
	for _, t := range tables {
		done.BytesWritten += uint64(t.SizeBytes)
		done.EntriesOut += t.Entries
	}
	return done
}

// add counts a job that had its effect.
func (s *JobStats) add(done JobStats) {
	s.Jobs += done.Jobs
	s.Moves += done.Moves
	s.Drops += done.Drops
	s.BytesRead += done.BytesRead
	s.BytesWritten += done.BytesWritten
	s.EntriesIn += done.EntriesIn
	s.EntriesOut += done.EntriesOut
}

// jobCounter counts the jobs of a stage. Workers and Metrics meet in it, hence
// the mutex; it is taken a few times per job.
type jobCounter struct {
	mu     sync.Mutex
	stats  JobStats
	levels [manifest.NumLevels]JobStats // of those that brought something there
}

// count changes the statistics.
func (c *jobCounter) count(change func(*JobStats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.stats)
}

// run counts a job that brings something into a level. Without an error it had its effect.
func (c *jobCounter) run(level int, job func() (JobStats, error)) (done JobStats, err error) {
	began := time.Now()
	c.count(func(s *JobStats) { s.Running++ })
	done, err = job()
	done.Time = time.Since(began)
	c.count(func(s *JobStats) {
		s.Running--
		s.Time += done.Time
		if err == nil {
			s.add(done)
			c.levels[level].add(done)
		}
	})
	return done, err
}

func (c *jobCounter) snapshot() (JobStats, [manifest.NumLevels]JobStats) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats, c.levels
}
