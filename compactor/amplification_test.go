package compactor

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/manifest"
)

// TestDeletingEverything: deletes take the data and then themselves away.
func TestDeletingEverything(t *testing.T) {
	w := newWorld(t, 1, 16<<10)
	n := 0
	next := func() string { n = (n + 1) % 20_000; return fmt.Sprintf("%08d", n*7919%20_000) }
	for range 20_000 / 160 {
		w.flush(160, next, 0)
		w.settle(2)
	}
	before := treeBytes(w.version)
	for range 20_000/160 + w.policy.L0Trigger {
		w.flush(160, next, 1)
		w.settle(2)
	}
	if after := treeBytes(w.version); after*20 > before {
		t.Errorf("%d bytes before everything was deleted, %d after", before, after)
	}
	w.driveRange(Range{Through: base.MaxSeq}, false)
	if after := treeBytes(w.version); after > 0 {
		t.Errorf("%d bytes are left", after)
	}
	w.check()
}

func treeBytes(v *manifest.Version) (sum int64) {
	for level := range v.Levels {
		sum += totalBytes(v.Levels[level])
	}
	return sum
}

// TestWriteAmplification loads trees of many memtables and bounds what compaction
// writes for each byte that was flushed.
func TestWriteAmplification(t *testing.T) {
	const entriesPerFlush, flushes = 160, 250
	cases := []struct {
		name  string
		key   func(rng *rand.Rand, i int64) int64
		limit float64
	}{
		{"sequential", func(_ *rand.Rand, i int64) int64 { return i }, 1.1},
		{"random", func(rng *rand.Rand, _ int64) int64 { return rng.Int64N(1 << 40) }, 6.5},
		{"overwrite", func(rng *rand.Rand, _ int64) int64 { return rng.Int64N(20_000) }, 5.5},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 3, entriesPerFlush*toyEntryBytes)
			i := int64(0)
			next := func() string { i++; return fmt.Sprintf("%012d", c.key(w.rng, i)) }
			for range flushes {
				w.flush(entriesPerFlush, next, 0)
				w.work(6*entriesPerFlush*toyEntryBytes, 2)
				for len(w.version.Levels[0]) > w.policy.L0Limit {
					w.work(entriesPerFlush*toyEntryBytes, 2)
				}
			}
			w.settle(2)
			w.checkShape()
			amplification := float64(w.writtenBytes) / float64(w.flushedBytes)
			t.Logf("%.2f bytes written per byte flushed, %d jobs, %d tables", amplification, w.jobs, len(w.tables))
			if amplification > c.limit {
				t.Errorf("%.2f bytes written per byte flushed, limit %.1f", amplification, c.limit)
			}
		})
	}
}

// TestManySmallFlushes: crumbs become few tables, when nobody writes or when asked for, and
// are not written again each time.
func TestManySmallFlushes(t *testing.T) {
	const flushes = 3000
	orders := map[string]func(rng *rand.Rand, i int64) int64{
		"sequential": func(_ *rand.Rand, i int64) int64 { return i },
		"random":     func(rng *rand.Rand, _ int64) int64 { return rng.Int64N(1 << 40) },
	}
	for name, key := range orders {
		for _, how := range []string{"idle at the end", "idle after each", "asked for"} {
			t.Run(name+", "+how, func(t *testing.T) {
				w := newWorld(t, 5, 1<<20)
				i := int64(0)
				next := func() string { i++; return fmt.Sprintf("%014d", key(w.rng, i)) }
				most := 0
				for range flushes {
					w.flush(1, next, 0)
					if w.settle(2); how == "idle after each" {
						w.rest()
					}
					most = max(most, len(w.version.Levels[0]))
				}
				if how == "asked for" {
					w.driveRange(Range{Through: base.MaxSeq, Before: w.number + 1}, false)
				}
				w.rest()
				tables := 0
				for _, level := range w.version.Levels {
					tables += len(level)
				}
				amplification := float64(w.writtenBytes) / float64(w.flushedBytes)
				t.Logf("%d tables, %d in level 0 at most, %.1f bytes written per byte flushed", tables, most, amplification)
				if tables > 10 || amplification > 17 {
					t.Error("too much")
				}
				w.check()
			})
		}
	}
}
