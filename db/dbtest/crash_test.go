package dbtest_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"lsmdb/db"
	"lsmdb/db/dbtest"
	"lsmdb/internal/tests/fixture"
)

// number reads a value that is a number; 0: there is none.
func number(t testing.TB, d *db.DB, key string) int {
	t.Helper()
	value, err := d.Get([]byte(key))
	if errors.Is(err, db.ErrNotFound) {
		return 0
	}
	fixture.Must(t, err)
	n, err := strconv.Atoi(string(value))
	fixture.Must(t, err)
	return n
}

// TestCrashTakesASuffix: of batches that are written one after the other, a power failure
// leaves the first ones, each whole, and all up to the last that was synced. It takes all of
// the others, none, and some.
func TestCrashTakesASuffix(t *testing.T) {
	var all, some, none int
	d := dbtest.Open(t, &db.Options{MemtableBytes: 16 << 10, Durability: db.NoSync})
	synced := 0
	for i := 1; i <= 200; i++ {
		b := d.NewBatch()
		// Alternately much and little, so that memtables are sealed and the log has several sectors.
		fixture.Must(t, b.Put([]byte("first"), fmt.Append(nil, i)))
		fixture.Must(t, b.Put(fmt.Append(nil, "filler", i), bytes.Repeat([]byte("x"), i%7*100)))
		fixture.Must(t, b.Put(fmt.Append(nil, "key", i), fmt.Append(nil, i)))
		fixture.Must(t, b.Put([]byte("last"), fmt.Append(nil, i)))
		durability := db.NoSync
		if i%9 == 0 {
			durability, synced = db.Sync, i
		}
		fixture.Must(t, d.Apply(t.Context(), b, durability))
		after := dbtest.Crash(t, d)
		n := number(t, after, "first")
		if last := number(t, after, "last"); n != last || n < synced || n > i {
			t.Fatalf("after %d batches, %d of them synced: first %d, last %d", i, synced, n, last)
		}
		for _, k := range []int{1, synced, n, n + 1} {
			if want := k <= n; k > 0 && want != (number(t, after, fmt.Sprint("key", k)) == k) {
				t.Fatalf("%d batches are there; batch %d: %v", n, k, !want)
			}
		}
		switch {
		case i < synced+3: // too little to tell
		case n == i:
			all++
		case n == synced:
			none++
		default:
			some++
		}
		fixture.Must(t, after.Close())
	}
	if all == 0 || some == 0 || none == 0 {
		t.Errorf("all survived %d times, some %d, none %d", all, some, none)
	}
}

