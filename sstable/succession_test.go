package sstable

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/budget"
)

// someNumbered is a table of some of the numbers below n, with about as many in a block as
// are wanted; the handle of an empty one was not used yet.
func someNumbered(t testing.TB, cache *Cache, blockBytes int, numbers ...int) *Table {
	var items []item
	for _, i := range numbers {
		items = append(items, set(fmt.Sprintf("%06d", i), 1, string(make([]byte, 900))))
	}
	data, _ := write(t, items, WriterOptions{BlockBytes: blockBytes, FilterBitsPerKey: 10})
	return open(t, data, ReaderOptions{Cache: cache})
}

func always() bool { return true }

// handlesOf returns the handles of tables, in as many runs.
func handlesOf(tables ...*Table) (handles []*Handle) {
	for _, t := range tables {
		handles = append(handles, t.handle)
	}
	return handles
}

// wantedOf tells by brute force which blocks of the heirs are wanted.
func wantedOf(runs [][]*Table, heirs []*Table) (wanted []slot) {
	separator := func(t *Table, i int) base.InternalKey { return t.index.separators.appendKey(nil, i) }
	var before base.InternalKey // the end of the heir's block before
	for _, h := range heirs {
		for i := range h.slots {
			last := separator(h, i)
			blocks, cached := 0, 0
			for _, t := range slices.Concat(runs...) {
				for j := range t.slots {
					behind := j > 0 && base.Compare(separator(t, j-1), last) >= 0
					if behind || base.Compare(t.properties.Smallest, last) > 0 || before != nil && base.Compare(separator(t, j), before) <= 0 {
						continue
					}
					blocks++
					if t.slots[j].Load() != nil {
						cached++
					}
				}
			}
			if cached > 0 && 2*cached >= blocks {
				wanted = append(wanted, slot{h, i})
			}
			before = last
		}
	}
	return wanted
}

