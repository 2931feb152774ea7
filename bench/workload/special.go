package workload

import (
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"lsmdb/bench/measure"
)

// writerRate is how fast the writer beside the readers goes, in entries per second.
const writerRate = 200_000

// readWhileWriting measures readers while one writer overwrites at a fixed rate.
func readWhileWriting(r *Run) error {
	_, err := r.besideWriter(readRandom(2, 1))
	return err
}

// besideWriter does something while one writer overwrites at writerRate. It notes what
// the writer achieved, and returns its longest put.
func (r *Run) besideWriter(do func(*Run) error) (longest time.Duration, err error) {
	var stop atomic.Bool
	var writer errgroup.Group
	written, start := int64(0), time.Now()
	w := &Client{}
	writer.Go(func() error {
		for !stop.Load() {
			due := int64(time.Since(start).Seconds() * writerRate)
			for ; written < due && !stop.Load(); written++ {
				putStart := time.Now()
				if err := r.put(w, reRandom(r.Data, written%r.Data.Entries), 1); err != nil {
					return err
				}
				longest = max(longest, time.Since(putStart))
			}
			time.Sleep(time.Millisecond) // the pace of the load, nothing waits for it
		}
		return nil
	})
	err = do(r)
	elapsed := time.Since(start)
	stop.Store(true)
	if writerErr := writer.Wait(); err == nil {
		err = writerErr
	}
	r.outcome.userBytes += w.userBytes
	r.note("writer_ops_per_second", float64(written)/elapsed.Seconds())
	return longest, err
}

// keptShare is one in how many entries the deletion leaves.
const keptShare = 100

// deleteMost removes, in random order and batches, all but each keptShare-th entry.
func deleteMost(r *Run) error {
	batch := r.Engine.NewBatch()
	defer r.uncapped()() // the scan that follows counts on all being done
	operations := (r.Data.Entries + loadBatch - 1) / loadBatch
	return r.clients(1, operations, func(c *Client, i int64) (bool, error) {
		c.units--
		for j := i * loadBatch; j < min((i+1)*loadBatch, r.Data.Entries); j++ {
			entry := reRandom(r.Data, j)
			if entry%keptShare == 0 {
				continue
			}
			c.key = r.Data.Key(c.key, entry)
			c.userBytes += KeyBytes
			c.units++
			if err := batch.Delete(c.key); err != nil {
				return false, err
			}
		}
		return true, batch.Commit()
	})
}

// scanTombstones walks over what the deletion left. Its rate counts the entries
// that were there before.
func scanTombstones(r *Run) error {
	kept := (r.Data.Entries + keptShare - 1) / keptShare
	err := r.scanAll(false, kept, func(i int64) int64 { return i * keptShare })
	r.note("entries_left", float64(kept))
	r.outcome.operations = r.Data.Entries
	return err
}

// reopenings is how often a clean open is repeated in one round.
const reopenings = 5

// fillLog writes entries that stay in memory and in the log. An engine without a
// log is loaded.
func fillLog(r *Run) error {
	if r.kind.SortedLoad {
		return load(r)
	}
	defer r.uncapped()()
	if err := fill(1, random, 0)(r); err != nil {
		return err
	}
	return r.Engine.Persist()
}

// openClean times opening what was closed cleanly, and a first read.
func openClean(r *Run) error { return r.openings(reopenings) }

// recover times opening what a process left behind that ended without Close.
func recoverLog(r *Run) error { return r.openings(1) }

// openings closes and opens n times; only opening and the first read count.
func (r *Run) openings(n int) error {
	timed := time.Duration(0)
	c := &Client{}
	for range n {
		if err := r.close(); err != nil {
			return err
		}
		start := time.Now()
		if err := r.open(); err != nil {
			return err
		}
		if err := r.get(c, 0, 0); err != nil {
			return err
		}
		took := time.Since(start)
		r.outcome.latencies.Record(took)
		timed += took
	}
	r.outcome.operations, r.outcome.elapsed = int64(n), timed
	return nil
}

// verifyAll is the check that recovery lost nothing.
func verifyAll(r *Run) error {
	r.outcome.latencies = measure.NewLatencies()
	return scanForward(r)
}

// dropCaches runs while the database is closed: what is read next comes from the
// device.
func dropCaches(r *Run) error {
	if r.Engine != nil {
		return fmt.Errorf("invariant: the page cache is dropped while the database is closed")
	}
	if err := measure.DropPageCache(r.options.Dir); err != nil {
		return err
	}
	return r.open()
}

func settleStep(r *Run) error { return r.settle() }
