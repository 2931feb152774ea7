package db_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
)

// counted is a value that tells its key and how often that was written before.
func counted(key int, count uint64) []byte {
	return bytes.Repeat(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, uint64(key)), count), 8)
}

func countOf(key int, value []byte) (uint64, error) {
	if len(value) != 128 || !bytes.Equal(value, counted(key, binary.LittleEndian.Uint64(value[8:]))) {
		return 0, fmt.Errorf("key %d has the value %x", key, value)
	}
	return binary.LittleEndian.Uint64(value[8:]), nil
}

func countedKey(i int) []byte { return fmt.Appendf(nil, "key%04d", i) }

const countedKeys = 300

// TestReadersWhileMemtablesComeBack reads in every way while memory of memtables is
// used again and again: by gets, by iterators of all ages, by a snapshot, by iterators
// that nobody closes. What was shown last before Close stays readable.
func TestReadersWhileMemtablesComeBack(t *testing.T) {
	d, err := db.Open("", &db.Options{InMemory: true, MemtableBytes: 16 << 10, Durability: db.NoSync})
	fixture.Must(t, err)
	round := func(count uint64) {
		for i := range countedKeys {
			fixture.Must(t, d.Put(countedKey(i), counted(i, count)))
		}
	}
	round(1)
	snapshot, err := d.NewSnapshot()
	fixture.Must(t, err)
	var forgotten, old []*db.Iterator
	var shown [][2][]byte
	var done atomic.Bool
	var wg sync.WaitGroup
	for seed := range uint64(2) {
		wg.Go(func() {
			if err := readCounted(d, snapshot, rand.New(rand.NewPCG(seed, 1)), &done); err != nil {
				t.Error(err)
			}
		})
	}
	for count := uint64(2); count < 25; count++ {
		round(count)
		it, err := d.NewIterator(nil)
		fixture.Must(t, err)
		switch count % 5 {
		case 0:
			forgotten = append(forgotten, it)
		case 1:
			old = append(old, it)
		case 2: // nothing shown
			fixture.Must(t, it.Close())
		default:
			if !it.Last() || count%5 == 4 && !it.SeekGE(countedKey(countedKeys-1)) {
				t.Fatalf("nothing to show: %v", it.Err())
			}
			shown = append(shown, [2][]byte{it.Key(), it.Value()})
			fixture.Must(t, it.Close())
		}
	}
	done.Store(true)
	wg.Wait()
	for n, it := range append(old, forgotten...) {
		if err := checkCounted(it); err != nil {
			t.Errorf("iterator %d: %v", n, err)
		}
		if n < len(old) {
			fixture.Must(t, it.Close())
		}
	}
	for n, s := range shown {
		i := countedKeys - 1
		if _, err := countOf(i, s[1]); err != nil || !bytes.Equal(s[0], countedKey(i)) {
			t.Errorf("shown %d: %s: %v", n, s[0], err)
		}
	}
	fixture.Must(t, snapshot.Close())
	fixture.Must(t, d.Close())
}

// checkCounted walks an iterator that was made between two rounds, or in one: all
// counts are equal, or go down by one somewhere.
func checkCounted(it *db.Iterator) error {
	i, before := 0, uint64(0)
	for key, value := range it.All() {
		count, err := countOf(i, value)
		if err != nil || !bytes.Equal(key, countedKey(i)) {
			return errors.Join(err, fmt.Errorf("%s in the place of key %d", key, i))
		}
		if i > 0 && count != before && count != before-1 {
			return fmt.Errorf("key %d is of round %d, the one before of %d", i, count, before)
		}
		i, before = i+1, count
	}
	if i != countedKeys {
		return errors.Join(it.Err(), fmt.Errorf("%d keys", i))
	}
	return it.Err()
}

// readCounted reads until done, by gets, from a snapshot of the first round, and by
// iterators.
func readCounted(d *db.DB, snapshot *db.Snapshot, rng *rand.Rand, done *atomic.Bool) error {
	newest := make([]uint64, countedKeys)
	var buffer []byte
	for !done.Load() {
		for range 200 {
			i := rng.IntN(countedKeys)
			var err error
			if buffer, err = d.AppendValue(buffer[:0], countedKey(i)); err != nil {
				return err
			}
			count, err := countOf(i, buffer)
			if err != nil || count < newest[i] {
				return errors.Join(err, fmt.Errorf("key %d is of round %d after %d", i, count, newest[i]))
			}
			newest[i] = count
		}
		i := rng.IntN(countedKeys)
		value, err := snapshot.Get(countedKey(i))
		if err != nil || !bytes.Equal(value, counted(i, 1)) {
			return errors.Join(err, fmt.Errorf("the snapshot has %x for key %d", value, i))
		}
		it, err := d.NewIterator(nil)
		if err != nil {
			return err
		}
		if err := checkCounted(it); err != nil {
			return err
		}
		if err := it.Close(); err != nil {
			return err
		}
	}
	return nil
}

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
