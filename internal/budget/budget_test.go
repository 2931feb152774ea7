package budget

import (
	"math"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
)

// open makes an account whose cache and tables give what they are asked for.
func open(t *testing.T, b *Budget) *Account {
	t.Helper()
	a := Open(b)
	give := func(k Kind) func(int64) int64 {
		return func(bytes int64) int64 {
			given := min(bytes, a.taken[k].Load())
			a.Add(k, -given)
			return given
		}
	}
	a.Give[Cache], a.Give[Tables] = give(Cache), give(Tables)
	t.Cleanup(a.Close)
	return a
}

// withGOGC makes the collector's percentage known for the time of a test.
func withGOGC(t *testing.T, percent int) {
	before := debug.SetGCPercent(percent)
	t.Cleanup(func() { debug.SetGCPercent(before) })
}

func (a *Account) has(k Kind) int64 { return a.taken[k].Load() }

func TestFullestGives(t *testing.T) {
	withGOGC(t, 100)
	b := New(1 << 20)
	small, large := open(t, b), open(t, b)
	other := open(t, New(1<<20)) // of another budget
	other.Add(Cache, 1<<19)
	small.Add(Cache, 100<<10)
	large.Add(Cache, 300<<10)
	small.Settle()
	if small.has(Cache) != 100<<10 || large.has(Cache) != 300<<10 {
		t.Fatalf("what fits was given away: %+v", b.Usage())
	}
	small.Add(Readers, 200<<10)
	small.Settle()
	if got := b.Usage(); got.UsedBytes() > 1<<20 || small.has(Cache) != 100<<10 || large.has(Cache) >= 300<<10 {
		t.Fatalf("%+v, of which caches of %d and %d", got, small.has(Cache), large.has(Cache))
	}
	// Tables give when they take more than the caches.
	before := large.has(Cache)
	small.Add(Tables, 400<<10)
	small.Settle()
	if got := b.Usage(); got.UsedBytes() > 1<<20 || small.has(Tables) >= 400<<10 || small.has(Tables) < before/2 {
		t.Fatalf("%+v", got)
	}
	small.Add(Writers, 10<<20)
	small.Settle() // more than there is: everything is given, and it ends
	if got := b.Usage(); got.Taken[Cache]+got.Taken[Tables] != 0 || other.has(Cache) != 1<<19 {
		t.Fatalf("%+v, another budget has %d", got, other.has(Cache))
	}
}

func TestLargestMemtableIsAskedFor(t *testing.T) {
	b := New(4 << 20)
	var woken []string
	database := func(name string, active int64) *Account {
		a := open(t, b)
		a.Wake = func() { woken = append(woken, name) }
		a.Add(Active, active)
		return a
	}
	tiny, idle, busy := database("tiny", b.leastFlushBytes()-1), database("idle", 600<<10), database("busy", 300<<10)
	busy.Settle()
	if len(woken) > 0 || idle.MustFlush() || busy.Pressed() {
		t.Fatalf("%v were asked too soon", woken)
	}
	busy.Add(Active, 200<<10)
	busy.Settle()
	busy.Settle() // who was asked is not asked again
	if len(woken) != 1 || woken[0] != "idle" || !idle.MustFlush() || busy.MustFlush() {
		t.Fatalf("%v were asked", woken)
	}
	idle.Add(Active, -600<<10)
	idle.Add(Sealed, 600<<10)
	idle.Flushing()
	if idle.MustFlush() {
		t.Fatal("asked twice for one memtable")
	}
	busy.Add(Active, 2<<20)
	busy.Settle()
	if len(woken) != 2 || woken[1] != "busy" || !busy.Pressed() || tiny.MustFlush() {
		t.Fatalf("%v were asked; pressed %v", woken, busy.Pressed())
	}
}

// TestWhoCannotFlushIsNotAskedForEver: where disks are full, Writers give up at once, and may
// be faster than who asks the next.
func TestWhoCannotFlushIsNotAskedForEver(t *testing.T) {
	b := New(4 << 20)
	asked := 0
	last := open(t, b)
	for range 3 {
		a := open(t, b)
		a.Wake = func() {
			if asked++; asked < 100 {
				a.Flushing()
			}
		}
		a.Add(Active, 1<<20)
	}
	if last.Settle(); asked > 4 {
		t.Errorf("asked %d times", asked)
	}
}

