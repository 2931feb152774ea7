package sstable

import (
	"sync/atomic"

	"lsmdb/internal/base"
)

// Stats counts what the tables of one database do. The zero value is ready; all
// methods may be called concurrently.
type Stats struct {
	negatives      counter
	passes         counter
	falsePositives counter
	blocksRead     atomic.Uint64 // beside these two a read from the file is dear
	bytesRead      atomic.Uint64
}

// ReadMetrics is what Stats has counted.
type ReadMetrics struct {
	FilterChecks         uint64 // filters asked
	FilterNegatives      uint64 // ... that spared the search
	FilterFalsePositives uint64 // ... that let pass a key of which no version was found
	BlocksRead           uint64 // data blocks read from files, not from the cache
	BytesRead            uint64 // bytes of data blocks read from files, read-ahead included
}

// Metrics returns the counts.
func (s *Stats) Metrics() ReadMetrics {
	m := ReadMetrics{
		FilterNegatives:      s.negatives.load(),
		FilterFalsePositives: s.falsePositives.load(),
		BlocksRead:           s.blocksRead.Load(),
		BytesRead:            s.bytesRead.Load(),
	}
	m.FilterChecks = m.FilterNegatives + s.passes.load()
	return m
}

// counter counts in paths so hot that processors must not share a cache line.
type counter struct {
	stripes [base.Stripes]struct {
		n atomic.Uint64
		_ [base.StripeBytes - 8]byte
	}
}

func (c *counter) add() { c.stripes[base.Stripe()].n.Add(1) }

func (c *counter) load() (sum uint64) {
	for i := range c.stripes {
		sum += c.stripes[i].n.Load()
	}
	return sum
}
