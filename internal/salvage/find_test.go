package salvage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/ranges"
	"lsmdb/internal/vfs"
	"lsmdb/sstable"
)

const testIdentity = 0x1122334455667788

// writeTable writes a table of random entries, and returns the file and its blocks.
func writeTable(t testing.TB, rng *rand.Rand, entries, longest int, compression sstable.Compression, lengths ...int) (data []byte, blocks []sstable.BlockInfo) {
	t.Helper()
	mem := vfs.NewMem()
	f, err := mem.Create("table")
	if err != nil {
		t.Fatal(err)
	}
	w := sstable.NewWriter(f, "table", sstable.WriterOptions{Identity: testIdentity, Compression: compression, FilterBitsPerKey: rng.IntN(2) * 10, BlockBytes: 64 + rng.IntN(4096)})
	for i := range entries {
		value := make([]byte, rng.IntN(longest+1))
		for j := range value {
			value[j] = byte(rng.Uint32()) & 0x11 // that compresses
		}
		if err := w.Add(base.MakeInternalKey(fmt.Appendf(nil, "key%06d", i), base.Seq(i+1), base.KindSet), value); err != nil {
			t.Fatal(err)
		}
	}
	for i, length := range lengths { // more entries, with values so long
		if err := w.Add(base.MakeInternalKey(fmt.Appendf(nil, "later%06d", i), 1<<20, base.KindSet), make([]byte, length)); err != nil {
			t.Fatal(err)
		}
	}
	if rng.IntN(2) == 0 {
		w.AddRanges(ranges.Of([]byte("key"), []byte("kez"), 7))
	}
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	table, err := sstable.Open(mem, "table", sstable.ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	for info, err := range table.Blocks() {
		if err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, info)
	}
	data = make([]byte, table.Properties().SizeBytes)
	read, err := mem.Open("table")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := read.ReadAt(data, 0); err != nil {
		t.Fatal(err)
	}
	return data, blocks
}

// sourceOf is a file of these bytes.
func sourceOf(t testing.TB, data []byte) *source {
	t.Helper()
	f, err := vfs.NewMem().Create("file")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	return &source{File: f, sizeBytes: int64(len(data))}
}

// findAll finds the blocks of a table.
func findAll(t testing.TB, data []byte) (found []extent) {
	t.Helper()
	f := newFinder(sourceOf(t, data), testIdentity, int64(len(data)))
	for at := int64(0); ; {
		e, ok := f.next(at)
		if !ok {
			return found
		}
		if e.offset < at || e.length < trailerBytes || e.end() > int64(len(data)) {
			t.Fatalf("a block at %d of %d bytes, behind %d", e.offset, e.length, at)
		}
		found, at = append(found, e), e.end()
	}
}

// checkFound fails unless exactly the blocks were found of which no byte was changed.
func checkFound(t testing.TB, before, after []byte, blocks []sstable.BlockInfo) {
	t.Helper()
	var want []extent
	for _, b := range blocks {
		if e := (extent{b.Offset, b.SizeBytes}); e.end() <= int64(len(after)) && bytes.Equal(before[e.offset:e.end()], after[e.offset:e.end()]) {
			want = append(want, e)
		}
	}
	if found := findAll(t, after); !slices.Equal(found, want) {
		t.Errorf("found %v, want %v", found, want)
	}
}

// TestFind: whatever is damaged, blocks that are not are found, and nothing else is.
func TestFind(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		data, blocks := writeTable(t, rng, 1+rng.IntN(300), []int{0, 40, 3000}[rng.IntN(3)], sstable.Compression(rng.IntN(3)))
		checkFound(t, data, data, blocks)
		after := bytes.Clone(data)
		for range 1 + rng.IntN(4) {
			at := rng.IntN(len(after))
			for i := range min(len(after)-at, []int{1, 64, 4096}[rng.IntN(3)]) {
				after[at+i] = byte(rng.Uint32()) & byte(rng.IntN(2)*255)
			}
		}
		checkFound(t, data, after, blocks)
		checkFound(t, data, after[:rng.IntN(len(after))], blocks)
	}
}

