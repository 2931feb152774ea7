package sstable

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"lsmdb/internal/base"
)

// payloadOf builds the payload of a block.
func payloadOf(items ...item) []byte {
	var b blockBuilder
	for i, it := range items {
		shared := 0
		if i > 0 {
			shared = base.CommonPrefix(items[i-1].key.UserKey(), it.key.UserKey())
		}
		b.add(it.key, it.value, shared)
	}
	return b.finish()
}

// referenceItems decodes a payload that was accepted the plain way: one key after the
// other, each from the one before.
func referenceItems(payload []byte) (items []item) {
	restarts := 4 * (1 + int(binary.LittleEndian.Uint32(payload[len(payload)-4:])))
	var user []byte
	for p := payload[:len(payload)-restarts]; len(p) > 0; {
		var fields [3]int
		for i := range fields {
			n, width := binary.Uvarint(p)
			fields[i], p = int(n), p[width:]
		}
		user = append(user[:fields[0]:fields[0]], p[:fields[1]]...)
		p = p[fields[1]:]
		key := append(bytes.Clone(user), p[:base.TrailerBytes]...)
		value := p[base.TrailerBytes : base.TrailerBytes+fields[2]]
		items, p = append(items, item{key, value}), p[base.TrailerBytes+fields[2]:]
	}
	return items
}

// malformedBlocks are shapes that made readers of such blocks in other stores read out
// of range or take all memory (leveldb 1318, rocksdb 14993): more restart points than
// the block has room for, points behind it, lengths of all ones and beyond 64 bits,
// sums of lengths that wrap around, prefixes of a key that is not there.
var malformedBlocks = []string{
	"", "\xff", "\xff\xff\xff\xff", "\x00\x00\x00\x40", "\x01\x00\x00\x40\x00\x00\x00\x00",
	"\x00\x01\x00a\x01\x01\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\x01\x00\x00\x00",
	"\x00\xff\xff\xff\xff\x0f\x00a\x00\x00\x00\x00\x01\x00\x00\x00",
	"\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01a\x00\x00\x00\x00\x01\x00\x00\x00",
	"\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x00\x00\x00\x01\x00\x00\x00",
	"\xff\xff\xff\xff\x0f\xf8\xff\xff\xff\xff\xff\xff\xff\xff\x01\x08\x00\x00\x00\x00\x01\x00\x00\x00",
	"\x05\x00\x00\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00",
}

// FuzzBlock decodes a data block made of anything. Where it is accepted, its entries
// are those that a plain decoder finds; where they are sorted, searches find what a
// model finds.
func FuzzBlock(f *testing.F) {
	f.Add(payloadOf(set("", 3, "empty"), set("abc", 9, "x"), set("abc", 5, "y"), tombstone("abd", 1), set("b", 1, "z")), []byte("abc"), uint64(6))
	f.Add(payloadOf(numbered(40)...), []byte("000017"), uint64(1))
	f.Add(payloadOf(set("shared/1", 3, ""), set("shared/2345678910", 3, "")), []byte("shared"), uint64(1))
	f.Add([]byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}, []byte{}, uint64(0))
	for _, p := range malformedBlocks {
		f.Add([]byte(p), []byte("a"), uint64(1))
	}
	f.Fuzz(func(t *testing.T, payload, user []byte, seq uint64) {
		b := new(block)
		if len(user) > base.MaxKeyBytes || b.decode(payload, BlockData) != nil {
			return
		}
		m := model(referenceItems(payload))
		if b.count() != len(m) || len(m) == 0 {
			t.Fatalf("%d entries of %d", b.count(), len(m))
		}
		for i, it := range m {
			if key := b.appendKey(nil, i); !bytes.Equal(key, it.key) || !bytes.Equal(b.value(i), it.value) {
				t.Fatalf("entry %d is %s, should be %s", i, key, it.key)
			}
		}
		search := base.AppendSearchKey(nil, user, base.Seq(seq)&base.MaxSeq)
		found := b.find(search)
		value, trailer, ok := b.get(search)
		if !slices.IsSortedFunc(m, func(a, b item) int { return base.Compare(a.key, b.key) }) {
			return
		}
		want, wantOK := m.get(search)
		if found != m.atOrAfter(search) || ok != wantOK || ok && (trailer != want.key.Trailer() || !bytes.Equal(value, want.value)) {
			t.Fatalf("%s: entry %d, %v", search, found, ok)
		}
	})
}

