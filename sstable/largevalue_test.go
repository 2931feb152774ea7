package sstable

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
)

// largeItems are n values, half of them large and half of these ending, between small ones.
func largeItems(n int) (items []item) {
	noise := rand.NewChaCha8([32]byte{5})
	for i := range n {
		value := make([]byte, 2048+i)
		if i%4 < 2 {
			value = value[:i]
		}
		if i%3 > 0 { // what is left compresses well
			noise.Read(value)
		}
		if key := fmt.Sprintf("key%03d", i); i%2 == 0 {
			items = append(items, set(key, 1, string(value)))
		} else {
			items = append(items, expiring(key, 1, int64(i), string(value)))
		}
	}
	return items
}

func TestLargeValuesAreNotRead(t *testing.T) {
	items := largeItems(200)
	for _, compression := range []Compression{CompressionNone, CompressionSnappy, CompressionZstd} {
		data, p := write(t, items, WriterOptions{FilterBitsPerKey: 10, Compression: compression})
		if p.LargeValues != 100 {
			t.Fatalf("%d values in blocks of their own", p.LargeValues)
		}
		stats := new(Stats)
		table := open(t, data, ReaderOptions{Stats: stats})
		table.filter.Store(due)
		for _, it := range items {
			if len(it.value) < 2048 {
				continue
			}
			value, valueBytes, trailer, found, err := table.Find(it.key, base.Hash(it.key.UserKey()), false)
			if err != nil || !found || valueBytes != len(it.value) || trailer != it.key.Trailer() || !bytes.Equal(value, keysOf([]item{it}, 2048)[0].value) {
				t.Fatalf("find %s: %d bytes, %d of them, %v, %v", it.key, valueBytes, len(value), found, err)
			}
		}
		if m := stats.Filters(); stats.Reads().BlocksRead > 0 || m.Checks != 100 || m.FalsePositives != 0 {
			t.Errorf("%+v", m)
		}
		for _, it := range items {
			checkGet(t, table, items, it.key)
			checkGet(t, table, items, base.AppendSearchKey(nil, it.key.UserKey(), 0))
			checkGet(t, table, items, base.AppendSearchKey(nil, append(it.key.UserKey(), '/'), 9))
		}
		small := int64(0) // bytes of the blocks that hold small values
		for i := range table.index.count() {
			if _, large := table.index.large(i); !large {
				small += table.index.extent(i, i).length
			}
		}
		for _, o := range []IteratorOptions{{KeysOnly: true}, {KeysOnly: true, ReadAheadBytes: 1 << 20}, {KeysOnly: true, NoCacheFill: true}} {
			before := stats.Reads()
			it := table.NewIterator(o)
			scan(t, it, keysOf(items, 2048))
			m := stats.Reads()
			if blocks, bytes := m.BlocksRead-before.BlocksRead, int64(m.BytesRead-before.BytesRead); blocks > 2*(p.DataBlocks-100) || bytes > 2*small {
				t.Errorf("%+v: both ways %d blocks were read, %d bytes; %d blocks of %d bytes hold small values", o, blocks, bytes, p.DataBlocks-100, small)
			}
		}
	}
}

// TestReadAheadGoesOnBehindLargeValues: small values between large ones that follow each
// other are read ahead as if these were not there.
func TestReadAheadGoesOnBehindLargeValues(t *testing.T) {
	items := sortItems(append(numbered(3000), set("000000", 100000, strings.Repeat("x", 5000)), set("000500", 100000, strings.Repeat("x", 5000))))
	data, _ := write(t, items, WriterOptions{})
	f := &scriptedFile{bytesFile: bytesFile{data: data}}
	table := must(openOn(f, "t.sst", ReaderOptions{}))(t)
	it := table.NewIterator(IteratorOptions{KeysOnly: true, ReadAheadBytes: 1 << 20})
	f.reads = nil
	for ok := it.First(); ok; ok = it.Next() {
	}
	if len(f.reads) > 12 {
		t.Errorf("%d reads: %v", len(f.reads), f.reads)
	}
}

func TestWhatCountsAsLarge(t *testing.T) {
	for _, c := range []struct{ blockBytes, smallest int }{{100, 2048}, {0, 2048}, {4096, 2048}, {16 << 10, 8 << 10}} {
		_, p := write(t, []item{set("a", 1, strings.Repeat("x", c.smallest-1)), set("b", 1, strings.Repeat("x", c.smallest)), set("c", 1, "")}, WriterOptions{BlockBytes: c.blockBytes})
		if p.LargeValues != 1 || p.DataBlocks != 3 {
			t.Errorf("blocks of %d bytes: %d large values in %d blocks", c.blockBytes, p.LargeValues, p.DataBlocks)
		}
	}
}

// TestLargeValuesAreCopied writes a table from another one, as a compaction does.
func TestLargeValuesAreCopied(t *testing.T) {
	o := WriterOptions{Identity: testIdentity, FilterBitsPerKey: 10, Compression: CompressionSnappy}
	data, _ := write(t, largeItems(100), o)
	fs := vfs.NewMem()
	w := NewWriter(must(fs.Create("t.sst"))(t), "t.sst", o)
	it := open(t, data, ReaderOptions{}).NewIterator(IteratorOptions{NoCacheFill: true, ReadAheadBytes: 1 << 20})
	for ok := it.First(); ok; ok = it.Next() {
		if err := w.Add(it.Key(), it.Value()); err != nil {
			t.Fatal(err)
		}
	}
	must(w.Finish())(t)
	f := must(fs.Open("t.sst"))(t)
	again := make([]byte, must(f.Size())(t))
	must(f.ReadAt(again, 0))(t)
	if it.Err() != nil || !bytes.Equal(again, data) {
		t.Errorf("the copy has %d bytes, the original %d: %v", len(again), len(data), it.Err())
	}
}

