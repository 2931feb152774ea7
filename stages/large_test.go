package stages

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/ranges"
	"lsmdb/internal/vfstest"
	"lsmdb/internal/view"
	"lsmdb/sstable"
)

// largeCommit needs more than a memtable: n keys of a kilobyte each.
func largeCommit(prefix string, n int) *Commit {
	var pairs []string
	for i := range n {
		key := fmt.Sprintf("%s%03d", prefix, i)
		pairs = append(pairs, key, kilobyte(key))
	}
	return set(pairs...)
}

// prepared matches operations on segments that are prepared.
func prepared(kind vfstest.OpKind) func(vfstest.Op) bool {
	return func(op vfstest.Op) bool { return op.Kind == kind && strings.HasSuffix(op.Name, ".wal.tmp") }
}

// send has a caller of his own send a commit and wait, and returns where the answer will be.
func (r *rig) send(ctx context.Context, c *Commit) <-chan error {
	answer := make(chan error, 1)
	go func() {
		err := r.p.Enqueue(ctx, c)
		if err == nil {
			err = c.WaitOrAbandon(ctx)
		}
		answer <- err
	}()
	return answer
}

// checkNothingPrepared checks that nothing is left of a large commit that was refused.
func (r *rig) checkNothingPrepared() {
	r.t.Helper()
	if names := r.names(base.FileTemporary); len(names) > 0 {
		r.t.Errorf("%v is left", names)
	}
	if len(r.p.writer.place) > 0 {
		r.t.Error("the place is taken")
	}
}

// TestLargeCommitHoldsUpNobody: while a large commit is prepared others write. Then the Writer
// writes no more of it than a block, between the syncs of a rotation.
func TestLargeCommitHoldsUpNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).open()
		r.fill("before", 3)
		release := r.hold(prepared(vfstest.OpSync))
		answer := r.send(t.Context(), largeCommit("large", 100))
		synctest.Wait()
		r.fill("meanwhile", 30) // more than a memtable
		if len(answer) > 0 || len(r.names(base.FileTemporary)) != 1 {
			t.Fatal("nothing is being prepared")
		}
		if _, ok := r.get("large000"); ok {
			t.Error("it is visible before it is there")
		}
		before := r.p.Visible()
		var unsynced, written int // of it, before a sync, by one goroutine after the other
		release()
		r.onDisk(func(op vfstest.Op) error {
			switch {
			case prepared(vfstest.OpWrite)(op):
				unsynced += op.Length
			case prepared(vfstest.OpSync)(op):
				unsynced, written = 0, unsynced
			}
			return nil
		})
		must(t, <-answer)
		synctest.Wait()
		if written == 0 || written > 32<<10 {
			t.Errorf("the Writer wrote %d bytes of it", written)
		}
		r.fill("after", 3)
		if r.p.Visible() != before+103 {
			t.Errorf("visible from %d to %d", before, r.p.Visible())
		}
		r.checkFilled("large", 100)
		must(t, r.p.Flush(t.Context()))
		for prefix, n := range map[string]int{"before": 3, "meanwhile": 30, "large": 100, "after": 3} {
			r.checkFilled(prefix, n)
		}
		r.close()
		if got := recovered(t, r.mem.CrashClone(nil)); len(got) != 136 {
			t.Errorf("%d keys are recovered", len(got))
		}
	})
}

