// Package linear checks that what clients saw side by side has an order in which a
// plain map would have shown it. It consists of tests.
package linear

import (
	"flag"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

var (
	linearHistories = flag.Int("linear.histories", 300, "how many histories the linearizability test makes and checks")
	linearSeed      = flag.Uint64("linear.seed", 1, "seed of its first history; what the scheduler does is not in the seed")
)

// linearTimeout bounds the check of one history, which takes milliseconds. A
// history that takes longer proves nothing and counts as a failure.
const linearTimeout = 60 * time.Second

// TestLinearizability lets clients read and write side by side in every way there is,
// while memtables rotate, tables are flushed and compacted, and the process is closed,
// killed or loses its power. Then it looks for an order of all operations, in which each
// lies between its beginning and its end, that a plain map would have answered alike.
func TestLinearizability(t *testing.T) {
	var tally linearTally
	var next atomic.Int64
	var checking atomic.Int64 // nanoseconds
	var slowest atomic.Int64
	var all sync.WaitGroup
	start := time.Now()
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= int64(*linearHistories) || t.Failed() {
					return
				}
				seed := *linearSeed + uint64(i)
				r := newLinearRun(seed, randomShape(rand.New(rand.NewPCG(seed, 5))), &tally)
				if err := r.run(nil); err != nil {
					t.Errorf("history %d: %v", seed, err)
					return
				}
				began := time.Now()
				result := porcupine.CheckOperationsTimeout(linearModel, r.operations, linearTimeout)
				took := int64(time.Since(began))
				checking.Add(took)
				for old := slowest.Load(); took > old && !slowest.CompareAndSwap(old, took); old = slowest.Load() {
				}
				if result != porcupine.Ok {
					t.Errorf("history %d, %+v: %s", seed, r.shape, result)
					explain(t, r)
				}
			}
		})
	}
	all.Wait()
	took := time.Since(start)
	histories, operations := tally.histories.Load(), tally.operations.Load()
	t.Logf("%d histories of %d operations (%.0f and %.0f a second; checks took %v of 2 x %v, the slowest %v)",
		histories, operations, float64(histories)/took.Seconds(), float64(operations)/took.Seconds(),
		time.Duration(checking.Load()).Round(time.Millisecond), took.Round(time.Millisecond), time.Duration(slowest.Load()).Round(time.Microsecond))
	t.Logf("%d crashes: %d lost NoSync or Queued writes (%d of them only some of the process's), %d kept unanswered ones; %d unanswered writes; %d flushes, %d compactions",
		tally.crashes.Load(), tally.lost.Load(), tally.partlyLost.Load(), tally.unansweredSurvived.Load(), tally.unanswered.Load(),
		tally.flushes.Load(), tally.compactions.Load())
	if histories >= 200 && min(tally.partlyLost.Load(), tally.unansweredSurvived.Load(), tally.flushes.Load(), tally.compactions.Load()) == 0 {
		t.Error("something that this test is for never happened")
	}
}

// randomShape draws a history that is checked quickly.
func randomShape(rng *rand.Rand) linearShape {
	s := linearShape{
		clients:       4 + rng.IntN(5),
		steps:         10 + rng.IntN(21),
		keys:          4 + rng.IntN(5),
		groups:        1,
		syncPercent:   []int{2, 10, 50}[rng.IntN(3)],
		memtableBytes: 16 << 10,
		maintained:    rng.IntN(3) > 0,
		crashes:       []crashKind{noCrash},
	}
	if rng.IntN(4) == 0 {
		s.groups = []int{2, s.keys}[rng.IntN(2)]
		return s
	}
	if n := rng.IntN(4); n > 0 {
		s.crashes = nil
		for range n {
			s.crashes = append(s.crashes, []crashKind{powerLost, powerLost, processKilled, noCrash}[rng.IntN(4)])
		}
		s.steps = max(4, s.steps/n)
	}
	s.keepNothing = rng.IntN(4) == 0
	return s
}

// explain shows a history that was refused, in the order in which the operations began,
// and stores a picture of it where go test -artifacts says.
func explain(t *testing.T, r *linearRun) {
	t.Helper()
	sorted := slices.SortedFunc(slices.Values(r.operations), func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var text strings.Builder
	for _, o := range sorted {
		text.WriteString(describe(o))
	}
	t.Log(text.String())
	_, info := porcupine.CheckOperationsVerbose(linearModel, r.operations, linearTimeout)
	picture := filepath.Join(t.ArtifactDir(), "history.html")
	if err := porcupine.VisualizePath(linearModel, info, picture); err != nil {
		t.Log(err)
	}
}
