package backup

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
)

// world is a database with its model: the state after each commit.
type world struct {
	*db.DB
	t     testing.TB
	rng   *rand.Rand
	clock *fixture.Clock
	fsys  vfs.FS
	dir   string

	mu     sync.Mutex
	states []state // ascending
	grown  chan struct{}
}

// state is what the database holds behind a commit.
type state struct {
	seq    uint64
	state  fixture.State
	commit fixture.Commit
}

// dbDir is where the database of a world lies.
const dbDir = fixture.Dir

// newWorld makes one in memory: what disks do is not what is tested here.
func newWorld(t testing.TB, seed uint64) *world {
	t.Helper()
	return newWorldOn(t, seed, vfs.NewMem(), dbDir)
}

func newWorldOn(t testing.TB, seed uint64, fsys vfs.FS, dir string) *world {
	t.Helper()
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 7)), clock: fixture.NewClock(), fsys: fsys, dir: dir, grown: make(chan struct{})}
	w.states = []state{{state: fixture.State{}}}
	w.open()
	return w
}

func (w *world) options(fsys vfs.FS) *db.Options {
	return fixture.On(fsys, fixture.Speaking(db.Options{KeepChangesBytes: 64 << 20}, w.clock))
}

func (w *world) open() {
	w.t.Helper()
	d, err := db.Open(w.dir, w.options(w.fsys))
	fixture.Must(w.t, err)
	w.DB = d
	w.t.Cleanup(func() { d.Close() })
}

func (w *world) reopen() {
	w.t.Helper()
	fixture.Must(w.t, w.Close())
	w.open()
}

// commit makes one commit of the whole vocabulary but loads.
func (w *world) commit() {
	w.t.Helper()
	var c fixture.Commit
	for range 1 + w.rng.IntN(5) {
		key := fmt.Sprintf("key%02d", w.rng.IntN(30))
		o := fixture.Operation{Key: key, Value: fmt.Sprintf("value%d", w.rng.IntN(1000)), Delete: w.rng.IntN(4) == 0}
		c = append(c, fixture.Varied(w.rng, o, fmt.Sprintf("key%02d", w.rng.IntN(31)), w.clock.UnixNano()))
	}
	fixture.Must(w.t, w.Apply(context.Background(), c.Batch(w.DB)))
	w.add(c)
}

func (w *world) load() {
	w.t.Helper()
	var c fixture.Commit
	for range 5 {
		c = append(c, fixture.Operation{Key: fmt.Sprintf("key%02d", w.rng.IntN(30)), Value: fmt.Sprintf("loaded%d", w.rng.IntN(1000))})
	}
	c = c.Sorted()
	fixture.Must(w.t, c.Load(context.Background(), w.DB))
	w.add(c)
}

// add notes a commit that the database has made.
func (w *world) add(c fixture.Commit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := w.states[len(w.states)-1]
	next := state{last.seq + c.Numbers(), maps.Clone(last.state), c}
	next.state.Apply(c)
	w.states = append(w.states, next)
	close(w.grown)
	w.grown = make(chan struct{})
}

func (w *world) newest() state {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.states[len(w.states)-1]
}

// at returns the state after the last whole commit that ends at or before seq.
func (w *world) at(seq uint64) state {
	w.mu.Lock()
	defer w.mu.Unlock()
	i, found := slices.BinarySearchFunc(w.states, seq, func(s state, seq uint64) int { return int(s.seq) - int(seq) })
	if !found {
		i--
	}
	return w.states[i]
}

