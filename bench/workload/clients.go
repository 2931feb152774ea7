package workload

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"lsmdb/bench/measure"
)

// Client is one goroutine that works on an engine.
type Client struct {
	ID        int
	rng       *rand.Rand
	key       []byte
	value     []byte
	units     int64 // entries done beyond one per operation
	userBytes int64
	latencies *measure.Latencies
}

func newRand(id int) *rand.Rand { return rand.New(rand.NewPCG(uint64(id), 7)) }

// operation does the i-th of all operations, and returns whether to go on.
type operation func(c *Client, i int64) (more bool, err error)

// plan is how much the clients of a step do, and when. Each does the operations of its
// stripe.
type plan struct {
	start   time.Time
	clients int
	total   int64         // operations; math.MaxInt64: until limit
	limit   time.Duration // no operation of a client begins after one that ended later
	rate    int64         // operations per second of all clients; 0: each follows the one before
}

// due is when an operation of a plan with a rate is to begin. It does not depend on what
// became of those before.
func (p plan) due(i int64) time.Duration { return time.Duration(i * int64(time.Second) / p.rate) }

// clients lets n goroutines call op for their share of the numbers below total, or,
// when total is 0, for all numbers of their stripe until time is up.
func (r *Run) clients(n int, total int64, op operation) error {
	if total == 0 {
		return r.follow(plan{clients: n, total: math.MaxInt64, limit: r.Scale.Duration}, op)
	}
	return r.follow(plan{clients: n, total: total, limit: r.Scale.Cap}, op)
}

// paced lets n goroutines call op at a fixed rate for so long, and for twice as long if
// they fall behind. The latency of an operation counts from when it was due: one that is
// slow delays those behind it, and they tell.
func (r *Run) paced(n int, rate int64, length time.Duration, op operation) error {
	total := max(1, int64(float64(rate)*length.Seconds()))
	return r.follow(plan{clients: n, total: total, limit: 2 * length, rate: rate}, op)
}

// follow lets the clients of a plan do its operations.
func (r *Run) follow(p plan, op operation) error {
	endless := p.total == math.MaxInt64
	if !endless {
		r.total.Store(p.total)
	}
	team := make([]*Client, p.clients)
	capped := make([]bool, p.clients)
	var group errgroup.Group
	p.start = time.Now()
	for id := range team {
		c := &Client{ID: id, rng: newRand(id), latencies: measure.NewLatencies()}
		team[id] = c
		group.Go(func() (err error) {
			capped[id], err = r.client(c, p, op)
			return err
		})
	}
	err := group.Wait()
	r.outcome.elapsed += time.Since(p.start)
	r.outcome.clients = p.clients
	for id, c := range team {
		r.outcome.operations += c.latencies.Count() + c.units
		r.outcome.userBytes += c.userBytes
		r.outcome.latencies.Merge(c.latencies)
		r.outcome.capped = r.outcome.capped || capped[id] && !endless
	}
	return err
}

// client is the loop of one goroutine. Without a rate, one reading of the clock per
// operation ends its time and begins that of the next.
func (r *Run) client(c *Client, p plan, op operation) (capped bool, err error) {
	var alarm *measure.Alarm
	if p.rate > 0 {
		if alarm, err = measure.NewAlarm(); err != nil {
			return false, err
		}
		defer func() { err = errors.Join(err, alarm.Close()) }()
	}
	began, reported := time.Since(p.start), int64(0)
	for i := int64(c.ID); i < p.total; i += int64(p.clients) {
		if p.rate > 0 {
			began = p.due(i)
			if err := alarm.Sleep(began - time.Since(p.start)); err != nil {
				return false, err
			}
		}
		more, err := op(c, i)
		if err != nil {
			return false, fmt.Errorf("client %d, operation %d: %w", c.ID, i, err)
		}
		now := time.Since(p.start)
		c.latencies.Record(now - began)
		began = now
		if c.latencies.Count()&255 == 0 {
			r.done.Add(c.latencies.Count() + c.units - reported)
			reported = c.latencies.Count() + c.units
		}
		if !more {
			return false, nil
		}
		if now > p.limit {
			return true, nil
		}
	}
	return false, nil
}
