package changes

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

var modelSeeds = flag.Int("changes.seeds", 0, "how many histories TestHistories goes through; 0: as many as fit CI")

// TestHistories goes through random histories of the whole vocabulary, with flushes, loads, large
// batches, closes, kills and power failures, and follows them, by one loop after the other,
// each of which goes on where the one before was left. What they tell makes what the database
// holds, at each number. Power failures never take what was told.
func TestHistories(t *testing.T) {
	seeds := *modelSeeds
	if seeds == 0 {
		seeds = 40
		if base.Invariants {
			seeds = 8
		}
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { newWorld(t, seed).run(150) })
	}
}

// world is one history.
type world struct {
	*testing.T
	rng     *rand.Rand
	disk    *vfstest.Disk
	machine *fixture.Machine
	options db.Options
	clock   *fixture.Clock
	db      *db.DB
	states  map[uint64]fixture.State // by the numbers that batches end with; nobody changes them
	loads   map[uint64]fixture.Commit
	last    uint64
	written int
	*follower
	trimmed int
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		T: t, rng: rand.New(rand.NewPCG(seed, 77)), disk: vfstest.NewDisk(), clock: fixture.NewClock(),
		states: map[uint64]fixture.State{0: {}}, loads: make(map[uint64]fixture.Commit),
	}
	keep := []int64{1 << 30, 60 << 10, 0, -1}[seed%4]
	w.options = fixture.Speaking(db.Options{MemtableBytes: 16 << 10, KeepChangesBytes: keep}, w.clock)
	w.follower = w.begin(0)
	w.open()
	return w
}

// begin returns a follower that begins behind a number.
func (w *world) begin(after uint64) *follower {
	w.Helper()
	state, isBorder := w.states[after]
	if !isBorder {
		w.Fatalf("%d is in the middle of a batch", after)
	}
	return &follower{at: after, state: maps.Clone(state), loads: w.loads}
}

func (w *world) open() {
	w.machine = fixture.NewMachine(w.disk)
	var err error
	w.db, err = db.Open(fixture.Dir, fixture.On(w.machine, w.options))
	fixture.Must(w, err)
}

func (w *world) run(steps int) {
	defer func() { w.db.Close() }()
	for range steps {
		switch n := w.rng.IntN(100); {
		case n < 55:
			w.write(1 + w.rng.IntN(6))
		case n < 58:
			w.write(20 + w.rng.IntN(20))
		case n < 62:
			fixture.Must(w, w.db.Flush(w.Context()))
		case n < 66:
			w.load()
		case n < 67:
			fixture.Must(w, w.db.Compact(w.Context(), nil, nil))
		case n < 85:
			w.follow()
		case n < 90:
			w.followAgain()
		case n < 93:
			fixture.Must(w, w.db.Close())
			w.open()
		case n < 96:
			w.end()
			w.open()
			w.found()
		case n < 98:
			w.end()
			w.disk = w.disk.CrashClone(w.rng)
			w.open()
			w.found()
		default:
			w.clock.Set(w.clock.UnixNano() + int64(time.Second))
		}
	}
	w.follow()
	w.Logf("%d operations, %d changes, trimmed %d times", w.last, w.groups, w.trimmed)
}

// end kills the process.
func (w *world) end() {
	_, err := w.db.Has(nil) // what is Queued is written first
	fixture.Must(w, err)
	w.machine.Kill(w.db)
}

// add adds a commit to the model.
func (w *world) add(c fixture.Commit) {
	next := maps.Clone(w.states[w.last])
	next.Apply(c)
	w.last += c.Numbers()
	w.states[w.last] = next
}

func (w *world) operation() fixture.Operation {
	w.written++
	key := func() string { return fmt.Sprintf("key%02d", w.rng.IntN(30)) }
	o := fixture.Operation{Key: key(), Delete: w.rng.IntN(6) == 0}
	if !o.Delete {
		o.Value = fmt.Sprintf("%d:%0*d", w.written, w.rng.IntN(1500), 0)
	}
	return fixture.Varied(w.rng, o, key(), w.clock.UnixNano())
}

func (w *world) write(operations int) {
	var c fixture.Commit
	for range operations {
		c = append(c, w.operation())
	}
	b := w.db.NewBatch()
	fixture.Must(w, c.Fill(b))
	fixture.Must(w, w.db.Apply(w.Context(), b, db.Durability(w.rng.IntN(3))))
	w.add(c)
}

func (w *world) load() {
	var c fixture.Commit
	for range 1 + w.rng.IntN(8) {
		w.written++
		c = append(c, fixture.Operation{Key: fmt.Sprintf("key%02d", w.rng.IntN(30)), Value: fmt.Sprintf("%d loaded", w.written)})
	}
	c = c.Sorted()
	w.loads[w.last+1] = c
	w.add(c)
	fixture.Must(w, c.Load(w.Context(), w.db))
}

// follow goes on to the newest, after a sync, and compares.
func (w *world) follow() {
	fixture.Must(w, w.db.Sync(w.Context()))
	if got := w.db.Metrics().Sequence; got != w.last {
		w.Fatalf("sequence number %d, want %d", got, w.last)
	}
	w.through(w.follower)
	w.mustBe(w, w.states[w.last], w.clock.UnixNano())
}

// through follows to the newest. Who is told that what he needs is gone begins where it is not, which
// must be a border between batches.
func (w *world) through(f *follower) {
	w.Helper()
	ctx := guarded(w)
	for {
		err := f.through(ctx, w.db, w.last)
		if err == nil {
			return
		}
		after := oldest(w, err)
		if after <= f.at || after > w.last || w.options.KeepChangesBytes == 1<<30 {
			w.Fatalf("at %d: %v; the newest number is %d", f.at, err, w.last)
		}
		w.trimmed++
		groups := f.groups
		*f = *w.begin(after)
		f.groups = groups
	}
}

// followAgain follows from some number on that was reached before.
func (w *world) followAgain() {
	w.follow()
	from := w.db.Metrics().Changes.Oldest
	after := from + w.rng.Uint64N(w.last-from+1)
	for w.states[after] == nil {
		after++
	}
	f := w.begin(after)
	w.through(f)
	f.mustBe(w, w.states[w.last], w.clock.UnixNano())
}

// found looks at what an end has left: all that was told, and whole batches. What is gone was
// never there.
func (w *world) found() {
	number := w.db.Metrics().Sequence
	if w.states[number] == nil || number < w.at {
		w.Fatalf("sequence number %d; %d was told", number, w.at)
	}
	w.last = number
	maps.DeleteFunc(w.states, func(n uint64, _ fixture.State) bool { return n > number })
	maps.DeleteFunc(w.loads, func(n uint64, _ fixture.Commit) bool { return n > number })
	if err := fixture.Differ(w.states[number].At(w.clock.UnixNano()), fixture.Contents(w, w.db)); err != nil {
		w.Fatal(err)
	}
}
