package sstable

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"sort"

	"lsmdb/internal/base"
)

// index tells which data block a key is in. It stays in memory, decoded, as long as
// its table is open, and is immutable.
//
// Block i holds the keys after separator i-1 up to separator i. Searching compares
// eight bytes of each separator, taken behind the prefix that all of them share, and
// looks at a whole separator only where these are equal.
type index struct {
	shared     []byte         // prefix of every separator
	prefixes   []uint64       // the eight bytes after it, big-endian, padded with zeros
	separators []byte         // user keys of the separators, one after the other
	bounds     []uint32       // separator i is separators[bounds[i]:bounds[i+1]]
	trailers   []base.Trailer // of the separators; 0 sorts after every version of the user key
	offsets    []int64        // block i is at offsets[i]; one more: where the last one ends
}

// indexEntryMinBytes is the least an entry takes: three lengths of one byte.
const indexEntryMinBytes = 3

// appendIndexEntry appends a block's entry to an index payload: key length uvarint |
// trailer uvarint | block length uvarint | user key.
func appendIndexEntry(dst, separator []byte, trailer base.Trailer, length int64) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(separator)))
	dst = binary.AppendUvarint(dst, uint64(trailer))
	dst = binary.AppendUvarint(dst, uint64(length))
	return append(dst, separator...)
}

// separator returns a short user key and a trailer that sort at or after the key
// last and before the key next, of which last is the smaller.
func separator(last, next base.InternalKey) ([]byte, base.Trailer) {
	a, b := last.UserKey(), next.UserKey()
	n := commonPrefix(a, b)
	switch {
	case n == len(b): // two versions of one key: only the trailer tells them apart
		return a, last.Trailer()
	case n+1 < len(b) && n+1 < len(a):
		return b[:n+1], 0
	}
	return a, 0
}

// decodeIndex decodes an index payload: the number of blocks u32, then the entries.
// The blocks must fill the file up to dataEnd. Lengths are checked before memory is
// taken for them; what is taken is bounded by a small multiple of the payload.
func decodeIndex(payload []byte, dataEnd int64) (*index, error) {
	if len(payload) < 4 {
		return nil, fmt.Errorf("index of %d bytes has no count", len(payload))
	}
	claimed, rest := binary.LittleEndian.Uint32(payload), payload[4:]
	if uint64(claimed) > uint64(len(rest)/indexEntryMinBytes) || uint64(len(rest)) > math.MaxUint32 {
		return nil, fmt.Errorf("index of %d bytes claims %d blocks", len(payload), claimed)
	}
	count := int(claimed)
	x := &index{
		separators: make([]byte, 0, len(rest)-indexEntryMinBytes*count),
		bounds:     make([]uint32, 1, count+1),
		trailers:   make([]base.Trailer, 0, count),
		offsets:    make([]int64, 1, count+1),
	}
	for i := range count {
		var err error
		if rest, err = x.decodeEntry(rest, dataEnd); err != nil {
			return nil, fmt.Errorf("index entry %d: %w", i, err)
		}
	}
	if len(rest) != 0 || x.dataEnd() != dataEnd {
		return nil, fmt.Errorf("index covers %d of %d bytes and leaves %d of its own", x.dataEnd(), dataEnd, len(rest))
	}
	x.buildPrefixes()
	return x, nil
}

func (x *index) decodeEntry(p []byte, dataEnd int64) (rest []byte, err error) {
	var fields [3]uint64
	for i := range fields {
		n, width := binary.Uvarint(p)
		if width <= 0 {
			return nil, fmt.Errorf("field %d is malformed", i)
		}
		fields[i], p = n, p[width:]
	}
	keyBytes, trailer, length := fields[0], base.Trailer(fields[1]), fields[2]
	if keyBytes > base.MaxKeyBytes || keyBytes > uint64(len(p)) {
		return nil, fmt.Errorf("separator of %d bytes exceeds what remains (%d) or the limit", keyBytes, len(p))
	}
	if length < blockTrailerBytes || length > uint64(dataEnd-x.dataEnd()) || length > maxPayloadBytes {
		return nil, fmt.Errorf("block of %d bytes does not fit the %d bytes of data that remain", length, dataEnd-x.dataEnd())
	}
	key := p[:keyBytes]
	if i := x.count() - 1; i >= 0 {
		if c := bytes.Compare(x.separator(i), key); c > 0 || c == 0 && x.trailers[i] <= trailer {
			return nil, fmt.Errorf("separator %q is not after the one before", key)
		}
	}
	x.separators = append(x.separators, key...)
	x.bounds = append(x.bounds, uint32(len(x.separators)))
	x.trailers = append(x.trailers, trailer)
	x.offsets = append(x.offsets, x.dataEnd()+int64(length))
	return p[keyBytes:], nil
}

func (x *index) buildPrefixes() {
	if x.count() == 0 {
		return
	}
	first, last := x.separator(0), x.separator(x.count()-1)
	x.shared = first[:commonPrefix(first, last)] // they are sorted: all share what these two share
	x.prefixes = make([]uint64, x.count())
	for i := range x.prefixes {
		x.prefixes[i] = prefix8(x.separator(i)[len(x.shared):])
	}
}

func prefix8(p []byte) uint64 {
	if len(p) >= 8 {
		return binary.BigEndian.Uint64(p)
	}
	var padded [8]byte
	copy(padded[:], p)
	return binary.BigEndian.Uint64(padded[:])
}

// count returns the number of data blocks.
func (x *index) count() int { return len(x.trailers) }

func (x *index) separator(i int) []byte { return x.separators[x.bounds[i]:x.bounds[i+1]] }

// dataEnd returns where the last data block ends.
func (x *index) dataEnd() int64 { return x.offsets[len(x.offsets)-1] }

func (x *index) extent(i int) extent {
	return extent{offset: x.offsets[i], length: x.offsets[i+1] - x.offsets[i]}
}

// blockAt returns the number of the block that holds the byte at offset.
func (x *index) blockAt(offset int64) int {
	return sort.Search(x.count(), func(i int) bool { return x.offsets[i+1] > offset })
}

// find returns the number of the block in which search or its successor is, unless
// that is the first entry of the block after it; count() if search is after every
// separator.
func (x *index) find(search base.InternalKey) int {
	user := search.UserKey()
	if !bytes.HasPrefix(user, x.shared) {
		if bytes.Compare(user, x.shared) < 0 {
			return 0
		}
		return x.count()
	}
	wanted := prefix8(user[len(x.shared):])
	low, high := 0, len(x.prefixes)
	for low < high {
		middle := int(uint(low+high) / 2)
		if p := x.prefixes[middle]; p < wanted || p == wanted && x.before(middle, search) {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// before reports whether separator i is before search.
func (x *index) before(i int, search base.InternalKey) bool {
	c := bytes.Compare(x.separator(i), search.UserKey())
	return c < 0 || c == 0 && x.trailers[i] > search.Trailer()
}
