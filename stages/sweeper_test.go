package stages

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/vfstest"
	"lsmdb/internal/view"
	"lsmdb/sstable"
)

// sweeping makes a Sweeper whose inbox names three files that exist.
func sweeping(r *rig) *Sweeper {
	s := &Sweeper{changes: r.following(), env: r.env, published: &r.published, inbox: newInbox[Obsolete](8)}
	for n := uint64(50); n < 53; n++ {
		f, err := r.mem.Create(base.WALPath(testDir, n))
		must(r.t, err)
		must(r.t, f.Close())
		s.inbox.ch <- Obsolete{Name: base.WALName(n)}
	}
	close(s.inbox.ch)
	return s
}

func TestSweeperDeletes(t *testing.T) {
	r := newRig(t)
	s := sweeping(r)
	must(t, s.run(context.Background()))
	if got := r.names(base.FileWAL); len(got) != 1 || s.deleted.Load() != 3 || s.inbox.traffic("").Messages != 3 {
		t.Errorf("left %v", got)
	}
}

func TestSweeperDeletesNothingAfterAFailure(t *testing.T) {
	r := newRig(t)
	s := sweeping(r)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	must(t, s.run(ctx))
	if got := r.traced("remove"); len(got) > 0 {
		t.Error(got)
	}
}

func TestSweeperTriesAgainAtTheEnd(t *testing.T) {
	for tries, left := range map[int]int{1: 0, 2: 1} {
		r := newRig(t)
		s := sweeping(r)
		failures := 0
		r.onDisk(func(op vfstest.Op) error {
			if op.Kind == vfstest.OpRemove && op.Name == base.WALPath(testDir, 51) && failures < tries {
				failures++
				return errBroken
			}
			return nil
		})
		must(t, s.run(context.Background()))
		if got := r.names(base.FileWAL); len(got) != 1+left || s.pending.Load() != int64(left) || s.deleted.Load() != int64(3-left) {
			t.Errorf("%d failures: left %v, pending %d", tries, got, s.pending.Load())
		}
	}
}

// TestSweeperWaitsForReaders: a table that left the tree keeps its name, and can be
// opened, for as long as a reader of an older version may come to it. Then it is closed
// and deleted at once.
func TestSweeperWaitsForReaders(t *testing.T) {
	for _, how := range []string{"inside", "iterator", "nobody", "close"} {
		t.Run(how, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t).open()
				r.fill("k", 3)
				must(t, r.p.Flush(context.Background()))
				r.fill("k", 3)
				reading := r.p.Enter()
				meta := r.p.State().Version.Levels[0][0]
				leave := reading.Leave
				switch how {
				case "iterator":
					var it view.Iterator
					r.p.Hold(&it, 0, nil)
					it.Open(nil, &sstable.IteratorOptions{}, new(atomic.Bool))
					reading.Leave()
					leave = func() { it.Close() }
				case "nobody":
					leave()
				}
				must(t, r.p.Compact(context.Background(), nil, nil))
				must(t, r.p.Flush(context.Background()))
				must(t, r.p.Compact(context.Background(), nil, nil))
				synctest.Wait()
				there := slices.Contains(r.names(base.FileTable), base.TableName(meta.Number))
				if there != (how != "nobody") || there != (r.p.Metrics().Pending > 0) {
					t.Fatalf("the table is there: %v; %d files wait", there, r.p.Metrics().Pending)
				}
				if there {
					table, err := meta.Handle.Table()
					must(t, err)
					must(t, table.Verify(nil))
				}
				if how == "close" {
					must(t, r.p.Close())
					must(t, r.env.Files.CloseAll())
					r.p.SweepLeft()
				} else if there {
					leave()
					synctest.Wait()
				}
				if slices.Contains(r.names(base.FileTable), base.TableName(meta.Number)) {
					t.Error("nobody needs the table, and it is still there")
				}
				if table, err := meta.Handle.Table(); err == nil && table.Verify(nil) == nil {
					t.Error("nobody needs the table, and it can be read")
				}
				if how != "close" {
					r.close()
				}
			})
		})
	}
}

// TestPausesOfDeletions: between two pieces of a file the disk is left to others, and Close does
// not wait for that.
func TestPausesOfDeletions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closing := make(chan struct{})
		s := &Sweeper{closing: closing}
		start := time.Now()
		s.pause(time.Millisecond)
		if took := time.Since(start); took != 4*time.Millisecond {
			t.Errorf("a pause of %v", took)
		}
		go func() { time.Sleep(time.Second); close(closing) }()
		start = time.Now()
		s.pause(time.Hour)
		if took := time.Since(start); took != time.Second {
			t.Errorf("Close waited for %v", took-time.Second)
		}
	})
}
