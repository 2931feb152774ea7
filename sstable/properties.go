package sstable

import (
	"encoding/binary"
	"fmt"

	"lsmdb/internal/base"
)

// Properties says what a table holds. The keys share memory with the table and are
// not to be changed.
type Properties struct {
	SizeBytes int64  // of the file
	Identity  uint64 // what its blocks are bound to

	Entries  uint64
	Deletes  uint64 // entries that are tombstones
	Shadowed uint64 // entries whose next-newer version of the same user key is in this table too

	Smallest, Largest       base.InternalKey // nil where there are no entries
	SmallestSeq, LargestSeq base.Seq

	RawKeyBytes   uint64 // user keys, trailers not counted, before any compression
	RawValueBytes uint64
	DataBlocks    uint64

	DataBytes   int64 // data blocks as stored
	IndexBytes  int64
	FilterBytes int64 // 0: no filter
}

// Tags of the properties block. Each field is tag uvarint | length uvarint | content,
// in ascending order of tags; a number is a u64.
const (
	tagEntries       = 1
	tagDeletes       = 2
	tagShadowed      = 3
	tagSmallest      = 4
	tagLargest       = 5
	tagSmallestSeq   = 6
	tagLargestSeq    = 7
	tagRawKeyBytes   = 8
	tagRawValueBytes = 9
	tagDataBlocks    = 10
	tagsRequired     = 10

	// Tags from here on only inform: a version that does not know them skips them.
	tagFirstOptional = 128
)

// number returns the numeric field with a tag, nil if the tag is not one.
func (p *Properties) number(tag uint64) *uint64 {
	switch tag {
	case tagEntries:
		return &p.Entries
	case tagDeletes:
		return &p.Deletes
	case tagShadowed:
		return &p.Shadowed
	case tagSmallestSeq:
		return (*uint64)(&p.SmallestSeq)
	case tagLargestSeq:
		return (*uint64)(&p.LargestSeq)
	case tagRawKeyBytes:
		return &p.RawKeyBytes
	case tagRawValueBytes:
		return &p.RawValueBytes
	case tagDataBlocks:
		return &p.DataBlocks
	}
	return nil
}

// key returns the key field with a tag, nil if the tag is not one.
func (p *Properties) key(tag uint64) *base.InternalKey {
	switch tag {
	case tagSmallest:
		return &p.Smallest
	case tagLargest:
		return &p.Largest
	}
	return nil
}

// appendTo appends the payload of the properties block.
func (p *Properties) appendTo(dst []byte) []byte {
	for tag := uint64(1); tag <= tagsRequired; tag++ {
		dst = binary.AppendUvarint(dst, tag)
		if number := p.number(tag); number != nil {
			dst = append(dst, 8)
			dst = binary.LittleEndian.AppendUint64(dst, *number)
			continue
		}
		key := *p.key(tag)
		dst = binary.AppendUvarint(dst, uint64(len(key)))
		dst = append(dst, key...)
	}
	return dst
}

// decodeProperties decodes the payload of the properties block. Sizes and identity
// are the caller's to fill in.
func decodeProperties(payload []byte) (p Properties, err error) {
	last := uint64(0)
	for rest := payload; len(rest) > 0; {
		tag, width := binary.Uvarint(rest)
		if width <= 0 {
			return p, fmt.Errorf("property after %d has a malformed tag", last)
		}
		rest = rest[width:]
		length, width := binary.Uvarint(rest)
		if width <= 0 || length > uint64(len(rest)-width) {
			return p, fmt.Errorf("property %d has a length beyond the block", tag)
		}
		content := rest[width : width+int(length)]
		rest = rest[width+int(length):]
		if tag <= last || tag > tagsRequired && last < tagsRequired {
			return p, fmt.Errorf("property %d after property %d", tag, last)
		}
		if err := p.decodeField(tag, content); err != nil {
			return p, err
		}
		last = tag
	}
	if last < tagsRequired {
		return p, fmt.Errorf("properties end after property %d", last)
	}
	return p, p.check()
}

func (p *Properties) decodeField(tag uint64, content []byte) error {
	if number := p.number(tag); number != nil {
		if len(content) != 8 {
			return fmt.Errorf("property %d is a number of %d bytes", tag, len(content))
		}
		*number = binary.LittleEndian.Uint64(content)
		return nil
	}
	if key := p.key(tag); key != nil {
		if len(content) > 0 {
			*key = base.InternalKey(content).Clone()
		}
		return nil
	}
	if tag < tagFirstOptional {
		return fmt.Errorf("%w: unknown table property (tag %d)", base.ErrIncompatible, tag)
	}
	return nil
}

// check tells whether the figures can be true of any table.
func (p *Properties) check() error {
	if p.Entries == 0 {
		if p.Smallest != nil || p.Largest != nil || p.DataBlocks != 0 || p.Deletes != 0 || p.Shadowed != 0 {
			return fmt.Errorf("properties of a table without entries name some")
		}
		return nil
	}
	for _, key := range []base.InternalKey{p.Smallest, p.Largest} {
		if err := base.CheckInternalKey(key); err != nil {
			return fmt.Errorf("bounds: %w", err)
		}
	}
	switch {
	case base.Compare(p.Smallest, p.Largest) > 0:
		return fmt.Errorf("smallest key %s is after the largest, %s", p.Smallest, p.Largest)
	case p.SmallestSeq > p.LargestSeq || p.LargestSeq > base.MaxSeq:
		return fmt.Errorf("sequence numbers from %d to %d", p.SmallestSeq, p.LargestSeq)
	case p.Deletes > p.Entries || p.Shadowed >= p.Entries || p.DataBlocks == 0 || p.DataBlocks > p.Entries:
		return fmt.Errorf("%d entries with %d deletes and %d shadowed in %d blocks", p.Entries, p.Deletes, p.Shadowed, p.DataBlocks)
	}
	return nil
}

// count adds one entry, the next in order, to the figures; all but the largest key,
// which is known at the end.
func (p *Properties) count(key base.InternalKey, value []byte, shadowed bool) {
	trailer := key.Trailer()
	if p.Entries == 0 {
		p.Smallest, p.SmallestSeq = key.Clone(), trailer.Seq()
	}
	p.Entries++
	if trailer.Kind() == base.KindDelete {
		p.Deletes++
	}
	if shadowed {
		p.Shadowed++
	}
	p.SmallestSeq = min(p.SmallestSeq, trailer.Seq())
	p.LargestSeq = max(p.LargestSeq, trailer.Seq())
	p.RawKeyBytes += uint64(len(key) - base.TrailerBytes)
	p.RawValueBytes += uint64(len(value))
}
