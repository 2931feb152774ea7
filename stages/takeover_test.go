package stages

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"lsmdb/flusher"
	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/internal/recovery"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
	"lsmdb/memtable"
)

// takenOver is a takeover that the test controls: it begins when the gate is open, with
// each of these errors first.
type takenOver struct {
	rig    *rig
	gate   chan struct{} // closed by the test: go on
	errs   []error
	sealed *memtable.Memtable // holds k=log; nil: the log was empty
}

func (r *rig) recovery(logged bool, errs ...error) *takenOver {
	c := &takenOver{rig: r, gate: make(chan struct{}), errs: errs}
	if logged {
		c.sealed = memtable.New(1000)
		c.sealed.Insert([]byte("k"), []byte("log"), 1, base.KindSet)
	}
	return c
}

// open starts the pipeline on it.
func (c *takenOver) open() *rig {
	start := Start{State: c.rig.start.State, Marked: true, Takeover: begin(c.begin)}
	if c.sealed != nil {
		start.State.LastSeq, start.Sealed = 1, []*memtable.Memtable{c.sealed}
	}
	c.rig.p = New(c.rig.env, start)
	return c.rig
}

func (c *takenOver) begin() (recovery.Begun, error) {
	r := c.rig
	<-c.gate
	if len(c.errs) > 0 {
		err := c.errs[0]
		c.errs = c.errs[1:]
		return recovery.Begun{}, err
	}
	if r.begun.Add(1); c.sealed == nil {
		return r.start, nil
	}
	tables, err := flusher.Run(context.Background(), r.env.Directory, c.sealed.NewIterator(), nil, output.Readers{}, func(_, _ int64) {})
	if err != nil {
		return recovery.Begun{}, err
	}
	r.env.Attach(tables[0])
	b := r.start
	edit := adding(0, tables...)
	if b.State, err = b.State.Apply(edit); err != nil {
		return recovery.Begun{}, err
	}
	return b, b.Manifest.Append(edit)
}

// enqueue sends a commit whose answer comes later.
func (r *rig) enqueue(c *Commit) *Commit {
	r.t.Helper()
	must(r.t, r.p.Enqueue(context.Background(), c))
	return c
}

// TestReadsBeforeTheTakeover holds the takeover of what a log held: reads go on, writes
// wait, those who give up are let go; then everything goes on.
func TestReadsBeforeTheTakeover(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newRig(t).recovery(true)
		r := c.open()
		snapshot := r.p.Acquire(new(Snapshot))
		patient, impatient := r.enqueue(set("new", "1")), r.enqueue(set("never", "1"))
		synctest.Wait()
		if got, ok := r.get("k"); !ok || got != "log" {
			t.Errorf("k reads as %q, %v", got, ok)
		}
		if !impatient.Abandon() || len(patient.reply) > 0 {
			t.Error("the write did not wait")
		}
		if m := r.p.Metrics(); m.Writer.Segment != 0 || m.ManifestBytes != 0 || r.p.State().Active.CapacityBytes() != 0 {
			t.Errorf("before the takeover: %+v", m)
		}
		close(c.gate)
		must(t, patient.Wait())
		synctest.Wait()
		state := r.p.State()
		if len(state.Sealed) != 0 || len(state.Version.Levels[0]) != 1 || state.Active.CapacityBytes() != testMemtableBytes {
			t.Errorf("published after the takeover: %+v", state)
		}
		if r.p.compactor.newest != state.Version {
			t.Error("the Compactor does not know of what was recovered")
		}
		if _, ok := r.get("never"); ok || r.p.Visible() != 2 || r.p.Metrics().Writer.Segment != 1 {
			t.Errorf("visible up to %d, %+v", r.p.Visible(), r.p.Metrics())
		}
		if got, _, err := readAt(state, snapshot.At().Seq, "new"); got != "" || err != nil {
			t.Errorf("the snapshot sees %q, %v", got, err)
		}
		r.p.Release(snapshot)
		must(t, r.put(set("k", "2")))
		r.close()
		if got := recovered(t, r.mem.CrashClone(nil)); r.begun.Load() != 1 || got["k"] != "2" || got["new"] != "1" {
			t.Errorf("begun %d times, %v", r.begun.Load(), got)
		}
	})
}

