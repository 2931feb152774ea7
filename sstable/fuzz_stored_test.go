package sstable

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"github.com/golang/snappy"

	"lsmdb/internal/base"
)

// FuzzFooter decodes the end of a table, as it is and sealed. A footer that is
// accepted has one encoding and names a properties block inside the file.
func FuzzFooter(f *testing.F) {
	f.Add(footer{extent{100, 50}, 5}.appendTo(nil), int64(150))
	f.Add(footer{extent{0, math.MaxInt64}, 5}.appendTo(nil), int64(math.MaxInt64))
	f.Add(footer{extent{1, -1}, 5}.appendTo(nil), int64(0))
	f.Add(make([]byte, footerBytes), int64(32))
	f.Fuzz(func(t *testing.T, p []byte, offset int64) {
		if len(p) < footerBytes || offset < 0 {
			return
		}
		p = p[:footerBytes:footerBytes]
		sealed := slices.Concat(p[:footerCoveredBytes], []byte("sums"), []byte(tableMagic))
		crc := base.Checksum(placeChecksum(binary.LittleEndian.Uint64(p[8:]), offset), p[:footerCoveredBytes])
		binary.LittleEndian.PutUint32(sealed[footerCoveredBytes:], crc)
		for _, encoded := range [][]byte{p, sealed} {
			got, err := decodeFooter(encoded, offset)
			if err != nil {
				continue
			}
			if !bytes.Equal(got.appendTo(nil), encoded) || got.identity == 0 || got.properties.offset < 0 || got.properties.length < 0 || got.properties.end() != offset {
				t.Fatalf("%x at %d: %+v", encoded, offset, got)
			}
			if _, err := decodeFooter(encoded, offset+1); err == nil {
				t.Fatal("accepted at another place")
			}
		}
	})
}

// FuzzStoredBlock checks and decompresses a stored block, as it is and sealed. Only
// with the checksum of its place is one accepted, and it takes no more memory than the
// compression can have saved.
func FuzzStoredBlock(f *testing.F) {
	plain := bytes.Repeat([]byte("compressible "), 30)
	f.Add(snappy.Encode(nil, plain), uint8(BlockData), uint8(CompressionSnappy), int64(0))
	f.Add(plain, uint8(BlockIndex), uint8(CompressionNone), int64(1<<40))
	f.Add(CompressionZstd.compress(nil, plain), uint8(BlockData), uint8(CompressionZstd), int64(0))
	f.Add(CompressionZstd.compress(nil, make([]byte, 300<<10)), uint8(BlockIndex), uint8(CompressionZstd), int64(0))
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0xff, 0xff, 0xff, 0x1f, 0, 0, 0, 0, 1, 0, 0}, uint8(BlockData), uint8(CompressionZstd), int64(7))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f}, uint8(BlockData), uint8(CompressionSnappy), int64(7))
	f.Add([]byte{0x80, 0x80, 0x80, 0x80, 0x02, 0xfe, 0, 0}, uint8(BlockData), uint8(CompressionSnappy), int64(7))
	f.Add([]byte{}, uint8(BlockRangeDelete), uint8(9), int64(7))
	f.Fuzz(func(t *testing.T, stored []byte, kind, compression uint8, offset int64) {
		want := BlockType(kind)
		if payload, _, err := checkBlock(stored, want, testIdentity, offset); err == nil {
			again := appendBlock(nil, payload, want, Compression(stored[len(payload)]), testIdentity, offset)
			if !bytes.Equal(again, stored) {
				t.Fatal("accepted with another checksum than its own")
			}
		}
		sealed := appendBlock(nil, stored, want, Compression(compression), testIdentity, offset)
		payload, c, err := checkBlock(sealed, want, testIdentity, offset)
		if known := want.known() && Compression(compression) <= CompressionZstd; known != (err == nil) {
			t.Fatalf("%s, %s: %v", want, Compression(compression), err)
		}
		if err != nil {
			return
		}
		if !bytes.Equal(payload, stored) {
			t.Fatal("another payload")
		}
		for i := range []int{0, 1} {
			if _, _, err := checkBlock(sealed, want, testIdentity+uint64(i), offset+1-int64(i)); err == nil {
				t.Fatal("accepted at another place or for another table")
			}
		}
		if c == CompressionNone {
			return
		}
		maxExpansion := map[Compression]int{CompressionSnappy: maxSnappyExpansion, CompressionZstd: maxZstdExpansion}[c]
		out, err := c.decompress(nil, payload)
		if err == nil && len(out) > maxExpansion*len(payload) || cap(out) > maxExpansion*len(payload)+64 {
			t.Fatalf("%d bytes became %d, in memory %d", len(payload), len(out), cap(out))
		}
		if out, err = c.decompress(nil, c.compress(nil, stored)); err != nil || !bytes.Equal(out, stored) {
			t.Fatalf("a round trip: %v", err)
		}
	})
}
