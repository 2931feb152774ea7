// Package crash takes the power away after every operation on files, and proves that
// every sync is necessary. It consists of tests.
package crash

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

var (
	sweepStates = flag.Int("sweep.states", 0, "how many different states the crash sweep opens at least; 0: as many as fit CI")
	sweepSeed   = flag.Uint64("sweep.seed", 1, "first seed of the crash sweep's histories")
)

// sweepDefault is the size of the sweep in CI. The race detector makes every state
// some ten times as expensive.
func sweepDefault() int {
	if *sweepStates > 0 {
		return *sweepStates
	}
	if base.Invariants {
		return 2_000
	}
	return 100_000
}

// TestCrashSweep takes the power away after every single operation on files of many
// histories, opens what a file system may legally have left, and looks at it: whole
// batches only, a prefix of those that were issued, at least what was acknowledged
// as synced by then; no open may fail. Some of the states it writes to, takes their
// power away in the middle, and looks again.
//
// The size is the flag -sweep.states: so many different states at least, 100,000
// without it, 2,000 under the race detector. Rounds of all histories with ever new
// seeds go on until they are reached.
//
//	go test ./internal/tests/crash -run '^TestCrashSweep$' -v
//	go test ./internal/tests/crash -run '^TestCrashSweep$' -v -timeout 0 -sweep.states 10000000
func TestCrashSweep(t *testing.T) {
	began, want := time.Now(), sweepDefault()
	sample := uint64(1)
	if base.Invariants {
		sample = 8
	}
	var total sweepTally
	eachHistory(func(k sweepKind, seed uint64) (more bool) {
		if t.Failed() {
			return false
		}
		s := sweep{recording: k.record(t, seed), seed: seed, sample: sample, effort: sweepEffort}
		if err := s.run(); err != nil {
			t.Errorf("%s: %v", s.name, err)
			return false
		}
		t.Logf("%-20s %5d events %7d states of %8d drawn, %5d crashed again", s.name, len(s.trace.Events), s.tally.states, s.tally.drawn, s.tally.deep)
		return total.add(s.tally).states < want
	})
	took := time.Since(began)
	t.Logf("%d histories, %d operations on files, %d different states of %d drawn, %d of them crashed again, in %v: %.0f µs each",
		total.histories, total.events, total.states, total.drawn, total.deep, took.Round(time.Millisecond), float64(took.Microseconds())/float64(max(1, total.states)))
}

// sweepEffort is what TestCrashSweep takes upon itself at each operation.
var sweepEffort = vfstest.Effort{Subsets: 24, Tears: 10}

// eachHistory runs do for histories of all kinds, then with the next seed again, on
// two processors, until it says that there are enough; but for all kinds once.
func eachHistory(do func(k sweepKind, seed uint64) (more bool)) {
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // little lives for long
	var all sync.WaitGroup
	var next atomic.Int64
	var enough atomic.Bool
	kinds := allKinds()
	for range 2 {
		all.Go(func() {
			for {
				n := int(next.Add(1) - 1)
				if enough.Load() && n >= len(kinds) {
					return
				}
				if !do(kinds[n%len(kinds)], *sweepSeed+uint64(n/len(kinds))) {
					enough.Store(true)
				}
			}
		})
	}
	all.Wait()
}

// allKinds are all histories.
func allKinds() []sweepKind { return slices.Concat(sweepKinds, followedKinds()) }

// sweepTally counts.
type sweepTally struct{ histories, events, drawn, states, deep int }

var tallyLock sync.Mutex // histories run side by side

func (t *sweepTally) add(o sweepTally) (sum sweepTally) {
	tallyLock.Lock()
	defer tallyLock.Unlock()
	t.histories += o.histories
	t.events += o.events
	t.drawn += o.drawn
	t.states += o.states
	t.deep += o.deep
	return *t
}

// sweep goes through one recording.
type sweep struct {
	*recording
	seed   uint64
	sample uint64 // one of so many states is opened
	effort vfstest.Effort
	ignore func(*vfstest.Event) bool // what shall not have happened; may be nil
	from   int                       // events that are passed by without a look
	spoil  func(*vfstest.Disk)       // changes a state before it is opened; may be nil
	tally  sweepTally
	marks
}

// deepSample is of how many states one is written to and crashed again.
const deepSample = 64

