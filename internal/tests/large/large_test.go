// Package large applies batches that are so large that their callers prepare them. It consists
// of tests.
package large

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// open opens a database with memtables of 16 KiB on a machine.
func open(t *testing.T) (*fixture.Machine, *db.DB) {
	t.Helper()
	m := fixture.NewMachine(vfstest.NewDisk())
	m.Clock = fixture.NewClock()
	return m, m.OpenDB(t)
}

// fill adds puts that need some memtables, with keys of its own.
func fill(t *testing.T, put func(key, value []byte) error, prefix string, n int) {
	t.Helper()
	for i := range n {
		fixture.Must(t, put(fmt.Appendf(nil, "%s%04d", prefix, i), []byte(prefix)))
	}
}

// contents returns all keys, with how often each prefix of fill is among them.
func contents(t *testing.T, of interface {
	NewIterator(*db.IterOptions) (*db.Iterator, error)
}) map[string]int {
	t.Helper()
	it, err := of.NewIterator(nil)
	fixture.Must(t, err)
	found := map[string]int{}
	for _, value := range it.All() {
		found[string(value)]++
	}
	fixture.Must(t, errors.Join(it.Err(), it.Close()))
	return found
}

// wantLarge checks how many commits were prepared, without which a test proves nothing.
func wantLarge(t *testing.T, d *db.DB, want uint64) {
	t.Helper()
	if got := d.Metrics().Writes.Large; got != want {
		t.Errorf("%d commits were prepared, want %d", got, want)
	}
}

const many = 400 // puts that need some memtables

// TestEveryWay sends large batches in every way with every durability. All are there at once,
// for whoever sent them and after a power failure, but for what is Queued.
func TestEveryWay(t *testing.T) {
	for name, write := range map[string]func(d *db.DB, w db.Durability) error{
		"apply": func(d *db.DB, w db.Durability) error {
			b := d.NewBatch()
			fill(t, b.Put, "large", many)
			return d.Apply(t.Context(), b, w)
		},
		"submit": func(d *db.DB, w db.Durability) error {
			b := d.NewBatch()
			fill(t, b.Put, "large", many)
			p, err := d.Submit(t.Context(), b, w)
			if err != nil {
				return err
			}
			return p.Wait(t.Context())
		},
		"transaction": func(d *db.DB, w db.Durability) error {
			return d.Update(t.Context(), func(tx *db.Tx) error {
				if _, err := tx.Get([]byte("before0000")); err != nil {
					return err
				}
				fill(t, tx.Put, "large", many)
				return nil
			}, w)
		},
		"value": func(d *db.DB, w db.Durability) error {
			return d.Put([]byte("one"), []byte(strings.Repeat("large", 10_000)), w)
		},
	} {
		for _, w := range []db.Durability{db.Sync, db.NoSync, db.Queued} {
			t.Run(fmt.Sprint(name, " ", w), func(t *testing.T) {
				m, d := open(t)
				fill(t, func(key, value []byte) error { return d.Put(key, value) }, "before", 3)
				fixture.Must(t, write(d, w))
				if w != db.Queued {
					disk := m.Disk.CrashClone(nil)
					copied, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{MemtableBytes: 16 << 10}))
					fixture.Must(t, err)
					if found := contents(t, copied); found["large"] != many && found[strings.Repeat("large", 10_000)] != 1 || found["before"] != 3 {
						t.Errorf("after a power failure there are %v", keys(found))
					}
					fixture.Must(t, copied.Close())
				}
				if found := contents(t, d); found["large"] != many && found[strings.Repeat("large", 10_000)] != 1 {
					t.Errorf("there are %v", keys(found))
				}
				wantLarge(t, d, 1)
				fixture.Must(t, d.Close())
			})
		}
	}
}

func keys(found map[string]int) []string { return slices.Sorted(maps.Keys(found)) }

// TestOrderOfOneGoroutine: what a goroutine sends after a large batch is written after it, and
// what it sent before, before.
func TestOrderOfOneGoroutine(t *testing.T) {
	_, d := open(t)
	defer d.Close()
	var all []*db.Pending
	for round := range 20 {
		for _, large := range []bool{false, true, false} {
			b := d.NewBatch()
			if large {
				fill(t, b.Put, "large", many)
			}
			fixture.Must(t, b.Put([]byte("key"), fmt.Append(nil, round, large, len(all))))
			p, err := d.Submit(t.Context(), b, db.NoSync)
			fixture.Must(t, err)
			all = append(all, p)
		}
		fixture.Must(t, d.Put([]byte("key"), fmt.Append(nil, round)))
		if got, err := d.Get([]byte("key")); string(got) != fmt.Sprint(round) || err != nil {
			t.Fatalf("round %d: %s, %v", round, got, err)
		}
	}
	for _, p := range all {
		fixture.Must(t, p.Wait(t.Context()))
	}
	wantLarge(t, d, 20)
}

