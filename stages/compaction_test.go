package stages

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"lsmdb/compactor"
	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
	"lsmdb/manifest"
	"lsmdb/memtable"
)

// newLoop makes a Compactor over a tree of n level-0 tables, which makes their
// compaction due, with workers that are plain goroutines; the test plays the Keeper
// and the steward.
func (r *rig) newLoop(n int) *Compactor {
	r.t.Helper()
	r.env.Policy.L0Trigger = n
	version := &manifest.Version{}
	for i := range n {
		s := Sealed{Memtable: memtable.New(1 << 10), Segment: 1, Next: 2}
		s.Memtable.Insert(fmt.Appendf(nil, "k%d", i%2), []byte("value"), base.Seq(2*i+1), base.KindSet)
		s.Memtable.Insert([]byte("z"), []byte("value"), base.Seq(2*i+2), base.KindSet)
		f, _, _ := r.newFlusher()
		go func() { must(r.t, f.handle(context.Background(), s)) }()
		p := <-f.keeper.ch
		r.env.Attach(p.Edit.Added[0].Meta)
		next, err := version.Apply(p.Edit)
		must(r.t, err)
		version = next
		p.reply <- verdict{}
	}
	r.forget()
	r.published.Advance(version)
	r.published.Announce(base.Seq(2 * n))
	r.published.Show(base.Seq(2 * n))
	c := newCompactor(r.env, &r.published, &r.snapshots, newInbox[*Proposal](keeperCapacity))
	c.launch = func(_ string, body func(context.Context) error, after func()) <-chan struct{} {
		go func() {
			defer after()
			_ = body(context.Background())
		}()
		return nil
	}
	return c
}

// stop ends the loop as the steward does.
func stop(c *Compactor) { close(c.stopping) }

func TestCompactorRunsAJob(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		c := r.newLoop(4)
		inputs := r.published.State().Version.Levels[0]
		ended := started(context.Background(), c.run)
		p := <-c.keeper.ch
		if len(p.Edit.Removed) != 4 || len(p.Edit.Added) != 1 || p.Flushed != nil || p.Segment != 0 {
			t.Errorf("%+v", p.Edit)
		}
		next, err := c.newest.Apply(p.Edit)
		must(t, err)
		r.published.Advance(next)
		p.reply <- verdict{}
		synctest.Wait()
		stop(c)
		must(t, <-ended)
		if c.newest != next {
			t.Error("the loop does not know its own result")
		}
		stats, _ := c.jobs.snapshot()
		if stats.Jobs != 1 || stats.EntriesIn != 8 || stats.EntriesOut != 3 || stats.Running != 0 || len(inputs) != 4 {
			t.Errorf("%+v", stats)
		}
	})
}

func TestCompactorFollowsTheNewestVersion(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		c := r.newLoop(4)
		version := r.published.State().Version
		r.published.Advance(&manifest.Version{})
		ended := started(context.Background(), c.run)
		synctest.Wait()
		if len(c.keeper.ch) > 0 {
			t.Error("it compacts an empty tree")
		}
		r.published.Advance(version)
		nudge(c.inbox.ch)
		synctest.Wait()
		if len(c.keeper.ch) != 1 || c.inbox.traffic("").Messages != 1 {
			t.Error("it missed a newer version")
		}
		(<-c.keeper.ch).reply <- verdict{err: errBroken}
		stop(c)
		<-ended
	})
}

// TestCompactorLeavesWhatIsHidden: a table of a load, which is not visible yet, is merged
// with nothing: a snapshot that is still to come may need what lies under it.
func TestCompactorLeavesWhatIsHidden(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		c := r.newLoop(4)
		r.published.Publish(r.published.State(), 1) // of 8
		ended := started(context.Background(), c.run)
		synctest.Wait()
		if len(c.keeper.ch) > 0 {
			t.Error("it merges what is not visible yet")
		}
		r.published.Announce(8)
		r.published.Show(8)
		nudge(c.inbox.ch)
		synctest.Wait()
		if len(c.keeper.ch) != 1 {
			t.Error("it merges nothing")
		}
		(<-c.keeper.ch).reply <- verdict{err: errBroken}
		stop(c)
		<-ended
	})
}