// TestLargeCommitOfAllKinds reads what large commits of operations of every kind make of each
// other, at every number.
func TestLargeCommitOfAllKinds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(e *Environment) {
			e.Merger = &base.Merger{Name: "append", Merge: func(dst, _, older, newer []byte) ([]byte, error) {
				return append(append(dst, older...), newer...), nil
			}}
		}).open()
		rng := rand.New(rand.NewPCG(1, 1))
		model := []map[string]string{{}}
		for round := range 12 {
			c, now := NewCommit(), map[string]string{}
			for key, value := range model[len(model)-1] {
				now[key] = value
			}
			for groupSize(c) < []int64{testMemtableBytes / 2, 100, 3 * testMemtableBytes}[round%3] {
				key, value := fmt.Sprint("key", rng.IntN(200)), fmt.Sprint(c.Len(), ".", round)
				switch rng.IntN(5) {
				case 0:
					must(t, c.Add(base.KindDelete, []byte(key), nil, 0))
					delete(now, key)
				case 1:
					end := fmt.Sprint("key", rng.IntN(200))
					must(t, c.Add(base.KindRangeDelete, []byte(key), []byte(end), 0))
					for k := range now {
						if key <= k && k < end {
							delete(now, k)
						}
					}
				case 2:
					until := time.Now().Add(time.Hour)
					if rng.IntN(2) == 0 {
						until = time.Now().Add(-time.Hour)
						delete(now, key)
					} else {
						now[key] = value
					}
					must(t, c.Add(base.KindSetExpiring, []byte(key), []byte(value), until.UnixNano()))
				case 3:
					must(t, c.Add(base.KindMerge, []byte(key), []byte(value), 0))
					now[key] += value
				default:
					must(t, c.Add(base.KindSet, []byte(key), []byte(value), 0))
					now[key] = value
				}
			}
			before := r.p.Acquire(new(Snapshot))
			must(t, r.put(c))
			model = append(model, now)
			for at, want := range map[view.At]map[string]string{before.At(): model[len(model)-2], r.p.At(): now} {
				it := new(view.Iterator)
				r.p.Hold(it, 0, &at)
				it.Open(nil, &sstable.IteratorOptions{}, new(atomic.Bool))
				found := map[string]string{}
				for ok := it.First(); ok; ok = it.Next() {
					found[string(it.Key())] = string(it.Value())
				}
				must(t, it.Err())
				for ok := it.Last(); ok; ok = it.Prev() {
					if want[string(it.Key())] != string(it.Value()) {
						t.Fatalf("round %d: backward %s is %s", round, it.Key(), it.Value())
					}
				}
				must(t, it.Close())
				if fmt.Sprint(found) != fmt.Sprint(want) {
					t.Fatalf("round %d: found %v, want %v", round, found, want)
				}
				reading := r.p.Enter()
				for i := range 200 {
					key := fmt.Sprint("key", i)
					value, ok, err := reading.Get(at, []byte(key))
					if wanted, there := want[key]; err != nil || ok != there || string(value) != wanted {
						t.Fatalf("round %d: %s is %q, %v, %v; want %q, %v", round, key, value, ok, err, wanted, there)
					}
				}
				reading.Leave()
			}
			r.p.Release(before)
		}
		if s := r.p.Metrics().Writer; s.Rotations < 12 {
			t.Errorf("%+v", s)
		}
		r.close()
	})
}

// TestLargeCommitDoesNotWaitForTheFlusher: a flush takes for ever, and another memtable waits.
// A large commit is stored all the same, and small ones go on until the memtable is full. The
// next large one waits for the first to be in tables.
func TestLargeCommitDoesNotWaitForTheFlusher(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).open()
		must(t, r.put(set("a", "1"))) // takes the database over
		release := r.hold(on(vfstest.OpCreate, base.FileTable))
		for i := 0; !r.p.writer.flusherFull(); i++ {
			must(t, r.put(set(fmt.Sprintf("full%03d", i), kilobyte("f"))))
		}
		must(t, r.put(set("b", "1")))
		must(t, <-r.send(t.Context(), largeCommit("first", 40)))
		r.fill("small", 5)
		second := r.send(t.Context(), largeCommit("second", 40))
		ctx, cancel := context.WithCancel(t.Context())
		third := r.send(ctx, largeCommit("third", 40))
		synctest.Wait()
		if len(second) > 0 || len(r.names(base.FileTemporary)) > 0 {
			t.Error("a second one is under way")
		}
		cancel()
		if err := <-third; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		r.fill("small", 6)
		release()
		must(t, <-second)
		must(t, r.p.Flush(t.Context()))
		synctest.Wait()
		r.checkNothingPrepared()
		if work := r.p.writer.pace.work.left.Load() + r.p.writer.pace.work.ahead.Load(); work != 0 {
			t.Errorf("%d entries are left to be flushed", work)
		}
		r.checkFilled("first", 40)
		r.checkFilled("second", 40)
		if _, ok := r.get("third000"); ok {
			t.Error("what was taken back is there")
		}
		r.close()
	})
}