// FuzzIndex searches an index made of anything.
func FuzzIndex(f *testing.F) {
	f.Add(payloadOf(set("key1", 0, "\x64"), set("key2", 0, "\x32")), int64(150), []byte("key15"))
	f.Add(payloadOf(set("key1", 0, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")), int64(150), []byte{})
	f.Add(payloadOf(set("key1", 0, "\x64"), set("key2", 0, "\xff\xff\xff\xff\xff\xff\xff\xff\x7f")), int64(1<<62), []byte{})
	f.Add(payloadOf(set("key1", 5, "\x64\x80\x20"), expiring("key2", 4, -1, "\x32\x80\x20")), int64(150), []byte("key15"))
	for _, p := range malformedBlocks {
		f.Add([]byte(p), int64(100), []byte("a"))
	}
	f.Fuzz(func(t *testing.T, payload []byte, dataEnd int64, user []byte) {
		if dataEnd < 0 || len(user) > base.MaxKeyBytes {
			return
		}
		x, err := decodeIndex(payload, dataEnd)
		if err != nil {
			return
		}
		search := base.AppendSearchKey(nil, user, base.MaxSeq)
		i := x.find(search)
		separator := func(i int) base.InternalKey { return x.separators.appendKey(nil, i) }
		if i < x.count() && base.Compare(separator(i), search) < 0 || i > 0 && base.Compare(separator(i-1), search) >= 0 {
			t.Fatalf("%q is not in block %d", user, i)
		}
		if e := x.extent(0, x.count()-1); e.offset != 0 || e.end() != dataEnd {
			t.Fatalf("%+v", e)
		}
		for i := range x.count() {
			valueBytes, large := x.large(i)
			if !large {
				continue
			}
			var b block
			x.stub(i, &b)
			if key := b.appendKey(nil, 0); b.count() != 1 || !bytes.Equal(key, separator(i)) || len(b.value(0)) > valueBytes || (len(b.value(0)) == 8) != (key.Kind() == base.KindSetExpiring) {
				t.Fatalf("block %d: %s, %d bytes of %d", i, key, len(b.value(0)), valueBytes)
			}
		}
	})
}

// FuzzFilter asks a filter made of anything, and one that was built.
func FuzzFilter(f *testing.F) {
	f.Add(buildFilter([][]uint64{{1, 2, 3}}, 10), uint64(1), 10)
	f.Add([]byte{1, 6}, uint64(0), 1)
	f.Add(append(make([]byte, 64), 1, 255), ^uint64(0), 64)
	f.Add(append(make([]byte, 65), 1, 6), uint64(1)<<63, 1<<30)
	f.Fuzz(func(t *testing.T, payload []byte, hash uint64, bitsPerKey int) {
		if x, err := decodeFilter(payload); err == nil {
			x.mayContain(hash)
		}
		if bitsPerKey < 1 {
			return
		}
		x, err := decodeFilter(buildFilter([][]uint64{{hash, hash * 3, ^hash}}, bitsPerKey))
		if err != nil || !x.mayContain(hash) || !x.mayContain(hash*3) || !x.mayContain(^hash) {
			t.Fatal("a key is missing", err)
		}
	})
}

// FuzzProperties decodes properties made of anything; what is accepted says the same
// when it is written again.
func FuzzProperties(f *testing.F) {
	p := Properties{}
	p.count(base.MakeInternalKey([]byte("a"), 5, base.KindSet), []byte("x"), false)
	p.Largest, p.DataBlocks = p.Smallest, 1
	p.IndexBytes = 20
	f.Add(p.appendTo(nil), int64(80))
	f.Add([]byte("\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), int64(1)<<62)
	p.count(expiring("b", 6, 1, "").key, make([]byte, 8), false)
	p.countRanges(deleted("b c 3"))
	p.RangeBytes, p.LargeValues = 10, 1
	f.Add(p.appendTo(nil), int64(80))
	p.IndexBytes, p.FilterBytes = 1<<62, -1<<62
	f.Add(p.appendTo(nil), int64(1)<<62)
	f.Fuzz(func(t *testing.T, payload []byte, offset int64) {
		if offset < 0 {
			return
		}
		p, err := decodeProperties(payload, offset)
		if err != nil {
			return
		}
		if p.DataBytes < 0 || p.IndexBytes < 0 || p.FilterBytes < 0 || p.DataBytes+p.IndexBytes+p.FilterBytes+p.RangeBytes != offset || p.RangeBytes < 0 {
			t.Fatalf("%+v", p)
		}
		again, err := decodeProperties(p.appendTo(nil), offset)
		if err != nil || !bytes.Equal(again.appendTo(nil), p.appendTo(nil)) {
			t.Fatal(err)
		}
	})
}

// FuzzOpen opens a file made of anything and, in a second file, one whose last bytes,
// properties and footer, are sealed.
func FuzzOpen(f *testing.F) {
	data, _ := smallTable(f)
	at := parts(f, data)[BlockProperties]
	f.Add(data, []byte{})
	f.Add(data[:at.offset], data[at.offset:at.end()-blockTrailerBytes])
	data, _ = richTable(f)
	at = parts(f, data)[BlockProperties]
	f.Add(data[:at.offset], data[at.offset:at.end()-blockTrailerBytes])
	f.Fuzz(func(t *testing.T, content, properties []byte) {
		exercise(t, content, ReaderOptions{}, nil)
		at := int64(len(content))
		sealed := appendBlock(bytes.Clone(content), properties, BlockProperties, CompressionNone, testIdentity, at)
		sealed = footer{properties: extent{at, int64(len(sealed)) - at}, identity: testIdentity}.appendTo(sealed)
		exercise(t, sealed, ReaderOptions{}, nil)
	})
}
