package db_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// BenchmarkOpenAndGet opens what was closed properly and reads one key.
func BenchmarkOpenAndGet(b *testing.B) { benchmarkOpenAndGet(b, 0) }

// BenchmarkRecoverAndGet opens what a killed process left, with 32 MiB in its log, and
// reads one key. Close is not timed.
func BenchmarkRecoverAndGet(b *testing.B) { benchmarkOpenAndGet(b, 32<<10) }

func benchmarkOpenAndGet(b *testing.B, logged int) {
	dir := filepath.Join(b.TempDir(), "db")
	d, err := db.Open(dir, nil)
	fixture.Must(b, err)
	for i := range 100_000 {
		fixture.Must(b, d.Put(fmt.Appendf(nil, "k%08d", i), make([]byte, 100), db.NoSync))
	}
	fixture.Must(b, d.Compact(b.Context(), nil, nil))
	for i := range logged {
		fixture.Must(b, d.Put(fmt.Appendf(nil, "k%08d", i), make([]byte, 1<<10), db.NoSync))
	}
	fixture.Must(b, d.Sync(b.Context()))
	killed := filepath.Join(b.TempDir(), "killed")
	fixture.Must(b, os.CopyFS(killed, os.DirFS(dir)))
	fixture.Must(b, d.Close())
	for b.Loop() {
		if b.StopTimer(); logged > 0 {
			fixture.Must(b, os.RemoveAll(dir))
			fixture.Must(b, os.CopyFS(dir, os.DirFS(killed)))
		}
		b.StartTimer()
		d, err := db.Open(dir, nil)
		fixture.Must(b, err)
		_, err = d.Get([]byte("k00000007"))
		fixture.Must(b, err)
		b.StopTimer()
		fixture.Must(b, d.Close())
		b.StartTimer()
	}
}

// BenchmarkOpenManyTables opens a database of 10,000 tables of 16 KiB, and reads 1,000 keys of
// it, nearly each the first of its table: those that are there, or their neighbours.
func BenchmarkOpenManyTables(b *testing.B) {
	const keys, tableKeys = 1_300_000, 130
	options := &db.Options{MemtableBytes: 16 << 10, Compression: db.NoCompression}
	dir := filepath.Join(b.TempDir(), "db")
	d, err := db.Open(dir, options)
	fixture.Must(b, err)
	fixture.Must(b, d.Load(b.Context(), func(yield func(key, value []byte) bool) {
		var key []byte
		for i := range keys {
			key = benchmarkKey(key, i)
			if !yield(key, make([]byte, 100)) {
				return
			}
		}
	}))
	m := d.Metrics()
	tables, _ := m.Tables()
	if tables < keys/tableKeys*9/10 {
		b.Fatalf("%d tables", tables)
	}
	fixture.Must(b, d.Close())
	for what, suffix := range map[string]string{"present": "", "absent": "x"} {
		b.Run(what, func(b *testing.B) {
			opening, gets := time.Duration(0), 0
			rng := rand.New(rand.NewPCG(1, 2))
			for b.Loop() {
				start := time.Now()
				d, err := db.Open(dir, options)
				fixture.Must(b, err)
				opening += time.Since(start)
				for range 1000 {
					key := append(benchmarkKey(nil, rng.IntN(keys)), suffix...)
					if _, err := d.Get(key); (err == nil) != (suffix == "") {
						b.Fatal(err)
					}
				}
				gets += 1000
				b.StopTimer()
				fixture.Must(b, d.Close())
				b.StartTimer()
			}
			b.ReportMetric(float64(opening.Milliseconds())/float64(b.N), "ms/open")
			b.ReportMetric(float64((b.Elapsed()-opening).Microseconds())/float64(gets), "µs/get")
		})
	}
}
