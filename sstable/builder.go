package sstable

import (
	"encoding/binary"

	"lsmdb/internal/base"
)

// blockBuilder assembles the payload of one data or index block after the other.
type blockBuilder struct {
	buffer   []byte
	restarts []uint32
	count    int
}

// sizeBytes returns the length of the payload so far.
func (b *blockBuilder) sizeBytes() int64 {
	return int64(len(b.buffer)) + 4*int64(len(b.restarts)+1)
}

// add appends an entry. shared is the length of the prefix that its user key has in
// common with the one added before.
func (b *blockBuilder) add(key base.InternalKey, value []byte, shared int) {
	if b.count%maxIntervalEntries == 0 {
		b.restarts = append(b.restarts, uint32(len(b.buffer)))
		shared = 0
	}
	b.count++
	b.buffer = binary.AppendUvarint(b.buffer, uint64(shared))
	b.buffer = binary.AppendUvarint(b.buffer, uint64(len(key)-base.TrailerBytes-shared))
	b.buffer = binary.AppendUvarint(b.buffer, uint64(len(value)))
	b.buffer = append(b.buffer, key[shared:]...)
	b.buffer = append(b.buffer, value...)
}

// finish returns the payload, valid until reset.
func (b *blockBuilder) finish() []byte {
	for _, at := range b.restarts {
		b.buffer = binary.LittleEndian.AppendUint32(b.buffer, at)
	}
	b.buffer = binary.LittleEndian.AppendUint32(b.buffer, uint32(len(b.restarts)))
	return b.buffer
}

func (b *blockBuilder) reset() {
	b.buffer, b.restarts, b.count = b.buffer[:0], b.restarts[:0], 0
}
