package sstable

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"lsmdb/internal/base"
)

// checkCache asserts the cache's invariant: what is in slots is in order, and the
// bytes add up and stay below the capacity.
func checkCache(t *testing.T, c *Cache) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	sum, tables, filled := int64(0), map[*Table]bool{}, 0
	for _, at := range c.order.Keys() {
		b, _ := c.order.Peek(at)
		if b == nil || at.hook().Load() != b {
			t.Fatalf("block %d in order is not in its slot", at.number)
		}
		sum += b.memoryBytes()
		tables[at.table] = true
	}
	for s := range tables {
		for i := range s.slots {
			if s.slots[i].Load() != nil {
				filled++
			}
		}
	}
	if sum != c.usedBytes || sum > c.capacityBytes || filled != c.order.Len() {
		t.Fatalf("%d bytes in %d blocks (%d slots filled), counted %d, capacity %d", sum, c.order.Len(), filled, c.usedBytes, c.capacityBytes)
	}
}

// numbered makes n items of which each fills a block of 1000 bytes.
func numbered(n int) []item {
	var items []item
	for i := range n {
		items = append(items, set(fmt.Sprintf("%06d", i), 1, string(make([]byte, 900))))
	}
	return items
}

func numberedTable(t testing.TB, n int, o ReaderOptions) *Table {
	data, p := write(t, numbered(n), WriterOptions{BlockBytes: 1000, FilterBitsPerKey: 10})
	if p.DataBlocks != uint64(n) {
		t.Fatalf("%d blocks", p.DataBlocks)
	}
	return open(t, data, o)
}

func read(t testing.TB, table *Table, i int) {
	search := base.AppendSearchKey(nil, fmt.Appendf(nil, "%06d", i), base.MaxSeq)
	if _, _, found, err := table.Get(search, base.Hash(search.UserKey())); !found || err != nil {
		t.Errorf("key %d: %v %v", i, found, err)
	}
}

func TestCacheIsBoundedByBytes(t *testing.T) {
	cache := NewCache(10_000)
	a, b := numberedTable(t, 30, ReaderOptions{Cache: cache}), numberedTable(t, 30, ReaderOptions{Cache: cache})
	for i := range 30 {
		read(t, a, i)
		read(t, b, i)
		checkCache(t, cache)
	}
	m := cache.Metrics()
	if m.Blocks != 8 || m.Used > 10_000 || m.Used < 8_000 || m.Evictions != 52 || m.Misses != 60 || m.Hits != 0 {
		t.Fatalf("%+v", m)
	}
	read(t, b, 29)
	if got := cache.Metrics(); got.Hits != 1 || got.Misses != 60 {
		t.Fatalf("%+v", got)
	}
}

func TestCacheGivesASecondChance(t *testing.T) {
	cache := NewCache(5_000) // four blocks
	table := numberedTable(t, 30, ReaderOptions{Cache: cache})
	for i := range 4 {
		read(t, table, i)
	}
	read(t, table, 0) // sets the reference bit of the oldest
	read(t, table, 4)
	if table.slots[0].Load() == nil || table.slots[1].Load() != nil {
		t.Fatal("the referenced block went, or the unreferenced one stayed")
	}
	for i := 5; i < 8; i++ { // the bit was taken back: no third chance
		read(t, table, i)
	}
	if table.slots[0].Load() != nil {
		t.Fatal("the block stayed although nobody read it again")
	}
	checkCache(t, cache)
}

// TestCacheSparesOnlySoMany fills a cache with referenced blocks. The next insertion
// spares the oldest of them up to the limit, then drops one whose bit is set.
func TestCacheSparesOnlySoMany(t *testing.T) {
	cache := NewCache(1 << 20)
	table := numberedTable(t, 200, ReaderOptions{Cache: cache})
	for range 2 {
		for i := range 80 {
			read(t, table, i)
		}
	}
	cache.capacityBytes = cache.usedBytes
	read(t, table, 150)
	for i := range 80 {
		b := table.slots[i].Load()
		if (b == nil) != (i == secondChances) || b != nil && b.referenced.Load() != (i > secondChances) {
			t.Errorf("block %d: cached %v", i, b != nil)
		}
	}
	if m := cache.Metrics(); m.Evictions != 1 || m.Blocks != 80 {
		t.Fatalf("%+v", m)
	}
	checkCache(t, cache)
}

// TestIteratorLeavesReferencesAlone reads cached blocks with and without the wish to
// leave the cache as it is.
func TestIteratorLeavesReferencesAlone(t *testing.T) {
	cache := NewCache(1 << 20)
	table := numberedTable(t, 10, ReaderOptions{Cache: cache})
	for i := range 10 {
		read(t, table, i)
	}
	for _, noFill := range []bool{true, false} {
		scan(t, table.NewIterator(IteratorOptions{NoCacheFill: noFill}), numbered(10))
		for i := range 10 {
			if table.slots[i].Load().referenced.Load() == noFill {
				t.Fatalf("NoCacheFill %v: block %d referenced is %v", noFill, i, noFill)
			}
		}
		if hits := cache.Metrics().Hits; (hits == 0) != noFill {
			t.Fatalf("NoCacheFill %v: %d hits", noFill, hits)
		}
	}
}

