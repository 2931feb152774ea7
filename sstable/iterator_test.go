package sstable

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"lsmdb/internal/base"
)

// scriptedFile notes every read as offset+length, and fails those that touch a part of
// the file.
type scriptedFile struct {
	bytesFile
	reads    []extent
	badFrom  int64
	badUntil int64
	badError error
}

func (f *scriptedFile) ReadAt(p []byte, offset int64) (int, error) {
	f.reads = append(f.reads, extent{offset, int64(len(p))})
	if offset < f.badUntil && offset+int64(len(p)) > f.badFrom {
		return 0, f.badError
	}
	return f.bytesFile.ReadAt(p, offset)
}

// scripted opens a table of n blocks with one entry each, named as numbered does.
func scripted(t *testing.T, n int, o ReaderOptions) (*Table, *scriptedFile) {
	data, _ := write(t, numbered(n), WriterOptions{BlockBytes: 1000})
	f := &scriptedFile{bytesFile: bytesFile{data: data}}
	table := must(openOn(f, "t.sst", o))(t)
	f.reads = nil
	return table, f
}

// breakBlock lets reads of block i fail from now on.
func (f *scriptedFile) breakBlock(table *Table, i int, err error) {
	e := table.index.extent(i, i)
	f.badFrom, f.badUntil, f.badError = e.offset, e.end(), err
}

func numberedKey(i int) base.InternalKey {
	return base.AppendSearchKey(nil, fmt.Appendf(nil, "%06d", i), base.MaxSeq)
}

// script moves an iterator by a list of words and tells after each where it stands.
func script(it base.Iterator, words string) string {
	var told []string
	for word := range strings.FieldsSeq(words) {
		var number int
		move, rest, _ := strings.Cut(word, ":")
		fmt.Sscan(rest, &number)
		ok := map[string]func() bool{
			"first": it.First, "last": it.Last, "next": it.Next, "prev": it.Prev,
			"ge": func() bool { return it.SeekGE(numberedKey(number)) },
			"lt": func() bool { return it.SeekLT(numberedKey(number)) },
		}[move]()
		switch {
		case ok != it.Valid():
			told = append(told, "INVALID")
		case ok:
			told = append(told, strings.TrimLeft(string(it.Key().UserKey()[:6]), "0")+".")
		case it.Err() == nil:
			told = append(told, "end")
		case errors.Is(it.Err(), base.ErrCorrupt):
			told = append(told, "corrupt")
		default:
			told = append(told, it.Err().Error())
		}
	}
	return strings.Join(told, " ")
}

var iteratorModes = map[string]IteratorOptions{
	"filling":           {},
	"filling ahead":     {ReadAheadBytes: 1 << 20},
	"not filling":       {NoCacheFill: true},
	"not filling ahead": {NoCacheFill: true, ReadAheadBytes: 1 << 20},
}

// TestIteratorMeetsDamage goes over a block that cannot be read, or not be decoded, in
// every way. The blocks around it must show, the damage each time it is met, and
// nothing may be left of it once the file is sound again.
func TestIteratorMeetsDamage(t *testing.T) {
	const words = "ge:3 next next next prev ge:6 prev prev next first lt:5 lt:6 lt:7 next next last ge:4 next ge:5 ge:4 prev next next ge:4"
	const broken = "3. 4. corrupt corrupt corrupt 6. corrupt corrupt corrupt . corrupt corrupt 6. 7. 8. 9. 4. corrupt corrupt 4. 3. 4. corrupt 4."
	const sound = "3. 4. 5. 6. 5. 6. 5. 4. 5. . 4. 5. 6. 7. 8. 9. 4. 5. 5. 4. 3. 4. 5. 4."
	for mode, o := range iteratorModes {
		for _, damage := range []string{"unreadable", "checksum", "entries"} {
			for _, cached := range []bool{true, false} {
				var ro ReaderOptions
				if cached {
					ro.Cache = NewCache(1 << 20)
				}
				table, f := scripted(t, 10, ro)
				whole := f.data
				e := table.index.extent(5, 5)
				switch damage {
				case "unreadable":
					f.breakBlock(table, 5, base.Corruptf("device", 0, "unreadable"))
				case "checksum":
					f.data = bytes.Clone(whole)
					f.data[e.offset+20] ^= 1
				case "entries":
					f.data = reseal(whole, e, func(p []byte) { p[0] = 9 })
				}
				it := table.NewIterator(o)
				if got := script(it, words); got != broken {
					t.Errorf("%s, %s, cache %v:\ngot  %s\nwant %s", mode, damage, cached, got, broken)
				}
				f.data, f.badUntil = whole, 0
				if got := script(it, words); got != sound {
					t.Errorf("%s, %s, cache %v, then sound:\ngot  %s\nwant %s", mode, damage, cached, got, sound)
				}
			}
		}
	}
}

