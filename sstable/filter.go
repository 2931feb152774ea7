package sstable

import (
	"fmt"
	"math/bits"

	"lsmdb/internal/base"
)

// filter tells that a user key is certainly not in a table. It is a blocked Bloom
// filter (Putze, Sanders, Singler 2007): one line of 64 bytes is chosen for each key,
// which costs one cache miss, and within it the bits of a double hashing sequence
// (Kirsch, Mitzenmacher 2006). The zero filter holds every key.
//
// Its payload is the lines, then kind u8 and probes u8.
type filter struct {
	lines  []byte
	count  uint64 // of lines
	probes uint32
}

const (
	filterLineBytes    = 64
	filterTrailerBytes = 2
	filterKindBlocked  = 1
	maxFilterProbes    = 16
	maxFilterLines     = maxPayloadBytes/filterLineBytes - 1
	maxFilterBits      = 64 // per key; more gains nothing
)

// buildFilter makes the payload of a filter over hashes with bitsPerKey bits each.
func buildFilter(hashes [][]uint64, bitsPerKey int) []byte {
	bitsPerKey = min(bitsPerKey, maxFilterBits)
	keys := (len(hashes)-1)*pieceHashes + len(hashes[len(hashes)-1])
	count := filterLines(uint64(keys), uint64(bitsPerKey))
	// ln 2 probes per bit would be right for a plain Bloom filter; the uneven load of
	// the lines makes slightly fewer better.
	probes := max(1, min(maxFilterProbes, bitsPerKey*6/10))
	payload := make([]byte, count*filterLineBytes, count*filterLineBytes+filterTrailerBytes)
	f := filter{lines: payload, count: count, probes: uint32(probes)}
	for _, piece := range hashes {
		for _, hash := range piece {
			line, position, step := f.locate(hash)
			for range f.probes {
				line[position>>26] |= 1 << (position >> 23 & 7)
				position += step
			}
		}
	}
	return append(payload, filterKindBlocked, byte(probes))
}

// pieceHashes is how many hashes are gathered in one piece, so that nothing is copied when
// they become more.
const pieceHashes = 4096

func appendHash(pieces [][]uint64, hash uint64) [][]uint64 {
	last := len(pieces) - 1
	if last < 0 || len(pieces[last]) == pieceHashes {
		return append(pieces, append(make([]uint64, 0, pieceHashes), hash))
	}
	pieces[last] = append(pieces[last], hash)
	return pieces
}

// filterLines returns how many lines give each key its bits; beyond what a block may
// hold, keys get fewer.
func filterLines(keys, bitsPerKey uint64) uint64 {
	const lineBits = filterLineBytes * 8
	return min(max(1, (keys*bitsPerKey+lineBits-1)/lineBits), maxFilterLines)
}

func decodeFilter(payload []byte) (filter, error) {
	size := len(payload) - filterTrailerBytes
	if size < filterLineBytes || size%filterLineBytes != 0 {
		return filter{}, fmt.Errorf("filter of %d bytes does not hold whole lines", len(payload))
	}
	if kind := payload[size]; kind != filterKindBlocked {
		return filter{}, fmt.Errorf("%w: unknown filter kind (%d)", base.ErrIncompatible, kind)
	}
	probes := payload[size+1]
	if probes == 0 || probes > maxFilterProbes {
		return filter{}, fmt.Errorf("filter with %d probes", probes)
	}
	return filter{lines: payload[:size], count: uint64(size / filterLineBytes), probes: uint32(probes)}, nil
}

// locate returns the line of a key and its bit sequence: nine leading bits of each
// position number a bit of the line.
func (f *filter) locate(hash uint64) (line []byte, position, step uint32) {
	number, _ := bits.Mul64(hash, f.count)
	mixed := hash * 0x9e3779b97f4a7c15
	at := number * filterLineBytes
	return f.lines[at : at+filterLineBytes], uint32(mixed), uint32(mixed>>32) | 1
}

// These stand for the filter of a table, and hold every key. A present key needs no filter,
// and a filter takes about as long to load as all else of a table. So a table begins with
// later. The first search that finds nothing makes the filter due, and the search after that
// loads it. A table has none if it was written so, or is unloaded.
var later, due, none = new(filter), new(filter), new(filter)

// memoryBytes is what f takes in memory.
func (f *filter) memoryBytes() int64 { return int64(len(f.lines)) }

// mayContain reports whether the key with that hash may be in the table.
func (f *filter) mayContain(hash uint64) bool {
	if f.count == 0 {
		return true
	}
	line, position, step := f.locate(hash)
	for range f.probes {
		if line[position>>26]&(1<<(position>>23&7)) == 0 {
			return false
		}
		position += step
	}
	return true
}