// TestLargeCommitIsRefused: whatever a large commit is refused for, nothing of it is left, and
// the next one is stored.
func TestLargeCommitIsRefused(t *testing.T) {
	for name, refuse := range map[string]func(*testing.T, *rig, *Commit) error{
		"conflict": func(t *testing.T, r *rig, c *Commit) error {
			s := r.p.Begin(new(Snapshot))
			defer r.p.End(s)
			must(t, r.put(set("read", "changed")))
			c.Reads, c.Through = new(view.Reads), s.At().Seq
			c.Reads.Add([]byte("read"))
			c.Reads.Seal()
			return <-r.send(t.Context(), c)
		},
		"context while it is prepared": func(t *testing.T, r *rig, c *Commit) error {
			ctx, cancel := context.WithCancel(t.Context())
			release := r.hold(prepared(vfstest.OpSync))
			answer := r.send(ctx, c)
			synctest.Wait()
			cancel()
			release()
			return <-answer
		},
		"context in the queue": func(t *testing.T, r *rig, c *Commit) error {
			ctx, cancel := context.WithCancel(t.Context())
			release := r.hold(on(vfstest.OpSync, base.FileWAL))
			before := r.send(t.Context(), synced(set("before", "1")))
			synctest.Wait()
			answer := r.send(ctx, c)
			synctest.Wait()
			cancel()
			err := <-answer
			if len(before) > 0 {
				t.Error("the Writer was not held")
			}
			release()
			must(t, <-before)
			return err
		},
		"changed operations": func(t *testing.T, r *rig, c *Commit) error {
			c.encoded = c.encoded[:len(c.encoded)-1]
			return <-r.send(t.Context(), c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t).open()
				must(t, r.put(set("read", "1")))
				if err := refuse(t, r, largeCommit("refused", 20)); err == nil {
					t.Error("it was stored")
				}
				synctest.Wait()
				r.checkNothingPrepared()
				must(t, <-r.send(t.Context(), largeCommit("stored", 20)))
				r.checkFilled("stored", 20)
				if _, ok := r.get("refused000"); ok {
					t.Error("it is there")
				}
				r.close()
				if got := recovered(t, r.mem); got["stored000"] == "" || got["refused000"] != "" {
					t.Errorf("%d keys are recovered", len(got))
				}
			})
		})
	}
}

// TestCloseWaitsForWhoPrepares: Close refuses callers that prepare or wait for their turn, and
// when it returns nothing of theirs is under way any more.
func TestCloseWaitsForWhoPrepares(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).open()
		must(t, r.put(set("a", "1")))
		release := r.hold(prepared(vfstest.OpSync))
		first := r.send(t.Context(), largeCommit("first", 20))
		synctest.Wait()
		second := r.send(t.Context(), largeCommit("second", 20))
		closed := make(chan error, 1)
		go func() { closed <- r.p.Close() }()
		synctest.Wait()
		if len(closed) > 0 || len(first) > 0 {
			t.Error("Close did not wait")
		}
		if err := <-second; err != base.ErrClosed {
			t.Error(err)
		}
		release()
		must(t, <-closed)
		r.checkNothingPrepared()
		if err := <-first; err != base.ErrClosed {
			t.Error(err)
		}
		if err := r.p.Enqueue(t.Context(), largeCommit("third", 20)); err != base.ErrClosed {
			t.Error(err)
		}
		r.checkClosed()
	})
}

// TestLargeCommitMeetsTrouble lets every operation on files fail in turn, from where a large
// commit is prepared until it is flushed: with a shortage that passes, or for good. It is there
// whole or not at all, and after a shortage the database goes on.
func TestLargeCommitMeetsTrouble(t *testing.T) {
	for _, queued := range []bool{false, true} {
		for _, cause := range []error{syscall.ENOSPC, errBroken} {
			t.Run(fmt.Sprint(cause, " ", queued), func(t *testing.T) {
				for at, more := 1, true; more; at++ {
					bubble(t, func(t *testing.T) { more = meetsTrouble(t, cause, at, queued) })
				}
			})
		}
	}
}

