package sstable

import (
	"bytes"
	"encoding/binary"
	"testing"

	"lsmdb/internal/base"
)

// FuzzBlock reads a data block made of anything, in every way.
func FuzzBlock(f *testing.F) {
	var b blockBuilder
	items := sortItems([]item{set("", 3, "empty"), set("abc", 9, "x"), set("abc", 5, "y"), tombstone("abd", 1), set("b", 1, "z")})
	for i, it := range items {
		shared := 0
		if i > 0 {
			shared = commonPrefix(items[i-1].key.UserKey(), it.key.UserKey())
		}
		b.add(it.key, it.value, shared)
	}
	f.Add(b.finish(), []byte("abc"), uint64(6))
	f.Add([]byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}, []byte{}, uint64(0))
	f.Fuzz(func(t *testing.T, payload, user []byte, seq uint64) {
		b := new(block)
		if len(user) > base.MaxKeyBytes || b.init(payload) != nil {
			return
		}
		search := base.AppendSearchKey(nil, user, base.Seq(seq)&base.MaxSeq)
		value, trailer, found, err := b.get(search)
		if found && (err != nil || !trailer.Kind().Known() || len(value) > len(payload)) {
			t.Fatal(found, err, trailer)
		}
		var c cursor
		c.reset(b)
		forward, backward := 0, 0
		for ok := c.first(); ok; ok = c.next() {
			forward++
		}
		c.reset(b)
		for ok := c.last(); ok; ok = c.prev() {
			backward++
		}
		if forward > len(payload) || backward > len(payload) {
			t.Fatalf("%d forward, %d backward in %d bytes", forward, backward, len(payload))
		}
		c.reset(b)
		if c.seekGE(search) && base.Compare(c.key, search) < 0 {
			t.Fatal("seekGE went too short")
		}
		c.next()
		c.prev()
		c.reset(b)
		if c.seekLT(search) && base.Compare(c.key, search) >= 0 {
			t.Fatal("seekLT went too far")
		}
	})
}

// FuzzIndex searches an index made of anything.
func FuzzIndex(f *testing.F) {
	p := binary.LittleEndian.AppendUint32(nil, 2)
	p = appendIndexEntry(p, []byte("key1"), 0, 100)
	p = appendIndexEntry(p, []byte("key2"), 0, 50)
	f.Add(p, int64(150), []byte("key15"))
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
		if i < x.count() && x.before(i, search) || i > 0 && !x.before(i-1, search) {
			t.Fatalf("%q is not in block %d", user, i)
		}
	})
}

// FuzzFilter asks a filter made of anything, and one that was built.
func FuzzFilter(f *testing.F) {
	f.Add(buildFilter([]uint64{1, 2, 3}, 10), uint64(1), 10)
	f.Fuzz(func(t *testing.T, payload []byte, hash uint64, bitsPerKey int) {
		if x, err := decodeFilter(payload); err == nil {
			x.mayContain(hash)
		}
		if bitsPerKey < 1 {
			return
		}
		x, err := decodeFilter(buildFilter([]uint64{hash, hash * 3, ^hash}, bitsPerKey))
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
	f.Add(p.appendTo(nil))
	f.Fuzz(func(t *testing.T, payload []byte) {
		p, err := decodeProperties(payload)
		if err != nil {
			return
		}
		again, err := decodeProperties(p.appendTo(nil))
		if err != nil || !bytes.Equal(again.appendTo(nil), p.appendTo(nil)) {
			t.Fatal(err)
		}
	})
}

// FuzzOpen opens a file made of anything and, in a second file, a sound table whose
// last bytes, footer and directory, are replaced and sealed.
func FuzzOpen(f *testing.F) {
	data, _ := smallTable(f)
	f.Add(data, []byte{})
	f.Add(data[:100], data[len(data)-footerBytes:])
	f.Fuzz(func(t *testing.T, content, directory []byte) {
		exercise(t, content, ReaderOptions{}, nil)
		const identity = 3
		at := int64(len(content))
		sealed := appendBlock(bytes.Clone(content), directory, BlockDirectory, CompressionNone, identity, at)
		end := int64(len(sealed))
		sealed = footer{directory: extent{at, end - at}, identity: identity}.appendTo(sealed, end)
		exercise(t, sealed, ReaderOptions{}, nil)
	})
}
