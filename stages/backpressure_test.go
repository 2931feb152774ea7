package stages

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/vfstest"
)

// stalled fills the pipeline up to a Writer that waits for the Flusher, whose
// operations on tables are held. It returns the keys that were acknowledged and
// the commit that the Writer holds in hand.
func (r *rig) stalled() (acknowledged []string, inHand *Commit) {
	r.t.Helper()
	for i := 0; ; i++ {
		key := fmt.Sprintf("k%03d", i)
		c := set(key, kilobyte(key))
		must(r.t, r.p.Enqueue(context.Background(), c))
		synctest.Wait()
		if len(c.reply) == 0 {
			return acknowledged, c
		}
		must(r.t, c.Wait())
		acknowledged = append(acknowledged, key)
	}
}

// TestFullFlusherHoldsTheWriter checks the stall and its figures, in virtual time.
func TestFullFlusherHoldsTheWriter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).open()
		release := r.hold(on(vfstest.OpCreate, base.FileTable))
		acknowledged, inHand := r.stalled()
		m := r.p.Metrics()
		if !m.Writer.Stalled || m.Writer.Stalls != 1 || m.Flush.Running != 1 || m.Traffic[1].Depth != 1 || m.Traffic[1].Capacity != flusherCapacity+largeSeals {
			t.Errorf("%+v", m)
		}
		if err := r.p.Health(); err != nil {
			t.Errorf("a stall that has just begun: %v", err)
		}
		if n := len(r.p.State().Sealed); n != 3 {
			t.Errorf("%d sealed memtables: one is flushed, one waits, one is in the Writer's hand", n)
		}
		// The inbox takes a burst; after that callers wait, or go with their ctx.
		var queued []*Commit
		for i := range writerCapacity {
			queued = append(queued, set(fmt.Sprintf("q%03d", i), "x"))
			must(t, r.p.Enqueue(context.Background(), queued[i]))
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if err := r.p.Enqueue(ctx, set("late", "x")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Enqueue: %v", err)
		}
		// Both what is queued and what the Writer has in hand can be taken back.
		if !queued[7].Abandon() || !inHand.Abandon() {
			t.Error("the Writer keeps what it has not begun to write")
		}
		waiting := make(chan error, 1)
		go func() { waiting <- r.p.Enqueue(context.Background(), set("waits", "x")) }()
		time.Sleep(3 * time.Second)
		if len(waiting) > 0 {
			t.Error("a full inbox does not hold its senders")
		}
		if err := r.p.Health(); err == nil || !strings.Contains(err.Error(), "waiting for the flusher since "+time.Now().Add(-5*time.Second).Format(time.RFC3339)) {
			t.Errorf("after five seconds: %v", err)
		}
		release()
		must(t, <-waiting)
		for i, c := range queued {
			if i != 7 {
				must(t, c.Wait())
			}
		}
		synctest.Wait()
		must(t, r.p.Health())
		m = r.p.Metrics()
		if m.Writer.Stalled || m.Writer.StallTime != 5*time.Second || m.Traffic[1].Blocked != 5*time.Second {
			t.Errorf("stalled for %v, blocked for %v", m.Writer.StallTime, m.Traffic[1].Blocked)
		}
		if m.Traffic[0].Blocked != 5*time.Second { // two callers, 2s and 3s
			t.Errorf("callers were blocked for %v", m.Traffic[0].Blocked)
		}
		if m.Flush.Time != 5*time.Second || m.Traffic[0].Busy != 5*time.Second || m.Traffic[0].Capacity != writerCapacity {
			t.Errorf("%+v", m)
		}
		if _, ok := r.get("q007"); ok || len(queued[7].reply)+len(inHand.reply) > 0 {
			t.Error("an abandoned commit was applied or answered")
		}
		if _, ok := r.get(fmt.Sprintf("k%03d", len(acknowledged))); ok {
			t.Error("the abandoned commit in the Writer's hand was applied")
		}
		r.checkFilled("k", len(acknowledged))
		r.close()
		got := recovered(t, r.mem)
		if _, ok := got["q007"]; ok || len(got) != len(acknowledged)+writerCapacity {
			t.Errorf("%d keys", len(got))
		}
	})
}

