package salvage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/zstd"

	"lsmdb/internal/base"
	"lsmdb/internal/ranges"
	"lsmdb/sstable"
)

// extent is the place of a stored block in its file, with the six bytes behind it.
type extent struct{ offset, length int64 }

func (e extent) end() int64 { return e.offset + e.length }

// stored is a block whose checksum fits.
type stored struct {
	kind    sstable.BlockType
	payload []byte // decompressed; until the file is read again
}

// readBlock reads a block and checks everything that it can tell by itself but what a data block holds.
func readBlock(f *source, identity uint64, e extent) (b stored, err error) {
	if e.length < trailerBytes || e.length > maxBlockBytes || e.offset < 0 || e.end() > f.sizeBytes {
		return b, fmt.Errorf("a block of %d bytes exceeds the file", e.length)
	}
	raw := f.slice(e.offset, e.end())
	covered := raw[:len(raw)-4]
	if base.Checksum(placeSum(identity, e.offset), covered) != binary.LittleEndian.Uint32(raw[len(covered):]) {
		return b, errors.New("the checksum of a block does not fit")
	}
	return openBlock(covered)
}

// openBlock decompresses what the checksum of a block covers.
func openBlock(covered []byte) (b stored, err error) {
	n := len(covered) - 2
	b.kind, b.payload = sstable.BlockType(covered[n+1]), covered[:n]
	switch compression := covered[n]; {
	case b.kind < sstable.BlockData || b.kind > sstable.BlockRangeDelete:
		err = fmt.Errorf("%w: a block of an unknown %s", base.ErrIncompatible, b.kind)
	case compression == byte(sstable.CompressionSnappy):
		b.payload, err = unsnap(b.payload)
	case compression == byte(sstable.CompressionZstd):
		b.payload, err = unzstd(b.payload)
	case compression != noCompression:
		err = fmt.Errorf("%w: %s", base.ErrIncompatible, sstable.Compression(compression))
	}
	return b, err
}

// A claim to hold more than compression can have saved is refused before memory is taken.
func checkClaim(n uint64, storedBytes int, maxExpansion uint64) error {
	if n > maxBlockBytes-trailerBytes || n > maxExpansion*uint64(storedBytes) {
		return fmt.Errorf("%d compressed bytes claim to hold %d", storedBytes, n)
	}
	return nil
}

func unsnap(p []byte) ([]byte, error) {
	const maxExpansion = 24
	n, err := snappy.DecodedLen(p)
	if err == nil {
		err = checkClaim(uint64(n), len(p), maxExpansion)
	}
	if err != nil {
		return nil, err
	}
	return snappy.Decode(nil, p)
}

// decoders keep their tables for the next block. They start no goroutines.
var decoders = sync.Pool{New: func() any {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		panic("invariant: " + err.Error())
	}
	return d
}}

func unzstd(p []byte) ([]byte, error) {
	const maxExpansion = 32 << 10
	var h zstd.Header
	if err := h.Decode(p); err != nil {
		return nil, err
	}
	if h.Skippable || !h.HasFCS {
		return nil, errors.New("a frame that does not tell its length")
	}
	if err := checkClaim(h.FrameContentSize, len(p), maxExpansion); err != nil {
		return nil, err
	}
	d := decoders.Get().(*zstd.Decoder)
	defer decoders.Put(d)
	content, err := d.DecodeAll(p, make([]byte, 0, h.FrameContentSize))
	if err == nil && uint64(len(content)) != h.FrameContentSize {
		err = fmt.Errorf("a frame of %d bytes that claims %d", len(content), h.FrameContentSize)
	}
	return content, err
}

// entries walks a data or index block: entries, each
//
//	shared uvarint | unshared uvarint | value length uvarint | rest of the user key | trailer u64 | value
//
// then the offsets of restart points, u32 each, and their number, u32. Shared counts what the
// user key has in common with the one before.
type entries struct {
	rest  []byte
	key   base.InternalKey // in memory of its own, changed by the next move but one
	value []byte
	spare base.InternalKey
	seq   base.Seq // stands for the placeholder; 0: there is none
	index bool     // the keys are separators
	err   error
}

// reset begins with another payload.
func (w *entries) reset(payload []byte) {
	end := len(payload) - 4
	w.rest, w.err, w.key = nil, nil, w.key[:0]
	if end < 0 || uint64(binary.LittleEndian.Uint32(payload[end:])) > uint64(end)/4 {
		w.err = fmt.Errorf("a block of %d bytes has no restart points", len(payload))
		return
	}
	w.rest = payload[:end-4*int(binary.LittleEndian.Uint32(payload[end:]))]
}

