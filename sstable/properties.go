package sstable

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/internal/ranges"
)

// Summary says of a table what whoever lists it must know. The keys share memory with
// the table and are not to be changed.
type Summary struct {
	SizeBytes int64  // of the file
	Identity  uint64 // what its blocks are bound to

	Entries  uint64
	Deletes  uint64 // entries that are tombstones
	Shadowed uint64 // entries whose next-newer version of the same user key is in this table too

	// The bounds enclose entries and range deletes; nil where there are neither. Where
	// the end of a range delete lies behind all keys, which is the case after none of
	// its own, that is the largest: see LargestExcluded.
	Smallest, Largest       base.InternalKey
	SmallestSeq, LargestSeq base.Seq // of entries and range deletes

	RangeDeletes uint64 // counted once in each of the spans into which they cut each other
	Merges       uint64 // entries that are operands
	Expiring     uint64 // entries that are values which end

	EarliestExpiry, LatestExpiry int64 // when these end, in nanoseconds since 1970; 0 without any
	HalfExpiry                   int64 // when half of all entries have ended; 0: that many never do

	// Placeholder, if not 0, stands in the file in place of the number that all entries
	// have. Only the MANIFEST knows that.
	Placeholder base.Seq
}

// placeholder is the only Placeholder there is: the smallest number.
const placeholder base.Seq = 1

// LargestExcluded reports whether the user key of Largest is itself no part of the
// table, but the end of a range delete. Largest has then the trailer of MaxSeq and
// KindRangeDelete, so that it sorts before each version of that user key. This is the
// one form of a bound that is excluded.
func (s *Summary) LargestExcluded() bool {
	return len(s.Largest) >= base.TrailerBytes && s.Largest.Trailer() == excluded
}

const excluded = base.Trailer(base.MaxSeq)<<8 | base.Trailer(base.KindRangeDelete)

// EndsBefore reports whether everything in the table lies before userKey.
func (s *Summary) EndsBefore(userKey []byte) bool {
	c := bytes.Compare(s.Largest.UserKey(), userKey)
	return c < 0 || c == 0 && s.LargestExcluded()
}

// Renumber puts seq in place of the placeholder: everything in the table has that number.
func (s *Summary) Renumber(seq base.Seq) {
	s.SmallestSeq, s.LargestSeq = seq, seq
	for _, key := range []*base.InternalKey{&s.Smallest, &s.Largest} {
		if *key != nil && key.Trailer() != excluded {
			*key = base.MakeInternalKey(key.UserKey(), seq, key.Kind())
		}
	}
}