// run looks at the states after every event. A state that was seen before needs no
// second look: only what must be there may have become more since.
func (s *sweep) run() error {
	rng := rand.New(rand.NewPCG(s.seed, 1))
	legal := s.trace.Legal()
	legal.Ignore = func(e *vfstest.Event) bool {
		return e.Kind == vfstest.OpSync && s.lost[e.Name] || s.ignore != nil && s.ignore(e)
	}
	found := make(map[uint64]finding)
	s.tally = sweepTally{histories: 1, events: len(s.trace.Events)}
	for n := 0; ; n++ {
		var err error
		visit := func(state *vfstest.State) bool {
			s.tally.drawn++
			if state.Hash%s.sample != 0 {
				return true
			}
			f, seen := found[state.Hash]
			if !seen {
				s.tally.states++
				if f, err = s.look(state); err == nil && state.Hash/s.sample%deepSample == 0 {
					s.tally.deep++
					err = s.again(state, f.batches, rng)
				}
				found[state.Hash] = f
			}
			if err == nil {
				err = s.marks.check(f)
			}
			return err == nil
		}
		if n >= s.from {
			legal.States(s.effort, rng, visit)
		}
		if err != nil {
			return s.explain(n, err)
		}
		e := legal.Step()
		if e == nil {
			return nil
		}
		s.marks.note(e)
	}
}

// finding is what was found in a state.
type finding struct {
	batches int
	clean   bool // a clean close was noticed
	copies  int  // databases that were made of checkpoints
	newest  int  // number of the newest operation
}

// marks say what must be found now.
type marks struct {
	issued, synced int
	closed         bool
	copies         int             // databases that were made of checkpoints
	told           int             // number of the newest operation that somebody has heard of
	lost           map[string]bool // files whose syncs count for nothing
}

func (m *marks) note(e *vfstest.Event) {
	if e.Kind != vfstest.OpMark {
		return
	}
	switch e.Name {
	case markIssued:
		m.issued = e.Value
	case markSynced:
		m.synced = e.Value
	case markTold:
		m.told = e.Value
	case markCopied:
		m.copies = e.Value
	case markClosed:
		m.closed = e.Value == 1
	default:
		if m.lost == nil {
			m.lost = make(map[string]bool)
		}
		m.lost[strings.TrimPrefix(e.Name, markLost)] = true
	}
}

func (m *marks) check(f finding) error {
	if f.batches < m.synced || f.batches > m.issued {
		return fmt.Errorf("%d batches are there; %d were synced, %d issued", f.batches, m.synced, m.issued)
	}
	if f.newest < m.told {
		return fmt.Errorf("%d is the newest number, but %d was told as a change", f.newest, m.told)
	}
	if f.copies < m.copies {
		return fmt.Errorf("%d databases that were made of checkpoints are there, %d were finished", f.copies, m.copies)
	}
	if m.closed && !f.clean {
		return errors.New("the clean close is not noticed")
	}
	return nil
}

// explain says where in the history it happened.
func (s *sweep) explain(n int, err error) error {
	text := ""
	for i := max(0, n-6); i < n; i++ {
		text += fmt.Sprintf("\n\t%d %s", i, s.trace.Events[i])
	}
	return fmt.Errorf("power lost after operation %d of %d: %w%s", n, len(s.trace.Events), err, text)
}

// look opens a state and says what is there.
func (s *sweep) look(state *vfstest.State) (f finding, err error) {
	disk := state.Disk()
	if s.spoil != nil {
		s.spoil(disk)
	}
	d, err := s.open(disk)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	m := d.Metrics()
	batches, ok := s.ends[m.Sequence]
	if !ok {
		return f, fmt.Errorf("sequence number %d is not the end of a batch", m.Sequence)
	}
	f = finding{batches: batches, clean: m.Recovery.CleanClose, newest: int(m.Sequence)}
	if err = s.compare(d, s.views[batches].At(s.clock.UnixNano())); err == nil {
		f.copies, err = s.lookAtCopies(disk)
	}
	if err == nil && s.followed {
		err = s.lookAtChanges(d, m.Sequence)
	}
	return f, err
}

func (s *sweep) open(disk *vfstest.Disk) (*db.DB, error) { return s.openAt(disk, fixture.Dir) }

func (s *sweep) openAt(disk *vfstest.Disk, dir string) (*db.DB, error) {
	d, err := db.Open(dir, fixture.On(disk, s.options))
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	return d, nil
}

// compare looks at everything by iterator and by Get.
func (s *sweep) compare(d *db.DB, want fixture.View) error {
	it, err := d.NewIterator(nil)
	if err != nil {
		return err
	}
	found := make(fixture.View, len(want))
	for key, value := range it.All() {
		found[string(key)] = string(value)
	}
	if err := errors.Join(it.Err(), it.Close(), fixture.Differ(want, found)); err != nil {
		return err
	}
	for key := range s.keys {
		value, err := d.Get([]byte(key))
		expected, ok := want[key]
		if ok && (err != nil || string(value) != expected) || !ok && !errors.Is(err, db.ErrNotFound) {
			return fmt.Errorf("Get(%s): %s, %v; the iterator shows %s (%v)", fixture.Short(key), fixture.Short(string(value)), err, fixture.Short(expected), ok)
		}
	}
	return nil
}
