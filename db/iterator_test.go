package db_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// TestUpperEndsBeforeDamage: what lies behind the bound of an iterator does not matter
// to it where the index tells so, whatever state it is in.
func TestUpperEndsBeforeDamage(t *testing.T) {
	var broken atomic.Int64 // where the damage starts
	fs := vfstest.NewFault(vfstest.NewDisk(), func(op vfstest.Op) error {
		if at := broken.Load(); at > 0 && op.Kind == vfstest.OpRead && op.Offset >= at {
			return syscall.EIO
		}
		return nil
	})
	d, err := db.Open("/d", fixture.On(fs, db.Options{CacheBytes: -1, Compression: db.NoCompression, Durability: db.NoSync}))
	fixture.Must(t, err)
	for i := range 20 { // one block each
		fixture.Must(t, d.Put(fmt.Appendf(nil, "%c%d", 'a'+i/10, i%10), make([]byte, 5000)))
	}
	fixture.Must(t, d.Compact(t.Context(), nil, nil))
	full, err := d.NewIterator(nil)
	fixture.Must(t, err)
	full.First() // opens the table
	broken.Store(10 * 5000)
	for _, o := range []*db.IterOptions{{Prefix: []byte("a")}, {Upper: []byte("b")}} {
		it, err := d.NewIterator(o)
		fixture.Must(t, err)
		n := 0
		for range it.All() {
			n++
		}
		if n != 10 || it.Err() != nil {
			t.Errorf("%+v: %d keys, %v", o, n, it.Err())
		}
		fixture.Must(t, it.Close())
	}
	if !full.SeekGE([]byte("b5")) || full.Value() != nil || full.Valid() || full.Next() || !errors.Is(full.Err(), syscall.EIO) {
		t.Errorf("beyond the bound nothing is damaged: %v", full.Err())
	}
	for key, value := range full.All() {
		if len(value) != 5000 {
			t.Errorf("%q is shown with %d bytes", key, len(value))
		}
	}
	fixture.WantErr(t, "Close", full.Close(), syscall.EIO)
	fixture.Must(t, d.Close())
}

// TestScanReadsAhead: a scan over blocks that are not cached reads many of them at once;
// a seek reads only the one it needs.
func TestScanReadsAhead(t *testing.T) {
	var reads, longest atomic.Int64
	fs := vfstest.NewFault(vfstest.NewDisk(), func(op vfstest.Op) error {
		if op.Kind == vfstest.OpRead {
			reads.Add(1)
			longest.Store(max(longest.Load(), int64(op.Length)))
		}
		return nil
	})
	const blocks = 200
	d, err := db.Open("/d", fixture.On(fs, db.Options{CacheBytes: -1, Compression: db.NoCompression, Durability: db.NoSync}))
	fixture.Must(t, err)
	for i := range blocks {
		fixture.Must(t, d.Put(fmt.Appendf(nil, "%03d", i), make([]byte, 4000)))
	}
	fixture.Must(t, d.Compact(t.Context(), nil, nil))
	it, err := d.NewIterator(nil)
	fixture.Must(t, err)
	it.First() // opens the table
	reads.Store(0)
	longest.Store(0)
	if !it.SeekGE([]byte("100")) || reads.Load() != 0 {
		t.Errorf("a large value is read before it is asked for: %d reads", reads.Load())
	}
	if len(it.Value()) != 4000 || reads.Load() != 1 || longest.Load() > 5000 {
		t.Errorf("a seek takes %d reads of up to %d bytes", reads.Load(), longest.Load())
	}
	for it.First(); it.Next(); {
		if len(it.Value()) != 4000 {
			t.Fatal(it.Err())
		}
	}
	if n := reads.Load(); n > blocks/8 || longest.Load() > db.ReadAheadBytes || it.Err() != nil {
		t.Errorf("%d reads of up to %d bytes for %d blocks, %v", n, longest.Load(), blocks, it.Err())
	}
	fixture.Must(t, it.Close())
	fixture.Must(t, d.Close())
}

