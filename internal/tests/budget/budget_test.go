// Package budget shares one bound on memory between databases. It consists of tests.
package budget

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// slow is 1, or more with the race detector, where all of it is.
var slow = map[bool]int{false: 1, true: 2}[base.Invariants]

func key(i int) []byte {
	return binary.BigEndian.AppendUint64([]byte("key-"), uint64(i)*0x9e3779b97f4a7c15)
}

// value is what key i has: half of it does not compress.
func value(i, length int) []byte {
	v := make([]byte, length)
	rng := rand.New(rand.NewPCG(uint64(i), 0))
	for j := range length / 2 {
		v[j] = byte(rng.Uint32())
	}
	return v
}

func openInMemory(t *testing.T, o db.Options) *db.DB {
	t.Helper()
	o.InMemory, o.Durability = true, db.NoSync
	d, err := db.Open("", &o)
	fixture.Must(t, err)
	t.Cleanup(func() { fixture.Must(t, d.Close()) })
	return d
}

func fill(t *testing.T, d *db.DB, from, to, length int) {
	t.Helper()
	for i := from; i < to; i++ {
		fixture.Must(t, d.Put(key(i), value(i, length)))
	}
}

// settled makes tables of all that was written, in one level.
func settled(t *testing.T, d *db.DB) {
	t.Helper()
	fixture.Must(t, d.Flush(t.Context()))
	fixture.Must(t, d.Compact(t.Context(), nil, nil))
}

func check(t *testing.T, d *db.DB, i, length int) {
	t.Helper()
	got, err := d.Get(key(i))
	if err != nil || !bytes.Equal(got, value(i, length)) {
		t.Fatalf("key %d: %d bytes, %v", i, len(got), err)
	}
}

// empty fails if anything is left of a budget.
func empty(t *testing.T, m *db.MemoryBudget) {
	t.Helper()
	if left := m.Metrics(); left.Used != 0 {
		t.Errorf("left: %+v", left)
	}
}

// TestBoundHolds: several databases write, merge, get and walk at the same time, and take
// together what they may. What they need in any case comes on top.
func TestBoundHolds(t *testing.T) {
	const limit, databases, length = 16 << 20, 4, 400
	keys := 24_000 / slow
	const each = 1 << 20 // a few tables under way, with their garbage, and a memtable
	budget := db.NewMemoryBudget(limit)
	var most atomic.Int64
	var users sync.WaitGroup
	all := make([]*db.DB, databases)
	look := func() {
		m := budget.Metrics()
		for seen := most.Load(); m.Used > seen && !most.CompareAndSwap(seen, m.Used); seen = most.Load() {
		}
		if m.Used > limit+databases*each || m.Memtables+m.Sealed > limit/2+databases*each {
			t.Errorf("%+v", m)
		}
	}
	for n := range databases {
		d := openInMemory(t, db.Options{Memory: budget, MemtableBytes: 64 << 20})
		all[n] = d
		users.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(n), 1))
			for i := range keys {
				if err := d.Put(key(i), value(i, length)); err != nil {
					t.Error(err)
					return
				}
				if got, err := d.Get(key(rng.IntN(i + 1))); err != nil || len(got) != length {
					t.Errorf("%d bytes, %v", len(got), err)
					return
				}
				if i%64 == 0 {
					look()
				}
				if i%2000 != 1999 {
					continue
				}
				it, err := d.NewIterator(&db.IterOptions{NoCacheFill: n%2 == 0})
				if err != nil {
					t.Error(err)
					return
				}
				for ok := it.First(); ok; ok = it.Next() {
				}
				if err := it.Close(); err != nil {
					t.Error(err)
				}
				look()
			}
		})
	}
	users.Wait()
	if most.Load() < limit/2 {
		t.Errorf("only %d bytes were ever used: nothing had to give way", most.Load())
	}
	var sum, flushes int64
	for _, d := range all {
		m := d.Metrics()
		sum += m.Memory.Used
		flushes += int64(m.Flush.Jobs)
		if m.Memory.Limit != limit || m.Memory.Cache != m.Cache.Used {
			t.Errorf("%+v, %+v", m.Memory, m.Cache)
		}
		for i := 0; i < keys; i += 97 {
			check(t, d, i, length)
		}
		look()
	}
	if flushes < 2 {
		t.Errorf("%d early flushes", flushes)
	}
	for _, d := range all {
		fixture.Must(t, d.Close())
	}
	empty(t, budget)
}

