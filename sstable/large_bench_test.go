package sstable

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"lsmdb/internal/base"
)

// The benchmarks in this file read a working set far larger than the processor's
// caches: what they measure is cache misses.
const (
	largeTables       = 8
	largeTableEntries = 375_000
)

// largeFiles makes the files once. Table i holds the even numbers from
// 2*i*largeTableEntries.
var largeFiles = sync.OnceValue(func() (files [][]byte) {
	for i := range largeTables {
		items := benchItems(largeTableEntries)
		for j := range items {
			items[j].key = base.MakeInternalKey(fmt.Appendf(nil, "%016d", 2*(i*largeTableEntries+j)), base.Seq(j+1), base.KindSet)
		}
		data, _ := write(new(testing.B), items, WriterOptions{Compression: CompressionSnappy, FilterBitsPerKey: 10})
		files = append(files, data)
	}
	return files
})

func openLarge(b *testing.B) (tables []*Table, cache *Cache) {
	cache = NewCache(2 << 30)
	stats := new(Stats)
	for _, data := range largeFiles() {
		tables = append(tables, must(openOn(file(b, data), "t.sst", ReaderOptions{Cache: cache, Stats: stats}))(b))
	}
	return tables, cache
}

func scanAll(tables []*Table) (entries int) {
	for _, table := range tables {
		it := table.NewIterator(IteratorOptions{ReadAheadBytes: 1 << 20})
		for ok := it.First(); ok; ok = it.Next() {
			entries++
		}
	}
	return entries
}

// largeTablesWarm are tables of which every block is cached.
var largeTablesWarm = sync.OnceValue(func() []*Table {
	tables, _ := openLarge(new(testing.B))
	scanAll(tables)
	return tables
})

func benchmarkLargeGet(b *testing.B, offset int) {
	tables := largeTablesWarm()
	rng := rand.New(rand.NewPCG(5, 6))
	user := []byte("0000000000000000")
	var search base.InternalKey
	b.ReportAllocs()
	for b.Loop() {
		n := rng.IntN(largeTables * largeTableEntries)
		for i, rest := len(user)-1, 2*n+offset; i >= 0; i, rest = i-1, rest/10 {
			user[i] = '0' + byte(rest%10)
		}
		search = base.AppendSearchKey(search[:0], user, base.MaxSeq)
		value, _, found, err := tables[n/largeTableEntries].Get(search, base.Hash(user))
		if found != (offset == 0) || err != nil {
			b.Fatal(found, err)
		}
		if found {
			sink += uint64(value[0]) + uint64(value[99])
		}
	}
}

var sink uint64

func BenchmarkLargeGetHit(b *testing.B)    { benchmarkLargeGet(b, 0) }
func BenchmarkLargeGetAbsent(b *testing.B) { benchmarkLargeGet(b, 1) }

func BenchmarkLargeSeekGE(b *testing.B) {
	tables := largeTablesWarm()
	its := make([]*Iterator, len(tables))
	for i, table := range tables {
		its[i] = table.NewIterator(IteratorOptions{})
	}
	rng := rand.New(rand.NewPCG(7, 8))
	var search base.InternalKey
	user := []byte("0000000000000000")
	b.ReportAllocs()
	for b.Loop() {
		n := rng.IntN(largeTables * largeTableEntries)
		for i, rest := len(user)-1, 2*n; i >= 0; i, rest = i-1, rest/10 {
			user[i] = '0' + byte(rest%10)
		}
		search = base.AppendSearchKey(search[:0], user, base.MaxSeq)
		if !its[n/largeTableEntries].SeekGE(search) {
			b.Fatal(n)
		}
	}
}

// BenchmarkLargeScan tells the time of an entry, with every block in the cache.
func BenchmarkLargeScan(b *testing.B) {
	tables := largeTablesWarm()
	entries := 0
	for b.Loop() {
		entries += scanAll(tables)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(entries), "ns/entry")
}

// BenchmarkLargeFill tells the time of an entry when a scan brings every block into an
// empty cache, and what a block takes there.
func BenchmarkLargeFill(b *testing.B) {
	entries := 0
	var before, after runtime.MemStats
	for b.Loop() {
		b.StopTimer()
		tables, cache := openLarge(b)
		runtime.GC()
		runtime.ReadMemStats(&before)
		b.StartTimer()
		entries += scanAll(tables)
		b.StopTimer()
		runtime.ReadMemStats(&after)
		blocks := float64(cache.Metrics().Blocks)
		b.ReportMetric(float64(after.Mallocs-before.Mallocs)/blocks, "allocs/block")
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapInuse-before.HeapInuse)/blocks, "heap-B/block")
		b.ReportMetric(float64(cache.Metrics().Used)/blocks, "counted-B/block")
		for _, table := range tables {
			table.Close()
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(entries), "ns/entry")
}
