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

	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
	"lsmdb/memtable"
)

// newFlusher makes a Flusher of its own; the test plays the Writer and, through
// its inbox, the Keeper.
func (r *rig) newFlusher() (f *Flusher, closing, stuck chan struct{}) {
	closing, stuck = make(chan struct{}), make(chan struct{})
	return &Flusher{
		env: r.env, published: &r.published, snapshots: &r.snapshots, inbox: newInbox[Sealed](flusherCapacity), keeper: newInbox[*Proposal](keeperCapacity),
		closing: closing, stuck: stuck, work: newProgress(), pace: pace{work: newProgress()},
	}, closing, stuck
}

// sealedWith makes a sealed memtable with one key.
func sealedWith(key string, waiter *Commit) Sealed {
	m := memtable.New(1 << 10)
	m.Insert([]byte(key), []byte("value"), 1, base.KindSet)
	return Sealed{Memtable: m, Segment: 1, Next: 2, waiter: waiter}
}

// started runs a stage and returns how it ends.
func started(ctx context.Context, run func(context.Context) error) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	return ended
}

func TestFlusherProposesTables(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		f, _, _ := r.newFlusher()
		ended := started(context.Background(), f.run)
		waiter := NewCommit()
		s := sealedWith("a", waiter)
		f.inbox.ch <- s
		p := <-f.keeper.ch
		synctest.Wait()
		if len(waiter.reply) > 0 {
			t.Error("the waiter was answered before the table was in the tree")
		}
		if p.Flushed != s.Memtable || p.Segment != 1 || p.Edit.OldestWAL != 2 || len(p.Edit.Added) != 1 || p.Edit.Added[0].Level != 0 {
			t.Errorf("%+v", p)
		}
		p.reply <- verdict{}
		must(t, waiter.Wait())
		// A waiter without a memtable only waits for its turn.
		waiter = NewCommit()
		f.inbox.ch <- Sealed{waiter: waiter}
		must(t, waiter.Wait())
		close(f.inbox.ch)
		must(t, <-ended)
		stats, levels := f.jobs.snapshot()
		if stats.Jobs != 1 || stats.Running != 0 || stats.EntriesIn != 1 || levels[0].BytesWritten != uint64(p.Edit.Added[0].Meta.SizeBytes) {
			t.Errorf("%+v", stats)
		}
	})
}

// TestFlusherWaitsOutAFullDisk checks the back-off in virtual time, that outputs
// are removed and that no file number is used twice.
func TestFlusherWaitsOutAFullDisk(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		f, _, _ := r.newFlusher()
		ended := started(context.Background(), f.run)
		began := time.Now()
		var tries []time.Duration
		r.onDisk(func(op vfstest.Op) error {
			if !on(vfstest.OpWrite, base.FileTable)(op) {
				return nil
			}
			tries = append(tries, time.Since(began)/time.Millisecond)
			if len(tries) > 9 {
				return nil
			}
			return syscall.ENOSPC
		})
		f.inbox.ch <- sealedWith("a", nil)
		p := <-f.keeper.ch
		p.reply <- verdict{}
		close(f.inbox.ch)
		must(t, <-ended)
		want := []time.Duration{0, 50, 150, 350, 750, 1550, 3150, 6350, 11350, 16350}
		if !slices.Equal(tries[:min(len(tries), 10)], want) {
			t.Errorf("tries after %d ms, want %d", tries, want)
		}
		made := r.traced("create")
		if len(made) != 10 || len(slices.Compact(slices.Sorted(slices.Values(made)))) != 10 {
			t.Errorf("ten tries made %v", made)
		}
		if got := r.names(base.FileTable); len(got) != 1 || got[0] != base.TableName(p.Edit.Added[0].Meta.Number) {
			t.Errorf("files %v, proposed %d", got, p.Edit.Added[0].Meta.Number)
		}
		if s, _ := f.jobs.snapshot(); s.Retries != 9 || s.Jobs != 1 || s.Time != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestFlusherRepeatsAfterAFullManifest: the Keeper wrote nothing, so the tables go.
func TestFlusherRepeatsAfterAFullManifest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		f, _, _ := r.newFlusher()
		ended := started(context.Background(), f.run)
		f.inbox.ch <- sealedWith("a", nil)
		first := <-f.keeper.ch
		first.reply <- verdict{err: fmt.Errorf("no: %w", vfs.Shortage(syscall.ENOSPC))}
		second := <-f.keeper.ch
		second.reply <- verdict{}
		close(f.inbox.ch)
		must(t, <-ended)
		a, b := first.Edit.Added[0].Meta.Number, second.Edit.Added[0].Meta.Number
		if got := r.names(base.FileTable); a == b || len(got) != 1 || got[0] != base.TableName(b) {
			t.Errorf("proposed %d, then %d; files %v", a, b, got)
		}
	})
}

