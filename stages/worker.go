package stages

import (
	"context"
	"errors"
	"fmt"

	"lsmdb/compactor"
	"lsmdb/internal/base"
	"lsmdb/manifest"
)

// start hands a job to a worker of its own: a goroutine that runs the job,
// proposes its edit to the Keeper and reports. Whatever happens to it, a panic
// included, it reports exactly once.
func (c *Compactor) start(ctx context.Context, job *compactor.Job, manual bool) {
	version := c.newest
	report := finishedJob{job: job, manual: manual, err: errors.New("the worker ended without a result")}
	c.launch("compaction worker", func(context.Context) error {
		report.err = c.work(ctx, job, version)
		return nil
	}, func() { c.finished <- report })
}

// work carries a job out. The snapshots are listed after the inputs were chosen, all of
// which was visible then. So one that is missing here sees nothing older than the inputs'
// newest versions.
func (c *Compactor) work(ctx context.Context, job *compactor.Job, version *manifest.Version) error {
	began := c.jobs.begin()
	result, edit, err := c.execute(ctx, job, version)
	if err != nil {
		c.jobs.failed(began)
		return err
	}
	v := c.env.propose(ctx, c.keeper, &Proposal{Edit: edit})
	if v.err != nil {
		c.jobs.failed(began)
		return v.err
	}
	done := c.jobs.finish(began, result)
	c.env.Logger.Info().Stringer("job", job).Uint64("read_bytes", done.BytesRead).Uint64("written_bytes", done.BytesWritten).
		Uint64("entries_in", done.EntriesIn).Uint64("entries_out", done.EntriesOut).Dur("took", done.Took).Msg("compacted")
	return nil
}

// execute runs the job, unless it only moves or drops tables, and makes its edit.
func (c *Compactor) execute(ctx context.Context, job *compactor.Job, version *manifest.Version) (JobResult, *manifest.Edit, error) {
	if job.Unread() {
		return JobResult{Level: job.OutputLevel, Moved: job.Trivial, Dropped: job.Drop}, job.Edit(nil), nil
	}
	var courtesy base.Courtesy
	outputs, err := job.Run(ctx, c.env.Directory, c.snapshots.Readers(c.published.Ended), version, func() { courtesy.Give() })
	if err != nil {
		return JobResult{}, nil, fmt.Errorf("compacting (%s): %w", job, err)
	}
	result := JobResult{Level: job.OutputLevel, BytesRead: uint64(job.InputBytes()), EntriesIn: job.InputEntries(), Outputs: outputs}
	return result, job.Edit(outputs), nil
}
