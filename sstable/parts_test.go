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
		user, trailer := separator(c.last.key, c.next.key)
		if got := fmt.Sprintf("%s#%d", user, trailer.Seq()); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.last.key, c.next.key, got, c.want)
		}
		key := base.AppendInternalKey(nil, user, trailer)
		if base.Compare(c.last.key, key) > 0 || base.Compare(key, c.next.key) >= 0 {
			t.Errorf("%s is not between %s and %s", key, c.last.key, c.next.key)
		}
	}
}

func TestSeparatorsAreBetween(t *testing.T) {
	items := randomItems(rand.New(rand.NewPCG(5, 5)), 2000)
	for i := range len(items) - 1 {
		user, trailer := separator(items[i].key, items[i+1].key)
		key := base.AppendInternalKey(nil, user, trailer)
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
		f, err := decodeFilter(buildFilter(hashes, c.bits))
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

func TestDecodersRefuse(t *testing.T) {
	sound := func() *Properties {
		p := new(Properties)
		p.count(base.MakeInternalKey([]byte("a"), 5, base.KindSet), nil, false)
		p.Largest, p.DataBlocks = p.Smallest, 1
		return p
	}
	properties := func(change func(*Properties)) func() error {
		return func() error {
			p := sound()
			change(p)
			_, err := decodeProperties(p.appendTo(nil))
			return err
		}
	}
	raw := func(p string) func() error {
		return func() error { _, err := decodeProperties([]byte(p)); return err }
	}
	index := func(p string, dataEnd int64) func() error {
		return func() error { _, err := decodeIndex([]byte(p), dataEnd); return err }
	}
	full := string(sound().appendTo(nil))
	for name, c := range map[string]struct {
		decode func() error
		want   string
	}{
		"properties empty":     {raw(""), "end after property 0"},
		"properties cut":       {raw(full[:35]), "beyond the block"},
		"properties short":     {raw(full[:20]), "end after property 2"},
		"properties twice":     {raw(full[:10] + full), "property 1 after property 1"},
		"properties number":    {raw("\x01\x01\x00"), "number of 1 bytes"},
		"properties tag":       {raw("\xff"), "malformed tag"},
		"properties new":       {raw(full + "\x0b\x00"), "unknown table property (tag 11)"},
		"bounds":               {properties(func(p *Properties) { p.Smallest = base.MakeInternalKey([]byte("b"), 5, 1) }), "is after the largest"},
		"bounds kind":          {properties(func(p *Properties) { p.Largest = base.MakeInternalKey([]byte("b"), 5, 5) }), "set-expiring"},
		"bounds short":         {properties(func(p *Properties) { p.Largest = []byte("x") }), "shorter than its trailer"},
		"sequence":             {properties(func(p *Properties) { p.SmallestSeq = 9 }), "sequence numbers from 9 to 5"},
		"deletes":              {properties(func(p *Properties) { p.Deletes = 2 }), "2 deletes"},
		"entries":              {properties(func(p *Properties) { p.Entries = 0 }), "without entries"},
		"index empty":          {index("", 0), "no count"},
		"index count":          {index("\xff\xff\xff\xff", 0), "claims 4294967295"},
		"index cut":            {index("\x01\x00\x00\x00\x05\x00\x06a", 6), "exceeds what remains"},
		"index block":          {index("\x01\x00\x00\x00\x01\x00\x07a", 6), "does not fit"},
		"index tiny block":     {index("\x01\x00\x00\x00\x01\x00\x05a", 6), "does not fit"},
		"index rest":           {index("\x01\x00\x00\x00\x01\x00\x06ab", 6), "leaves 1"},
		"index data":           {index("\x01\x00\x00\x00\x01\x00\x06a", 7), "covers 6 of 7"},
		"index order":          {index("\x02\x00\x00\x00\x01\x00\x06b\x01\x00\x06a", 12), "not after"},
		"index equal":          {index("\x02\x00\x00\x00\x01\x00\x06b\x01\x00\x06b", 12), "not after"},
		"index field":          {index("\x01\x00\x00\x00\xff\xff\xff", 12), "malformed"},
		"block empty":          {func() error { return new(block).init(nil) }, "no restart points"},
		"block count":          {func() error { return new(block).init([]byte("\x02\x00\x00\x00")) }, "claims 2"},
		"block first restart":  {func() error { return new(block).init([]byte("abc\x01\x00\x00\x00\x01\x00\x00\x00")) }, "restart point 0"},
		"block restart beyond": {func() error { return new(block).init([]byte("\x00\x00\x00\x00\x01\x00\x00\x00")) }, "restart point 0"},
		"directory partial":    {func() error { _, err := decodeDirectory(make([]byte, 5), 0); return err }, "whole entries"},
		"directory empty":      {func() error { _, err := decodeDirectory(nil, 0); return err }, "lacks"},
		"filter empty":         {func() error { _, err := decodeFilter([]byte{1, 6}); return err }, "whole lines"},
		"filter probes":        {func() error { _, err := decodeFilter(append(make([]byte, 64), 1, 0)); return err }, "0 probes"},
	} {
		if err := c.decode(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if err := raw(full + "\x80\x01\x03new")(); err != nil {
		t.Errorf("an optional property: %v", err)
	}
}

func TestDirectoryRefusesGapsAndDoubles(t *testing.T) {
	type listed struct {
		kind BlockType
		at   extent
	}
	for want, list := range map[string][]listed{
		"20 was expected":       {{BlockIndex, extent{10, 10}}, {BlockProperties, extent{21, 9}}},
		"two index blocks":      {{BlockIndex, extent{10, 10}}, {BlockIndex, extent{20, 10}}},
		"lists a data block":    {{BlockData, extent{10, 20}}},
		"lacks the index":       {{BlockIndex, extent{10, 20}}},
		"bytes up to itself":    {{BlockIndex, extent{10, 10}}, {BlockProperties, extent{20, 9}}},
		"with 5 bytes":          {{BlockIndex, extent{10, 5}}},
		"with 9999 bytes":       {{BlockIndex, extent{10, 9999}}},
		"with -7 bytes":         {{BlockIndex, extent{10, -7}}},
		"at -10 ":               {{BlockIndex, extent{-10, 10}}},
		"unknown block type (r": {{BlockRangeDelete, extent{10, 20}}},
	} {
		var payload []byte
		for _, l := range list {
			payload = appendDirectoryEntry(payload, l.kind, l.at)
		}
		if _, err := decodeDirectory(payload, 30); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestWriterPanicsOnMisuse(t *testing.T) {
	for name, items := range map[string][]item{
		"same key":       {set("a", 1, ""), set("a", 1, "")},
		"newer version":  {set("a", 1, ""), set("a", 2, "")},
		"smaller key":    {set("b", 1, ""), set("a", 1, "")},
		"prefix":         {set("ab", 1, ""), set("a", 1, "")},
		"kind":           {{key: base.MakeInternalKey(nil, 1, base.KindMerge)}},
		"long key":       {{key: base.MakeInternalKey(make([]byte, base.MaxKeyBytes+1), 1, base.KindSet)}},
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
	closed int
}

var errInjected = errors.New("injected")

func (f *failingFile) WriteAt(p []byte, offset int64) (int, error) {
	if f.fails == "write" {
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
		if f.closed != 1 {
			t.Fatalf("%s: closed %d times", operation, f.closed)
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
	items := []item{set("a", 1, string(noise)), set("b", 1, string(mixed)), set("c", 1, strings.Repeat("x", 3000))}
	data, _ := write(t, items, WriterOptions{Compression: CompressionSnappy})
	var got []Compression
	for info := range open(t, data, ReaderOptions{}).Blocks() {
		if info.Type == BlockData {
			got = append(got, info.Compression)
		}
	}
	if fmt.Sprint(got) != "[none none snappy]" {
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