// TestLevel0HoldsFlushes: with level 0 at its limit nothing more is flushed, until
// a compaction was through.
func TestLevel0HoldsFlushes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(e *Environment) { e.Policy.L0Trigger, e.Policy.L0Limit, e.IdleDelay = 100, 3, time.Hour })
		r.open()
		acknowledged, inHand := r.stalled()
		m := r.p.Metrics()
		if n := len(r.p.State().Version.Levels[0]); n != 3 || !m.Level0Full || m.Flush.Jobs != 3 || m.Flush.Running != 0 {
			t.Errorf("%d tables in level 0, %+v", n, m)
		}
		time.Sleep(time.Hour)
		if len(inHand.reply) > 0 {
			t.Error("a Writer that should wait does not")
		}
		must(t, r.p.Compact(context.Background(), nil, nil))
		must(t, inHand.Wait())
		synctest.Wait()
		if m := r.p.Metrics(); m.Level0Full || m.Writer.StallTime != time.Hour || m.Traffic[1].Busy < time.Hour {
			t.Errorf("%+v", m)
		}
		r.checkFilled("k", len(acknowledged)+1)
		r.close()
	})
}

// TestStallEnds stalls the pipeline behind a full disk, with all sorts of callers
// waiting, and ends it.
func TestStallEnds(t *testing.T) {
	for _, c := range []struct {
		how  string
		want error
	}{
		{"closing", syscall.ENOSPC}, {"failure", errBroken}, {"room", nil},
	} {
		t.Run(c.how, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t).open()
				full := func(op vfstest.Op) error {
					if on(vfstest.OpWrite, base.FileTable)(op) {
						return syscall.ENOSPC
					}
					return nil
				}
				r.onDisk(full)
				acknowledged, inHand := r.stalled()
				seal := NewCommit()
				seal.seal = true
				queued := []*Commit{inHand, set("queued", "x"), synced(set("synced", "x")), seal}
				for _, c := range queued[1:] {
					must(t, r.p.Enqueue(context.Background(), c))
				}
				time.Sleep(time.Minute)
				if m := r.p.Metrics(); m.Flush.Retries < 10 || len(r.names(base.FileTable)) > 1 || r.p.Failed() != nil {
					t.Errorf("%+v, %v", m, r.p.Failed())
				}
				closed := make(chan error, 3)
				switch c.how {
				case "closing":
					for range 3 {
						go func() { closed <- r.p.Close() }()
					}
				case "failure":
					r.onDisk(func(op vfstest.Op) error {
						if on(vfstest.OpCreate, base.FileTable)(op) {
							return errBroken
						}
						return full(op)
					})
				case "room":
					r.onDisk(nil)
				}
				for i, commit := range queued {
					err, told := commit.Wait(), c.want
					if c.how == "closing" { // what is logged is safe, only who wanted a flush has none
						told = nil
						if commit == seal {
							told = base.ErrDiskFull
						}
					}
					if !errors.Is(err, told) || errors.Is(err, base.ErrReadOnly) != (c.how == "failure") {
						t.Errorf("waiter %d got %v", i, err)
					}
				}
				r.onDisk(nil)
				for range 3 {
					go func() { closed <- r.p.Close() }()
					if err := <-closed; c.how == "closing" && err != nil || c.how != "closing" && !errors.Is(err, c.want) {
						t.Errorf("Close: %v", err)
					}
				}
				r.checkClosed()
				got := recovered(t, r.mem)
				for _, key := range acknowledged {
					if got[key] != kilobyte(key) {
						t.Errorf("%s was acknowledged and is lost", key)
					}
				}
			})
		})
	}
}

