package db_test

import (
	"bytes"
	"encoding/binary"
	"flag"
	"os"
	"runtime"
	"strings"
	"testing"

	"lsmdb/db"
)

// entries sizes TestLarge. The figure in docs/operations.md was taken with
//
//	go test ./db -run TestLarge -v -entries 10000000 -timeout 30m
var entries = flag.Int("entries", 100_000, "number of entries that TestLarge loads")

// TestLarge loads entries of 16 + 100 bytes in random order, reopens, scans them
// in both directions, reads a sample, and checks that what stays in memory is what
// the options imply.
func TestLarge(t *testing.T) {
	n := uint64(*entries)
	options := &db.Options{Durability: db.NoSync, MemtableBytes: 16 << 20, CacheBytes: 32 << 20}
	if n >= 5_000_000 {
		options.MemtableBytes, options.CacheBytes = db.DefaultMemtableBytes, db.DefaultCacheBytes
	}
	dir := t.TempDir()
	d, err := db.Open(dir, options)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		number := i * 0x9e3779b97f4a7c15 // odd, so a permutation of 64 bits
		if err := d.Put(largeKey(number), largeValue(number)); err != nil {
			t.Fatal(err)
		}
	}
	checkLarge(t, d, n)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d, err = db.Open(dir, options)
	if err != nil {
		t.Fatal(err)
	}
	checkLarge(t, d, n)
	m := d.Metrics()
	tables, sizeBytes := m.Tables()
	t.Logf("%d entries in %d tables of %d MiB, peak resident set %s", n, tables, sizeBytes>>20, peakResident())
	checkLiveHeap(t, options, n)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func largeKey(number uint64) []byte {
	key := binary.BigEndian.AppendUint64(nil, number)
	return binary.BigEndian.AppendUint64(key, ^number)
}

// largeValue is half compressible.
func largeValue(number uint64) []byte {
	value := make([]byte, 100)
	for i := range 6 {
		number = number*6364136223846793005 + 1442695040888963407
		binary.LittleEndian.PutUint64(value[8*i:], number)
	}
	return value
}

// checkLarge walks everything forward and backward.
func checkLarge(t *testing.T, d *db.DB, n uint64) {
	t.Helper()
	it, err := d.NewIterator(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	var seen uint64
	var previous []byte
	for key, value := range it.All() {
		number := binary.BigEndian.Uint64(key)
		if previous != nil && bytes.Compare(previous, key) >= 0 {
			t.Fatalf("key %x follows %x", key, previous)
		}
		if !bytes.Equal(key, largeKey(number)) || !bytes.Equal(value, largeValue(number)) {
			t.Fatalf("key %x has a wrong value", key)
		}
		previous = append(previous[:0], key...)
		seen++
	}
	if seen != n || it.Err() != nil {
		t.Fatalf("scan saw %d of %d entries: %v", seen, n, it.Err())
	}
	for key := range it.Backward() {
		if seen != n && bytes.Compare(previous, key) <= 0 {
			t.Fatalf("backward, key %x follows %x", key, previous)
		}
		previous = append(previous[:0], key...)
		seen--
	}
	if seen != 0 || it.Err() != nil {
		t.Fatalf("backward scan missed %d entries: %v", seen, it.Err())
	}
	for i := uint64(0); i < n; i += 1 + n/10_000 {
		number := i * 0x9e3779b97f4a7c15
		if value, err := d.Get(largeKey(number)); err != nil || !bytes.Equal(value, largeValue(number)) {
			t.Fatalf("get of entry %d: %x, %v", i, value, err)
		}
	}
}

// checkLiveHeap compares what is reachable with the sum of what is allowed: the
// active memtable, the cache, and for each entry its share of filter and index.
func checkLiveHeap(t *testing.T, o *db.Options, n uint64) {
	t.Helper()
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	const perEntry, constant = 4, 16 << 20
	limit := uint64(o.MemtableBytes+o.CacheBytes) + perEntry*n + constant
	t.Logf("live heap %d MiB, allowed %d MiB", stats.HeapAlloc>>20, limit>>20)
	if stats.HeapAlloc > limit {
		t.Errorf("live heap of %d bytes, the options imply at most %d", stats.HeapAlloc, limit)
	}
}

// peakResident returns the largest resident set so far, where the system tells.
func peakResident() string {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return "unknown"
}
