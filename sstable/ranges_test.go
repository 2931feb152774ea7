package sstable

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/ranges"
	"lsmdb/internal/vfs"
)

// writeRanges builds a table file of entries and range deletes.
func writeRanges(t testing.TB, items []item, l ranges.List, o WriterOptions) ([]byte, Properties) {
	t.Helper()
	o.Identity = testIdentity
	fs := vfs.NewMem()
	w := NewWriter(must(fs.Create("t.sst"))(t), "t.sst", o)
	for _, it := range items {
		if err := w.Add(it.key, it.value); err != nil {
			t.Fatal(err)
		}
	}
	w.AddRanges(l)
	properties, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	f := must(fs.Open("t.sst"))(t)
	defer f.Close()
	data := make([]byte, properties.SizeBytes)
	if _, err := f.ReadAt(data, 0); err != nil {
		t.Fatal(err)
	}
	return data, properties
}

// deleted makes a list of range deletes, each "start end number".
func deleted(texts ...string) ranges.List {
	var lists []ranges.List
	for _, text := range texts {
		var start, end string
		var seq base.Seq
		fmt.Sscan(text, &start, &end, &seq)
		lists = append(lists, ranges.Of([]byte(start), []byte(end), seq))
	}
	return ranges.Merge(lists...)
}

func TestRangesAndBounds(t *testing.T) {
	items := []item{set("d", 5, "x"), set("h", 7, "y")}
	for _, c := range []struct {
		items []item
		list  ranges.List
		want  string // bounds, numbers, range deletes, whether the largest is excluded
	}{
		{items, nil, `"d"#5,set "h"#7,set 5 7 0 false`},
		{items, deleted("e g 6"), `"d"#5,set "h"#7,set 5 7 1 false`},
		{items, deleted("d h 4"), `"d"#5,set "h"#7,set 4 7 1 false`},
		{items, deleted("d h 9"), `"d"#9,range-delete "h"#7,set 5 9 1 false`},
		{items, deleted("a b 3", "a c 9"), `"a"#9,range-delete "h"#7,set 3 9 3 false`},
		{items, deleted("e z 6", "g k 2"), `"d"#5,set "z"#72057594037927935,range-delete 2 7 4 true`},
		{nil, deleted("b f 4", "d h 9"), `"b"#4,range-delete "h"#72057594037927935,range-delete 4 9 4 true`},
	} {
		for _, compression := range []Compression{CompressionNone, CompressionSnappy, CompressionZstd} {
			data, p := writeRanges(t, c.items, c.list, WriterOptions{FilterBitsPerKey: 10, Compression: compression})
			if got := fmt.Sprint(p.Smallest, p.Largest, p.SmallestSeq, p.LargestSeq, p.RangeDeletes, p.LargestExcluded()); strings.ReplaceAll(got, "\" \"", "\"\"") != strings.ReplaceAll(c.want, "\" \"", "\"\"") {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			table := open(t, data, ReaderOptions{Cache: NewCache(1 << 20)})
			if got := table.Properties(); fmt.Sprint(got) != fmt.Sprint(p) {
				t.Errorf("read %+v, written %+v", got, p)
			}
			if (len(table.Ranges()) == 0) != (len(c.list) == 0) || len(c.list) > 0 && !bytes.Equal(table.Ranges().AppendTo(nil), c.list.AppendTo(nil)) {
				t.Errorf("%v are not the range deletes that were written", table.Ranges())
			}
			scan(t, table.NewIterator(IteratorOptions{}), c.items)
			checkGet(t, table, c.items, base.AppendSearchKey(nil, []byte("e"), base.MaxSeq))
			if err := table.Verify(nil); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestEndsBefore(t *testing.T) {
	included := Summary{Largest: base.MakeInternalKey([]byte("m"), 3, base.KindSet)}
	ended := Summary{Largest: base.MakeInternalKey([]byte("m"), base.MaxSeq, base.KindRangeDelete)}
	for key, want := range map[string]string{"l": "false false", "m": "false true", "m\x00": "true true", "": "false false"} {
		if got := fmt.Sprint(included.EndsBefore([]byte(key)), ended.EndsBefore([]byte(key))); got != want {
			t.Errorf("before %q: %s, want %s", key, got, want)
		}
	}
}

// TestRangeDeletesEndBehindTheLongestKey: the successor of a key may be one byte too long
// for a key.
func TestRangeDeletesEndBehindTheLongestKey(t *testing.T) {
	longest := strings.Repeat("x", base.MaxKeyBytes)
	data, _ := writeRanges(t, []item{set(longest, 1, "")}, ranges.Of([]byte("a"), []byte(longest+"\x00"), 2), WriterOptions{})
	if err := open(t, data, ReaderOptions{}).Verify(nil); err != nil {
		t.Error(err)
	}
}

// TestRangeBlocksThatLie changes the block of range deletes, or what is told of it, and
// makes the checksums right.
func TestRangeBlocksThatLie(t *testing.T) {
	data, _ := writeRanges(t, []item{set("b", 5, "x"), set("y", 6, "")}, deleted("c e 6", "g k 5"), WriterOptions{})
	at := parts(t, data)
	for name, c := range map[string]struct {
		kind   BlockType
		change func(p []byte)
		want   string
	}{
		"start":  {BlockRangeDelete, func(p []byte) { p[1] = 'a' }, "exceed the bounds"},
		"end":    {BlockRangeDelete, func(p []byte) { p[9] = 'z' }, "exceed the bounds"},
		"number": {BlockRangeDelete, func(p []byte) { p[5] = 7 }, "exceed the bounds"},
		"old":    {BlockRangeDelete, func(p []byte) { p[5] = 4 }, "exceed the bounds"},
		"order":  {BlockRangeDelete, func(p []byte) { p[7] = 'd' }, "before the end of another"},
		"count":  {BlockProperties, func(p []byte) { p[bytes.Index(p, []byte("\x0d\x08"))+2]++ }, "properties tell of 3 range deletes, the block holds 2"},
		"within": {BlockProperties, func(p []byte) { p[bytes.Index(p, []byte("\x07\x08"))+2]++ }, "other figures differ"},
		"type":   {BlockRangeDelete, func(p []byte) { p[len(p)-1] = byte(BlockFilter) }, "filter block where a range-delete block belongs"},
	} {
		err := exercise(t, reseal(data, at[c.kind], c.change), ReaderOptions{}, nil)
		if !errors.Is(err, base.ErrCorrupt) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	for i := at[BlockRangeDelete].offset; i < at[BlockRangeDelete].end(); i++ {
		data[i] ^= 4
		if _, err := openOn(bytesFile{data: data}, "t.sst", ReaderOptions{}); !errors.Is(err, base.ErrCorrupt) {
			t.Errorf("byte %d of the range deletes is changed: %v", i, err)
		}
		data[i] ^= 4
	}
}

func TestAddRangesOnlyOnce(t *testing.T) {
	w := NewWriter(must(vfs.NewMem().Create("t.sst"))(t), "t.sst", WriterOptions{Identity: 1})
	w.AddRanges(deleted("a b 1"))
	panics(t, "twice", func() { w.AddRanges(deleted("c d 1")) })
}
