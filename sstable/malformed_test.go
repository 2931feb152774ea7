package sstable

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"lsmdb/internal/base"
)

// tableOf makes a table whose only data block has that payload, which no Writer would
// produce.
func tableOf(t *testing.T, payload []byte, items []item) []byte {
	t.Helper()
	f := file(t, nil)
	w := NewWriter(f, "t.sst", WriterOptions{Identity: testIdentity})
	w.store([]finishedBlock{{payload: payload, separator: base.MakeInternalKey([]byte("zzz"), 0, 0)}})
	for _, it := range items {
		w.properties.count(it.key, it.value, false)
	}
	w.properties.DataBlocks = 1
	if w.writeTail(); w.err != nil {
		t.Fatal(w.err)
	}
	data := make([]byte, w.offset)
	if _, err := f.ReadAt(data, 0); err != nil {
		t.Fatal(err)
	}
	return data
}

// entries encodes items without shared prefixes and without restart points.
func entries(items []item) (p []byte) {
	for _, it := range items {
		p = append(p, 0, byte(len(it.key)-base.TrailerBytes), byte(len(it.value)))
		p = append(append(p, it.key...), it.value...)
	}
	return p
}

func restarts(p []byte, at ...uint32) []byte {
	for _, r := range append(at, uint32(len(at))) {
		p = binary.LittleEndian.AppendUint32(p, r)
	}
	return p
}

func someItems(n int) (items []item) {
	for i := range n {
		items = append(items, set(fmt.Sprintf("%02d", i), 1, "v"))
	}
	return items
}

