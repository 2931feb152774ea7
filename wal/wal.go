// Package wal is the log format of lsmdb. Write-ahead log segments and the
// MANIFEST are such logs. The package knows nothing of what a record means; it
// knows where a log ends, and whether what is missing may be missing.
//
// A log is a file of 32 KiB blocks that hold chunks:
//
//	checksum u32 | length u16 | type u8 | payload
//
// A record is one Full chunk, or a First, any number of Middle and a Last chunk.
// The checksum also covers the number of the log and the chunk's place in the
// file, so bytes of another file, another place or an earlier life never verify.
// docs/format-wal.md is the full description.
//
// # How the end is told from damage
//
// A Writer appends into space that it filled with zeros before. After a crash
// the log therefore ends in zeros, or in bytes that no longer verify because
// the machine stopped while writing them: a torn tail, which may be cut, since
// nobody was told that it is durable. But a bad chunk may also be damage to
// something that was durable, and then cutting would lose data silently. The
// log itself tells the two apart: each record begins with the offset up to which
// the log was durable (fsynced) when the record was written, and a log that was
// closed properly ends in an End chunk. A bad chunk is damage, and a
// *base.CorruptionError, when behind it stands a chunk that verifies and proves
// that the bad one was durable; it is a torn tail otherwise.
//
// # Thread safety
//
// A Writer and a Reader are each used by one goroutine at a time. The package
// starts none.
package wal

import (
	"encoding/binary"

	"lsmdb/internal/base"
)

// BlockBytes is the size of a block. No chunk crosses the border of a block.
const BlockBytes = 32 << 10

const (
	formatVersion    = 1
	chunkHeaderBytes = 4 + 2 + 1                         // checksum, length, type
	logHeaderBytes   = 4 + 8 + 8                         // payload of the Header chunk
	logStart         = chunkHeaderBytes + logHeaderBytes // offset of the first record
	maxLagBytes      = binary.MaxVarintLen64             // longest durable mark
	minRoomBytes     = chunkHeaderBytes + maxLagBytes    // a block's last bytes, fewer than these, stay unused
	endRoomBytes     = minRoomBytes + chunkHeaderBytes   // what an End chunk may need, padding included
	fullPayloadBytes = BlockBytes - chunkHeaderBytes
	lengthAt, typeAt = 4, 6 // within a chunk
)

// ChunkType says what part of a record a chunk is. The numbers are part of the
// format and never change.
type ChunkType uint8

const (
	TypeZero   ChunkType = 0 // preallocated bytes that were never written
	TypeFull   ChunkType = 1 // a whole record
	TypeFirst  ChunkType = 2 // the first part of a record; reaches to the end of its block
	TypeMiddle ChunkType = 3 // a part that fills its block
	TypeLast   ChunkType = 4 // the last part; stands at the start of its block
	TypeHeader ChunkType = 5 // the first chunk of every log
	TypeEnd    ChunkType = 6 // clean close; nothing follows
)

var chunkTypeNames = []string{"zero", "full", "first", "middle", "last", "header", "end"}

func (t ChunkType) String() string { return base.NameOf(chunkTypeNames, "type", t) }

// opensRecord reports whether a chunk of the type begins with a durable mark.
func (t ChunkType) opensRecord() bool { return t == TypeFull || t == TypeFirst }

// Previous names the log that came before a segment and the logical offset at
// which it ended. The zero value means that there was none.
type Previous struct {
	Segment uint64
	End     int64
}

// End tells how a log ended.
type End struct {
	Offset    int64 // behind the last whole record, or behind the End chunk of a sealed log
	Sealed    bool  // the log was closed properly: its End chunk was seen
	TornBytes int64 // bytes from Offset to the last one that is not zero: a torn tail
}

// chunkStart returns where the next chunk stands in a log whose last one ended
// at offset: there, or at the next block when the rest of this one is too small.
func chunkStart(offset int64) int64 {
	if room := BlockBytes - offset%BlockBytes; room < minRoomBytes {
		return offset + room
	}
	return offset
}

// binding computes the checksums of one log.
type binding struct {
	seed    uint32  // over the number of the log
	scratch [8]byte // a field, because what a checksum reads escapes to the heap
}

func newBinding(segment uint64) binding { return binding{seed: base.ChecksumNumber(0, segment)} }

// checksum returns that of a chunk at offset; covered is the chunk from its
// length field on.
func (b *binding) checksum(offset int64, covered []byte) uint32 {
	binary.LittleEndian.PutUint64(b.scratch[:], uint64(offset)) // faster than ChecksumNumber
	return base.Checksum(base.Checksum(b.seed, b.scratch[:]), covered)
}

// seal fills in the header of a chunk whose payload stands behind it.
func (b *binding) seal(chunk []byte, t ChunkType, offset int64) {
	binary.LittleEndian.PutUint16(chunk[lengthAt:], uint16(len(chunk)-chunkHeaderBytes))
	chunk[typeAt] = byte(t)
	binary.LittleEndian.PutUint32(chunk, b.checksum(offset, chunk[lengthAt:]))
}

// appendHeader appends the Header chunk to nothing.
func (b *binding) appendHeader(chunk []byte, previous Previous) []byte {
	chunk = append(chunk, zeros[:chunkHeaderBytes]...)
	chunk = binary.LittleEndian.AppendUint32(chunk, formatVersion)
	chunk = binary.LittleEndian.AppendUint64(chunk, previous.Segment)
	chunk = binary.LittleEndian.AppendUint64(chunk, uint64(previous.End))
	b.seal(chunk, TypeHeader, 0)
	return chunk
}
