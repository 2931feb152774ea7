package stages

import (
	"context"
	"math"
	"time"

	"lsmdb/compactor"
)

// tidy starts what there is to do only while nobody writes: one job at a time, or a flush.
// Whether anybody does, it looks at twice, with a timer in between. The timer runs only
// while there is something to do: an idle database comes to rest.
func (c *Compactor) tidy(ctx context.Context) {
	state := c.published.State()
	if c.sealing == nil && !c.refused && state.Active.PassesPay() {
		c.flush()
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
	switch {
	case job == nil && !flush:
	case !c.calm || c.published.Visible() != c.seen:
		c.wait()
	case flush:
		c.flush()
	default:
		c.begin(ctx, job, false)
	}
}

// awaitExpiry has the loop look again when more values have ended, but not all the time
// where the clock stands still.
func (c *Compactor) awaitExpiry() {
	now := c.published.Ended()
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

// flush asks for a flush of the active memtable.
func (c *Compactor) flush() {
	if c.sealing = c.seal(); c.sealing == nil {
		c.refused = true
		c.wait()
	}
}

// flushed is closed when the flush that was asked for is answered.
func (c *Compactor) flushed() <-chan struct{} {
	if c.sealing == nil {
		return nil
	}
	return c.sealing.Resolved()
}

// endFlush notes the answer. If there is no room for a flush it is asked for again later.
func (c *Compactor) endFlush() {
	if c.sealing.Result() != nil {
		c.refused = true
		c.wait()
	}
	c.sealing = nil
}