func TestVerifyFindsMisplacedRestarts(t *testing.T) {
	const entryBytes = 3 + 2 + base.TrailerBytes + 1
	for name, c := range map[string]struct {
		items int
		at    []uint32
		want  string
	}{
		"sound":                  {16, []uint32{0}, ""},
		"sound, two":             {17, []uint32{0, 16 * entryBytes}, ""},
		"long run":               {17, []uint32{0}, "more than 16 entries"},
		"long second run":        {20, []uint32{0, entryBytes}, "more than 16 entries"},
		"within an entry":        {3, []uint32{0, entryBytes + 1}, "restart point at 15 is not"},
		"behind the entries":     {3, []uint32{0, 3 * entryBytes}, "restart point at 42 is not"},
		"not ascending":          {3, []uint32{0, entryBytes, entryBytes}, "restart point at 14 is not"},
		"first entry is none":    {3, []uint32{entryBytes}, "at 0 of the block"},
		"none":                   {3, nil, "at 0 of the block"},
		"within the first entry": {3, []uint32{0, 2, entryBytes}, "restart point at 2 is not"},
	} {
		items := someItems(c.items)
		err := exercise(t, tableOf(t, restarts(entries(items), c.at...), items), ReaderOptions{}, nil)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestVerifyFindsSharingRestart(t *testing.T) {
	items := []item{set("aa", 1, ""), set("ab", 1, "")}
	p := entries(items[:1])
	second := uint32(len(p))
	p = append(p, 1, 1, 0)
	p = append(p, items[1].key[1:]...)
	sound := restarts(p, 0)
	if err := exercise(t, tableOf(t, sound, items), ReaderOptions{}, nil); err != nil {
		t.Fatal(err)
	}
	err := exercise(t, tableOf(t, restarts(p, 0, second), items), ReaderOptions{}, nil)
	if err == nil || !strings.Contains(err.Error(), "restart point but shares 1 bytes") {
		t.Fatal(err)
	}
}

// TestDecodedMemoryIsBounded opens a small block that claims a run of very many long
// keys, and one whose keys are all within the limits but too long together.
func TestDecodedMemoryIsBounded(t *testing.T) {
	long := set(strings.Repeat("x", 60_000), 1, "")
	p := []byte{0}
	p = binary.AppendUvarint(p, 60_000)
	p = append(append(p, 0), long.key...)
	for range 10_000 {
		p = binary.AppendUvarint(p, 60_000)
		p = append(append(p, 0, 0), long.key[60_000:]...)
	}
	var b block
	if err := b.decode(restarts(p, 0), BlockData); err == nil || b.data != nil {
		t.Fatalf("%v, %d bytes of keys", err, cap(b.data))
	}
	p = nil
	var at []uint32
	for run := range 700 { // each of 16 keys, of which only the first byte is shared by all runs
		at = append(at, uint32(len(p)))
		p = append(binary.AppendUvarint(append(p, 0), 60_000), 0)
		p = append(append(p, byte(run)), long.key[1:]...)
		for range 15 {
			p = append(binary.AppendUvarint(p, 60_000), 0, 0)
			p = append(p, long.key[60_000:]...)
		}
	}
	if err := b.decode(restarts(p, at...), BlockData); err == nil || !strings.Contains(err.Error(), "block holds entries") || b.data != nil {
		t.Fatalf("%v, %d bytes of keys", err, cap(b.data))
	}
}

func TestVerifyFindsOverlappingSeparator(t *testing.T) {
	data, p := write(t, []item{set("a", 1, "xxxxxxxxxx"), set("b", 1, "yyyyyyyyyy"), set("c", 1, "z")}, WriterOptions{BlockBytes: 60})
	if p.DataBlocks != 2 {
		t.Fatalf("%+v", p)
	}
	data = reseal(data, parts(t, data)[BlockIndex], func(p []byte) { p[3] = 'b' })
	if err := exercise(t, data, ReaderOptions{}, nil); err == nil || !strings.Contains(err.Error(), "between the separators") {
		t.Fatal(err)
	}
}

// TestReadAheadSurvivesDamageBehind reads ahead into a part of the file that cannot be
// read: the blocks before it are shown all the same, then the error, and a seek to
// sound blocks works again.
func TestReadAheadSurvivesDamageBehind(t *testing.T) {
	data, _ := write(t, numbered(20), WriterOptions{BlockBytes: 1000})
	table := open(t, data, ReaderOptions{})
	table.handle.file.Load().File = bytesFile{data: data[:table.index.offsets[10]]}
	it := table.NewIterator(IteratorOptions{NoCacheFill: true, ReadAheadBytes: 1 << 20})
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	if n != 10 || !errors.Is(it.Err(), base.ErrCorrupt) || it.Next() || it.Prev() {
		t.Fatalf("%d entries, %v", n, it.Err())
	}
	if !it.SeekLT(base.AppendSearchKey(nil, []byte("000009"), 1)) || string(it.Key().UserKey()) != "000008" || it.Err() != nil {
		t.Fatal(it.Err())
	}
}

// brokenFile fails every read with an error of the device.
type brokenFile struct{ bytesFile }

func (brokenFile) ReadAt([]byte, int64) (int, error) { return 0, io.ErrNoProgress }

func TestDeviceErrorIsNoCorruption(t *testing.T) {
	_, err := openOn(brokenFile{bytesFile{data: make([]byte, 100)}}, "t.sst", ReaderOptions{})
	if !errors.Is(err, io.ErrNoProgress) || damaged(err) || !strings.Contains(err.Error(), "t.sst") {
		t.Fatal(err)
	}
}

func TestFilterHoldsEachKeyOnce(t *testing.T) {
	var items []item
	for seq := base.Seq(1000); seq > 0; seq-- {
		items = append(items, set("same", seq, ""))
	}
	_, p := write(t, items, WriterOptions{FilterBitsPerKey: 10})
	if p.FilterBytes != filterLineBytes+filterTrailerBytes+blockTrailerBytes {
		t.Fatalf("filter of %d bytes for one key", p.FilterBytes)
	}
}

func TestWriterGivesLargeBuffersBack(t *testing.T) {
	w := NewWriter(file(t, nil), "t.sst", WriterOptions{Identity: 1, Compression: CompressionSnappy})
	for i := range 3 {
		if err := w.Add(set(fmt.Sprint(i), 1, "").key, make([]byte, 20<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Add(set("a", 1, "").key, nil); err != nil {
		t.Fatal(err)
	}
	if n := cap(w.block.buffer) + cap(w.encoded) + cap(w.unwritten); n > 10<<20 {
		t.Fatalf("%d bytes kept", n)
	}
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
}
