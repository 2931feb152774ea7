package memtable

import (
	"math/bits"
	"sync/atomic"
)

// filter is a Bloom filter (B. Bloom, "Space/Time Trade-offs in Hash Coding with
// Allowable Errors", 1970) in which all bits of a key lie in one word: a lookup
// costs one cache miss, and the one writer adds a key with one store. A word of
// zeros that nobody writes costs no memory.
type filter []atomic.Uint64

// place returns the word of a key's hash and its bits in there: up to four.
func (f filter) place(hash uint64) (*atomic.Uint64, uint64) {
	at, _ := bits.Mul64(hash, uint64(len(f)))
	mask := uint64(1)<<(hash&63) | 1<<(hash>>6&63) | 1<<(hash>>12&63) | 1<<(hash>>18&63)
	return &f[at], mask
}

// mayContain reports false only for a hash that was not added.
func (f filter) mayContain(hash uint64) bool {
	place, mask := f.place(hash)
	return place.Load()&mask == mask
}