// TestRecycledIterators opens, breaks and closes iterators of several databases in
// turn, so that they inherit each other's insides. What was shown last stays readable.
func TestRecycledIterators(t *testing.T) {
	var broken atomic.Bool
	fs := vfstest.NewFault(vfstest.NewDisk(), func(op vfstest.Op) error {
		if broken.Load() && op.Kind == vfstest.OpRead {
			return syscall.EIO
		}
		return nil
	})
	var all []*db.DB
	for i := range 3 {
		d, err := db.Open(fmt.Sprintf("/d%d", i), fixture.On(fs, db.Options{CacheBytes: -int64(i % 2), MemtableBytes: 64 << 10, Durability: db.NoSync}))
		fixture.Must(t, err)
		for j := range 1000 {
			fixture.Must(t, d.Put(fmt.Appendf(nil, "%d-%04d", i, j), fmt.Appendf(nil, "%d-%04d-%0100d", i, j, 0)))
			if j == 500 {
				fixture.Must(t, d.Flush(context.Background()))
			}
		}
		all = append(all, d)
	}
	type shown struct {
		key, value []byte
		want       string
	}
	var kept []shown
	for round := range 300 {
		i := round % 3
		it, err := all[i].NewIterator(nil)
		fixture.Must(t, err)
		at := round * 7 % 990
		ok := it.SeekGE(fmt.Appendf(nil, "%d-%04d", i, at))
		switch round % 5 {
		case 1:
			ok = it.Next()
			at++
		case 2:
			ok = it.Next() && it.Prev()
		case 3:
			broken.Store(true)
			for it.Next() {
			}
			if i == 1 && at < 300 && !errors.Is(it.Err(), syscall.EIO) {
				t.Fatalf("round %d: %v", round, it.Err())
			}
			broken.Store(false)
		}
		if round%5 != 3 {
			if !ok {
				t.Fatalf("round %d: %v", round, it.Err())
			}
			kept = append(kept, shown{it.Key(), it.Value(), fmt.Sprintf("%d-%04d", i, at)})
		}
		_ = it.Close()
		if it.Close() != nil || it.Valid() || it.Key() != nil || it.Value() != nil || it.Next() || it.First() || it.SeekLT(nil) || !errors.Is(it.Err(), db.ErrClosed) {
			t.Fatalf("round %d: a closed iterator moves, or %v", round, it.Err())
		}
	}
	last, err := all[0].NewIterator(nil)
	fixture.Must(t, err)
	last.First()
	for _, d := range all {
		fixture.Must(t, d.Close())
	}
	if last.Next() || !errors.Is(last.Err(), db.ErrClosed) {
		t.Errorf("an iterator outlives its database: %v", last.Err())
	}
	fixture.WantErr(t, "Close", last.Close(), db.ErrClosed)
	for _, s := range kept {
		if !bytes.Equal(s.key, []byte(s.want)) || !strings.HasPrefix(string(s.value), s.want) {
			t.Fatalf("%s = %s was %s", s.key, fixture.Short(string(s.value)), s.want)
		}
	}
}

// TestManyVersions walks over keys that were written a hundred times and more, as the
// memtable keeps them all, at several instants and in both directions.
func TestManyVersions(t *testing.T) {
	d, err := db.Open("", &db.Options{InMemory: true, Durability: db.NoSync})
	fixture.Must(t, err)
	rng := rand.New(rand.NewPCG(1, 2))
	model := map[string]string{}
	type instant struct {
		snapshot *db.Snapshot
		want     map[string]string
	}
	var instants []instant
	for i := range 6000 {
		key := fmt.Sprintf("%02d", rng.IntN(20))
		if rng.IntN(3) == 0 {
			key = "hot"[:1+rng.IntN(3)]
		}
		switch {
		case rng.IntN(4) == 0 || key == "ho" && i%100 > 10:
			fixture.Must(t, d.Delete([]byte(key)))
			delete(model, key)
		default:
			model[key] = fmt.Sprint(i)
			fixture.Must(t, d.Put([]byte(key), []byte(model[key])))
		}
		if i%500 == 499 {
			s, err := d.NewSnapshot()
			fixture.Must(t, err)
			instants = append(instants, instant{s, maps.Clone(model)})
		}
	}
	for n, at := range instants {
		it, err := at.snapshot.NewIterator(nil)
		fixture.Must(t, err)
		keys := slices.Sorted(maps.Keys(at.want))
		var forward, backward []string
		for key, value := range it.All() {
			forward = append(forward, string(key))
			if at.want[string(key)] != string(value) {
				t.Errorf("instant %d: %s=%s, want %s", n, key, value, at.want[string(key)])
			}
		}
		for key, value := range it.Backward() {
			backward = append(backward, string(key))
			if at.want[string(key)] != string(value) {
				t.Errorf("instant %d backward: %s=%s, want %s", n, key, value, at.want[string(key)])
			}
		}
		slices.Reverse(backward)
		if !slices.Equal(forward, keys) || !slices.Equal(backward, keys) {
			t.Errorf("instant %d: forward %q, backward %q, want %q", n, forward, backward, keys)
		}
		for range 200 { // turning round
			key := keys[rng.IntN(len(keys))]
			i, _ := slices.BinarySearch(keys, key)
			it.SeekGE([]byte(key))
			for range 5 {
				var ok bool
				if rng.IntN(2) == 0 {
					i++
					ok = it.Next()
				} else {
					i--
					ok = it.Prev()
				}
				if want := i >= 0 && i < len(keys); ok != want || ok && string(it.Key()) != keys[i] {
					t.Fatalf("instant %d: at %q, want number %d of %q", n, it.Key(), i, keys)
				}
				if !ok {
					break
				}
			}
		}
		fixture.Must(t, it.Close())
		fixture.Must(t, at.snapshot.Close())
	}
	fixture.Must(t, d.Close())
}

