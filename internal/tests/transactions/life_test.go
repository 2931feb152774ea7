package transactions

import (
	"context"
	"errors"
	"fmt"
	"runtime"
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

// wantEnded checks that a transaction does nothing any more.
func wantEnded(t *testing.T, what string, tx *db.Tx, snapshot *db.Snapshot, it *db.Iterator) {
	t.Helper()
	key := []byte("1")
	for name, err := range map[string]error{
		"Get": second(tx.Get(key)), "Has": second(tx.Has(key)), "GetSize": second(tx.GetSize(key)),
		"AppendValue": second(tx.AppendValue(nil, key)), "NewIterator": second(tx.NewIterator(nil)),
		"Put": tx.Put(key, key), "PutUntil": tx.PutUntil(key, key, time.Unix(1, 0)), "Delete": tx.Delete(key),
		"DeleteRange": tx.DeleteRange(key, nil), "Merge": tx.Merge(key, key), "Commit": tx.Commit(t.Context()),
		"Get of the snapshot": second(snapshot.Get(key)), "Get of a new snapshot": second(tx.Snapshot().Get(key)),
	} {
		fixture.WantErr(t, name+" after "+what, err, db.ErrClosed)
	}
	tx.Discard()
	if it.Next() || it.SeekGE(key) || it.Last() {
		t.Errorf("after %s, an iterator moves on", what)
	}
	fixture.WantErr(t, "Err of an iterator after "+what, it.Err(), db.ErrClosed)
	fixture.Must(t, it.Close())
}

func second[T any](_ T, err error) error { return err }

// TestEnd ends transactions in every way.
func TestEnd(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for what, end := range map[string]struct {
		do     func(tx *db.Tx) error
		want   error
		stored bool
	}{
		"Commit":                      {do: func(tx *db.Tx) error { return tx.Commit(t.Context()) }, stored: true},
		"Discard":                     {do: func(tx *db.Tx) error { tx.Discard(); return nil }},
		"Commit of a keyspace's view": {do: func(tx *db.Tx) error { return tx.In(keyspace(t)).Commit(t.Context()) }, stored: true},
		"Commit when ctx has ended":   {do: func(tx *db.Tx) error { return tx.Commit(over) }, want: context.Canceled},
		"Commit after a refused Put": {do: func(tx *db.Tx) error {
			fixture.WantErr(t, "Put", tx.Put(make([]byte, db.MaxKeyBytes+1), nil), db.ErrKeyTooLarge)
			return tx.Commit(t.Context())
		}, want: db.ErrKeyTooLarge},
		"a conflict": {do: func(tx *db.Tx) error {
			get(t, tx, "2")
			fixture.Must(t, other.Put([]byte("2"), nil))
			return tx.Commit(t.Context())
		}, want: db.ErrConflict},
	} {
		d := openTx(t, "1", "10", "2", "20")
		other = d
		tx := begin(t, d)
		put(t, tx, "3", "30")
		snapshot := tx.Snapshot()
		it, err := tx.NewIterator(nil)
		fixture.Must(t, err)
		if !it.First() {
			t.Fatal(it.Err())
		}
		if err := end.do(tx); !errors.Is(err, end.want) {
			t.Errorf("%s: %v, want %v", what, err, end.want)
		}
		next := begin(t, d) // with the memory of the one that has ended, mostly
		put(t, next, "4", "40")
		wantEnded(t, what, tx, snapshot, it)
		if get(t, next, "1") != "10" || get(t, next, "4") != "40" {
			t.Errorf("%s: the next transaction sees what was done to this one", what)
		}
		fixture.Must(t, next.Commit(t.Context()))
		if stored := get(t, d, "3") == "30"; stored != end.stored {
			t.Errorf("%s: stored is %v", what, stored)
		}
		if open := d.Metrics().Snapshot.Open; open != 0 {
			t.Errorf("%s: %d snapshots are still registered", what, open)
		}
	}
}

var other *db.DB // of TestEnd

func keyspace(t *testing.T) *db.Keyspace { return openTx(t).Keyspace([]byte("k")) }

// TestUpdate goes through what its function may do.
func TestUpdate(t *testing.T) {
	d := openTx(t, "1", "10")
	runs, failure := 0, errors.New("no")
	conflicting := func(times int, then error) func(tx *db.Tx) error {
		runs = 0
		return func(tx *db.Tx) error {
			runs++
			get(t, tx, "1")
			put(t, tx, fmt.Sprint("run", runs), "")
			if runs <= times {
				fixture.Must(t, d.Put([]byte("1"), fmt.Append(nil, runs)))
			}
			return then
		}
	}
	fixture.Must(t, d.Update(t.Context(), conflicting(3, nil)))
	if got := []string{get(t, d, "run1"), get(t, d, "run3"), get(t, d, "run4")}; runs != 4 || !slices.Equal(got, []string{"-", "-", ""}) {
		t.Errorf("%d runs, which left %q", runs, got)
	}
	if err := d.Update(t.Context(), conflicting(9, failure)); err != failure || runs != 1 {
		t.Errorf("%v after %d runs, want the function's error after one", err, runs)
	}
	if err := d.Update(t.Context(), conflicting(0, db.ErrConflict)); err != db.ErrConflict || runs != 1 {
		t.Errorf("%v after %d runs: a conflict of somebody else was taken for its own", err, runs)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := d.Update(ctx, func(tx *db.Tx) error {
		if runs++; runs > 5 {
			cancel()
		}
		get(t, tx, "1")
		fixture.Must(t, d.Put([]byte("1"), nil))
		return tx.Put([]byte("never"), nil)
	})
	if !errors.Is(err, context.Canceled) || get(t, d, "never") != "-" {
		t.Errorf("when ctx ends: %v", err)
	}
	if err := d.Update(ctx, func(*db.Tx) error { t.Error("called"); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("when ctx had ended: %v", err)
	}
	func() {
		defer func() {
			if r := recover(); r != failure {
				t.Errorf("recovered %v", r)
			}
		}()
		_ = d.Update(t.Context(), func(tx *db.Tx) error {
			put(t, tx, "never", "")
			panic(failure)
		})
	}()
	if got := get(t, d, "never"); got != "-" || d.Metrics().Snapshot.Open != 0 {
		t.Errorf("after a panic: %q, %d snapshots", got, d.Metrics().Snapshot.Open)
	}
}

func TestView(t *testing.T) {
	d := openTx(t, "1", "10")
	failure := errors.New("no")
	var kept *db.Snapshot
	if err := d.View(func(s *db.Snapshot) error {
		kept = s
		fixture.Must(t, d.Put([]byte("1"), nil))
		if got := get(t, s, "1"); got != "10" {
			t.Errorf("a view shows %q", got)
		}
		return failure
	}); err != failure {
		t.Errorf("%v, want the function's error", err)
	}
	fixture.WantErr(t, "Get after View", second(kept.Get([]byte("1"))), db.ErrClosed)
	func() {
		defer func() { _ = recover() }()
		_ = d.View(func(*db.Snapshot) error { panic(failure) })
	}()
	if open := d.Metrics().Snapshot.Open; open != 0 {
		t.Errorf("%d snapshots are open after a panic", open)
	}
}

// TestInKeyspaces: a transaction is one, whatever keyspaces it is seen from.
func TestInKeyspaces(t *testing.T) {
	d := openTx(t, "a1", "1", "b1", "2", "b2", "3", "c1", "4")
	a, b := d.Keyspace([]byte("a")), d.Keyspace([]byte("b"))
	tx := begin(t, d)
	inA, inB := tx.In(a), tx.In(a).In(b)
	if got := []string{get(t, inA, "1"), get(t, inB, "1"), get(t, inB.Snapshot(), "1"), get(t, tx, "b1")}; !slices.Equal(got, []string{"1", "2", "2", "2"}) {
		t.Errorf("seen from keyspaces: %q", got)
	}
	put(t, inB, "3", "own")
	fixture.Must(t, inB.DeleteRange([]byte("2"), []byte("3")))
	it, err := inB.NewIterator(nil)
	if got := pairs(t, it, err); !slices.Equal(got, []string{"1=2", "3=own"}) {
		t.Errorf("a walk in a keyspace shows %q", got)
	}
	if got := get(t, tx, "b3"); got != "own" {
		t.Errorf("what was written in a keyspace is %q outside", got)
	}
	fixture.Must(t, d.Put([]byte("b"), nil)) // the first key of b, which was walked
	wantConflict(t, "in a keyspace", inA.Commit(t.Context()), "b")

	tx = begin(t, d)
	it, err = tx.In(b).NewIterator(nil)
	pairs(t, it, err)
	fixture.Must(t, tx.In(b).DeleteRange(nil, nil))
	fixture.Must(t, d.Put([]byte("c1"), nil)) // beyond the border
	wantConflict(t, "a border", tx.Commit(t.Context()), "")
	if got := []string{get(t, d, "b2"), get(t, d, "c1"), get(t, d, "a1")}; !slices.Equal(got, []string{"-", "", "1"}) {
		t.Errorf("after a range delete in a keyspace: %q", got)
	}
}

// TestOldTransaction: however much was written since, what was read is found to be
// unchanged, and the one change is found.
func TestOldTransaction(t *testing.T) {
	for _, changed := range []string{"", "in the middle", "not there", "zzz"} {
		d, err := db.Open("", &db.Options{InMemory: true, Durability: db.NoSync, MemtableBytes: 64 << 10})
		fixture.Must(t, err)
		put(t, deaf{d}, "in the middle", "x")
		tx := begin(t, d)
		get(t, tx, "in the middle")
		get(t, tx, "not there")
		it, err := tx.NewIterator(&db.IterOptions{Lower: []byte("z")})
		pairs(t, it, err)
		put(t, tx, "own", "")
		for i := range 30_000 {
			if i == 1000 && changed != "" {
				fixture.Must(t, d.Put([]byte(changed), nil))
				fixture.Must(t, d.Delete([]byte(changed)))
			}
			fixture.Must(t, d.Put(fmt.Appendf(nil, "key %05d", i*7919%10_000), make([]byte, 50)))
		}
		fixture.Must(t, d.Compact(t.Context(), nil, nil))
		wantConflict(t, "an old transaction", tx.Commit(t.Context()), changed)
		fixture.Must(t, d.Close())
	}
}

// deaf drops the durability that DB.Put may be given.
type deaf struct{ *db.DB }

func (d deaf) Put(key, value []byte) error { return d.DB.Put(key, value) }

// TestLargeTransaction: own writes are found among many, while more come.
func TestLargeTransaction(t *testing.T) {
	d := openTx(t)
	tx := begin(t, d)
	for i := range 20_000 {
		put(t, tx, fmt.Sprintf("%05d", i*7919%20_000), strings.Repeat("x", i%100))
		if i%1999 == 0 && get(t, tx, fmt.Sprintf("%05d", i*7919%20_000)) != strings.Repeat("x", i%100) {
			t.Fatal("an own write is not found")
		}
	}
	fixture.Must(t, tx.Put([]byte("large"), make([]byte, 5<<20)))
	it, err := tx.NewIterator(nil)
	if n := len(pairs(t, it, err)); n != 20_001 {
		t.Errorf("%d own writes are shown", n)
	}
	wantConflict(t, "a large transaction", tx.Commit(t.Context()), "")
	if size, err := d.Get([]byte("large")); len(size) != 5<<20 || err != nil {
		t.Error("the large value is not there", err)
	}
}

// TestShownStays: what an iterator has shown of own writes stays readable, whatever later
// transactions do.
func TestShownStays(t *testing.T) {
	d := openTx(t)
	for _, closes := range []bool{true, false} {
		tx := begin(t, d)
		put(t, tx, "key", "value")
		it, err := tx.NewIterator(nil)
		fixture.Must(t, err)
		if !it.First() {
			t.Fatal(it.Err())
		}
		key, value := it.Key(), it.Value()
		if closes {
			fixture.Must(t, it.Close())
		}
		tx.Discard()
		for range 50 {
			fixture.Must(t, d.Update(t.Context(), func(tx *db.Tx) error {
				put(t, tx, "other", "thing")
				get(t, tx, "other")
				return nil
			}))
		}
		if string(key) != "key" || string(value) != "value" {
			t.Errorf("shown were %q = %q", key, value)
		}
		it.Close()
	}
}

// TestSeekItsOwnKey: the key to seek may be the iterator's own.
func TestSeekItsOwnKey(t *testing.T) {
	d := openTx(t, "a", "", "b", "", "c", "")
	for _, read := range []func(it *db.Iterator) bool{
		func(it *db.Iterator) bool { return it.SeekLT(it.Key()) }, // to b
		func(it *db.Iterator) bool { return it.SeekLT(it.Key()) }, // to a
	} {
		tx := begin(t, d)
		it, err := tx.NewIterator(nil)
		fixture.Must(t, err)
		if !it.Last() || !read(it) || !read(it) {
			t.Fatal(it.Err())
		}
		fixture.Must(t, d.Put([]byte("ab"), nil))
		put(t, tx, "own", "")
		wantConflict(t, "a walk back by its own keys", tx.Commit(t.Context()), "ab")
		fixture.Must(t, d.Delete([]byte("ab")))
		fixture.Must(t, it.Close())
	}
}

// TestFullDisk: a transaction that finds no room leaves nothing, and can be run again.
func TestFullDisk(t *testing.T) {
	disk := vfstest.NewDisk()
	d, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{MemtableBytes: 64 << 10}))
	fixture.Must(t, err)
	fixture.Must(t, d.Put([]byte("1"), []byte("10")))
	disk.SetLimit(disk.UsedBytes() + 1)
	attempt := func() error {
		tx := begin(t, d)
		get(t, tx, "1")
		for i := range 100 {
			fixture.Must(t, tx.Put(fmt.Append(nil, "large", i), make([]byte, 100<<10)))
		}
		return tx.Commit(t.Context())
	}
	fixture.WantErr(t, "commit on a full disk", attempt(), db.ErrDiskFull)
	if got := get(t, d, "large7"); got != "-" || d.Metrics().Snapshot.Open != 0 {
		t.Errorf("it left %d bytes, and %d snapshots", len(got), d.Metrics().Snapshot.Open)
	}
	disk.SetLimit(0)
	fixture.Must(t, attempt())
	fixture.Must(t, d.Close())
}

// TestFailure: after the log has failed, transactions read and say why they cannot commit.
func TestFailure(t *testing.T) {
	var mu sync.Mutex
	broken := false
	fault := vfstest.NewFault(vfstest.NewDisk(), func(op vfstest.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if broken && op.Kind == vfstest.OpSync {
			return fixture.ErrDisk
		}
		return nil
	})
	d, err := db.Open(fixture.Dir, fixture.On(fault, db.Options{}))
	fixture.Must(t, err)
	fixture.Must(t, d.Put([]byte("1"), []byte("10")))
	open := begin(t, d)
	mu.Lock()
	broken = true
	mu.Unlock()
	for range 2 {
		tx := begin(t, d)
		get(t, tx, "1")
		put(t, tx, "2", "20")
		err := tx.Commit(t.Context())
		fixture.WantErr(t, "commit after a failure", err, db.ErrReadOnly)
		fixture.WantErr(t, "its cause", err, fixture.ErrDisk)
	}
	if got := get(t, open, "1"); got != "10" {
		t.Errorf("a transaction from before reads %q", got)
	}
	fixture.Must(t, open.Commit(t.Context()))
	left := begin(t, d)
	_ = d.Close()
	fixture.WantErr(t, "Get after Close", second(left.Get([]byte("1"))), db.ErrClosed)
	fixture.WantErr(t, "Commit after Close", left.Commit(t.Context()), db.ErrClosed)
	fixture.WantErr(t, "Begin after Close", second(d.Begin()), db.ErrClosed)
	fixture.WantErr(t, "Update after Close", d.Update(t.Context(), func(*db.Tx) error { return nil }), db.ErrClosed)
	fixture.WantErr(t, "View after Close", d.View(func(*db.Snapshot) error { return nil }), db.ErrClosed)
}

// TestTakenBack: when ctx ends while the commit is queued, nothing of it is stored.
func TestTakenBack(t *testing.T) {
	syncing, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	armed := false
	fault := vfstest.NewFault(vfstest.NewDisk(), func(op vfstest.Op) error {
		if op.Kind == vfstest.OpSync && armed {
			once.Do(func() { close(syncing); <-goOn })
		}
		return nil
	})
	d, err := db.Open(fixture.Dir, fixture.On(fault, db.Options{}))
	fixture.Must(t, err)
	fixture.Must(t, d.Put([]byte("1"), []byte("10")))
	armed = true
	var first sync.WaitGroup
	first.Go(func() { fixture.Must(t, d.Put([]byte("2"), nil)) })
	<-syncing
	ctx, cancel := context.WithCancel(t.Context())
	tx := begin(t, d)
	get(t, tx, "1")
	put(t, tx, "3", "30")
	var second sync.WaitGroup
	second.Go(func() { fixture.WantErr(t, "a commit that was taken back", tx.Commit(ctx), context.Canceled) })
	for d.Metrics().Stages[0].Depth == 0 {
		runtime.Gosched()
	}
	cancel()
	second.Wait()
	close(goOn)
	first.Wait()
	fixture.Must(t, d.Update(t.Context(), func(tx *db.Tx) error {
		if got := get(t, tx, "3"); got != "-" {
			t.Errorf("it left %q", got)
		}
		return tx.Put([]byte("4"), nil)
	}))
	if got := get(t, d, "4"); got != "" { // it may have got the answer to what was taken back
		t.Errorf("the next transaction left %q", got)
	}
	fixture.Must(t, d.Close())
}

// TestEndedValues: a value that ends is no change, and a transaction sees one time.
func TestEndedValues(t *testing.T) {
	var now atomic.Int64
	now.Store(100)
	d, err := db.Open("", &db.Options{InMemory: true, Now: func() time.Time { return time.Unix(now.Load(), 0) }})
	fixture.Must(t, err)
	defer d.Close()
	fixture.Must(t, d.Update(t.Context(), func(tx *db.Tx) error {
		put(t, tx, "stays", "x")
		return tx.PutUntil([]byte("ends"), []byte("x"), time.Unix(200, 0))
	}))
	walked, got, late := begin(t, d), begin(t, d), begin(t, d)
	it, err := walked.NewIterator(nil)
	if shown := pairs(t, it, err); !slices.Equal(shown, []string{"ends=x", "stays=x"}) {
		t.Errorf("a walk shows %q", shown)
	}
	now.Store(300)
	if get(t, got, "ends") != "x" || get(t, d, "ends") != "-" {
		t.Error("a transaction sees another time than that of Begin")
	}
	fixture.Must(t, d.Flush(t.Context()))
	fixture.Must(t, d.Compact(t.Context(), nil, nil))
	for _, tx := range []*db.Tx{walked, got} {
		put(t, tx, "own", "")
		wantConflict(t, "after a value has ended", tx.Commit(t.Context()), "")
	}
	get(t, late, "ends")
	put(t, late, "own", "")
	fixture.Must(t, d.Update(t.Context(), func(tx *db.Tx) error {
		return tx.PutUntil([]byte("ends"), []byte("never seen"), time.Unix(50, 0))
	}))
	wantConflict(t, "after a put of what has ended already", late.Commit(t.Context()), "ends")

	tx := begin(t, d)
	fixture.Must(t, tx.PutUntil([]byte("mine"), []byte("x"), time.Unix(400, 0)))
	fixture.Must(t, tx.PutUntil([]byte("over"), []byte("x"), time.Unix(300, 0)))
	fixture.Must(t, tx.PutUntil([]byte("for ever"), []byte("x"), time.Time{}))
	fixture.Must(t, tx.PutUntil([]byte("far"), []byte("x"), time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC)))
	now.Store(500)
	if shown := get(t, tx, "mine") + get(t, tx, "over") + get(t, tx, "for ever") + get(t, tx, "far"); shown != "x-xx" {
		t.Errorf("own values that end show %q", shown)
	}
	fixture.Must(t, d.Update(t.Context(), func(tx *db.Tx) error { return tx.Delete([]byte("mine")) }))
	wantConflict(t, "own values that end answer", tx.Commit(t.Context()), "")
	if shown := get(t, d, "mine") + get(t, d, "for ever") + get(t, d, "far"); shown != "-xx" {
		t.Errorf("later they show %q", shown)
	}
}

