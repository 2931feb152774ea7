package wal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lsmdb/internal/base"
)

// piece is a chunk that a test forges, with a checksum that holds.
type piece struct {
	t       ChunkType
	payload string // as in the file, durable mark included
}

// forge builds a log of arbitrary chunks, each behind the one before it.
func forge(pieces ...piece) []byte {
	var data []byte
	binding := newBinding(testSegment)
	for _, p := range pieces {
		at := int(chunkStart(int64(len(data))))
		data = append(data, make([]byte, at+chunkHeaderBytes-len(data))...)
		data = append(data, p.payload...)
		binding.seal(data[at:], p.t, int64(at))
	}
	return data
}

func headerPiece(version uint32) piece {
	p := binary.LittleEndian.AppendUint32(nil, version)
	return piece{TypeHeader, string(append(p, make([]byte, 16)...))}
}

// What verifies and yet makes no sense was not left by a crash: it is an error even
// at the end of the log.
func TestSenselessChunks(t *testing.T) {
	header := headerPiece(1)
	toEnd := func(used int) string { return strings.Repeat("\x00", 32768-used-7) }
	for name, tt := range map[string]struct {
		pieces []piece
		want   error
		at     int64
	}{
		"unknown type":             {[]piece{header, {9, "x"}}, base.ErrIncompatible, -1},
		"unknown type in a record": {[]piece{header, {TypeFirst, toEnd(27)}, {7, "x"}}, base.ErrIncompatible, -1},
		"unknown first chunk":      {[]piece{{200, "x"}}, base.ErrIncompatible, -1},
		"newer version":            {[]piece{headerPiece(2)}, base.ErrIncompatible, -1},
		"newer, longer header":     {[]piece{{TypeHeader, "\x02\x00\x00\x00" + strings.Repeat("x", 99)}}, base.ErrIncompatible, -1},
		"version 0":                {[]piece{headerPiece(0)}, base.ErrCorrupt, 0},
		"header too short":         {[]piece{{TypeHeader, "\x01\x00"}}, base.ErrCorrupt, 0},
		"header too long":          {[]piece{{TypeHeader, header.payload + "x"}}, base.ErrCorrupt, 0},
		"previous end negative":    {[]piece{{TypeHeader, header.payload[:12] + "\xff\xff\xff\xff\xff\xff\xff\xff"}}, base.ErrCorrupt, 0},
		"no header":                {[]piece{{TypeFull, "\x00x"}}, base.ErrCorrupt, 0},
		"second header":            {[]piece{header, header}, base.ErrCorrupt, 27},
		"middle without first":     {[]piece{header, {TypeMiddle, "x"}}, base.ErrCorrupt, 27},
		"last without first":       {[]piece{header, {TypeLast, "x"}}, base.ErrCorrupt, 27},
		"full inside a record":     {[]piece{header, {TypeFirst, toEnd(27)}, {TypeFull, "\x00x"}}, base.ErrCorrupt, 32768},
		"end inside a record":      {[]piece{header, {TypeFirst, toEnd(27)}, {TypeEnd, ""}}, base.ErrCorrupt, 32768},
		"short first":              {[]piece{header, {TypeFirst, "\x00x"}}, base.ErrCorrupt, 27},
		"short middle":             {[]piece{header, {TypeFirst, toEnd(27)}, {TypeMiddle, "x"}}, base.ErrCorrupt, 32768},
		"empty last":               {[]piece{header, {TypeFirst, toEnd(27)}, {TypeLast, ""}}, base.ErrCorrupt, 32768},
		"no mark":                  {[]piece{header, {TypeFull, ""}}, base.ErrCorrupt, 27},
		"endless mark":             {[]piece{header, {TypeFull, "\xff\xff"}}, base.ErrCorrupt, 27},
		"mark overflows":           {[]piece{header, {TypeFull, strings.Repeat("\xff", 10) + "\x01"}}, base.ErrCorrupt, 27},
		"mark before the log":      {[]piece{header, {TypeFull, "\x01"}}, base.ErrCorrupt, 27},
		"mark goes back":           {[]piece{header, {TypeFull, "\x00"}, {TypeFull, "\x00"}, {TypeFull, "\x09"}}, base.ErrCorrupt, 43},
		"mark beyond the record":   {[]piece{header, {TypeFull, toEnd(27)[16:]}, {TypeFull, "\x00"}}, base.ErrCorrupt, 32768},
		"mark inside a record":     {[]piece{header, {TypeFull, "\x00"}, {TypeFull, "\x01"}}, nil, -1},
		"end with payload":         {[]piece{header, {TypeEnd, "x"}}, base.ErrCorrupt, 27},
		"record after the end":     {[]piece{header, {TypeEnd, ""}, {TypeFull, "\x00"}}, base.ErrCorrupt, 34},
	} {
		o := readLog(forge(tt.pieces...))
		if !errors.Is(o.err, tt.want) || damageOffset(o.err) != tt.at {
			t.Errorf("%s: error %v, want %v at %d", name, o.err, tt.want, tt.at)
		}
		if o.err != nil && !strings.Contains(o.err.Error(), testName) {
			t.Errorf("%s: the error does not name the file: %v", name, o.err)
		}
	}
}

