package db

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// In a process that computes on all processors, writes, flushes and compactions go on.
func TestBusyProcess(t *testing.T) {
	for _, processors := range []int{1, 2} {
		t.Run(fmt.Sprint(processors), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
			d, err := Open(t.TempDir(), nil)
			must(t, err)
			defer d.Close()
			var stop atomic.Bool
			defer stop.Store(true)
			for range 2 * processors {
				go func() {
					for !stop.Load() {
					}
				}()
			}
			const turns = 50 // of 10 ms, and not one for each KiB or each client
			limit := turns * 2 * 10 * time.Millisecond
			took := func(what string, do func() error) {
				t.Helper()
				start := time.Now()
				must(t, do())
				if took := time.Since(start); took > limit {
					t.Errorf("%s takes %v", what, took)
				}
			}
			for range 3 { // whoever is alone after several is not waited for
				var pending []*Pending
				for i := range 8 {
					var b Batch
					must(t, b.Put(benchmarkKey(nil, i), make([]byte, 100)))
					p, err := d.Submit(t.Context(), &b)
					must(t, err)
					pending = append(pending, p)
				}
				for _, p := range pending {
					must(t, p.Wait(t.Context()))
				}
				took("a put", func() error { return d.Put([]byte("lone"), nil) })
			}
			for i := range 512 {
				must(t, d.Put(benchmarkKey(nil, i), make([]byte, 1024), NoSync))
			}
			took("a flush", func() error { return d.Flush(context.Background()) })
			took("a compaction", func() error { return d.Compact(context.Background(), nil, nil) })
		})
	}
}