// TestNothingIsBegunForReaders opens and closes without a write.
func TestNothingIsBegunForReaders(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).open()
		synctest.Wait()
		if _, ok := r.get("k"); ok {
			t.Error("k is there")
		}
		r.p.Release(r.p.Acquire(new(Snapshot)))
		must(t, r.p.Close())
		trace := r.traced("")
		r.checkClosed() // closes the rig's own files
		if r.begun.Load() != 0 || len(trace) > 0 {
			t.Errorf("begun %d times, and %v", r.begun.Load(), trace)
		}
	})
}

// TestWhatBeginsTheTakeover: every call that needs the log or changes the tree does.
func TestWhatBeginsTheTakeover(t *testing.T) {
	for name, call := range map[string]func(*rig) error{ // twice each
		"write": func(r *rig) error { return r.put(set("a", "b")) },
		"sync":  func(r *rig) error { return r.put(synced(NewCommit())) },
		"flush": func(r *rig) error { return r.p.Flush(context.Background()) },
		"edit": func(r *rig) error {
			return r.env.propose(context.Background(), r.p.keeper.inbox, &Proposal{Edit: adding(0, r.tableOf("a", "b", base.Seq(r.env.Numbers.Peek())))}).err
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t).open()
				for range 2 {
					must(t, call(r))
				}
				if r.begun.Load() != 1 {
					t.Errorf("begun %d times", r.begun.Load())
				}
				r.close()
			})
		})
	}
}

// TestTakeoverOnAFullDisk: all who need the log are refused, reads go on, and so do
// writes when there is room.
func TestTakeoverOnAFullDisk(t *testing.T) {
	full := fmt.Errorf("beginning: %w", vfs.Shortage(syscall.ENOSPC))
	for _, logged := range []bool{true, false} {
		bubble(t, func(t *testing.T) {
			errs := []error{full, full, full, full}
			if logged {
				errs = append(errs, full) // the Keeper itself tries first
			}
			c := newRig(t).recovery(logged, errs...)
			close(c.gate)
			r := c.open()
			synctest.Wait()
			edit := &Proposal{Edit: adding(0, r.tableOf("a", "b", 1))}
			for name, err := range map[string]error{
				"write": r.put(set("a", "b")), "sync": r.put(synced(NewCommit())), "flush": r.p.Flush(context.Background()),
				"edit": r.env.propose(context.Background(), r.p.keeper.inbox, edit).err,
			} {
				if !errors.Is(err, base.ErrDiskFull) || errors.Is(err, base.ErrReadOnly) {
					t.Errorf("%s: %v", name, err)
				}
			}
			if _, ok := r.get("k"); ok != logged || r.begun.Load() != 0 || r.p.Failed() != nil {
				t.Errorf("k is there: %v, begun %d times, %v", ok, r.begun.Load(), r.p.Failed())
			}
			must(t, r.put(set("a", "b")))
			r.close()
			if got := recovered(t, r.mem.CrashClone(nil)); got["a"] != "b" || (got["k"] == "log") != logged {
				t.Errorf("%v", got)
			}
		})
	}
}

// TestCloseOfARecoveryOnAFullDisk: Close tries once more, and leaves it to the log if in
// vain.
func TestCloseOfARecoveryOnAFullDisk(t *testing.T) {
	for _, still := range []bool{true, false} {
		bubble(t, func(t *testing.T) {
			c := newRig(t).recovery(true, vfs.Shortage(syscall.ENOSPC))
			if still {
				c.errs = append(c.errs, vfs.Shortage(syscall.ENOSPC))
			}
			close(c.gate)
			r := c.open()
			synctest.Wait()
			if still {
				must(t, r.p.Close())
			} else {
				r.close()
			}
			r.checkClosed()
			if got := recovered(t, r.mem); (got["k"] == "log") == still {
				t.Errorf("%v", got)
			}
		})
	}
}

// TestTakeoverFails: the cause is what callers hear, who wait already or come later.
func TestTakeoverFails(t *testing.T) {
	for _, logged := range []bool{true, false} {
		bubble(t, func(t *testing.T) {
			c := newRig(t).recovery(logged, errBroken)
			r := c.open()
			early := r.enqueue(set("a", "b"))
			synctest.Wait()
			close(c.gate)
			for _, err := range []error{early.Wait(), r.put(set("a", "c"))} {
				if !errors.Is(err, base.ErrReadOnly) || !errors.Is(err, errBroken) {
					t.Errorf("%v", err)
				}
			}
			if _, ok := r.get("k"); ok != logged {
				t.Errorf("k is there: %v", ok)
			}
			if err := r.p.Close(); !errors.Is(err, errBroken) {
				t.Errorf("Close: %v", err)
			}
			r.checkClosed()
		})
	}
}

