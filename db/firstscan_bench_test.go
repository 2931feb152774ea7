package db_test

import (
	"context"
	"runtime"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// BenchmarkFirstScan tells the time of an entry when a scan brings every block from a
// file into an empty cache. In one state all entries are in one run of tables, in the
// other also in several runs and in a memtable.
func BenchmarkFirstScan(b *testing.B) {
	for _, state := range []string{"settled", "in-flight"} {
		b.Run(state, func(b *testing.B) {
			dir := b.TempDir()
			d, err := db.Open(dir, &db.Options{Durability: db.NoSync})
			fixture.Must(b, err)
			fixture.Must(b, fillRandomly(d))
			if state == "settled" {
				fixture.Must(b, d.Compact(context.Background(), nil, nil))
			}
			fixture.Must(b, d.Close())
			benchmarkFirstScan(b, dir)
		})
	}
}

func benchmarkFirstScan(b *testing.B, dir string) {
	for b.Loop() {
		b.StopTimer()
		d, err := db.Open(dir, &db.Options{Durability: db.NoSync, CacheBytes: 1 << 30})
		fixture.Must(b, err)
		it, err := d.NewIterator(nil)
		fixture.Must(b, err)
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
		fixture.Must(b, it.Close())
		fixture.Must(b, d.Close())
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/scanKeys, "ns/entry")
}