// TestViewsStay: who looked before a large batch goes on to see what there was.
func TestViewsStay(t *testing.T) {
	_, d := open(t)
	defer d.Close()
	fill(t, func(key, value []byte) error { return d.Put(key, value) }, "old", 50)
	s, err := d.NewSnapshot()
	fixture.Must(t, err)
	defer s.Close()
	it, err := d.NewIterator(nil)
	fixture.Must(t, err)
	defer it.Close()
	it.First()
	b := d.NewBatch()
	fixture.Must(t, b.DeleteRange([]byte("old"), []byte("old0025")))
	fill(t, b.Put, "new", many)
	fill(t, func(key, _ []byte) error { return b.Put(key, []byte("newer")) }, "old", 10)
	fixture.Must(t, d.Apply(t.Context(), b))
	for range 2 {
		if found := contents(t, s); found["old"] != 50 || len(found) != 1 {
			t.Errorf("the snapshot shows %v", found)
		}
		if found := contents(t, d); found["old"] != 25 || found["newer"] != 10 || found["new"] != many {
			t.Errorf("the database shows %v", found)
		}
		n := 1
		for it.First(); it.Next(); n++ {
		}
		if n != 50 || it.Err() != nil {
			t.Errorf("the iterator shows %d, %v", n, it.Err())
		}
		fixture.Must(t, d.Flush(t.Context()))
	}
	wantLarge(t, d, 1)
}

// TestTransactions: a large transaction holds only if nothing that it has read was changed,
// also while it was prepared, and however much was written meanwhile.
func TestTransactions(t *testing.T) {
	m, d := open(t)
	defer d.Close()
	fixture.Must(t, d.Put([]byte("read"), []byte("1")))
	for _, changed := range []bool{false, true} {
		for _, meanwhile := range []int{10, 5000} {
			tx, err := d.Begin()
			fixture.Must(t, err)
			_, err = tx.Get([]byte("read"))
			fixture.Must(t, err)
			fill(t, tx.Put, "large", many)
			reached, release := make(chan struct{}), make(chan struct{})
			var once sync.Once
			m.Fail(func(op vfstest.Op) error {
				if op.Kind == vfstest.OpSync && strings.HasSuffix(op.Name, ".wal.tmp") {
					once.Do(func() { close(reached) })
					<-release
				}
				return nil
			})
			committed := make(chan error, 1)
			go func() { committed <- tx.Commit(t.Context()) }()
			<-reached
			for i := range meanwhile {
				fixture.Must(t, d.Put(fmt.Append(nil, "other", i), nil, db.NoSync))
			}
			if changed {
				fixture.Must(t, d.Put([]byte("read"), []byte("2"), db.NoSync))
			}
			m.Fail(nil)
			close(release)
			if err := <-committed; errors.Is(err, db.ErrConflict) != changed || err != nil && !changed {
				t.Errorf("%d meanwhile, changed %v: %v", meanwhile, changed, err)
			}
		}
	}
	wantLarge(t, d, 2)
	if names, err := m.Disk.List(fixture.Dir); err != nil || slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, ".tmp") }) {
		t.Error(names, err)
	}
}

// TestCheckpointMeanwhile: a copy made while a large batch is on its way has all of it or nothing.
func TestCheckpointMeanwhile(t *testing.T) {
	m, d := open(t)
	defer d.Close()
	var copies atomic.Int64
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			c, err := d.NewCheckpoint(t.Context())
			fixture.Must(t, err)
			dir := fmt.Sprint(fixture.Dir, "-", copies.Add(1))
			fixture.Must(t, c.Link(dir))
			fixture.Must(t, c.Close())
			copied, err := db.Open(dir, fixture.On(m, db.Options{ReadOnly: true}))
			fixture.Must(t, err)
			for prefix, n := range contents(t, copied) {
				if strings.HasPrefix(prefix, "large") && n != many {
					t.Errorf("%d entries of %s", n, prefix)
				}
			}
			fixture.Must(t, copied.Close())
		}
	})
	for i := uint64(0); i < 20 || copies.Load() < 3; i++ {
		b := d.NewBatch()
		fill(t, b.Put, fmt.Sprint("large", i, "-"), many)
		fixture.Must(t, d.Apply(t.Context(), b, db.NoSync))
		wantLarge(t, d, i+1)
	}
	stop.Store(true)
	wg.Wait()
}

