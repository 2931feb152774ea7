package stages

import (
	"sync"
	"time"

	"lsmdb/manifest"
)

// JobMetrics counts background jobs, flushes or compactions, or is what one job did.
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

// written is what a job did that wrote tables.
func written(tables []*manifest.TableMeta) JobMetrics {
	done := JobMetrics{Jobs: 1}
	for _, t := range tables {
		done.BytesWritten += uint64(t.SizeBytes)
		done.EntriesOut += t.Entries
	}
	return done
}

// add counts a job that had its effect.
func (s *JobMetrics) add(done JobMetrics) {
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
	stats  JobMetrics
	levels [manifest.NumLevels]JobMetrics // of those that brought something there
}

// count changes the statistics.
func (c *jobCounter) count(change func(*JobMetrics)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.stats)
}

// run counts a job that brings something into a level. Without an error it had its effect.
func (c *jobCounter) run(level int, job func() (JobMetrics, error)) (done JobMetrics, err error) {
	began := time.Now()
	c.count(func(s *JobMetrics) { s.Running++ })
	done, err = job()
	done.Time = time.Since(began)
	c.count(func(s *JobMetrics) {
		s.Running--
		s.Time += done.Time
		if err == nil {
			s.add(done)
			c.levels[level].add(done)
		}
	})
	return done, err
}

func (c *jobCounter) snapshot() (JobMetrics, [manifest.NumLevels]JobMetrics) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats, c.levels
}
