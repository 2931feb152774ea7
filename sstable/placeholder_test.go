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
)

const loadedSeq = 4711

// loadedTable is a table as a load writes it, and what it holds once it has its number.
func loadedTable(t testing.TB, o WriterOptions, values ...int) ([]byte, Properties, model) {
	var items []item
	for i := range 300 {
		items = append(items, set(fmt.Sprintf("key%03d", i), 1, strings.Repeat("v", i)))
	}
	for i, n := range values {
		noise := make([]byte, n)
		rand.NewChaCha8([32]byte{byte(i)}).Read(noise)
		items = append(items, set(fmt.Sprintf("large%03d", i), 1, string(noise)), expiring(fmt.Sprintf("large%03d/ends", i), 1, int64(i), string(noise)))
	}
	items = sortItems(items)
	o.Placeholder, o.FilterBitsPerKey = true, 10
	data, p := writeRanges(t, items, deleted("a b 1", "key100 key200 1"), o)
	m := make(model, len(items))
	for i, it := range items {
		m[i] = item{base.MakeInternalKey(it.key.UserKey(), loadedSeq, it.key.Kind()), it.value}
	}
	return data, p, m
}

func TestNumberFromOutside(t *testing.T) {
	for _, compression := range []Compression{CompressionNone, CompressionSnappy, CompressionZstd} {
		data, written, m := loadedTable(t, WriterOptions{Compression: compression}, 2047, 5000, 1<<20, 3<<20)
		if written.Placeholder != 1 || written.SmallestSeq != 1 || written.LargestSeq != 1 {
			t.Fatalf("%+v", written)
		}
		for _, cache := range []*Cache{nil, NewCache(64 << 20)} {
			table := open(t, data, ReaderOptions{Seq: loadedSeq, Cache: cache})
			p := table.Properties()
			if written.Renumber(loadedSeq); fmt.Sprint(written) != fmt.Sprint(p) || p.Smallest.String() != `"a"#4711,range-delete` || p.LargestSeq != loadedSeq || p.Check() != nil {
				t.Fatalf("%+v", p)
			}
			for range 2 {
				for _, it := range m {
					checkGet(t, table, m, it.key)
					checkGet(t, table, m, base.AppendSearchKey(nil, it.key.UserKey(), loadedSeq-1))
				}
			}
			for _, o := range []IteratorOptions{{}, {NoCacheFill: true}, {NoCacheFill: true, ReadAheadBytes: 8 << 20}} {
				it := table.NewIterator(o)
				scan(t, it, m)
				scan(t, it, m)
				o.KeysOnly = true
				scan(t, table.NewIterator(o), keysOf(m, 2048))
			}
			oldest, newest := table.Ranges().Seqs()
			if oldest != loadedSeq || newest != loadedSeq || table.Ranges().Count() != 2 {
				t.Errorf("range deletes from %d to %d", oldest, newest)
			}
			if err := table.Verify(nil); err != nil {
				t.Error(err)
			}
			for info, err := range table.Blocks() {
				if err != nil || info.Type == BlockData && info.First.Seq() != loadedSeq {
					t.Errorf("%+v %v", info, err)
				}
			}
		}
	}
}

// TestPlaceholderByItself: without the MANIFEST the table shows what is in its file.
func TestPlaceholderByItself(t *testing.T) {
	data, _, m := loadedTable(t, WriterOptions{}, 5000)
	for i := range m {
		m[i].key = base.MakeInternalKey(m[i].key.UserKey(), 1, m[i].key.Kind())
	}
	table := open(t, data, ReaderOptions{})
	scan(t, table.NewIterator(IteratorOptions{}), m)
	if err := table.Verify(nil); err != nil {
		t.Error(err)
	}
}

// TestLoadedTablesThatLie: a table that has numbers of its own does not get another one.
func TestLoadedTablesThatLie(t *testing.T) {
	data, _, _ := loadedTable(t, WriterOptions{BlockBytes: 1}, 5000) // an entry a block
	at := parts(t, data)
	own, _ := write(t, numbered(3), WriterOptions{FilterBitsPerKey: 10})
	exact := int64(bytes.Index(data[at[BlockIndex].offset:], []byte{1, 1, 0, 0, 0, 0, 0, 0})) // the number of a separator
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"entry":     {reseal(data, at[BlockData], func(p []byte) { p[3+len("key000")+1] = 2 }), "number 2 in place of 1"},
		"separator": {reseal(data, at[BlockIndex], func(p []byte) { p[exact+1] = 3 }), "number 3 in place of 1"},
		"range":     {reseal(data, at[BlockRangeDelete], func(p []byte) { p[5] = 2 }), "exceed the bounds"},
		"property":  {own, "has numbers of its own"},
	} {
		err := exercise(t, c.data, ReaderOptions{Seq: 9}, nil)
		if !errors.Is(err, base.ErrCorrupt) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestBitFlipsInALoadedTable(t *testing.T) {
	items := []item{set("a", 1, "x"), set("b", 1, strings.Repeat("y", 2048)), expiring("c", 1, 5, strings.Repeat("z", 2048))}
	data, _ := write(t, items, WriterOptions{Placeholder: true, FilterBitsPerKey: 10, Compression: CompressionZstd})
	m := model{set("a", 9, "x"), set("b", 9, string(items[1].value)), {base.MakeInternalKey([]byte("c"), 9, base.KindSetExpiring), items[2].value}}
	if err := exercise(t, data, ReaderOptions{Seq: 9}, m); err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(data) {
		data[bit/8] ^= 1 << (bit % 8)
		if err := exercise(t, data, ReaderOptions{Seq: 9}, m); !damaged(err) {
			t.Fatalf("bit %d of byte %d: %v", bit%8, bit/8, err)
		}
		data[bit/8] ^= 1 << (bit % 8)
	}
}

func TestPlaceholderIsAsserted(t *testing.T) {
	loaded := func() *Writer {
		w := NewWriter(must(vfs.NewMem().Create("t.sst"))(t), "t.sst", WriterOptions{Identity: 1, Placeholder: true})
		w.Add(set("a", 1, "").key, nil)
		return w
	}
	must(loaded().Finish())(t)
	panics(t, "entry", func() { w := loaded(); w.Add(set("b", 2, "").key, nil); w.Finish() })
	panics(t, "range delete", func() { w := loaded(); w.AddRanges(deleted("a b 2")); w.Finish() })
}

// TestLongValueIsNumberedTwice: a long value that is decoded where it was read is not
// damaged when it is decoded there again.
func TestLongValueIsNumberedTwice(t *testing.T) {
	noise := make([]byte, 2*maxReusedBytes)
	rand.NewChaCha8([32]byte{1}).Read(noise)
	data, _ := write(t, []item{set("long", 1, string(noise)), set("short", 1, "")}, WriterOptions{Placeholder: true})
	table := open(t, data, ReaderOptions{Seq: 9, Cache: NewCache(1 << 20)})
	m := model{set("long", 9, string(noise)), set("short", 9, "")}
	checkGet(t, table, m, m[1].key) // from now on its block is cached
	it := table.NewIterator(IteratorOptions{NoCacheFill: true})
	scan(t, it, m)
	scan(t, it, m)
}
