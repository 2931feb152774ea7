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
