package base

import (
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestGiveWay(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var c Courtesy
	for range 100 { // a few times somebody else may get the processor
		var ran atomic.Bool
		done := make(chan struct{})
		go func() { ran.Store(true); close(done) }()
		_, more := c.Give()
		got := ran.Load()
		<-done
		if got && more {
			return
		}
		c = Courtesy{}
	}
	t.Error("no other goroutine ran")
}

// However many goroutines compute, who gives way all the time loses a tenth of it, and one
// turn.
func TestCourtesyIsBounded(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var stop atomic.Bool
	for range 4 {
		go func() {
			for !stop.Load() {
			}
		}()
	}
	defer stop.Store(true)
	var c Courtesy
	var lost, longest time.Duration
	start := Clock()
	for Clock()-start < time.Second {
		took, _ := c.Give()
		lost += took
		longest = max(longest, took)
	}
	all := Clock() - start
	if lost < LongTurn || lost > all/10+2*longest {
		t.Errorf("%v of %v were lost to others, at most %v at once", lost, all, longest)
	}
}

// Time that does not pass is never long.
func TestCourtesyInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Courtesy
		for range 1000 {
			if took, more := c.Give(); took != 0 || !more {
				t.Fatal(took, more)
			}
		}
		for took, rests := range map[time.Duration]time.Duration{time.Millisecond: time.Millisecond, timeSlice: 10 * timeSlice} {
			b := Courtesy{Background: true}
			b.Rest(Clock(), took)
			if last := Clock() + rests - 1; !b.Rests(last) || b.Rests(last+1) {
				t.Errorf("in the background a turn of %v is not followed by a rest of %v", took, rests)
			}
		}
		c.Rest(Clock(), time.Second)
		if _, more := c.Give(); more {
			t.Error("it does not rest")
		}
		time.Sleep(11 * time.Second)
		if _, more := c.Give(); !more {
			t.Error("it rests for ever")
		}
	})
}
