// Package model does random things to a database and to a model of it. It consists of
// tests.
package model

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
)

var (
	modelSeeds = flag.Int("model.seeds", 9, "how many seeds the model test runs")
	modelSeed  = flag.Uint64("model.seed", 0, "run the model test with this seed only")
	modelSteps = flag.Int("model.steps", 500, "steps of the model test for each seed")
)

// TestModel does random things to a database and to a model of it. Memtables are so
// small that flushes, compactions, moves and rewrites go on all the time; again and
// again the database is closed, killed, or loses its power.
func TestModel(t *testing.T) {
	var happened modelTally
	// What depends on the schedule may take some seeds more.
	enough := *modelSeeds < 8
	for i := 0; i < *modelSeeds || !enough && i < 10**modelSeeds; i++ {
		seed := uint64(i) + 1
		if *modelSeed != 0 {
			seed = *modelSeed
		}
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			r := &modelRun{t: t, tally: &happened, rng: rand.New(rand.NewPCG(seed, 0)), dir: "/base/db", mem: vfstest.NewDisk()}
			r.fs = r.mem
			if seed%7 == 0 {
				r.dir, r.mem, r.fs = t.TempDir(), nil, vfs.OS
			}
			r.keys = []int{40, 200, 2000}[seed%3]
			r.run()
		})
		if *modelSeed != 0 {
			return
		}
		h := happened
		enough = enough || h.flushes > 0 && h.compactions > 0 && h.moves > 0 && h.replayed > 0 && h.torn > 0 && h.stalls > 0 && h.levels >= 3
	}
	t.Logf("%+v", happened)
	if !enough {
		t.Error("something that this test is for never happened")
	}
	if h := happened; *modelSeeds >= 8 && min(h.committed, h.conflicts, h.loads, h.checkpoints, h.followed, h.trimmed) == 0 {
		t.Error("something of the vocabulary never happened")
	}
}

// modelTally counts what happened behind the scenes.
type modelTally struct {
	flushes, compactions, moves, replayed, stalls uint64
	torn                                          int64
	levels                                        int // in use at the same time
	committed, conflicts, loads, checkpoints      int
	followed, trimmed                             int
}

func (h *modelTally) add(m db.Metrics) {
	h.flushes += m.Flush.Jobs
	h.compactions += m.Compact.Jobs
	h.moves += m.Compact.Moves
	h.replayed += m.Recovery.Operations
	h.stalls += m.Stalls.Count
	h.torn += m.Recovery.TornBytes
	used := 0
	for _, l := range m.Levels {
		used += min(l.Tables, 1)
	}
	h.levels = max(h.levels, used)
}

// action is one thing to do, and how often.
type action struct {
	weight int
	do     func()
}

// modelRun is the test of one seed.
type modelRun struct {
	t     testing.TB
	tally *modelTally
	rng   *rand.Rand
	dir   string
	fs    vfs.FS
	mem   *vfstest.Disk // the same; nil: the operating system's
	keys  int           // different keys

	db        *db.DB
	durable   db.Durability // of writes that do not choose
	dead      *atomic.Bool  // stops every operation on files
	h         fixture.History
	clock     *fixture.Clock
	now       int64 // the latest that the database has seen on it
	step      int
	values    int
	iterators []*fixture.ModelIterator
	snapshots []modelSnapshot
	told      told
}

type modelSnapshot struct {
	*db.Snapshot
	state fixture.State
	now   int64
}

func (r *modelRun) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatalf("step %d: %v", r.step, err)
	}
}

func (r *modelRun) run() {
	r.h = fixture.History{Now: fixture.State{}, Start: fixture.State{}}
	r.told = told{state: fixture.State{}, loads: make(map[uint64]fixture.Commit)}
	r.clock = fixture.NewClock()
	r.now = r.clock.UnixNano()
	r.open()
	actions := []action{
		{40, r.write}, {12, r.batch}, {4, r.cancelled}, {6, r.submit}, {60, r.get}, {10, r.newIterator}, {90, r.moveIterators},
		{5, r.newSnapshot}, {30, r.readSnapshot}, {8, r.release}, {4, r.flush}, {2, r.compact}, {3, r.sync}, {2, r.scan},
		{1, r.closeCleanly}, {1, r.kill}, {2, r.crash},
		{6, r.tick}, {8, r.transact}, {2, r.load}, {2, r.checkpoint}, {3, r.pins}, {6, r.follow},
	}
	total := 0
	for _, a := range actions {
		total += a.weight
	}
	for r.step = range *modelSteps {
		n := r.rng.IntN(total)
		for _, a := range actions {
			if n -= a.weight; n < 0 {
				a.do()
				break
			}
		}
	}
	r.scan()
	r.closeCleanly()
	r.check(r.db.Close())
}

