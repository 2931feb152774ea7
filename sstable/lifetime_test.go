package sstable

import (
	"errors"
	"fmt"
	"testing"

	"lsmdb/internal/base"
)

// verbs are the ways to read a table.
var verbs = map[string]func(*Table) error{
	"get": func(table *Table) error { return getError(table, 5) },
	"iterate": func(table *Table) error {
		it := table.NewIterator(IteratorOptions{NoCacheFill: true})
		for ok := it.First(); ok; ok = it.Next() {
		}
		return it.Err()
	},
	"verify": func(table *Table) error { return table.Verify(nil) },
	"blocks": func(table *Table) error {
		var errs []error
		for _, err := range table.Blocks() {
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	},
}

// TestCloseDuringARead closes the table, or all of them, in the middle of each way to
// read. What follows must say so, and not blame the file.
func TestCloseDuringARead(t *testing.T) {
	for name, verb := range verbs {
		for after := range int64(8) {
			files := tableFS(t, 10, "a")
			var open OpenFiles
			h := NewHandle(files, "a", ReaderOptions{}, &open)
			table := must(h.Table())(t)
			closing := open.CloseAll
			if after >= 4 {
				closing, after = h.Close, after-4
			}
			f := files.files[0]
			start := f.reads.Load()
			f.onRead = func() {
				if f.reads.Load() == start+1+after {
					closing()
				}
			}
			err := verb(table)
			if name == "get" && after > 0 { // which reads once
				continue
			}
			if !errors.Is(err, base.ErrClosed) || damaged(err) {
				t.Errorf("%s, closed at read %d: %v", name, after, err)
			}
		}
	}
}

// sizingFile lets something happen when its size is asked.
type sizingFile struct {
	bytesFile
	onSize func() error
}

func (f *sizingFile) Size() (int64, error) {
	if err := f.onSize(); err != nil {
		return 0, err
	}
	return f.bytesFile.Size()
}

// TestCloseDuringOpen closes a table while it is being opened: when its size is asked,
// and at each of the reads.
func TestCloseDuringOpen(t *testing.T) {
	data, _ := write(t, numbered(10), WriterOptions{BlockBytes: 1000, FilterBitsPerKey: 10})
	f := &sizingFile{bytesFile: bytesFile{data: data}}
	h := NewHandle(nil, "t.sst", ReaderOptions{}, new(OpenFiles))
	h.files.end(h.files.add(h, f))
	f.onSize = func() error { h.Close(); return errors.New("file already closed") }
	if _, err := h.Table(); !errors.Is(err, base.ErrClosed) {
		t.Fatal(err)
	}
	f.onSize = func() error { return errInjected }
	if _, err := openOn(f, "t.sst", ReaderOptions{}); !errors.Is(err, errInjected) || damaged(err) {
		t.Fatal(err)
	}
	files := tableFS(t, 10_000, "a")
	must(NewHandle(files, "a", ReaderOptions{}, new(OpenFiles)).Table())(t)
	reads := files.files[0].reads.Load()
	if reads < 2 { // the end, and an index that is longer than what is read of it
		t.Fatalf("%d reads", reads)
	}
	for at := range reads {
		var open OpenFiles
		h := NewHandle(closingFS{files, func(f *countingFile) {
			if f.reads.Load() == at+1 {
				open.CloseAll()
			}
		}}, "a", ReaderOptions{}, &open)
		table, err := h.Table()
		if !errors.Is(err, base.ErrClosed) || table != nil {
			t.Errorf("closed at read %d: %v", at, err)
		}
		if f := files.files[len(files.files)-1]; f.closes.Load() != 1 || open.Len() != 0 {
			t.Errorf("closed at read %d: %d times, %d listed", at, f.closes.Load(), open.Len())
		}
	}
}

// TestCloseAllTellsOfErrors fails the closing of one of three files.
func TestCloseAllTellsOfErrors(t *testing.T) {
	files := tableFS(t, 3, "a", "b", "c")
	var open OpenFiles
	for _, name := range []string{"a", "b", "c"} {
		must(NewHandle(files, name, ReaderOptions{}, &open).Table())(t)
	}
	files.files[1].closeError = errInjected
	err := open.CloseAll()
	if !errors.Is(err, errInjected) || fmt.Sprint(err) != "close table b: injected" {
		t.Fatal(err)
	}
	for i, f := range files.files {
		if f.closes.Load() != 1 {
			t.Errorf("file %d was closed %d times", i, f.closes.Load())
		}
	}
}

// TestCloseWhileABlockComes closes a table while one of its blocks is on the way into the
// cache, which must not keep it.
func TestCloseWhileABlockComes(t *testing.T) {
	files := tableFS(t, 10, "a")
	var open OpenFiles
	cache := NewCache(1 << 20)
	h := NewHandle(files, "a", ReaderOptions{Cache: cache}, &open)
	table := must(h.Table())(t)
	read(t, table, 1)
	late := new(block)
	if err := new(blockReader).read(table, 5, late); err != nil {
		t.Fatal(err)
	}
	open.CloseAll()
	if got := cache.insert(slot{table, 5}, late); got != late {
		t.Error("the reader gets another block")
	}
	if m := cache.Metrics(); m.Blocks != 0 || m.Used != 0 || table.slots[5].Load() != nil {
		t.Errorf("%+v", m)
	}
}

// TestRetiredBlocksMakeRoom fills a cache with referenced blocks of two tables and
// retires one: its room goes to the other without an eviction.
func TestRetiredBlocksMakeRoom(t *testing.T) {
	cache := NewCache(12_000)
	old, young := numberedTable(t, 10, ReaderOptions{Cache: cache}), numberedTable(t, 10, ReaderOptions{Cache: cache})
	for range 2 {
		for i := range 5 {
			read(t, old, i)
			read(t, young, i)
		}
	}
	checkCache(t, cache)
	full := cache.Metrics()
	if full.Blocks != 10 || full.Evictions != 0 {
		t.Fatalf("%+v", full)
	}
	old.handle.Retire()
	checkCache(t, cache)
	if m := cache.Metrics(); m.Blocks != 5 || m.Used != full.Used/2 || m.Evictions != 0 {
		t.Fatalf("%+v after %+v", m, full)
	}
	for i := range 10 {
		read(t, young, i)
	}
	checkCache(t, cache)
	if m := cache.Metrics(); m.Blocks != 10 || m.Evictions != 0 {
		t.Fatalf("%+v", m)
	}
}

// TestTheFirstOfTwoMissesStays inserts two copies of one block.
func TestTheFirstOfTwoMissesStays(t *testing.T) {
	cache := NewCache(1 << 20)
	table := numberedTable(t, 10, ReaderOptions{Cache: cache})
	var copies [2]*block
	for i := range copies {
		copies[i] = new(block)
		if err := new(blockReader).read(table, 3, copies[i]); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range copies {
		if got := cache.insert(slot{table, 3}, b); got != copies[0] {
			t.Fatal("the second copy took the place of the first")
		}
	}
	checkCache(t, cache)
	if m := cache.Metrics(); m.Blocks != 1 || m.Used != copies[0].memoryBytes() || m.Misses != 2 {
		t.Fatalf("%+v", m)
	}
}

// TestCapacityIsExact fills a cache to the last byte.
func TestCapacityIsExact(t *testing.T) {
	probe := NewCache(1 << 20)
	read(t, numberedTable(t, 3, ReaderOptions{Cache: probe}), 0)
	one := probe.Metrics().Used
	for capacity, want := range map[int64]int{one - 1: 0, one: 1, 2*one - 1: 1, 2 * one: 2, 3 * one: 3} {
		cache := NewCache(capacity)
		table := numberedTable(t, 3, ReaderOptions{Cache: cache})
		for i := range 3 {
			read(t, table, i)
		}
		checkCache(t, cache)
		if m := cache.Metrics(); m.Blocks != want || m.Used != int64(want)*one {
			t.Errorf("capacity for %d bytes of blocks of %d: %+v", capacity, one, m)
		}
	}
}
