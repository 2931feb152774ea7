package base

import (
	"hash/crc32"

	"github.com/cespare/xxhash/v2"
)

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
