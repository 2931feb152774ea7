package sstable

import (
	"errors"
	"fmt"
	"sync"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/zstd"

	"lsmdb/internal/base"
)

// Compression is the sentinel that says how a block's payload is stored.
type Compression uint8

const (
	CompressionNone   Compression = 0 // stored as it is
	CompressionSnappy Compression = 1 // the block format of Snappy
	CompressionZstd   Compression = 2 // one frame of Zstandard (RFC 8878) that tells the length of its content
)

var compressionNames = []string{"none", "snappy", "zstd"}

func (c Compression) String() string { return base.NameOf(compressionNames, "compression", c) }

// A claim to hold more than compression can have saved is damage, noticed before memory
// is allocated.
const (
	maxSnappyExpansion = 24       // a copy of three bytes yields at most 64
	maxZstdExpansion   = 32 << 10 // a block of four bytes yields at most 128 KiB
)

// Encoders and decoders keep their tables for the next block. They start no goroutines:
// each is used for one whole block at a time.
var (
	encoders = sync.Pool{New: func() any {
		const windowBytes = 1 << 20 // bounds what a long value takes beside itself
		return sound(zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault),
			zstd.WithWindowSize(windowBytes), zstd.WithSingleSegment(true), zstd.WithEncoderCRC(false)))
	}}
	decoders = sync.Pool{New: func() any {
		return sound(zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true)))
	}}
)

// sound returns what was made with options that cannot be wrong.
func sound[T any](made T, err error) T {
	if err != nil {
		panic("invariant: " + err.Error())
	}
	return made
}

// compress returns payload compressed, in dst where that is large enough.
func (c Compression) compress(dst, payload []byte) []byte {
	if c == CompressionSnappy {
		return snappy.Encode(dst[:cap(dst)], payload)
	}
	e := encoders.Get().(*zstd.Encoder)
	defer encoders.Put(e)
	return e.EncodeAll(payload, dst[:0])
}

// decompress undoes compress, into dst where that is large enough.
func (c Compression) decompress(dst, stored []byte) ([]byte, error) {
	length, maxExpansion := contentBytes, uint64(maxZstdExpansion)
	if c == CompressionSnappy {
		length, maxExpansion = snappyBytes, maxSnappyExpansion
	}
	n, err := length(stored)
	if err != nil {
		return nil, err
	}
	if n > maxPayloadBytes || n > maxExpansion*uint64(len(stored)) {
		return nil, fmt.Errorf("%d compressed bytes claim to hold %d", len(stored), n)
	}
	dst = resize(dst, int64(n))
	if c == CompressionSnappy {
		return snappy.Decode(dst, stored)
	}
	d := decoders.Get().(*zstd.Decoder)
	defer decoders.Put(d)
	content, err := d.DecodeAll(stored, dst[:0:n]) // no more than that: other frames may follow
	if err == nil && uint64(len(content)) != n {
		err = fmt.Errorf("%d compressed bytes hold %d, and claim to hold %d", len(stored), len(content), n)
	}
	return dst, err
}

func snappyBytes(stored []byte) (uint64, error) {
	n, err := snappy.DecodedLen(stored)
	return uint64(n), err
}

// contentBytes returns what a frame of Zstandard tells of its length.
func contentBytes(stored []byte) (uint64, error) {
	var h zstd.Header
	if err := h.Decode(stored); err != nil {
		return 0, err
	}
	if h.Skippable || !h.HasFCS {
		return 0, errors.New("a frame that does not tell its length")
	}
	return h.FrameContentSize, nil
}
