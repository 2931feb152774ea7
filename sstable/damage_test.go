package sstable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
)

// bytesFile is a read-only file over a byte slice, cheap enough to make thousands.
type bytesFile struct {
	vfs.File // nil: no other method may be called
	data     []byte
}

func (f bytesFile) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 || offset >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.data[offset:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f bytesFile) Size() (int64, error) { return int64(len(f.data)), nil }
func (f bytesFile) Close() error         { return nil }

// smallTable has several data blocks, some of them compressed, and a filter.
func smallTable(t testing.TB) ([]byte, model) {
	var items []item
	for i := range 40 {
		items = append(items, set(fmt.Sprintf("key%03d", i/2), base.Seq(100-i), strings.Repeat("v", i)))
	}
	items = sortItems(append(items, tombstone("", 4), tombstone("key100", 2), set("long", 3, strings.Repeat("abc", 100))))
	data, _ := write(t, items, WriterOptions{BlockBytes: 150, FilterBitsPerKey: 8, Compression: CompressionSnappy})
	return data, items
}

// richTable has one of everything.
func richTable(t testing.TB) ([]byte, model) { return richTableOf(t, CompressionSnappy) }

func zstdTable(t testing.TB) ([]byte, model) { return richTableOf(t, CompressionZstd) }

func richTableOf(t testing.TB, c Compression) ([]byte, model) {
	items := sortItems([]item{
		set("apple", 9, "red"), merging("apple", 8, "green"), expiring("bird", 7, -5, "sings"), expiring("cow", 3, 1<<40, ""), tombstone("dog", 2),
		merging("egg", 6, ""), set("fish", 5, ""),
		expiring("large", 4, -7, strings.Repeat("x", minLargeBytes)), set("large", 3, strings.Repeat("y", minLargeBytes)), set("less", 2, ""),
	})
	data, _ := writeRanges(t, items, deleted("cat dog 4", "coal eel 6", "z zz 1"), WriterOptions{BlockBytes: 60, FilterBitsPerKey: 8, Compression: c})
	return data, items
}

func damaged(err error) bool {
	return errors.Is(err, base.ErrCorrupt) || errors.Is(err, base.ErrIncompatible)
}

// exercise does everything with a table that may be damaged. Any failure must be a
// finding of damage. With a model, what is read without an error must be right. It
// returns what Open or Verify found.
func exercise(t testing.TB, data []byte, o ReaderOptions, m model) error {
	t.Helper()
	table, err := openOn(bytesFile{data: data}, "t.sst", o)
	if err != nil {
		if !damaged(err) {
			t.Fatalf("open: %v", err)
		}
		return err
	}
	for i, it := range m {
		if i == len(m)/2 {
			table.filter.Store(due)
		}
		value, trailer, found, err := table.Get(it.key, base.Hash(it.key.UserKey()))
		if err == nil && (!found || trailer != it.key.Trailer() || !bytes.Equal(value, it.value)) {
			t.Fatalf("get %s: %q %v", it.key, value, found)
		}
		if err != nil && !damaged(err) {
			t.Fatalf("get: %v", err)
		}
		_, valueBytes, trailer, found, err := table.Find(it.key, base.Hash(it.key.UserKey()), false)
		if err == nil && (!found || trailer != it.key.Trailer() || valueBytes != len(it.value)) || err != nil && !damaged(err) {
			t.Fatalf("find %s: %d bytes, %v, %v", it.key, valueBytes, found, err)
		}
	}
	keys := table.NewIterator(IteratorOptions{KeysOnly: true})
	for ok := keys.First(); ok; ok = keys.Next() {
	}
	if keys.Err() != nil && !damaged(keys.Err()) {
		t.Fatalf("scan of keys: %v", keys.Err())
	}
	it := table.NewIterator(IteratorOptions{NoCacheFill: true, ReadAheadBytes: 1 << 20})
	i := 0
	for ok := it.First(); ok; ok = it.Next() {
		if m != nil && (!bytes.Equal(it.Key(), m[i].key) || !bytes.Equal(it.Value(), m[i].value)) {
			t.Fatalf("entry %d is %s", i, it.Key())
		}
		i++
	}
	if it.Err() == nil && m != nil && i != len(m) || it.Err() != nil && !damaged(it.Err()) {
		t.Fatalf("scan: %d of %d, %v", i, len(m), it.Err())
	}
	for ok := it.Last(); ok; ok = it.Prev() {
	}
	if it.Err() != nil && !damaged(it.Err()) {
		t.Fatalf("scan backward: %v", it.Err())
	}
	for _, err := range table.Blocks() {
		if err != nil && !damaged(err) {
			t.Fatalf("blocks: %v", err)
		}
	}
	return table.Verify(nil)
}

