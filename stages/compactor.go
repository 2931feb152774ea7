package stages

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"lsmdb/compactor"
	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/internal/view"
	"lsmdb/manifest"
)

// Compactor is the stage that keeps the tree in shape: it looks at the published
// version, picks jobs and hands them to workers.
//
//   - Owns: the running jobs, the tables set aside.
//   - Sends to it: the Keeper and anyone else (nudges: there may be something to do),
//     callers (requests), its workers (results). It sends to no stage, but asks the
//     Writer for a flush where that needs no waiting; its workers send proposals to the
//     Keeper.
//   - Blocks it: nothing but its own inboxes, and reading the index of a table with range
//     deletes, or below one, when it meets it first.
//   - On an error of a job: a shortage is waited out, a damaged table is set aside,
//     anything else is tried three times before it stops the database.
//   - Drains by stopping its workers at their next block.
type Compactor struct {
	env       *Environment
	published *view.Published // for the tree, and to see whether anybody writes
	snapshots *Snapshots
	launch    func(name string, body func(context.Context) error, after func()) (done <-chan struct{})
	seal      func() <-chan error // asks for a flush without waiting, and returns where the answer will come
	inbox     *Inbox[struct{}]    // anyone sends without waiting, nobody closes; capacity 1 remembers it
	keeper    *Inbox[*Proposal]   // its workers share it with the Flusher
	requests  chan *rangeRequest  // callers send and wait, the loop receives, nobody closes; no capacity: nothing is left behind
	finished  chan finishedJob    // workers send, the loop receives, nobody closes; one place per worker, so a worker never waits
	stopping  chan struct{}       // the steward closes it: start no more jobs, stop the running ones
	stuck     chan struct{}       // the loop closes it when a table was set aside: level 0 may never shrink again
	isStuck   sync.Once
	jobs      jobCounter
	toil      *progress // of the workers, for the Flusher
	shortage  base.Shortage

	newest   *manifest.Version  // as of the last look
	deletes  *compactor.Deletes // in it
	running  []*compactor.Job
	setAside map[uint64]error          // what is wrong with damaged tables, by number
	failing  map[uint64]output.BackOff // of jobs that failed, by their first input
	resume   <-chan time.Time          // no job starts before it fires; nil: no reason to wait
	pending  []*rangeRequest           // the first is under way
	serving  int                       // running jobs that serve requests
	stopped  bool

	quiet   <-chan time.Time // fires when the house may have become idle; nil: no work waits for that
	seen    base.Seq         // newest write when quiet was set
	calm    bool             // quiet fired: if seen is still the newest write, the house is idle
	ending  <-chan time.Time // fires when values may have ended that take space; nil: none will
	sealing <-chan error     // will answer the flush that was asked for; nil: none was
	refused bool             // it was refused, and quiet did not fire since
}

// rangeRequest asks for a manual compaction.
type rangeRequest struct {
	ctx    context.Context // of the caller: once it ends, nobody is interested any more
	bounds compactor.Range
	reply  chan error // the loop sends one answer, the caller receives; capacity 1, never closed
}

// finishedJob is a worker's report.
type finishedJob struct {
	job    *compactor.Job
	manual bool // it served a request
	err    error
}

func newCompactor(env *Environment, published *view.Published, snapshots *Snapshots, keeper *Inbox[*Proposal]) *Compactor {
	return &Compactor{
		env: env, published: published, snapshots: snapshots, keeper: keeper,
		inbox:    newInbox[struct{}](compactorCapacity),
		requests: make(chan *rangeRequest),
		finished: make(chan finishedJob, env.Workers),
		stopping: make(chan struct{}),
		stuck:    make(chan struct{}),
		toil:     newProgress(),
		setAside: make(map[uint64]error),
		failing:  make(map[uint64]output.BackOff),
	}
}

// run is the stage's loop. It ends when the steward wants it to and no worker is left.
func (c *Compactor) run(ctx context.Context) error {
	workers, stop := context.WithCancel(ctx)
	defer stop()
	stopping := c.stopping
	for !c.stopped || len(c.running) > 0 {
		c.dispatch(workers)
		select {
		case <-c.inbox.ch:
			c.inbox.worked(1, 0)
		case f := <-c.finished:
			if err := c.settle(ctx, f); err != nil {
				return err
			}
		case r := <-c.requests:
			c.pending = append(c.pending, r)
		case <-c.resume:
			c.resume = nil
		case <-c.quiet:
			c.quiet, c.refused, c.calm = nil, false, true
		case <-c.ending:
			c.ending = nil
		case err := <-c.sealing:
			c.endFlush(err)
		case <-stopping:
			stopping = nil
			c.stopped = true
			stop()
		}
	}
	return nil
}

