package db_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// numbered yields n keys with values, with the same memory again and again.
func numbered(prefix string, n int, value string) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		var key, v []byte
		for i := range n {
			key = fmt.Appendf(key[:0], "%s%06d", prefix, i)
			v = fmt.Appendf(v[:0], "%s%d", value, i)
			if !yield(key, v) {
				return
			}
		}
	}
}

// with is v after the input was loaded.
func with(v fixture.View, sorted iter.Seq2[[]byte, []byte]) fixture.View {
	v = maps.Clone(v)
	for key, value := range sorted {
		v[string(key)] = string(value)
	}
	return v
}

func TestLoad(t *testing.T) {
	disk := vfstest.NewDisk()
	open := func() *db.DB {
		d, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{MemtableBytes: 32 << 10}))
		fixture.Must(t, err)
		return d
	}
	d := open()
	want := fixture.View{}
	fixture.Must(t, d.Load(t.Context(), numbered("k", 20_000, "first")))
	want = with(want, numbered("k", 20_000, "first"))
	metrics := d.Metrics()
	if last := metrics.Levels[len(metrics.Levels)-1]; last.Tables < 2 || metrics.Levels[0].Tables > 0 {
		t.Errorf("an empty database was loaded into %+v", metrics.Levels)
	}
	fixture.Must(t, d.Put([]byte("k000005"), []byte("newer"), db.NoSync))
	want["k000005"] = "newer"
	fixture.Must(t, d.Delete([]byte("k000007"), db.NoSync))
	delete(want, "k000007")
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
	before, err := d.NewSnapshot()
	fixture.Must(t, err)
	fixture.Must(t, d.Load(t.Context(), numbered("k0000", 9, "second")))
	old := want
	want = with(want, numbered("k0000", 9, "second"))
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
	it, err := before.NewIterator(nil)
	fixture.Must(t, err)
	seen := fixture.View{}
	for ok := it.First(); ok; ok = it.Next() {
		seen[string(it.Key())] = string(it.Value())
	}
	fixture.Must(t, it.Close())
	fixture.Must(t, fixture.Differ(old, seen))
	fixture.Must(t, before.Close())
	fixture.Must(t, d.Compact(t.Context(), nil, nil))
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
	fixture.Must(t, d.Close())
	d = open()
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
	fixture.Must(t, d.Close())
	report, err := fixture.VerifyOn(disk, fixture.Dir)
	fixture.Must(t, err)
	if !report.OK() {
		t.Error(report.Problems)
	}
}

func TestLoadRefuses(t *testing.T) {
	disk := vfstest.NewDisk()
	d, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{}))
	fixture.Must(t, err)
	fixture.Must(t, d.Put([]byte("x"), nil, db.NoSync))
	fixture.Must(t, d.Flush(t.Context()))
	names, err := disk.List(fixture.Dir)
	fixture.Must(t, err)
	pairs := func(keys ...string) iter.Seq2[[]byte, []byte] {
		return func(yield func([]byte, []byte) bool) {
			for _, k := range keys {
				if !yield([]byte(k), nil) {
					return
				}
			}
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	for what, c := range map[string]struct {
		input iter.Seq2[[]byte, []byte]
		ctx   context.Context
		want  string
	}{
		"descending": {pairs("a", "c", "b"), t.Context(), `"b" follows "c"`},
		"twice":      {pairs("", "a", "a"), t.Context(), `"a" follows "a"`},
		"empty last": {pairs("a", ""), t.Context(), `"" follows "a"`},
		"long key":   {pairs("a", strings.Repeat("b", db.MaxKeyBytes+1)), t.Context(), db.ErrKeyTooLarge.Error()},
		"ended": {func(yield func([]byte, []byte) bool) {
			yield([]byte("a"), nil)
			cancel()
			yield([]byte("b"), nil)
		}, ended, context.Canceled.Error()},
		"no input":   {nil, t.Context(), "no input"},
		"no context": {pairs("a"), nil, "context"},
	} {
		if err := d.Load(c.ctx, c.input); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	func() {
		defer func() {
			if r := recover(); r != "the input's" {
				t.Errorf("recovered %v", r)
			}
		}()
		_ = d.Load(t.Context(), func(yield func([]byte, []byte) bool) {
			yield([]byte("a"), nil)
			panic("the input's")
		})
	}()
	fixture.Must(t, d.Load(t.Context(), pairs()))
	fixture.Must(t, fixture.Differ(fixture.View{"x": ""}, fixture.Contents(t, d)))
	after, err := disk.List(fixture.Dir)
	fixture.Must(t, err)
	if tables := func(names []string) int {
		return len(slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !strings.HasSuffix(n, ".sst") }))
	}; tables(names) != tables(after) {
		t.Errorf("files before: %v, after: %v", names, after)
	}
	fixture.Must(t, d.Close())
	fixture.WantErr(t, "load into a closed database", d.Load(t.Context(), pairs("a")), db.ErrClosed)
}