// TestCacheGivesWay: a full cache that nobody uses gives way to another database's.
func TestCacheGivesWay(t *testing.T) {
	const limit, length = 4 << 20, 400
	keys := 8000 / slow
	budget := db.NewMemoryBudget(limit)
	idle, busy := openInMemory(t, db.Options{Memory: budget}), openInMemory(t, db.Options{Memory: budget})
	for _, d := range []*db.DB{idle, busy} {
		fill(t, d, 0, keys, length)
		settled(t, d)
	}
	for i := range keys {
		check(t, idle, i, length)
	}
	full := idle.Metrics()
	if full.Cache.Used < limit/4 {
		t.Fatalf("the cache takes %d bytes only", full.Cache.Used)
	}
	for i := range keys {
		check(t, busy, i, length)
	}
	gave, took := idle.Metrics().Cache.Used, busy.Metrics().Cache.Used
	if gave > full.Cache.Used*2/3 || took < limit/8 {
		t.Errorf("of %d bytes %d are left, the other has %d", full.Cache.Used, gave, took)
	}
	if m := budget.Metrics(); m.Used > limit {
		t.Errorf("%+v", m)
	}
	fixture.Must(t, idle.Close())
	if m := budget.Metrics(); m.Used != busy.Metrics().Memory.Used {
		t.Errorf("the closed database has %+v", m)
	}
}

// TestTablesGiveWay: indexes and filters do not outgrow the budget either.
func TestTablesGiveWay(t *testing.T) {
	const limit = 256 << 10
	keys := 60_000 / slow
	budget := db.NewMemoryBudget(limit)
	d := openInMemory(t, db.Options{Memory: budget, MemtableBytes: 64 << 10, FilterBitsPerKey: 40})
	for i := 0; i < keys; i += 500 {
		b := d.NewBatch()
		for j := i; j < i+500; j++ {
			b.Put(key(j), nil)
		}
		fixture.Must(t, d.Apply(t.Context(), b))
	}
	settled(t, d)
	rng := rand.New(rand.NewPCG(1, 2))
	most := int64(0)
	for range 2000 / slow {
		check(t, d, rng.IntN(keys), 0)
		if _, err := d.Get(append(key(rng.IntN(keys)), 'x')); !errors.Is(err, db.ErrNotFound) { // for this filters are loaded
			t.Fatal(err)
		}
		m := budget.Metrics()
		most = max(most, m.Tables)
		if m.Used > limit {
			t.Fatalf("%+v", m)
		}
	}
	if most < limit/8 {
		t.Errorf("tables take %d bytes at most", most)
	}
	// A walk goes on in a table that was unloaded meanwhile.
	it, err := d.NewIterator(nil)
	fixture.Must(t, err)
	count := 0
	for ok := it.First(); ok; ok = it.Next() {
		if count++; count%100 == 0 {
			check(t, d, rng.IntN(keys), 0)
		}
	}
	fixture.Must(t, it.Close())
	if count != keys {
		t.Errorf("%d keys", count)
	}
	fixture.Must(t, d.Close())
	empty(t, budget)
}

// TestLargestMemtableIsFlushed: it is, though nobody writes to its database any more, and
// the others' are not.
func TestLargestMemtableIsFlushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit, length = 8 << 20, 1000
		budget := db.NewMemoryBudget(limit)
		options := db.Options{Memory: budget}
		large, small, busy := openInMemory(t, options), openInMemory(t, options), openInMemory(t, options)
		fill(t, large, 0, 1000, length)
		fill(t, small, 0, 20, length)
		synctest.Wait()
		rotations := func(d *db.DB) uint64 { return d.Metrics().WAL.Rotations }
		if rotations(large)+rotations(small) != 0 {
			t.Fatal("flushed too early")
		}
		for i := 0; rotations(large) == 0; i++ {
			if i > 1500 {
				t.Fatalf("not flushed: %+v", budget.Metrics())
			}
			fill(t, busy, i, i+1, length)
			if i%10 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		if m := large.Metrics(); m.Flush.Jobs != 1 || m.Memory.Memtables+m.Memory.Sealed != 0 || rotations(small)+rotations(busy) != 0 {
			t.Errorf("%+v after %d flushes; the others have rotated %d and %d times", m.Memory, m.Flush.Jobs, rotations(small), rotations(busy))
		}
		for i := range 1000 {
			check(t, large, i, length)
		}
		for _, d := range []*db.DB{large, small, busy} {
			fixture.Must(t, d.Close())
		}
		empty(t, budget)
	})
}