func TestEveryBitFlipIsFound(t *testing.T) {
	for _, table := range []func(testing.TB) ([]byte, model){smallTable, richTable, zstdTable} {
		data, m := table(t)
		if err := exercise(t, data, ReaderOptions{}, m); err != nil {
			t.Fatal(err)
		}
		step := 1
		if base.Invariants { // the race detector makes this slow; one bit of each byte will do
			step = 7
		}
		for bit := 0; bit < 8*len(data); bit += step {
			data[bit/8] ^= 1 << (bit % 8)
			if err := exercise(t, data, ReaderOptions{}, m); !damaged(err) {
				t.Fatalf("bit %d of byte %d: %v", bit%8, bit/8, err)
			}
			data[bit/8] ^= 1 << (bit % 8)
		}
	}
}

func TestEveryTruncationIsFound(t *testing.T) {
	data, m := smallTable(t)
	for n := range data {
		if err := exercise(t, data[:n], ReaderOptions{}, m); !errors.Is(err, base.ErrCorrupt) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
		if err := exercise(t, data[:n], ReaderOptions{SizeBytes: int64(len(data))}, m); !errors.Is(err, base.ErrCorrupt) {
			t.Fatalf("cut to %d bytes, size known: %v", n, err)
		}
	}
	for _, more := range [][]byte{{0}, make([]byte, 4096), data} {
		longer := append(bytes.Clone(data), more...)
		if err := exercise(t, longer, ReaderOptions{}, nil); !errors.Is(err, base.ErrCorrupt) {
			t.Fatalf("%d bytes appended: %v", len(more), err)
		}
	}
	shifted := append(make([]byte, 100), data...)
	if err := exercise(t, shifted, ReaderOptions{}, nil); !errors.Is(err, base.ErrCorrupt) {
		t.Fatalf("bytes put in front: %v", err)
	}
}

func TestErrorNamesFileAndOffset(t *testing.T) {
	data, m := smallTable(t)
	table := open(t, data, ReaderOptions{})
	second := table.index.extent(1, 1)
	data[second.offset+3] ^= 1
	table = open(t, data, ReaderOptions{Cache: NewCache(1 << 20)})
	var corrupt *base.CorruptionError
	bad, good := 0, 0
	for _, it := range m {
		_, _, _, err := table.Get(it.key, base.Hash(it.key.UserKey()))
		if errors.As(err, &corrupt) && corrupt.File == "t.sst" && corrupt.Offset == second.offset {
			bad++
		} else if err == nil {
			good++
		}
	}
	if bad == 0 || good == 0 || bad+good != len(m) {
		t.Fatalf("%d reads failed in place, %d of %d succeeded", bad, good, len(m))
	}
}

func TestSwappedBlocksAreFound(t *testing.T) {
	data, p := write(t, numbered(3), WriterOptions{BlockBytes: 1000})
	table := open(t, data, ReaderOptions{})
	a, b := table.index.extent(0, 0), table.index.extent(1, 1)
	if a.length != b.length || p.DataBlocks != 3 {
		t.Fatal("blocks differ in length")
	}
	first := bytes.Clone(data[a.offset:a.end()])
	copy(data[a.offset:], data[b.offset:b.end()])
	copy(data[b.offset:], first)
	table = open(t, data, ReaderOptions{})
	for i := range 2 {
		if err := getError(table, i); !errors.Is(err, base.ErrCorrupt) {
			t.Fatalf("key %d: %v", i, err)
		}
	}
	if err := getError(table, 2); err != nil {
		t.Fatal(err)
	}
}

