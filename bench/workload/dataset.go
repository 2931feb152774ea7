package workload

import (
	"bytes"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"strconv"
)

// KeyBytes is the length of every key.
const KeyBytes = 16

// Dataset says which keys and values there are: entry i of n has a key and, for
// each version, a value that follow from i alone, so that every read can be
// verified without remembering anything. It is immutable.
type Dataset struct {
	Entries    int64
	ValueBytes int
	counter    bool
	stride     uint64 // between the numbers of neighbouring keys
	pool       []byte // values are slices of it
	rounds     [4]uint64
	halfBits   uint
}

const (
	pieceBytes = 100
	poolBytes  = 10_000 * pieceBytes
	slots      = 4 // key numbers per entry: 0 present, 1 inserted later, 2 always missing
)

// NewDataset describes n entries. Keys are the numbers of the entries in 16 digits:
// hexadecimal and spread over the whole key space, or, with counter, decimal with
// leading zeros. Values are half of random bytes, or words.
func NewDataset(n int64, valueBytes int, counter, text bool) *Dataset {
	d := &Dataset{Entries: n, ValueBytes: valueBytes, counter: counter}
	d.stride = slots
	if !counter {
		d.stride = ^uint64(0) / uint64(n+1) / slots * slots
	}
	rng := rand.New(rand.NewPCG(1, 2))
	if text {
		d.pool = words(rng, poolBytes+valueBytes)
	} else {
		d.pool = halfCompressible(rng, poolBytes+valueBytes)
	}
	for i := range d.rounds {
		d.rounds[i] = rng.Uint64()
	}
	d.halfBits = uint(bits.Len64(uint64(n-1))+1) / 2
	return d
}

// halfCompressible returns pieces of which the second half repeats the first, of
// random bytes: from the beginning of a piece on, values shrink to half.
func halfCompressible(rng *rand.Rand, n int) []byte {
	pool := make([]byte, 0, n+pieceBytes)
	for len(pool) < n {
		start := len(pool)
		for range pieceBytes / 2 {
			pool = append(pool, byte(rng.Uint32()))
		}
		pool = append(pool, pool[start:]...)
	}
	return pool[:n]
}

// words returns text of 5,000 words, in which short words and frequent ones are few, as
// in a language.
func words(rng *rand.Rand, n int) []byte {
	known := make([][]byte, 5000)
	for i := range known {
		for range 2 + rng.IntN(8) {
			known[i] = append(known[i], "etaoinshrdlu"[rng.IntN(12)])
		}
	}
	text := make([]byte, 0, n+pieceBytes)
	for len(text) < n {
		word := known[int(float64(len(known))*math.Pow(rng.Float64(), 3))]
		text = append(append(text, word...), ' ')
	}
	return text[:n]
}

// Key writes the key of entry i into dst.
func (d *Dataset) Key(dst []byte, i int64) []byte { return d.appendKey(dst[:0], i, 0) }

// InsertedKey writes a key that lies right after that of entry i and is not there
// at first.
func (d *Dataset) InsertedKey(dst []byte, i int64) []byte { return d.appendKey(dst[:0], i, 1) }

// MissingKey writes a key that lies between two entries and never gets a value.
func (d *Dataset) MissingKey(dst []byte, i int64) []byte { return d.appendKey(dst[:0], i, 2) }

func (d *Dataset) appendKey(dst []byte, i int64, slot uint64) []byte {
	number := uint64(i)*d.stride + slot*(d.stride/slots)
	dst = append(dst, "0000000000000000"...)
	// Two loops with constant bases: a division per digit would be much of what the
	// harness adds to every operation.
	if d.counter {
		for at := len(dst) - 1; number > 0; at-- {
			dst[at] = byte('0' + number%10)
			number /= 10
		}
		return dst
	}
	for at := len(dst) - 1; number > 0; at-- {
		dst[at] = "0123456789abcdef"[number%16]
		number /= 16
	}
	return dst
}

// Entry returns the number of the entry whose key this is.
func (d *Dataset) Entry(key []byte) (int64, error) {
	base := 16
	if d.counter {
		base = 10
	}
	number, err := strconv.ParseUint(string(key), base, 64)
	if err != nil || number%d.stride != 0 {
		return 0, fmt.Errorf("key %q was never stored", key)
	}
	return int64(number / d.stride), nil
}

// Value returns the value of entry i in a version. It is shared: not to be changed.
func (d *Dataset) Value(i int64, version uint64) []byte {
	offset := mix(uint64(i)+version<<48) % (poolBytes / pieceBytes) * pieceBytes
	return d.pool[offset : offset+uint64(d.ValueBytes)]
}

// Versions that workloads write: loading writes 0, overwriting 1.
const versions = 2

// Check compares a value that was read with those that entry i may have.
func (d *Dataset) Check(i int64, value []byte) error {
	_, err := d.Version(i, value)
	return err
}

// Version returns the version of a value that was read: the first one, where several are
// the same.
func (d *Dataset) Version(i int64, value []byte) (uint64, error) {
	for version := range uint64(versions) {
		if bytes.Equal(value, d.Value(i, version)) {
			return version, nil
		}
	}
	return 0, fmt.Errorf("entry %d has a wrong value of %d bytes", i, len(value))
}

// Permute returns the i-th of a random order of all entries: a Feistel network over
// the next power of four, walked until it falls among the entries. Different salts
// give different orders.
func (d *Dataset) Permute(i int64, salt uint64) int64 {
	mask := uint64(1)<<d.halfBits - 1
	x := uint64(i)
	for {
		left, right := x>>d.halfBits, x&mask
		for _, round := range d.rounds {
			left, right = right, left^(mix(right+round+salt)&mask)
		}
		x = left<<d.halfBits | right
		if x < uint64(d.Entries) {
			return int64(x)
		}
	}
}

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
