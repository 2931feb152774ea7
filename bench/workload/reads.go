package workload

import (
	"errors"
	"fmt"

	"lsmdb/bench/engine"
)

// checkEvery says which reads are compared byte for byte; of the others only the
// length is.
const checkEvery = 16

// get reads an entry that exists.
func (r *Run) get(c *Client, entry, i int64) error { return r.getFrom(r.Engine, c, entry, i) }

func (r *Run) getFrom(reader engine.Reader, c *Client, entry, i int64) error {
	c.key = r.Data.Key(c.key, entry)
	var err error
	c.value, err = reader.Get(c.value[:0], c.key)
	if err != nil {
		return fmt.Errorf("get entry %d: %w", entry, err)
	}
	if len(c.value) != r.Data.ValueBytes {
		return fmt.Errorf("get entry %d: %d bytes", entry, len(c.value))
	}
	if i%checkEvery == 0 {
		return r.Data.Check(entry, c.value)
	}
	return nil
}

// readRandom reads entries drawn uniformly from the first share of all.
func readRandom(clients int, share int64) func(*Run) error {
	return func(r *Run) error {
		hot := max(1, r.Data.Entries/share)
		return r.clients(clients, 0, func(c *Client, i int64) (bool, error) {
			entry := c.rng.Int64N(hot)
			if share > 1 {
				entry *= share // hot entries lie apart, each in another block
			}
			return true, r.get(c, entry, i)
		})
	}
}

// readMissing asks for keys between those that exist.
func readMissing(r *Run) error {
	return r.clients(1, 0, func(c *Client, i int64) (bool, error) {
		c.key = r.Data.MissingKey(c.key, c.rng.Int64N(r.Data.Entries))
		_, err := r.Engine.Get(c.value[:0], c.key)
		if !errors.Is(err, engine.ErrNotFound) {
			return false, fmt.Errorf("get of an absent key: %v", err)
		}
		return true, nil
	})
}

// scanChunk is how many entries of a full scan count as one operation for latencies
// and for the sample that is verified.
const scanChunk = 100

// scanAll walks over everything and insists on every entry of want, in order.
// entry says which is the i-th.
func (r *Run) scanAll(reverse bool, count int64, entry func(i int64) int64) error {
	it, err := r.Engine.NewIterator(reverse)
	if err != nil {
		return err
	}
	seen, bytes := int64(0), int64(0)
	valid := it.First()
	chunks := (count + scanChunk - 1) / scanChunk
	defer r.uncapped()()
	err = r.clients(1, chunks, func(c *Client, i int64) (bool, error) {
		if valid {
			if err := r.checkAt(it, entry(seen)); err != nil {
				return false, err
			}
		}
		n := int64(0)
		for ; n < scanChunk && valid; n++ {
			bytes += int64(len(it.Key()) + len(it.Value()))
			valid = it.Next()
		}
		seen += n
		c.units += n - 1
		return valid, nil
	})
	if closeErr := it.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if wantBytes := count * int64(KeyBytes+r.Data.ValueBytes); valid || seen != count || bytes != wantBytes {
		return fmt.Errorf("scan saw %d entries with %d bytes (more to come: %v), want %d with %d", seen, bytes, valid, count, wantBytes)
	}
	return nil
}

// checkAt compares what an iterator stands on with an entry.
func (r *Run) checkAt(it engine.Iterator, entry int64) error {
	at, err := r.Data.Entry(it.Key())
	if err != nil {
		return err
	}
	if at != entry {
		return fmt.Errorf("iterator stands on entry %d, want %d", at, entry)
	}
	return r.Data.Check(entry, it.Value())
}

func scanForward(r *Run) error {
	return r.scanAll(false, r.Data.Entries, func(i int64) int64 { return i })
}

func scanReverse(r *Run) error {
	return r.scanAll(true, r.Data.Entries, func(i int64) int64 { return r.Data.Entries - 1 - i })
}

// seek moves one iterator to random entries and reads length entries from each.
func seek(length int64) func(*Run) error {
	return func(r *Run) error {
		it, err := r.Engine.NewIterator(false)
		if err != nil {
			return err
		}
		err = r.clients(1, 0, func(c *Client, i int64) (bool, error) {
			entry := c.rng.Int64N(max(1, r.Data.Entries-length))
			return true, r.scanFrom(c, it, entry, length, true)
		})
		if closeErr := it.Close(); err == nil {
			err = closeErr
		}
		return err
	}
}

// How many seeks count as the first ones, fewer in small databases, and how long each is.
const (
	firstSeekCount  = 100_000
	firstSeekLength = 10
)

// firstSeeksOfOne moves one iterator to random entries.
func firstSeeksOfOne(r *Run) error {
	it, err := r.Engine.NewIterator(false)
	if err != nil {
		return err
	}
	err = r.firstSeeks(func(c *Client, entry int64) error {
		return r.scanFrom(c, it, entry, firstSeekLength, true)
	})
	if closeErr := it.Close(); err == nil {
		err = closeErr
	}
	return err
}

// firstSeeksOfMany opens an iterator for each seek, as programs do that serve requests.
func firstSeeksOfMany(r *Run) error {
	return r.firstSeeks(func(c *Client, entry int64) error {
		it, err := r.Engine.NewIterator(false)
		if err != nil {
			return err
		}
		err = r.scanFrom(c, it, entry, firstSeekLength, true)
		if closeErr := it.Close(); err == nil {
			err = closeErr
		}
		return err
	})
}

func (r *Run) firstSeeks(seek func(c *Client, entry int64) error) error {
	count := min(firstSeekCount, r.Data.Entries)
	return r.clients(1, count, func(c *Client, _ int64) (bool, error) {
		return true, seek(c, c.rng.Int64N(max(1, r.Data.Entries-firstSeekLength)))
	})
}

// scanFrom seeks an entry and moves on length times. With exact, nothing lies
// between the entries.
func (r *Run) scanFrom(c *Client, it engine.Iterator, entry, length int64, exact bool) error {
	c.key = r.Data.Key(c.key, entry)
	if !it.Seek(c.key) {
		return fmt.Errorf("seek of entry %d: found nothing", entry)
	}
	if err := r.checkAt(it, entry); err != nil {
		return err
	}
	bytes := 0
	for n := range length {
		if !it.Next() {
			return fmt.Errorf("scan from entry %d: ended after %d of %d", entry, n, length)
		}
		bytes += len(it.Key()) + len(it.Value())
	}
	if want := int(length) * (KeyBytes + r.Data.ValueBytes); bytes != want {
		return fmt.Errorf("scan from entry %d: %d bytes, want %d", entry, bytes, want)
	}
	if exact {
		return r.checkAt(it, entry+length)
	}
	return nil
}