// options draws how the database is opened next; every format must be readable
// under all of them.
func (r *modelRun) options() *db.Options {
	r.dead = new(atomic.Bool)
	dead := r.dead
	r.durable = db.Durability(r.rng.IntN(3))
	fsys := vfstest.NewFault(r.fs, func(vfstest.Op) error {
		if dead.Load() {
			return fixture.ErrDead
		}
		return nil
	})
	return fixture.On(fsys, fixture.Speaking(db.Options{
		Durability:       r.durable,
		MemtableBytes:    []int64{1, 16 << 10, 40 << 10}[r.rng.IntN(3)],
		CacheBytes:       []int64{-1, 20 << 10, 0}[r.rng.IntN(3)],
		Memory:           []*db.MemoryBudget{nil, nil, db.NewMemoryBudget(r.rng.Int64N(600 << 10))}[r.rng.IntN(3)],
		FilterBitsPerKey: []int{-1, 0, 3}[r.rng.IntN(3)],
		Compression:      db.Compression(r.rng.IntN(2)),
		KeepChangesBytes: []int64{-1, 0, 100 << 10, 1 << 30, 1 << 30}[r.rng.IntN(5)],
	}, r.clock))
}

// open opens the database and compares it with the history, of which nothing may
// be missing.
func (r *modelRun) open() { r.reopen(len(r.h.Commits), r.h.ReopenedAt) }

// reopen opens the database after its first `certain` commits at least must have
// survived. Sometimes somebody looks at it without changing it before.
func (r *modelRun) reopen(certain int, compare func(now int64, certain int, sequence uint64, found fixture.View) error) {
	r.t.Helper()
	var before fixture.View
	if r.rng.IntN(2) == 0 && len(r.h.Commits) > 0 {
		d, err := db.Open(r.dir, fixture.On(r.fs, fixture.Speaking(db.Options{MemtableBytes: 1, ReadOnly: true}, r.clock)))
		r.check(err)
		before = fixture.Contents(r.t, d)
		r.check(d.Close())
	}
	var err error
	r.db, err = db.Open(r.dir, r.options())
	r.check(err)
	found := fixture.Contents(r.t, r.db)
	if before != nil {
		r.check(fixture.Differ(before, found))
	}
	r.check(compare(r.now, certain, r.db.Metrics().Sequence, found))
	r.lost()
}

// forget ends what reads the database; with the database gone it must say so.
func (r *modelRun) forget(gone bool) {
	r.tally.add(r.db.Metrics())
	for _, it := range r.iterators {
		if gone && (it.Next() || !errors.Is(it.Err(), db.ErrClosed)) {
			r.check(fmt.Errorf("iterator after Close: %v", it.Err()))
		}
		it.Close()
	}
	for _, s := range r.snapshots {
		if _, err := s.Get([]byte("k")); gone && !errors.Is(err, db.ErrClosed) {
			r.check(fmt.Errorf("snapshot after Close: %v", err))
		}
		r.check(s.Close())
	}
	r.iterators, r.snapshots = nil, nil
	r.pins()
}

func (r *modelRun) closeCleanly() {
	after := r.rng.IntN(2) == 0
	if !after {
		r.forget(false)
	}
	r.check(r.db.Close())
	r.forget(after)
	r.open()
	if r.h.StartAt > 0 && !r.db.Metrics().Recovery.CleanClose {
		r.check(errors.New("the clean close was not noticed"))
	}
}

// kill stops the process: everything acknowledged survives, however it was written, but what
// was Queued last.
func (r *modelRun) kill() {
	certain := max(r.h.Written, r.h.Durable)
	r.clock.Set(r.now) // what was seen is kept by Close alone
	r.submitSome()
	r.dead.Store(true)
	r.db.Close()
	r.forget(true)
	r.reopen(certain, r.h.SurvivedAt)
}

// crash takes the power away.
func (r *modelRun) crash() {
	if r.mem == nil {
		r.kill()
		return
	}
	r.clock.Set(r.now)
	pending := r.submitSome()
	certain := r.h.Durable
	for _, p := range pending {
		select {
		case <-p.Done():
			if p.durable == db.Sync {
				certain = p.index
			}
		default:
		}
	}
	seed := r.rng.Uint64()
	clone := r.mem.CrashClone(rand.New(rand.NewPCG(seed, 1)))
	if seed%4 == 0 {
		clone = r.mem.CrashClone(nil)
	}
	r.check(r.db.Close())
	r.forget(true)
	r.mem, r.fs = clone, clone
	r.reopen(certain, r.h.ReopenedAt)
}