func meetsTrouble(t *testing.T, cause error, at int, queued bool) (more bool) {
	t.Helper()
	r := newRig(t).open()
	r.fill("before", 2)
	var operations atomic.Int64
	what := ""
	r.onDisk(func(op vfstest.Op) error {
		switch op.Kind {
		case vfstest.OpClose, vfstest.OpTruncate, vfstest.OpRemove, vfstest.OpCheck, vfstest.OpStat:
			return nil
		}
		if operations.Add(1) == int64(at) {
			what = fmt.Sprintf("%v of %s", op.Kind, op.Name)
			return cause
		}
		return nil
	})
	large := largeCommit("large", 20)
	large.Queued = queued
	recycled := make(chan struct{}, 1)
	large.Recycle = func() { recycled <- struct{}{} }
	err := r.p.Enqueue(t.Context(), large)
	if err == nil && !queued {
		err = large.Wait()
	}
	synctest.Wait()
	if err == nil && queued && r.p.Failed() == nil {
		time.Sleep(time.Minute)
		<-recycled
	}
	r.onDisk(nil)
	after := r.put(set("after", "1"))
	_, there := r.get("large000")
	switch {
	case err == nil && r.p.Failed() == nil:
		r.checkFilled("large", 20)
	case there && r.p.Failed() == nil:
		t.Errorf("%s: %v, but it is there", what, err)
	case base.IsShortage(err) != (cause == syscall.ENOSPC) && r.p.Failed() == nil:
		t.Errorf("%s: %v", what, err)
	}
	if r.p.Failed() == nil {
		if after != nil {
			t.Errorf("%s: the next write: %v", what, after)
		}
		must(t, <-r.send(t.Context(), largeCommit("next", 20)))
		must(t, r.p.Flush(t.Context()))
		synctest.Wait()
		r.checkNothingPrepared()
		r.close()
	} else {
		if after == nil {
			t.Errorf("%s: written after a failure", what)
		}
		_ = r.p.Close()
		if names := r.names(base.FileTemporary); len(names) > 0 {
			t.Errorf("%s: %v is left", what, names)
		}
		r.checkClosed()
	}
	got := recovered(t, r.mem.CrashClone(nil))
	n := 0
	for key := range got {
		if strings.HasPrefix(key, "large") {
			n++
		}
	}
	if n != 0 && n != 20 || n == 0 && err == nil && !(queued && r.p.Failed() != nil) || got["before001"] == "" && r.p.Failed() == nil {
		t.Errorf("%s: %d keys of it are recovered, of %d; it was answered with %v", what, n, len(got), err)
	}
	return what != ""
}

// TestNoRoomBehindALargeCommit: it is stored, but there is no room for the next segment. What
// is written next is refused until there is; others may prepare already.
func TestNoRoomBehindALargeCommit(t *testing.T) {
	for _, closing := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			r := newRig(t).open()
			r.fill("before", 2)
			var placed atomic.Bool
			r.onDisk(func(op vfstest.Op) error {
				placed.Store(placed.Load() || op.Kind == vfstest.OpRename)
				if placed.Load() && on(vfstest.OpCreate, base.FileWAL)(op) {
					return syscall.ENOSPC
				}
				return nil
			})
			must(t, r.put(largeCommit("large", 20)))
			r.checkFilled("large", 20)
			if err := r.put(synced(NewCommit())); err != nil {
				t.Error(err)
			}
			for range 2 {
				if err := r.put(set("after", "1")); !base.IsShortage(err) {
					t.Errorf("written without room: %v", err)
				}
			}
			r.checkNothingPrepared()
			if closing {
				must(t, r.p.Close())
				r.checkClosed()
			} else {
				r.onDisk(nil)
				must(t, r.put(largeCommit("next", 20)))
				must(t, r.put(set("after", "1")))
				r.checkFilled("next", 20)
				must(t, r.p.Flush(t.Context()))
				synctest.Wait()
				r.checkNothingPrepared()
				r.close()
			}
			if got := recovered(t, r.mem.CrashClone(nil)); len(got) != 22 && closing || len(got) != 43 && !closing {
				t.Errorf("%d keys are recovered", len(got))
			}
		})
	}
}

