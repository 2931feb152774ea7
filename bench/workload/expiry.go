package workload

import (
	"errors"
	"fmt"
	"time"

	"lsmdb/bench/engine"
	"lsmdb/bench/measure"
)

// The day is as long as it takes to tell: timeToLive is its hour. It is a second, since
// Badger counts in seconds.
const (
	timeToLive    = time.Second
	mostHours     = 24
	leastHours    = 2
	hoursDuration = 25 * time.Millisecond // of Scale.Duration, for each hour
)

// Names of what expiry notes, at the end of the day and before anything is settled.
const (
	EndDisk     = "end_disk_mb"
	LargestDisk = "largest_disk_mb"
	EndWritten  = "end_written_per_user_byte"
	EndRead     = "end_read_per_user_byte"
)

var expiryNotes = []string{EndDisk, LargestDisk, EndWritten, EndRead}

// expire stores all entries in key order, evenly over the day, and then checks which
// there are.
func expire(r *Run) error {
	hours := min(mostHours, max(leastHours, int64(r.Scale.Duration/hoursDuration)))
	perHour := r.Data.Entries / hours
	batches := (r.Data.Entries + loadBatch - 1) / loadBatch
	ends := make([]time.Time, batches)
	batch := r.Engine.NewBatch().(engine.ExpiringBatch)
	defer r.uncapped()()
	largest, hour, start, before := uint64(0), int64(0), time.Now(), measure.Now()
	err := r.clients(1, batches, func(c *Client, i int64) (bool, error) {
		time.Sleep(time.Until(start.Add(timeToLive * time.Duration(i*loadBatch) / time.Duration(perHour)))) // the pace of the load
		if i*loadBatch/perHour > hour {
			hour++
			disk, err := measure.DirectoryBytes(r.options.Dir)
			if err != nil {
				return false, err
			}
			largest = max(largest, disk)
		}
		ends[i] = time.Now().Add(timeToLive)
		return true, r.putExpiring(c, batch, i*loadBatch, ends[i])
	})
	disk, diskErr := measure.DirectoryBytes(r.options.Dir)
	used, userBytes := measure.Now().Sub(before), float64(r.outcome.userBytes)
	r.note(EndDisk, float64(disk)/1e6)
	r.note(LargestDisk, float64(max(disk, largest))/1e6)
	r.note(EndWritten, float64(used.WrittenBytes)/userBytes)
	r.note(EndRead, float64(used.ReadBytes)/userBytes)
	if err := errors.Join(err, diskErr); err != nil {
		return err
	}
	return r.checkEnds(ends)
}

// putExpiring stores loadBatch entries.
func (r *Run) putExpiring(c *Client, batch engine.ExpiringBatch, first int64, until time.Time) error {
	last := min(first+loadBatch, r.Data.Entries)
	for entry := first; entry < last; entry++ {
		c.key = r.Data.Key(c.key, entry)
		if err := batch.PutUntil(c.key, r.Data.Value(entry, 0), until); err != nil {
			return err
		}
	}
	c.units += last - first - 1
	c.userBytes += (last - first) * int64(KeyBytes+r.Data.ValueBytes)
	return batch.Commit()
}

// checkEnds insists on every entry that has not ended, and on none that has. Engines may
// show an entry for a second longer.
func (r *Run) checkEnds(ends []time.Time) error {
	begun := time.Now()
	it, err := r.Engine.NewIterator(false)
	if err != nil {
		return err
	}
	first, next := r.Data.Entries, int64(0)
	for more := it.First(); more && err == nil; more = it.Next() {
		if first == r.Data.Entries {
			if next, err = r.Data.Entry(it.Key()); err != nil {
				break
			}
			first = next
		}
		err = r.checkAt(it, next)
		next++
	}
	if closeErr := it.Close(); err == nil {
		err = closeErr
	}
	switch {
	case err != nil:
		return err
	case first > 0 && ends[(first-1)/loadBatch].After(time.Now()):
		return fmt.Errorf("entry %d is gone before its time", first-1)
	case first < r.Data.Entries && next != r.Data.Entries:
		return fmt.Errorf("entries from %d on are gone", next)
	case first < r.Data.Entries && ends[first/loadBatch].Add(time.Second).Before(begun):
		return fmt.Errorf("entry %d is there after its time", first)
	}
	return nil
}