func TestEmptyLogs(t *testing.T) {
	header := forge(piece{TypeHeader, "\x01\x00\x00\x00" + strings.Repeat("\x03", 16)})
	half := slices.Concat(header[:13], make([]byte, 5000))
	for name, tt := range map[string]struct {
		data []byte
		end  End
	}{
		"no bytes":            {nil, End{}},
		"one zero":            {[]byte{0}, End{}},
		"preallocated":        {make([]byte, 100_000), End{}},
		"half a header":       {header[:13], End{TornBytes: 13}},
		"half, then zeros":    {half, End{TornBytes: 13}},
		"header of all but 1": {header[:26], End{TornBytes: 26}},
	} {
		o := readLog(tt.data)
		if o.err != nil || !o.empty || o.end != tt.end {
			t.Errorf("%s: %+v", name, o)
		}
		r, err := Open(&memoryFile{data: tt.data}, testName, testSegment)
		mustDo(t, err)
		for range 2 {
			if _, _, err := r.Next(); err != io.EOF {
				t.Errorf("%s: Next gave %v", name, err)
			}
		}
	}
}

// A log under another number, as after a swap of files, is damage, not an empty log.
func TestWrongSegment(t *testing.T) {
	m := buildModel(t, 10, "sync")
	if o := readSegment(m.data, testSegment+1); damageOffset(o.err) != 0 {
		t.Errorf("read under another number: %+v", o)
	}
}

func TestErrorsAreFinal(t *testing.T) {
	m := buildModel(t, 10, "sync", 20, "sync")
	m.data[40] ^= 1
	f := &memoryFile{data: m.data}
	r, err := Open(f, testName, testSegment)
	mustDo(t, err)
	_, _, first := r.Next()
	m.data[40] ^= 1
	if _, _, again := r.Next(); first == nil || again != first {
		t.Errorf("first %v, then %v", first, again)
	}
}

func TestReadErrorsAreNotTheEnd(t *testing.T) {
	m := buildModel(t, 100, "sync", 70_000, 20, "sync", 5)
	f := &memoryFile{data: m.data}
	r, err := Open(f, testName, testSegment)
	mustDo(t, err)
	_, _, err = r.Next()
	mustDo(t, err)
	f.readErr = errBroken
	if _, _, err := r.Next(); !errors.Is(err, errBroken) || errors.Is(err, base.ErrCorrupt) {
		t.Errorf("Next on a broken disk: %v", err)
	}
	if _, err := Open(f, testName, testSegment); !errors.Is(err, errBroken) {
		t.Errorf("Open on a broken disk: %v", err)
	}
	f.readErr = nil
	r, err = Open(f, testName, testSegment)
	mustDo(t, err)
	f.data = f.data[:20_000] // shrinks while it is read
	_, _, err = r.Next()
	mustDo(t, err)
	if _, _, err := r.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Next on a file that shrinks: %v", err)
	}
}

func TestOffsetsOfRecords(t *testing.T) {
	m := buildModel(t, 10, 40_000, 0, 20)
	var want []int64
	for _, c := range m.chunks {
		if c.opens {
			want = append(want, c.from)
		}
	}
	if o := readLog(m.data); !slices.Equal(o.offsets, want) {
		t.Errorf("offsets %d, want %d", o.offsets, want)
	}
}