// TestCrashWhileOthersWrite: power failures beside writers, flushes and compactions take
// nothing that was acknowledged as synced before they began.
func TestCrashWhileOthersWrite(t *testing.T) {
	const writers, crashers, crashes = 3, 2, 8
	d := dbtest.Open(t, &db.Options{MemtableBytes: 16 << 10})
	var acknowledged [writers]atomic.Uint64
	var stop atomic.Bool
	var writing, crashing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for n := uint64(1); !stop.Load(); n++ {
				value := append(binary.BigEndian.AppendUint64(nil, n), make([]byte, 500)...)
				if err := d.Put(fmt.Append(nil, "writer", w), value); err != nil {
					t.Error(err)
					return
				}
				acknowledged[w].Store(n)
			}
		})
	}
	for range crashers {
		crashing.Go(func() {
			for range crashes {
				var least [writers]uint64
				for w := range least {
					least[w] = acknowledged[w].Load()
				}
				after := dbtest.Crash(t, d)
				for w, want := range least {
					value, err := after.Get(fmt.Append(nil, "writer", w))
					if want > 0 && (err != nil || binary.BigEndian.Uint64(value) < want) {
						t.Errorf("writer %d: %d was acknowledged; %.8x, %v", w, want, value, err)
					}
				}
				if err := after.Put([]byte("more"), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	crashing.Wait()
	stop.Store(true)
	writing.Wait()
}

// TestCrashIsACopy: neither database sees what is written to the other, and each can crash again.
func TestCrashIsACopy(t *testing.T) {
	d := dbtest.Open(t)
	want := func(d *db.DB, keys string) {
		t.Helper()
		var got []string
		it, err := d.NewIterator(nil)
		fixture.Must(t, err)
		defer it.Close()
		for key := range it.All() {
			got = append(got, string(key))
		}
		if s := strings.Join(got, ""); s != keys {
			t.Errorf("%s, want %s", s, keys)
		}
	}
	put := func(d *db.DB, key string) {
		t.Helper()
		fixture.Must(t, d.Put([]byte(key), nil))
	}
	put(d, "a")
	one := dbtest.Crash(t, d)
	put(d, "b")
	put(one, "c")
	two, three := dbtest.Crash(t, d), dbtest.Crash(t, one)
	put(two, "d")
	put(three, "e")
	want(d, "ab")
	want(one, "ac")
	want(two, "abd")
	want(three, "ace")
	fixture.Must(t, d.Close())
	closed := dbtest.Crash(t, d)
	want(closed, "ab")
	put(closed, "f")
	want(dbtest.Crash(t, dbtest.Crash(t, closed)), "abf")
}

// TestCrashAfterClose: Close makes everything durable.
func TestCrashAfterClose(t *testing.T) {
	d := dbtest.Open(t, &db.Options{Durability: db.Queued})
	for i := range 100 {
		fixture.Must(t, d.Put([]byte("k"), fmt.Append(nil, i)))
	}
	fixture.Must(t, d.Close())
	for range 16 {
		if n := number(t, dbtest.Crash(t, d), "k"); n != 99 {
			t.Fatal(n)
		}
	}
}

// TestCrashKeepsOptions: the copy has the operator, and everything else that was chosen.
func TestCrashKeepsOptions(t *testing.T) {
	options := &db.Options{Merger: db.SumInt64, Durability: db.Sync}
	d := dbtest.Open(t, options)
	options.Merger = nil
	for range 3 {
		fixture.Must(t, d.Merge([]byte("k"), binary.LittleEndian.AppendUint64(nil, 2)))
		d = dbtest.Crash(t, d)
	}
	value, err := d.Get([]byte("k"))
	fixture.Must(t, err)
	if sum := binary.LittleEndian.Uint64(value); sum != 6 {
		t.Errorf("%d, want 6", sum)
	}
}

// TestUnreadableIsTold: a database that does not open after a power failure fails the test,
// also if nothing of it is left.
func TestUnreadableIsTold(t *testing.T) {
	for what, damage := range map[string]func(t *testing.T, d *db.DB){
		"CURRENT is gone": func(t *testing.T, d *db.DB) {
			removeDurably(t, d, func(name string) bool { return name == "CURRENT" })
		},
		"everything is gone": func(t *testing.T, d *db.DB) {
			removeDurably(t, d, func(string) bool { return true })
		},
	} {
		r := run(t, func(r *recorder) {
			d := dbtest.Open(r)
			fixture.Must(t, d.Put([]byte("k"), []byte("v")))
			fixture.Must(t, d.Close())
			damage(t, d)
			dbtest.Crash(r, d)
		})
		if !strings.Contains(r.fatal, "after power failure 1: ") || len(r.logs) != 1 || !strings.Contains(r.logs[0], dbtest.SeedVariable+"=") {
			t.Errorf("%s: %q, logged %q", what, r.fatal, r.logs)
		}
	}
}

// TestSeedRepeats: with the same seed, equal databases lose the same, power failure by power
// failure, those of crashed ones included; with another one, they do not. In a bubble of
// synctest nothing of the background is left to chance.
func TestSeedRepeats(t *testing.T) {
	history := func(t *testing.T, seed string) (lost string) {
		t.Setenv(dbtest.SeedVariable, seed)
		t.Run("seed "+seed, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := dbtest.Open(t, &db.Options{Durability: db.NoSync})
				for i := 1; i <= 40; i++ {
					for range 3 {
						fixture.Must(t, d.Put([]byte("k"), fmt.Append(nil, i)))
					}
					synctest.Wait()
					after := dbtest.Crash(t, d)
					lost += fmt.Sprint(number(t, after, "k"), " ")
					fixture.Must(t, after.Put([]byte("l"), fmt.Append(nil, i)))
					synctest.Wait()
					again := dbtest.Crash(t, after)
					lost += fmt.Sprint(number(t, again, "k"), " ", number(t, again, "l"), " ")
				}
			})
		})
		return lost
	}
	one, same, other := history(t, "7"), history(t, "7"), history(t, "8")
	if one != same {
		t.Errorf("with one seed:\n%s\n%s", one, same)
	}
	if one == other {
		t.Errorf("with both seeds: %s", one)
	}
}

// tries is how many power failures a mistake may need. One in three or four finds those below,
// so not even one of 10^12 runs fails for bad luck.
const tries = 100

// TestCrashFindsMistakes: tests that rely on what lsmdb does not promise fail soon.
func TestCrashFindsMistakes(t *testing.T) {
	for what, test := range map[string]func(t testing.TB, d *db.DB) (mistake bool){
		// As if NoSync were Sync.
		"acknowledged is durable": func(t testing.TB, d *db.DB) bool {
			fixture.Must(t, d.Put([]byte("order"), []byte("1"), db.NoSync))
			return number(t, dbtest.Crash(t, d), "order") != 1
		},
		// As if two puts were a batch.
		"two puts are one": func(t testing.TB, d *db.DB) bool {
			fixture.Must(t, d.Put([]byte("order"), []byte("1"), db.NoSync))
			fixture.Must(t, d.Put([]byte("items"), bytes.Repeat([]byte("x"), 2000), db.NoSync))
			after := dbtest.Crash(t, d)
			items, err := after.Has([]byte("items"))
			fixture.Must(t, err)
			return items != (number(t, after, "order") == 1)
		},
	} {
		found, tried := false, 0
		for ; !found && tried < tries; tried++ {
			r := run(t, func(r *recorder) { found = test(r, dbtest.Open(r)) })
			if len(r.errors) > 0 || r.fatal != "" {
				t.Fatalf("%s: %q %s", what, r.errors, r.fatal)
			}
		}
		t.Logf("%s: %d tries", what, tried)
		if !found {
			t.Errorf("%s: not found", what)
		}
	}
}

// TestExampleOfCrash runs what the example shows.
func TestExampleOfCrash(t *testing.T) { t.Run("transfers", testTransfersSurvive) }

// removeDurably removes files of a database that is closed, as if that had been synced.
func removeDurably(t *testing.T, d *db.DB, which func(name string) bool) {
	t.Helper()
	disk := dbtest.DiskOf(d)
	dir := "/"
	for {
		names, err := disk.List(dir)
		fixture.Must(t, err)
		info, err := disk.Stat(strings.TrimSuffix(dir, "/") + "/" + names[0])
		fixture.Must(t, err)
		if !info.IsDir {
			for _, name := range names {
				if which(name) {
					fixture.Must(t, disk.Remove(dir+"/"+name))
				}
			}
			fixture.Must(t, disk.SyncDir(dir))
			return
		}
		dir = strings.TrimSuffix(dir, "/") + "/" + names[0]
	}
}
