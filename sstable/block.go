package sstable

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"lsmdb/internal/base"
)

// block is a data or index block in memory. It is checked and decoded once, when it
// is loaded, into a form in which every entry lies in one piece; so what searches and
// walks it does arithmetic, meets no errors and goes backward as easily as forward. A
// block is immutable but for the reference bit, and shared by everyone who reads it.
//
// A search compares eight bytes of each key, taken behind the prefix that all of them
// share, and looks at a whole key only where these are equal.
type block struct {
	data   []byte   // the shared prefix; then for each entry the rest of its user key, trailer and value
	table  []uint64 // for n entries: n heads, n+1 places
	prefix int      // length of the shared prefix

	// referenced is set by every hit and taken back by the cache, which spares a
	// block once for it. It is written only when it changes, so that hits by several
	// processors do not contend for the line.
	referenced atomic.Bool
}

// count returns the number of entries.
func (b *block) count() int { return len(b.table) / 2 }

// place returns where in data entry i starts and where its value does. Behind the last
// entry it returns where that ends.
func (b *block) place(i int) (start, value uint32) {
	p := b.table[b.count()+i]
	return uint32(p >> 32), uint32(p)
}

// rest returns the key of entry i without the shared prefix. It is an internal key in
// form, and sorts as the whole key among those with the prefix.
func (b *block) rest(i int) base.InternalKey {
	start, value := b.place(i)
	return base.InternalKey(b.data[start:value:value])
}

// value returns the value of entry i.
func (b *block) value(i int) []byte {
	_, value := b.place(i)
	end, _ := b.place(i + 1)
	return b.data[value:end:end]
}

// shared returns the bytes that all keys start with.
func (b *block) shared() []byte { return b.data[:b.prefix:b.prefix] }

// appendKey appends the key of entry i to dst.
func (b *block) appendKey(dst []byte, i int) base.InternalKey {
	return append(append(dst, b.data[:b.prefix]...), b.rest(i)...)
}

