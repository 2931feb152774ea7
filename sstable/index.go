package sstable

import (
	"encoding/binary"
	"fmt"

	"lsmdb/internal/base"
)

// index tells which data block a key is in. It stays in memory as long as its table
// is open, and is immutable.
//
// Data block i holds the keys after separator i-1 up to separator i. The separators
// are the keys of a block like any other; each one's value is the length of its data
// block as a uvarint.
type index struct {
	separators block
	offsets    []int64 // block i is at offsets[i]; one more: where the last one ends
}

// appendSeparator appends to dst a short key that sorts at or after the key last and
// before the key next, of which last is the smaller. With the trailer 0 it is after
// every version of its user key.
func appendSeparator(dst []byte, last, next base.InternalKey) base.InternalKey {
	a, b := last.UserKey(), next.UserKey()
	n := commonPrefix(a, b)
	switch {
	case n == len(b): // two versions of one key: only the trailer tells them apart
		return append(dst, last...)
	case n+1 < len(b) && n+1 < len(a):
		return base.AppendInternalKey(dst, b[:n+1], 0)
	}
	return base.AppendInternalKey(dst, a, 0)
}

// decodeIndex decodes an index payload. The blocks must fill the file up to dataEnd.
func decodeIndex(payload []byte, dataEnd int64) (*index, error) {
	x := new(index)
	if err := x.separators.decode(payload, BlockIndex); err != nil {
		return nil, err
	}
	count := x.separators.count()
	x.offsets = make([]int64, count+1)
	for i := range count {
		value := x.separators.value(i)
		length, width := binary.Uvarint(value)
		if width <= 0 || width < len(value) || length < blockTrailerBytes || length > uint64(dataEnd-x.offsets[i]) {
			return nil, fmt.Errorf("index entry %d: the length of its block is malformed or exceeds the %d bytes of data that remain", i, dataEnd-x.offsets[i])
		}
		if i > 0 && base.Compare(x.separators.rest(i-1), x.separators.rest(i)) >= 0 {
			return nil, fmt.Errorf("index entry %d: its separator is not after the one before", i)
		}
		x.offsets[i+1] = x.offsets[i] + int64(length)
	}
	if x.offsets[count] != dataEnd {
		return nil, fmt.Errorf("index covers %d of %d bytes", x.offsets[count], dataEnd)
	}
	return x, nil
}

// count returns the number of data blocks.
func (x *index) count() int { return len(x.offsets) - 1 }

// extent returns where blocks i to last lie.
func (x *index) extent(i, last int) extent {
	return extent{offset: x.offsets[i], length: x.offsets[last+1] - x.offsets[i]}
}

// find returns the number of the block in which search or its successor is, unless
// that is the first entry of the block after it; count() if search is after every
// separator.
func (x *index) find(search base.InternalKey) int { return x.separators.find(search) }
