package stages

import (
	"sync"
	"time"

	"lsmdb/manifest"
)

// JobStats counts background jobs of one sort.
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

// LevelTraffic counts what jobs brought into one level.
type LevelTraffic struct {
	Jobs, Moves             uint64
	BytesRead, BytesWritten uint64
}

// JobResult is what one finished job did.
type JobResult struct {
	Level     int // that the outputs went to
	BytesRead uint64
	EntriesIn uint64
	Outputs   []*manifest.TableMeta
	Moved     bool // the table came down as it was
	Dropped   bool // the tables went as they were

	Took         time.Duration // filled in by finish, as the next two are
	BytesWritten uint64
	EntriesOut   uint64
}

// jobCounter counts the jobs of a stage. Workers and Metrics meet in it, hence
// the mutex; it is taken a few times per job.
type jobCounter struct {
	mu     sync.Mutex
	stats  JobStats
	levels [manifest.NumLevels]LevelTraffic
}

// count changes the statistics.
func (c *jobCounter) count(change func(*JobStats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.stats)
}

// begin counts a running job and returns when it began.
func (c *jobCounter) begin() time.Time {
	c.count(func(s *JobStats) { s.Running++ })
	return time.Now()
}

// failed ends a job that had no effect.
func (c *jobCounter) failed(began time.Time) {
	c.count(func(s *JobStats) { s.Running--; s.Time += time.Since(began) })
}

// finish ends a job that had its effect, and completes r.
func (c *jobCounter) finish(began time.Time, r JobResult) JobResult {
	r.Took = time.Since(began)
	if !r.Moved {
		for _, t := range r.Outputs {
			r.BytesWritten += uint64(t.SizeBytes)
			r.EntriesOut += t.Entries
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Running--
	c.stats.Time += r.Took
	level := &c.levels[r.Level]
	if r.Dropped {
		c.stats.Drops++
		return r
	}
	if r.Moved {
		c.stats.Moves++
		level.Moves++
		return r
	}
	level.Jobs++
	level.BytesRead += r.BytesRead
	level.BytesWritten += r.BytesWritten
	c.stats.Jobs++
	c.stats.BytesRead += r.BytesRead
	c.stats.BytesWritten += r.BytesWritten
	c.stats.EntriesIn += r.EntriesIn
	c.stats.EntriesOut += r.EntriesOut
	return r
}

func (c *jobCounter) snapshot() (JobStats, [manifest.NumLevels]LevelTraffic) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats, c.levels
}
