package db_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
)

// TestIteratorsAtRest opens iterators while memtables fill, and lets them rest. Beyond one
// memtable, what they keep goes to the disk, into files without a name. They show what they
// would have shown, and what they showed stays readable when all of it is gone.
func TestIteratorsAtRest(t *testing.T) {
	if base.Invariants || runtime.GOOS == "windows" {
		t.Skip("arenas lie on Go's heap here")
	}
	dir := t.TempDir()
	const memtableBytes = 2 << 20
	d, err := db.Open(dir, &db.Options{MemtableBytes: memtableBytes, Durability: db.NoSync})
	fixture.Must(t, err)
	defer d.Close()
	round := func(count uint64) {
		for i := range 8000 {
			fixture.Must(t, d.Put(countedKey(i), counted(i, count)))
		}
	}
	var resting []*db.Iterator
	for count := range uint64(30) {
		round(count)
		it, err := d.NewIterator(nil)
		fixture.Must(t, err)
		if it.First(); count%2 == 0 { // some have begun, some have not
			fixture.Must(t, it.Err())
		}
		resting = append(resting, it)
	}
	fixture.Must(t, d.Flush(t.Context()))
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		m := d.Metrics().Iterator
		if m.MemtableBytes <= memtableBytes && m.FileBytes >= 5*memtableBytes {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", m)
		}
	}
	if names, err := filepath.Glob(filepath.Join(dir, "*.tmp")); err != nil || len(names) > 0 {
		t.Errorf("%v, %v", names, err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var shown [][2][]byte
	for count, it := range resting {
		i := rng.IntN(8000)
		for ok := it.SeekGE(countedKey(i)); ok && i < 8000; ok = it.Next() {
			got, err := countOf(i, it.Value())
			if fixture.Must(t, err); got != uint64(count) || string(it.Key()) != string(countedKey(i)) {
				t.Fatalf("iterator %d shows %s of round %d", count, it.Key(), got)
			}
			i++
		}
		fixture.Must(t, it.Err())
		if it.Last(); count%2 == 0 {
			it.SeekGE(countedKey(0))
		}
		shown = append(shown, [2][]byte{it.Key(), it.Value()})
		fixture.Must(t, it.Close())
	}
	if m := d.Metrics().Iterator; m.FileBytes != 0 || m.MemtableBytes != 0 {
		t.Errorf("when all are closed: %+v", m)
	}
	fixture.Must(t, d.Close())
	for count, s := range shown {
		i := 7999 * (count % 2)
		if got, err := countOf(i, s[1]); err != nil || got != uint64(count) || string(s[0]) != string(countedKey(i)) {
			t.Errorf("shown %d: %s, %v", count, s[0], err)
		}
	}
}

// TestKilledWhileMoving: what a kill leaves of a memtable on its way to the disk goes when
// the next open takes the database over.
func TestKilledWhileMoving(t *testing.T) {
	live := t.TempDir()
	d, err := db.Open(live, nil)
	fixture.Must(t, err)
	defer d.Close()
	fixture.Must(t, d.Put([]byte("key"), []byte("value")))
	dir := filepath.Join(t.TempDir(), "killed")
	fixture.Must(t, os.CopyFS(dir, os.DirFS(live)))
	name := filepath.Join(dir, base.TableName(0)+".tmp")
	fixture.Must(t, os.WriteFile(name, []byte("entries"), 0o600))
	killed, err := db.Open(dir, nil)
	fixture.Must(t, err)
	fixture.Must(t, killed.Put([]byte("key"), []byte("value")))
	fixture.Must(t, killed.Close())
	if _, err := os.Stat(name); !os.IsNotExist(err) {
		t.Errorf("%v", err)
	}
}
