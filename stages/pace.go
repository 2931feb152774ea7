package stages

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lsmdb/compactor"
	"lsmdb/internal/base"
)

// Where flushes or compactions are slower than who writes, back-pressure stops writers until
// one of them is done, however long that takes. So a stage is slowed down before. While there
// is work below that it would have to wait for in the end, it uses up the room that is left
// no faster than that work is done. No clock is asked for that: who works tells how far it
// is, every 64 KiB, and who goes too fast waits for the next such notice.

// noticeBytes is what a job reads between two notices.
const noticeBytes = 64 << 10

// progress is how far flushes, or compactions, have come, in entries.
type progress struct {
	done      atomic.Int64 // in all
	left      atomic.Int64 // to be done by the jobs that are running
	ahead     atomic.Int64 // to be done behind these before there is room: see handOnLarge
	relieving atomic.Int64 // jobs among them that take tables out of level 0

	// moved is sent to by whoever works, without waiting, and received from by the stage above.
	// Nobody closes it. Capacity 1: one notice is as good as many.
	moved chan struct{}

	mu   sync.Mutex // jobs begin and end, and somebody looks at them, now and then
	jobs []*job
}

func newProgress() *progress { return &progress{moved: make(chan struct{}, 1)} }

// job is what one job adds to it.
type job struct {
	*progress
	running             Running // but for what is read
	told                atomic.Int64
	begun               bool // left counts it
	unread              int64
	unsaid, unsaidBytes int64
	courtesy            base.Courtesy
}

// begin makes the part of a job that will read so many entries. It counts from its first
// notice on: nobody can go by the work of one that does not come forward. What comes after
// the last entry takes time, too, so a part of the work is done only when the job ends.
func (p *progress) begin(entries uint64, compaction *compactor.Job) *job {
	j := &job{progress: p, unread: int64(entries + entries/16 + 1), courtesy: base.Courtesy{Background: true}}
	j.running = Running{Compaction: compaction, Since: time.Now(), Entries: int64(entries)}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.jobs = append(p.jobs, j)
	return j
}

// Running is a flush or a compaction at work.
type Running struct {
	Since         time.Time
	Compaction    *compactor.Job // nil: a flush
	Entries, Read int64          // that it has to read in all, and has so far
}

// list adds the jobs at work, the oldest first.
func (p *progress) list(to []Running) []Running {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, j := range p.jobs {
		to = append(to, j.running)
		to[len(to)-1].Read = min(j.told.Load(), j.running.Entries)
	}
	return to
}

// read lets others run, and is told what the job has read since the last call.
func (j *job) read(entries, bytes int64) {
	j.courtesy.Give()
	j.unsaid, j.unsaidBytes = j.unsaid+entries, j.unsaidBytes+bytes
	if j.unsaidBytes < noticeBytes {
		return
	}
	if !j.begun {
		j.begun = true
		j.left.Add(j.unread)
	}
	j.say(min(j.unsaid, j.unread-1))
}

// say tells that so much is done.
func (j *job) say(entries int64) {
	j.unread, j.unsaid, j.unsaidBytes = j.unread-entries, 0, 0
	j.done.Add(entries)
	j.told.Add(entries)
	j.left.Add(-entries)
	nudge(j.moved)
}

// end notes that the job is over.
func (j *job) end() {
	if j.begun {
		j.say(j.unread)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.jobs = slices.DeleteFunc(j.jobs, func(other *job) bool { return other == j })
}

// pace keeps a stage from going faster than the work below.
type pace struct {
	work *progress

	bound  bool    // it goes by the work
	seen   int64   // of what is done
	credit float64 // may be used at once

	times   atomic.Int64 // that it had to wait
	waited  atomic.Int64 // nanoseconds
	waiting atomic.Bool
}

// Slowed is how often and how long a stage was slowed down.
type Slowed struct {
	Times uint64
	Time  time.Duration
	Now   bool
}

func (p *pace) slowed() Slowed {
	return Slowed{uint64(p.times.Load()), time.Duration(p.waited.Load()), p.waiting.Load()}
}

// keep waits until so much may be used. look returns the room that there is, and the work
// that has to be done before there is more; no work: there is no need to wait. Nor is there
// when one of two channels is closed. It fails with the cause of ctx.
func (p *pace) keep(ctx context.Context, amount int64, look func() (room, work int64), enough, closing <-chan struct{}) (waited time.Duration, err error) {
	var start time.Time
	for p.tooFast(look()) {
		if start.IsZero() {
			start = time.Now()
			p.times.Add(1)
			p.waiting.Store(true)
		}
		select {
		case <-p.work.moved:
			continue
		case <-enough:
		case <-closing:
		case <-ctx.Done():
		}
		break
	}
	p.credit -= float64(amount)
	if !start.IsZero() {
		waited = time.Since(start)
		p.waited.Add(int64(waited))
		p.waiting.Store(false)
	}
	return waited, context.Cause(ctx)
}

// tooFast adds to the credit the share of the room that was earned by what was done since the
// last call, and reports whether it is used up. When it begins, a quarter of the room is free.
func (p *pace) tooFast(room, work int64) bool {
	total := p.work.done.Load()
	done := total - p.seen
	p.seen = total
	switch {
	case work == 0:
		p.bound = false
		return false
	case !p.bound:
		p.bound, p.credit, done = true, float64(room)/4, 0 // what was done before earns nothing
	}
	p.credit = min(p.credit+float64(done)*float64(room)/float64(done+work), float64(room))
	return p.credit < 0
}
