package sstable

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
)

// item is an entry of the model: a sorted slice.
type item struct {
	key   base.InternalKey
	value []byte
}

func sortItems(items []item) []item {
	slices.SortFunc(items, func(a, b item) int { return base.Compare(a.key, b.key) })
	return slices.CompactFunc(items, func(a, b item) bool { return base.Compare(a.key, b.key) == 0 })
}

// set is an item that sets user to value.
func set(user string, seq base.Seq, value string) item {
	return item{base.MakeInternalKey([]byte(user), seq, base.KindSet), []byte(value)}
}

func tombstone(user string, seq base.Seq) item {
	return item{key: base.MakeInternalKey([]byte(user), seq, base.KindDelete)}
}

// merging is an item that merges an operand.
func merging(user string, seq base.Seq, operand string) item {
	return item{base.MakeInternalKey([]byte(user), seq, base.KindMerge), []byte(operand)}
}

// expiring is an item that sets user to value until some time.
func expiring(user string, seq base.Seq, until int64, value string) item {
	return item{base.MakeInternalKey([]byte(user), seq, base.KindSetExpiring),
		append(binary.LittleEndian.AppendUint64(nil, uint64(until)), value...)}
}

var testIdentity = Identity(7, 42)

// write builds a table file and returns its bytes and properties.
func write(t testing.TB, items []item, o WriterOptions) ([]byte, Properties) {
	t.Helper()
	if o.Identity == 0 {
		o.Identity = testIdentity
	}
	fs := vfs.NewMem()
	f := must(fs.Create("t.sst"))(t)
	w := NewWriter(f, "t.sst", o)
	for _, it := range items {
		if err := w.Add(it.key, it.value); err != nil {
			t.Fatal(err)
		}
	}
	properties, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	f = must(fs.Open("t.sst"))(t)
	defer f.Close()
	data := make([]byte, must(f.Size())(t))
	if _, err := f.ReadAt(data, 0); err != nil {
		t.Fatal(err)
	}
	return data, properties
}