// TestTakeoverFailsForAnEdit: a compaction that comes first stops the database, too.
func TestTakeoverFailsForAnEdit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newRig(t).recovery(false, errBroken)
		close(c.gate)
		r := c.open()
		edit := &Proposal{Edit: adding(0, r.tableOf("a", "b", 1))}
		if err := r.env.propose(r.p.ctx, r.p.keeper.inbox, edit).err; !errors.Is(err, errBroken) {
			t.Errorf("%v", err)
		}
		if err := r.p.Close(); !errors.Is(err, errBroken) {
			t.Errorf("Close: %v", err)
		}
		r.checkClosed()
	})
}

// TestCloseDuringTheTakeover: Close waits for it. Whether the Writer has the segment
// by then or nobody ever asked for it, it gets its end, and CURRENT its mark.
func TestCloseDuringTheTakeover(t *testing.T) {
	for _, written := range []bool{true, false} {
		bubble(t, func(t *testing.T) {
			c := newRig(t).recovery(true)
			r := c.open()
			var commit *Commit
			if written {
				commit = r.enqueue(set("a", "b"))
			}
			closed := make(chan error, 1)
			go func() { closed <- r.p.Close() }()
			synctest.Wait()
			if len(closed) > 0 {
				t.Error("closed in the midst of the takeover")
			}
			close(c.gate)
			must(t, <-closed)
			if written {
				must(t, commit.Wait())
			}
			r.close()
			if got := recovered(t, r.mem.CrashClone(nil)); got["k"] != "log" || (got["a"] == "b") != written {
				t.Errorf("%v", got)
			}
		})
	}
}

// TestFailureDuringTheTakeover has another stage fail meanwhile: the Writer, if it waits,
// leaves, and the segment that comes too late is closed all the same. Nothing is marked.
func TestFailureDuringTheTakeover(t *testing.T) {
	for _, waiting := range []bool{true, false} {
		bubble(t, func(t *testing.T) {
			c := newRig(t).recovery(true)
			r := c.open()
			if waiting {
				commit := r.enqueue(set("a", "b"))
				synctest.Wait()
				r.p.fail("compactor", errBroken)
				if err := commit.Wait(); !errors.Is(err, errBroken) || !errors.Is(err, base.ErrReadOnly) {
					t.Errorf("%v", err)
				}
			} else {
				r.p.fail("compactor", errBroken)
			}
			synctest.Wait()
			close(c.gate)
			if err := r.p.Close(); !errors.Is(err, errBroken) {
				t.Errorf("Close: %v", err)
			}
			r.checkClosed()
			current, err := manifest.ReadCurrent(r.mem, testDir)
			if must(t, err); current.Clean != nil {
				t.Error("marked as cleanly closed")
			}
			if got := recovered(t, r.mem); got["k"] != "log" || len(got) != 1 {
				t.Errorf("%v", got)
			}
		})
	}
}

// TestSegmentIsNeverLost lets the takeover end, a writer come and a failure happen all
// at once: whoever has the segment then closes it.
func TestSegmentIsNeverLost(t *testing.T) {
	for i := range 300 {
		c := newRig(t).recovery(i%2 == 0)
		r := c.open()
		commit := r.enqueue(set("a", "b"))
		for range i % 7 {
			runtime.Gosched()
		}
		go close(c.gate)
		for range i % 5 {
			runtime.Gosched()
		}
		r.p.fail("compactor", errBroken)
		if err := commit.Wait(); err != nil && !errors.Is(err, errBroken) {
			t.Error(err)
		}
		if err := r.p.Close(); !errors.Is(err, errBroken) {
			t.Errorf("Close: %v", err)
		}
		r.checkClosed()
	}
}

// TestPanicInTheTakeover: it is a failure like others.
func TestPanicInTheTakeover(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.p = New(r.env, Start{State: r.start.State, Takeover: begin(func() (recovery.Begun, error) { panic("out of order") })})
		if err := r.put(set("a", "b")); !errors.Is(err, base.ErrReadOnly) || !strings.Contains(err.Error(), "panic in stage keeper") {
			t.Errorf("%v", err)
		}
		if err := r.p.Close(); err == nil {
			t.Error("Close knows nothing of it")
		}
		r.checkClosed()
	})
}
