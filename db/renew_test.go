package db_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"lsmdb/db"
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
