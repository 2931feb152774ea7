// Package base holds the vocabulary that every floor of lsmdb shares: internal
// keys and their order, operation kinds, limits, errors, file names and the
// encoding of a batch of operations. It depends on nothing else in the module.
package base

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// Limits on what a caller may store. They are checked before any state changes.
const (
	MaxKeyBytes   = 1<<16 - 1 // longest user key, in bytes; the empty key is legal
	MaxValueBytes = 256 << 20 // longest value, in bytes
	MaxBatchBytes = 1 << 30   // longest encoded batch, in bytes
)

// Kind says what an operation does to its key. The numbers are part of every
// file format and never change; 0 stays unused so that zeroed bytes never
// decode as an operation.
type Kind uint8

const (
	KindSet         Kind = 1 // the key has this value
	KindDelete      Kind = 2 // the key has no value
	KindRangeDelete Kind = 3 // no key of a range has a value; never an entry of a memtable or table
	KindMerge       Kind = 4 // an operand, to be merged onto what is older
	KindSetExpiring Kind = 5 // the key has this value until some time, which begins the value

	// KindSeek appears only in search keys. It is the largest kind, so a search
	// key sorts before every stored version that has the same sequence number.
	KindSeek Kind = 0xff
)

var kindNames = []string{
	KindSet: "set", KindDelete: "delete", KindSeek: "seek",
	KindRangeDelete: "range-delete", KindMerge: "merge", KindSetExpiring: "set-expiring",
}

func (k Kind) String() string { return NameOf(kindNames, "kind", k) }

// Seq is a sequence number: the position of one operation in the history of the
// database. It has 56 bits. The first operation has number 1.
type Seq uint64

// MaxSeq is the largest sequence number. A search at MaxSeq sees everything.
const MaxSeq Seq = 1<<56 - 1

// Trailer packs a sequence number and a kind: seq << 8 | kind.
type Trailer uint64

// MakeTrailer packs seq and kind.
func MakeTrailer(seq Seq, kind Kind) Trailer { return Trailer(seq)<<8 | Trailer(kind) }

// Seq returns the sequence number.
func (t Trailer) Seq() Seq { return Seq(t >> 8) }

// Kind returns the kind.
func (t Trailer) Kind() Kind { return Kind(t) }

// TrailerBytes is the encoded length of a Trailer.
const TrailerBytes = 8

// InternalKey is a user key followed by its trailer, 8 bytes little-endian.
// The order is user key ascending, then trailer descending: the newest version
// of a key comes first. A valid InternalKey has at least TrailerBytes bytes.
type InternalKey []byte

// AppendInternalKey appends the internal key of user at t to dst.
func AppendInternalKey(dst, user []byte, t Trailer) InternalKey {
	dst = append(dst, user...)
	return binary.LittleEndian.AppendUint64(dst, uint64(t))
}

// MakeInternalKey allocates an internal key.
func MakeInternalKey(user []byte, seq Seq, kind Kind) InternalKey {
	return AppendInternalKey(make([]byte, 0, len(user)+TrailerBytes), user, MakeTrailer(seq, kind))
}

// AppendSearchKey appends the key that sorts before every version of user with
// a sequence number of seq or less, and after every newer one.
func AppendSearchKey(dst, user []byte, seq Seq) InternalKey {
	return AppendInternalKey(dst, user, MakeTrailer(seq, KindSeek))
}

// UserKey returns the user key; it shares the memory of k.
func (k InternalKey) UserKey() []byte {
	n := len(k) - TrailerBytes
	return k[:n:n]
}

// Trailer returns the trailer.
func (k InternalKey) Trailer() Trailer {
	return Trailer(binary.LittleEndian.Uint64(k[len(k)-TrailerBytes:]))
}

// Seq returns the sequence number.
func (k InternalKey) Seq() Seq { return k.Trailer().Seq() }

// Kind returns the kind.
func (k InternalKey) Kind() Kind { return k.Trailer().Kind() }

// Head returns the first eight bytes of the user key, big-endian and padded with zeros:
// keys sort as their heads do where these differ. It reads them in one load, as the
// trailer follows the user key, and drops what is not user key.
func (k InternalKey) Head() uint64 {
	head := binary.BigEndian.Uint64(k)
	if n := len(k) - TrailerBytes; n < 8 {
		head &= ^uint64(0) << (64 - 8*n)
	}
	return head
}

// Clone returns a copy that shares no memory with k.
func (k InternalKey) Clone() InternalKey { return bytes.Clone(k) }

func (k InternalKey) String() string {
	if len(k) < TrailerBytes {
		return fmt.Sprintf("malformed internal key %x", []byte(k))
	}
	return fmt.Sprintf("%q#%d,%s", k.UserKey(), k.Seq(), k.Kind())
}

// Compare orders internal keys: user key ascending, then trailer descending.
func Compare(a, b InternalKey) int {
	an, bn := len(a)-TrailerBytes, len(b)-TrailerBytes
	if c := bytes.Compare(a[:an], b[:bn]); c != 0 {
		return c
	}
	return cmp.Compare(binary.LittleEndian.Uint64(b[bn:]), binary.LittleEndian.Uint64(a[an:]))
}

// CommonPrefix returns the length of the longest common prefix of a and b.
func CommonPrefix(a, b []byte) int {
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

// CheckInternalKey says what is wrong with a key that came from disk: too short
// for a trailer, too long, or of a kind that this version does not know. The
// latter wraps ErrIncompatible; the caller adds file and offset.
func CheckInternalKey(k []byte) error {
	if len(k) < TrailerBytes {
		return fmt.Errorf("internal key of %d bytes is shorter than its trailer", len(k))
	}
	if len(k)-TrailerBytes > MaxKeyBytes {
		return fmt.Errorf("key of %d bytes exceeds the limit of %d", len(k)-TrailerBytes, MaxKeyBytes)
	}
	if kind := InternalKey(k).Kind(); !kind.Known() {
		return fmt.Errorf("%w: unknown operation kind (%s)", ErrIncompatible, kind)
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum continues a CRC-32C (Castagnoli) over p. Start with 0. It detects
// accidents, not attackers.
func Checksum(crc uint32, p []byte) uint32 { return crc32.Update(crc, castagnoli, p) }

// ChecksumNumber continues a Checksum over the eight bytes of n, little-endian. Unlike
// that it allocates nothing for them.
func ChecksumNumber(crc uint32, n uint64) uint32 {
	crc = ^crc
	for range 8 {
		crc, n = castagnoli[byte(crc)^byte(n)]^crc>>8, n>>8
	}
	return ^crc
}

// Hash is the one 64-bit hash of a user key (xxHash64, seed 0). Filters on disk
// depend on it: it never changes within a format version.
func Hash(userKey []byte) uint64 { return xxhash.Sum64(userKey) }
