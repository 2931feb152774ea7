package stages

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"lsmdb/internal/base"
)

// gaveWay reports whether another goroutine got the only processor during giveWay. A
// few times it may get it by chance; so of several tries the one without counts.
func gaveWay(t *testing.T, prepare func() (*courtesy, *Commit)) bool {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for range 50 {
		y, c := prepare()
		var ran atomic.Bool
		done := make(chan struct{})
		go func() { ran.Store(true); close(done) }()
		y.giveWay(c)
		got := ran.Load()
		<-done
		if !got {
			return false
		}
	}
	return true
}

func TestOnlyCallersThatWriteAtTheSameTimeGiveWay(t *testing.T) {
	shared := func() *courtesy {
		y := &courtesy{}
		y.commits.Store(1)
		y.arrive()
		return y
	}
	for name, test := range map[string]struct {
		prepare func() (*courtesy, *Commit)
		want    bool
	}{
		"at the same time": {func() (*courtesy, *Commit) { return shared(), NewCommit() }, true},
		"alone": {func() (*courtesy, *Commit) {
			y := &courtesy{}
			y.arrive()
			return y, NewCommit()
		}, false},
		"answered": {func() (*courtesy, *Commit) {
			c := NewCommit()
			c.answer(nil)
			return shared(), c
		}, false},
		"synced":  {func() (*courtesy, *Commit) { return shared(), synced(NewCommit()) }, false},
		"sealing": {func() (*courtesy, *Commit) { return shared(), &Commit{seal: true, reply: make(chan error, 1)} }, false},
		"pending": {func() (*courtesy, *Commit) { return shared(), NewPendingCommit() }, false},
	} {
		if got := gaveWay(t, test.prepare); got != test.want {
			t.Errorf("%s: gave way: %t", name, got)
		}
	}
}

func TestNobodyGivesWayLongAfterTheLastMeeting(t *testing.T) {
	y := &courtesy{}
	y.commits.Store(1)
	y.arrive()
	y.commits.Store(2)
	for range sharedCommits {
		y.arrive()
		y.giveWay(NewCommit())
	}
	if left := y.shared.Load(); left != 0 {
		t.Errorf("%d more would give way", left)
	}
}

// In a busy process who gave way comes back late; callers sleep for a while then. Among
// many callers, too, but the Writer gets much done meanwhile, so it is no loss.
func TestNobodyGivesWayInABusyProcess(t *testing.T) {
	for name, test := range map[string]struct {
		other time.Duration // what another goroutine works in between
		done  uint64        // by the Writer, each time that it looks at the clock
		sleep bool
	}{
		"the Writer gets nothing done": {2 * base.LongTurn, 0, true},
		"the Writer gets much done":    {2 * base.LongTurn, 1, false},
		"much, but it takes too long":  {2 * maxCourtesy, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			y, slept := giveWayBeside(test.other, test.done)
			for tries := 0; slept != test.sleep && tries < 100; tries++ { // the other one may get its turn before or late
				y, slept = giveWayBeside(test.other, test.done)
			}
			if slept != test.sleep {
				t.Fatalf("callers sleep from then on: %t", slept)
			}
			if !slept {
				return
			}
			if y.Rests(base.Clock() + 20*time.Second) {
				t.Error("callers never give way again")
			}
			y.Rest(base.Clock(), time.Hour)
			if gaveWay(t, func() (*courtesy, *Commit) { return y, NewCommit() }) {
				t.Error("a caller gave way although the process is busy")
			}
		})
	}
}

// giveWayBeside gives way to a goroutine that works so long, and reports whether the
// callers sleep from then on.
func giveWayBeside(other time.Duration, done uint64) (*courtesy, bool) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	y := &courtesy{}
	y.commits.Store(1)
	y.arrive()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for begin := time.Now(); time.Since(begin) < other; {
			y.commits.Add(2 * done)
		}
	}()
	y.giveWay(NewCommit())
	<-ended
	return y, y.Rests(base.Clock())
}
