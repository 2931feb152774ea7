package workload

// ycsbClients is how many goroutines the YCSB workloads use.
const ycsbClients = 2

// ycsbUpdate is one of A, B and C: reads of entries with skew, the rest updates.
func ycsbUpdate(readPercent int) func(*Run) error {
	return func(r *Run) error {
		keys := r.zipfian()
		return r.clients(ycsbClients, 0, func(c *Client, i int64) (bool, error) {
			entry := keys.scattered(c.rng)
			if c.rng.IntN(100) < readPercent {
				return true, r.get(c, entry, i)
			}
			return true, r.put(c, entry, 1)
		})
	}
}

// ycsbF is half reads, half read-modify-write.
func ycsbF(r *Run) error {
	keys := r.zipfian()
	return r.clients(ycsbClients, 0, func(c *Client, i int64) (bool, error) {
		entry := keys.scattered(c.rng)
		if err := r.get(c, entry, i); err != nil {
			return false, err
		}
		if c.rng.IntN(2) == 0 {
			return true, nil
		}
		return true, r.put(c, entry, 1)
	})
}

// inserts are the new entries of one client: its share of the keys that lie between
// those of the data set, in random order. D and E each take half of them.
type inserts struct {
	count int64
	first int64 // in the order of all clients
}

func newInserts(r *Run, secondHalf bool) []inserts {
	per := make([]inserts, ycsbClients)
	for id := range per {
		per[id].first = int64(id)
		if secondHalf {
			per[id].first += r.Data.Entries / 2 / ycsbClients * ycsbClients
		}
	}
	return per
}

// entry returns the entry after whose key the n-th insert of this client goes.
func (s *inserts) entry(d *Dataset, n int64) int64 { return d.Permute(s.first+n*ycsbClients, 3) }

// insert stores the next one; false when the share is used up.
func (r *Run) insert(c *Client, s *inserts) (bool, error) {
	if (s.count+1)*ycsbClients > r.Data.Entries/2 {
		return false, nil
	}
	entry := s.entry(r.Data, s.count)
	c.key = r.Data.InsertedKey(c.key, entry)
	c.userBytes += int64(KeyBytes + r.Data.ValueBytes)
	s.count++
	return true, r.Engine.Put(c.key, r.Data.Value(entry, 0))
}

// ycsbD inserts and reads what is newest most often; each client reads its own
// inserts and, behind them, the entries that were there before.
func ycsbD(r *Run) error {
	ages := r.zipfian()
	shares := newInserts(r, false)
	return r.clients(ycsbClients, 0, func(c *Client, i int64) (bool, error) {
		s := &shares[c.ID]
		if c.rng.IntN(100) < 5 {
			return r.insert(c, s)
		}
		age := ages.rank(c.rng)
		if age >= s.count {
			return true, r.get(c, r.Data.Entries-1-min(age-s.count, r.Data.Entries-1), i)
		}
		entry := s.entry(r.Data, s.count-1-age)
		c.key = r.Data.InsertedKey(c.key, entry)
		var err error
		if c.value, err = r.Engine.Get(c.value[:0], c.key); err != nil {
			return false, err
		}
		return true, r.Data.Check(entry, c.value)
	})
}

// ycsbE is scans of 1 to 100 entries, each with an iterator of its own, and inserts.
func ycsbE(r *Run) error {
	keys := r.zipfian()
	shares := newInserts(r, true)
	longest := min(100, r.Data.Entries/2)
	return r.clients(ycsbClients, 0, func(c *Client, i int64) (bool, error) {
		if c.rng.IntN(100) < 5 {
			return r.insert(c, &shares[c.ID])
		}
		it, err := r.Engine.NewIterator(false)
		if err != nil {
			return false, err
		}
		entry := min(keys.scattered(c.rng), r.Data.Entries-longest-1)
		err = r.scanFrom(c, it, entry, 1+c.rng.Int64N(longest), false)
		if closeErr := it.Close(); err == nil {
			err = closeErr
		}
		return true, err
	})
}