// TestCloseMeanwhile closes while many goroutines send large batches. What was acknowledged is
// there afterwards, nothing else in part, and nothing is left of what was refused.
func TestCloseMeanwhile(t *testing.T) {
	for range 5 {
		m, d := open(t)
		var stored [6]atomic.Int64
		var wg sync.WaitGroup
		for g := range stored {
			wg.Go(func() {
				b := d.NewBatch()
				for i := 1; ; i++ {
					b.Reset()
					fill(t, b.Put, fmt.Sprint("large", g, "-"), many)
					fixture.Must(t, b.Put(fmt.Append(nil, "round", g), fmt.Append(nil, i)))
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+g)*time.Second)
					err := d.Apply(ctx, b, db.NoSync)
					cancel()
					switch {
					case err == nil:
						stored[g].Store(int64(i))
					case errors.Is(err, db.ErrClosed):
						return
					case !errors.Is(err, context.DeadlineExceeded):
						t.Error(err)
						return
					}
				}
			})
		}
		for d.Metrics().Writes.Large < 10 {
			time.Sleep(time.Millisecond)
		}
		fixture.Must(t, d.Close())
		names, err := m.Disk.List(fixture.Dir)
		fixture.Must(t, err)
		if slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, ".tmp") }) {
			t.Errorf("%v is left", names)
		}
		wg.Wait()
		d = m.OpenDB(t)
		for g := range stored {
			n := stored[g].Load()
			if n == 0 {
				continue
			}
			if round, err := d.Get(fmt.Append(nil, "round", g)); err != nil || string(round) != fmt.Sprint(n) {
				t.Errorf("goroutine %d stored %d, and %s is there, %v", g, n, round, err)
			}
		}
		for prefix, n := range contents(t, d) {
			if strings.HasPrefix(prefix, "large") && n != many {
				t.Errorf("%d entries of %s", n, prefix)
			}
		}
		fixture.Must(t, d.Close())
	}
}

// TestFullDisk: where there is no room for a large batch it is refused, and a small one stored.
// When there is room again, so is the large one.
func TestFullDisk(t *testing.T) {
	m, d := open(t)
	fill(t, func(key, value []byte) error { return d.Put(key, value) }, "small", 3)
	m.Disk.SetLimit(m.Disk.UsedBytes() + 100<<10)
	b := d.NewBatch()
	for i := range 300 {
		fixture.Must(t, b.Put(fmt.Append(nil, i), make([]byte, 1000)))
	}
	for range 3 {
		if err := d.Apply(t.Context(), b); !errors.Is(err, db.ErrDiskFull) {
			t.Errorf("on a full disk: %v", err)
		}
		fixture.Must(t, d.Put([]byte("small"), []byte("small")))
	}
	wantLarge(t, d, 0)
	m.Disk.SetLimit(0)
	fixture.Must(t, d.Apply(t.Context(), b))
	wantLarge(t, d, 1)
	fixture.Must(t, d.Close())
}

// TestKilledWhilePrepared: the file that a killed process leaves is none that anybody takes for
// a log, and the next process removes it when it writes.
func TestKilledWhilePrepared(t *testing.T) {
	m, d := open(t)
	fill(t, func(key, value []byte) error { return d.Put(key, value) }, "small", 3)
	m.Fail(func(op vfstest.Op) error {
		if op.Kind == vfstest.OpSync && strings.HasSuffix(op.Name, ".wal.tmp") && op.Offset == 0 {
			m.Killed.Store(true)
			return fixture.ErrDead
		}
		return nil
	})
	b := d.NewBatch()
	fill(t, b.Put, "large", many)
	if err := d.Apply(t.Context(), b); err == nil {
		t.Error("stored by a dead process")
	}
	m.Kill(d)
	names, err := m.Disk.List(fixture.Dir)
	fixture.Must(t, err)
	if !slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, ".wal.tmp") }) {
		t.Fatalf("nothing is left among %v", names)
	}
	report, err := fixture.VerifyOn(m.Disk, fixture.Dir)
	if err != nil || len(report.Problems) > 0 {
		t.Error(report, err)
	}
	d = fixture.NewMachine(m.Disk).OpenDB(t)
	if found := contents(t, d); found["small"] != 3 || len(found) != 1 {
		t.Errorf("there are %v", found)
	}
	fixture.Must(t, d.Apply(t.Context(), b))
	names, err = m.Disk.List(fixture.Dir)
	fixture.Must(t, err)
	if slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, ".tmp") }) {
		t.Errorf("%v is left", names)
	}
	fixture.Must(t, d.Close())
}

// TestIntoAGap: iterators know a range in which all was deleted, and skip it. What a large
// batch puts there they find.
func TestIntoAGap(t *testing.T) {
	_, d := open(t)
	defer d.Close()
	key := func(i int) []byte { return fmt.Appendf(nil, "gap%04d", i) }
	for i := range 200 {
		fixture.Must(t, d.Put(key(i), nil, db.NoSync))
	}
	for i := range 200 {
		fixture.Must(t, d.Delete(key(i), db.NoSync))
	}
	for range 4 {
		if found := contents(t, d); len(found) > 0 {
			t.Fatalf("there are %v", found)
		}
	}
	b := d.NewBatch()
	fill(t, b.Put, "z", many)
	fixture.Must(t, b.Put(key(100), []byte("in the gap")))
	fixture.Must(t, d.Apply(t.Context(), b))
	if found := contents(t, d); found["in the gap"] != 1 || found["z"] != many {
		t.Errorf("there are %v", found)
	}
	wantLarge(t, d, 1)
}