// TestFindLong: a block may be longer than the window, or lie behind a damaged one.
func TestFindLong(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	data, blocks := writeTable(t, rng, 3, 0, sstable.CompressionNone, 100, windowBytes+5, reachBytes/2)
	checkFound(t, data, data, blocks)
	after := bytes.Clone(data)
	after[blocks[2].Offset] ^= 1 // before the shorter one
	checkFound(t, data, after, blocks)
	data, blocks = writeTable(t, rng, 1, 0, sstable.CompressionNone, 1<<20, 100, 1<<20)
	checkFound(t, data, data, blocks)
	for _, b := range blocks {
		after := bytes.Clone(data)
		after[b.Offset] ^= 1
		checkFound(t, data, after, blocks)
	}
}

// TestFindAcrossPieces puts the border of two pieces that are read around both ends of a block.
func TestFindAcrossPieces(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	data, blocks := writeTable(t, rng, 30, 20, sstable.CompressionNone)
	block := blocks[0]
	payload := data[:block.SizeBytes-trailerBytes]
	for shift := int64(-8); shift < block.SizeBytes+8; shift++ {
		if shift == 8 {
			shift = block.SizeBytes - 8
		}
		offset := int64(aheadBytes) - shift
		file := make([]byte, int64(aheadBytes)+block.SizeBytes+64)
		covered := append(bytes.Clone(payload), noCompression, byte(sstable.BlockData))
		copy(file[offset:], binary.LittleEndian.AppendUint32(covered, base.Checksum(placeSum(testIdentity, offset), covered)))
		f := newFinder(sourceOf(t, file), testIdentity, int64(len(file)))
		for _, from := range []int64{0, offset} {
			if e, ok := f.next(from); !ok || e != (extent{offset, block.SizeBytes}) {
				t.Fatalf("at %d, looked for from %d: %v, %v", offset, from, e, ok)
			}
		}
	}
}

// TestDatabaseOf undoes what makes an identity.
func TestDatabaseOf(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 1000 {
		id, number := rng.Uint64(), rng.Uint64N(1<<40)
		if got := databaseOf(sstable.Identity(id, number), number); got != id {
			t.Fatalf("%x became %x", id, got)
		}
	}
}

// FuzzFind damages a table at will. What is not damaged is found, and everything ends.
func FuzzFind(f *testing.F) {
	f.Add(uint64(1), uint16(100), uint16(40), []byte{0, 10, 1, 0, 200, 3})
	f.Add(uint64(2), uint16(20), uint16(3000), []byte{1, 1, 255, 2, 2, 255})
	f.Add(uint64(3), uint16(0), uint16(0), []byte(tableMagic))
	f.Fuzz(func(t *testing.T, seed uint64, entries, longest uint16, changes []byte) {
		rng := rand.New(rand.NewPCG(seed, 9))
		data, blocks := writeTable(t, rng, 1+int(entries%400), int(longest%4000), sstable.Compression(seed%3))
		after := bytes.Clone(data)
		for ; len(changes) >= 3; changes = changes[3:] {
			after[int(binary.BigEndian.Uint16(changes))%len(after)] ^= changes[2]
		}
		checkFound(t, data, after, blocks)
	})
}

// FuzzSource looks for blocks, and walks logs, in files that hold anything.
func FuzzSource(f *testing.F) {
	rng := rand.New(rand.NewPCG(10, 11))
	data, _ := writeTable(f, rng, 20, 50, sstable.CompressionSnappy)
	f.Add(data)
	f.Add([]byte("lsmdbsst"))
	f.Fuzz(func(t *testing.T, data []byte) {
		found := findAll(t, data)
		s := sourceOf(t, data)
		var e ending
		e.read(s)
		for _, x := range found {
			if b, err := readBlock(s, testIdentity, x); err != nil || !b.sound() {
				t.Errorf("%v was found, and holds %v", x, err)
			}
		}
		if _, _, err := walkLog(s, "000001.wal", 1, func(p piece) error {
			if p.record == nil && p.fault == "" {
				t.Errorf("a hole at %d without a reason", p.offset)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
}
