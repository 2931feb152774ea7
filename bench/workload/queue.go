package workload

import (
	"fmt"
	"time"
)

// queueElements is how many elements the queue holds at first.
const queueElements = 500_000

// lapOperations is how many operations pass between two looks at the clock.
const lapOperations = 16

// laps are moments of one step, so that its parts can be compared.
type laps []time.Duration

// rates returns operations per second in the first and in the last tenth of what was done.
func (l laps) rates() (first, last float64) {
	end := len(l) - 1
	if end < 1 {
		return 0, 0
	}
	tenth := max(1, end/10)
	operations := float64(tenth * lapOperations)
	return operations / (l[tenth] - l[0]).Seconds(), operations / (l[end] - l[end-tenth]).Seconds()
}

// drainQueue takes the element with the smallest key until none is left: each time with
// an iterator of its own, as a program does that looks for its next job. Every element
// is checked. What matters is whether the last ones are found as fast as the first.
func drainQueue(r *Run) error {
	var moments laps
	start := time.Now()
	err := r.clients(1, r.Data.Entries, func(c *Client, i int64) (bool, error) {
		if i%lapOperations == 0 {
			moments = append(moments, time.Since(start))
		}
		return true, r.takeFirst(c, i)
	})
	if err != nil {
		return err
	}
	first, last := moments.rates()
	r.note(FirstTenth, first)
	r.note(LastTenth, last)
	if r.outcome.capped {
		return nil
	}
	return r.expectEmpty()
}

// Names of figures that a step with Tenths notes in Result.Extra.
const (
	FirstTenth = "first_tenth_per_second"
	LastTenth  = "last_tenth_per_second"
)

// takeFirst removes the first element, which must be the given one.
func (r *Run) takeFirst(c *Client, element int64) error {
	it, err := r.Engine.NewIterator(false)
	if err != nil {
		return err
	}
	if !it.First() {
		it.Close() // nothing is there: that says more
		return fmt.Errorf("the queue is empty before element %d", element)
	}
	err = r.checkAt(it, element)
	c.key = append(c.key[:0], it.Key()...)
	if err == nil {
		c.userBytes += KeyBytes
		err = r.Engine.Delete(c.key)
	}
	if closeErr := it.Close(); err == nil {
		err = closeErr
	}
	return err
}

// expectEmpty fails if anything is left.
func (r *Run) expectEmpty() error {
	it, err := r.Engine.NewIterator(false)
	if err != nil {
		return err
	}
	left := it.First()
	if err := it.Close(); err != nil {
		return err
	}
	if left {
		return fmt.Errorf("the queue holds an element that was removed")
	}
	return nil
}