// asked is a context that tells of its end only whoever asks: so luck has no part in it.
type asked struct {
	context.Context
	over bool
}

func (a *asked) Done() <-chan struct{} { return nil }

func (a *asked) Err() error {
	if a.over {
		return context.Canceled
	}
	return nil
}

// TestEndedContext: with a context that has ended, nothing is done; nor is an input loaded
// that ends by ending it.
func TestEndedContext(t *testing.T) {
	d, err := db.Open("", &db.Options{InMemory: true})
	fixture.Must(t, err)
	defer d.Close()
	ctx := &asked{Context: t.Context()}
	fixture.WantErr(t, "Load", d.Load(ctx, func(yield func(key, value []byte) bool) {
		yield([]byte("k"), []byte("v"))
		ctx.over = true
	}), context.Canceled)
	flushes := d.Metrics().Flush.Jobs
	b := d.NewBatch()
	fixture.Must(t, b.Put([]byte("k"), nil))
	fixture.WantErr(t, "Apply", d.Apply(ctx, b), context.Canceled)
	_, err = d.Submit(ctx, b)
	fixture.WantErr(t, "Submit", err, context.Canceled)
	fixture.WantErr(t, "Load", d.Load(ctx, func(yield func(key, value []byte) bool) { yield([]byte("k"), nil) }), context.Canceled)
	fixture.WantErr(t, "Flush", d.Flush(ctx), context.Canceled)
	fixture.WantErr(t, "Sync", d.Sync(ctx), context.Canceled)
	fixture.WantErr(t, "Compact", d.Compact(ctx, nil, nil), context.Canceled)
	_, err = d.NewCheckpoint(ctx)
	fixture.WantErr(t, "NewCheckpoint", err, context.Canceled)
	fixture.WantErr(t, "Update", d.Update(ctx, func(tx *db.Tx) error { return tx.Put([]byte("k"), nil) }), context.Canceled)
	tx, err := d.Begin()
	fixture.Must(t, err)
	fixture.Must(t, tx.Put([]byte("k"), nil))
	fixture.WantErr(t, "Commit", tx.Commit(ctx), context.Canceled)
	if n := len(fixture.Contents(t, d)); n > 0 || d.Metrics().Flush.Jobs != flushes {
		t.Errorf("%d keys, %d flushes", n, d.Metrics().Flush.Jobs)
	}
}

// TestLoadBesideWriters: whoever sees one key of a load sees all, writers and compactions
// go on, and what was written after it wins.
func TestLoadBesideWriters(t *testing.T) {
	d, err := db.Open(fixture.Dir, fixture.On(vfstest.NewDisk(), db.Options{MemtableBytes: 32 << 10}))
	fixture.Must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if err := d.Put(fmt.Appendf(nil, "k%06d", (i*7+w)%3000), bytes.Repeat([]byte("w"), 100), db.NoSync); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			it, err := d.NewIterator(&db.IterOptions{Prefix: []byte("load")})
			if err != nil {
				t.Error(err)
				return
			}
			values := map[string]int{}
			for ok := it.First(); ok; ok = it.Next() {
				values[string(it.Value()[:2])]++
			}
			if len(values) > 1 || len(values) == 1 && values[slices.Collect(maps.Keys(values))[0]] != 1000 {
				t.Errorf("part of a load is visible: %v", values)
			}
			if err := errors.Join(it.Err(), it.Close()); err != nil {
				t.Error(err)
			}
		}
	})
	for round := range 20 {
		tag := fmt.Sprintf("%02d", round)
		fixture.Must(t, d.Load(ctx, func(yield func([]byte, []byte) bool) {
			for k, v := range numbered("k", 50, tag) { // where the others write
				if !yield(k, v) {
					return
				}
			}
			for k, v := range numbered("load", 1000, tag) {
				if !yield(k, v) {
					return
				}
			}
		}))
		value, err := d.Get([]byte("load000500"))
		if err != nil || string(value) != tag+"500" {
			t.Fatalf("after load %d: %q, %v", round, value, err)
		}
	}
	stop()
	wg.Wait()
	fixture.Must(t, d.Close())
}

