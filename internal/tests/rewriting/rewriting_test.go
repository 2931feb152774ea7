package rewriting

import (
	"fmt"
	"slices"
	"testing"

	"lsmdb/compactor"
	"lsmdb/internal/base"
	"lsmdb/manifest"
)

// kinds are what a program writes, in some proportion.
var kinds = [][]base.Kind{
	{base.KindSet, base.KindDelete, base.KindMerge, base.KindRangeDelete, base.KindSetExpiring},
	{base.KindSet, base.KindSet, base.KindSet, base.KindSet, base.KindMerge, base.KindMerge, base.KindDelete, base.KindRangeDelete},
	{base.KindSetExpiring, base.KindSetExpiring, base.KindSetExpiring, base.KindMerge},
	{base.KindRangeDelete, base.KindSet, base.KindSet},
	{base.KindMerge},
	{base.KindSetExpiring},
}

// TestEveryReaderSeesTheSame lets everything happen in random order: writes of all kinds,
// flushes, several jobs of all sorts at once, snapshots, a clock, tables set aside.
func TestEveryReaderSeesTheSame(t *testing.T) {
	reasons := make(map[string]int)
	seeds := uint64(60)
	if base.Invariants { // the race detector makes this slow, and nothing here is concurrent
		seeds = 12
	}
	for seed := range seeds {
		w := newWorld(t, seed)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w.t = t
			w.everything(seed)
		})
		for reason, n := range w.blockRead {
			reasons[reason] += n
		}
	}
	for _, reason := range []string{compactor.ReasonCovered, compactor.ReasonEnded, compactor.ReasonHalfEnded, compactor.ReasonTombstones, compactor.ReasonGarbage, compactor.ReasonIdle, compactor.ReasonCrumbs} {
		if reasons[reason] == 0 && !base.Invariants {
			t.Errorf("no job because %s: %v", reason, reasons)
		}
	}
}

func (w *world) everything(seed uint64) {
	mix := kinds[w.rng.IntN(len(kinds))]
	if seed%6 == 5 {
		w.directory.Merger = moody
	}
	var manual *compactor.Range
	for step := range 250 {
		switch w.rng.IntN(10) {
		case 0, 1, 2:
			for range w.rng.IntN(40) {
				w.write(mix[w.rng.IntN(len(mix))])
			}
			w.flush()
		case 3, 4:
			if len(w.running) < 4 {
				w.start(compactor.Pick(w.situation()))
			}
		case 5, 6:
			if len(w.running) > 0 {
				w.land(w.rng.IntN(len(w.running)))
			}
		case 7:
			w.changeReaders()
		case 8:
			w.now += int64(w.rng.IntN(60))
			if s := w.situation(); len(s.Running) == 0 {
				w.start(compactor.PickIdle(s))
			}
		case 9:
			w.changeSetAside()
			if manual == nil {
				manual = &compactor.Range{Lower: []byte(w.key()), Through: w.lastSeq}
			}
			job, done := compactor.PickRange(w.situation(), *manual)
			if w.start(job); done {
				manual = nil
			}
		}
		if step%10 == 0 {
			w.flush() // the model knows the memtable too
			w.check()
		}
	}
	clear(w.setAside)
	w.flush()
	w.settle()
	w.check()
	w.snapshots = nil
	w.settle()
	w.check()
	w.now += 1000
	w.settle()
	w.compactAll()
	w.check()
	w.checkNothingLeft()
}

func (w *world) start(job *compactor.Job) bool {
	w.t.Helper()
	if job != nil {
		w.launch(job)
	}
	return job != nil
}

func (w *world) changeReaders() {
	if len(w.snapshots) > 0 && w.rng.IntN(2) == 0 {
		i := w.rng.IntN(len(w.snapshots))
		w.snapshots = slices.Delete(slices.Clone(w.snapshots), i, i+1)
		return
	}
	w.flush() // what a snapshot sees is in the tree: the model looks there only
	w.snapshots = append(slices.Clone(w.snapshots), snapshot{w.lastSeq, w.now})
}

// changeSetAside takes a random table that no job uses, or lets all go.
func (w *world) changeSetAside() {
	clear(w.setAside)
	busy := make(map[*manifest.TableMeta]bool)
	for _, f := range w.running {
		for _, m := range slices.Concat(f.job.Inputs, f.job.Overlaps) {
			busy[m] = true
		}
	}
	level := w.rng.IntN(manifest.NumLevels)
	if tables := w.version.Levels[level]; len(tables) > 0 {
		if m := tables[w.rng.IntN(len(tables))]; !busy[m] {
			w.setAside[m.Number] = base.ErrCorrupt
		}
	}
}

// settle runs jobs until there is nothing to do, then idle ones too.
func (w *world) settle() {
	w.t.Helper()
	for steps := 0; ; steps++ {
		if steps > 5000 {
			w.t.Fatal("compaction does not come to an end")
		}
		switch {
		case len(w.running) < 3 && w.start(compactor.Pick(w.situation())):
		case len(w.running) > 0:
			w.land(w.rng.IntN(len(w.running)))
		case !w.start(compactor.PickIdle(w.situation())):
			return
		}
	}
}

func (w *world) compactAll() {
	w.t.Helper()
	r := compactor.Range{Through: w.lastSeq, Before: w.directory.Numbers.Peek()}
	for steps := 0; ; steps++ {
		if steps > 5000 {
			w.t.Fatal("a manual compaction does not come to an end")
		}
		job, done := compactor.PickRange(w.situation(), r)
		if done {
			return
		}
		w.launch(job)
		w.land(0)
	}
}

// checkNothingLeft: without snapshots, and when all that ends has ended, a compacted tree
// holds one value for each key that has one; only where the operator fails, operands.
func (w *world) checkNothingLeft() {
	w.t.Helper()
	for _, tables := range w.version.Levels {
		for _, m := range tables {
			if m.RangeDeletes+m.Deletes+m.Expiring > 0 || w.directory.Merger == chain && m.Shadowed+m.Merges > 0 {
				w.t.Errorf("left: %s", m)
			}
		}
	}
}