func BenchmarkScanOverManyVersions(b *testing.B) {
	d, err := db.Open("", &db.Options{InMemory: true, Durability: db.NoSync})
	fixture.Must(b, err)
	for i := range 200_000 {
		fixture.Must(b, d.Put(fmt.Appendf(nil, "%03d", max(0, i%1000-900)), nil)) // 000 has 180,000 versions
	}
	for b.Loop() {
		it, err := d.NewIterator(nil)
		fixture.Must(b, err)
		for range it.All() {
		}
		fixture.Must(b, it.Close())
	}
	fixture.Must(b, d.Close())
}

// TestIteratorStats walks over what it knows exactly.
func TestIteratorStats(t *testing.T) {
	d, err := db.Open("", &db.Options{InMemory: true, Durability: db.NoSync})
	fixture.Must(t, err)
	defer d.Close()
	ctx := t.Context()
	key := func(i int) []byte { return fmt.Appendf(nil, "%03d", i) }
	put := func(from, to int) {
		for i := from; i < to; i++ {
			fixture.Must(t, d.Put(key(i), make([]byte, 100)))
		}
	}
	walk := func(from fixture.Reader, o *db.IterOptions, backward bool) db.IteratorStats {
		t.Helper()
		it, err := from.NewIterator(o)
		fixture.Must(t, err)
		walk := it.All()
		if backward {
			walk = it.Backward()
		}
		for range walk {
		}
		open := it.Stats()
		fixture.Must(t, it.Close())
		if closed := it.Stats(); closed != open {
			t.Errorf("after Close %+v, before %+v", closed, open)
		}
		return open
	}
	check := func(what string, want db.IteratorStats, from fixture.Reader, o *db.IterOptions) {
		t.Helper()
		for _, backward := range []bool{false, true} {
			if got := walk(from, o, backward); got != want {
				t.Errorf("%s, backward %v: %+v, want %+v", what, backward, got, want)
			}
		}
	}
	put(0, 300)
	check("in memory", db.IteratorStats{Entries: 300}, d, nil)
	put(0, 100)
	put(50, 100)
	check("150 are older", db.IteratorStats{Entries: 300, Versions: 150}, d, nil)
	check("a part", db.IteratorStats{Entries: 50, Versions: 100}, d, &db.IterOptions{Lower: key(50), Upper: key(100)})
	s, err := d.NewSnapshot()
	fixture.Must(t, err)
	put(0, 10)
	check("10 are newer", db.IteratorStats{Entries: 300, Versions: 160}, s, nil)
	fixture.Must(t, s.Close())
	for i := 290; i < 300; i++ {
		fixture.Must(t, d.Delete(key(i)))
	}
	check("10 deletes", db.IteratorStats{Entries: 290, Versions: 170, Tombstones: 10}, d, nil)
	fixture.Must(t, d.Compact(ctx, nil, nil))
	cold := walk(d, nil, false)
	if cold.Entries != 290 || cold.Versions != 0 || cold.Tombstones != 0 || cold.BlocksRead+cold.BlocksCached < 5 {
		t.Errorf("merged: %+v", cold)
	}
	check("merged", db.IteratorStats{Entries: 290, BlocksCached: cold.BlocksRead + cold.BlocksCached}, d, nil)
	fixture.Must(t, d.DeleteRange(key(0), key(4)))
	check("a range delete", db.IteratorStats{Entries: 286, Versions: 4, BlocksCached: cold.BlocksRead + cold.BlocksCached}, d, nil)

	it, err := d.NewIterator(nil)
	fixture.Must(t, err)
	it.SeekGE(key(100))
	it.Next()
	it.Prev()
	it.SeekLT(key(0))
	if got := it.Stats(); got.Entries != 3 || got.BlocksCached == 0 || got.BlocksRead != 0 {
		t.Errorf("three of four moves stood on a key: %+v", got)
	}
	fixture.Must(t, it.Close())
}

// TestIteratorStatsReadBlocks: without a cache every block is read, large values only where
// they are asked for.
func TestIteratorStatsReadBlocks(t *testing.T) {
	d, err := db.Open("", &db.Options{InMemory: true, Durability: db.NoSync, CacheBytes: -1})
	fixture.Must(t, err)
	defer d.Close()
	const large = 20
	for i := range large {
		fixture.Must(t, d.Put(fmt.Appendf(nil, "%03d", i), make([]byte, 8<<10)))
	}
	fixture.Must(t, d.Compact(t.Context(), nil, nil))
	for _, o := range []*db.IterOptions{nil, {KeysOnly: true}} {
		it, err := d.NewIterator(o)
		fixture.Must(t, err)
		for it.Next() {
			if n := it.Stats().BlocksRead; n > 0 {
				t.Errorf("%+v: %d blocks are read where nobody has asked for a value", o, n)
				break
			}
		}
		for range it.All() {
		}
		want := db.IteratorStats{Entries: 2 * large, BlocksRead: large}
		if o != nil && o.KeysOnly {
			want.BlocksRead = 0
		}
		if got := it.Stats(); got != want {
			t.Errorf("%+v: %+v, want %+v", o, got, want)
		}
		fixture.Must(t, it.Close())
	}
}