// dispatch starts jobs until no worker is free or nothing is left to do.
func (c *Compactor) dispatch(ctx context.Context) {
	for !c.stopped && ctx.Err() == nil && c.resume == nil && len(c.running) < c.env.Workers {
		now := c.published.Ended() // what ends between the look and the wait is waited for
		job, manual := c.choose()
		if job == nil {
			c.awaitExpiry(now)
			c.tidy(ctx)
			return
		}
		c.start(ctx, job, manual)
	}
}

// choose picks the next job. A manual compaction goes first; while it waits for
// running jobs, only a level 0 that grows dangerous gets jobs of its own.
func (c *Compactor) choose() (job *compactor.Job, manual bool) {
	situation := c.look()
	for len(c.pending) > 0 {
		r := c.pending[0]
		job, done := compactor.PickRange(situation, r.bounds)
		abandoned := r.ctx.Err() != nil
		if job != nil && !abandoned {
			return job, true
		}
		// The tree may be done before the last worker has reported what it did to it.
		if (!done || c.serving > 0) && !abandoned {
			if len(c.newest.Levels[0]) < c.env.Policy.L0Limit/2 {
				return nil, false
			}
			break
		}
		r.reply <- cmp.Or(r.ctx.Err(), c.damageWithin(r.bounds)) // the caller may not have seen yet that ctx ended
		c.pending = c.pending[1:]
	}
	job = compactor.Pick(situation)
	if job == nil && c.snapshots.await(compactor.Awaited(situation)) {
		return c.choose()
	}
	return job, false
}

// look returns what the decisions of this moment depend on.
func (c *Compactor) look() compactor.Situation {
	c.newest = c.published.State().Version
	c.deletes = compactor.Gather(c.newest, compactor.RangeDeletes, c.deletes)
	return compactor.Situation{
		Policy: c.env.Policy, Version: c.newest, Running: c.running, SetAside: c.setAside,
		Readers: c.snapshots.Readers(c.published.Ended), Hidden: c.published.Visible() + 1, Deletes: c.deletes, Share: compactor.Share,
	}
}

// damageWithin returns what prevented a manual compaction from being complete: the
// damage of the tables in its range that are set aside. Where there is none, but the
// range did not get into one level, what is left of it overlaps others elsewhere.
func (c *Compactor) damageWithin(r compactor.Range) error {
	var within []error
	held, left := false, false // some of the range, by a level; by one that it should have left
	for level := range c.newest.Levels {
		here := false
		for _, t := range c.newest.Overlapping(level, r.Lower, r.Upper) {
			within = append(within, c.setAside[t.Number])
			here = here || t.SmallestSeq <= r.Through
		}
		held, left = held || here, left || here && (held || level == 0)
	}
	if err := errors.Join(within...); err != nil || !left {
		return err
	}
	return errors.Join(slices.Collect(maps.Values(c.setAside))...)
}

// start hands a job to a worker of its own: a goroutine that runs the job,
// proposes its edit to the Keeper and reports. Whatever happens to it, a panic
// included, it reports exactly once.
func (c *Compactor) start(ctx context.Context, job *compactor.Job, manual bool) {
	c.running = append(c.running, job)
	if manual {
		c.serving++
	}
	version := c.newest
	report := finishedJob{job: job, manual: manual, err: errors.New("the worker ended without a result")}
	c.launch("compaction worker", func(context.Context) error {
		report.err = c.work(ctx, job, version)
		return nil
	}, func() { c.finished <- report })
}

// work carries a job out.
func (c *Compactor) work(ctx context.Context, job *compactor.Job, version *manifest.Version) error {
	done, err := c.jobs.run(job.OutputLevel, func() (done JobStats, err error) {
		switch {
		case job.Trivial:
			done.Moves = 1
		case job.Drop:
			done.Drops = 1
		default:
			return c.rewrite(ctx, job, version)
		}
		return done, c.env.propose(ctx, c.keeper, &Proposal{Edit: job.Edit(nil)}).err
	})
	if err == nil {
		c.env.Logger.Info().Stringer("job", job).Uint64("read_bytes", done.BytesRead).Uint64("written_bytes", done.BytesWritten).
			Uint64("entries_in", done.EntriesIn).Uint64("entries_out", done.EntriesOut).Dur("took", done.Time).Msg("compacted")
	}
	return err
}

// rewrite runs a job and proposes its edit. The snapshots are listed after the inputs were
// chosen, all of which was visible then. So one that is missing here sees nothing older than
// the inputs' newest versions.
func (c *Compactor) rewrite(ctx context.Context, job *compactor.Job, version *manifest.Version) (done JobStats, err error) {
	toil := c.toil.begin(job.InputEntries(), job)
	defer toil.end()
	if job.Level == 0 {
		c.toil.relieving.Add(1)
		defer c.toil.relieving.Add(-1)
	}
	outputs, err := job.Run(ctx, c.env.Directory, c.snapshots.Readers(c.published.Ended), version, toil.read)
	if err != nil {
		return done, fmt.Errorf("compacting (%s): %w", job, err)
	}
	done = written(outputs)
	done.BytesRead, done.EntriesIn = uint64(job.InputBytes()), job.InputEntries()
	return done, c.env.succeed(ctx, c.keeper, job.Runs(), outputs, &Proposal{Edit: job.Edit(outputs)}).err
}