// TestFailureRefusesTheWholeGroup: when the database fails while a group waits for room,
// its members that only want a sync are refused like those that write. Otherwise somebody
// would be told that all before it is stored.
func TestFailureRefusesTheWholeGroup(t *testing.T) {
	bubble(t, func(t *testing.T) {
		probe := newRig(t).open()
		release := probe.hold(on(vfstest.OpCreate, base.FileTable))
		acknowledged, _ := probe.stalled()
		release()
		probe.close()

		r := newRig(t).open()
		syncing, failing := make(chan struct{}), make(chan struct{})
		r.onDisk(func(op vfstest.Op) error {
			switch {
			case on(vfstest.OpCreate, base.FileTable)(op):
				<-failing
				return errBroken
			case on(vfstest.OpSync, base.FileWAL)(op) && r.p.Metrics().Writer.Rotations == 2:
				<-syncing
			}
			return nil
		})
		for _, key := range acknowledged {
			must(t, r.put(set(key, kilobyte(key))))
		}
		first := synced(NewCommit())
		group := []*Commit{set("refused", kilobyte("refused")), synced(NewCommit())}
		for _, c := range append([]*Commit{first}, group...) {
			must(t, r.p.Enqueue(context.Background(), c))
			synctest.Wait()
		}
		close(syncing)
		must(t, first.Wait())
		synctest.Wait()
		if m := r.p.Metrics(); !m.Writer.Stalled || m.Traffic[0].Depth != 0 {
			t.Fatalf("the group is not in the Writer's hand: %+v", m)
		}
		close(failing)
		for i, c := range group {
			if err := c.Wait(); !errors.Is(err, base.ErrReadOnly) || !errors.Is(err, errBroken) {
				t.Errorf("member %d got %v", i, err)
			}
		}
		if err := r.p.Close(); !errors.Is(err, errBroken) {
			t.Errorf("Close: %v", err)
		}
		r.checkClosed()
	})
}

// TestClosingReleasesCallers: those who wait for room in the inbox are turned away.
func TestClosingReleasesCallers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).open()
		release := r.hold(on(vfstest.OpCreate, base.FileTable))
		r.stalled()
		for i := range writerCapacity {
			must(t, r.p.Enqueue(context.Background(), set(fmt.Sprint(i), "x")))
		}
		turnedAway := make(chan error, 10)
		for range 10 {
			go func() { turnedAway <- r.p.Enqueue(context.Background(), set("late", "x")) }()
		}
		synctest.Wait()
		closed := make(chan error, 1)
		go func() { closed <- r.p.Close() }()
		synctest.Wait() // Close waits for the flush
		if len(turnedAway) != 10 || len(closed) != 0 {
			t.Errorf("%d callers turned away, closed: %d", len(turnedAway), len(closed))
		}
		for range len(turnedAway) {
			if err := <-turnedAway; err != base.ErrClosed {
				t.Errorf("a caller got %v", err)
			}
		}
		release()
		must(t, <-closed)
		r.checkClosed()
		// What was queued before is drained, not dropped.
		if got := recovered(t, r.mem.CrashClone(nil)); got[fmt.Sprint(writerCapacity-1)] != "x" || got["late"] != "" {
			t.Error("Close dropped what was queued")
		}
	})
}

func TestInbox(t *testing.T) {
	bubble(t, func(t *testing.T) {
		in := newInbox[int](1)
		ctx, cancel := context.WithCancelCause(context.Background())
		must(t, in.send(ctx, 1))
		go func() {
			time.Sleep(time.Second)
			cancel(errBroken)
		}()
		if err := in.send(ctx, 2); err != errBroken || in.trySend(3) {
			t.Errorf("a full inbox: %v", err)
		}
		in.worked(2, time.Minute)
		want := Traffic{Name: "x", Depth: 1, Capacity: 1, Messages: 2, Blocked: time.Second, Busy: time.Minute}
		if got := in.traffic("x"); got != want {
			t.Errorf("%+v", got)
		}
		<-in.ch
		must(t, in.send(ctx, 4)) // room counts more than an ended ctx
	})
}
