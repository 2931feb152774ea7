package sstable

import (
	"encoding/binary"
	"fmt"

	"lsmdb/internal/base"
)

// footer is the fixed end of a table and the only thing in it that is found by its
// place. In every version it has this length and this checksum, so that a damaged
// version number is told from a later one:
//
//	directory offset u64 | directory length u64 | identity u64 |
//	version u32 | CRC-32C u32 | magic, 8 bytes
//
// The checksum covers what stands before it and is bound to the footer's offset: a
// table with bytes cut off or added in front of its footer does not verify.
type footer struct {
	directory extent
	identity  uint64
}

const (
	footerBytes        = 40
	footerCoveredBytes = 28
	tableMagic         = "lsmdbsst"
)

// extent is a stored block's place in the file, trailer included.
type extent struct {
	offset, length int64
}

func (e extent) end() int64 { return e.offset + e.length }

// appendTo appends the encoded footer that will stand at offset.
func (f footer) appendTo(dst []byte, offset int64) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.directory.offset))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.directory.length))
	dst = binary.LittleEndian.AppendUint64(dst, f.identity)
	dst = binary.LittleEndian.AppendUint32(dst, formatVersion)
	crc := base.Checksum(placeChecksum(f.identity, offset), dst[start:])
	dst = binary.LittleEndian.AppendUint32(dst, crc)
	return append(dst, tableMagic...)
}

// decodeFooter decodes the footer p that stands at offset.
func decodeFooter(p []byte, offset int64) (footer, error) {
	if string(p[footerBytes-len(tableMagic):]) != tableMagic {
		return footer{}, fmt.Errorf("not a table: no magic number at its end")
	}
	f := footer{identity: binary.LittleEndian.Uint64(p[16:])}
	stored := binary.LittleEndian.Uint32(p[footerCoveredBytes:])
	if computed := base.Checksum(placeChecksum(f.identity, offset), p[:footerCoveredBytes]); computed != stored {
		return footer{}, fmt.Errorf("footer has checksum %08x, its content gives %08x", stored, computed)
	}
	if version := binary.LittleEndian.Uint32(p[24:]); version != formatVersion {
		return footer{}, fmt.Errorf("%w: table format version %d, this is version %d", base.ErrIncompatible, version, formatVersion)
	}
	at, length := binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:])
	if at > uint64(offset) || length != uint64(offset)-at {
		return footer{}, fmt.Errorf("directory at %d with %d bytes does not end at the footer", at, length)
	}
	f.directory = extent{int64(at), int64(length)}
	return f, nil
}

// directory says where the blocks lie that follow the data blocks. They follow each
// other without gaps, in the order in which they are listed, up to the directory
// itself; so every byte of a table belongs to exactly one block.
type directory struct {
	filter     extent // length 0: none
	index      extent
	properties extent
	dataEnd    int64 // where the first of them starts
}

// directoryEntryBytes is one entry: type u8, offset u64, length u64.
const directoryEntryBytes = 17

func appendDirectoryEntry(dst []byte, t BlockType, e extent) []byte {
	dst = append(dst, byte(t))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.offset))
	return binary.LittleEndian.AppendUint64(dst, uint64(e.length))
}

// decodeDirectoryEntry decodes the entry at the start of p, unchecked.
func decodeDirectoryEntry(p []byte) (BlockType, extent) {
	at, length := binary.LittleEndian.Uint64(p[1:]), binary.LittleEndian.Uint64(p[9:])
	return BlockType(p[0]), extent{int64(at), int64(length)}
}

// decodeDirectory decodes the payload of a directory block that stands at offset.
func decodeDirectory(payload []byte, offset int64) (d directory, err error) {
	if len(payload)%directoryEntryBytes != 0 {
		return d, fmt.Errorf("directory of %d bytes does not hold whole entries", len(payload))
	}
	next := int64(-1) // the first entry tells where the data blocks end
	for rest := payload; len(rest) > 0; rest = rest[directoryEntryBytes:] {
		t, e := decodeDirectoryEntry(rest)
		if next < 0 {
			next, d.dataEnd = e.offset, e.offset
		}
		if e.offset != next || e.offset < 0 || e.offset > offset || e.length < blockTrailerBytes || e.length > offset-e.offset {
			return d, fmt.Errorf("directory places a %s block at %d with %d bytes, %d was expected", t, e.offset, e.length, next)
		}
		next = e.end()
		if err := d.set(t, e); err != nil {
			return d, err
		}
	}
	if d.index.length == 0 || d.properties.length == 0 || next != offset {
		return d, fmt.Errorf("directory lacks the index, the properties or bytes up to itself")
	}
	return d, nil
}

func (d *directory) set(t BlockType, e extent) error {
	var field *extent
	switch t {
	case BlockFilter:
		field = &d.filter
	case BlockIndex:
		field = &d.index
	case BlockProperties:
		field = &d.properties
	case BlockData, BlockDirectory:
		return fmt.Errorf("directory lists a %s block", t)
	default:
		return fmt.Errorf("%w: unknown block type (%s)", base.ErrIncompatible, t)
	}
	if field.length != 0 {
		return fmt.Errorf("directory lists two %s blocks", t)
	}
	*field = e
	return nil
}
