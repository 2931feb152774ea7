package compactor

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"lsmdb/internal/base"
)

// TestManualCompaction drives whole manual compactions, with and without writes and
// other jobs in between, and checks what they promise.
func TestManualCompaction(t *testing.T) {
	for seed := range uint64(80) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, seed, 1<<10)
			w.policy.BaseBytes, w.policy.TableBytes, w.policy.TableLimitBytes = 4<<10, 800, 3200
			next := w.keys(300)
			for range 30 {
				w.flush(1+w.rng.IntN(40), next, 0.3)
				for w.rng.IntN(3) > 0 && w.start() {
					w.land()
				}
				if w.rng.IntN(10) == 0 {
					w.changeSnapshots()
				}
			}
			if seed%2 == 0 {
				w.snapshots = nil
			}
			r := w.randomRange(next)
			if seed%8 == 5 || seed%8 == 7 {
				r.Overtaken = mostOvertaken
			}
			w.driveRange(*r, seed%4 >= 2)
			w.check()
			w.checkRange(*r)
		})
	}
}

// driveRange is the caller's loop.
func (w *world) driveRange(r Range, busy bool) {
	w.t.Helper()
	next := w.keys(300)
	for steps := 0; ; steps++ {
		if steps > 10_000 {
			w.t.Fatal("a manual compaction does not come to an end")
		}
		if busy && w.rng.IntN(3) == 0 && len(w.version.Levels[0]) < w.policy.L0Limit {
			w.flush(1+w.rng.IntN(40), next, 0.3)
		}
		if busy && w.rng.IntN(3) == 0 {
			w.start()
		}
		job, done := PickRange(w.situation(), r)
		switch {
		case done:
			for len(w.running) > 0 {
				w.land()
			}
			return
		case job != nil && r.Overtaken >= mostOvertaken && hasRoom(job):
			w.t.Fatalf("there is room for a load in %s", job)
		case job != nil && len(w.running) < 3:
			w.launch(job)
		case len(w.running) == 0:
			w.t.Fatal("told to wait, but nothing is running")
		default:
			w.land()
		}
	}
}

// hasRoom reports whether a load may come between the tables of a job, into its level: where
// tables of level 0 leave room, others lie over it.
func hasRoom(job *Job) bool {
	tables := slices.SortedFunc(slices.Values(job.tables()), bySmallest)
	end := tables[0].Largest.UserKey()
	for _, t := range tables {
		if !job.Unread() && job.Level > 0 && bytes.Compare(t.Smallest.UserKey(), end) > 0 {
			return true
		}
		end = slices.MaxFunc([][]byte{end, t.Largest.UserKey()}, bytes.Compare)
	}
	return false
}

// checkRange checks that the range lies in one level, without garbage.
func (w *world) checkRange(r Range) {
	w.t.Helper()
	levels := make(map[int]bool)
	versions := make(map[string]int)
	for level, tables := range w.version.Levels {
		for _, table := range tables {
			if !r.concerns(table) {
				continue
			}
			levels[level] = true
			for _, k := range w.tables[table.Number] {
				outside := bytes.Compare(k.UserKey(), r.Lower) < 0 || (r.Upper != nil && bytes.Compare(k.UserKey(), r.Upper) > 0)
				if outside || k.Seq() > r.Through || len(w.snapshots) > 0 {
					continue
				}
				if versions[string(k.UserKey())]++; versions[string(k.UserKey())] > 1 || k.Kind() == base.KindDelete {
					w.t.Errorf("%s is left in level %d", k, level)
				}
			}
		}
	}
	if len(levels) > 1 || levels[0] {
		w.t.Errorf("the range lies in levels %v", levels)
	}
}
