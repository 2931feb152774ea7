package raftlog_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"lsmdb/db"
	"lsmdb/ext/replica/raftlog"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// Marks in the trace. Their value counts actions.
const (
	markBegun        = "begun"        // so many may have happened
	markAcknowledged = "acknowledged" // so many must have
)

// TestPowerFailures takes the power away after every single operation on files of histories of
// a Store, and opens what a file system may legally have left. It must be what the Store was
// after the last action that was acknowledged, or after the one that was under way: whole, and
// whatever the durability is that the database was opened with.
func TestPowerFailures(t *testing.T) {
	seeds, effort := uint64(8), vfstest.Effort{Subsets: 8, Tears: 4}
	if base.Invariants { // under the race detector
		seeds, effort = 2, vfstest.Effort{Subsets: 2, Tears: 1}
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			options := db.Options{MemtableBytes: 16 << 10, CacheBytes: -1, Durability: db.Durability(seed % 3)}
			models, trace := record(t, seed, options)
			sweep(t, seed, effort, trace, func(disk *vfstest.Disk, acknowledged, begun int) error {
				return look(disk, options, models[acknowledged:begun+1])
			})
		})
	}
}

// record lets a history happen, and returns what the Store was after each action.
func record(t *testing.T, seed uint64, options db.Options) (models []*model, trace *vfstest.Trace) {
	t.Helper()
	disk := vfstest.NewDisk()
	trace = disk.Record("")
	d, err := db.Open(fixture.Dir, fixture.On(disk, options))
	fixture.Must(t, err)
	s, err := raftlog.StoreIn(d, []byte("group/"))
	fixture.Must(t, err)
	a := &actor{rand.New(rand.NewPCG(seed, 4)), newModel()}
	models = append(models, a.model.clone())
	for n := 1; n <= 120; n++ {
		action := a.next()
		models = append(models, a.model.clone())
		disk.Mark(markBegun, n)
		fixture.Must(t, action.do(s))
		disk.Mark(markAcknowledged, n)
		if n%40 == 0 {
			fixture.Must(t, d.Flush(t.Context()))
		}
	}
	fixture.Must(t, s.Close())
	fixture.Must(t, d.Close())
	trace.Stop()
	return models, trace
}

// sweep shows states that a power failure may leave at each place of a trace, each once for what must and
// may be there then.
func sweep(t *testing.T, seed uint64, effort vfstest.Effort, trace *vfstest.Trace, look func(disk *vfstest.Disk, acknowledged, begun int) error) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 5))
	legal := trace.Legal()
	type situation struct {
		state               uint64
		acknowledged, begun int
	}
	seen := make(map[situation]bool)
	var now situation
	for n := 0; ; n++ {
		legal.States(effort, rng, func(state *vfstest.State) bool {
			now.state = state.Hash
			if !seen[now] {
				seen[now] = true
				if err := look(state.Disk(), now.acknowledged, now.begun); err != nil {
					t.Errorf("power lost after operation %d of %d, %d actions acknowledged, %d begun: %v", n, len(trace.Events), now.acknowledged, now.begun, err)
				}
			}
			return !t.Failed()
		})
		e := legal.Step()
		if t.Failed() || e == nil {
			break
		}
		switch e.Name {
		case markBegun:
			now.begun = e.Value
		case markAcknowledged:
			now.acknowledged = e.Value
		}
	}
	t.Logf("%d operations on files, %d states", len(trace.Events), len(seen))
}

// look opens what is left, and returns an error if that is none of the models.
func look(disk *vfstest.Disk, options db.Options, models []*model) (err error) {
	d, err := db.Open(fixture.Dir, fixture.On(disk, options))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	s, err := raftlog.StoreIn(d, []byte("group/"))
	if err != nil {
		return err
	}
	for _, m := range models {
		differs := m.differ(s)
		if differs == nil {
			return nil
		}
		err = errors.Join(err, differs)
	}
	return err
}