// TestCompactorErrors: a full disk is waited out, a directory sync gets no second
// try, anything else gets three, each under new numbers; nothing stays behind.
func TestCompactorErrors(t *testing.T) {
	for name, c := range map[string]struct {
		matches func(vfstest.Op) bool
		err     error
		tries   []time.Duration // in ms
	}{
		"create":    {on(vfstest.OpCreate, base.FileTable), errBroken, []time.Duration{0, 50, 150}},
		"write":     {on(vfstest.OpWrite, base.FileTable), errBroken, []time.Duration{0, 50, 150}},
		"sync":      {on(vfstest.OpSync, base.FileTable), errBroken, []time.Duration{0, 50, 150}},
		"directory": {func(op vfstest.Op) bool { return op.Kind == vfstest.OpSyncDir }, errBroken, []time.Duration{0}},
		"full":      {on(vfstest.OpWrite, base.FileTable), syscall.ENOSPC, []time.Duration{0, 50, 150, 350, 750, 1550, 3150, 6350, 11350}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t)
				loop := r.newLoop(4)
				began := time.Now()
				var tries []time.Duration
				r.onDisk(func(op vfstest.Op) error {
					if on(vfstest.OpCreate, base.FileTable)(op) {
						tries = append(tries, time.Since(began)/time.Millisecond)
					}
					if c.matches(op) {
						return c.err
					}
					return nil
				})
				ended := started(context.Background(), loop.run)
				if name == "full" {
					time.Sleep(12 * time.Second)
					stop(loop)
					must(t, <-ended)
				} else if err := <-ended; !errors.Is(err, errBroken) {
					t.Errorf("ended with %v", err)
				}
				if !slices.Equal(tries, c.tries) {
					t.Errorf("tries at %d ms, want %d", tries, c.tries)
				}
				made := r.traced("create")
				if slices.Sort(made); len(slices.Compact(made)) != len(tries) || len(r.names(base.FileTable)) != 4 {
					t.Errorf("made %v, left %v", made, r.names(base.FileTable))
				}
			})
		})
	}
}

// TestWorkerKeepsProposedTables is TestFlusherKeepsProposedTables for workers.
func TestWorkerKeepsProposedTables(t *testing.T) {
	for _, cause := range []error{errBroken, fmt.Errorf("elsewhere: %w", syscall.ENOSPC), context.Canceled} {
		bubble(t, func(t *testing.T) {
			r := newRig(t)
			c := r.newLoop(4)
			ctx, cancel := context.WithCancelCause(context.Background())
			ended := started(ctx, c.run)
			<-c.keeper.ch
			synctest.Wait()
			cancel(cause)
			stop(c)
			must(t, <-ended)
			if n := len(r.names(base.FileTable)); n != 5 {
				t.Errorf("stopped by %q, %d tables are left: one may be in the MANIFEST", cause, n)
			}
		})
	}
}

func TestWorkerRemovesRefusedTables(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		c := r.newLoop(4)
		ended := started(context.Background(), c.run)
		for range 3 {
			p := <-c.keeper.ch
			p.reply <- verdict{err: vfs.Shortage(syscall.ENOSPC)}
			synctest.Wait()
			if n := len(r.names(base.FileTable)); n != 4 {
				t.Errorf("%d tables after a proposal that was refused", n)
			}
		}
		stop(c)
		must(t, <-ended)
	})
}

func TestCompactorStopsRunningJobs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		c := r.newLoop(4)
		release := r.hold(on(vfstest.OpCreate, base.FileTable))
		ended := started(context.Background(), c.run)
		synctest.Wait()
		r2 := &rangeRequest{ctx: context.Background(), reply: make(chan error, 1)}
		c.requests <- r2
		close(c.stopping)
		synctest.Wait()
		if len(ended) > 0 {
			t.Error("ended with a worker")
		}
		release()
		must(t, <-ended)
		if c.refuse(base.ErrClosed); <-r2.reply != base.ErrClosed {
			t.Error("who asked for a compaction was not told")
		}
	})
}

