package stages

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/vfstest"
	"lsmdb/manifest"
)

// TestCloseDrainsInOrder closes with a message in every inbox, and looks at the
// order in which the stages end.
func TestCloseDrainsInOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).open()
		for range 4 { // an obsolete segment each, so the Sweeper has work
			r.fill("k", 3)
			must(t, r.p.Flush(context.Background()))
		}
		synctest.Wait()
		gate := make(chan struct{})
		r.onDisk(func(op vfstest.Op) error {
			// The first operation of Writer, Flusher, worker and Sweeper waits.
			if op.Kind == vfstest.OpRemove || on(vfstest.OpWrite, base.FileWAL)(op) || on(vfstest.OpCreate, base.FileTable)(op) {
				<-gate
			}
			return nil
		})
		compacted := make(chan error, 1)
		go func() { compacted <- r.p.Compact(context.Background(), nil, nil) }()
		var queued []*Commit
		for i := range 40 {
			queued = append(queued, set(fmt.Sprintf("q%03d", i), kilobyte("q")))
			must(t, r.p.Enqueue(context.Background(), queued[i]))
		}
		flushed := NewCommit()
		flushed.seal = true
		must(t, r.p.Enqueue(context.Background(), flushed))
		closed := make(chan error, 5)
		for range 5 {
			go func() { closed <- r.p.Close() }()
		}
		synctest.Wait()
		if len(closed) > 0 {
			t.Error("closed with work in hand")
		}
		r.forget()
		close(gate)
		for range 5 {
			must(t, <-closed)
		}
		for _, c := range append(queued, flushed) {
			must(t, c.Wait())
		}
		if err := <-compacted; err != nil && err != base.ErrClosed {
			t.Errorf("Compact: %v", err)
		}
		must(t, r.p.Close())
		r.onDisk(nil)
		r.checkClosed()
		trace := r.traced("truncate", "rename", "create")
		truncated := slices.IndexFunc(trace, func(s string) bool { return strings.HasPrefix(s, "truncate ") && strings.HasSuffix(s, ".wal") })
		manifestEnd := slices.IndexFunc(trace, func(s string) bool { return strings.HasPrefix(s, "truncate MANIFEST") })
		mark := slices.Index(trace, "rename CURRENT")
		if truncated < 0 || manifestEnd < truncated || mark != len(trace)-1 {
			t.Errorf("the WAL ends, then the MANIFEST, then comes the mark; but %v", trace)
		}
		current, err := manifest.ReadCurrent(r.mem.CrashClone(nil), testDir)
		must(t, err)
		info, err := r.mem.Stat(base.WALPath(testDir, current.Clean.WAL))
		if err != nil || info.SizeBytes != current.Clean.WALEnd {
			t.Errorf("the mark says %+v, the WAL has %d bytes", current.Clean, info.SizeBytes)
		}
		if got := recovered(t, r.mem.CrashClone(nil)); len(got) != 43 {
			t.Errorf("%d keys", len(got))
		}
		if n := len(r.names(base.FileWAL)); n != 1 {
			t.Errorf("%d segments are left", n)
		}
	})
}

func TestClosedPipelineRefuses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).open()
		r.fill("k", 1)
		r.close()
		ctx := context.Background()
		for name, err := range map[string]error{
			"Enqueue": r.p.Enqueue(ctx, set("a", "b")), "Flush": r.p.Flush(ctx), "Compact": r.p.Compact(ctx, nil, nil), "Refusal": r.p.Refusal(),
		} {
			if err != base.ErrClosed {
				t.Errorf("%s: %v", name, err)
			}
		}
		if r.p.Failed() != nil || r.p.Close() != nil {
			t.Error("an orderly Close is no failure")
		}
		s := r.p.Acquire(new(Snapshot)) // harmless, if late
		r.p.Release(s)
		r.p.Metrics()
	})
}