// TestFlusherKeepsProposedTables: once the Keeper may have recorded a table, it is
// never removed, whatever stopped the database, be it a full disk elsewhere.
func TestFlusherKeepsProposedTables(t *testing.T) {
	for _, cause := range []error{errBroken, fmt.Errorf("elsewhere: %w", syscall.ENOSPC)} {
		bubble(t, func(t *testing.T) {
			r := newRig(t)
			f, _, _ := r.newFlusher()
			ctx, cancel := context.WithCancelCause(context.Background())
			ended := started(ctx, f.run)
			waiter := NewCommit()
			f.inbox.ch <- sealedWith("a", waiter)
			<-f.keeper.ch
			synctest.Wait()
			cancel(cause)
			if err := <-ended; !errors.Is(err, cause) {
				t.Errorf("ended with %v", err)
			}
			close(f.inbox.ch)
			f.refuse(cause) // as the pipeline does, once nothing goes on any more
			if err := waiter.Wait(); !errors.Is(err, cause) || !errors.Is(err, base.ErrReadOnly) {
				t.Errorf("the waiter got %v", err)
			}
			if len(r.names(base.FileTable)) != 1 {
				t.Errorf("stopped by %q, it removed a table that may be in the MANIFEST", cause)
			}
		})
	}
}

func TestFlusherTriesThreeTimes(t *testing.T) {
	syncDir := func(op vfstest.Op) bool { return op.Kind == vfstest.OpSyncDir }
	full := fmt.Errorf("%w: %w", syscall.ENOSPC, errBroken)
	for name, c := range map[string]struct {
		matches func(vfstest.Op) bool
		err     error
		tries   int
	}{
		"create":         {on(vfstest.OpCreate, base.FileTable), errBroken, 3},
		"write":          {on(vfstest.OpWrite, base.FileTable), errBroken, 3},
		"sync":           {on(vfstest.OpSync, base.FileTable), errBroken, 3},
		"directory":      {syncDir, errBroken, 1},
		"directory full": {syncDir, full, 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t)
				f, _, _ := r.newFlusher()
				r.fail(c.matches, c.err)
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				began := time.Now()
				waiter, queued := NewCommit(), NewCommit()
				ended := started(ctx, f.run)
				f.inbox.ch <- sealedWith("a", waiter)
				f.inbox.ch <- sealedWith("b", queued)
				err := <-ended
				if !errors.Is(err, errBroken) || errors.Is(err, output.ErrDirectorySync) != strings.HasPrefix(name, "directory") {
					t.Errorf("ended with %v", err)
				}
				if n := len(r.traced("create")); n != c.tries || time.Since(began) != time.Duration(c.tries/2)*150*time.Millisecond {
					t.Errorf("%d tries in %v", n, time.Since(began))
				}
				if len(waiter.reply) > 0 {
					t.Error("the waiter was told of the failure before the other stages were stopped")
				}
				if got := r.names(base.FileTable); len(got) > 0 {
					t.Errorf("left %v", got)
				}
				close(f.inbox.ch)
				f.refuse(errBroken)
				for _, c := range []*Commit{waiter, queued} {
					if err := c.Wait(); !errors.Is(err, base.ErrReadOnly) || !errors.Is(err, errBroken) {
						t.Errorf("a waiter got %v", err)
					}
				}
			})
		})
	}
}

