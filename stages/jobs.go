package stages

import (
	"sync"
	"time"

	"lsmdb/manifest"
)

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
