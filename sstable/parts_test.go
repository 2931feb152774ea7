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

func TestSeparator(t *testing.T) {
	for _, c := range []struct {
		last, next item
		want       string
	}{
		{set("abcdef", 1, ""), set("abxyz", 1, ""), "abx#0"},
		{set("abc", 1, ""), set("abcd", 1, ""), "abc#0"},
		{set("abcd", 1, ""), set("abd", 1, ""), "abcd#0"},
		{set("a", 1, ""), set("b", 1, ""), "a#0"},
		{set("", 1, ""), set("b", 1, ""), "#0"},
		{set("a", 7, ""), set("a", 5, ""), "a#7"},
		{set("aaaa", 7, ""), set("azzz", 5, ""), "az#0"},
	} {
		key := appendSeparator(nil, c.last.key, c.next.key)
		if got := fmt.Sprintf("%s#%d", key.UserKey(), key.Seq()); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.last.key, c.next.key, got, c.want)
		}
		if base.Compare(c.last.key, key) > 0 || base.Compare(key, c.next.key) >= 0 {
			t.Errorf("%s is not between %s and %s", key, c.last.key, c.next.key)
		}
	}
}

func TestSeparatorsAreBetween(t *testing.T) {
	items := randomItems(rand.New(rand.NewPCG(5, 5)), 2000)
	for i := range len(items) - 1 {
		key := appendSeparator(nil, items[i].key, items[i+1].key)
		if base.Compare(items[i].key, key) > 0 || base.Compare(key, items[i+1].key) >= 0 {
			t.Fatalf("%s is not between %s and %s", key, items[i].key, items[i+1].key)
		}
	}
}

func TestFilterRate(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct {
		bits    int
		percent float64
	}{{1, 75}, {5, 13}, {10, 1.3}, {16, 0.25}, {1000, 0.05}} {
		hashes := make([]uint64, 50_000)
		for i := range hashes {
			hashes[i] = rng.Uint64()
		}
		f, err := decodeFilter(buildFilter([][]uint64{hashes}, c.bits))
		if err != nil {
			t.Fatal(err)
		}
		for _, hash := range hashes {
			if !f.mayContain(hash) {
				t.Fatal("a key is missing")
			}
		}
		positives := 0
		for range 200_000 {
			if f.mayContain(rng.Uint64()) {
				positives++
			}
		}
		rate := float64(positives) / 2000
		t.Logf("%d bits per key: %.2f %%", c.bits, rate)
		if rate > c.percent {
			t.Errorf("%d bits per key: %.2f %%, at most %.2f %% expected", c.bits, rate, c.percent)
		}
	}
}

func TestWriterPanicsOnMisuse(t *testing.T) {
	for name, items := range map[string][]item{
		"same key":       {set("a", 1, ""), set("a", 1, "")},
		"newer version":  {set("a", 1, ""), set("a", 2, "")},
		"smaller key":    {set("b", 1, ""), set("a", 1, "")},
		"prefix":         {set("ab", 1, ""), set("a", 1, "")},
		"kind":           {{key: base.MakeInternalKey(nil, 1, base.KindSetExpiring+1)}},
		"long key":       {{key: base.MakeInternalKey(make([]byte, base.MaxKeyBytes+1), 1, base.KindSet)}},
		"range delete":   {{key: base.MakeInternalKey(nil, 1, base.KindRangeDelete)}},
		"no expiry":      {{key: base.MakeInternalKey(nil, 1, base.KindSetExpiring), value: make([]byte, 7)}},
		"tombstone":      {{key: base.MakeInternalKey(nil, 1, base.KindDelete), value: []byte("x")}},
		"malformed":      {{key: base.InternalKey("abc")}},
		"equal but kind": {tombstone("a", 1), {key: base.MakeInternalKey([]byte("a"), 1, base.KindDelete)}},
	} {
		panics(t, name, func() { write(t, items, WriterOptions{}) })
	}
	panics(t, "no identity", func() { NewWriter(nil, "", WriterOptions{}) })
	panics(t, "compression", func() { NewWriter(nil, "", WriterOptions{Identity: 1, Compression: 9}) })
}

func panics(t *testing.T, name string, do func()) {
	t.Helper()
	defer func() {
		if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), "invariant:") {
			t.Errorf("%s: %v", name, p)
		}
	}()
	do()
}

// failingFile fails the operation that it is told to.
type failingFile struct {
	vfs.File
	fails  string
	spared int // writes that succeed all the same
	writes int
	closed int
}

var errInjected = errors.New("injected")

func (f *failingFile) WriteAt(p []byte, offset int64) (int, error) {
	f.writes++
	if f.fails == "write" && f.writes > f.spared {
		return 0, errInjected
	}
	return f.File.WriteAt(p, offset)
}

func (f *failingFile) Sync() error {
	if f.fails == "sync" {
		return errInjected
	}
	return f.File.Sync()
}

func (f *failingFile) Close() error {
	f.closed++
	f.File.Close()
	if f.fails == "close" {
		return errInjected
	}
	return nil
}