func TestFlusherRecoversOnTheThirdTry(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		f, _, _ := r.newFlusher()
		failures := 0
		r.onDisk(func(op vfstest.Op) error {
			if on(vfstest.OpSync, base.FileTable)(op) && failures < 2 {
				failures++
				return errBroken
			}
			return nil
		})
		ended := started(context.Background(), f.run)
		for range 2 { // each memtable has its own three tries
			failures = 0
			f.inbox.ch <- sealedWith("a", nil)
			(<-f.keeper.ch).reply <- verdict{}
			synctest.Wait()
		}
		close(f.inbox.ch)
		must(t, <-ended)
		if s, _ := f.jobs.snapshot(); s.Jobs != 2 || s.Retries != 4 {
			t.Errorf("%+v", s)
		}
	})
}

// TestFlusherStopsWaiting ends the back-off on a full disk.
func TestFlusherStopsWaiting(t *testing.T) {
	for name, how := range map[string]func(closing chan struct{}, cancel context.CancelCauseFunc){
		"closing": func(closing chan struct{}, _ context.CancelCauseFunc) { close(closing) },
		"failure": func(_ chan struct{}, cancel context.CancelCauseFunc) { cancel(errBroken) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t)
				f, closing, _ := r.newFlusher()
				r.fail(on(vfstest.OpWrite, base.FileTable), syscall.ENOSPC)
				ctx, cancel := context.WithCancelCause(context.Background())
				ended := started(ctx, f.run)
				waiter := NewCommit()
				f.inbox.ch <- sealedWith("a", waiter)
				time.Sleep(time.Minute)
				began := time.Now()
				how(closing, cancel)
				close(f.inbox.ch)
				err := <-ended
				if (err == nil) != (name == "closing") || time.Since(began) != 0 {
					t.Errorf("ended after %v with %v", time.Since(began), err)
				}
				f.refuse(err)
				if told := waiter.Wait(); told == nil || errors.Is(told, base.ErrDiskFull) != (name == "closing") {
					t.Errorf("the waiter heard %v", told)
				}
				cancel(nil)
			})
		})
	}
}

// TestFlusherHolds waits while level 0 is full, until it is told otherwise.
func TestFlusherHolds(t *testing.T) {
	for _, release := range []string{"shrinks", "stuck", "closing", "failure"} {
		t.Run(release, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t)
				f, closing, stuck := r.newFlusher()
				ctx, cancel := context.WithCancelCause(context.Background())
				defer cancel(nil)
				ended := started(ctx, f.run)
				hold, waiter := make(chan struct{}), NewCommit()
				f.inbox.ch <- sealedWith("a", waiter)
				(<-f.keeper.ch).reply <- verdict{hold: hold}
				must(t, waiter.Wait()) // who waits for the flush is not held
				f.inbox.ch <- sealedWith("b", nil)
				time.Sleep(time.Hour)
				if len(f.inbox.ch) != 1 || len(r.names(base.FileTable)) != 1 {
					t.Error("the next flush was not held")
				}
				switch release {
				case "shrinks":
					close(hold)
				case "stuck":
					close(stuck)
				case "closing":
					close(closing)
				case "failure":
					cancel(errBroken)
				}
				synctest.Wait()
				if release == "failure" {
					if err := <-ended; err != errBroken {
						t.Errorf("ended with %v", err)
					}
					return
				}
				(<-f.keeper.ch).reply <- verdict{}
				close(f.inbox.ch)
				must(t, <-ended)
				if busy := f.inbox.traffic("").Busy; busy != time.Hour {
					t.Errorf("busy for %v", busy)
				}
			})
		})
	}
}