// damage flips a byte in the middle of a table.
func (r *rig) damage(number uint64) {
	r.t.Helper()
	path := base.TablePath(testDir, number)
	old, err := r.mem.Open(path)
	must(r.t, err)
	size, err := old.Size()
	must(r.t, err)
	contents := make([]byte, size)
	_, err = old.ReadAt(contents, 0)
	must(r.t, err)
	must(r.t, old.Close())
	must(r.t, r.mem.Remove(path))
	contents[100] ^= 1
	fresh, err := r.mem.Create(path)
	must(r.t, err)
	_, err = fresh.WriteAt(contents, 0)
	must(r.t, err)
	must(r.t, fresh.Close())
}

// TestDamagedTableIsSetAside compacts a tree with one damaged table: the rest is
// compacted, the error is reported, nothing is dropped, and flushes are not held.
func TestDamagedTableIsSetAside(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(e *Environment) { e.Policy.L0Trigger, e.Policy.L0Limit = 100, 5 })
		r.open()
		for _, key := range []string{"a", "a", "m", "m"} {
			must(t, r.put(set(key+"1", kilobyte("x"), key+"2", kilobyte("y"))))
			must(t, r.p.Flush(context.Background()))
		}
		tables := r.p.State().Version.Levels[0]
		damaged := tables[3] // the older of those that hold a1 and a2
		r.damage(damaged.Number)
		for range 2 {
			err := r.p.Compact(context.Background(), nil, nil)
			if !errors.Is(err, base.ErrCorrupt) || !strings.Contains(err.Error(), base.TableName(damaged.Number)) {
				t.Errorf("Compact: %v", err)
			}
		}
		must(t, r.p.Compact(context.Background(), []byte("m"), []byte("z")))
		version := r.p.State().Version
		if left := version.Levels[0]; len(left) != 2 || left[1] != damaged {
			t.Errorf("level 0 holds %v", left)
		}
		if _, ok := r.get("m1"); !ok || r.p.Failed() != nil {
			t.Errorf("the rest is not served: %v", r.p.Failed())
		}
		if m := r.p.Metrics(); m.Compact.SetAside != 1 {
			t.Errorf("%+v", m.Compact)
		}
		for range 5 { // more than level 0 may hold
			must(t, r.put(set("a1", "new", "zz", "new")))
			must(t, r.p.Flush(context.Background()))
		}
		if got := r.names(base.FileTable); !slices.Contains(got, base.TableName(damaged.Number)) {
			t.Error("the damaged table is gone")
		}
		// What overlaps it outside of the range cannot go down either.
		err := r.p.Compact(context.Background(), []byte("zz"), nil)
		if !errors.Is(err, base.ErrCorrupt) || !strings.Contains(err.Error(), base.TableName(damaged.Number)) {
			t.Errorf("Compact: %v, but level 0 has %d tables", err, len(r.p.State().Version.Levels[0]))
		}
		r.close()
	})
}

func TestCompactRange(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).open()
		r.fill("k", 40)
		must(t, r.put(del("k000", "k001")))
		must(t, r.p.Flush(context.Background()))
		must(t, r.p.Compact(context.Background(), nil, nil))
		populated := 0
		for _, tables := range r.p.State().Version.Levels {
			for _, table := range tables {
				if table.Deletes+table.Shadowed > 0 {
					t.Errorf("%v holds garbage", table)
				}
			}
			if len(tables) > 0 {
				populated++
			}
		}
		if _, ok := r.get("k001"); ok || populated != 1 {
			t.Errorf("%d levels hold tables", populated)
		}
		r.close()
	})
}