// TestTinyBudget: with no budget to speak of everything is slow, and works.
func TestTinyBudget(t *testing.T) {
	for _, limit := range []int64{-1, 1, 100 << 10} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			budget := db.NewMemoryBudget(limit)
			var all []*db.DB
			var users sync.WaitGroup
			for n := range 3 {
				d := openInMemory(t, db.Options{Memory: budget, MemtableBytes: int64(n) << 20, Durability: db.Durability(n)})
				all = append(all, d)
				for part := range 2 {
					users.Go(func() {
						for i := part; i < 600; i += 2 {
							if err := d.Put(key(i), value(i, 500)); err != nil {
								t.Error(err)
							}
							if got, err := d.Get(key(i)); err != nil || !bytes.Equal(got, value(i, 500)) {
								t.Errorf("%d bytes, %v", len(got), err)
							}
						}
					})
				}
			}
			users.Wait()
			for _, d := range all {
				fixture.Must(t, d.Load(t.Context(), func(yield func(k, v []byte) bool) {
					for i := range 300 {
						if !yield(fmt.Appendf(nil, "load-%06d", i), value(i, 500)) {
							return
						}
					}
				}))
				settled(t, d)
				it, err := d.NewIterator(nil)
				fixture.Must(t, err)
				count := 0
				for ok := it.First(); ok; ok = it.Next() {
					count++
				}
				fixture.Must(t, it.Close())
				if count != 900 {
					t.Errorf("%d keys", count)
				}
			}
			for _, d := range all {
				fixture.Must(t, d.Close())
			}
			empty(t, budget)
		})
	}
}

// TestBoundsOfEachDatabase: CacheBytes stays a bound within the budget, as no cache does.
func TestBoundsOfEachDatabase(t *testing.T) {
	const limit, keys, length = 16 << 20, 4000, 400
	for _, test := range []struct{ option, most, least int64 }{
		{0, limit / 2, 1 << 20}, {200 << 10, 200 << 10, 100 << 10}, {-1, 0, 0},
	} {
		budget := db.NewMemoryBudget(limit)
		d := openInMemory(t, db.Options{Memory: budget, CacheBytes: test.option})
		fill(t, d, 0, keys, length)
		settled(t, d)
		for i := range keys {
			check(t, d, i, length)
		}
		if m := d.Metrics(); m.Memory.Cache > test.most || m.Memory.Cache < test.least {
			t.Errorf("CacheBytes %d: %+v", test.option, m.Memory)
		}
	}
	// Without a budget the same is counted, and nothing is bounded but by the options.
	d := openInMemory(t, db.Options{})
	fill(t, d, 0, keys, length)
	if m := d.Metrics().Memory; m.Limit != 0 || m.Memtables < keys*length {
		t.Errorf("%+v", m)
	}
}

