package db_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// TestCloseUnderLoad closes a database that everybody uses. Every call returns
// ErrClosed from then on, what was acknowledged is there at the next open, and no
// goroutine and no descriptor is left.
func TestCloseUnderLoad(t *testing.T) {
	runtime.GC()
	goroutines, descriptors := runtime.NumGoroutine(), fixture.OpenDescriptors()
	for round := range 3 {
		dir := t.TempDir()
		d, err := db.Open(dir, &db.Options{MemtableBytes: 16 << 10, Durability: db.NoSync})
		fixture.Must(t, err)
		l := &load{d: d}
		l.start(t)
		if round == 0 {
			l.more(t)
		}
		for d.Metrics().Writes.Commits < uint64(200+500*round) {
			runtime.Gosched()
		}
		var closers sync.WaitGroup
		for range 3 {
			closers.Go(func() {
				if err := d.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		closers.Wait()
		everyCallIsRefused(t, d)
		l.all.Wait()
		d, err = db.Open(dir, &db.Options{MemtableBytes: 16 << 10, ReadOnly: true})
		fixture.Must(t, err)
		for g := range l.written {
			for i := range int(l.written[g].Load()) {
				if ok, err := d.Has(fmt.Appendf(nil, "%d/%06d", g, i)); !ok || err != nil {
					t.Fatalf("write %d of goroutine %d was acknowledged: %v, %v", i, g, ok, err)
				}
			}
		}
		fixture.Must(t, d.Close())
	}
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > goroutines && time.Now().Before(deadline); {
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		stacks := make([]byte, 1<<16)
		t.Errorf("%d goroutines, %d before:\n%s", n, goroutines, stacks[:runtime.Stack(stacks, true)])
	}
	if n := fixture.OpenDescriptors(); n > descriptors {
		t.Errorf("%d descriptors are open, %d before", n, descriptors)
	}
}

// load uses a database in every way until it is closed.
type load struct {
	d       *db.DB
	all     sync.WaitGroup
	written [4]atomic.Int64 // acknowledged, by goroutine
}

// untilClosed does something again and again.
func (l *load) untilClosed(t *testing.T) func(what string, body func(i int) error) {
	return func(what string, body func(i int) error) {
		l.all.Go(func() {
			var err error
			for i := 0; err == nil; i++ {
				err = body(i)
			}
			if !errors.Is(err, db.ErrClosed) {
				t.Errorf("%s ended with %v", what, err)
			}
		})
	}
}

func (l *load) start(t *testing.T) {
	ctx := context.Background()
	untilClosed := l.untilClosed(t)
	for g := range l.written {
		untilClosed("Put", func(i int) error {
			err := l.d.Put(fmt.Appendf(nil, "%d/%06d", g, i), make([]byte, 200))
			if err == nil {
				l.written[g].Add(1)
			}
			return err
		})
	}
	untilClosed("Submit", func(i int) error {
		b := l.d.NewBatch()
		b.Put([]byte("submitted"), nil)
		p, err := l.d.Submit(ctx, b)
		if err != nil {
			return err
		}
		return p.Wait(ctx)
	})
	untilClosed("Get", func(i int) error {
		_, err := l.d.Get(fmt.Appendf(nil, "0/%06d", i%1000))
		if errors.Is(err, db.ErrNotFound) {
			err = nil
		}
		return err
	})
	untilClosed("iterator", func(i int) error {
		it, err := l.d.NewIterator(nil)
		if err != nil {
			return err
		}
		for ok := it.Last(); ok; ok = it.Prev() {
		}
		return it.Close()
	})
	untilClosed("snapshot", func(i int) error {
		s, err := l.d.NewSnapshot()
		if err != nil {
			return err
		}
		_, err = s.Has([]byte("submitted"))
		return errors.Join(err, s.Close())
	})
	untilClosed("Flush", func(int) error { return l.d.Flush(ctx) })
	untilClosed("Compact", func(int) error { return l.d.Compact(ctx, nil, nil) })
	untilClosed("Sync", func(int) error { return l.d.Sync(ctx) })
}

// more does what takes longer.
func (l *load) more(t *testing.T) {
	ctx := context.Background()
	untilClosed := l.untilClosed(t)
	untilClosed("Update", func(i int) error {
		return l.d.Update(ctx, func(tx *db.Tx) error {
			if _, err := tx.Has([]byte("submitted")); err != nil {
				return err
			}
			return tx.In(l.d.Keyspace([]byte("tx"))).Put([]byte("k"), nil)
		})
	})
	untilClosed("Begin without an end", func(i int) error {
		tx, err := l.d.Begin()
		if err != nil {
			return err
		}
		if i%100 > 0 {
			defer tx.Discard()
		}
		return tx.Put([]byte("never"), nil)
	})
	for range 2 {
		untilClosed("Load", func(i int) error { return l.d.Load(ctx, numbered("load", 50, "")) })
	}
	untilClosed("NewCheckpoint", func(int) error {
		c, err := l.d.NewCheckpoint(ctx)
		if err != nil {
			return err
		}
		_, err = c.WriteTo(io.Discard)
		return errors.Join(err, c.Close())
	})
	untilClosed("DeleteRange", func(int) error { return l.d.DeleteRange([]byte("load"), []byte("loae")) })
}

// everyCallIsRefused calls everything on a closed database.
func everyCallIsRefused(t *testing.T, d *db.DB) {
	t.Helper()
	ctx := t.Context()
	b := d.NewBatch()
	fixture.Must(t, b.Put([]byte("k"), nil))
	_, get := d.Get(nil)
	_, appended := d.AppendValue(nil, nil)
	_, has := d.Has(nil)
	_, iterator := d.NewIterator(nil)
	_, snapshot := d.NewSnapshot()
	_, submit := d.Submit(ctx, b)
	_, size := d.GetSize(nil)
	_, begin := d.Begin()
	_, checkpoint := d.NewCheckpoint(ctx)
	k := d.Keyspace([]byte("k"))
	_, inKeyspace := k.Get(nil)
	_, walk := k.NewIterator(nil)
	for what, err := range map[string]error{
		"Put": d.Put(nil, nil), "Delete": d.Delete(nil), "Apply": d.Apply(ctx, b), "Submit": submit, "Sync": d.Sync(ctx),
		"Get": get, "AppendValue": appended, "Has": has, "NewIterator": iterator, "NewSnapshot": snapshot,
		"Flush": d.Flush(ctx), "Compact": d.Compact(ctx, nil, nil),
		"GetSize": size, "Begin": begin, "NewCheckpoint": checkpoint, "Load": d.Load(ctx, numbered("k", 1, "")),
		"View":   d.View(func(*db.Snapshot) error { return errors.New("called") }),
		"Update": d.Update(ctx, func(*db.Tx) error { return errors.New("called") }),
		"Merge":  d.Merge(nil, nil), "PutUntil": d.PutUntil(nil, nil, time.Unix(1, 0)), "DeleteRange": d.DeleteRange(nil, nil),
		"Get of a keyspace": inKeyspace, "NewIterator of a keyspace": walk, "Drop": k.Drop(ctx), "Put of a keyspace": k.Put(nil, nil),
		"DeleteRange of a keyspace": k.DeleteRange(nil, nil),
	} {
		fixture.WantErr(t, what+" after Close", err, db.ErrClosed)
	}
	fixture.Must(t, d.Close())
	d.Metrics()
}

// TestReadersOutliveClose: the next move or call says ErrClosed; what was shown last
// stays readable.
func TestReadersOutliveClose(t *testing.T) {
	m := fixture.NewMachine(vfstest.NewDisk())
	d := m.OpenDB(t)
	m.FillTables(t, d, 100)
	fixture.Must(t, d.Put([]byte("z"), []byte("memory")))
	first, err := d.NewIterator(nil)
	fixture.Must(t, err)
	last, err := d.NewIterator(nil)
	fixture.Must(t, err)
	fresh, err := d.NewIterator(nil)
	fixture.Must(t, err)
	s, err := d.NewSnapshot()
	fixture.Must(t, err)
	first.First()
	last.Last()
	key, value := first.Key(), first.Value()
	fixture.Must(t, d.Close())
	if string(first.Key()) != "table00000" || string(last.Value()) != "memory" || first.Err() != nil {
		t.Errorf("after Close: %q, %q", first.Key(), last.Value())
	}
	for what, move := range map[string]func() bool{
		"Next": first.Next, "Prev": last.Prev, "First": fresh.First, "Last": fresh.Last,
		"SeekGE": func() bool { return fresh.SeekGE(nil) }, "SeekLT": func() bool { return fresh.SeekLT([]byte("z")) },
	} {
		if move() {
			t.Errorf("%s after Close succeeded", what)
		}
	}
	for _, it := range []*db.Iterator{first, last, fresh} {
		fixture.WantErr(t, "iterator", it.Err(), db.ErrClosed)
		fixture.WantErr(t, "Close of an iterator", it.Close(), db.ErrClosed)
		fixture.Must(t, it.Close())
		fixture.WantErr(t, "closed iterator", it.Err(), db.ErrClosed)
	}
	if string(key) != "table00000" || len(value) < 200 {
		t.Errorf("what was shown changed: %q", key)
	}
	_, err = s.Get([]byte("z"))
	fixture.WantErr(t, "snapshot", err, db.ErrClosed)
	_, err = s.NewIterator(nil)
	fixture.WantErr(t, "snapshot", err, db.ErrClosed)
	fixture.Must(t, s.Close())
	fixture.Must(t, s.Close())
	fixture.WantErr(t, "View(nil)", d.View(nil), db.ErrClosed)
	fixture.WantErr(t, "Update without a function", d.Update(t.Context(), nil), db.ErrClosed)
}

// TestPinsBesideClose asks what snapshots keep while the tables that tell are closed.
func TestPinsBesideClose(t *testing.T) {
	for round := range 12 {
		d, err := db.Open("", &db.Options{InMemory: true, Durability: db.NoSync})
		fixture.Must(t, err)
		fixture.Must(t, d.Put([]byte("a"), nil))
		for range 2 {
			s, err := d.NewSnapshot()
			fixture.Must(t, err)
			defer s.Close()
			for i := range 2000 {
				fixture.Must(t, d.Put(fmt.Appendf(nil, "%08d", i), make([]byte, 100)))
			}
			fixture.Must(t, d.Compact(t.Context(), nil, nil))
		}
		fixture.Must(t, d.DeleteRange([]byte("0"), []byte("9")))
		fixture.Must(t, d.Flush(t.Context()))
		var all sync.WaitGroup
		begun := make(chan time.Duration)
		all.Go(func() {
			defer func() {
				if r := recover(); r != nil {
					t.Errorf("round %d: %v", round, r)
					close(begun)
				}
			}()
			start := time.Now()
			d.Pins()
			begun <- time.Since(start)
			for d.Health() == nil {
				d.Pins()
			}
		})
		took := <-begun
		time.Sleep(took * time.Duration(round) / 6) // so that Close comes at another place of Pins each time
		fixture.Must(t, d.Close())
		all.Wait()
	}
}