func TestWriterReportsFailures(t *testing.T) {
	for _, operation := range []string{"write", "sync", "close"} {
		f := &failingFile{File: file(t, nil), fails: operation}
		w := NewWriter(f, "t.sst", WriterOptions{Identity: 1})
		var err error
		noise := make([]byte, 100_000)
		for i := 0; i < 5 && err == nil; i++ {
			err = w.Add(set(fmt.Sprint(i), 1, "").key, noise)
		}
		if (err != nil) != (operation == "write") {
			t.Fatalf("%s: add: %v", operation, err)
		}
		_, err = w.Finish()
		if !errors.Is(err, errInjected) || !strings.Contains(err.Error(), operation+" table t.sst") {
			t.Fatalf("%s: %v", operation, err)
		}
		if again := w.Add(set("z", 1, "").key, nil); !errors.Is(again, errInjected) {
			t.Fatalf("%s: add after failure: %v", operation, again)
		}
		w.Abort()
		w.Abort()
		if f.closed != 1 || operation == "write" && f.writes != 1 {
			t.Fatalf("%s: closed %d times, %d writes", operation, f.closed, f.writes)
		}
	}
	w := NewWriter(file(t, nil), "t.sst", WriterOptions{Identity: 1})
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Finish(); err == nil || w.Add(set("a", 1, "").key, nil) == nil {
		t.Fatal("an aborted writer goes on")
	}
}

func TestSizeBytesEstimates(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	w := NewWriter(file(t, nil), "t.sst", WriterOptions{Identity: 1, FilterBitsPerKey: 10})
	value := make([]byte, 100)
	last := w.SizeBytes()
	for i := range 5000 {
		for j := range value {
			value[j] = byte(rng.Uint32())
		}
		if err := w.Add(set(fmt.Sprintf("%08d", i), 1, "").key, value); err != nil {
			t.Fatal(err)
		}
		if now := w.SizeBytes(); now < last {
			t.Fatalf("size went from %d to %d", last, now)
		} else {
			last = now
		}
	}
	p, err := w.Finish()
	if err != nil || last < p.SizeBytes*98/100 || last > p.SizeBytes*102/100 {
		t.Fatalf("estimated %d, is %d, %v", last, p.SizeBytes, err)
	}
}

func TestCompressionIsKeptWhereItSaves(t *testing.T) {
	noise := make([]byte, 3000)
	rand.NewChaCha8([32]byte{2}).Read(noise)
	mixed := append(bytes.Clone(noise), make([]byte, 300)...) // saves less than 12 %
	savesMore := append(bytes.Clone(noise), make([]byte, 800)...)
	items := []item{set("a", 1, string(noise)), set("b", 1, string(mixed)), set("c", 1, strings.Repeat("x", 3000)), set("d", 1, string(savesMore))}
	data, _ := write(t, items, WriterOptions{Compression: CompressionSnappy})
	var got []Compression
	for info := range open(t, data, ReaderOptions{}).Blocks() {
		if info.Type == BlockData {
			got = append(got, info.Compression)
		}
	}
	if fmt.Sprint(got) != "[none none snappy snappy]" {
		t.Fatal(got)
	}
}

func TestGetAllocatesNothing(t *testing.T) {
	if base.Invariants {
		return // the race detector allocates
	}
	table := numberedTable(t, 50, ReaderOptions{Cache: NewCache(1 << 20)})
	search := base.AppendSearchKey(nil, []byte("000031"), base.MaxSeq)
	missing := base.AppendSearchKey(nil, []byte("000031x"), base.MaxSeq)
	it := table.NewIterator(IteratorOptions{})
	scan(t, it, numbered(50))
	it.First()
	for name, do := range map[string]func(){
		"hit":  func() { table.Get(search, base.Hash(search.UserKey())) },
		"miss": func() { table.Get(missing, base.Hash(missing.UserKey())) },
		"seek": func() { it.SeekGE(search); it.Next(); it.Prev(); it.SeekLT(search) },
	} {
		if n := testing.AllocsPerRun(100, do); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestIndexSharesPrefixes writes keys with a long common prefix, which the index must
// not repeat for each block.
func TestIndexSharesPrefixes(t *testing.T) {
	prefix := strings.Repeat("p", 1000)
	var items []item
	for i := range 160 {
		items = append(items, set(fmt.Sprintf("%s%04d", prefix, i), 1, "v"))
	}
	_, p := write(t, items, WriterOptions{BlockBytes: 1})
	// each of the ten restart points repeats the prefix; an entry adds some 20 bytes
	if p.DataBlocks != 160 || p.IndexBytes < 10*1000 || p.IndexBytes > 10*1000+160*25 {
		t.Fatalf("an index of %d bytes for %d blocks", p.IndexBytes, p.DataBlocks)
	}
}

// TestFailureAtTheTail fails the writes of Finish one after the other: the data block,
// the filter and the rest. After the failure nothing more is written.
func TestFailureAtTheTail(t *testing.T) {
	for spared := range 4 {
		f := &failingFile{File: file(t, nil), fails: "write", spared: spared}
		w := NewWriter(f, "t.sst", WriterOptions{Identity: 1, FilterBitsPerKey: 64, BlockBytes: maxBlockBytes})
		for i := range 40_000 {
			if err := w.Add(set(fmt.Sprintf("%06d", i), 1, "").key, nil); err != nil {
				t.Fatalf("entry %d: %v", i, err)
			}
		}
		_, err := w.Finish()
		if failed := spared < 3; errors.Is(err, errInjected) != failed || f.closed != 1 || f.writes != min(spared+1, 3) {
			t.Fatalf("%d spared: %v, closed %d times, %d writes", spared, err, f.closed, f.writes)
		}
	}
}