// check opens what was restored and compares it with a state. It writes a little, and opens
// it once more, since what is restored must be a database like any other.
func (w *world) check(fsys vfs.FS, dir string, want state) {
	w.t.Helper()
	report, err := fixture.VerifyOn(fsys, dir)
	fixture.Must(w.t, err)
	if !report.OK() {
		w.t.Fatalf("verify: %+v", report.Problems)
	}
	for round := range 2 {
		d, err := db.Open(dir, w.options(fsys))
		fixture.Must(w.t, err)
		found, err := fixture.Scan(d)
		fixture.Must(w.t, err)
		if round == 0 {
			if err := fixture.Differ(want.state.At(w.clock.UnixNano()), found); err != nil {
				w.t.Errorf("restored at %d: %v", want.seq, err)
			}
			if at := d.Metrics().Sequence; at != want.seq {
				w.t.Errorf("restored at %d, want %d", at, want.seq)
			}
			fixture.Must(w.t, d.Put([]byte("zz"), []byte("more")))
			fixture.Must(w.t, d.Merge([]byte("zz"), []byte("merged")))
			fixture.Must(w.t, d.Compact(context.Background(), nil, nil))
		} else if found["zz"] != fixture.Fold("zz", ref("more"), "merged") {
			w.t.Errorf("what was written to the restored database is %q", found["zz"])
		}
		fixture.Must(w.t, d.Close())
	}
}

// stride is how many of so many cases are one: under the race detector, which is slow, only one
// is tried.
func stride(n int) int {
	if base.Invariants {
		return n
	}
	return 1
}

func ref(s string) *string { return &s }

// restored restores a point and compares it with the model.
func (w *world) restored(s store, at Point, want state) {
	w.t.Helper()
	fsys := vfs.NewMem()
	report, err := restoreOn(context.Background(), fsys, s, "/new", at)
	if err != nil {
		w.t.Fatalf("restore at %v: %v", at, err)
	}
	if report.Seq != want.seq {
		w.t.Errorf("restored at %v: the report says %d, want %d", at, report.Seq, want.seq)
	}
	w.check(fsys, "/new", want)
}

// refused checks that nothing can be restored at a point.
func (w *world) refused(s store, at Point, what string) {
	w.t.Helper()
	_, err := restoreOn(context.Background(), vfs.NewMem(), s, "/new", at)
	fixture.WantErr(w.t, what, err, ErrNotReached)
}

// modelled is a database whose changes are those of the model, so that a test decides what of them
// can be had.
type modelled struct {
	local
	w      *world
	oldest *uint64 // as of a *db.TrimmedError
	mu     *sync.Mutex
}

func (w *world) modelled() modelled { return modelled{local{w.DB}, w, new(uint64), new(sync.Mutex)} }

// trim gives up what leads to a number.
func (m modelled) trim(oldest uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	*m.oldest = oldest
}

func (m modelled) changes(ctx context.Context, after uint64) iter.Seq2[db.Change, error] {
	return func(yield func(db.Change, error) bool) {
		for i := 0; ; {
			m.w.mu.Lock()
			states, grown := m.w.states, m.w.grown
			m.w.mu.Unlock()
			for ; i < len(states); i++ {
				s := states[i]
				if s.seq <= after {
					continue
				}
				m.mu.Lock()
				oldest := *m.oldest
				m.mu.Unlock()
				if after < oldest {
					yield(db.Change{}, &db.TrimmedError{Oldest: oldest})
					return
				}
				if !yield(changeOf(s), nil) {
					return
				}
				after = s.seq
			}
			select {
			case <-grown:
			case <-ctx.Done():
				yield(db.Change{}, ctx.Err())
				return
			}
		}
	}
}

func changeOf(s state) db.Change {
	c := db.Change{First: s.seq - s.commit.Numbers() + 1, Seq: s.seq}
	for _, o := range s.commit {
		op := db.Op{Kind: db.OpPut, Key: []byte(o.Key), Value: []byte(o.Value)}
		switch {
		case o.Loaded:
			c.Ops = []db.Op{{Kind: db.OpLoad, Key: []byte(s.commit[0].Key), End: []byte(s.commit[len(s.commit)-1].Key + "\x00")}}
			return c
		case o.Range:
			op = db.Op{Kind: db.OpDeleteRange, Key: op.Key, End: op.Value}
		case o.Delete:
			op = db.Op{Kind: db.OpDelete, Key: op.Key}
		case o.Merge:
			op.Kind = db.OpMerge
		case o.Until != 0:
			op.Until = time.Unix(0, o.Until)
		}
		c.Ops = append(c.Ops, op)
	}
	return c
}
