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