// A length field in a damaged file must not make the reader allocate.
func TestReaderMemoryFollowsTheFile(t *testing.T) {
	data := slices.Clone(buildModel(t, 10).data[:200])
	n := testing.AllocsPerRun(100, func() { readLog(data) })
	if n > 20 {
		t.Errorf("%v allocations to read a tiny log", n)
	}
	r, err := Open(&memoryFile{data: data}, testName, testSegment)
	mustDo(t, err)
	if cap(r.source.buffer) > len(data) {
		t.Errorf("a buffer of %d bytes for a file of %d", cap(r.source.buffer), len(data))
	}
}

// walked is a walk in short: one line per chunk.
func walked(data []byte) (chunks []Chunk, errs []error) {
	for c, err := range Chunks(&memoryFile{data: data}, testName, testSegment) {
		c.Payload = slices.Clone(c.Payload)
		chunks, errs = append(chunks, c), append(errs, err)
	}
	return chunks, errs
}

func TestChunksOfAnIntactLog(t *testing.T) {
	eachLog(t, func(t *testing.T, m *model) {
		chunks, errs := walked(m.data)
		if !m.sealed {
			last := chunks[len(chunks)-1]
			if last.Type != TypeZero || last.end() != int64(len(m.data)) {
				t.Errorf("the walk ends with %s up to %d", last.Type, last.end())
			}
			chunks = chunks[:len(chunks)-1]
		}
		if len(chunks) != len(m.chunks) {
			t.Fatalf("%d chunks, want %d", len(chunks), len(m.chunks))
		}
		for i, c := range chunks {
			want := m.chunks[i]
			if c.Offset != want.from || c.end() != want.to || errs[i] != nil {
				t.Errorf("chunk %d from %d to %d, want %d to %d, error %v", i, c.Offset, c.end(), want.from, want.to, errs[i])
			}
			if want.opens && c.Durable != want.durable {
				t.Errorf("chunk %d durable %d, want %d", i, c.Durable, want.durable)
			}
		}
	})
}

// The walk passes over damage and shows every intact chunk, and it covers the file.
func TestChunksOfADamagedLog(t *testing.T) {
	eachLog(t, func(t *testing.T, m *model) {
		for seed := range uint64(40) {
			data := mutilate(m.data, seed)
			chunks, errs := walked(data)
			at, seen := int64(0), map[int64]bool{}
			for i, c := range chunks {
				if c.Offset != at {
					t.Fatalf("seed %d: chunk at %d, want %d", seed, c.Offset, at)
				}
				if errs[i] != nil && damageOffset(errs[i]) != c.Offset {
					t.Fatalf("seed %d: %v for the stretch at %d", seed, errs[i], c.Offset)
				}
				at = chunkStart(c.end())
				seen[c.Offset] = errs[i] == nil && c.Type != TypeZero
			}
			if at < int64(len(data)) {
				t.Fatalf("seed %d: the walk ends at %d of %d", seed, at, len(data))
			}
			for _, c := range m.chunks {
				intact := c.to <= int64(len(data)) && bytes.Equal(data[c.from:c.to], m.data[c.from:c.to])
				if intact != seen[c.from] {
					t.Fatalf("seed %d: chunk at %d intact %t, shown %t", seed, c.from, intact, seen[c.from])
				}
			}
		}
	})
}

func TestChunksStops(t *testing.T) {
	m := buildModel(t, 10, 20)
	count := 0
	for range Chunks(&memoryFile{data: m.data}, testName, testSegment) {
		if count++; count == 2 {
			break
		}
	}
	if count != 2 {
		t.Errorf("%d steps", count)
	}
	for c, err := range Chunks(&memoryFile{data: m.data, readErr: errBroken}, testName, testSegment) {
		if !errors.Is(err, errBroken) || c.LengthBytes != 0 {
			t.Errorf("broken disk: %+v, %v", c, err)
		}
	}
}

func TestChunkTypeNames(t *testing.T) {
	var names []string
	for i := range ChunkType(8) {
		names = append(names, i.String())
	}
	if got := strings.Join(names, " "); got != "zero full first middle last header end type 7" {
		t.Error(got)
	}
}