func TestSwappedFilesAreFound(t *testing.T) {
	a, _ := write(t, numbered(3), WriterOptions{BlockBytes: 1000, Identity: Identity(1, 10)})
	b, _ := write(t, numbered(3), WriterOptions{BlockBytes: 1000, Identity: Identity(1, 11)})
	for want, data := range map[string][]byte{
		"another table's file": a, "too short for a table": a[:footerBytes-1], "no magic number": a[:footerBytes],
	} {
		_, err := openOn(bytesFile{data: data}, "t.sst", ReaderOptions{Identity: Identity(1, 11)})
		if !errors.Is(err, base.ErrCorrupt) || !strings.Contains(err.Error(), want) {
			t.Fatalf("%v, want %q", err, want)
		}
	}
	copy(b, a[:1000]) // the first block of another table
	if err := getError(open(t, b, ReaderOptions{Identity: Identity(1, 11)}), 0); !errors.Is(err, base.ErrCorrupt) {
		t.Fatal(err)
	}
}

func TestIdentity(t *testing.T) {
	seen := map[uint64]bool{}
	for database := range uint64(50) {
		for number := range uint64(50) {
			seen[Identity(database, number)] = true
		}
	}
	if len(seen) != 2500 || seen[0] {
		t.Fatalf("%d distinct identities", len(seen))
	}
}

// parts finds the blocks of a sound table by type; of the data blocks the first.
func parts(t testing.TB, data []byte) map[BlockType]extent {
	t.Helper()
	found := map[BlockType]extent{}
	for info, err := range open(t, data, ReaderOptions{}).Blocks() {
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := found[info.Type]; !ok {
			found[info.Type] = extent{info.Offset, info.SizeBytes}
		}
	}
	return found
}

// reseal changes the stored bytes of a block, compression and type included, and
// makes its checksum right again.
func reseal(data []byte, e extent, change func(stored []byte)) []byte {
	data = bytes.Clone(data)
	covered := data[e.offset : e.end()-4]
	change(covered)
	identity := binary.LittleEndian.Uint64(data[len(data)-footerBytes+8:])
	binary.LittleEndian.PutUint32(data[e.end()-4:], base.Checksum(placeChecksum(identity, e.offset), covered))
	return data
}

func TestTheFutureIsRefusedByName(t *testing.T) {
	data, _ := write(t, []item{set("a", 1, "x"), set("b", 1, "y")}, WriterOptions{FilterBitsPerKey: 10})
	at := parts(t, data)
	block := func(kind BlockType, change func(p []byte)) []byte { return reseal(data, at[kind], change) }
	footerAt := int64(len(data) - footerBytes)
	version := bytes.Clone(data)
	version[footerAt+16] = 9
	crc := base.Checksum(placeChecksum(testIdentity, footerAt), version[footerAt:footerAt+footerCoveredBytes])
	binary.LittleEndian.PutUint32(version[footerAt+footerCoveredBytes:], crc)
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"kind":        {block(BlockData, func(p []byte) { p[4] = byte(base.KindSetExpiring) + 1 }), "unknown operation kind (kind 6)"},
		"block type":  {block(BlockData, func(p []byte) { p[len(p)-1] = 77 }), "unknown block type (type 77)"},
		"compression": {block(BlockData, func(p []byte) { p[len(p)-2] = 7 }), "unknown compression type (compression 7)"},
		"index":       {block(BlockIndex, func(p []byte) { p[len(p)-1] = 6 }), "unknown block type (type 6)"},
		"filter":      {block(BlockFilter, func(p []byte) { p[len(p)-4] = 2 }), "unknown filter kind (2)"},
		"version":     {version, "table format version 9"},
	} {
		err := exercise(t, c.data, ReaderOptions{}, nil)
		if !errors.Is(err, base.ErrIncompatible) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "t.sst") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestVerifyFindsWhatChecksumsDoNot changes blocks and makes their checksums right.
