// Package cached tests that merges leave readers what they had in the cache. It counts
// blocks that are loaded, and no time. It consists of tests.
package cached

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/door"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
	"lsmdb/stages"
)

const entries = 10_000

func key(i int) []byte   { return fmt.Appendf(nil, "key%08d", i) }
func value(i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%04d", i%10_000), 25) }

// gate holds merges at the creation of their first table until it is opened.
type gate struct {
	mu     sync.Mutex    // stages ask the file system, the test changes its mind
	closed chan struct{} // closed by open; nil: nothing waits. Nobody sends
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed != nil {
		close(g.closed)
		g.closed = nil
	}
}

func (g *gate) pass(op vfstest.Op) error {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed != nil && op.Kind == vfstest.OpCreate && strings.HasSuffix(op.Name, ".sst") {
		<-closed
	}
	return nil
}

// opened is an empty database that never tidies up. Who shuts the gate has merges that reads pay
// for wait there.
func opened(t *testing.T, cacheBytes int64) (*db.DB, *gate) {
	t.Helper()
	g := new(gate)
	alwaysBusy := func(e *stages.Environment) { e.IdleDelay = time.Hour }
	o := fixture.Tuned(vfstest.NewFault(vfstest.NewDisk(), g.pass), alwaysBusy, db.Options{Durability: db.NoSync, MemtableBytes: 8 << 20, CacheBytes: cacheBytes})
	d, err := db.Open("/d", o)
	fixture.Must(t, err)
	t.Cleanup(func() {
		g.open()
		d.Close()
	})
	return d, g
}

// filled is a database whose level 0 holds five tables that overlap. The gate is shut.
func filled(t *testing.T, cacheBytes int64) (*db.DB, *gate) {
	t.Helper()
	d, g := opened(t, cacheBytes)
	const tables = 5
	order := rand.New(rand.NewPCG(1, 2)).Perm(entries)
	for n, i := range order {
		fixture.Must(t, d.Put(key(i), value(i)))
		if (n+1)%(entries/tables) == 0 {
			fixture.Must(t, d.Flush(t.Context()))
		}
	}
	g.shut()
	if m := d.Metrics(); m.Levels[0].Tables != tables {
		t.Fatalf("%d tables in level 0", m.Levels[0].Tables)
	}
	return d, g
}

// readAll gets every entry of a range, and returns how many blocks that had to load.
func readAll(t *testing.T, d *db.DB, from, to int) (misses uint64) {
	t.Helper()
	before := d.Metrics().Cache.Misses
	for i := from; i < to; i++ {
		got, err := d.Get(key(i))
		if err != nil || !bytes.Equal(got, value(i)) {
			t.Fatalf("entry %d: %q, %v", i, got, err)
		}
	}
	return d.Metrics().Cache.Misses - before
}

// TestMergesKeepTheCache: whoever has everything cached loads nothing after a merge, and
// what the merge replaced takes no room, though an iterator keeps its tables.
func TestMergesKeepTheCache(t *testing.T) {
	d, g := filled(t, 64<<20)
	if misses := readAll(t, d, 0, entries); misses < 100 {
		t.Fatalf("only %d blocks", misses)
	}
	before := d.Metrics().Cache
	it, err := d.NewIterator(nil)
	fixture.Must(t, err)
	defer it.Close()
	g.open()
	fixture.Must(t, door.Compact(d))
	m := d.Metrics()
	if m.Levels[0].Tables != 0 || m.Cache.Used > before.Used {
		t.Fatalf("level 0: %+v, cache: %+v after %+v", m.Levels[0], m.Cache, before)
	}
	if misses := readAll(t, d, 0, entries); misses > uint64(before.Blocks/100) {
		t.Errorf("%d blocks are loaded after the merge, of %d that were cached", misses, before.Blocks)
	}
	if !it.SeekGE(key(5)) || !bytes.Equal(it.Value(), value(5)) {
		t.Errorf("the iterator stands on %q: %v", it.Key(), it.Err())
	}
}

// TestMergesKeepWhatIsRead: a part of the keys was read, and only that is cached afterwards.
func TestMergesKeepWhatIsRead(t *testing.T) {
	d, g := filled(t, 64<<20)
	readAll(t, d, entries/2, entries*3/4)
	before := d.Metrics().Cache
	g.open()
	fixture.Must(t, door.Compact(d))
	after := d.Metrics().Cache
	if after.Used > before.Used || after.Misses != before.Misses {
		t.Fatalf("%+v after %+v", after, before)
	}
	if misses := readAll(t, d, entries/2, entries*3/4); misses > uint64(before.Blocks/50+2) {
		t.Errorf("%d blocks are loaded after the merge, of %d that were cached", misses, before.Blocks)
	}
	if misses := readAll(t, d, 0, entries/2); misses < 20 {
		t.Errorf("only %d blocks of what nobody had read are loaded", misses)
	}
}

// TestMergesOfWhatNobodyReads put nothing into the cache.
func TestMergesOfWhatNobodyReads(t *testing.T) {
	d, g := filled(t, 64<<20)
	g.open()
	fixture.Must(t, door.Compact(d))
	if m := d.Metrics().Cache; m.Blocks != 0 {
		t.Errorf("%+v", m)
	}
}

// TestIteratorsThatLeaveTheCacheAlone are no readers in this sense: what they walk over is
// not cached before, and so it is not afterwards.
func TestIteratorsThatLeaveTheCacheAlone(t *testing.T) {
	d, g := filled(t, 64<<20)
	it, err := d.NewIterator(&db.IterOptions{NoCacheFill: true})
	fixture.Must(t, err)
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	fixture.Must(t, it.Close())
	g.open()
	fixture.Must(t, door.Compact(d))
	if m := d.Metrics().Cache; m.Blocks != 0 || n != entries {
		t.Errorf("%+v after %d entries", m, n)
	}
}

// TestMergesStayWithinTheCache: with a cache for a part of the data, readers beside the merge,
// the bound holds at every moment, and replaced tables leave nothing behind.
func TestMergesStayWithinTheCache(t *testing.T) {
	const cacheBytes = 512 << 10
	d, g := filled(t, cacheBytes)
	readAll(t, d, 0, entries)
	stop := make(chan struct{}) // closed by the test when the merge has ended
	var group sync.WaitGroup
	for seed := range uint64(2) {
		group.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 1))
			for {
				select {
				case <-stop:
					return
				default:
				}
				i := rng.IntN(entries)
				if got, err := d.Get(key(i)); err != nil || !bytes.Equal(got, value(i)) {
					t.Errorf("entry %d: %q, %v", i, got, err)
					return
				}
				if m := d.Metrics().Cache; m.Used > cacheBytes {
					t.Errorf("%+v", m)
					return
				}
			}
		})
	}
	g.open()
	err := door.Compact(d)
	close(stop)
	group.Wait()
	fixture.Must(t, err)
	readAll(t, d, 0, entries)
	if m := d.Metrics().Cache; m.Used > cacheBytes || m.Blocks < 80 {
		t.Errorf("%+v", m)
	}
}

// TestFlushesKeepTheCache: what is written again while all is cached is cached when it has
// become a table, and what lies beyond all that was read is not.
func TestFlushesKeepTheCache(t *testing.T) {
	d, g := opened(t, 64<<20)
	for i := range entries {
		fixture.Must(t, d.Put(key(i), value(i)))
	}
	fixture.Must(t, d.Flush(t.Context()))
	readAll(t, d, 0, entries)
	for i := 0; i < entries; i += 20 {
		fixture.Must(t, d.Put(key(i), value(i)))
	}
	for i := range entries {
		fixture.Must(t, d.Put(key(entries+i), value(entries+i)))
	}
	fixture.Must(t, d.Flush(t.Context()))
	g.shut()
	if misses := readAll(t, d, 0, entries); misses > 3 {
		t.Errorf("%d blocks are loaded after the flush", misses)
	}
	if misses := readAll(t, d, entries, 2*entries); misses < 100 {
		t.Errorf("only %d blocks of what nobody had read are loaded", misses)
	}
}
