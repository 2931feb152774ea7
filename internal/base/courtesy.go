package base

import (
	"runtime"
	"sync/atomic"
	"time"
)

// LongTurn is what counts as long for one turn of others: as long as it takes to wake a
// processor that fell asleep.
const LongTurn = 50 * time.Microsecond

// timeSlice is half of what Go's scheduler gives to whoever computes.
const timeSlice = 5 * time.Millisecond

// Courtesy has goroutines give way to others that wait for a processor, while that costs
// little. Whoever gives way goes to the end of the scheduler's queue. Mostly that is a
// microsecond; in a process that computes it is 10 ms for each goroutine in the queue. So
// each time is measured, and after one that took long nobody gives way for ten times as
// long: a tenth of the time is lost at most, whatever the scheduler does.
//
// The zero value is ready. Any number of goroutines may share one.
type Courtesy struct {
	// Background is set for work that nobody waits for. After a turn below timeSlice it gives
	// way again as soon as it has worked as long, so that half of its time is lost at most:
	// those in the queue do not compute, but hand work to each other, and wait for a
	// processor at each step.
	Background bool

	resume atomic.Int64 // nanoseconds since began: nobody gives way before; 0: no turn took long yet
}

var began = time.Now()

// Clock is the time that a Courtesy goes by.
func Clock() time.Duration { return time.Since(began) }

// Rests reports whether nobody is to give way now.
func (c *Courtesy) Rests(now time.Duration) bool {
	resume := c.resume.Load()
	return resume != 0 && int64(now) < resume
}

// Rest has nobody give way for a while, because it took so long until now.
func (c *Courtesy) Rest(now, took time.Duration) {
	times := time.Duration(10)
	if c.Background && took < timeSlice {
		times = 1
	}
	c.resume.Store(int64(now + times*took))
}

// Give lets others run, unless that took long lately. It returns how long it took this
// time, and whether it may be tried again at once.
func (c *Courtesy) Give() (took time.Duration, more bool) {
	before := Clock()
	if c.Rests(before) {
		return 0, false
	}
	runtime.Gosched()
	now := Clock()
	if took = now - before; took > LongTurn {
		c.Rest(now, took)
		return took, false
	}
	return took, true
}