// TestMergeReads: after an own Merge, the value depends on the database.
func TestMergeReads(t *testing.T) {
	d, err := db.Open("", &db.Options{InMemory: true, Merger: db.AppendBytes})
	fixture.Must(t, err)
	defer d.Close()
	blind, reading := begin(t, d), begin(t, d)
	for _, tx := range []*db.Tx{blind, reading} {
		fixture.Must(t, tx.Merge([]byte("key"), []byte("a")))
	}
	if got := get(t, reading, "key"); got != "a" {
		t.Errorf("an own operand shows %q", got)
	}
	wantConflict(t, "a blind merge", blind.Commit(t.Context()), "")
	wantConflict(t, "a merge that was read", reading.Commit(t.Context()), "key")
	deleted := begin(t, d)
	fixture.Must(t, deleted.Merge([]byte("key"), []byte("b")))
	fixture.Must(t, deleted.DeleteRange([]byte("a"), []byte("z")))
	if got := get(t, deleted, "key"); got != "-" {
		t.Errorf("an operand that was deleted shows %q", got)
	}
	fixture.Must(t, d.Put([]byte("key"), nil))
	wantConflict(t, "an own range delete answers, whatever was merged before", deleted.Commit(t.Context()), "")
	without := begin(t, openTx(t))
	fixture.WantErr(t, "Merge without a Merger", without.Merge([]byte("key"), nil), db.ErrNoMerger)
}
