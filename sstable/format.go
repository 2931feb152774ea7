// Package sstable writes and reads tables: immutable files of sorted entries.
//
// A table is written once, front to back, by one Writer, and is read by any
// number of goroutines through one Table, usually by way of a Handle that opens
// it on first use. Its bytes never change after Finish, which is why readers
// share decoded blocks without locks and may keep values as long as they like.
//
// Every byte of a file is covered by a checksum that is bound to the table's
// identity and to the place of the bytes in it. What is read is what was written
// there, or the read fails: with a *base.CorruptionError that names file and
// offset, or with base.ErrIncompatible where a later version wrote something that
// this one does not know.
//
// docs/format-table.md describes the format byte by byte.
package sstable

import (
	"encoding/binary"
	"fmt"

	"lsmdb/internal/base"
)

// BlockType says what a block holds. The numbers are part of the format; 0 stays
// unused.
type BlockType uint8

const (
	BlockData       BlockType = 1 // sorted entries
	BlockIndex      BlockType = 2 // a separator and a length for each data block
	BlockFilter     BlockType = 3 // Bloom filter over the user keys
	BlockProperties BlockType = 4 // what the table holds, in figures, and where

	BlockRangeDelete BlockType = 5 // the range deletes
)

var blockTypeNames = []string{"type 0", "data", "index", "filter", "properties", "range-delete"}

func (t BlockType) String() string { return base.NameOf(blockTypeNames, "type", t) }

func (t BlockType) known() bool { return t >= BlockData && t <= BlockRangeDelete }

const (
	formatVersion = 1

	// blockTrailerBytes ends each block: compression u8, type u8, CRC-32C u32.
	blockTrailerBytes = 6

	// maxPayloadBytes bounds what a block may hold, as stored, decompressed and in
	// memory: the longest value, its key and room for a large configured block, with a
	// wide margin.
	maxPayloadBytes = 512 << 20
)

// Identity derives what a table is bound to from the database and the file number
// it was written under. It is never 0, which stands for "do not check". The two
// numbers go through the finalizer of SplitMix64 (Steele, Lea, Flood 2014), so that
// neighbouring numbers have nothing in common.
func Identity(databaseID, fileNumber uint64) uint64 {
	mixed := mix64(databaseID + 0x9e3779b97f4a7c15)
	mixed = mix64(mixed ^ (fileNumber + 0x9e3779b97f4a7c15))
	if mixed == 0 {
		return 1
	}
	return mixed
}

func mix64(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// placeChecksum starts the checksum of the bytes at offset in the table identity,
// so that bytes of another place or table never verify.
func placeChecksum(identity uint64, offset int64) uint32 {
	return base.ChecksumNumber(base.ChecksumNumber(0, identity), uint64(offset))
}

// appendBlock appends a stored block: the payload and its trailer.
func appendBlock(dst, stored []byte, t BlockType, c Compression, identity uint64, offset int64) []byte {
	start := len(dst)
	dst = append(dst, stored...)
	dst = append(dst, byte(c), byte(t))
	crc := base.Checksum(placeChecksum(identity, offset), dst[start:])
	return binary.LittleEndian.AppendUint32(dst, crc)
}

// checkBlock verifies a stored block, trailer included, and splits off what is
// stored in it.
func checkBlock(raw []byte, want BlockType, identity uint64, offset int64) ([]byte, Compression, error) {
	if len(raw) < blockTrailerBytes {
		return nil, 0, fmt.Errorf("%s block of %d bytes is shorter than its trailer", want, len(raw))
	}
	covered := raw[:len(raw)-4]
	stored := binary.LittleEndian.Uint32(raw[len(covered):])
	if computed := base.Checksum(placeChecksum(identity, offset), covered); computed != stored {
		return nil, 0, fmt.Errorf("%s block of %d bytes has checksum %08x, its content gives %08x", want, len(raw), stored, computed)
	}
	payload := covered[:len(covered)-2]
	c, t := Compression(covered[len(payload)]), BlockType(covered[len(payload)+1])
	switch {
	case !t.known():
		return nil, 0, fmt.Errorf("%w: unknown block type (%s)", base.ErrIncompatible, t)
	case c > CompressionZstd:
		return nil, 0, fmt.Errorf("%w: unknown compression type (%s)", base.ErrIncompatible, c)
	case t != want:
		return nil, 0, fmt.Errorf("%s block where a %s block belongs", t, want)
	}
	return payload, c, nil
}

// footer is the fixed end of a table and the only thing in it that is found by its
// place. In every version it has this length and this checksum, so that a damaged
// version number is told from a later one:
//
//	length of the properties block u64 | identity u64 |
//	version u32 | CRC-32C u32 | magic, 8 bytes
//
// The properties block ends where the footer starts. The checksum covers what stands
// before it and is bound to the footer's offset: a table with bytes cut off or added
// in front of its footer does not verify.
type footer struct {
	properties extent
	identity   uint64 // never 0
}

const (
	footerBytes        = 32
	footerCoveredBytes = 20
	tableMagic         = "lsmdbsst"
)

// extent is a stored block's place in the file, trailer included.
type extent struct {
	offset, length int64
}

func (e extent) end() int64 { return e.offset + e.length }

// appendTo appends the encoded footer.
func (f footer) appendTo(dst []byte) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.properties.length))
	dst = binary.LittleEndian.AppendUint64(dst, f.identity)
	dst = binary.LittleEndian.AppendUint32(dst, formatVersion)
	crc := base.Checksum(placeChecksum(f.identity, f.properties.end()), dst[start:])
	dst = binary.LittleEndian.AppendUint32(dst, crc)
	return append(dst, tableMagic...)
}

// decodeFooter decodes the footer p that stands at offset.
func decodeFooter(p []byte, offset int64) (footer, error) {
	if string(p[footerBytes-len(tableMagic):]) != tableMagic {
		return footer{}, fmt.Errorf("not a table: no magic number at its end")
	}
	f := footer{identity: binary.LittleEndian.Uint64(p[8:])}
	stored := binary.LittleEndian.Uint32(p[footerCoveredBytes:])
	if computed := base.Checksum(placeChecksum(f.identity, offset), p[:footerCoveredBytes]); computed != stored {
		return footer{}, fmt.Errorf("footer has checksum %08x, its content gives %08x", stored, computed)
	}
	if version := binary.LittleEndian.Uint32(p[16:]); version != formatVersion {
		return footer{}, fmt.Errorf("%w: table format version %d, this is version %d", base.ErrIncompatible, version, formatVersion)
	}
	length := binary.LittleEndian.Uint64(p)
	if length > uint64(offset) || f.identity == 0 {
		return footer{}, fmt.Errorf("footer with properties of %d bytes and identity %016x", length, f.identity)
	}
	f.properties = extent{offset - int64(length), int64(length)}
	return f, nil
}
