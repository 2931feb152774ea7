package workload

import (
	"sync"
	"time"

	"lsmdb/bench/engine"
	"lsmdb/bench/measure"
)

// loadBatch is the size of batches, measured or not.
const loadBatch = 100

// overwriteSalt makes an order other than that of loading.
const overwriteSalt = 1 << 20

// fill stores every entry once, one per operation.
func fill(clients int, order func(d *Dataset, i int64) int64, version uint64) func(*Run) error {
	return func(r *Run) error {
		return r.clients(clients, r.Data.Entries, func(c *Client, i int64) (bool, error) {
			return true, r.put(c, order(r.Data, i), version)
		})
	}
}

func (r *Run) put(c *Client, entry int64, version uint64) error {
	c.key = r.Data.Key(c.key, entry)
	c.userBytes += int64(KeyBytes + r.Data.ValueBytes)
	return r.Engine.Put(c.key, r.Data.Value(entry, version))
}

func inOrder(_ *Dataset, i int64) int64  { return i }
func random(d *Dataset, i int64) int64   { return d.Permute(i, 0) }
func reRandom(d *Dataset, i int64) int64 { return d.Permute(i, overwriteSalt) }

// fillSync stores entries in random order until time is up.
func fillSync(clients int) func(*Run) error {
	return func(r *Run) error {
		return r.clients(clients, 0, func(c *Client, i int64) (bool, error) {
			if i >= r.Data.Entries {
				return false, nil
			}
			return true, r.put(c, random(r.Data, i), 0)
		})
	}
}

// fillBatches stores every entry once in random order, loadBatch per operation.
func fillBatches(r *Run) error { return r.batches(random) }

// load is the preparation of other workloads: every entry is there afterwards.
func load(r *Run) error {
	order := random
	if r.kind.SortedLoad {
		order = inOrder
	}
	defer r.uncapped()()
	return r.batches(order)
}

// loadInOrder is the same in the order of the keys.
func loadInOrder(r *Run) error {
	defer r.uncapped()()
	return r.batches(inOrder)
}

func (r *Run) batches(order func(*Dataset, int64) int64) error {
	batch := r.Engine.NewBatch()
	operations := (r.Data.Entries + loadBatch - 1) / loadBatch
	err := r.clients(1, operations, func(c *Client, i int64) (bool, error) {
		last := min((i+1)*loadBatch, r.Data.Entries)
		for j := i * loadBatch; j < last; j++ {
			entry := order(r.Data, j)
			c.key = r.Data.Key(c.key, entry)
			if err := batch.Put(c.key, r.Data.Value(entry, 0)); err != nil {
				return false, err
			}
		}
		entries := last - i*loadBatch
		c.units += entries - 1
		c.userBytes += entries * int64(KeyBytes+r.Data.ValueBytes)
		return true, batch.Commit()
	})
	return err
}

// pipelineDepth is how many writes one client keeps under way.
const pipelineDepth = 128

// ackEvery says of which pipelined writes the time until the acknowledgement is
// taken: it costs a goroutine, which would slow down the whole if every write did.
const ackEvery = 64

// acks gathers the times from a call to the acknowledgement.
type acks struct {
	under sync.WaitGroup // acknowledgements awaited

	mu        sync.Mutex // protects latencies: acknowledgements come in goroutines of their own
	latencies *measure.Latencies
}

// expect returns what is to be called at the acknowledgement of the i-th write; nil
// for those that are not in the sample.
func (a *acks) expect(i int64) func() {
	if i%ackEvery != 0 {
		return nil
	}
	a.under.Add(1)
	start := time.Now()
	return func() {
		took := time.Since(start)
		a.mu.Lock()
		a.latencies.Record(took)
		a.mu.Unlock()
		a.under.Done()
	}
}

// fillPipelined stores every entry once in random order without waiting for each,
// where the engine can; it is fillrandom where it cannot. Latencies are those of the
// call; those of the acknowledgement are a series of their own.
func fillPipelined(r *Run) error {
	pipeliner, ok := r.Engine.(engine.Pipeliner)
	if !ok {
		r.note("pipelined", 0)
		return fill(1, random, 0)(r)
	}
	r.note("pipelined", 1)
	sample := &acks{latencies: measure.NewLatencies()}
	r.outcome.acks = sample.latencies
	pipeline := pipeliner.NewPipeline(pipelineDepth)
	err := r.clients(1, r.Data.Entries, func(c *Client, i int64) (bool, error) {
		entry := random(r.Data, i)
		c.key = r.Data.Key(c.key, entry)
		c.userBytes += int64(KeyBytes + r.Data.ValueBytes)
		if err := pipeline.Put(c.key, r.Data.Value(entry, 0), sample.expect(i)); err != nil {
			return false, err
		}
		if i == r.Data.Entries-1 {
			return false, pipeline.Drain() // the last operation waits for all
		}
		return true, nil
	})
	if drainErr := pipeline.Drain(); err == nil {
		err = drainErr
	}
	if err == nil {
		sample.under.Wait() // a failed write may never be acknowledged
	}
	return err
}