// find returns the number of the first entry at or after search; count() if there is
// none.
func (b *block) find(search base.InternalKey) int {
	if !bytes.HasPrefix(search.UserKey(), b.data[:b.prefix]) {
		if bytes.Compare(search.UserKey(), b.data[:b.prefix]) < 0 {
			return 0
		}
		return b.count()
	}
	wanted := search[b.prefix:]
	wantedHead := wanted.Head()
	heads := b.table[:b.count()]
	low, high := 0, len(heads)
	for low < high {
		middle := int(uint(low+high) / 2)
		if h := heads[middle]; h < wantedHead || h == wantedHead && base.Compare(b.rest(middle), wanted) < 0 {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// get finds the newest version of search's user key that is not newer than search.
func (b *block) get(search base.InternalKey) (value []byte, trailer base.Trailer, found bool) {
	i := b.find(search)
	if i == b.count() || !bytes.HasPrefix(search.UserKey(), b.data[:b.prefix]) {
		return nil, 0, false
	}
	key := b.rest(i)
	if !bytes.Equal(key.UserKey(), search[b.prefix:].UserKey()) {
		return nil, 0, false
	}
	return b.value(i), key.Trailer(), true
}

// memoryBytes is what b takes in memory, with what a cache needs to remember it.
func (b *block) memoryBytes() int64 {
	const overheadBytes = 256
	return int64(cap(b.data)) + 8*int64(cap(b.table)) + overheadBytes
}

// maxIntervalEntries is the longest run of entries from one restart point to the
// next. It bounds what prefixes can save, and so what a block can grow to in memory.
const maxIntervalEntries = 16

// entry is the decoded head of an entry in a payload, which holds entries, then the
// offset of every restart point as u32, then their number as u32. An entry is
//
//	shared uvarint | unshared uvarint | value length uvarint |
//	rest of the user key | trailer u64 | value
//
// where shared counts the bytes that its user key has in common with the user key
// before. The trailer is never shared. At a restart point shared is 0.
type entry struct {
	shared int
	body   int // the rest of the user key is payload[body:trailer]
	value  int
	end    int
}

func (e *entry) trailer() int { return e.value - base.TrailerBytes }

func (e *entry) userBytes() int { return e.shared + e.trailer() - e.body }

// parse decodes the entry at offset at of p.
func parse(p []byte, at int) (e entry, ok bool) {
	if len(p)-at >= 3 && p[at]|p[at+1]|p[at+2] < 0x80 {
		e.shared, e.body = int(p[at]), at+3
		e.value = e.body + int(p[at+1]) + base.TrailerBytes
		e.end = e.value + int(p[at+2])
		return e, e.end <= len(p)
	}
	return parseLong(p, at)
}

func parseLong(p []byte, at int) (e entry, ok bool) {
	var fields [3]uint64
	for i, limit := range [3]uint64{base.MaxKeyBytes, base.MaxKeyBytes, maxValueBytes} {
		n, width := binary.Uvarint(p[at:])
		if width <= 0 || n > limit {
			return e, false
		}
		fields[i], at = n, at+width
	}
	if fields[1]+base.TrailerBytes+fields[2] > uint64(len(p)-at) {
		return e, false
	}
	e.shared, e.body = int(fields[0]), at
	e.value = at + int(fields[1]) + base.TrailerBytes
	e.end = e.value + int(fields[2])
	return e, true
}

// maxValueBytes is the longest value of an entry.
const maxValueBytes = base.MaxValueBytes + base.ExpiryBytes

// checkKind says why an entry of the kind cannot have a value of that length.
func checkKind(kind base.Kind, valueBytes int) error {
	switch {
	case !kind.Known():
		return fmt.Errorf("%w: unknown operation kind (%s)", base.ErrIncompatible, kind)
	case kind == base.KindRangeDelete || kind == base.KindSetExpiring && valueBytes < base.ExpiryBytes:
		return fmt.Errorf("%s with a value of %d bytes", kind, valueBytes)
	}
	return nil
}

// shape is what the check of a payload finds out for the decoding.
type shape struct {
	entries   []byte // of the payload
	count     int
	prefix    int // bytes that all user keys share
	dataBytes int // length of the data of the block
}

// decode makes b the block with the given payload. It keeps none of that, unless the
// payload is longer than the buffers that are used again. Memory of b is reused, so b
// must not be shared already.
func (b *block) decode(payload []byte, t BlockType) error {
	s, err := check(payload, t)
	if err != nil {
		return err
	}
	b.fill(s)
	return nil
}

// check checks everything that a payload can tell by itself except the order of its
// keys.
func check(payload []byte, t BlockType) (s shape, err error) {
	entries, restarts, err := splitRestarts(payload)
	if err != nil {
		return s, err
	}
	s = shape{entries: entries, prefix: base.MaxKeyBytes}
	var first []byte // user key
	dataBytes, userBytes, run := int64(0), 0, maxIntervalEntries
	for at := 0; at < len(entries); s.count++ {
		e, ok := parse(entries, at)
		if !ok || e.shared > userBytes || e.userBytes() > base.MaxKeyBytes {
			return s, fmt.Errorf("entry at %d of its block is malformed", at)
		}
		if kind := base.Kind(entries[e.trailer()]); t == BlockData && kind != base.KindSet && kind != base.KindDelete {
			if err := checkKind(kind, e.end-e.value); err != nil {
				return s, fmt.Errorf("entry at %d of its block: %w", at, err)
			}
		}
		if len(restarts) > 0 && uint64(at) == uint64(binary.LittleEndian.Uint32(restarts)) {
			if e.shared != 0 {
				return s, fmt.Errorf("entry at %d is a restart point but shares %d bytes", at, e.shared)
			}
			user := entries[e.body:e.trailer()]
			if s.count == 0 {
				first = user
			}
			s.prefix = min(s.prefix, base.CommonPrefix(first, user))
			restarts, run = restarts[4:], 0
		}
		if run++; run > maxIntervalEntries {
			return s, fmt.Errorf("more than %d entries after a restart point, at %d of the block", maxIntervalEntries, at)
		}
		if run > 1 {
			s.prefix = min(s.prefix, e.shared)
		}
		userBytes = e.userBytes()
		dataBytes += int64(userBytes + e.end - e.trailer())
		at = e.end
	}
	dataBytes -= int64(s.prefix) * int64(s.count-1)
	switch {
	case len(restarts) > 0:
		return s, fmt.Errorf("restart point at %d is not where an entry starts", binary.LittleEndian.Uint32(restarts))
	case s.count == 0 && t == BlockData:
		return s, fmt.Errorf("data block without entries")
	case s.count == 0:
		return shape{}, nil
	case dataBytes > maxPayloadBytes:
		return s, fmt.Errorf("block holds entries of %d bytes", dataBytes)
	}
	s.dataBytes = int(dataBytes)
	return s, nil
}

// splitRestarts splits a payload into entries and restart points.
func splitRestarts(payload []byte) (entries, restarts []byte, err error) {
	end := len(payload) - 4
	if end < 0 {
		return nil, nil, fmt.Errorf("block of %d bytes has no restart points", len(payload))
	}
	count := binary.LittleEndian.Uint32(payload[end:])
	if uint64(count) > uint64(end)/4 {
		return nil, nil, fmt.Errorf("block of %d bytes claims %d restart points", len(payload), count)
	}
	return payload[:end-4*int(count)], payload[end-4*int(count) : end], nil
}

// fill decodes the entries of a payload that was checked.
func (b *block) fill(s shape) {
	b.prefix = s.prefix
	if cap(b.table) < 2*s.count+1 {
		b.table = make([]uint64, 2*s.count+1)
	}
	b.table = b.table[:2*s.count+1]
	if s.count == 1 && s.dataBytes > maxReusedBytes { // a long value, which need not be copied
		e, _ := parse(s.entries, 0)
		b.data = s.entries[e.body:e.end:e.end]
		copy(b.table, []uint64{0, uint64(s.prefix)<<32 | uint64(e.value-e.body), uint64(len(b.data)) << 32})
		return
	}
	data := resize(b.data, int64(s.dataBytes))[:0]
	before := 0 // where the entry before starts
	for i, at := 0, 0; i < s.count; i++ {
		e, _ := parse(s.entries, at)
		if i == 0 {
			data = append(data, s.entries[e.body:e.body+s.prefix]...)
		}
		start := len(data)
		if more := e.shared - s.prefix; more >= 0 {
			data = append(data, data[before:before+more]...)
			data = append(data, s.entries[e.body:e.end]...)
		} else { // a restart point, which repeats the prefix
			data = append(data, s.entries[e.body+s.prefix:e.end]...)
		}
		value := len(data) - (e.end - e.value)
		b.table[s.count+i] = uint64(start)<<32 | uint64(value)
		before, at = start, e.end
	}
	b.table[2*s.count] = uint64(len(data)) << 32
	b.data = data
	for i := range s.count { // not above: what was only just written is slow to read
		b.table[i] = b.rest(i).Head()
	}
}

// renumber puts seq in place of the placeholder in every trailer but those that have no
// number, of separators.
func (b *block) renumber(seq base.Seq) error {
	for i := range b.count() {
		_, value := b.place(i)
		at := b.data[value-base.TrailerBytes : value]
		switch t := base.Trailer(binary.LittleEndian.Uint64(at)); {
		case t == 0:
		case t.Seq() != placeholder:
			return fmt.Errorf("entry %d has number %d in place of %d", i, t.Seq(), placeholder)
		default:
			binary.LittleEndian.PutUint64(at, uint64(base.MakeTrailer(seq, t.Kind())))
		}
	}
	return nil
}

// index tells which data block a key is in. It stays in memory as long as its table
// is open, and is immutable.
//
// Data block i holds the keys after separator i-1 up to separator i. The separators
// are the keys of a block like any other; each one's value is a location.
type index struct {
	separators  block
	offsets     []int64 // block i is at offsets[i]; one more: where the last one ends
	largeValues uint64  // blocks that hold one
	largeBytes  []int   // how long that of block i is, noValue where it holds none; nil without any
}

// noValue is the length of a large value where there is none.
const noValue = -1

// appendLocation appends the location of a block of blockBytes. A location is what the value of an index entry tells of a data block: its
// length. Of a block that holds one large value and nothing else it tells more, so that
// nobody needs to read that in vain: the separator is the very key of the entry, and beside
// it stands how long the value is and, if it ends at some time, what it begins with.
//
//	[expiry u64] | length of the block uvarint | [length of the value uvarint]
func appendLocation(dst []byte, blockBytes int64, separator base.InternalKey, large []byte) []byte {
	if large == nil {
		return binary.AppendUvarint(dst, uint64(blockBytes))
	}
	if separator.Kind() == base.KindSetExpiring {
		dst = append(dst, large[:base.ExpiryBytes]...)
	}
	dst = binary.AppendUvarint(dst, uint64(blockBytes))
	return binary.AppendUvarint(dst, uint64(len(large)))
}

// parseLocation decodes p, which belongs to a separator of the given kind. A mere length
// is too short to be taken for one with an expiry.
func parseLocation(kind base.Kind, p []byte) (blockBytes uint64, valueBytes int, err error) {
	if len(p) <= 3 { // a mere length, in nearly every entry
		if n, width := binary.Uvarint(p); width == len(p) && n >= blockTrailerBytes && p[width-1] != 0 {
			return n, noValue, nil
		}
	}
	f := base.Fields{Rest: p}
	ends := kind == base.KindSetExpiring && len(p) >= base.ExpiryBytes+2
	if ends {
		f.Take("expiry", base.ExpiryBytes)
	}
	blockBytes = f.Uvarint("the length of its block")
	if f.Err == nil && len(f.Rest) == 0 && !ends {
		return blockBytes, noValue, nil
	}
	valueBytes = int(f.Number("the length of a large value", 0, maxValueBytes))
	if f.Err == nil && (len(f.Rest) > 0 || kind == base.KindDelete || kind == 0) {
		f.Err = errors.New("the length of its block, or of a large value, is malformed")
	}
	return blockBytes, valueBytes, cmp.Or(f.Err, checkKind(kind, valueBytes))
}

// appendSeparator appends to dst a short key that sorts at or after the key last and
// before the key next, of which last is the smaller. With the trailer 0 it is after
// every version of its user key.
func appendSeparator(dst []byte, last, next base.InternalKey) base.InternalKey {
	a, b := last.UserKey(), next.UserKey()
	n := base.CommonPrefix(a, b)
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
		blockBytes, valueBytes, err := parseLocation(x.separators.rest(i).Kind(), x.separators.value(i))
		if err != nil {
			return nil, fmt.Errorf("index entry %d: %w", i, err)
		}
		if blockBytes < blockTrailerBytes || blockBytes > uint64(dataEnd-x.offsets[i]) {
			return nil, fmt.Errorf("index entry %d: the length of its block, %d, is too short or exceeds the %d bytes of data that remain", i, blockBytes, dataEnd-x.offsets[i])
		}
		if valueBytes != noValue {
			if x.largeValues++; x.largeBytes == nil {
				x.largeBytes = slices.Repeat([]int{noValue}, count)
			}
			x.largeBytes[i] = valueBytes
		}
		if heads := x.separators.table; i > 0 && heads[i-1] >= heads[i] && base.Compare(x.separators.rest(i-1), x.separators.rest(i)) >= 0 {
			return nil, fmt.Errorf("index entry %d: its separator is not after the one before", i)
		}
		x.offsets[i+1] = x.offsets[i] + int64(blockBytes)
	}
	if x.offsets[count] != dataEnd {
		return nil, fmt.Errorf("index covers %d of %d bytes", x.offsets[count], dataEnd)
	}
	return x, nil
}

// memoryBytes is what x takes in memory.
func (x *index) memoryBytes() int64 {
	return x.separators.memoryBytes() + 8*int64(len(x.offsets)+len(x.largeBytes))
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

// large reports whether block i holds a large value and nothing else, and how long that is.
func (x *index) large(i int) (valueBytes int, ok bool) {
	if x.largeBytes == nil {
		return noValue, false
	}
	return x.largeBytes[i], x.largeBytes[i] != noValue
}

// stub makes b what is known of the block i with a large value: its key, and of the value
// no more than when it ends. It shares the memory of the index.
func (x *index) stub(i int, b *block) {
	start, value := x.separators.place(i)
	end := value
	if x.separators.rest(i).Kind() == base.KindSetExpiring {
		end += base.ExpiryBytes
	}
	b.data, b.prefix = x.separators.data, x.separators.prefix
	b.table = append(b.table[:0], x.separators.table[i], uint64(start)<<32|uint64(value), uint64(end)<<32)
}

// lastBefore returns the number of the last block that may hold a key before search; -1
// if none does.
func (x *index) lastBefore(search base.InternalKey) int {
	i := x.find(search)
	if i < x.count() {
		if _, large := x.large(i); large { // the separator is all there is in it
			i--
		}
	}
	return i
}
