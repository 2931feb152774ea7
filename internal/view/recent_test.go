package view

import (
	"fmt"
	"testing"
	"time"

	"lsmdb/internal/base"
)

// TestManyReadsAndRangeDeletes: to compare what a transaction has read with range deletes
// does not take one look at each key for each of them. All writers wait for that.
func TestManyReadsAndRangeDeletes(t *testing.T) {
	const keys, deletes = 100_000, 4000
	var reads Reads
	for i := range keys {
		reads.Add(fmt.Appendf(nil, "k%08d", i))
	}
	reads.Seal()
	var recent Recent
	recent.Begin(0, true)
	for seq := base.Seq(1); seq <= deletes; seq++ {
		recent.Add(base.Op{Kind: base.KindRangeDelete, Key: fmt.Appendf(nil, "m%d", seq), Value: []byte("n")}, seq)
	}
	start := time.Now()
	if found := recent.Changed(&reads, 0); found != nil {
		t.Error(found)
	}
	if took := time.Since(start); took > 30*time.Second { // it was minutes, and is milliseconds
		t.Error("comparing takes", took)
	}
	recent.Add(base.Op{Kind: base.KindRangeDelete, Key: []byte("k00000500"), Value: []byte("k00000600")}, deletes+1)
	reads.Add([]byte("k000004999"))
	reads.Add([]byte("k00000500"))
	reads.Seal()
	if found := recent.Changed(&reads, 0); found == nil || string(found.Key) != "k00000500" || found.Seq != deletes+1 {
		t.Error(found)
	}
	recent.Add(base.Op{Kind: base.KindRangeDelete, Key: []byte("k000004998")}, deletes+2)
	if found := recent.Changed(&reads, deletes+1); found == nil || string(found.Key) != "k000004999" {
		t.Error(found)
	}
	reads.Reset()
	if found := recent.Changed(&reads, 0); found != nil {
		t.Error(found)
	}
}