// TestMemtableIsTheLast: where nothing else is left, it gives way, however small its share.
func TestMemtableIsTheLast(t *testing.T) {
	b := New(4 << 20)
	a := open(t, b)
	a.Add(Active, b.leastFlushBytes())
	a.Add(Cache, 4<<20)
	if a.Settle(); a.MustFlush() {
		t.Fatal("the memtable gives way before the cache")
	}
	a.Add(Writers, 4<<20)
	if a.Settle(); !a.MustFlush() || a.has(Cache) != 0 {
		t.Fatal("nothing gives way")
	}
}

func TestCloseGivesAllBack(t *testing.T) {
	b := New(1 << 30)
	for range 20 {
		a := Open(b)
		var users sync.WaitGroup
		for range 4 {
			users.Go(func() {
				for i := range int64(2000) {
					a.Add(Kind(i%int64(Kinds)), 100)
					if i%3 == 0 {
						a.Add(Kind(i%int64(Kinds)), -100)
					}
					if i%64 == 0 {
						runtime.Gosched()
					}
				}
			})
		}
		a.Close()
		users.Wait()
		a.Close()
		for k := range b.taken {
			if left := b.taken[k].Load(); left != 0 {
				t.Fatalf("%d of kind %d are left", left, k)
			}
		}
	}
	if n := len(accounts.open); n != 0 {
		t.Errorf("%d accounts are open", n)
	}
}

func TestCollectorCounts(t *testing.T) {
	for _, test := range []struct {
		gogc int
		want int64
	}{{100, 4000}, {50, 2000}, {300, 12000}, {-1, 4000}} {
		withGOGC(t, test.gogc)
		b := New(1 << 30)
		a := open(t, b)
		for k := range Kinds {
			a.Add(k, 1000)
		}
		if got := b.Usage(); got.CollectorBytes != test.want || got.UsedBytes() != 1000*int64(Kinds)+test.want {
			t.Errorf("GOGC=%d: %+v", test.gogc, got)
		}
	}
}

func TestReadAheadStops(t *testing.T) {
	b := New(1 << 20)
	a := open(t, b)
	var nobody *Account
	a.Add(Readers, 128<<10)
	if !a.MayReadAhead() || !nobody.MayReadAhead() || nobody.Pressed() || nobody.MustFlush() {
		t.Fatal("no room for reading ahead")
	}
	a.Add(Readers, 1)
	if a.MayReadAhead() {
		t.Fatal("read ahead without a bound")
	}
}

func TestAllowance(t *testing.T) {
	for _, test := range []struct{ heap, live, cached, want int64 }{
		{2000, 0, 0, 1000},
		{2000, 600, 400, 800},     // 200 are others'
		{2000, 1400, 1300, 900},   // too much is live
		{2000, 1400, 100, 31},     // all but the least is others'
		{2000, 300, 400, 1000},    // it has grown since the collector counted
		{-10, 300, 400, 0},        // nothing is left
		{math.MinInt32, 0, 0, 0},  // ... at all
		{6400, 12800, 6400, 100},  // others alone take more than there is
		{6400, 6400, 6400, 3200},  // only the cache is to blame
		{6400, 6400, 12800, 3200}, // which was counted in part only
	} {
		if got := allowance(test.heap, test.live, test.cached); got != test.want {
			t.Errorf("%+v: %d", test, got)
		}
	}
}

// TestMemoryLimit: the fullest cache gives way when the process nears its limit, whatever
// budget it has.
func TestMemoryLimit(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	small, large := open(t, nil), open(t, New(math.MaxInt64))
	const size = 32 << 20
	held := make([]byte, size) // what the caches hold
	small.Add(Cache, size/8)
	large.Add(Cache, size/8*7)
	runtime.GC()
	Look()
	if small.has(Cache)+large.has(Cache) != size {
		t.Fatal("caches give way without a limit")
	}
	debug.SetMemoryLimit(1 << 30)
	Look()
	if small.has(Cache)+large.has(Cache) != size {
		t.Fatal("caches give way far from the limit")
	}
	debug.SetMemoryLimit(size)
	Look()
	if left := large.has(Cache); small.has(Cache) != size/8 || left > size*2/3 || left < size/8 {
		t.Fatalf("%d and %d are left", small.has(Cache), left)
	}
	runtime.KeepAlive(held)
}