// next moves to the next entry; false: there is none, or err says what is wrong.
func (w *entries) next() bool {
	if w.err != nil || len(w.rest) == 0 {
		return false
	}
	var fields [3]uint64
	p := w.rest
	for i, limit := range [3]uint64{base.MaxKeyBytes, base.MaxKeyBytes, maxValueBytes} {
		n, width := binary.Uvarint(p)
		if width <= 0 || n > limit {
			return w.fail("an entry is malformed")
		}
		fields[i], p = n, p[width:]
	}
	user := 0
	if len(w.key) > 0 {
		user = len(w.key) - base.TrailerBytes
	}
	shared, unshared := int(fields[0]), int(fields[1])
	if shared > user || shared+unshared > base.MaxKeyBytes || fields[1]+base.TrailerBytes+fields[2] > uint64(len(p)) {
		return w.fail("an entry is malformed")
	}
	next := append(append(w.spare[:0], w.key[:shared]...), p[:unshared+base.TrailerBytes]...)
	w.key, w.spare = next, w.key
	p = p[unshared+base.TrailerBytes:]
	w.value, w.rest = p[:fields[2]:fields[2]], p[fields[2]:]
	if w.index {
		return true
	}
	return w.check()
}

// check looks at kind and number of an entry, and puts the number in place of the placeholder.
func (w *entries) check() bool {
	t := w.key.Trailer()
	switch kind := t.Kind(); {
	case !kind.Known() || kind == base.KindRangeDelete || kind == base.KindDelete && len(w.value) > 0 ||
		kind == base.KindSetExpiring && len(w.value) < base.ExpiryBytes || kind != base.KindSetExpiring && len(w.value) > base.MaxValueBytes:
		return w.fail(fmt.Sprintf("an entry is a %s with %d bytes", kind, len(w.value)))
	case t.Seq() == 0 || w.seq != 0 && t.Seq() != placeholder:
		return w.fail(fmt.Sprintf("an entry has number %d", t.Seq()))
	case w.seq != 0:
		binary.LittleEndian.PutUint64(w.key[len(w.key)-base.TrailerBytes:], uint64(base.MakeTrailer(w.seq, kind)))
	}
	return true
}

// placeholder stands in a loaded table for the number that only the MANIFEST knows.
const placeholder base.Seq = 1

func (w *entries) fail(detail string) bool {
	w.err, w.rest = errors.New(detail), nil
	return false
}

// contents is what a data block turned out to hold.
type contents struct {
	first, last     base.InternalKey // of their own
	entries, merges uint64
}

// examine checks a whole data block, whose keys must lie behind one, which may be nil.
func examine(payload []byte, seq base.Seq, after base.InternalKey) (c contents, err error) {
	w := entries{seq: seq}
	last := after.Clone()
	for w.reset(payload); w.next(); c.entries++ {
		if len(last) > 0 && base.Compare(last, w.key) >= 0 {
			return c, fmt.Errorf("key %s follows %s", w.key, last)
		}
		if c.entries == 0 {
			c.first = w.key.Clone()
		}
		if w.key.Kind() == base.KindMerge {
			c.merges++
		}
		last = append(last[:0], w.key...)
	}
	if w.err == nil && c.entries == 0 {
		w.err = errors.New("a data block without entries")
	}
	c.last = last
	return c, w.err
}

// decodeIndex returns where the data blocks lie. They must fill the file up to dataEnd.
func decodeIndex(payload []byte, dataEnd int64) (blocks []extent, err error) {
	w := entries{index: true}
	at := int64(0)
	for w.reset(payload); w.next(); {
		location := w.value
		if w.key.Kind() == base.KindSetExpiring && len(location) >= base.ExpiryBytes+2 {
			location = location[base.ExpiryBytes:]
		}
		length, width := binary.Uvarint(location)
		if width <= 0 || length < trailerBytes || length > uint64(dataEnd-at) {
			return nil, fmt.Errorf("a data block at %d of %d bytes", at, length)
		}
		blocks = append(blocks, extent{at, int64(length)})
		at += int64(length)
	}
	if w.err == nil && at != dataEnd {
		w.err = fmt.Errorf("the index covers %d of %d bytes", at, dataEnd)
	}
	return blocks, w.err
}

// sound reports whether a block, found by its checksum alone, also holds what one of its kind
// does. Where so many places are tried, a checksum of 32 bits fits now and then by accident.
func (b *stored) sound() bool {
	var err error
	switch b.kind {
	case sstable.BlockData:
		_, err = examine(b.payload, 0, nil)
	case sstable.BlockIndex:
		w := entries{index: true}
		for w.reset(b.payload); w.next(); {
		}
		err = w.err
	case sstable.BlockFilter:
		const lineBytes, tailBytes = 64, 2
		if len(b.payload)%lineBytes != tailBytes {
			return false
		}
	case sstable.BlockRangeDelete:
		var l ranges.List
		if l, err = ranges.Decode(bytes.Clone(b.payload)); len(l) == 0 {
			return false
		}
	case sstable.BlockProperties:
		_, err = decodeProperties(b.payload)
	}
	return err == nil
}