// TestAllIsGivenBack: jobs and iterators give back what they took when they end, however
// that happens, and a database all the rest when it is closed.
func TestAllIsGivenBack(t *testing.T) {
	const keys, length = 3000, 400
	budget := db.NewMemoryBudget(64 << 20)
	disk := vfstest.NewDisk()
	var failing atomic.Bool
	boom := errors.New("boom")
	faulty := vfstest.NewFault(disk, func(op vfstest.Op) error {
		if failing.Load() && op.Kind == vfstest.OpWrite {
			return boom
		}
		return nil
	})
	open := func(o db.Options) *db.DB {
		o.Memory, o.Durability = budget, db.NoSync
		d, err := db.Open(fixture.Dir, fixture.On(faulty, o))
		fixture.Must(t, err)
		return d
	}
	d := open(db.Options{})
	fill(t, d, 0, keys, length)
	settled(t, d)
	var iterators []*db.Iterator
	for i := range 4 {
		it, err := d.NewIterator(&db.IterOptions{NoCacheFill: i%2 == 0})
		fixture.Must(t, err)
		if !it.SeekGE(key(i)) || !it.Next() {
			t.Fatal(it.Err())
		}
		for range 200 {
			it.Next()
		}
		iterators = append(iterators, it)
	}
	if m := d.Metrics().Memory; m.ReadAhead == 0 || m.Tables == 0 || m.Cache == 0 {
		t.Fatalf("nothing is counted: %+v", m)
	}
	for _, it := range iterators[:2] {
		fixture.Must(t, it.Close())
	}
	// Loads that end before their time.
	for _, end := range []string{"unsorted", "cancelled", "panic"} {
		ctx, cancel := context.WithCancel(t.Context())
		func() {
			defer func() { _ = recover() }()
			err := d.Load(ctx, func(yield func(k, v []byte) bool) {
				for i := range 2000 {
					if !yield(fmt.Appendf(nil, "load-%06d", i), value(i, 2000)) {
						return
					}
				}
				if m := d.Metrics().Memory; m.Jobs == 0 {
					t.Errorf("a load costs nothing: %+v", m)
				}
				switch end {
				case "unsorted":
					yield([]byte("a"), nil)
				case "cancelled":
					cancel()
				case "panic":
					panic("enough")
				}
			})
			if err == nil {
				t.Errorf("%s: no error", end)
			}
		}()
		cancel()
		if m := d.Metrics().Memory; m.Jobs != 0 {
			t.Errorf("%s: %+v", end, m)
		}
	}
	for _, it := range iterators[2:] {
		fixture.Must(t, it.Close())
	}
	if m := d.Metrics().Memory; m.ReadAhead != 0 || m.Jobs != 0 || m.Memtables+m.Sealed != 0 {
		t.Errorf("left of closed iterators and ended jobs: %+v", m)
	}
	fixture.Must(t, d.DeleteRange([]byte("key-"), []byte("key.")))
	settled(t, d)
	m := d.Metrics()
	for start := time.Now(); m.Memory.Used > 0 && time.Since(start) < time.Minute; m = d.Metrics() {
		runtime.Gosched() // the Sweeper closes tables in its own time
	}
	if tables, _ := m.Tables(); tables != 0 || m.Memory.Used != 0 {
		t.Errorf("%d tables, %+v", tables, m.Memory)
	}
	// Closed with a walk under way, a transaction open and a memtable full.
	fill(t, d, 0, keys, length)
	settled(t, d)
	fill(t, d, 0, keys, length)
	at, err := d.NewIterator(&db.IterOptions{NoCacheFill: true})
	fixture.Must(t, err)
	for ok, i := at.First(), 0; ok && i < 500; ok, i = at.Next(), i+1 {
	}
	fixture.Must(t, d.Close())
	empty(t, budget)
	_ = at.Close()
	empty(t, budget)
	// Opened with a log to replay, read only, and not at all.
	d = open(db.Options{ReadOnly: true})
	if m := d.Metrics().Memory; m.Sealed == 0 {
		t.Errorf("the log that is held in memory costs nothing: %+v", m)
	}
	check(t, d, 1, length)
	fixture.Must(t, d.Close())
	empty(t, budget)
	d = open(db.Options{})
	if _, err := db.Open(fixture.Dir, fixture.On(faulty, db.Options{Memory: budget})); !errors.Is(err, db.ErrLocked) {
		t.Fatal(err)
	}
	settled(t, d)
	// A failure in the middle of things.
	fill(t, d, 0, keys, length)
	failing.Store(true)
	if err := d.Flush(t.Context()); err == nil {
		t.Error("the fault was not met")
	}
	failing.Store(false)
	if err := d.Close(); err == nil {
		t.Error("the fault was not told")
	}
	empty(t, budget)
}