// TestResetForgetsTheOptions: an iterator that is used again fills the cache, and shows
// values, if it is now to do so.
func TestResetForgetsTheOptions(t *testing.T) {
	items := largeItems(20)
	data, _ := write(t, items, WriterOptions{})
	cache := NewCache(1 << 20)
	table := open(t, data, ReaderOptions{Cache: cache})
	it := table.NewIterator(IteratorOptions{NoCacheFill: true, KeysOnly: true, ReadAheadBytes: 1 << 20})
	scan(t, it, keysOf(items, 2048))
	if m := cache.Metrics(); m.Blocks != 0 || m.Hits != 0 {
		t.Fatalf("%+v", m)
	}
	it.Reset(table, &IteratorOptions{})
	scan(t, it, items)
	if m := cache.Metrics(); m.Blocks != table.index.count() {
		t.Errorf("%d of %d blocks are cached", m.Blocks, table.index.count())
	}
	it.Reset(table, &IteratorOptions{KeysOnly: true})
	if allocated := testing.AllocsPerRun(10, func() {
		for ok := it.First(); ok; ok = it.Next() {
		}
	}); allocated > 0 {
		t.Errorf("a walk over keys allocates %v times", allocated)
	}
}

// TestIndexLiesAboutALargeValue changes what the index tells of one, and makes the
// checksum right.
func TestIndexLiesAboutALargeValue(t *testing.T) {
	data, _ := write(t, []item{expiring("k", 5, 77, strings.Repeat("x", 3000))}, WriterOptions{})
	at := parts(t, data)
	entry := at[BlockIndex].offset
	location := data[entry+4 : entry+4+8+8+4] // shared, unshared, length and user key take 4 bytes
	for i, want := range map[int]string{0: "malformed", 1: "the index tells", 8: "the index tells", 18: "the index tells"} {
		err := exercise(t, reseal(data, at[BlockIndex], func(p []byte) {
			if p[4+i] != location[i] {
				t.Fatal("the entry lies elsewhere")
			}
			p[4+i] ^= 4
		}), ReaderOptions{}, nil)
		if !errors.Is(err, base.ErrCorrupt) || !strings.Contains(err.Error(), want) {
			t.Errorf("byte %d: %v, want %q", i, err, want)
		}
	}
	lying := reseal(data, at[BlockProperties], func(p []byte) { p[bytes.Index(p, []byte("\x13\x08"))+2]++ })
	if err := exercise(t, lying, ReaderOptions{}, nil); !errors.Is(err, base.ErrCorrupt) || !strings.Contains(err.Error(), "large values") {
		t.Error(err)
	}
}

// TestUpperBoundBeforeALargeValue: the bound of an iterator keeps it from a block that
// holds nothing but a key behind it.
func TestUpperBoundBeforeALargeValue(t *testing.T) {
	items := []item{set("a", 1, strings.Repeat("x", 5000)), set("b", 1, strings.Repeat("x", 5000)), set("c", 1, "")}
	data, _ := write(t, items, WriterOptions{})
	for upper, want := range map[string]uint64{"": 0, "a": 0, "a\x00": 1, "b": 1, "bb": 3, "c": 3} {
		stats := new(Stats)
		it := open(t, data, ReaderOptions{Stats: stats}).NewIterator(IteratorOptions{Upper: []byte(upper)})
		for ok := it.First(); ok; ok = it.Next() {
		}
		if m := stats.Reads(); m.BlocksRead != want || it.Err() != nil {
			t.Errorf("up to %q: %d blocks were read, want %d", upper, m.BlocksRead, want)
		}
	}
}

// TestLargeValueOnSecondTry: a value that could not be read at first, and then could, ends no
// walk.
func TestLargeValueOnSecondTry(t *testing.T) {
	data, _ := write(t, []item{set("a", 1, strings.Repeat("v", 5000))}, WriterOptions{})
	mem := vfs.NewMem()
	f := must(mem.Create("t.sst"))(t)
	must(f.WriteAt(data, 0))(t)
	broken := false
	fault := vfstest.NewFault(mem, func(op vfstest.Op) error {
		if broken && op.Kind == vfstest.OpRead {
			return errScarce
		}
		return nil
	})
	table := must(Open(fault, "t.sst", ReaderOptions{}))(t)
	defer table.Close()
	it := table.NewIterator(IteratorOptions{Lazy: true})
	if !it.First() {
		t.Fatal(it.Err())
	}
	broken = true
	if value := it.Value(); value != nil || !errors.Is(it.Err(), errScarce) {
		t.Fatalf("%d bytes, %v", len(value), it.Err())
	}
	broken = false
	if value := it.Value(); len(value) != 5000 || it.Err() != nil {
		t.Errorf("%d bytes, %v", len(value), it.Err())
	}
}