// Check says what cannot be true of any table that holds something.
func (s *Summary) Check() error {
	largest := s.Largest
	if s.LargestExcluded() {
		largest = largest[1:] // never empty, and may be the successor of the longest key
	}
	for _, key := range []base.InternalKey{s.Smallest, largest} {
		if err := base.CheckInternalKey(key); err != nil {
			return fmt.Errorf("bounds: %w", err)
		}
		if seq := key.Seq(); key.Trailer() != excluded && (seq < s.SmallestSeq || seq > s.LargestSeq) {
			return fmt.Errorf("bound %s lies outside the sequence numbers from %d to %d", key, s.SmallestSeq, s.LargestSeq)
		}
	}
	rangeFirst := s.Smallest.Kind() == base.KindRangeDelete
	switch {
	case base.Compare(s.Smallest, s.Largest) > 0:
		return fmt.Errorf("smallest key %s is after the largest, %s", s.Smallest, s.Largest)
	case (rangeFirst || s.LargestExcluded()) && s.RangeDeletes == 0, s.Entries == 0 && !(rangeFirst && s.LargestExcluded()),
		s.Largest.Kind() == base.KindRangeDelete && !s.LargestExcluded():
		return fmt.Errorf("bounds %s and %s with %d entries and %d range deletes", s.Smallest, s.Largest, s.Entries, s.RangeDeletes)
	case s.SmallestSeq == 0 || s.SmallestSeq > s.LargestSeq || s.LargestSeq > base.MaxSeq:
		return fmt.Errorf("sequence numbers from %d to %d", s.SmallestSeq, s.LargestSeq)
	case s.Placeholder > placeholder || s.Placeholder != 0 && s.SmallestSeq != s.LargestSeq:
		return fmt.Errorf("sequence numbers from %d to %d in place of %d", s.SmallestSeq, s.LargestSeq, s.Placeholder)
	case s.Deletes > s.Entries || s.Merges > s.Entries-s.Deletes || s.Expiring > s.Entries-s.Deletes-s.Merges || s.Shadowed > 0 && s.Shadowed >= s.Entries:
		return fmt.Errorf("%d entries, %d deletes, %d merges, %d expiring and %d shadowed", s.Entries, s.Deletes, s.Merges, s.Expiring, s.Shadowed)
	case s.HalfExpiry != 0 && (s.HalfExpiry < s.EarliestExpiry || s.HalfExpiry > s.LatestExpiry || 2*s.Expiring < s.Entries):
		return fmt.Errorf("half of %d entries ends at %d, %d of them from %d to %d", s.Entries, s.HalfExpiry, s.Expiring, s.EarliestExpiry, s.LatestExpiry)
	case s.EarliestExpiry > s.LatestExpiry || s.Expiring < 2 && s.EarliestExpiry != s.LatestExpiry || s.Expiring == 0 && s.LatestExpiry != 0:
		return fmt.Errorf("%d expiring, from %d to %d", s.Expiring, s.EarliestExpiry, s.LatestExpiry)
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
	RangeBytes  int64 // 0: no range deletes

	LargeValues uint64 // that lie in a block of their own, see index

	expiries []int64 // of the entries that were counted
}

const (
	// alwaysThere is how many properties every table has. The others are there where
	// they are not 0, so that a table without them is as in the first version.
	alwaysThere = 12

	// tagFirstOptional is the first tag that only informs: a version that does not know
	// a property from there on skips it.
	tagFirstOptional = 128
)

// fields returns what the properties block tells. Its payload holds for each property,
// in ascending order of tags, tag uvarint | length uvarint | content; a number is a
// u64. These are the properties from tag 1 on.
func (p *Properties) fields() [21]any {
	return [21]any{
		&p.Entries, &p.Deletes, &p.Shadowed, &p.Smallest, &p.Largest,
		(*uint64)(&p.SmallestSeq), (*uint64)(&p.LargestSeq),
		&p.RawKeyBytes, &p.RawValueBytes, &p.DataBlocks, &p.IndexBytes, &p.FilterBytes,
		&p.RangeDeletes, &p.Merges, &p.Expiring, &p.EarliestExpiry, &p.LatestExpiry,
		&p.RangeBytes, &p.LargeValues, (*uint64)(&p.Placeholder), &p.HalfExpiry,
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
		if i >= alwaysThere && isZero(content) {
			continue
		}
		dst = base.AppendField(binary.AppendUvarint(dst, uint64(i+1)), content)
	}
	return dst
}

// decodeProperties decodes the payload of the properties block that stands at offset.
// Size and identity are the caller's to fill in.
func decodeProperties(payload []byte, offset int64) (p Properties, err error) {
	fields := p.fields()
	last := uint64(0)
	for f := (base.Fields{Rest: payload}); len(f.Rest) > 0; {
		tag, content := f.Uvarint("tag"), f.Field("property")
		if f.Err != nil {
			return p, fmt.Errorf("property %d, after %d: %w", tag, last, f.Err)
		}
		switch {
		case tag <= last || last < alwaysThere && tag != last+1:
			err = fmt.Errorf("follows property %d", last)
		case tag <= uint64(len(fields)):
			err = setField(fields[tag-1], content)
			if tag > alwaysThere && isZero(content) {
				err = fmt.Errorf("0, which is not told")
			}
		case tag < tagFirstOptional:
			err = fmt.Errorf("%w: unknown table property", base.ErrIncompatible)
		}
		if err != nil {
			return p, fmt.Errorf("property %d: %w", tag, err)
		}
		last = tag
	}
	if last < alwaysThere {
		return p, fmt.Errorf("properties end after property %d", last)
	}
	p.DataBytes = offset - p.IndexBytes - p.FilterBytes - p.RangeBytes
	return p, p.check(offset)
}

func isZero(content []byte) bool { return len(bytes.Trim(content, "\x00")) == 0 }

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
	sound := p.IndexBytes != 0 && (p.RangeBytes != 0) == (p.RangeDeletes != 0)
	rest := offset
	for _, length := range []int64{p.IndexBytes, p.FilterBytes, p.RangeBytes} {
		sound = sound && length <= rest && (length == 0 || length >= blockTrailerBytes)
		rest -= length
	}
	if !sound {
		return fmt.Errorf("index of %d bytes, filter of %d bytes and %d range deletes of %d bytes before %d", p.IndexBytes, p.FilterBytes, p.RangeDeletes, p.RangeBytes, offset)
	}
	switch {
	case p.Entries == 0 && p.RangeDeletes == 0:
		if s := p.Summary; s.Smallest != nil || s.Largest != nil || p.DataBlocks|s.Deletes|s.Shadowed|s.Merges|s.Expiring != 0 {
			return fmt.Errorf("properties of a table without entries name some")
		}
		return nil
	case p.DataBlocks > p.Entries || (p.DataBlocks == 0) != (p.Entries == 0) || p.LargeValues > p.DataBlocks:
		return fmt.Errorf("%d entries in %d blocks, %d large values", p.Entries, p.DataBlocks, p.LargeValues)
	case p.Placeholder != 0 && p.SmallestSeq != p.Placeholder:
		return fmt.Errorf("number %d in place of %d", p.SmallestSeq, p.Placeholder)
	}
	return p.Summary.Check()
}

