package stages

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"
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
		y := &courtesy{start: time.Now()}
		y.working.Store(true)
		y.arrive()
		return y
	}
	for name, test := range map[string]struct {
		prepare func() (*courtesy, *Commit)
		want    bool
	}{
		"at the same time": {func() (*courtesy, *Commit) { return shared(), NewCommit() }, true},
		"alone": {func() (*courtesy, *Commit) {
			y := &courtesy{start: time.Now()}
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
	y := &courtesy{start: time.Now()}
	y.working.Store(true)
	y.arrive()
	y.working.Store(false)
	for range sharedCommits {
		y.arrive()
		y.giveWay(NewCommit())
	}
	if left := y.shared.Load(); left != 0 {
		t.Errorf("%d more would give way", left)
	}
}

// In a busy process who gave way comes back late; callers sleep for a while then.
func TestNobodyGivesWayInABusyProcess(t *testing.T) {
	y := &courtesy{start: time.Now()}
	y.working.Store(true)
	y.arrive()
	previous := runtime.GOMAXPROCS(1)
	for tries := 0; y.resume.Load() == 0 && tries < 50; tries++ { // the other one may get its turn before
		go func() {
			for begin := time.Now(); time.Since(begin) < 2*busyAfter; {
			}
		}()
		y.giveWay(NewCommit())
	}
	runtime.GOMAXPROCS(previous)
	if time.Duration(y.resume.Load()) < 10*busyAfter {
		t.Fatalf("callers give way again after %s", time.Duration(y.resume.Load()))
	}
	y.resume.Store(int64(time.Hour))
	if gaveWay(t, func() (*courtesy, *Commit) { return y, NewCommit() }) {
		t.Error("a caller gave way although the process is busy")
	}
}