func TestCacheLeavesHugeBlocksAlone(t *testing.T) {
	cache := NewCache(5_000)
	data, _ := write(t, []item{set("a", 1, string(make([]byte, 6000))), set("b", 1, "x")}, WriterOptions{})
	table := open(t, data, ReaderOptions{Cache: cache})
	checkGet(t, table, []item{set("a", 1, string(make([]byte, 6000)))}, set("a", 1, "").key)
	if m := cache.Metrics(); m.Blocks != 0 || m.Misses != 1 {
		t.Fatalf("%+v", m)
	}
	none := open(t, data, ReaderOptions{Cache: NewCache(0)})
	checkGet(t, none, []item{set("b", 1, "x")}, set("b", 1, "").key)
	checkCache(t, cache)
}

func TestIteratorFillsTheCacheOnlyIfAsked(t *testing.T) {
	cache := NewCache(1 << 20)
	stats := new(Stats)
	table := numberedTable(t, 30, ReaderOptions{Cache: cache, Stats: stats})
	scan(t, table.NewIterator(IteratorOptions{NoCacheFill: true, ReadAheadBytes: 8000}), numbered(30))
	if m := cache.Metrics(); m.Blocks != 0 || m.Hits+m.Misses != 0 {
		t.Fatalf("a scan that fills nothing left %+v", m)
	}
	scan(t, table.NewIterator(IteratorOptions{ReadAheadBytes: 8000}), numbered(30))
	if m := cache.Metrics(); m.Blocks != 30 || m.Misses != 30 || m.Hits != 29 {
		t.Fatalf("%+v", m)
	}
	before := stats.Reads()
	scan(t, table.NewIterator(IteratorOptions{}), numbered(30))
	if after := stats.Reads(); after != before || before.BlocksRead == 0 || before.BytesRead == 0 {
		t.Fatalf("a cached scan read from the file: %+v, before %+v", after, before)
	}
}

func TestReadAheadReadsRuns(t *testing.T) {
	data, _ := write(t, numbered(200), WriterOptions{BlockBytes: 1000})
	f := &countingFile{File: file(t, data)}
	table := must(openOn(f, "t.sst", ReaderOptions{}))(t)
	defer table.Close()
	for _, c := range []struct{ readAhead, atMost int }{{0, 200}, {64 << 10, 8}, {1 << 30, 7}} {
		f.reads.Store(0)
		it := table.NewIterator(IteratorOptions{NoCacheFill: true, ReadAheadBytes: c.readAhead})
		for ok := it.First(); ok; ok = it.Next() {
		}
		if n := int(f.reads.Load()); n > c.atMost || n < c.atMost/2 {
			t.Errorf("read ahead %d: %d reads", c.readAhead, n)
		}
	}
}

func TestCacheUnderConcurrentMisses(t *testing.T) {
	cache := NewCache(20_000)
	stats := new(Stats)
	tables := []*Table{
		numberedTable(t, 40, ReaderOptions{Cache: cache, Stats: stats}),
		numberedTable(t, 40, ReaderOptions{Cache: cache, Stats: stats}),
		numberedTable(t, 40, ReaderOptions{Cache: cache, Stats: stats}),
	}
	const readers, reads = 8, 500
	var group sync.WaitGroup
	for i := range readers {
		group.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 0))
			for range reads {
				read(t, tables[rng.IntN(len(tables))], rng.IntN(40))
			}
			it := tables[i%3].NewIterator(IteratorOptions{})
			for ok := it.Last(); ok; ok = it.Prev() {
			}
		})
	}
	group.Wait()
	checkCache(t, cache)
	m := cache.Metrics()
	if m.Hits+m.Misses != readers*(reads+40) || m.Misses != stats.Reads().BlocksRead {
		t.Fatalf("%+v, %+v", m, stats.Reads())
	}
	for _, table := range tables {
		table.Close()
	}
	if m := cache.Metrics(); m.Blocks != 0 || m.Used != 0 {
		t.Fatalf("closed tables left %+v", m)
	}
}

func TestStatsCountFilters(t *testing.T) {
	stats := new(Stats)
	table := numberedTable(t, 100, ReaderOptions{Stats: stats, Cache: NewCache(1 << 20)})
	table.filter.Store(due)
	for i := range 100 {
		read(t, table, i)
	}
	for i := range 1000 {
		search := base.AppendSearchKey(nil, fmt.Appendf(nil, "%06d missing", i%100*7+i), base.MaxSeq)
		if _, _, found, err := table.Get(search, base.Hash(search.UserKey())); found || err != nil {
			t.Fatal(found, err)
		}
	}
	m := stats.Filters()
	if m.Checks != 1100 || m.Negatives+m.FalsePositives != 1000 || m.FalsePositives > 40 {
		t.Fatalf("%+v", m)
	}
}
