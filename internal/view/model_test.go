package view

import (
	"math/rand/v2"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/memtable"
)

// TestEverythingAtEveryNumber compares all reads with the model, at every sequence number,
// over memtables and tables, with and without a transaction's own writes.
func TestEverythingAtEveryNumber(t *testing.T) {
	seeds, rarely := 12, 1
	if testing.Short() || base.Invariants {
		seeds, rarely = 4, 5
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(uint64(seed), 13))
		d := newWorld(t, rng, []int{2, 6, 20, 80}[seed%4])
		for i := range []int{100, 30, 30, 30}[seed%4] {
			d.own = append(d.own, d.operation(9000+i))
		}
		flushes := []int{4, 2, 1, 0, 0}
		if seed%4 == 0 {
			flushes = nil // so that a memtable holds very many versions of each key
		}
		for len(d.ops) < 160 {
			d.apply(d.operation(len(d.ops) + 1))
			switch rng.IntN(40) {
			case 0:
				if flushes == nil {
					break
				}
				d.w.Rotate(memtable.New(1 << 20))
			case 1:
				if len(flushes) > 0 && len(d.w.State().Sealed) == 0 {
					d.flush(flushes[0])
					flushes = flushes[1:]
				}
			}
			d.clock += rng.Int64N(5) - 2
			if rng.IntN(rarely) == 0 {
				d.checkWalk(d.w.At(), 6)
			}
		}
		for seq := range base.Seq(len(d.ops) + 1) {
			if rng.IntN(rarely) > 0 {
				continue
			}
			at := At{Seq: seq, Now: 975 + rng.Int64N(70)}
			d.checkGets(at)
			d.checkWalk(at, 20)
			at.Own = OwnBase + base.Seq(rng.IntN(len(d.own)))
			d.checkGets(at)
			d.checkWalk(at, 20)
		}
	}
}