// TestWritersWait: while memtables take more than their half, a Writer waits for its
// Flusher before it fills another, and goes on when that is done.
func TestWritersWait(t *testing.T) {
	const limit, length = 2 << 20, 1000
	budget := db.NewMemoryBudget(limit)
	held, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	faulty := vfstest.NewFault(vfstest.NewDisk(), func(op vfstest.Op) error {
		if op.Kind == vfstest.OpCreate && strings.HasSuffix(op.Name, ".sst") {
			once.Do(func() { close(held) })
			<-release
		}
		return nil
	})
	d, err := db.Open(fixture.Dir, fixture.On(faulty, db.Options{Memory: budget, Durability: db.NoSync}))
	fixture.Must(t, err)
	var stored atomic.Int64
	var writer sync.WaitGroup
	const writes = 8 << 10
	writer.Go(func() {
		for i := range writes {
			if err := d.Put(key(i), value(i, length)); err != nil {
				t.Error(err)
			}
			stored.Add(1)
		}
	})
	<-held
	for start := time.Now(); d.Metrics().Stalls.Behind == "" && time.Since(start) < time.Minute; {
		runtime.Gosched()
	}
	if m := budget.Metrics(); m.Memtables+m.Sealed > limit/2+(128<<10) {
		t.Errorf("after %d writes: %+v", stored.Load(), m)
	}
	if n := d.Metrics().WAL.Rotations; n > 2 { // one memtable in the Flusher, one before it
		t.Errorf("%d memtables were sealed instead of waiting", n)
	}
	close(release)
	writer.Wait()
	if m := d.Metrics(); stored.Load() != writes || m.Stalls.Count == 0 {
		t.Errorf("%d stored, %+v", stored.Load(), m.Stalls)
	}
	fixture.Must(t, d.Close())
	empty(t, budget)
}

// TestMemoryLimit: caches give way below the memory limit of the process, without a budget.
func TestMemoryLimit(t *testing.T) {
	const keys, length = 6000, 500
	d := openInMemory(t, db.Options{CacheBytes: 1 << 30})
	fill(t, d, 0, keys, length)
	settled(t, d)
	read := func() int64 {
		for i := range keys {
			check(t, d, i, length)
		}
		return d.Metrics().Cache.Used
	}
	full := read()
	if full < keys*length {
		t.Fatalf("the cache takes %d bytes only", full)
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	debug.SetMemoryLimit(1) // so that nothing but the least is left
	runtime.GC()
	for i := keys; i < 2*keys; i++ {
		fixture.Must(t, d.Put(key(i), value(i, length)))
	}
	settled(t, d)
	for i := range 2 * keys {
		check(t, d, i, length)
	}
	if left := d.Metrics().Cache.Used; left > full/3 {
		t.Errorf("of %d bytes %d are left", full, left)
	}
}

// TestWhatIsOnlyReadPressesNobody: memtables that no flush makes fewer, those of a log that is
// open read-only and those that an iterator keeps, do not have others flush crumbs.
func TestWhatIsOnlyReadPressesNobody(t *testing.T) {
	const limit, length, writes = 4 << 20, 1000, 1500
	disk := vfstest.NewDisk()
	log, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{Durability: db.NoSync}))
	fixture.Must(t, err)
	fill(t, log, 0, 2500, length)
	fixture.Must(t, log.Close())
	budget := db.NewMemoryBudget(limit)
	reader, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{Memory: budget, ReadOnly: true}))
	fixture.Must(t, err)
	if m := budget.Metrics(); m.Sealed < limit/2 {
		t.Fatalf("%+v", m)
	}
	busy := openInMemory(t, db.Options{Memory: budget})
	flushes := func() uint64 {
		fill(t, busy, 0, writes, length)
		fixture.Must(t, busy.Flush(t.Context()))
		return busy.Metrics().Flush.Jobs
	}
	if n := flushes(); n > 4 {
		t.Errorf("%d flushes of %d bytes beside a log", n, writes*length)
	}
	fixture.Must(t, reader.Close())
	for range 3 {
		d := openInMemory(t, db.Options{Memory: budget})
		fill(t, d, 0, 750, length)
		it, err := d.NewIterator(nil)
		fixture.Must(t, err)
		defer it.Close()
		fixture.Must(t, d.Flush(t.Context()))
	}
	if m := budget.Metrics(); m.Sealed < limit/2 {
		t.Fatalf("%+v", m)
	}
	before := busy.Metrics().Flush.Jobs
	if n := flushes() - before; n > 4 {
		t.Errorf("%d flushes of %d bytes beside iterators", n, writes*length)
	}
}
