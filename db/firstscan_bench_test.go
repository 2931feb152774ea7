package db

import (
	"context"
	"runtime"
	"testing"
)

// BenchmarkFirstScan tells the time of an entry when a scan brings every block from a
// file into an empty cache. In one state all entries are in one run of tables, in the
// other also in several runs and in a memtable.
func BenchmarkFirstScan(b *testing.B) {
	for _, state := range []string{"settled", "in-flight"} {
		b.Run(state, func(b *testing.B) {
			dir := b.TempDir()
			d, err := Open(dir, &Options{Durability: NoSync})
			must(b, err)
			must(b, fillRandomly(d))
			if state == "settled" {
				must(b, d.Compact(context.Background(), nil, nil))
			}
			must(b, d.Close())
			benchmarkFirstScan(b, dir)
		})
	}
}

func benchmarkFirstScan(b *testing.B, dir string) {
	for b.Loop() {
		b.StopTimer()
		d, err := Open(dir, &Options{Durability: NoSync, CacheBytes: 1 << 30})
		must(b, err)
		it, err := d.NewIterator(nil)
		must(b, err)
		runtime.GC()
		b.StartTimer()
		n := 0
		for ok := it.First(); ok; ok = it.Next() {
			scanSum += len(it.Key()) + int(it.Value()[0])
			n++
		}
		b.StopTimer()
		if n != scanKeys || it.Err() != nil {
			b.Fatal(n, it.Err())
		}
		must(b, it.Close())
		must(b, d.Close())
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/scanKeys, "ns/entry")
}