// count adds one entry, the next in order, to the figures. Largest is the last one.
func (p *Properties) count(key base.InternalKey, value []byte, shadowed bool) {
	trailer := key.Trailer()
	if p.Entries == 0 {
		p.Smallest, p.SmallestSeq = key.Clone(), trailer.Seq()
	}
	p.Entries++
	p.Largest = append(p.Largest[:0], key...)
	switch trailer.Kind() {
	case base.KindDelete:
		p.Deletes++
	case base.KindMerge:
		p.Merges++
	case base.KindSetExpiring:
		p.expiries = append(p.expiries, base.Until(value))
	}
	if shadowed {
		p.Shadowed++
	}
	p.SmallestSeq = min(p.SmallestSeq, trailer.Seq())
	p.LargestSeq = max(p.LargestSeq, trailer.Seq())
	p.RawKeyBytes += uint64(len(key) - base.TrailerBytes)
	p.RawValueBytes += uint64(len(value))
}

// countExpiries adds, after all entries, when values end.
func (p *Properties) countExpiries() {
	count := len(p.expiries)
	if count == 0 {
		return
	}
	slices.Sort(p.expiries)
	p.Expiring, p.EarliestExpiry, p.LatestExpiry = uint64(count), p.expiries[0], p.expiries[count-1]
	if half := (p.Entries + 1) / 2; half <= p.Expiring {
		p.HalfExpiry = p.expiries[half-1]
	}
	p.expiries = nil
}

// countRanges adds the range deletes to the figures, after all entries.
func (p *Properties) countRanges(l ranges.List) {
	if len(l) == 0 {
		return
	}
	start, end := l.Bounds()
	smallest := base.MakeInternalKey(start, l.Newest(start, base.MaxSeq), base.KindRangeDelete)
	largest := base.MakeInternalKey(end, base.MaxSeq, base.KindRangeDelete)
	oldest, newest := l.Seqs()
	if p.Entries == 0 {
		p.Smallest, p.Largest, p.SmallestSeq = smallest, largest, oldest
	}
	p.Smallest = slices.MinFunc([]base.InternalKey{p.Smallest, smallest}, base.Compare)
	p.Largest = slices.MaxFunc([]base.InternalKey{p.Largest, largest}, base.Compare)
	p.SmallestSeq, p.LargestSeq = min(p.SmallestSeq, oldest), max(p.LargestSeq, newest)
	p.RangeDeletes = l.Count()
}

// tail lists the blocks behind the data, in order; the last one's length is given.
func (p *Properties) tail(ownBytes int64) []BlockInfo {
	blocks := []BlockInfo{
		{Type: BlockFilter, SizeBytes: p.FilterBytes},
		{Type: BlockRangeDelete, SizeBytes: p.RangeBytes},
		{Type: BlockIndex, SizeBytes: p.IndexBytes},
		{Type: BlockProperties, SizeBytes: ownBytes},
	}
	offset := p.DataBytes
	for i := range blocks {
		blocks[i].Offset = offset
		offset += blocks[i].SizeBytes
	}
	return slices.DeleteFunc(blocks, func(b BlockInfo) bool { return b.SizeBytes == 0 })
}

// decodeIndex decodes the index of a table, which must be as these properties tell.
func (p *Properties) decodeIndex(payload []byte) (*index, error) {
	x, err := decodeIndex(payload, p.DataBytes)
	if err == nil && (p.DataBlocks != uint64(x.count()) || p.LargeValues != x.largeValues) {
		err = fmt.Errorf("properties tell of %d data blocks, %d of them large values, the index of %d and %d",
			p.DataBlocks, p.LargeValues, x.count(), x.largeValues)
	}
	return x, err
}

// decodeRanges decodes the range deletes of a table, which must be as these properties
// tell.
func (p *Properties) decodeRanges(payload []byte) (ranges.List, error) {
	l, err := ranges.Decode(payload)
	if err != nil {
		return nil, err
	}
	if count := l.Count(); count != p.RangeDeletes {
		return nil, fmt.Errorf("properties tell of %d range deletes, the block holds %d", p.RangeDeletes, count)
	}
	start, end := l.Bounds()
	oldest, newest := l.Seqs()
	if bytes.Compare(start, p.Smallest.UserKey()) < 0 || bytes.Compare(end, p.Largest.UserKey()) > 0 || oldest < p.SmallestSeq || newest > p.LargestSeq {
		return nil, fmt.Errorf("range deletes from %q to %q, numbers %d to %d, exceed the bounds %s to %s, %d to %d",
			start, end, oldest, newest, p.Smallest, p.Largest, p.SmallestSeq, p.LargestSeq)
	}
	return l, nil
}