// TestLoadSurvives: a load that returned is there after a power failure at any later
// moment, and one that did not is there as a whole or not at all.
func TestLoadSurvives(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for stop := 1; stop < 400; stop += 3 {
		disk := vfstest.NewDisk()
		m := fixture.NewMachine(disk)
		var mu sync.Mutex
		count := 0
		var crashed *vfstest.Disk
		m.Fail(func(vfstest.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if count++; count == stop {
				crashed = disk.CrashClone(rng)
			}
			return nil
		})
		d, err := db.Open(fixture.Dir, fixture.On(m, db.Options{MemtableBytes: 16 << 10}))
		fixture.Must(t, err)
		fixture.Must(t, d.Put([]byte("k000003"), []byte("before"), db.Sync))
		fixture.Must(t, d.Load(t.Context(), numbered("k", 500, "loaded")))
		mu.Lock()
		done := count
		mu.Unlock()
		fixture.Must(t, d.Put([]byte("z"), []byte("after"), db.NoSync))
		fixture.Must(t, d.Load(t.Context(), numbered("l", 500, "loaded")))
		fixture.Must(t, d.Close())
		if crashed == nil {
			break
		}
		again, err := db.Open(fixture.Dir, fixture.On(crashed, db.Options{}))
		fixture.Must(t, err)
		found := map[string]int{}
		it, err := again.NewIterator(nil)
		fixture.Must(t, err)
		for ok := it.First(); ok; ok = it.Next() {
			if strings.HasPrefix(string(it.Value()), "loaded") {
				found[string(it.Key()[:1])]++
			}
		}
		fixture.Must(t, errors.Join(it.Err(), it.Close()))
		for name, n := range found {
			if n != 500 {
				t.Fatalf("after operation %d: %d of the load of %q", stop, n, name)
			}
		}
		if stop > done && found["k"] != 500 {
			t.Fatalf("after operation %d, acknowledged at %d, nothing is there", stop, done)
		}
		fixture.Must(t, again.Close())
	}
}

// TestLoadWhenADirectorySyncFails: such a failure is told once, so nobody may rely on a
// later sync of the directory: the database stops, as after that of a flush.
func TestLoadWhenADirectorySyncFails(t *testing.T) {
	m := fixture.NewMachine(vfstest.NewDisk())
	d := m.OpenDB(t)
	fixture.Must(t, d.Put([]byte("a"), nil))
	fixture.Must(t, d.Flush(t.Context()))
	m.Failing(vfstest.OpSyncDir, "", fixture.ErrDisk)
	fixture.WantErr(t, "load", d.Load(t.Context(), numbered("k", 10, "")), fixture.ErrDisk)
	m.Fail(nil)
	err := d.Put([]byte("b"), nil)
	fixture.WantErr(t, "put after it", err, db.ErrReadOnly)
	fixture.WantErr(t, "put after it", err, fixture.ErrDisk)
	fixture.WantErr(t, "close", d.Close(), fixture.ErrDisk)
}

// TestCloseDuringLoad closes the database from within the input.
func TestCloseDuringLoad(t *testing.T) {
	for last := range 2 {
		dir := t.TempDir()
		d, err := db.Open(dir, nil)
		fixture.Must(t, err)
		err = d.Load(t.Context(), func(yield func([]byte, []byte) bool) {
			yield([]byte("a"), nil)
			fixture.Must(t, d.Close())
			if last == 0 {
				yield([]byte("b"), nil)
			}
		})
		fixture.WantErr(t, "load", err, db.ErrClosed)
		d, err = db.Open(dir, nil)
		fixture.Must(t, err)
		fixture.Must(t, fixture.Differ(fixture.View{}, fixture.Contents(t, d)))
		fixture.Must(t, d.Close())
	}
}

