package replica

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/raft"
)

// BenchmarkApplyBatch applies runs of 64 commands that put 100 bytes each: with nothing expected, and
// with an expectation each.
func BenchmarkApplyBatch(b *testing.B) {
	for _, expecting := range []bool{false, true} {
		b.Run(fmt.Sprintf("expecting=%v", expecting), func(b *testing.B) {
			f := openFSM(b, b.TempDir(), nil)
			value := make([]byte, 100)
			index := uint64(0)
			run := make([]*raft.Log, 64)
			for b.Loop() {
				b.StopTimer()
				for i := range run {
					index++
					c := NewCommand().Put(fmt.Appendf(nil, "key-%010d", index), value)
					if expecting {
						c.Expect(fmt.Appendf(nil, "key-%010d", index), nil)
					}
					run[i] = entry(index, c)
				}
				b.StartTimer()
				f.ApplyBatch(run)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(run)), "ns/command")
		})
	}
}

// BenchmarkSnapshot takes a snapshot of states of different sizes: it should take as long for each.
func BenchmarkSnapshot(b *testing.B) {
	for _, keys := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			f := openFSM(b, b.TempDir(), nil)
			for i := 0; i < keys; {
				c := NewCommand()
				for range 1000 {
					c.Put(fmt.Appendf(nil, "key-%010d", i), make([]byte, 100))
					i++
				}
				mustApply(b, f, entry(uint64(i), c))
			}
			index := uint64(keys)
			for b.Loop() {
				index++
				f.Apply(entry(index, NewCommand().Put([]byte("k"), nil)))
				s, err := f.Snapshot()
				if err != nil {
					b.Fatal(err)
				}
				s.Release()
			}
		})
	}
}

// BenchmarkNode writes and reads on three nodes of one process, over loopback, with many at a time.
func BenchmarkNode(b *testing.B) {
	c := newTrio(b, func(config *Config) {
		config.Raft, config.DB = nil, nil
	})
	at, leader := c.leader()
	_, follower := c.follower(at)
	put(b, leader, "k", "v")
	ctx := context.Background()
	var next atomic.Int64
	update := func(n *Node) func() error {
		return func() error {
			return n.Update(ctx, func(tx *Tx) error { return tx.Put(fmt.Appendf(nil, "%d", next.Add(1)), make([]byte, 100)) })
		}
	}
	for _, what := range []struct {
		name string
		do   func() error
	}{
		{"put", update(leader)},
		{"put-forwarded", update(follower)},
		{"get", func() error { _, err := leader.Get(ctx, []byte("k")); return err }},
		{"get-forwarded", func() error { _, err := follower.Get(ctx, []byte("k"), Forwarded); return err }},
		{"get-stale", func() error { _, err := follower.Get(ctx, []byte("k"), Stale); return err }},
	} {
		b.Run(what.name, func(b *testing.B) {
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := what.do(); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