// TestIteratorAtTheEnds moves off both ends: from there only First, Last and seeks lead
// back.
func TestIteratorAtTheEnds(t *testing.T) {
	table, _ := scripted(t, 10, ReaderOptions{})
	for mode, o := range iteratorModes {
		for words, want := range map[string]string{
			"next prev":                "end end",
			"last next prev next":      "9. end end end",
			"first prev next prev":     ". end end end",
			"ge:10 prev lt:10 next":    "end end 9. end",
			"lt:0 next ge:0 prev":      "end end . end",
			"last next last prev":      "9. end 9. 8.",
			"first prev first next":    ". end . 1.",
			"ge:9 next lt:1 prev":      "9. end . end",
			"lt:99999 ge:99999 ge:3":   "9. end 3.",
			"first first last last":    ". . 9. 9.",
			"ge:4 lt:4 ge:4 next lt:4": "4. 3. 4. 5. 3.",
		} {
			if got := script(table.NewIterator(o), words); got != want {
				t.Errorf("%s: %s: got %s, want %s", mode, words, got, want)
			}
		}
	}
}

// TestReadAheadGrows checks which parts of the file are read: single blocks while it is
// not clear that they are read in order, then runs that double up to the limit.
func TestReadAheadGrows(t *testing.T) {
	table, f := scripted(t, 300, ReaderOptions{})
	blockBytes := table.index.extent(0, 0).length
	if table.index.extent(0, 299).length != 300*blockBytes {
		t.Fatal("blocks differ in length")
	}
	blocks := func() (runs []int64) { // lengths of the reads in blocks
		for _, e := range f.reads {
			if e.offset%blockBytes != 0 || e.length%blockBytes != 0 {
				t.Fatalf("a read of %d bytes at %d", e.length, e.offset)
			}
			runs = append(runs, e.length/blockBytes)
		}
		f.reads = nil
		return runs
	}
	first := firstReadAheadBytes / blockBytes // blocks in the first run
	for _, c := range []struct {
		readAhead int
		words     string
		want      []int64
	}{
		{0, "first next next", []int64{1, 1, 1}},
		{1 << 20, "first", []int64{1}},
		{1 << 20, "first next next prev prev", []int64{1, first, 1}}, // the buffer held blocks 1 to 17
		{1 << 20, "last prev prev", []int64{1, 1, 1}},
		{1 << 20, "ge:50 next ge:200 next ge:51 next", []int64{1, first, 1, first, 1, first}},
		{1 << 20, "first" + strings.Repeat(" next", int(3*first)), []int64{1, first, 2 * firstReadAheadBytes / blockBytes}},
		{20_000, "first" + strings.Repeat(" next", 60), []int64{1, first, 20_000 / blockBytes, 20_000 / blockBytes, 20_000 / blockBytes}},
		{-5, "first next", []int64{1, 1}},
	} {
		it := table.NewIterator(IteratorOptions{NoCacheFill: true, ReadAheadBytes: c.readAhead})
		script(it, c.words)
		if got := blocks(); !slices.Equal(got, c.want) {
			t.Errorf("%d, %.40s: reads of %d blocks, want %d", c.readAhead, c.words, got, c.want)
		}
	}
}

// TestReadAheadAfterAnError fails one long read: the block alone is read in its place,
// and reading ahead starts over when the next run is due.
func TestReadAheadAfterAnError(t *testing.T) {
	table, f := scripted(t, 100, ReaderOptions{})
	f.breakBlock(table, 10, errInjected)
	it := table.NewIterator(IteratorOptions{NoCacheFill: true, ReadAheadBytes: 1 << 20})
	for i := range 10 {
		if want := fmt.Sprintf("%06d", i); i == 0 && !it.First() || i > 0 && !it.Next() || string(it.Key().UserKey()) != want {
			t.Fatalf("entry %s: %v", want, it.Err())
		}
	}
	if it.Next() || !errors.Is(it.Err(), errInjected) || damaged(it.Err()) || it.Valid() {
		t.Fatal(it.Err())
	}
	f.badUntil = 0
	if got := script(it, "ge:10 next next"); got != "10. 11. 12." {
		t.Fatal(got)
	}
}

// TestLongBuffersAreGivenBack reads a very long value between short ones.
func TestLongBuffersAreGivenBack(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 1<<18)
	items := []item{set("a", 1, "x"), set("b", 1, long), set("c", 1, "y")}
	for _, c := range []Compression{CompressionNone, CompressionSnappy} {
		data, _ := write(t, items, WriterOptions{Compression: c})
		table := open(t, data, ReaderOptions{})
		it := table.NewIterator(IteratorOptions{NoCacheFill: true})
		scan(t, it, items)
		if n := cap(it.reader.stored) + cap(it.reader.decoded) + cap(it.own.data); n > 3*maxReusedBytes {
			t.Errorf("%s: an iterator keeps %d bytes", c, n)
		}
		it.SeekGE(items[1].key)
		kept := it.Value()
		table.NewIterator(IteratorOptions{}).Last()
		it.Last()
		if string(kept) != long { // not promised, but what a buffer used twice would break first
			t.Errorf("%s: the long value changed", c)
		}
		r := &blockReader{}
		if err := r.read(table, 1, new(block)); err != nil || cap(r.stored) < 1000 {
			t.Fatal(err, cap(r.stored))
		}
		r.release()
		if n := cap(r.stored) + cap(r.decoded); n > 2*maxReusedBytes || len(r.stored) != 0 {
			t.Errorf("%s: a released reader keeps %d bytes", c, n)
		}
	}
}

