package db_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

const scanKeys = 2_500_000

// scanKey spreads the numbers over the key space.
func scanKey(dst []byte, i int) []byte {
	dst = binary.BigEndian.AppendUint64(dst[:0], uint64(i)*0x9e3779b97f4a7c15)
	return binary.BigEndian.AppendUint64(dst, uint64(i))
}

// fillRandomly writes scanKeys entries of 16 and 100 bytes in random order.
func fillRandomly(d *db.DB) error {
	rng := rand.New(rand.NewPCG(1, 2))
	value := make([]byte, 100)
	batch := d.NewBatch()
	var key []byte
	for i := range scanKeys {
		key = scanKey(key, i)
		for j := range 50 {
			value[j] = byte(rng.Uint32())
		}
		if err := batch.Put(key, value); err != nil {
			return err
		}
		if batch.Len() == 100 {
			if err := d.Apply(context.Background(), batch); err != nil {
				return err
			}
			batch.Reset()
		}
	}
	return nil
}

// scanned holds databases that all benchmarks of a run share: filling them takes
// longer than measuring.
var scanned = map[string]func() *db.DB{
	"settled": sync.OnceValue(func() *db.DB {
		d := openFilled(64 << 20)
		if err := d.Compact(context.Background(), nil, nil); err != nil {
			panic(err)
		}
		return d
	}),
	"in-flight": sync.OnceValue(func() *db.DB { return openFilled(4 << 20) }),
}

func openFilled(memtableBytes int64) *db.DB {
	d, err := db.Open("", &db.Options{InMemory: true, Durability: db.NoSync, MemtableBytes: memtableBytes, CacheBytes: 1 << 30})
	if err == nil {
		err = fillRandomly(d)
	}
	for err == nil && (d.Metrics().Flush.Running > 0 || d.Metrics().Compact.Running > 0) {
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		panic(err)
	}
	return d
}

// BenchmarkScan walks databases whose blocks are all cached.
func BenchmarkScan(b *testing.B) {
	for _, state := range []string{"settled", "in-flight"} {
		for _, steps := range []int{0, 10, 100} {
			b.Run(fmt.Sprintf("%s/seek+%d", state, steps), func(b *testing.B) { benchmarkShort(b, scanned[state](), steps, false) })
		}
		b.Run(state+"/new+seek+50", func(b *testing.B) { benchmarkShort(b, scanned[state](), 50, true) })
		b.Run(state+"/forward", func(b *testing.B) { benchmarkWalk(b, scanned[state](), (*db.Iterator).First, (*db.Iterator).Next) })
		b.Run(state+"/reverse", func(b *testing.B) { benchmarkWalk(b, scanned[state](), (*db.Iterator).Last, (*db.Iterator).Prev) })
	}
}

var scanSum int

// benchmarkShort measures seeks to random keys with some steps each, with one iterator
// or a new one for each.
func benchmarkShort(b *testing.B, d *db.DB, steps int, fresh bool) {
	rng := rand.New(rand.NewPCG(3, 4))
	it, err := d.NewIterator(nil)
	fixture.Must(b, err)
	for range it.All() { // fills the cache
	}
	var key []byte
	b.ReportAllocs()
	for b.Loop() {
		if fresh {
			it.Close()
			it, err = d.NewIterator(nil)
			fixture.Must(b, err)
		}
		key = scanKey(key, rng.IntN(scanKeys))
		for ok, left := it.SeekGE(key), steps; ok && left > 0; ok, left = it.Next(), left-1 {
			scanSum += len(it.Key()) + int(it.Value()[0])
		}
	}
	fixture.Must(b, it.Close())
}

func benchmarkWalk(b *testing.B, d *db.DB, start, step func(*db.Iterator) bool) {
	it, err := d.NewIterator(nil)
	fixture.Must(b, err)
	for range it.All() {
	}
	b.ReportAllocs()
	ok := false
	for b.Loop() {
		if ok = ok && step(it) || start(it); !ok {
			b.Fatal(it.Err())
		}
		scanSum += len(it.Key()) + int(it.Value()[0])
	}
	fixture.Must(b, it.Close())
}

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