// settle notes the end of a job. An error means that the database must stop.
func (c *Compactor) settle(ctx context.Context, f finishedJob) error {
	c.running = slices.DeleteFunc(c.running, func(j *compactor.Job) bool { return j == f.job })
	if f.manual {
		c.serving--
	}
	if base.IsShortage(f.err) {
		c.shortage.Note(f.err)
	}
	switch {
	case f.err == nil:
		for _, t := range f.job.Inputs {
			delete(c.failing, t.Number)
			if f.job.Drop {
				delete(c.setAside, t.Number)
			}
		}
		if len(c.failing) == 0 {
			c.shortage.Note(nil)
		}
		c.jobs.count(func(s *JobStats) { s.SetAside = len(c.setAside) })
		return nil
	case errors.Is(f.err, errOvertaken) && f.manual && len(c.pending) > 0: // the caller may have given up
		c.pending[0].bounds.Overtaken++
		return nil
	case ctx.Err() != nil || c.stopped || errors.Is(f.err, errOvertaken):
		return nil
	}
	if damaged := f.job.Damaged(f.err); len(damaged) > 0 {
		c.putAside(damaged, f)
		return nil
	}
	first := f.job.Inputs[0].Number
	retry := c.failing[first]
	if !retry.After(f.err) {
		return f.err
	}
	c.failing[first] = retry
	c.jobs.count(func(s *JobStats) { s.Retries++ })
	c.env.Logger.Error().Err(f.err).Stringer("job", f.job).Dur("retry_in", retry.Delay).Msg("compaction failed")
	c.resume = time.After(retry.Delay)
	return nil
}

// putAside excludes damaged tables from compaction. They stay in the tree, so what
// can still be read in them is read, and nothing in them is ever dropped.
func (c *Compactor) putAside(tables []uint64, f finishedJob) {
	c.isStuck.Do(func() { close(c.stuck) })
	for _, number := range tables {
		c.setAside[number] = f.err
	}
	c.jobs.count(func(s *JobStats) { s.SetAside = len(c.setAside) })
	c.env.Logger.Error().Err(f.err).Uints64("tables", tables).Msg("damaged tables are set aside, compaction goes on without them")
}

// tidy starts what there is to do only while nobody writes: one job at a time, or a flush.
// Whether anybody does, it looks at twice, with a timer in between. The timer runs only
// while there is something to do: an idle database comes to rest.
func (c *Compactor) tidy(ctx context.Context) {
	state := c.published.State()
	if c.sealing == nil && !c.refused && state.Active.PassesPay() {
		c.sealing = c.seal()
	}
	if c.sealing != nil || c.quiet != nil || len(c.running) > 0 || len(c.pending) > 0 {
		return
	}
	situation := c.look()
	// The flush comes first: what it brings takes part in the merges.
	flush := len(state.Sealed) == 0 && compactor.FlushPays(situation, state.Active)
	var job *compactor.Job
	if !flush {
		job = compactor.PickIdle(situation)
	}
	if job == nil { // whatever has failed, nobody wants it any more
		clear(c.failing)
		c.shortage.Note(nil)
	}
	switch {
	case job == nil && !flush:
	case !c.calm || c.published.Visible() != c.seen:
		c.wait()
	case flush:
		c.sealing = c.seal()
	default:
		c.start(ctx, job, false)
	}
}

// awaitExpiry has the loop look again when more values have ended than at a time, but not
// all the time where the clock stands still.
func (c *Compactor) awaitExpiry(now int64) {
	c.ending = nil
	if next := compactor.NextExpiry(c.newest, now); next != 0 {
		c.ending = time.After(max(c.env.idleDelay(), time.Duration(min(uint64(next)-uint64(now), math.MaxInt64))))
	}
}

// wait sets the timer after which the house may be idle.
func (c *Compactor) wait() {
	c.calm, c.seen = false, c.published.Visible()
	c.quiet = time.After(c.env.idleDelay())
}

// endFlush notes the answer. If there is no room for a flush it is asked for again later.
func (c *Compactor) endFlush(err error) {
	c.sealing = nil
	if err != nil {
		c.refused = true
		c.wait()
	}
}

// refuse answers the requests that were not finished.
func (c *Compactor) refuse(cause error) {
	for _, r := range c.pending {
		r.reply <- cause
	}
	c.pending = nil
}