// TestLongValueIsNotCopied decodes a block of one long value in place, and copies where
// the payload will be overwritten.
func TestLongValueIsNotCopied(t *testing.T) {
	for _, c := range []struct {
		valueBytes, entries int
		inPlace             bool
	}{{maxReusedBytes - 100, 1, false}, {maxReusedBytes, 1, true}, {maxReusedBytes, 2, false}} {
		items := []item{set("key", 7, strings.Repeat("v", c.valueBytes)), set("kez", 7, "w")}[:c.entries]
		payload := payloadOf(items...)
		b := new(block)
		if err := b.decode(payload, BlockData); err != nil {
			t.Fatal(err)
		}
		for i, it := range items {
			if !bytes.Equal(b.appendKey(nil, i), it.key) || !bytes.Equal(b.value(i), it.value) || b.find(it.key) != i {
				t.Fatalf("%+v: entry %d is wrong", c, i)
			}
		}
		before := b.value(0)[5]
		payload[100]++
		payload[14+5]++ // head of 1+1+3 bytes, key of 3, trailer of 8: within the value either way
		if (bytes.IndexByte(b.value(0), before+1) >= 0) != c.inPlace {
			t.Errorf("%+v: in place is %v", c, !c.inPlace)
		}
	}
}

// TestClosedIterator shows what is left when iterator and table are closed.
func TestClosedIterator(t *testing.T) {
	table, _ := scripted(t, 10, ReaderOptions{})
	it := table.NewIterator(IteratorOptions{NoCacheFill: true})
	if it.Key() != nil || it.Valid() || it.Next() || it.Prev() || it.Err() != nil {
		t.Fatal("an iterator that never moved shows something")
	}
	it.SeekGE(numberedKey(4))
	key, value := it.Key(), it.Value()
	if err := it.Close(); err != nil || it.Close() != nil {
		t.Fatal(err)
	}
	if it.Next() || it.Prev() || it.Valid() || string(key.UserKey()) != "000004" || len(value) != 900 {
		t.Fatal("a closed iterator moves, or what it showed went")
	}
	for name, move := range map[string]func() bool{
		"first": it.First, "last": it.Last,
		"ge": func() bool { return it.SeekGE(key) }, "lt": func() bool { return it.SeekLT(key) },
	} {
		if move() || !errors.Is(it.Err(), base.ErrClosed) {
			t.Errorf("%s: %v", name, it.Err())
		}
	}
	open := table.NewIterator(IteratorOptions{})
	open.First()
	table.Close()
	if open.Next() || !errors.Is(open.Err(), base.ErrClosed) || open.First() || !errors.Is(open.Close(), base.ErrClosed) {
		t.Fatalf("an iterator of a closed table: %v", open.Err())
	}
}

// TestIteratorBounds reads no block that a bound and the index exclude, in whichever
// direction the walk comes to it, and shows everything in between.
func TestIteratorBounds(t *testing.T) {
	table, f := scripted(t, 30, ReaderOptions{})
	at := func(s string) []byte { return []byte(s) }
	for _, c := range []struct {
		lower, upper []byte
		words, want  string
		reads        int
	}{
		{nil, nil, "ge:17 next next next", "17. 18. 19. 20.", 4},
		{nil, at("00002"), "ge:17 next next next", "17. 18. 19. end", 3},
		{nil, at("00002"), "last prev", "19. 18.", 2},
		{nil, at("00002"), "ge:25 lt:25 ge:19 next lt:20", "end 19. 19. end 19.", 1},
		{at("0000100"), nil, "first prev next", "11. end end", 1},
		{at("000012"), nil, "lt:14 prev prev", "13. 12. end", 3},
		{at("000012"), nil, "ge:3 lt:3 first", "12. end 12.", 1},
		{at("000012"), at("000014"), "first next next last prev prev", "12. 13. 14. 14. 13. 12.", 5},
		{at("00001"), at("00002"), "last next first", "19. end 9.", 2},
		{at("5"), nil, "first", "end", 0},
		{nil, at("5"), "last", "29.", 1},
	} {
		f.reads = nil
		it := table.NewIterator(IteratorOptions{Lower: c.lower, Upper: c.upper})
		if got := script(it, c.words); got != c.want || len(f.reads) != c.reads {
			t.Errorf("%q to %q, %s: %s with %d reads, want %s with %d", c.lower, c.upper, c.words, got, len(f.reads), c.want, c.reads)
		}
	}
}