// TestLargeCommitIsOvertaken: so many files are made while it is prepared that segments have
// larger numbers than its own. It is made again, and follows them.
func TestLargeCommitIsOvertaken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).open()
		r.fill("before", 2)
		release := r.hold(prepared(vfstest.OpSync))
		answer := r.send(t.Context(), largeCommit("large", 20))
		synctest.Wait()
		name := r.names(base.FileTemporary)[0]
		_, number := base.ParseFileName(name)
		for r.env.Numbers.Next() <= number {
		}
		must(t, r.p.Flush(t.Context()))
		r.fill("meanwhile", 2)
		release()
		must(t, <-answer)
		r.fill("after", 2)
		synctest.Wait() // nobody flushes any more
		if got := recovered(t, r.mem); len(got) != 26 {
			t.Errorf("%d keys are recovered", len(got))
		}
		names := r.names(base.FileWAL)
		if slices.Contains(names, strings.TrimSuffix(name, ".tmp")) {
			t.Errorf("%s was placed among %v", name, names)
		}
		checkChain(t, r.mem)
		must(t, r.p.Flush(t.Context()))
		synctest.Wait()
		r.checkNothingPrepared()
		r.close()
	})
}

// TestSmallCommitsOfTheGroup: what waits before a large commit is stored before it, and what is
// sent after it, after it.
func TestSmallCommitsOfTheGroup(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).open()
		must(t, r.put(set("first", "1")))
		gate, tables := make(chan struct{}), make(chan struct{})
		r.onDisk(func(op vfstest.Op) error {
			switch {
			case on(vfstest.OpSync, base.FileWAL)(op):
				<-gate
			case on(vfstest.OpCreate, base.FileTable)(op):
				<-tables
			}
			return nil
		})
		held := r.send(t.Context(), synced(set("held", "1")))
		synctest.Wait()
		var commits []*Commit
		for i := range 5 {
			c := set("key", fmt.Sprint("before", i))
			if i == 3 {
				c = largeCommit("large", 20)
				must(t, c.Add(base.KindSet, []byte("key"), []byte("large"), 0))
			}
			must(t, r.p.Enqueue(t.Context(), c))
			commits = append(commits, c)
		}
		close(gate)
		must(t, <-held)
		for _, c := range commits {
			must(t, c.Wait())
		}
		for seq, want := range map[base.Seq]string{3: "before0", 5: "before2", 25: "before2", 26: "large", 27: "before4"} {
			if got, _, err := readAt(r.p.State(), seq, "key"); got != want || err != nil {
				t.Errorf("at %d it is %s, %v; want %s", seq, got, err, want)
			}
		}
		close(tables)
		r.close()
	})
}

// TestLargeRangesAreNumberedOnce: whoever asks first for the range deletes of a large commit
// makes their numbers, and others at the same time get the same.
func TestLargeRangesAreNumberedOnce(t *testing.T) {
	r := newRig(t).open()
	defer r.p.Close()
	r.fill("a", 3)
	c := largeCommit("large", 20)
	for i := range 100 {
		must(t, c.Add(base.KindRangeDelete, fmt.Appendf(nil, "large%03d", i), fmt.Appendf(nil, "large%03d", i+1), 0))
	}
	release := r.hold(on(vfstest.OpCreate, base.FileTable))
	defer release()
	must(t, r.put(c))
	found := make(chan []ranges.List, 4)
	for range cap(found) {
		go func() { found <- r.p.State().Sealed[0].RangeDeletes.Lists() }()
	}
	for range cap(found) {
		for _, l := range <-found {
			if smallest, largest := l.Seqs(); smallest < 24 || largest > 123 {
				t.Errorf("numbers from %d to %d", smallest, largest)
			}
		}
	}
}
