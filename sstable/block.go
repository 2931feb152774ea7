package sstable

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync/atomic"

	"lsmdb/internal/base"
)

// block is a data block in memory: the payload as it was written, checked as far as
// searching it needs. It is immutable but for the reference bit, and shared by
// everyone who reads it.
//
// A payload holds entries, then the offset of every restart point, then their
// number. An entry is
//
//	shared uvarint | unshared uvarint | value length uvarint |
//	rest of the user key | trailer u64 | value
//
// where shared counts the bytes that its user key has in common with the user key
// before. The trailer is never shared, so that a search compares user keys piece by
// piece and reads sequence numbers where they lie. At a restart point shared is 0.
type block struct {
	entries  []byte
	restarts []byte // u32 each

	// referenced is set by every hit and taken back by the cache, which spares a
	// block once for it. It is written only when it changes, so that hits by several
	// processors do not contend for the line.
	referenced atomic.Bool
}

// maxIntervalEntries is the longest run of entries from one restart point to the
// next. Moving backward decodes one run, so it bounds the memory of that.
const maxIntervalEntries = 16

// init makes b the block with the given payload.
func (b *block) init(payload []byte) error {
	if len(payload) < 4 {
		return fmt.Errorf("data block of %d bytes has no restart points", len(payload))
	}
	end := len(payload) - 4
	count := binary.LittleEndian.Uint32(payload[end:])
	if count == 0 || uint64(count) > uint64(end)/4 {
		return fmt.Errorf("data block of %d bytes claims %d restart points", len(payload), count)
	}
	b.entries, b.restarts = payload[:end-4*int(count)], payload[end-4*int(count):end]
	last := -1
	for i := 0; i < b.restartCount(); i++ {
		at := binary.LittleEndian.Uint32(b.restarts[4*i:])
		if uint64(at) >= uint64(len(b.entries)) || int(at) <= last || i == 0 && at != 0 {
			return fmt.Errorf("restart point %d at %d is out of place", i, at)
		}
		last = int(at)
	}
	return nil
}

func (b *block) restartCount() int { return len(b.restarts) / 4 }

func (b *block) restart(i int) int { return int(binary.LittleEndian.Uint32(b.restarts[4*i:])) }

// memoryBytes is what b takes in memory, with what a cache needs to remember it.
func (b *block) memoryBytes() int64 {
	const overheadBytes = 256
	return int64(cap(b.entries)) + overheadBytes
}

// entry is the decoded head of an entry. Its user key's own part is
// entries[body:trailer], its value entries[value:end].
type entry struct {
	shared               int
	body, trailer, value int
	end                  int
}

// parse decodes the entry at offset at, which lies within the entries.
func (b *block) parse(at int) (e entry, ok bool) {
	p := b.entries
	if len(p)-at >= 3 && p[at]|p[at+1]|p[at+2] < 0x80 {
		e.shared, e.body = int(p[at]), at+3
		e.trailer = e.body + int(p[at+1])
		e.value = e.trailer + base.TrailerBytes
		e.end = e.value + int(p[at+2])
		return e, e.end <= len(p)
	}
	return b.parseLong(at)
}

func (b *block) parseLong(at int) (e entry, ok bool) {
	p := b.entries[at:]
	var fields [3]uint64
	for i, limit := range [3]uint64{base.MaxKeyBytes, base.MaxKeyBytes, base.MaxValueBytes} {
		n, width := binary.Uvarint(p)
		if width <= 0 || n > limit {
			return e, false
		}
		fields[i], p = n, p[width:]
	}
	if fields[1]+base.TrailerBytes+fields[2] > uint64(len(p)) {
		return e, false
	}
	e.shared, e.body = int(fields[0]), len(b.entries)-len(p)
	e.trailer = e.body + int(fields[1])
	e.value = e.trailer + base.TrailerBytes
	e.end = e.value + int(fields[2])
	return e, true
}

func (b *block) trailerAt(at int) base.Trailer {
	return base.Trailer(binary.LittleEndian.Uint64(b.entries[at:]))
}

func malformedEntry(at int) error {
	return fmt.Errorf("entry at %d of its block is malformed", at)
}

// seekRestart returns the number of the last restart point whose key is before
// search, or -1 where none is.
func (b *block) seekRestart(search base.InternalKey) (int, error) {
	user, trailer := search.UserKey(), search.Trailer()
	low, high := 0, b.restartCount()
	for low < high {
		middle := int(uint(low+high) / 2)
		at := b.restart(middle)
		e, ok := b.parse(at)
		if !ok || e.shared != 0 {
			return 0, malformedEntry(at)
		}
		c := bytes.Compare(b.entries[e.body:e.trailer], user)
		if c < 0 || c == 0 && b.trailerAt(e.trailer) > trailer {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low - 1, nil
}

// get finds the newest version of search's user key that is not newer than search.
// It compares keys where they lie: matched is the number of bytes that the entry
// before has in common with the user key. An entry that shares more than that with
// its predecessor differs from the user key in the same place, so is before it too.
func (b *block) get(search base.InternalKey) (value []byte, trailer base.Trailer, found bool, err error) {
	restart, err := b.seekRestart(search)
	if err != nil {
		return nil, 0, false, err
	}
	user := search.UserKey()
	matched, before := 0, 0 // before: length of the user key of the entry before
	for at := b.restart(max(restart, 0)); at < len(b.entries); {
		e, ok := b.parse(at)
		if !ok || e.shared > before {
			return nil, 0, false, malformedEntry(at)
		}
		before = e.shared + e.trailer - e.body
		if e.shared <= matched {
			rest := user[e.shared:]
			n := commonPrefix(b.entries[e.body:e.trailer], rest)
			matched = e.shared + n
			switch {
			case n == len(rest) && before == len(user):
				trailer = b.trailerAt(e.trailer)
				if trailer <= search.Trailer() {
					return b.found(e, at)
				}
			case n == len(rest), e.body+n < e.trailer && b.entries[e.body+n] > rest[n]:
				return nil, 0, false, nil
			}
		}
		at = e.end
	}
	return nil, 0, false, nil
}

func (b *block) found(e entry, at int) (value []byte, trailer base.Trailer, found bool, err error) {
	trailer = b.trailerAt(e.trailer)
	if !trailer.Kind().Known() {
		return nil, 0, false, unknownKind(trailer.Kind(), at)
	}
	return b.entries[e.value:e.end:e.end], trailer, true, nil
}

func unknownKind(kind base.Kind, at int) error {
	return fmt.Errorf("entry at %d of its block: %w: unknown operation kind (%s)", at, base.ErrIncompatible, kind)
}

// commonPrefix returns the length of the longest common prefix of a and b.
func commonPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for ; n-i >= 8; i += 8 {
		if differ := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); differ != 0 {
			return i + bits.TrailingZeros64(differ)/8
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// blockBuilder assembles the payload of one data block after the other.
type blockBuilder struct {
	buffer   []byte
	restarts []uint32
	count    int
}

// entryBytes bounds what an entry adds to the block. shared is the length of the
// prefix that its user key has in common with the one before.
func (b *blockBuilder) entryBytes(key base.InternalKey, value []byte, shared int) int64 {
	const lengthsAndRestart = 3 + 3 + 5 + 4
	return lengthsAndRestart + int64(len(key)-shared) + int64(len(value))
}

func (b *blockBuilder) sizeBytes() int64 {
	return int64(len(b.buffer)) + 4*int64(len(b.restarts)+1)
}

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