// TestHeirsAreWantedWhereTheirOriginsAreCached: for random tables in random runs, of which
// random blocks are cached.
func TestHeirsAreWantedWhereTheirOriginsAreCached(t *testing.T) {
	some := 0
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 5))
		cache := NewCache(1 << 30)
		n := 1 + rng.IntN(60)
		runs := make([][]*Table, 1+rng.IntN(4))
		numbers := make([][]int, len(runs))
		for i := range n {
			at := rng.IntN(len(runs))
			numbers[at] = append(numbers[at], i)
		}
		all, handles := make([]int, n), make([][]*Handle, len(runs))
		for i := range all {
			all[i] = i
		}
		for i, run := range numbers {
			for len(run) > 0 {
				part := 1 + rng.IntN(len(run))
				runs[i] = append(runs[i], someNumbered(t, cache, 900+rng.IntN(3000), run[:part]...))
				run = run[part:]
			}
			handles[i] = handlesOf(runs[i]...)
		}
		for _, table := range slices.Concat(runs...) {
			for i := range table.slots {
				if rng.IntN(3) > 0 {
					if _, err := table.block(i, nil, nil); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		cut := rng.IntN(n)
		heirs := []*Table{someNumbered(t, cache, 2000, all[cut:]...)}
		if cut > 0 {
			heirs = slices.Insert(heirs, 0, someNumbered(t, cache, 2000, all[:cut]...))
		}
		want, before := wantedOf(runs, heirs), cache.Metrics()
		s := Succeed(handles, handlesOf(heirs...))
		if !slices.Equal(s.wanted, want) {
			t.Fatalf("seed %d: wanted %v, want %v", seed, s.wanted, want)
		}
		some += len(want)
		s.Fill(always)
		checkCache(t, cache)
		after := cache.Metrics()
		if brought := after.Used - before.Used; brought > before.Used || after.Misses != before.Misses || after.Evictions != 0 {
			t.Fatalf("seed %d: %+v after %+v", seed, after, before)
		}
		if len(s.wanted) == 0 && after.Blocks != before.Blocks+len(want) {
			t.Fatalf("seed %d: %d blocks came, %d were wanted", seed, after.Blocks-before.Blocks, len(want))
		}
	}
	if some < 1000 {
		t.Errorf("only %d blocks were wanted", some)
	}
}

// TestHeirsOfWhatIsNotCachedAreNotOpened: a fill that nobody reads pays nothing.
func TestHeirsOfWhatIsNotCachedAreNotOpened(t *testing.T) {
	cache := NewCache(1 << 20)
	old := numberedTable(t, 10, ReaderOptions{Cache: cache})
	heir := numberedTable(t, 10, ReaderOptions{Cache: cache})
	heir.handle.table.Store(nil)
	if s := Succeed([][]*Handle{handlesOf(old)}, handlesOf(heir)); len(s.wanted) > 0 || heir.handle.table.Load() != nil {
		t.Errorf("wanted %v", s.wanted)
	}
}

// TestSuccessionTakesNothingElseOut fills a cache. There is room for heirs only when what
// they replace has left; what others read meanwhile stays, and so does the bound.
func TestSuccessionTakesNothingElseOut(t *testing.T) {
	cache := NewCache(25_000) // 20 blocks
	old, other := numberedTable(t, 10, ReaderOptions{Cache: cache}), numberedTable(t, 30, ReaderOptions{Cache: cache})
	heir := numberedTable(t, 10, ReaderOptions{Cache: cache})
	for i := range 10 {
		read(t, old, i)
		read(t, other, i)
	}
	s := Succeed([][]*Handle{handlesOf(old)}, handlesOf(heir))
	s.Fill(always)
	before := cache.Metrics()
	if before.Evictions != 0 || len(s.wanted) < 8 {
		t.Fatalf("%+v, %d still wanted", before, len(s.wanted))
	}
	old.handle.Retire()
	for i := 10; i < 14; i++ {
		read(t, other, i)
	}
	s.Fill(always)
	checkCache(t, cache)
	if m := cache.Metrics(); m.Evictions != 0 || m.Blocks != before.Blocks {
		t.Fatalf("%+v after %+v", m, before)
	}
	for i := range 14 {
		if other.slots[i].Load() == nil {
			t.Errorf("block %d went", i)
		}
	}
	for i := range 6 {
		if heir.slots[i].Load() == nil {
			t.Errorf("block %d did not come", i)
		}
	}
}

// TestSuccessionBringsNoMoreThanThereWas: heirs that take more memory than their origins, as
// each block of these stands for three of theirs, get as much as those had.
func TestSuccessionBringsNoMoreThanThereWas(t *testing.T) {
	cache := NewCache(1 << 20)
	all := make([]int, 60)
	for i := range all {
		all[i] = i
	}
	old, heir := someNumbered(t, cache, 3000, all...), someNumbered(t, cache, 1000, all...)
	for i := range old.slots[:10] {
		if _, err := old.block(i, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	before := cache.Metrics().Used
	s := Succeed([][]*Handle{handlesOf(old)}, handlesOf(heir))
	s.leftBytes -= 5000
	s.Fill(always)
	if got := cache.Metrics().Used - before; got > before-5000 || got < before-7000 {
		t.Errorf("%d bytes for %d", got, before-5000)
	}
}

// TestSuccessionEndsWithItsTables: what was closed gets nothing any more, and who is told to
// stop goes on later.
func TestSuccessionEndsWithItsTables(t *testing.T) {
	cache := NewCache(1 << 20)
	old, heir := numberedTable(t, 10, ReaderOptions{Cache: cache}), numberedTable(t, 10, ReaderOptions{Cache: cache})
	for i := range 10 {
		read(t, old, i)
	}
	s := Succeed([][]*Handle{handlesOf(old)}, handlesOf(heir))
	count := 0
	s.Fill(func() bool { count++; return count <= 3 })
	if m := cache.Metrics(); m.Blocks != 13 {
		t.Fatalf("%+v", m)
	}
	if err := heir.Close(); err != nil {
		t.Fatal(err)
	}
	s.Fill(always)
	checkCache(t, cache)
	if m := cache.Metrics(); m.Blocks != 10 {
		t.Errorf("%+v", m)
	}
}

// TestSuccessionBesideReaders is for the race detector: readers of both tables, and the
// Keeper who retires the old one.
func TestSuccessionBesideReaders(t *testing.T) {
	cache := NewCache(60_000)
	for range 20 {
		old, heir := numberedTable(t, 40, ReaderOptions{Cache: cache}), numberedTable(t, 40, ReaderOptions{Cache: cache})
		for i := range 40 {
			read(t, old, i)
		}
		var group sync.WaitGroup
		for _, table := range []*Table{old, heir} {
			group.Go(func() {
				for i := range 40 {
					read(t, table, i)
				}
			})
		}
		group.Go(old.handle.Retire)
		s := Succeed([][]*Handle{handlesOf(old)}, handlesOf(heir))
		s.Fill(always)
		group.Wait()
		s.Fill(always)
		checkCache(t, cache)
		if err := old.Close(); err != nil {
			t.Fatal(err)
		}
		if err := heir.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if m := cache.Metrics(); m.Blocks != 0 || m.Used != 0 {
		t.Errorf("%+v", m)
	}
}

// TestSuccessionKeepsToTheBudget: where the budget is used up, and not the cache's own bound,
// heirs take nothing else out either, here or in another database.
func TestSuccessionKeepsToTheBudget(t *testing.T) {
	shared := budget.New(100_000)
	databases := make([]*Cache, 2)
	for i := range databases {
		account := budget.Open(shared)
		t.Cleanup(account.Close)
		databases[i] = NewCache(1 << 20)
		databases[i].Account, account.Give[budget.Cache] = account, databases[i].Give
	}
	old, heir := numberedTable(t, 20, ReaderOptions{Cache: databases[0]}), numberedTable(t, 20, ReaderOptions{Cache: databases[0]})
	other := numberedTable(t, 100, ReaderOptions{Cache: databases[1]})
	for i := range 20 {
		read(t, old, i)
	}
	for i := range 100 {
		if shared.Usage().UsedBytes() < 96_000 {
			read(t, other, i)
		}
	}
	before := []CacheMetrics{databases[0].Metrics(), databases[1].Metrics()}
	s := Succeed([][]*Handle{handlesOf(old)}, handlesOf(heir))
	s.Fill(always)
	if len(s.wanted) < 18 {
		t.Errorf("only %d are still wanted", len(s.wanted))
	}
	old.handle.Retire()
	s.Fill(always)
	for i, c := range databases {
		if m := c.Metrics(); m.Evictions != 0 || m.Blocks != before[i].Blocks {
			t.Errorf("%+v after %+v", m, before[i])
		}
	}
}