// TestCloseAgainstEverything closes at every virtual millisecond of a busy
// pipeline whose disk takes a millisecond for a sync: whatever was acknowledged is
// there, whoever waits is answered, and nothing stays behind.
func TestCloseAgainstEverything(t *testing.T) {
	for at := range 40 {
		bubble(t, func(t *testing.T) {
			r := newRig(t, func(e *Environment) { e.Policy.L0Trigger = 2 })
			r.onDisk(func(op vfstest.Op) error {
				if op.Kind == vfstest.OpSync || op.Kind == vfstest.OpCreate {
					time.Sleep(time.Millisecond)
				}
				return nil
			})
			r.open()
			type result struct {
				key string
				err error
			}
			results := make(chan result, 1000)
			const clients = 4
			for client := range clients {
				go func() {
					for i := 0; ; i++ {
						key := fmt.Sprintf("%d-%03d", client, i)
						c := set(key, kilobyte(key))
						c.Sync = client%2 == 0
						err := r.put(c)
						results <- result{key, err}
						if err != nil {
							return
						}
					}
				}()
			}
			background := make(chan error, 2)
			go func() { background <- r.p.Flush(context.Background()) }()
			go func() { background <- r.p.Compact(context.Background(), nil, nil) }()
			time.Sleep(time.Duration(at) * time.Millisecond)
			must(t, r.p.Close())
			<-background
			<-background
			synctest.Wait()
			close(results)
			got := recovered(t, r.mem.CrashClone(nil))
			refused := 0
			for result := range results {
				switch {
				case result.err == nil && got[result.key] != kilobyte(result.key):
					t.Errorf("closed at %dms: %s was acknowledged and is lost", at, result.key)
				case result.err == base.ErrClosed:
					refused++
				case result.err != nil:
					t.Errorf("closed at %dms: %v", at, result.err)
				}
			}
			if refused != clients {
				t.Errorf("closed at %dms: %d clients were refused", at, refused)
			}
			r.checkClosed()
		})
	}
}

// TestNoGoroutineStays counts, outside of any bubble.
func TestNoGoroutineStays(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, failing := range []bool{false, true} {
		r := newRig(t).open()
		r.fill("k", 30)
		must(t, r.p.Flush(context.Background()))
		if failing {
			r.fail(on(vfstest.OpSync, base.FileManifest), errBroken)
			if err := r.p.Flush(context.Background()); err != nil {
				t.Error(err) // there is nothing to flush
			}
			must(t, r.put(set("a", "b")))
			if err := r.p.Flush(context.Background()); !errors.Is(err, errBroken) {
				t.Error(err)
			}
		}
		if err := r.p.Close(); (err != nil) != failing {
			t.Error(err)
		}
		r.checkClosed()
	}
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// TestCancelAgainstGroupCommit takes commits back while the Writer takes groups:
// each is either taken back and never applied, or answered and applied.
func TestCancelAgainstGroupCommit(t *testing.T) {
	r := newRig(t).open()
	const clients, each = 4, 300
	type outcome struct {
		key     string
		applied bool
	}
	outcomes := make(chan outcome, clients*each)
	for client := range clients {
		go func() {
			for i := range each {
				key := fmt.Sprintf("%d-%d", client, i)
				c := set(key, "x")
				if err := r.p.Enqueue(context.Background(), c); err != nil {
					t.Error(err)
				}
				for range i % 5 {
					runtime.Gosched()
				}
				abandoned := c.Abandon()
				if !abandoned {
					if err := c.Wait(); err != nil {
						t.Error(err)
					}
				}
				outcomes <- outcome{key, !abandoned}
			}
		}()
	}
	applied := 0
	for range clients * each {
		o := <-outcomes
		if o.applied {
			applied++
		}
		if _, ok := r.get(o.key); ok != o.applied {
			t.Errorf("%s: applied %v, readable %v", o.key, o.applied, ok)
		}
	}
	if m := r.p.Metrics(); int(m.Writer.Commits) != applied || int(r.p.Visible()) != applied {
		t.Errorf("%d applied, %+v", applied, m.Writer)
	}
	r.close()
}