// The worst that a search through a damaged block can meet: bytes that look like
// the start of a record everywhere.
func BenchmarkSearchHostileBlock(b *testing.B) {
	f := &memoryFile{}
	w := mustWriter(b, f)
	mustDo(b, w.Append(bytes.Repeat([]byte{0x01, 0x3f}, 16_000)))
	f.data[30] ^= 1
	b.SetBytes(BlockBytes)
	for b.Loop() {
		readLog(f.data)
	}
}

func BenchmarkNext(b *testing.B) {
	f := &memoryFile{}
	w := mustWriter(b, f)
	record := noise(1, 140)
	for w.Offset() < 16<<20 {
		mustDo(b, w.Append(record))
	}
	r, err := Open(f, testName, testSegment)
	mustDo(b, err)
	b.SetBytes(140)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := r.Next(); err != nil {
			r, err = Open(f, testName, testSegment)
			mustDo(b, err)
		}
	}
}

const formatPage = "../docs/format-wal.md"

// exampleLog writes the log that the format page shows.
func exampleLog(t *testing.T) []byte {
	f := &memoryFile{}
	w, err := NewWriter(f, testName, 7, Previous{Segment: 5, End: 1234})
	mustDo(t, err)
	header := base.GroupHeader{First: 41, Count: 2}.AppendTo(nil)
	mustDo(t, w.Append(header, base.AppendOp(nil, base.KindSet, []byte("k1"), []byte("v"), 0), base.AppendOp(nil, base.KindDelete, []byte("k0"), nil, 0)))
	mustDo(t, w.Append(base.GroupHeader{First: 43, Count: 1}.AppendTo(nil), base.AppendOp(nil, base.KindSet, nil, nil, 0)))
	_, err = w.Finish()
	mustDo(t, err)
	return f.data
}

// pageExample collects the bytes of the page's hex block and checks the offset at
// the start of each line: "offset  bytes  what they are".
func pageExample(t *testing.T) []byte {
	page, err := os.ReadFile(formatPage)
	mustDo(t, err)
	_, block, found := strings.Cut(strings.ReplaceAll(string(page), "\r\n", "\n"), "```hex\n")
	block, _, closed := strings.Cut(block, "```")
	if !found || !closed {
		t.Fatalf("%s has no hex block", formatPage)
	}
	line := regexp.MustCompile(`^ ?([0-9]+)  ((?:[0-9a-f]{2} )+) *\S.*$`)
	var data []byte
	for l := range strings.Lines(block) {
		field := line.FindStringSubmatch(strings.TrimSuffix(l, "\n"))
		if field == nil {
			t.Fatalf("malformed line in the example: %q", l)
		}
		if offset, err := strconv.Atoi(field[1]); err != nil || offset != len(data) {
			t.Errorf("line %q stands at offset %d", l, len(data))
		}
		b, err := hex.DecodeString(strings.ReplaceAll(field[2], " ", ""))
		mustDo(t, err)
		data = append(data, b...)
	}
	return data
}

func TestFormatPageExampleIsWhatIsWritten(t *testing.T) {
	page, written := pageExample(t), exampleLog(t)
	if !bytes.Equal(page, written) {
		t.Errorf("the page shows\n%swritten is\n%s", hex.Dump(page), hex.Dump(written))
	}
}

func TestFormatPageExampleReads(t *testing.T) {
	page := pageExample(t)
	o := readSegment(page, 7)
	if o.err != nil || len(o.records) != 2 || o.end != (End{Offset: int64(len(page)), Sealed: true}) {
		t.Fatalf("%d records, end %+v, error %v", len(o.records), o.end, o.err)
	}
	group, ops, err := base.DecodeGroup(o.records[0])
	mustDo(t, err)
	set, ops, err := base.DecodeOp(ops)
	mustDo(t, err)
	remove, ops, err := base.DecodeOp(ops)
	mustDo(t, err)
	if group.First != 41 || group.Count != 2 || len(ops) != 0 || string(set.Key)+"="+string(set.Value) != "k1=v" ||
		remove.Kind != base.KindDelete || string(remove.Key) != "k0" {
		t.Errorf("group %+v, %+v, %+v, then %x", group, set, remove, ops)
	}
	r, err := Open(&memoryFile{data: page}, testName, 7)
	mustDo(t, err)
	if r.Previous() != (Previous{Segment: 5, End: 1234}) {
		t.Errorf("previous %+v", r.Previous())
	}
}