func TestVerifyFindsWhatChecksumsDoNot(t *testing.T) {
	data, _ := write(t, []item{set("a", 1, "x"), set("b", 1, "y"), set("bb", 3, "z")}, WriterOptions{FilterBitsPerKey: 10})
	at := parts(t, data)
	for name, c := range map[string]struct {
		kind   BlockType
		change func(p []byte)
		want   string
	}{
		"key order":     {BlockData, func(p []byte) { p[3] = 'b' }, "follows"},
		"separator":     {BlockIndex, func(p []byte) { p[3] = 'a' }, "between the separators"},
		"filter":        {BlockFilter, func(p []byte) { clear(p[:64]) }, "missing from the filter"},
		"properties":    {BlockProperties, func(p []byte) { p[2] = 2 }, "properties"},
		"block count":   {BlockProperties, func(p []byte) { p[bytes.Index(p, []byte("\x0a\x08"))+2] = 2 }, "the index of 1"},
		"index entry":   {BlockIndex, func(p []byte) { p[1] = 100 }, "malformed"},
		"block length":  {BlockIndex, func(p []byte) { p[13]-- }, "index covers"},
		"restart":       {BlockData, func(p []byte) { p[len(p)-10]++ }, "restart point"},
		"entry":         {BlockData, func(p []byte) { p[1] = 100 }, "malformed"},
		"other block":   {BlockIndex, func(p []byte) { p[len(p)-1] = byte(BlockData) }, "data block where"},
		"tombstone":     {BlockData, func(p []byte) { p[4] = byte(base.KindDelete) }, "has a value"},
		"first shares":  {BlockData, func(p []byte) { p[0] = 1 }, "malformed"},
		"snappy length": {BlockIndex, func(p []byte) { p[len(p)-2] = 1; copy(p, "\xff\xff\xff\xff\x07") }, "claim to hold"},
		"snappy":        {BlockIndex, func(p []byte) { p[len(p)-2] = 1; copy(p, "\x05\xff\xff") }, "corrupt input"},
	} {
		err := exercise(t, reseal(data, at[c.kind], c.change), ReaderOptions{}, nil)
		if !errors.Is(err, base.ErrCorrupt) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestMalformedBlocksNeverPanic scatters changes over blocks whose checksums are then
// made right, so that every decoder sees nonsense.
func TestMalformedBlocksNeverPanic(t *testing.T) {
	data, _ := smallTable(t)
	plain, _ := write(t, numbered(5), WriterOptions{FilterBitsPerKey: 10})
	rich, _ := richTable(t)
	zstd, _ := zstdTable(t)
	rng := rand.New(rand.NewPCG(3, 4))
	for _, sound := range [][]byte{data, plain, rich, zstd} {
		at := parts(t, sound)
		for i := range 1500 {
			kind := BlockType(1 + i%5)
			if at[kind].length == 0 {
				continue
			}
			exercise(t, reseal(sound, at[kind], func(p []byte) {
				for range 1 + rng.IntN(3) {
					p[rng.IntN(len(p))] = byte(rng.Uint32() >> rng.IntN(8))
				}
			}), ReaderOptions{}, nil)
		}
	}
}

func TestBlocksDescribesEverything(t *testing.T) {
	data, m := smallTable(t)
	table := open(t, data, ReaderOptions{})
	next, entries, kinds := int64(0), 0, ""
	for info, err := range table.Blocks() {
		if err != nil || info.Offset != next || info.PayloadBytes < info.SizeBytes-blockTrailerBytes {
			t.Fatalf("%+v %v, expected at %d", info, err, next)
		}
		if info.Type == BlockData {
			if !bytes.Equal(info.First, m[entries].key) || !bytes.Equal(info.Last, m[entries+info.Entries-1].key) {
				t.Fatalf("%+v", info)
			}
		} else {
			kinds += info.Type.String() + "/" + info.Compression.String() + " "
		}
		entries += info.Entries
		next += info.SizeBytes
	}
	if entries != len(m) || next+footerBytes != int64(len(data)) || !strings.HasPrefix(kinds, "filter/none index/") || !strings.HasSuffix(kinds, "properties/none ") {
		t.Fatalf("%d entries, blocks end at %d of %d, %s", entries, next, len(data), kinds)
	}
	data[10] ^= 1
	failures, blocks := 0, 0
	for _, err := range open(t, data, ReaderOptions{}).Blocks() {
		if blocks++; err != nil {
			failures++
		}
	}
	if failures != 1 || blocks < 4 {
		t.Fatalf("%d failures in %d blocks", failures, blocks)
	}
}