// TestLoadMeetsFaults lets one operation on a file fail, of those between an open and two
// loads: for want of room, or because the disk is broken. Whatever was answered, the next
// open finds no hole in the log, all that was acknowledged, and each load as a whole or not
// at all.
func TestLoadMeetsFaults(t *testing.T) {
	for _, fault := range []error{syscall.ENOSPC, fixture.ErrDisk} {
		done := false
		for at := 1; !done; at++ {
			m := fixture.NewMachine(vfstest.NewDisk())
			d := m.OpenDB(t)
			var count atomic.Int64
			m.Fail(func(op vfstest.Op) error {
				if count.Add(1) == int64(at) {
					return fault
				}
				return nil
			})
			acknowledged := map[string]bool{}
			acknowledged["a"] = d.Put([]byte("a"), nil) == nil
			acknowledged["k"] = d.Load(t.Context(), numbered("k", 200, "")) == nil
			acknowledged["b"] = d.Put([]byte("b"), nil, db.NoSync) == nil
			acknowledged["l"] = d.Load(t.Context(), numbered("k", 300, "l")) == nil
			acknowledged["c"] = d.Put([]byte("c"), nil) == nil
			done = count.Load() < int64(at)
			disk := m.Disk.CrashClone(nil)
			m.Kill(d)
			again, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{}))
			if err != nil {
				t.Fatalf("after %v at operation %d: %v", fault, at, err)
			}
			found := fixture.Contents(t, again)
			fixture.Must(t, again.Close())
			second := 0
			for i := range 300 {
				if strings.HasPrefix(found[fmt.Sprintf("k%06d", i)], "l") {
					second++
				}
			}
			there := map[string]bool{"k": found["k000100"] != "" || second > 0, "l": second == 300}
			if second > 0 && second < 300 {
				t.Errorf("%v at operation %d: %d keys of a load", fault, at, second)
			}
			for _, key := range []string{"a", "b", "c"} {
				_, there[key] = found[key]
			}
			acknowledged["b"] = acknowledged["b"] && (acknowledged["l"] || acknowledged["c"]) // it was not synced itself
			for what, was := range acknowledged {
				if was && !there[what] {
					t.Errorf("%v at operation %d: %s was acknowledged and is lost", fault, at, what)
				}
			}
		}
	}
}

// TestLoadsKeepTheBoundOfOpenFiles has many loads under way while all tables are read.
func TestLoadsKeepTheBoundOfOpenFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bound, lockAndDirectory = 64, 3
		m := fixture.NewMachine(vfstest.NewDisk())
		d, err := db.Open(fixture.Dir, fixture.On(m.Fault, db.Options{MemtableBytes: 16 << 10, MaxOpenFiles: bound, Compression: db.NoCompression}))
		fixture.Must(t, err)
		fixture.Must(t, d.Load(t.Context(), numbered("a", 1000, strings.Repeat("v", 1000))))
		goOn := make(chan struct{})
		m.Fail(func(op vfstest.Op) error {
			if op.Kind == vfstest.OpSync && strings.HasSuffix(op.Name, ".sst") {
				<-goOn // so that the first table of each load stays open
			}
			return nil
		})
		load := func(ctx context.Context, key string) <-chan error {
			done := make(chan error, 1)
			go func() {
				done <- d.Load(ctx, func(yield func([]byte, []byte) bool) {
					if yield([]byte(key), make([]byte, 20<<10)) && yield([]byte(key+"."), nil) { // in two tables
						<-goOn
					}
				})
			}()
			return done
		}
		var loads []<-chan error
		for i := range 20 {
			loads = append(loads, load(t.Context(), fmt.Sprintf("b%02d", i)))
		}
		synctest.Wait()
		impatient, cancel := context.WithCancel(t.Context())
		late := load(impatient, "c")
		for key := range fixture.Contents(t, d) {
			if _, err := d.Get([]byte(key)); err != nil {
				t.Fatal(err)
			}
			if n := m.OpenFiles() + lockAndDirectory; n > bound {
				t.Fatalf("%d descriptors, the bound is %d", n, bound)
			}
		}
		if n := d.Metrics().Files.OpenTables; n < 10 { // later a compaction may have made few of them
			t.Errorf("only %d tables are open", n)
		}
		cancel()
		fixture.WantErr(t, "a load that waits for others", <-late, context.Canceled)
		close(goOn)
		for _, done := range loads {
			fixture.Must(t, <-done)
		}
		fixture.Must(t, d.Close())
	})
}
