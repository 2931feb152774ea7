package sstable

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"lsmdb/internal/base"
)

// listing reads the worked example of the format's page: lines of an offset and of
// bytes, each followed by at least two spaces or the end of the line.
func listing(t *testing.T, name string) []byte {
	page := string(must(os.ReadFile("../docs/format-table.md"))(t))
	_, page, _ = strings.Cut(page, "```hex "+name+"\n")
	page, _, found := strings.Cut(page, "```")
	if !found {
		t.Fatal("the page has no listing")
	}
	var data []byte
	line := regexp.MustCompile(`^([0-9a-f]{4})  ((?:[0-9a-f]{2} ?)+)(?:  .*)?$`)
	for text := range strings.Lines(page) {
		parts := line.FindStringSubmatch(strings.TrimRight(text, "\n"))
		if parts == nil {
			t.Fatalf("line %q", text)
		}
		if offset := must(strconv.ParseInt(parts[1], 16, 64))(t); offset != int64(len(data)) {
			t.Fatalf("line %q stands at %x", text, len(data))
		}
		data = append(data, must(hex.DecodeString(strings.ReplaceAll(parts[2], " ", "")))(t)...)
	}
	return data
}

func TestWorkedExample(t *testing.T) {
	items := model{set("apple", 2, "red"), tombstone("apple", 1), set("apricot", 3, "")}
	o := WriterOptions{Identity: Identity(1, 3), FilterBitsPerKey: 10}
	want, _ := write(t, items, o)
	page := listing(t, "small")
	if !bytes.Equal(page, want) {
		t.Fatalf("the page shows\n%s\nthe code writes\n%s", hex.Dump(page), hex.Dump(want))
	}
	table := open(t, page, ReaderOptions{Identity: o.Identity})
	scan(t, table.NewIterator(IteratorOptions{}), items)
	checkGet(t, table, items, base.AppendSearchKey(nil, []byte("apple"), 1))
	if err := table.Verify(nil); err != nil {
		t.Fatal(err)
	}
}

// TestWorkedExampleOfEverything is as TestWorkedExample, with all that came later.
func TestWorkedExampleOfEverything(t *testing.T) {
	items := model{merging("ape", 8, "x"), expiring("bee", 7, 1e9, "hum"), expiring("cow", 6, 1234567890123456789, strings.Repeat("m", 2048))}
	gone := deleted("ant bee 5", "bat dog 4")
	want, _ := writeRanges(t, items, gone, WriterOptions{Compression: CompressionSnappy, FilterBitsPerKey: -1})
	page := listing(t, "everything")
	if !bytes.Equal(page, want) {
		t.Fatalf("the page shows\n%s\nthe code writes\n%s", hex.Dump(page), hex.Dump(want))
	}
	table := open(t, page, ReaderOptions{})
	scan(t, table.NewIterator(IteratorOptions{}), items)
	scan(t, table.NewIterator(IteratorOptions{KeysOnly: true}), keysOf(items, 2048))
	if err := table.Verify(nil); err != nil || !bytes.Equal(table.Ranges().AppendTo(nil), gone.AppendTo(nil)) {
		t.Fatal(table.Ranges(), err)
	}
}

// TestNothingNewNothingChanged: a table of what the first version of the format knew is
// byte for byte as that wrote it. The checksums are of its tables.
func TestNothingNewNothingChanged(t *testing.T) {
	for compression, want := range map[Compression]uint32{CompressionNone: 0x2769d848, CompressionSnappy: 0x7e81224e} {
		data, _ := write(t, plainItems(), WriterOptions{FilterBitsPerKey: 10, Compression: compression})
		if got := crc32.ChecksumIEEE(data); got != want {
			t.Errorf("%s: %d bytes with checksum %08x, want %08x", compression, len(data), got, want)
		}
	}
}

// plainItems are what the first version of the format knew, with values that are not large.
func plainItems() (items []item) {
	for i := range 2000 {
		key := fmt.Sprintf("key/%04d", i/2)
		if i%7 == 0 {
			items = append(items, tombstone(key, base.Seq(i+1)))
		} else {
			items = append(items, set(key, base.Seq(i+1), strings.Repeat(key, i%200)))
		}
	}
	return sortItems(items)
}
