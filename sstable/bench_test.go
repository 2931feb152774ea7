package sstable

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"lsmdb/internal/base"
)

// benchItems are entries as the peers are measured with: keys of 16 bytes, values of
// 100 that compress to half.
func benchItems(n int) []item {
	rng := rand.New(rand.NewPCG(1, 2))
	items := make([]item, n)
	for i := range items {
		value := make([]byte, 100)
		for j := range 50 {
			value[j] = byte(rng.Uint32())
		}
		items[i] = item{base.MakeInternalKey(fmt.Appendf(nil, "%016d", 2*i), base.Seq(i+1), base.KindSet), value}
	}
	return items
}

const benchEntries = 300_000

func benchTable(b *testing.B) *Table {
	data, _ := write(b, benchItems(benchEntries), WriterOptions{Compression: CompressionSnappy, FilterBitsPerKey: 10})
	return open(b, data, ReaderOptions{Cache: NewCache(256 << 20), Stats: new(Stats)})
}

// benchSearches are random search keys: present ones, or their neighbours.
func benchSearches(offset int) []base.InternalKey {
	rng := rand.New(rand.NewPCG(3, 4))
	searches := make([]base.InternalKey, 1<<16)
	for i := range searches {
		searches[i] = base.AppendSearchKey(nil, fmt.Appendf(nil, "%016d", 2*rng.IntN(benchEntries)+offset), base.MaxSeq)
	}
	return searches
}

func BenchmarkGetHitCached(b *testing.B) {
	table, searches := benchTable(b), benchSearches(0)
	it := table.NewIterator(IteratorOptions{})
	for ok := it.First(); ok; ok = it.Next() { // fills the cache
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		search := searches[i&(len(searches)-1)]
		if _, _, found, err := table.Get(search, base.Hash(search.UserKey())); !found || err != nil {
			b.Fatal(found, err)
		}
	}
}

func BenchmarkGetHitCachedParallel(b *testing.B) {
	table, searches := benchTable(b), benchSearches(0)
	it := table.NewIterator(IteratorOptions{})
	for ok := it.First(); ok; ok = it.Next() {
	}
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := rand.IntN(len(searches)); pb.Next(); i++ {
			search := searches[i&(len(searches)-1)]
			if _, _, found, err := table.Get(search, base.Hash(search.UserKey())); !found || err != nil {
				b.Fatal(found, err)
			}
		}
	})
}

func BenchmarkGetMissByFilter(b *testing.B) {
	table, searches := benchTable(b), benchSearches(1)
	table.filter.Store(due)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		search := searches[i&(len(searches)-1)]
		if _, _, found, err := table.Get(search, base.Hash(search.UserKey())); found || err != nil {
			b.Fatal(found, err)
		}
	}
}

func BenchmarkGetUncached(b *testing.B) {
	table, searches := benchTable(b), benchSearches(0)
	clear(table.slots)
	table.handle.options.Cache = noCache
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		search := searches[i&(len(searches)-1)]
		if _, _, found, err := table.Get(search, base.Hash(search.UserKey())); !found || err != nil {
			b.Fatal(found, err)
		}
	}
}

func BenchmarkSeekCached(b *testing.B) {
	table, searches := benchTable(b), benchSearches(1)
	it := table.NewIterator(IteratorOptions{})
	for ok := it.First(); ok; ok = it.Next() { // fills the cache
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if it.SeekGE(searches[i&(len(searches)-1)]); it.Err() != nil {
			b.Fatal(it.Err())
		}
	}
}

// BenchmarkOpen opens a table of 8,000 blocks whose file is in memory.
func BenchmarkOpen(b *testing.B) {
	data, _ := write(b, benchItems(benchEntries), WriterOptions{Compression: CompressionSnappy, FilterBitsPerKey: 10})
	f := &bytesFile{data: data}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := openOn(f, "t.sst", ReaderOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkIterate(b *testing.B, o IteratorOptions, start, move func(*Iterator) bool) {
	it := benchTable(b).NewIterator(o)
	for ok := start(it); ok; ok = move(it) {
	}
	b.ReportAllocs()
	ok := false
	for b.Loop() {
		if !ok {
			ok = start(it)
		} else {
			ok = move(it)
		}
	}
	if it.Err() != nil {
		b.Fatal(it.Err())
	}
}

func BenchmarkIterateForward(b *testing.B) {
	benchmarkIterate(b, IteratorOptions{}, (*Iterator).First, (*Iterator).Next)
}

func BenchmarkIterateForwardNoFill(b *testing.B) {
	benchmarkIterate(b, IteratorOptions{NoCacheFill: true, ReadAheadBytes: 1 << 20}, (*Iterator).First, (*Iterator).Next)
}

func BenchmarkIterateBackward(b *testing.B) {
	benchmarkIterate(b, IteratorOptions{}, (*Iterator).Last, (*Iterator).Prev)
}

func BenchmarkWrite(b *testing.B) {
	for _, compression := range []Compression{CompressionNone, CompressionSnappy} {
		b.Run(compression.String(), func(b *testing.B) {
			items := benchItems(100_000)
			b.SetBytes(116)
			b.ReportAllocs()
			var w *Writer
			for i := 0; b.Loop(); i++ {
				if i%len(items) == 0 {
					if w != nil {
						w.Finish()
					}
					w = NewWriter(file(b, nil), "t.sst", WriterOptions{Identity: 1, Compression: compression, FilterBitsPerKey: 10})
				}
				it := &items[i%len(items)]
				if err := w.Add(it.key, it.value); err != nil {
					b.Fatal(err)
				}
			}
			w.Finish()
		})
	}
}
