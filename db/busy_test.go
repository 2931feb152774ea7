package db_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
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
			const most = 250 // of the scheduler's turns; one for each KiB would be twice as many
			took := func(what string, do func() error) {
				t.Helper()
				start := time.Now()
				fixture.Must(t, do())
				took := time.Since(start)
				if took < time.Second {
					return
				}
				start = time.Now() // a turn takes longer where other processes want the processors, too
				for range 10 {
					runtime.Gosched()
				}
				if turn := time.Since(start) / 10; took > most*turn {
					t.Errorf("%s takes %v, and a turn of the scheduler %v", what, took, turn)
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

// BenchmarkPutInBusyProcess is what clients feel of a host whose goroutines want all
// processors: some that only compute, some that work for a moment and give way, or many
// that wake others.
func BenchmarkPutInBusyProcess(b *testing.B) {
	for _, host := range []struct {
		name string
		keep func(wg *sync.WaitGroup, done *atomic.Bool)
	}{
		{"idle", func(*sync.WaitGroup, *atomic.Bool) {}},
		{"computing", computing},
		{"yielding-5", yielding(5)},
		{"yielding-20", yielding(20)},
		{"yielding-200", yielding(200)},
		{"pairs-20us", pairs(20 * time.Microsecond)},
		{"pairs-200us", pairs(200 * time.Microsecond)},
	} {
		for _, clients := range []int{1, 4, 32} {
			b.Run(fmt.Sprintf("%s/clients=%d", host.name, clients), func(b *testing.B) {
				d := benchmarkDB(b)
				var wg sync.WaitGroup
				var done atomic.Bool
				host.keep(&wg, &done)
				defer wg.Wait()
				defer done.Store(true)
				b.ResetTimer()
				putAtTheSameTime(b, d, clients)
				b.StopTimer()
			})
		}
	}
}

// putAtTheSameTime puts b.N random keys, by so many goroutines.
func putAtTheSameTime(b *testing.B, d *db.DB, clients int) {
	value := make([]byte, 100)
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			var key []byte
			for left.Add(-1) >= 0 {
				key = benchmarkKey(key, rand.IntN(1<<30))
				if err := d.Put(key, value); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkPutAfterWork is what 20 clients feel that work for a moment before each put.
func BenchmarkPutAfterWork(b *testing.B) {
	for _, work := range []time.Duration{5 * time.Microsecond, 15 * time.Microsecond} {
		b.Run(work.String(), func(b *testing.B) {
			d := benchmarkDB(b)
			var wg sync.WaitGroup
			var begun atomic.Int64
			took := make([]time.Duration, b.N)
			for range 20 {
				wg.Go(func() {
					var key []byte
					for i := begun.Add(1); i <= int64(b.N); i = begun.Add(1) {
						compute(work)
						key = benchmarkKey(key, rand.IntN(1<<30))
						start := time.Now()
						if err := d.Put(key, make([]byte, 100)); err != nil {
							b.Error(err)
							return
						}
						took[i-1] = time.Since(start)
					}
				})
			}
			wg.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[b.N/2].Nanoseconds())/1e3, "p50-µs")
			b.ReportMetric(float64(took[b.N*9/10].Nanoseconds())/1e3, "p90-µs")
		})
	}
}

func compute(d time.Duration) {
	for start := time.Now(); time.Since(start) < d; {
	}
}

func computing(wg *sync.WaitGroup, done *atomic.Bool) {
	for range 2 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for !done.Load() {
				compute(50 * time.Microsecond)
			}
		})
	}
}

// yielding has so many goroutines that each work for 20 microseconds in turn.
func yielding(goroutines int) func(*sync.WaitGroup, *atomic.Bool) {
	return func(wg *sync.WaitGroup, done *atomic.Bool) {
		for range goroutines {
			wg.Go(func() {
				for !done.Load() {
					compute(20 * time.Microsecond)
					runtime.Gosched()
				}
			})
		}
	}
}

// pairs has 16 goroutines that work so long and then wake another that does the same.
func pairs(work time.Duration) func(*sync.WaitGroup, *atomic.Bool) {
	return func(wg *sync.WaitGroup, done *atomic.Bool) {
		for range 16 {
			turn := make(chan struct{})
			wg.Go(func() {
				defer close(turn)
				for !done.Load() {
					compute(work)
					turn <- struct{}{}
				}
			})
			wg.Go(func() {
				for range turn {
					compute(work)
				}
			})
		}
	}
}

// BenchmarkPutBesideLargeBatches is what a client feels of another one who applies batches of
// 256 MiB, with values of 100 bytes: the longest of its puts, and the 99.9th percentile. It puts
// a thousand a second, or without a pause. An iteration is a batch.
//
//	go test ./db -run '^$' -bench PutBesideLargeBatches -benchtime 5x
func BenchmarkPutBesideLargeBatches(b *testing.B) {
	for _, put := range []struct {
		name  string
		w     db.Durability
		pause time.Duration
	}{
		{"synced", db.Sync, time.Millisecond},
		{"unsynced", db.NoSync, time.Millisecond},
		{"without-pause", db.NoSync, 0},
	} {
		b.Run(put.name, func(b *testing.B) {
			d := benchmarkDB(b)
			large, value := d.NewBatch(), make([]byte, 100)
			var key []byte
			for i := 0; large.Bytes() < 256<<20; i++ {
				key = benchmarkKey(key, rand.IntN(1<<30))
				if err := large.Put(key, value); err != nil {
					b.Fatal(err)
				}
			}
			var wg sync.WaitGroup
			var done atomic.Bool
			var took []time.Duration
			wg.Go(func() {
				var key []byte
				for !done.Load() {
					key = benchmarkKey(key, rand.IntN(1<<30))
					start := time.Now()
					if err := d.Put(key, value, put.w); err != nil {
						b.Error(err)
						return
					}
					took = append(took, time.Since(start))
					time.Sleep(put.pause)
				}
			})
			b.ResetTimer()
			for range b.N {
				if err := d.Apply(b.Context(), large, db.NoSync); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			done.Store(true)
			wg.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "longest-ms")
			b.ReportMetric(float64(took[len(took)-1-len(took)/1000].Microseconds())/1000, "p99.9-ms")
			b.ReportMetric(float64(len(took))/b.Elapsed().Seconds(), "puts/s")
		})
	}
}
