package salvage

import (
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/sstable"
)

// finder finds the blocks of a table without its index. A block tells neither its length nor
// where it begins. But its checksum fits only if both are right: so one is found where a
// checksum fits.
//
// Not even the beginning is known behind a damaged block. To try every pair of places would
// take for ever. Instead, each place gets two numbers, one as a beginning and one as an end, that
// are equal if the checksum between them fits. So the pair is found by looking the number of
// each beginning up among those of the ends behind it. Few places look like an end.
//
// This works because a CRC is linear. Let its register be p(i) when it has gone over the bytes up
// to i from 0, and R(s) when it has gone over what a block at s begins with, its identity and
// its offset. Going over a byte multiplies the register, as a polynomial over GF(2), by x^8 and
// adds what depends on the byte alone. So a block from s up to its checksum at e leaves
//
//	(R(s) + p(s)) * x^(8(e-s)) + p(e)
//
// there. That this is the checksum c(e) which stands there means, with x^(-8e) on both sides,
//
//	(R(s) + p(s)) * x^(-8s)  =  (c(e) + p(e)) * x^(-8e)
//
// and here the left side depends on the beginning alone, and the right side on the end.
type finder struct {
	file     *source
	identity uint32 // its checksum
	own      uint64 // the identity
	limit    int64  // blocks end here at the latest

	walk walk   // over the beginnings
	ends []end  // behind window, by their numbers
	from int64  // the window begins here
	seen []bool // by the first bits of a number, whether an end has such a one
}

// walk is what the finder knows of a place.
type walk struct {
	at       int64
	register uint32 // p(at)
	power    uint32 // x^(-8 at)
}

// step goes over a byte.
func (w *walk) step(b byte) {
	w.register = castagnoli[byte(w.register)^b] ^ w.register>>8
	w.power = w.power<<8 ^ inverses[w.power>>24]
	w.at++
}

// end is a place that looks like the end of a block.
type end struct {
	number uint32
	behind uint32 // the beginning of the window: where the checksum stands
}

const (
	windowBytes = 8 << 20 // ends are known so far ahead
	reachBytes  = windowBytes / 2
	seenShift   = 32 - 16
)

func newFinder(f *source, identity uint64, limit int64) *finder {
	return &finder{file: f, own: identity, identity: base.ChecksumNumber(0, identity), limit: limit, walk: walk{power: one}, from: -1}
}

// next returns the first block that begins at or behind a place, which lies behind what was
// found before. A block of more than reachBytes is found only if it begins there, or if nothing
// is damaged in front of it.
func (f *finder) next(from int64) (e extent, ok bool) {
	for f.walk.at < from {
		for _, b := range f.file.slice(f.walk.at, min(from, f.walk.at+aheadBytes)) {
			f.walk.step(b)
		}
	}
	first := f.number()
	for far := from + reachBytes; f.walk.at < f.limit; {
		if f.walk.at == far {
			if e, ok = f.reach(from, first); ok {
				return e, true
			}
			far = f.limit
		}
		if f.from < 0 || f.walk.at >= f.from+reachBytes {
			f.collect()
		}
		if e, ok = f.look(min(far, f.from+reachBytes)); ok {
			return e, true
		}
	}
	return e, false
}

// look goes on to a place, or some way in that direction, until a block begins.
func (f *finder) look(to int64) (e extent, ok bool) {
	border := f.walk.at - f.walk.at%aheadBytes + aheadBytes // so that what was read is not read again
	for _, b := range f.file.slice(f.walk.at, min(to, border, f.limit)) {
		number, looked := f.number(), false
		if f.seen[number>>seenShift] {
			if e, ok = f.lookUp(number); ok {
				return e, true
			}
			looked = true
		}
		f.walk.step(b)
		if looked {
			break // another part of the file may have been read meanwhile
		}
	}
	return e, false
}

// number returns that of the place as a beginning.
func (f *finder) number() uint32 {
	return multiply(^base.ChecksumNumber(f.identity, uint64(f.walk.at))^f.walk.register, f.walk.power)
}

// lookUp returns the block that begins here and has that number.
func (f *finder) lookUp(number uint32) (e extent, ok bool) {
	i, _ := slices.BinarySearchFunc(f.ends, number, func(e end, n uint32) int { return cmp.Compare(e.number, n) })
	for ; i < len(f.ends) && f.ends[i].number == number; i++ {
		e := extent{f.walk.at, f.from + int64(f.ends[i].behind) + 4 - f.walk.at}
		if f.holds(e) {
			return e, true
		}
	}
	return e, false
}

// holds reports whether a whole block lies there.
func (f *finder) holds(e extent) bool {
	b, err := readBlock(f.file, f.own, e)
	return err == nil && b.sound()
}

// collect lists the ends behind the place.
func (f *finder) collect() {
	f.from, f.ends, f.seen = f.walk.at, f.ends[:0], make([]bool, 1<<(32-seenShift))
	f.eachEnd(f.walk, f.from+windowBytes, func(w *walk, number uint32) bool {
		f.ends = append(f.ends, end{number, uint32(w.at - f.from)})
		f.seen[number>>seenShift] = true
		return true
	})
	slices.SortFunc(f.ends, func(a, b end) int { return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.behind, b.behind)) })
}

// reach looks for the end of a block that is longer than ends are known.
func (f *finder) reach(from int64, first uint32) (e extent, ok bool) {
	f.eachEnd(f.walk, from+maxBlockBytes, func(w *walk, number uint32) bool {
		if number == first {
			e = extent{from, w.at + 4 - from}
			ok = f.holds(e)
		}
		return !ok
	})
	return e, ok
}

// eachEnd shows each place up to a limit that looks like the end of a block, with its number,
// until see returns false.
func (f *finder) eachEnd(w walk, limit int64, see func(w *walk, number uint32) bool) {
	compression, kind := byte(0), byte(0) // the two bytes before the place
	for limit = min(limit, f.limit); w.at < limit; {
		piece := f.file.slice(w.at, min(w.at+aheadBytes, f.limit))
		start := w.at
		for int(w.at-start)+4 <= len(piece) && w.at < limit {
			rest := piece[w.at-start:]
			if mayEnd(compression, kind) {
				if !see(&w, multiply(^binary.LittleEndian.Uint32(rest)^w.register, w.power)) {
					return
				}
				piece = f.file.slice(start, start+int64(len(piece))) // see may have read another part
			}
			compression, kind = kind, rest[0]
			w.step(rest[0])
		}
		if w.at == start {
			return // fewer than four bytes are left
		}
	}
}

// mayEnd reports whether two bytes may be the compression and the type of a block.
func mayEnd(compression, kind byte) bool {
	return compression <= maxCompression && kind >= byte(sstable.BlockData) && kind <= byte(sstable.BlockRangeDelete)
}

// The registers of a CRC are polynomials whose bits are in reverse: the highest bit is that of x^0.
const one uint32 = 1 << 31

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	inverses   = makeInverses()
)

// multiply multiplies two polynomials modulo that of the CRC. It does without branches, which no
// processor could predict.
func multiply(a, b uint32) (product uint32) {
	for ; a != 0; a <<= 1 {
		product ^= b & -(a >> 31)
		b = b>>1 ^ crc32.Castagnoli&-(b&1)
	}
	return product
}

// makeInverses returns what the upper eight bits of a polynomial become when it is divided by x^8.
func makeInverses() (table [256]uint32) {
	for i := range table {
		p := uint32(i) << 24
		for range 8 {
			if p&one != 0 {
				p = (p^crc32.Castagnoli)<<1 | 1
			} else {
				p <<= 1
			}
		}
		table[i] = p
	}
	return table
}
