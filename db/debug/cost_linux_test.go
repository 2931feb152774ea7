package debug

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// meter adds up the time that some goroutines take of processors.
type meter struct {
	taken atomic.Int64
	all   sync.WaitGroup // those that it has started
}

// run does work on a thread of its own, whose time is what the work takes: that of the system for
// it, such as to send something, and of the scheduler included. The garbage collector's is not.
func (m *meter) run(work func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := processorTime(syscall.RUSAGE_THREAD)
	work()
	m.taken.Add(int64(processorTime(syscall.RUSAGE_THREAD) - before))
}

func processorTime(of int) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(of, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// audience are viewers who read what they are sent.
type audience struct {
	events  atomic.Int64
	leaving context.CancelFunc
	all     sync.WaitGroup
}

func (a *audience) enter(b *testing.B, viewers int, url string) {
	ctx, cancel := context.WithCancel(context.Background())
	a.leaving = cancel
	for range viewers {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		fixture.Must(b, err)
		response, err := http.DefaultTransport.RoundTrip(request)
		fixture.Must(b, err)
		a.all.Go(func() {
			defer response.Body.Close()
			lines := bufio.NewReaderSize(response.Body, 1<<20)
			for {
				line, err := lines.ReadSlice('\n')
				if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
					return
				}
				if strings.HasPrefix(string(line[:min(len(line), 4)]), "id: ") {
					a.events.Add(1)
				}
			}
		})
	}
}

// burst writes as fast as the database takes it, until stop is called, which returns how many
// puts that were.
func burst(b *testing.B, d *db.DB) (stop func() int64) {
	var puts atomic.Int64
	var ended atomic.Bool
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			var key [16]byte
			value := make([]byte, 100)
			for n := int64(1); !ended.Load(); n++ {
				binary.BigEndian.PutUint64(key[:], rand.Uint64N(1<<22))
				if err := d.Put(key[:], value); err != nil {
					b.Error(err)
					return
				}
				if n%64 == 0 {
					puts.Add(64)
				}
			}
		})
	}
	return func() int64 {
		ended.Store(true)
		all.Wait()
		return puts.Load()
	}
}

// BenchmarkPage watches a database for a second in each iteration, and tells what the page takes
// of one processor (page-%cpu), the whole process of all of them (process-%cpu), and what is
// written meanwhile. Time on threads is exact; the goal is below 1 % with ten viewers. Give it
// half a minute or more (-benchtime 30x), and a machine that has nothing else to do: others make
// caches cold, which makes the page look dearer than it is.
func BenchmarkPage(b *testing.B) {
	for _, c := range []struct {
		name             string
		viewers          int
		writes, snapshot bool
	}{
		{"nobody looks, full burst of puts", 0, true, false},
		{"ten viewers, at rest", 10, false, false},
		{"ten viewers, full burst of puts", 10, true, false},
		{"ten viewers, full burst of puts, an old snapshot", 10, true, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			d, err := db.Open(b.TempDir(), &db.Options{Durability: db.NoSync, MemtableBytes: 16 << 20}) // so that there are flushes and merges all the time
			fixture.Must(b, err)
			defer d.Close()
			stop := burst(b, d)
			for d.Metrics().Compact.Jobs == 0 { // so that there is a tree
				time.Sleep(interval / 10)
			}
			if c.snapshot {
				s, err := d.NewSnapshot()
				fixture.Must(b, err)
				defer s.Close()
			}
			if !c.writes {
				stop()
			}
			watch(b, d, c.viewers)
			if c.writes {
				stop()
			}
		})
	}
}

// watch has viewers look for as many seconds as there are iterations, and reports.
func watch(b *testing.B, d *db.DB, viewers int) {
	var page meter
	h := Handler(d).(*handler)
	h.sampler.start = func(work func()) { page.all.Go(func() { page.run(work) }) }
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page.run(func() { h.ServeHTTP(w, r) })
	}))
	defer server.Close()
	var a audience
	before, process, begun := d.Metrics().Writes.Operations, processorTime(syscall.RUSAGE_SELF), time.Now()
	b.ResetTimer()
	a.enter(b, viewers, server.URL+"/events")
	for range b.N {
		time.Sleep(interval)
	}
	a.leaving()
	a.all.Wait()
	b.StopTimer()
	elapsed := time.Since(begun)
	operations, process := d.Metrics().Writes.Operations-before, processorTime(syscall.RUSAGE_SELF)-process
	server.Close() // waits for the handlers, whose time is known then
	page.all.Wait()
	share := func(taken time.Duration) float64 { return 100 * taken.Seconds() / elapsed.Seconds() }
	b.ReportMetric(share(time.Duration(page.taken.Load())), "page-%cpu")
	b.ReportMetric(share(process), "process-%cpu")
	b.ReportMetric(float64(operations)/elapsed.Seconds(), "puts/s")
	b.ReportMetric(float64(a.events.Load())/elapsed.Seconds(), "events/s")
	b.ReportMetric(0, "ns/op")
}