// file makes an open file of an in-memory file system with that content.
func file(t testing.TB, data []byte) vfs.File {
	t.Helper()
	fs := vfs.NewMem()
	f := must(fs.Create("t.sst"))(t)
	if len(data) > 0 {
		if _, err := f.WriteAt(data, 0); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func open(t testing.TB, data []byte, o ReaderOptions) *Table {
	t.Helper()
	table := must(openOn(file(t, data), "t.sst", o))(t)
	t.Cleanup(func() { table.Close() })
	return table
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// randomItems makes tables with short, long, shared and empty keys, several versions
// of keys, tombstones and values of all sizes.
func randomItems(rng *rand.Rand, n int) []item {
	var items []item
	for len(items) < n {
		user := randomUser(rng)
		for range 1 + rng.IntN(4)*rng.IntN(2)*rng.IntN(12) {
			seq := base.Seq(1 + rng.Uint64N(1000))
			if rng.IntN(5) == 0 {
				items = append(items, tombstone(string(user), seq))
				continue
			}
			value := bytes.Repeat([]byte{byte(rng.Uint32())}, rng.IntN(40))
			if rng.IntN(40) == 0 {
				value = make([]byte, rng.IntN(6000))
				for i := range value {
					value[i] = byte(rng.Uint32())
				}
			}
			switch rng.IntN(8) {
			case 0:
				items = append(items, merging(string(user), seq, string(value)))
			case 1:
				items = append(items, expiring(string(user), seq, rng.Int64()-1<<62, string(value)))
			default:
				items = append(items, set(string(user), seq, string(value)))
			}
		}
	}
	return sortItems(items)
}

func randomUser(rng *rand.Rand) []byte {
	switch rng.IntN(10) {
	case 0:
		return bytes.Repeat([]byte{'k'}, rng.IntN(300))
	case 1:
		return []byte{}
	case 2:
		user := make([]byte, rng.IntN(12))
		for i := range user {
			user[i] = "\x00\x01\xff"[rng.IntN(3)]
		}
		return user
	}
	return fmt.Appendf(nil, "common-prefix/%06d", rng.IntN(5000))
}

// model answers as a Table should.
type model []item

func (m model) atOrAfter(key base.InternalKey) int {
	return sort.Search(len(m), func(i int) bool { return base.Compare(m[i].key, key) >= 0 })
}

func (m model) get(search base.InternalKey) (item, bool) {
	if i := m.atOrAfter(search); i < len(m) && bytes.Equal(m[i].key.UserKey(), search.UserKey()) {
		return m[i], true
	}
	return item{}, false
}

func checkGet(t *testing.T, table *Table, m model, search base.InternalKey) {
	t.Helper()
	value, trailer, found, err := table.Get(search, base.Hash(search.UserKey()))
	want, wantFound := m.get(search)
	if err != nil || found != wantFound || found && (trailer != want.key.Trailer() || !bytes.Equal(value, want.value)) {
		t.Fatalf("get %s: %d bytes, %d,%s, %v, %v; want %s %v", search, len(value), trailer.Seq(), trailer.Kind(), found, err, want.key, wantFound)
	}
	value, valueBytes, trailer, found, err := table.Find(search, base.Hash(search.UserKey()), false)
	if err != nil || found != wantFound || valueBytes != len(want.value) || found && trailer != want.key.Trailer() || !bytes.HasPrefix(want.value, value) {
		t.Fatalf("find %s: %d bytes, %d,%s, %v, %v; want %s %v", search, valueBytes, trailer.Seq(), trailer.Kind(), found, err, want.key, wantFound)
	}
	if found && trailer.Kind() == base.KindSetExpiring && len(value) < base.ExpiryBytes {
		t.Fatalf("find %s does not tell when the value ends", search)
	}
}

func TestTablesAgainstModel(t *testing.T) {
	seed := uint64(1)
	for _, compression := range []Compression{CompressionNone, CompressionSnappy, CompressionZstd} {
		for _, bits := range []int{-1, 1, 10} {
			for _, blockBytes := range []int{1, 100, 0, 100000} {
				seed++
				o := WriterOptions{Compression: compression, FilterBitsPerKey: bits, BlockBytes: blockBytes}
				t.Run(fmt.Sprintf("%s/%d/%d", compression, bits, blockBytes), func(t *testing.T) {
					checkAgainstModel(t, rand.New(rand.NewPCG(seed, 0)), o)
				})
			}
		}
	}
}

func checkAgainstModel(t *testing.T, rng *rand.Rand, o WriterOptions) {
	items := randomItems(rng, 1+rng.IntN(700))
	data, properties := write(t, items, o)
	if properties.SizeBytes != int64(len(data)) {
		t.Fatalf("size %d of %d", properties.SizeBytes, len(data))
	}
	cache := NewCache(20000)
	for _, table := range []*Table{
		open(t, data, ReaderOptions{Identity: testIdentity}),
		open(t, data, ReaderOptions{SizeBytes: int64(len(data)), Cache: cache, Stats: new(Stats)}),
	} {
		if got := table.Properties(); fmt.Sprint(got) != fmt.Sprint(properties) {
			t.Fatalf("properties %+v, written %+v", got, properties)
		}
		for range 300 {
			checkGet(t, table, items, randomSearch(rng, items))
		}
		for _, it := range items {
			checkGet(t, table, items, it.key)
		}
		walk(t, rng, table.NewIterator(IteratorOptions{}), items)
		walk(t, rng, table.NewIterator(IteratorOptions{NoCacheFill: true, ReadAheadBytes: 30000}), items)
		walk(t, rng, table.NewIterator(IteratorOptions{ReadAheadBytes: 1000}), items)
		keys := keysOf(items, max(2048, cmp.Or(o.BlockBytes, 4096)/2))
		walk(t, rng, table.NewIterator(IteratorOptions{KeysOnly: true}), keys)
		walk(t, rng, table.NewIterator(IteratorOptions{KeysOnly: true, NoCacheFill: true, ReadAheadBytes: 30000}), keys)
		total := int64(0)
		if err := table.Verify(func(n int64) { total += n }); err != nil || total != int64(len(data)) {
			t.Fatalf("verify: %v, progress %d of %d", err, total, len(data))
		}
	}
	checkCache(t, cache)
}

// keysOf is what a walk with KeysOnly shows: values of largeBytes and more are not there,
// but for the time at which they end.
func keysOf(m []item, largeBytes int) model {
	keys := slices.Clone(m)
	for i, it := range m {
		if len(it.value) < largeBytes {
			continue
		}
		keys[i].value = nil
		if it.key.Kind() == base.KindSetExpiring {
			keys[i].value = it.value[:base.ExpiryBytes]
		}
	}
	return keys
}

func randomSearch(rng *rand.Rand, items []item) base.InternalKey {
	if rng.IntN(2) == 0 {
		user := items[rng.IntN(len(items))].key.UserKey()
		return base.AppendSearchKey(nil, user, base.Seq(rng.Uint64N(1100)))
	}
	return base.AppendSearchKey(nil, randomUser(rng), base.MaxSeq)
}

// walk moves an iterator at random and compares it with a position in the model.
func walk(t *testing.T, rng *rand.Rand, it base.Iterator, m model) {
	t.Helper()
	at := -1 // len(m) and -1: not valid
	lastMove := ""
	moves := 1200
	if base.Invariants { // the race detector is slow
		moves = 400
	}
	for range moves {
		moved := false
		switch move := rng.IntN(40); {
		case move == 0:
			lastMove, moved, at = "First", it.First(), 0
		case move == 1:
			lastMove, moved, at = "Last", it.Last(), len(m)-1
		case move < 5:
			search := randomSearch(rng, m)
			lastMove, moved, at = "SeekGE "+search.String(), it.SeekGE(search), m.atOrAfter(search)
		case move < 8:
			search := randomSearch(rng, m)
			lastMove, moved, at = "SeekLT "+search.String(), it.SeekLT(search), m.atOrAfter(search)-1
		case at < 0 || at >= len(m): // a move that failed stays failed
			lastMove, moved = "Next/Prev at the end", it.Next() || it.Prev()
		case move < 28:
			lastMove, moved, at = "Next", it.Next(), at+1
		default:
			lastMove, moved, at = "Prev", it.Prev(), at-1
		}
		inside := at >= 0 && at < len(m)
		if moved != inside || it.Valid() != inside || it.Err() != nil {
			t.Fatalf("%s: %v %v %v, want %v at %d of %d", lastMove, moved, it.Valid(), it.Err(), inside, at, len(m))
		}
		if inside && (!bytes.Equal(it.Key(), m[at].key) || !bytes.Equal(it.Value(), m[at].value)) {
			t.Fatalf("%s: at %s, want %s", lastMove, it.Key(), m[at].key)
		}
	}
	scan(t, it, m)
	if errors.Join(it.Close(), it.Close()) != nil || it.First() || !errors.Is(it.Err(), base.ErrClosed) {
		t.Fatalf("closed iterator: %v", it.Err())
	}
}

// scan walks the whole table both ways.
func scan(t *testing.T, it base.Iterator, m model) {
	t.Helper()
	i := 0
	for ok := it.First(); ok; ok = it.Next() {
		if i >= len(m) || !bytes.Equal(it.Key(), m[i].key) || !bytes.Equal(it.Value(), m[i].value) {
			t.Fatalf("forward: entry %d is %s", i, it.Key())
		}
		i++
	}
	if i != len(m) || it.Err() != nil {
		t.Fatalf("forward: %d of %d, %v", i, len(m), it.Err())
	}
	for ok := it.Last(); ok; ok = it.Prev() {
		if i--; i < 0 || !bytes.Equal(it.Key(), m[i].key) || !bytes.Equal(it.Value(), m[i].value) {
			t.Fatalf("backward: entry %d is %s", i, it.Key())
		}
	}
	if i != 0 || it.Err() != nil {
		t.Fatalf("backward: %d left, %v", i, it.Err())
	}
}

func TestProperties(t *testing.T) {
	_, p := write(t, []item{
		set("", 9, "empty key"), set("a", 7, "new"), tombstone("a", 5), set("a", 3, ""), tombstone("b", 12),
	}, WriterOptions{FilterBitsPerKey: 10})
	got := fmt.Sprint(p.Entries, p.Deletes, p.Shadowed, p.Smallest, p.Largest, p.SmallestSeq, p.LargestSeq, p.RawKeyBytes, p.RawValueBytes, p.DataBlocks, p.FilterBytes)
	if want := `5 2 2 ""#9,set "b"#12,delete 3 12 4 12 1 72`; got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
	_, p = write(t, []item{merging("a", 7, "x"), expiring("a", 6, -3, ""), expiring("b", 9, 40, ""), merging("c", 1, ""), expiring("d", 1, 0, "")}, WriterOptions{})
	got = fmt.Sprint(p.Entries, p.Deletes, p.Shadowed, p.Merges, p.Expiring, p.EarliestExpiry, p.LatestExpiry, p.RawValueBytes)
	if want := `5 0 1 2 3 -3 40 25`; got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

func TestTableWithoutEntries(t *testing.T) {
	data, p := write(t, nil, WriterOptions{FilterBitsPerKey: 10})
	table := open(t, data, ReaderOptions{Cache: NewCache(1000)})
	checkGet(t, table, nil, base.AppendSearchKey(nil, nil, base.MaxSeq))
	checkGet(t, table, nil, base.AppendSearchKey(nil, []byte("a"), base.MaxSeq))
	scan(t, table.NewIterator(IteratorOptions{}), nil)
	it := table.NewIterator(IteratorOptions{})
	search := base.AppendSearchKey(nil, []byte("a"), base.MaxSeq)
	if it.SeekGE(search) || it.SeekLT(search) || it.Err() != nil || p.Smallest != nil || table.Verify(nil) != nil {
		t.Fatal("a table without entries shows some")
	}
}

func TestVersionsSpanBlocks(t *testing.T) {
	var items []item
	for seq := base.Seq(2000); seq > 0; seq-- {
		items = append(items, set("same", seq, fmt.Sprint("value ", seq)))
	}
	items = append(items, set("samf", 1, "next"))
	data, p := write(t, items, WriterOptions{BlockBytes: 64, FilterBitsPerKey: 10, Compression: CompressionSnappy})
	if p.DataBlocks < 500 || p.Shadowed != 1999 {
		t.Fatalf("%+v", p)
	}
	table := open(t, data, ReaderOptions{})
	for seq := base.Seq(0); seq <= 2001; seq++ {
		checkGet(t, table, items, base.AppendSearchKey(nil, []byte("same"), seq))
	}
	checkGet(t, table, items, base.AppendSearchKey(nil, []byte("samf"), 5))
}

func TestLargestKeysAndLargeValues(t *testing.T) {
	long := string(bytes.Repeat([]byte{0xff}, base.MaxKeyBytes-1))
	noise := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{1}).Read(noise)
	items := sortItems([]item{
		set(long, 3, "a"), set(long+"a", 2, "b"), set(long+"b", 2, string(noise)), set("small", 1, "x"),
		set("zeros", 9, string(make([]byte, 5<<20))), set("zeros", 8, "old"),
	})
	for _, compression := range []Compression{CompressionNone, CompressionSnappy, CompressionZstd} {
		data, _ := write(t, items, WriterOptions{Compression: compression, FilterBitsPerKey: 10})
		table := open(t, data, ReaderOptions{Cache: NewCache(64 << 20)})
		for _, it := range items {
			checkGet(t, table, items, it.key)
		}
		scan(t, table.NewIterator(IteratorOptions{NoCacheFill: true, ReadAheadBytes: 1 << 16}), items)
		if err := table.Verify(nil); err != nil {
			t.Fatal(err)
		}
	}
}

// soleFile is a file system with one file, under every name.
type soleFile struct {
	vfs.Files
	file vfs.File
}

func (s soleFile) Open(string) (vfs.File, error) { return s.file, nil }

func openOn(f vfs.File, name string, o ReaderOptions) (*Table, error) {
	return Open(soleFile{file: f}, name, o)
}

// Get is Find for the whole value.
func (t *Table) Get(search base.InternalKey, hash uint64) (value []byte, trailer base.Trailer, found bool, err error) {
	value, _, trailer, found, err = t.Find(search, hash, true)
	return value, trailer, found, err
}

// TestAsideIsTheSame: blocks that are stored beside the making of the next ones make the
// same table, byte for byte.
func TestAsideIsTheSame(t *testing.T) {
	items := benchItems(20_000)
	for i := range items {
		if i%1000 == 999 {
			items[i] = expiring(fmt.Sprintf("%016d", 2*i), base.Seq(i+1), int64(i), strings.Repeat("large", 2<<10))
		}
	}
	jobs := 0
	o := WriterOptions{Compression: CompressionSnappy, FilterBitsPerKey: 10}
	want, properties := write(t, items, o)
	o.Aside = func(job func() error) (wait func() error) {
		jobs++
		outcome := make(chan error, 1)
		go func() { outcome <- job() }()
		return sync.OnceValue(func() error { return <-outcome })
	}
	got, same := write(t, items, o)
	if !bytes.Equal(got, want) || fmt.Sprint(same) != fmt.Sprint(properties) || jobs < 8 || properties.LargeValues != 20 {
		t.Errorf("%d and %d bytes, %d large values, %d jobs", len(got), len(want), properties.LargeValues, jobs)
	}
}
