package workload

import (
	"errors"
	"fmt"
	"os"
	"time"

	"lsmdb/bench/engine"
	"lsmdb/bench/measure"
)

// loadSorted hands all entries to the engine's own way of taking in what is sorted.
func loadSorted(r *Run) error {
	loader := r.Engine.(engine.Loader)
	return r.clients(1, 1, func(c *Client, _ int64) (bool, error) {
		c.units = r.Data.Entries - 1
		c.userBytes = r.Data.Entries * int64(KeyBytes+r.Data.ValueBytes)
		return true, loader.Load(func(yield func(key, value []byte) bool) {
			for i := range r.Data.Entries {
				if c.key = r.Data.Key(c.key, i); !yield(c.key, r.Data.Value(i, 0)) {
					return
				}
			}
		})
	})
}

// thirds returns where the middle third of the entries begins and ends.
func (r *Run) thirds() (first, second int64) { return r.Data.Entries / 3, r.Data.Entries / 3 * 2 }

func (r *Run) deleteRange(c *Client, from, to int64) error {
	c.userBytes += 2 * KeyBytes
	return r.Engine.(engine.RangeDeleter).DeleteRange(r.Data.Key(nil, from), r.Data.Key(nil, to))
}

func deleteMiddle(r *Run) error {
	from, to := r.thirds()
	return r.clients(1, 1, func(c *Client, _ int64) (bool, error) { return true, r.deleteRange(c, from, to) })
}

// seekDeleted seeks in what was deleted, each time with an iterator of its own.
func seekDeleted(r *Run) error {
	from, to := r.thirds()
	return r.clients(1, 0, func(c *Client, _ int64) (bool, error) {
		it, err := r.Engine.NewIterator(false)
		if err != nil {
			return false, err
		}
		c.key = r.Data.Key(c.key, from+c.rng.Int64N(to-from))
		if it.Seek(c.key) {
			err = r.checkAt(it, to)
		} else {
			err = fmt.Errorf("seek of %q: found nothing", c.key)
		}
		if closeErr := it.Close(); err == nil {
			err = closeErr
		}
		return true, err
	})
}

func scanLeft(r *Run) error {
	from, to := r.thirds()
	return r.scanAll(false, r.Data.Entries-(to-from), func(i int64) int64 {
		if i < from {
			return i
		}
		return i + to - from
	})
}

// How long the space is waited for, and how often is looked.
const (
	spaceLimit = time.Minute
	spacePause = 5 * time.Millisecond
)

// spaceBack deletes half of what is left. It takes until the tables show that.
func spaceBack(r *Run) error {
	before, err := measure.TableBytes(r.options.Dir)
	if err != nil {
		return err
	}
	limit, late := min(spaceLimit, r.Scale.Cap), false
	_, from := r.thirds()
	err = r.clients(1, 1, func(c *Client, _ int64) (bool, error) {
		start := time.Now()
		if err := errors.Join(r.deleteRange(c, from, r.Data.Entries), r.Engine.Flush()); err != nil {
			return false, err
		}
		for {
			now, err := measure.TableBytes(r.options.Dir)
			late = time.Since(start) > limit
			if err != nil || late || now <= before/4*3 {
				return true, err
			}
			time.Sleep(spacePause) // an observer from outside: nobody tells
		}
	})
	r.outcome.capped = late
	return err
}

// copies is how many checkpoints are taken in one round.
const copies = 5

// LongestPut is the note of how long the writer beside checkpoints waited.
const LongestPut = "longest_put_ms"

// copyFiles takes checkpoints of what a writer changes meanwhile, and leaves the last.
func copyFiles(r *Run) error {
	store := r.Engine.(engine.Checkpointer)
	r.copyDir = r.options.Dir + "-copy"
	defer r.uncapped()() // the last one is opened
	longest, err := r.besideWriter(func(r *Run) error {
		return r.clients(1, copies, func(c *Client, i int64) (bool, error) {
			dir := r.copyDir
			if i < copies-1 {
				dir = fmt.Sprint(dir, i)
				defer os.RemoveAll(dir)
			}
			return true, store.Checkpoint(dir)
		})
	})
	r.note(LongestPut, float64(longest)/1e6)
	return err
}

// openCopy goes on with the copy.
func openCopy(r *Run) error {
	if err := r.close(); err != nil {
		return err
	}
	r.options.Dir = r.copyDir
	return r.open()
}

func removeCopy(r *Run) error {
	if err := r.close(); err != nil {
		return err
	}
	return os.RemoveAll(r.copyDir)
}
