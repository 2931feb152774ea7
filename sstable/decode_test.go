package sstable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"lsmdb/internal/base"
)

func soundProperties(change func(*Properties)) string {
	p := new(Properties)
	p.count(base.MakeInternalKey([]byte("a"), 5, base.KindSet), nil, false)
	p.Largest, p.DataBlocks, p.IndexBytes, p.FilterBytes = p.Smallest, 1, 20, 72
	change(p)
	return string(p.appendTo(nil))
}

func TestPropertiesRefuse(t *testing.T) {
	const offset = 120
	with := soundProperties
	full := with(func(*Properties) {})
	for name, c := range map[string]struct{ payload, want string }{
		"sound":             {full, ""},
		"optional":          {full + "\x80\x01\x03new", ""},
		"empty":             {"", "end after property 0"},
		"cut":               {full[:35], "exceeds what remains"},
		"short":             {full[:20], "end after property 2"},
		"twice":             {full[:10] + full, "property 1: follows property 1"},
		"gap":               {full[:10] + full[20:], "property 3: follows property 1"},
		"last twice":        {full + full[len(full)-10:], "property 12: follows property 12"},
		"number":            {"\x01\x01\x00", "property 1: number of 1 bytes"},
		"tag":               {"\xff", "tag is malformed"},
		"length":            {"\x01\xff", "length of the property is malformed"},
		"new":               {full + "\x16\x00", "property 22: lsmdb: incompatible format: unknown table property"},
		"needless":          {full + "\x0d\x08" + strings.Repeat("\x00", 8), "property 13: 0, which is not told"},
		"not a number":      {full + "\x0d\x01\x01", "property 13: number of 1 bytes"},
		"order":             {with(func(p *Properties) { p.Merges = 1 }) + "\x0d\x08\x01\x00\x00\x00\x00\x00\x00\x00", "property 13: follows property 14"},
		"merges":            {with(func(p *Properties) { p.Merges = 1 }), ""},
		"too many merges":   {with(func(p *Properties) { p.Merges = 2 }), "2 merges"},
		"expiring":          {with(func(p *Properties) { p.Expiring, p.EarliestExpiry, p.LatestExpiry = 1, -1, -1 }), ""},
		"merges, expiring":  {with(func(p *Properties) { p.Expiring, p.EarliestExpiry, p.LatestExpiry = 1, -1, -1; p.Merges = 1 }), "1 merges, 1 expiring"},
		"two expiries":      {with(func(p *Properties) { p.Expiring, p.EarliestExpiry, p.LatestExpiry = 1, -1, -1; p.LatestExpiry = 5 }), "1 expiring, from -1 to 5"},
		"no expiry":         {with(func(p *Properties) { p.LatestExpiry = 5 }), "0 expiring, from 0 to 5"},
		"placeholder":       {with(func(p *Properties) { p.Placeholder = 1; p.Renumber(1) }), ""},
		"not in place":      {with(func(p *Properties) { p.Placeholder = 1 }), "number 5 in place of 1"},
		"not all in place":  {with(func(p *Properties) { p.Placeholder, p.SmallestSeq = 1, 1 }), "from 1 to 5 in place of 1"},
		"bound beyond":      {with(func(p *Properties) { p.LargestSeq = 4; p.SmallestSeq = 4 }), "lies outside the sequence numbers from 4 to 4"},
		"other placeholder": {with(func(p *Properties) { p.Placeholder = 2; p.Renumber(2) }), "in place of 2"},
		"large values":      {with(func(p *Properties) { p.LargeValues = 2 }), "2 large values"},
		"no range block":    {with(func(p *Properties) { p.RangeDeletes = 1 }), "range deletes of 0 bytes"},
		"range block":       {with(func(p *Properties) { p.RangeBytes = 20 }), "0 range deletes of 20 bytes"},
		"range short":       {with(func(p *Properties) { p.RangeDeletes, p.RangeBytes = 1, 5 }), "range deletes of 5 bytes"},
		"range below 0":     {with(func(p *Properties) { p.RangeDeletes, p.RangeBytes = 1, -50 }), "range deletes of -50 bytes"},
		"range too long":    {with(func(p *Properties) { p.RangeDeletes, p.RangeBytes = 1, offset-91 }), "range deletes of 29 bytes"},
		"end without range": {with(func(p *Properties) { p.Largest = base.MakeInternalKey([]byte("b"), base.MaxSeq, 3) }), "0 range deletes"},
		"bounds":            {with(func(p *Properties) { p.Smallest = base.MakeInternalKey([]byte("b"), 5, 1) }), "is after the largest"},
		"bounds kind":       {with(func(p *Properties) { p.Largest = base.MakeInternalKey([]byte("b"), 5, 6) }), "kind 6"},
		"bounds short":      {with(func(p *Properties) { p.Largest = []byte("x") }), "shorter than its trailer"},
		"sequence":          {with(func(p *Properties) { p.SmallestSeq = 9 }), "sequence numbers from 9 to 5"},
		"sequence too high": {with(func(p *Properties) { p.LargestSeq = base.MaxSeq + 1 }), "sequence numbers"},
		"deletes":           {with(func(p *Properties) { p.Deletes = 2 }), "2 deletes"},
		"shadowed":          {with(func(p *Properties) { p.Shadowed = 1 }), "1 shadowed"},
		"no blocks":         {with(func(p *Properties) { p.DataBlocks = 0 }), "in 0 blocks"},
		"too many blocks":   {with(func(p *Properties) { p.DataBlocks = 2 }), "in 2 blocks"},
		"entries":           {with(func(p *Properties) { p.Entries = 0 }), "without entries"},
		"no index":          {with(func(p *Properties) { p.IndexBytes = 0 }), "index of 0 bytes"},
		"index below 0":     {with(func(p *Properties) { p.IndexBytes = math.MinInt64 }), "index of -"},
		"index too long":    {with(func(p *Properties) { p.IndexBytes = offset + 1 }), "index of 121 bytes"},
		"filter too short":  {with(func(p *Properties) { p.FilterBytes = 5 }), "filter of 5 bytes"},
		"filter below 0":    {with(func(p *Properties) { p.FilterBytes = -7 }), "filter of -7 bytes"},
		"filter too long":   {with(func(p *Properties) { p.FilterBytes = offset - 19 }), "filter of 101 bytes"},
	} {
		p, err := decodeProperties([]byte(c.payload), offset)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err == nil && (p.DataBytes != offset-92 || p.Entries != 1) {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// TestPropertiesOfTheFuture seals a table with a property that this version does not
// know, once as one that changes the meaning and once as one that only informs.
func TestPropertiesOfTheFuture(t *testing.T) {
	data, _ := write(t, numbered(3), WriterOptions{FilterBitsPerKey: 10})
	at := parts(t, data)[BlockProperties]
	for field, want := range map[string]error{"\x16\x01x": base.ErrIncompatible, "\x80\x01\x01x": nil} {
		payload := append(bytes.Clone(data[at.offset:at.end()-blockTrailerBytes]), field...)
		sealed := appendBlock(bytes.Clone(data[:at.offset]), payload, BlockProperties, CompressionNone, testIdentity, at.offset)
		sealed = footer{extent{at.offset, int64(len(sealed)) - at.offset}, testIdentity}.appendTo(sealed)
		if err := exercise(t, sealed, ReaderOptions{}, numbered(3)); !errors.Is(err, want) {
			t.Errorf("%q: %v", field, err)
		}
	}
}

func TestIndexRefuses(t *testing.T) {
	length := func(n uint64) string { return string(binary.AppendUvarint(nil, n)) }
	separator := func(user string, seq base.Seq, value string) item {
		return item{base.MakeInternalKey([]byte(user), seq, 0), []byte(value)}
	}
	for name, c := range map[string]struct {
		payload []byte
		dataEnd int64
		want    string
	}{
		"sound":             {payloadOf(separator("a", 0, length(6)), separator("b", 9, length(300)), separator("b", 8, length(7))), 313, ""},
		"no blocks":         {payloadOf(), 0, ""},
		"empty":             {nil, 0, "no restart points"},
		"restarts":          {[]byte("\xff\xff\xff\xff"), 0, "claims 4294967295"},
		"large":             {payloadOf(set("a", 3, length(60)+length(2048)), expiring("b", 2, 7, length(40)+length(9000))), 100, ""},
		"large tombstone":   {payloadOf(item{tombstone("a", 3).key, []byte(length(60) + length(2048))}), 60, "malformed"},
		"large, cut":        {payloadOf(set("a", 3, length(60)+"\x80")), 60, "malformed"},
		"large, more":       {payloadOf(set("a", 3, length(60)+length(2048)+"\x00")), 60, "malformed"},
		"larger than any":   {payloadOf(set("a", 3, length(60)+length(maxValueBytes+1))), 60, "is out of range"},
		"large, only ends":  {payloadOf(expiring("b", 2, 7, length(6000))), 6000, "malformed"},
		"too short to end":  {payloadOf(expiring("b", 2, 7, length(60)+length(7))), 60, "set-expiring with a value of 7 bytes"},
		"large of a range":  {payloadOf(item{base.MakeInternalKey([]byte("a"), 1, base.KindRangeDelete), []byte(length(60) + length(2048))}), 60, "range-delete with a value"},
		"large of a kind":   {payloadOf(item{base.MakeInternalKey([]byte("a"), 1, 77), []byte(length(60) + length(2048))}), 60, "unknown operation kind"},
		"no length":         {payloadOf(separator("a", 0, "")), 6, "entry 0: the length"},
		"cut length":        {payloadOf(separator("a", 0, "\x86")), 6, "entry 0: the length"},
		"more than length":  {payloadOf(separator("a", 0, "\x06\x00")), 6, "entry 0: the length"},
		"too long":          {payloadOf(separator("a", 0, length(6)), separator("b", 0, length(7))), 12, "exceeds the 6 bytes"},
		"longer than int64": {payloadOf(separator("a", 0, length(math.MaxUint64))), 12, "exceeds the 12 bytes"},
		"too short":         {payloadOf(separator("a", 0, length(5))), 5, "entry 0: the length"},
		"data left":         {payloadOf(separator("a", 0, length(6))), 7, "covers 6 of 7"},
		"data without":      {payloadOf(), 7, "covers 0 of 7"},
		"order":             {payloadOf(separator("b", 0, length(6)), separator("a", 0, length(6))), 12, "entry 1: its separator"},
		"equal":             {payloadOf(separator("b", 0, length(6)), separator("b", 0, length(6))), 12, "entry 1: its separator"},
		"newer":             {payloadOf(separator("b", 1, length(6)), separator("b", 2, length(6))), 12, "entry 1: its separator"},
	} {
		x, err := decodeIndex(c.payload, c.dataEnd)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err == nil && x.extent(0, x.count()-1).end() != c.dataEnd {
			t.Errorf("%s: %+v", name, x.offsets)
		}
	}
}

func TestBlockRefuses(t *testing.T) {
	long := binary.AppendUvarint([]byte{0}, base.MaxKeyBytes+1)
	for name, c := range map[string]struct {
		payload []byte
		want    string
	}{
		"sound":              {restarts(entries(someItems(2)), 0), ""},
		"empty":              {nil, "no restart points"},
		"count":              {[]byte("\x02\x00\x00\x00"), "claims 2"},
		"no entries":         {restarts(nil), "without entries"},
		"no entries, count":  {restarts(nil, 0), "restart point at 0"},
		"restart 32 bits":    {restarts(entries(someItems(2)), 0, math.MaxUint32), "restart point at 4294967295"},
		"header cut":         {restarts([]byte("\x00\x01"), 0), "at 0 of its block is malformed"},
		"field endless":      {restarts([]byte("\x00\x00\xff\xff"), 0), "at 0 of its block is malformed"},
		"value beyond":       {restarts(append([]byte{0, 1, 2}, "a12345678v"...), 0), "at 0 of its block is malformed"},
		"key beyond":         {restarts(append([]byte{0, 9, 0}, "a12345678"...), 0), "at 0 of its block is malformed"},
		"key too long":       {restarts(append(append(long, 0), make([]byte, 70_000)...), 0), "at 0 of its block is malformed"},
		"value too long":     {restarts([]byte("\x00\x00\xff\xff\xff\xff\x0f12345678"), 0), "at 0 of its block is malformed"},
		"lengths overflow":   {restarts([]byte("\x00\x00\xf8\xff\xff\xff\xff\xff\xff\xff\xff\x0112345678"), 0), "at 0 of its block is malformed"},
		"shares with nobody": {restarts([]byte("\x01\x00\x0012345678"), 0), "at 0 of its block is malformed"},
		"shares too much":    {restarts(append(entries(someItems(1)), "\x03\x00\x0012345678"...), 0), "at 14 of its block is malformed"},
		"kind":               {restarts([]byte("\x00\x00\x00\x0612345678"), 0), "unknown operation kind (kind 6)"},
	} {
		err := new(block).decode(c.payload, BlockData)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if err := new(block).decode(restarts([]byte("\x00\x00\x01\x0212345678"), 0), BlockIndex); err != nil {
		t.Errorf("an index has trailers that are no operation's: %v", err)
	}
}

// TestKeyGrowsBeyondTheLimit shares a long prefix and adds to it: each length is
// legal, their sum is not.
func TestKeyGrowsBeyondTheLimit(t *testing.T) {
	p := binary.AppendUvarint([]byte{0}, 60_000)
	p = append(append(p, 0), set(strings.Repeat("x", 60_000), 1, "").key...)
	p = binary.AppendUvarint(binary.AppendUvarint(p, 60_000), 6_000)
	p = append(append(p, 0), set(strings.Repeat("x", 6_000), 1, "").key...)
	if err := new(block).decode(restarts(p, 0), BlockData); err == nil || !strings.Contains(err.Error(), "malformed") {
		t.Fatal(err)
	}
}

func TestFilterRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		payload []byte
		want    string
	}{
		"sound":    {append(make([]byte, 128), 1, 16), ""},
		"empty":    {nil, "whole lines"},
		"no lines": {[]byte{1, 6}, "whole lines"},
		"part":     {append(make([]byte, 65), 1, 6), "whole lines"},
		"kind":     {append(make([]byte, 64), 2, 6), "unknown filter kind (2)"},
		"none":     {append(make([]byte, 64), 1, 0), "0 probes"},
		"many":     {append(make([]byte, 64), 1, 17), "17 probes"},
	} {
		if _, err := decodeFilter(c.payload); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestHugeFilterStaysReadable asks for more bits than a block may hold.
func TestHugeFilterStaysReadable(t *testing.T) {
	for _, c := range []struct{ keys, bits, want uint64 }{
		{0, 10, 1}, {51, 10, 1}, {52, 10, 2}, {50_000_000, 64, 6_250_000}, {1 << 40, 10, maxFilterLines},
	} {
		if got := filterLines(c.keys, c.bits); got != c.want || got*filterLineBytes+filterTrailerBytes > maxPayloadBytes {
			t.Errorf("%d keys of %d bits: %d lines, want %d", c.keys, c.bits, got, c.want)
		}
	}
}

// TestFooterRefuses seals footers that claim what cannot be, among them lengths that
// no memory could hold.
func TestFooterRefuses(t *testing.T) {
	const offset = 1000
	good := func(length int64, identity uint64) []byte {
		return footer{extent{offset - length, length}, identity}.appendTo(nil)
	}
	noMagic := good(100, 5)
	noMagic[footerBytes-1]++
	for name, c := range map[string]struct {
		p    []byte
		want string
	}{
		"sound":       {good(100, 5), ""},
		"all":         {good(offset, 5), ""},
		"magic":       {noMagic, "no magic"},
		"too long":    {good(offset+1, 5), "properties of 1001 bytes"},
		"below 0":     {good(-1, 5), "properties of 18446744073709551615 bytes"},
		"no identity": {good(100, 0), "identity 0000000000000000"},
		"elsewhere":   {footer{extent{0, offset - 1}, 5}.appendTo(nil), "checksum"},
	} {
		f, err := decodeFooter(c.p, offset)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err == nil && (f.properties.end() != offset || f.identity != 5) {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// sparseFile is a huge file of zeros with some bytes at its end.
type sparseFile struct {
	bytesFile
	sizeBytes int64
}

func (f sparseFile) Size() (int64, error) { return f.sizeBytes, nil }

func (f sparseFile) ReadAt(p []byte, offset int64) (int, error) {
	clear(p)
	end := f.sizeBytes - int64(len(f.data))
	if offset >= end {
		return f.bytesFile.ReadAt(p, offset-end)
	}
	if zeros := end - offset; zeros < int64(len(p)) {
		n, err := f.bytesFile.ReadAt(p[zeros:], 0)
		return n + int(zeros), err
	}
	return len(p), nil
}

// TestHugeClaimsAllocateNothing opens files so large that a length may fit them and
// still be more than memory.
func TestHugeClaimsAllocateNothing(t *testing.T) {
	const sizeBytes = 1 << 60
	seal := func(p Properties) []byte {
		payload := p.appendTo(nil)
		total := int64(len(payload) + blockTrailerBytes + footerBytes)
		data := appendBlock(nil, payload, BlockProperties, CompressionNone, 5, sizeBytes-total)
		return footer{extent{sizeBytes - total, total - footerBytes}, 5}.appendTo(data)
	}
	for name, data := range map[string][]byte{
		"properties": footer{extent{0, sizeBytes - footerBytes}, 5}.appendTo(nil),
		"index":      seal(Properties{IndexBytes: 1 << 59}),
	} {
		_, err := openOn(sparseFile{bytesFile{data: data}, sizeBytes}, "t.sst", ReaderOptions{})
		if !errors.Is(err, base.ErrCorrupt) || !strings.Contains(err.Error(), "longer than any") {
			t.Errorf("%s: %v", name, err)
		}
	}
	small, _ := smallTable(t)
	table := open(t, small, ReaderOptions{})
	table.properties.FilterBytes = 1 << 59
	if _, err := table.readFilter(); !errors.Is(err, base.ErrCorrupt) || !strings.Contains(err.Error(), "longer than any") {
		t.Error(err)
	}
}

func TestHeadsSortAsKeysDo(t *testing.T) {
	items := randomItems(rand.New(rand.NewPCG(8, 8)), 3000)
	for i := range len(items) - 1 {
		a, b := items[i].key, items[i+1].key
		if a.Head() > b.Head() {
			t.Fatalf("%s has head %x, %s has %x", a, a.Head(), b, b.Head())
		}
	}
	for user, want := range map[string]uint64{"": 0, "a": 0x61 << 56, "abcdefg": 0x6162636465666700, "abcdefgh": 0x6162636465666768, "abcdefghi": 0x6162636465666768} {
		if got := base.MakeInternalKey([]byte(user), base.MaxSeq, 255).Head(); got != want {
			t.Errorf("%q: %x", user, got)
		}
	}
}

// TestFindAroundThePrefix searches a block whose keys share a prefix for keys that lie
// before it, in it, and behind it.
func TestFindAroundThePrefix(t *testing.T) {
	items := model{set("mmm", 9, "0"), set("mmm", 3, "1"), set("mmmx", 5, "2"), set("mmmx\x00", 5, "3"), tombstone("mmmxxxxxxxxxx", 5), set("mmmxxxxxxxxxy", 5, "5")}
	b := new(block)
	if err := b.decode(payloadOf(items...), BlockData); err != nil || b.prefix != 3 {
		t.Fatal(err, b.prefix)
	}
	for _, user := range []string{"", "a", "m", "mm", "mml", "mlx", "aamx", "mmm", "mmm\x00", "mmmx", "mmmx\x00", "mmmx\x00\x00", "mmmxxxxxxxxxx", "mmmxxxxxxxxxw", "mmmxxxxxxxxxy", "mmmxxxxxxxxxyz", "mmn", "mn", "z", "zzzx"} {
		for seq := base.Seq(0); seq < 12; seq++ {
			search := base.AppendSearchKey(nil, []byte(user), seq)
			if got, want := b.find(search), items.atOrAfter(search); got != want {
				t.Errorf("%s: %d, want %d", search, got, want)
			}
			value, trailer, found := b.get(search)
			want, wantFound := items.get(search)
			if found != wantFound || found && (trailer != want.key.Trailer() || !bytes.Equal(value, want.value)) {
				t.Errorf("%s: %q %v, want %s %v", search, value, found, want.key, wantFound)
			}
		}
	}
}

// TestDecodingReusesMemory decodes blocks of all sizes into one, which must not show
// anything of the blocks before.
func TestDecodingReusesMemory(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	b := new(block)
	for range 200 {
		items := randomItems(rng, 1+rng.IntN(60))
		if err := b.decode(payloadOf(items...), BlockData); err != nil || b.count() != len(items) {
			t.Fatal(err, b.count(), len(items))
		}
		for i, it := range items {
			if !bytes.Equal(b.appendKey(nil, i), it.key) || !bytes.Equal(b.value(i), it.value) {
				t.Fatalf("entry %d of %d", i, len(items))
			}
		}
		before := fmt.Sprint(b.data, b.table)
		if b.decode([]byte{9, 9, 9, 9, 9}, BlockData) == nil || fmt.Sprint(b.data, b.table) != before {
			t.Fatal("a payload that was refused left traces")
		}
	}
}

func TestMemoryOfABlock(t *testing.T) {
	b := new(block)
	if err := b.decode(payloadOf(set("a", 1, strings.Repeat("x", 5000)), set("ab", 1, "")), BlockData); err != nil {
		t.Fatal(err)
	}
	// data: the prefix a, then 0+8+5000 and 1+8+0 bytes; table: two heads, three places
	if got, want := b.memoryBytes(), int64(1+5008+9+5*8+256); got != want {
		t.Fatalf("%d bytes, want %d", got, want)
	}
}
