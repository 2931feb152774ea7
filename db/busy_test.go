package db_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// In a process that computes on all processors, writes, flushes and compactions go on.
func TestBusyProcess(t *testing.T) {
	for _, processors := range []int{1, 2} {
		t.Run(fmt.Sprint(processors), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
			d, err := db.Open(t.TempDir(), nil)
			fixture.Must(t, err)
			defer d.Close()
			var stop atomic.Bool
			defer stop.Store(true)
			for range 2 * processors {
				go func() {
					for !stop.Load() {
					}
				}()
			}
			const limit = 5 * time.Second // hundreds of the scheduler's turns; one for each KiB would take three times as long
			took := func(what string, do func() error) {
				t.Helper()
				start := time.Now()
				fixture.Must(t, do())
				if took := time.Since(start); took > limit {
					t.Errorf("%s takes %v", what, took)
				}
			}
			for range 3 { // whoever is alone after several is not waited for
				var pending []*db.Pending
				for i := range 8 {
					var b db.Batch
					fixture.Must(t, b.Put(benchmarkKey(nil, i), make([]byte, 100)))
					p, err := d.Submit(t.Context(), &b)
					fixture.Must(t, err)
					pending = append(pending, p)
				}
				for _, p := range pending {
					fixture.Must(t, p.Wait(t.Context()))
				}
				took("a put", func() error { return d.Put([]byte("lone"), nil) })
			}
			for i := range 512 {
				fixture.Must(t, d.Put(benchmarkKey(nil, i), make([]byte, 1024), db.NoSync))
			}
			took("a flush", func() error { return d.Flush(context.Background()) })
			took("a compaction", func() error { return d.Compact(context.Background(), nil, nil) })
		})
	}
}
