package sstable

import (
	"encoding/binary"
	"fmt"

	"lsmdb/internal/base"
)

// Summary says of a table what whoever lists it must know. The keys share memory with
// the table and are not to be changed.
type Summary struct {
	SizeBytes int64  // of the file
	Identity  uint64 // what its blocks are bound to

	Entries  uint64
	Deletes  uint64 // entries that are tombstones
	Shadowed uint64 // entries whose next-newer version of the same user key is in this table too

	Smallest, Largest       base.InternalKey // nil where there are no entries
	SmallestSeq, LargestSeq base.Seq
}

// Check says what cannot be true of any table that has entries.
func (s *Summary) Check() error {
	for _, key := range []base.InternalKey{s.Smallest, s.Largest} {
		if err := base.CheckInternalKey(key); err != nil {
			return fmt.Errorf("bounds: %w", err)
		}
	}
	switch {
	case base.Compare(s.Smallest, s.Largest) > 0:
		return fmt.Errorf("smallest key %s is after the largest, %s", s.Smallest, s.Largest)
	case s.SmallestSeq > s.LargestSeq || s.LargestSeq > base.MaxSeq:
		return fmt.Errorf("sequence numbers from %d to %d", s.SmallestSeq, s.LargestSeq)
	case s.Deletes > s.Entries || s.Shadowed >= s.Entries:
		return fmt.Errorf("%d entries, %d deletes and %d shadowed", s.Entries, s.Deletes, s.Shadowed)
	}
	return nil
}

// Properties says what a table holds.
type Properties struct {
	Summary
	RawKeyBytes   uint64 // user keys, trailers not counted, before any compression
	RawValueBytes uint64
	DataBlocks    uint64

	// Bytes of the file that blocks take.
	DataBytes   int64
	IndexBytes  int64
	FilterBytes int64 // 0: no filter
}

// tagFirstOptional is the first tag that only informs: a version that does not know a
// property from there on skips it.
const tagFirstOptional = 128

// fields returns what the properties block tells. Its payload holds for each property,
// in ascending order of tags, tag uvarint | length uvarint | content; a number is a
// u64. These are the properties from tag 1 on, none of which may be missing.
func (p *Properties) fields() [12]any {
	return [12]any{
		&p.Entries, &p.Deletes, &p.Shadowed, &p.Smallest, &p.Largest,
		(*uint64)(&p.SmallestSeq), (*uint64)(&p.LargestSeq),
		&p.RawKeyBytes, &p.RawValueBytes, &p.DataBlocks, &p.IndexBytes, &p.FilterBytes,
	}
}

// appendTo appends the payload of the properties block.
func (p *Properties) appendTo(dst []byte) []byte {
	for i, field := range p.fields() {
		var content []byte
		if key, ok := field.(*base.InternalKey); ok {
			content = *key
		} else {
			content, _ = binary.Append(nil, binary.LittleEndian, field) // a number, which cannot fail
		}
		dst = binary.AppendUvarint(dst, uint64(i+1))
		dst = binary.AppendUvarint(dst, uint64(len(content)))
		dst = append(dst, content...)
	}
	return dst
}

// decodeProperties decodes the payload of the properties block that stands at offset.
// Size and identity are the caller's to fill in.
func decodeProperties(payload []byte, offset int64) (p Properties, err error) {
	fields := p.fields()
	last := uint64(0)
	for len(payload) > 0 {
		var tag uint64
		var content []byte
		if tag, content, payload, err = splitProperty(payload); err != nil {
			return p, fmt.Errorf("after property %d: %w", last, err)
		}
		switch {
		case tag == last+1 && tag <= uint64(len(fields)):
			err = setField(fields[last], content)
		case tag <= last || last < uint64(len(fields)):
			err = fmt.Errorf("follows property %d", last)
		case tag < tagFirstOptional:
			err = fmt.Errorf("%w: unknown table property", base.ErrIncompatible)
		}
		if err != nil {
			return p, fmt.Errorf("property %d: %w", tag, err)
		}
		last = tag
	}
	if last < uint64(len(fields)) {
		return p, fmt.Errorf("properties end after property %d", last)
	}
	p.DataBytes = offset - p.IndexBytes - p.FilterBytes
	return p, p.check(offset)
}

func splitProperty(p []byte) (tag uint64, content, rest []byte, err error) {
	tag, tagWidth := binary.Uvarint(p)
	if tagWidth <= 0 {
		return 0, nil, nil, fmt.Errorf("malformed tag")
	}
	length, width := binary.Uvarint(p[tagWidth:])
	p = p[tagWidth+max(width, 0):]
	if width <= 0 || length > uint64(len(p)) {
		return 0, nil, nil, fmt.Errorf("property %d has a length beyond the block", tag)
	}
	return tag, p[:length], p[length:], nil
}

func setField(field any, content []byte) error {
	if key, ok := field.(*base.InternalKey); ok {
		*key = append(*key, content...)
		return nil
	}
	if len(content) != 8 {
		return fmt.Errorf("number of %d bytes", len(content))
	}
	_, err := binary.Decode(content, binary.LittleEndian, field)
	return err
}

// check tells whether the figures can be true of any table whose blocks before the
// properties end at offset.
func (p *Properties) check(offset int64) error {
	if p.IndexBytes < blockTrailerBytes || p.IndexBytes > offset ||
		p.FilterBytes != 0 && p.FilterBytes < blockTrailerBytes || p.FilterBytes > offset-p.IndexBytes {
		return fmt.Errorf("index of %d bytes and filter of %d bytes before %d", p.IndexBytes, p.FilterBytes, offset)
	}
	if p.Entries == 0 {
		if p.Smallest != nil || p.Largest != nil || p.DataBlocks != 0 || p.Deletes != 0 || p.Shadowed != 0 {
			return fmt.Errorf("properties of a table without entries name some")
		}
		return nil
	}
	if p.DataBlocks == 0 || p.DataBlocks > p.Entries {
		return fmt.Errorf("%d entries in %d blocks", p.Entries, p.DataBlocks)
	}
	return p.Summary.Check()
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
