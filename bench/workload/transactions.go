package workload

import (
	"bytes"
	"fmt"
	"sync/atomic"

	"lsmdb/bench/engine"
)

// viewRandom reads random entries, each in a read-only transaction.
func viewRandom(r *Run) error {
	store := r.Engine.(engine.Transactor)
	return r.clients(1, 0, func(c *Client, i int64) (bool, error) {
		entry := c.rng.Int64N(r.Data.Entries)
		return true, store.View(func(reader engine.Reader) error { return r.getFrom(reader, c, entry, i) })
	})
}

// flipPlainly flips random entries without transactions.
func flipPlainly(clients int) func(*Run) error {
	return func(r *Run) error {
		return r.clients(clients, 0, func(c *Client, _ int64) (bool, error) {
			return true, r.flip(r.Engine, c, c.rng.Int64N(r.Data.Entries))
		})
	}
}

// flipInTransactions flips random entries among the first ones, or among all if among is 0.
func flipInTransactions(clients int, among int64) func(*Run) error {
	return func(r *Run) error {
		store := r.Engine.(engine.Transactor)
		if among == 0 {
			among = r.Data.Entries
		}
		return r.clients(clients, 0, func(c *Client, _ int64) (bool, error) {
			entry := c.rng.Int64N(among)
			err := store.Update(func(tx engine.Tx) error { return r.flip(tx, c, entry) })
			r.flips[entry].Add(1)
			return true, err
		})
	}
}

// flip stores the other version of an entry than the one it reads.
func (r *Run) flip(tx engine.Tx, c *Client, entry int64) (err error) {
	c.key = r.Data.Key(c.key, entry)
	if c.value, err = tx.Get(c.value[:0], c.key); err != nil {
		return fmt.Errorf("get entry %d: %w", entry, err)
	}
	version, err := r.Data.Version(entry, c.value)
	if err != nil {
		return err
	}
	c.userBytes += int64(len(c.key) + len(c.value))
	return tx.Put(c.key, r.Data.Value(entry, 1-version))
}

// countFlips begins a count of flips at the versions that there are. As long as none is
// lost, the version of each entry says whether its count is odd.
func countFlips(r *Run) error {
	r.flips = make([]atomic.Uint32, r.Data.Entries)
	return r.eachVersion(func(entry int64, version uint64) error {
		r.flips[entry].Store(uint32(version))
		return nil
	})
}

func checkFlips(r *Run) error {
	return r.eachVersion(func(entry int64, version uint64) error {
		same := bytes.Equal(r.Data.Value(entry, 0), r.Data.Value(entry, 1))
		if flips := r.flips[entry].Load(); !same && uint64(flips%2) != version {
			return fmt.Errorf("entry %d has version %d after %d flips: some were lost", entry, version, flips)
		}
		return nil
	})
}

// eachVersion walks over all entries.
func (r *Run) eachVersion(do func(entry int64, version uint64) error) error {
	it, err := r.Engine.NewIterator(false)
	if err != nil {
		return err
	}
	seen := int64(0)
	for more := it.First(); more && err == nil; more = it.Next() {
		var version uint64
		if version, err = r.Data.Version(seen, it.Value()); err == nil {
			err = do(seen, version)
		}
		seen++
	}
	if closeErr := it.Close(); err == nil {
		err = closeErr
	}
	if err == nil && seen != r.Data.Entries {
		err = fmt.Errorf("%d entries of %d", seen, r.Data.Entries)
	}
	return err
}
