package sstable

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"lsmdb/internal/base"
)

// TestEntriesOfBlocks: the blocks of a table hold its entries, and take its bytes; a large
// value is not read for that.
func TestEntriesOfBlocks(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 16))
	for round := range 20 {
		items := sortItems(append(randomItems(rng, 200), expiring("expiring", 7, 77, "value"), expiring("expiring and large", 7, 78, string(make([]byte, 5000)))))
		data, p := write(t, items, WriterOptions{BlockBytes: 300, Compression: Compression(round % 2)})
		stats := new(Stats)
		table := open(t, data, ReaderOptions{Stats: stats, Cache: NewCache(1 << 20)})
		var all []Entry
		sum := 0.0
		for i := range int(p.DataBlocks) {
			entries := must(table.Entries(i))(t)
			all = append(all, entries...)
			of := 0.0
			for _, e := range entries {
				of += e.Bytes
			}
			if bytes := float64(table.SpanBytes(i, i+1)); math.Abs(of-bytes) > 1e-6 {
				t.Errorf("block %d has %.3f bytes, its entries %.3f", i, bytes, of)
			}
			sum += of
		}
		if math.Abs(sum-float64(p.DataBytes)) > 1e-3 || len(all) != len(items) {
			t.Fatalf("%d entries of %.3f bytes, want %d of %d", len(all), sum, len(items), p.DataBytes)
		}
		for i, e := range all {
			until := int64(0)
			if items[i].key.Kind() == base.KindSetExpiring {
				until = base.Until(items[i].value)
			}
			if !bytes.Equal(e.Key, items[i].key) || e.Until != until {
				t.Fatalf("entry %d is %s until %d, want %s until %d", i, e.Key, e.Until, items[i].key, until)
			}
		}
		if read := stats.Reads().BlocksRead; read != p.DataBlocks-p.LargeValues {
			t.Errorf("%d blocks were read, of %d with %d large values", read, p.DataBlocks, p.LargeValues)
		}
		if table.handle.options.Cache.Metrics().Blocks != 0 {
			t.Error("the cache was filled")
		}
	}
}

// TestSpans: a span has all blocks with keys of a range, and no block too many but at its ends.
func TestSpans(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 16))
	items := sortItems(randomItems(rng, 400))
	data, p := write(t, items, WriterOptions{BlockBytes: 200})
	table := open(t, data, ReaderOptions{})
	within := func(i int, start, end []byte) (some bool) {
		for _, e := range must(table.Entries(i))(t) {
			user := e.Key.UserKey()
			some = some || bytes.Compare(user, start) >= 0 && (end == nil || bytes.Compare(user, end) < 0)
		}
		return some
	}
	for range 200 {
		var start, end []byte
		if rng.IntN(4) > 0 {
			start = randomUser(rng)
		}
		if rng.IntN(4) > 0 {
			end = randomUser(rng)
		}
		first, last := table.Span(start, end)
		for i := range int(p.DataBlocks) {
			inside := i >= first && i < last
			if some := within(i, start, end); some && !inside || !some && inside && i > first && i < last-1 {
				t.Fatalf("[%q, %q) is in blocks %d to %d; block %d: %v", start, end, first, last, i, some)
			}
		}
		if first < last {
			if a, z := table.BlockAt(first, last, 0), table.BlockAt(first, last, 1); a != first || z != last-1 {
				t.Fatalf("of blocks %d to %d, the first is %d and the last %d", first, last, a, z)
			}
		}
	}
	// Each byte is as likely as any other one.
	counts := make([]float64, p.DataBlocks)
	const samples = 100_000
	for n := range samples {
		counts[table.BlockAt(0, int(p.DataBlocks), (float64(n)+0.5)/samples)]++
	}
	for i, n := range counts {
		if want := float64(table.SpanBytes(i, i+1)) / float64(p.DataBytes) * samples; math.Abs(n-want) > 1.5 {
			t.Errorf("block %d came %.0f times, want %.1f", i, n, want)
		}
	}
}

// TestForesight: Find does what was foreseen, and foreseeing it is no search.
func TestForesight(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 16))
	items := sortItems(randomItems(rng, 300))
	data, _ := write(t, items, WriterOptions{BlockBytes: 200, FilterBitsPerKey: 10})
	stats, cache := new(Stats), NewCache(20<<10)
	table := open(t, data, ReaderOptions{Stats: stats, Cache: cache})
	var seen [4]int
	for n := range 3000 {
		user := randomUser(rng)
		if n%2 == 0 {
			user = items[rng.IntN(len(items))].key.UserKey()
		}
		search, hash := base.AppendSearchKey(nil, user, base.MaxSeq), base.Hash(user)
		s := table.Foresee(search, hash)
		before, hits, filters := stats.Reads().BlocksRead, cache.Metrics().Hits, stats.Filters()
		_, _, _, found, err := table.Find(search, hash, true)
		if err != nil {
			t.Fatal(err)
		}
		after := stats.Filters()
		got := Foresight{
			Filtered: after.Checks > filters.Checks, Absent: after.Negatives > filters.Negatives,
			Read: stats.Reads().BlocksRead > before, Cached: cache.Metrics().Hits > hits,
		}
		if got != s || found && s.Absent || s.Filtered && table.MayContain(hash) == s.Absent {
			t.Fatalf("search %d, of %q: %+v, foreseen was %+v", n, user, got, s)
		}
		for i, is := range []bool{s.Filtered, s.Absent, s.Read, s.Cached} {
			if is {
				seen[i]++
			}
		}
	}
	if min(seen[0], seen[1], seen[2], seen[3]) == 0 {
		t.Errorf("something never happened: %v", seen)
	}
}
