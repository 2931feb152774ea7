//go:build !race

package sstable

import (
	"testing"

	"lsmdb/internal/base"
)

// TestBlockAllocations: a read that misses the cache allocates what the block is made
// of and nothing else: itself, its data and its table. (The race detector allocates.)
func TestBlockAllocations(t *testing.T) {
	data, _ := write(t, benchItems(1000), WriterOptions{Compression: CompressionSnappy, FilterBitsPerKey: 10})
	table := open(t, data, ReaderOptions{})
	search := base.AppendSearchKey(nil, []byte("0000000000000500"), base.MaxSeq)
	hash := base.Hash(search.UserKey())
	n := testing.AllocsPerRun(2000, func() {
		if _, _, found, err := table.Get(search, hash); !found || err != nil {
			t.Fatal(found, err)
		}
	})
	if n > 3 {
		t.Errorf("%v allocations", n)
	}
}