// TestCompactGivesUp waits for a compaction that cannot go on, until ctx ends, the
// database closes or fails.
func TestCompactGivesUp(t *testing.T) {
	for _, how := range []string{"cancelled", "closing", "failure"} {
		t.Run(how, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t).open()
				for range 2 {
					r.fill("k", 3)
					must(t, r.p.Flush(context.Background()))
				}
				r.fail(on(vfstest.OpWrite, base.FileTable), syscall.ENOSPC)
				ctx, cancel := context.WithCancel(context.Background())
				answers := make(chan error, 2)
				for range 2 {
					go func() { answers <- r.p.Compact(ctx, nil, nil) }()
				}
				time.Sleep(time.Minute)
				if len(answers) > 0 || r.p.Failed() != nil {
					t.Fatal("a full disk was not waited out")
				}
				want := context.Canceled
				switch how {
				case "cancelled":
					cancel()
				case "closing":
					want = base.ErrClosed
					go r.p.Close()
				case "failure":
					want = base.ErrReadOnly
					r.fail(on(vfstest.OpWrite, base.FileWAL), errBroken)
					if r.put(set("a", "b")) == nil {
						t.Error("written")
					}
				}
				for range 2 {
					if err := <-answers; !errors.Is(err, want) {
						t.Errorf("Compact: %v", err)
					}
				}
				cancel()
				r.onDisk(nil)
				if how == "cancelled" { // the next one is not held up by those before
					must(t, r.p.Compact(context.Background(), nil, nil))
				}
				if err := r.p.Close(); (err != nil) != (how == "failure") {
					t.Errorf("Close: %v", err)
				}
				r.checkClosed()
			})
		})
	}
}

// endsBehindTheBack is a context that ends after its second Done was asked for, and shows
// that to its user last of all.
type endsBehindTheBack struct {
	context.Context
	cancel context.CancelFunc
	asked  int
}

func (c *endsBehindTheBack) Done() <-chan struct{} {
	if c.asked++; c.asked == 2 {
		c.cancel()
		time.Sleep(2 * output.LongestBackOff)
	}
	return c.Context.Done()
}

// TestCompactIsCancelledBehindTheBack: where the Compactor learns before its caller that
// the context has ended, it does not say that all is compacted.
func TestCompactIsCancelledBehindTheBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(e *Environment) { e.Policy.L0Trigger = 2 }).open()
		r.onDisk(func(op vfstest.Op) error {
			if on(vfstest.OpCreate, base.FileTable)(op) && len(r.traced("create")) > 4 { // of two flushes
				return syscall.ENOSPC
			}
			return nil
		})
		for range 2 {
			r.fill("k", 3)
			must(t, r.p.Flush(context.Background()))
		}
		for range 20 {
			synctest.Wait() // the Compactor waits for room
			ctx, cancel := context.WithCancel(context.Background())
			if err := r.p.Compact(&endsBehindTheBack{ctx, cancel, 0}, nil, nil); !errors.Is(err, context.Canceled) {
				t.Errorf("%v, but level 0 has %d tables", err, len(r.p.State().Version.Levels[0]))
			}
		}
		r.onDisk(nil)
		r.close()
	})
}

func TestCompactorWorkersShareTheTree(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(e *Environment) {
			e.Workers = 3
			e.Policy = compactor.NewPolicy(4 << 10)
			e.Policy.L0Limit = 2 * e.Policy.L0Trigger // writers wait for a loop that gets no processor
		})
		r.open()
		for i := range 400 {
			key := fmt.Sprintf("k%03d", i*37%200)
			must(t, r.put(set(key, kilobyte(key))))
		}
		must(t, r.p.Flush(context.Background()))
		synctest.Wait()
		r.checkFilled("k", 200)
		m := r.p.Metrics()
		var jobs, moves uint64
		for _, l := range m.Levels {
			jobs, moves = jobs+l.Jobs, moves+l.Moves
		}
		if m.Compact.Jobs < 5 || jobs != m.Compact.Jobs+m.Flush.Jobs || moves != m.Compact.Moves {
			t.Errorf("%+v", m)
		}
		r.close()
		if got := recovered(t, r.mem.CrashClone(nil)); len(got) != 200 {
			t.Errorf("%d keys", len(got))
		}
		live := 0
		for _, tables := range r.p.State().Version.Levels {
			live += len(tables)
		}
		if files := r.names(base.FileTable); len(files) != live || len(r.names(base.FileWAL)) != 1 || m.Pending != 0 {
			t.Errorf("%d tables in the tree, files %v", live, files)
		}
	})
}
