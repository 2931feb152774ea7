package stages

import (
	"context"
	"errors"
	"fmt"

	"lsmdb/compactor"
	"lsmdb/manifest"
)

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
	toil := c.toil.begin(job.InputEntries())
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
