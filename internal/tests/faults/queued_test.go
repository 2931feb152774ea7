package faults

import (
	"context"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// queue queues some commits, and waits until they are written. A disk that stays full for
// longer than anybody waits is mended: then all of them must be.
func (r *faultRun) queue(ctx context.Context) {
	var queued []fixture.Commit
	for range 8 {
		c := r.commit(3, 0)
		if err := r.d.Apply(ctx, c.Batch(r.d), db.Queued); err != nil {
			r.expected("Apply", err)
			break
		}
		queued = append(queued, c)
	}
	before := r.d.Metrics().Sequence
	written := r.d.Apply(ctx, r.d.NewBatch(), db.NoSync)
	if written != nil && ctx.Err() != nil {
		r.refused++
		if !r.fault.hasFired() {
			r.errorf("what was queued waits for nothing")
		}
		r.machine.Fail(nil)
		r.machine.Disk.SetLimit(0)
		written = r.d.Apply(context.Background(), r.d.NewBatch(), db.NoSync)
	}
	visible := r.d.Metrics().Sequence
	if before > visible {
		r.errorf("sequence number %d after %d", visible, before)
	}
	for i, c := range queued {
		if written != nil && r.h.SequenceAfter(len(r.h.Commits)) == visible { // they were told nothing else
			if r.expected("what waits for queued writes", written); r.maybe == nil {
				r.maybe = queued[i:]
			}
			return
		}
		r.h.Add(c, db.NoSync)
	}
}
