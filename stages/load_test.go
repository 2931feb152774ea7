package stages

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/internal/vfstest"
	"lsmdb/internal/view"
	"lsmdb/manifest"
	"lsmdb/memtable"
)

// write writes a table to load, which holds keys.
func (r *rig) write(keys ...string) ([]*manifest.TableMeta, error) {
	tables := output.NewLoadedTables(r.env.Directory, nil, func(int64, []byte) bool { return false })
	for _, key := range keys {
		k := base.AppendInternalKey(nil, []byte(key), base.MakeTrailer(output.LoadedSeq, base.KindSet))
		if err := tables.Add(k, []byte("loaded")); err != nil {
			return nil, errors.Join(err, tables.Abort())
		}
	}
	return tables.Finish()
}

// sorted is write where nothing fails.
func (r *rig) sorted(keys ...string) []*manifest.TableMeta {
	r.t.Helper()
	done, err := r.write(keys...)
	must(r.t, err)
	return done
}

// In a crowd, a writer is answered when the write is visible, not before. A commit that
// cannot be decoded shows where the Writer stood.
func TestCrowdIsVisibleWhenAnswered(t *testing.T) {
	r := newRig(t)
	w := r.newWriter()
	w.active = memtable.New(1 << 20)
	for i := range crowd {
		w.group = append(w.group, set(fmt.Sprint("key", i), "value"))
	}
	broken := set("load", "value")
	broken.encoded = broken.encoded[:broken.Bytes()-1]
	broken.seal = true
	w.group = append(w.group, broken)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		w.insert()
	}()
	if visible := r.published.Visible(); visible != crowd {
		t.Errorf("%d writes were answered, up to %d they are visible", crowd, visible)
	}
}

// TestLoadIsTakenBack: while the Writer has not come to it, the end of ctx takes a load
// back, and nothing of it stays.
func TestLoadIsTakenBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).open()
		must(t, r.put(set("a", "1")))
		release := r.hold(on(vfstest.OpSync, base.FileWAL))
		before := synced(set("b", "1"))
		must(t, r.p.Enqueue(context.Background(), before))
		synctest.Wait()
		ctx, cancel := context.WithCancel(context.Background())
		tables, answer := r.sorted("k", "l"), make(chan error, 1)
		go func() { answer <- r.p.Load(ctx, tables) }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		select {
		case err := <-answer:
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		default:
			t.Error("it waits for more than ctx")
		}
		release()
		must(t, before.Wait())
		if names := r.names(base.FileTable); len(names) > 0 {
			t.Errorf("left over: %v", names)
		}
		if _, found := r.get("k"); found {
			t.Error("it is there")
		}
		r.close()
	})
}

// TestLoadBesideADamagedTable: with a table set aside, level 0 may stay too full for ever,
// and flushes do not wait for that. Loads do not either.
func TestLoadBesideADamagedTable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(e *Environment) { e.Policy.L0Trigger, e.Policy.L0Limit = 100, 2 })
		r.open()
		for range 2 {
			must(t, r.put(set("a1", kilobyte("x"), "a2", kilobyte("y"))))
			must(t, r.p.Flush(context.Background()))
		}
		r.damage(r.p.State().Version.Levels[0][1].Number)
		if err := r.p.Compact(context.Background(), nil, nil); !errors.Is(err, base.ErrCorrupt) {
			t.Fatal(err)
		}
		for _, key := range []string{"b", "a3"} {
			must(t, r.put(set("a1", "new")))
			must(t, r.p.Load(context.Background(), r.sorted(key)))
			if value, _ := r.get(key); value != "loaded" {
				t.Errorf("%s is %q", key, value)
			}
		}
		if n := len(r.p.State().Version.Levels[0]); n < 2 {
			t.Errorf("level 0 has only %d tables", n)
		}
		r.close()
	})
}

// TestLoadBetweenTheInputsOfACompaction: a load does not wait for a compaction whose
// outputs would lie around it. Those are refused then, and the merge is done again.
func TestLoadBetweenTheInputsOfACompaction(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).open()
		for _, key := range []string{"a", "z"} {
			must(t, r.put(set(key, "flushed")))
			must(t, r.p.Flush(context.Background()))
		}
		tables := r.sorted("m")
		release := r.hold(on(vfstest.OpSync, base.FileTable))
		compacted := make(chan error, 1)
		go func() { compacted <- r.p.Compact(context.Background(), nil, nil) }()
		synctest.Wait()
		must(t, r.p.Load(context.Background(), tables))
		before := r.names(base.FileTable)
		bottom := manifest.NumLevels - 1
		if v := r.p.State().Version; len(compacted) > 0 || len(before) != 4 || !slices.Contains(v.Levels[bottom], tables[0]) {
			t.Errorf("%v, of these in the last level %v", before, v.Levels[bottom])
		}
		release()
		must(t, <-compacted)
		synctest.Wait()
		v := r.p.State().Version
		if n := len(v.Levels[0]) + len(v.Levels[bottom]); n != 1 || len(r.names(base.FileTable)) != 1 {
			t.Errorf("%v, files %v", v.Levels, r.names(base.FileTable))
		}
		for key, want := range map[string]string{"a": "flushed", "m": "loaded", "z": "flushed"} {
			if value, _ := r.get(key); value != want {
				t.Errorf("%s is %q", key, value)
			}
		}
		if s, _ := r.p.compactor.jobs.snapshot(); s.Jobs != 1 || s.Running != 0 || s.Retries != 0 {
			t.Errorf("%+v", s)
		}
		r.close()
	})
}

// TestLoadsWaitForLevel0: loads that fill level 0 are held back like flushes, until a
// compaction was through. Otherwise who loads faster than is merged would have reads look
// into ever more tables.
func TestLoadsWaitForLevel0(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const limit = 3
		r := newRig(t, func(e *Environment) { e.Policy.L0Trigger, e.Policy.L0Limit, e.IdleDelay = 100, limit, time.Hour })
		r.open()
		const loads = 40 // some go further down meanwhile, as far as levels are emptied
		answers := make(chan error, loads)
		var all [][]*manifest.TableMeta
		for i := range loads {
			all = append(all, r.sorted("a", fmt.Sprintf("k%02d", i), "z"))
		}
		go func() {
			for _, tables := range all {
				answers <- r.p.Load(context.Background(), tables)
			}
		}()
		synctest.Wait()
		v := r.p.State().Version
		if n := len(v.Levels[0]); n != limit {
			t.Errorf("%d tables in level 0, the limit is %d", n, limit)
		}
		time.Sleep(time.Hour)
		for done := 0; done < loads; synctest.Wait() {
			for len(answers) > 0 {
				must(t, <-answers)
				done++
			}
			must(t, r.p.Compact(context.Background(), nil, nil))
		}
		for i := range loads {
			if value, _ := r.get(fmt.Sprintf("k%02d", i)); value != "loaded" {
				t.Errorf("load %d is gone", i)
			}
		}
		r.close()
	})
}

// TestCompactEndsBesideLoads: a compaction that was asked for comes to an end even if a load
// falls between the inputs of each of its jobs that others can fall between.
func TestCompactEndsBesideLoads(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(e *Environment) { e.IdleDelay = time.Hour }).open()
		for _, key := range []string{"a", "z"} {
			must(t, r.put(set(key, "flushed")))
			must(t, r.p.Flush(context.Background()))
		}
		const loads = 50
		var tables [loads][]*manifest.TableMeta
		for i := range tables {
			tables[i] = r.sorted(fmt.Sprintf("m%02d", i))
		}
		gate := make(chan struct{})
		r.onDisk(func(op vfstest.Op) error {
			if on(vfstest.OpSync, base.FileTable)(op) {
				<-gate
			}
			return nil
		})
		compacted := make(chan error, 1)
		go func() { compacted <- r.p.Compact(context.Background(), nil, nil) }()
		n := 0
		for synctest.Wait(); len(compacted) == 0 && n < loads; synctest.Wait() {
			must(t, r.p.Load(context.Background(), tables[n]))
			n++
			select {
			case gate <- struct{}{}:
			default:
			}
		}
		if n == loads {
			t.Errorf("it is not done after %d loads", n)
		}
		r.onDisk(nil)
		close(gate)
		must(t, <-compacted)
		r.close()
	})
}

// TestLoadsBehindAFullDisk has loads that overlap wait for the Flusher, which waits for
// room, and ends that. Nothing is left of those that failed, and the log has no hole.
func TestLoadsBehindAFullDisk(t *testing.T) {
	for _, c := range []struct {
		how  string
		want error
	}{
		{"closing", base.ErrDiskFull}, {"failure", errBroken}, {"room", nil},
	} {
		t.Run(c.how, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t).open()
				must(t, r.put(synced(set("b", "before"))))
				const loads = 3
				answers := make(chan error, loads)
				var tables [][]*manifest.TableMeta
				for i := range loads {
					tables = append(tables, r.sorted("a", fmt.Sprint("k", i), "z"))
				}
				var broken atomic.Bool
				r.onDisk(func(op vfstest.Op) error {
					switch {
					case !on(vfstest.OpWrite, base.FileTable)(op):
						return nil
					case broken.Load():
						return errBroken
					}
					return syscall.ENOSPC
				})
				for _, each := range tables {
					go func() { answers <- r.p.Load(context.Background(), each) }()
				}
				time.Sleep(time.Minute)
				after := synced(set("c", "after"))
				must(t, r.p.Enqueue(context.Background(), after))
				closed := make(chan error, 1)
				switch c.how {
				case "closing":
					go func() { closed <- r.p.Close() }()
				case "failure":
					broken.Store(true)
				case "room":
					r.onDisk(nil)
				}
				failed := 0
				for range loads {
					err := <-answers
					if err != nil {
						failed++
					}
					if c.want == nil && err != nil || c.want != nil && !errors.Is(err, c.want) && !errors.Is(err, base.ErrClosed) {
						t.Errorf("a load: %v", err)
					}
				}
				if err := after.Wait(); (err != nil) != (c.how == "failure") {
					t.Errorf("a put behind the loads: %v", err)
				}
				r.onDisk(nil)
				if c.how != "closing" {
					go func() { closed <- r.p.Close() }()
				}
				if err := <-closed; (err != nil) != (c.how == "failure") {
					t.Errorf("Close: %v", err)
				}
				r.checkClosed()
				if got := recovered(t, r.mem); got["b"] != "before" || c.how != "failure" && got["c"] != "after" {
					t.Errorf("recovered: %q", got)
				}
				if n := len(r.names(base.FileTable)); c.how == "closing" && n > 0 || c.how == "room" && failed > 0 {
					t.Errorf("%d tables, %d loads failed", n, failed)
				}
			})
		})
	}
}

// TestSealsBehindAWaitingLoad: while a load waits for the Flusher, who comes then waits no
// longer than its context: flushes, checkpoints and other loads. When the wait is over, what
// still waits gets what it wants.
func TestSealsBehindAWaitingLoad(t *testing.T) {
	for _, patient := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			r := newRig(t).open()
			tables := [][]*manifest.TableMeta{r.sorted("b", "y"), r.sorted("c", "x"), r.sorted("n")}
			must(t, r.put(set("a", "1", "z", "1")))
			release := r.hold(on(vfstest.OpCreate, base.FileTable))
			first, late := make(chan error, 2), make(chan error, 5)
			go func() { first <- r.p.Flush(context.Background()) }()
			synctest.Wait()
			go func() { first <- r.p.Load(context.Background(), tables[0]) }()
			synctest.Wait()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			for _, each := range tables[1:] {
				go func() { late <- r.p.Load(ctx, each) }()
			}
			for range 2 {
				go func() { late <- r.p.Flush(ctx) }()
			}
			go func() {
				late <- r.p.Flush(ctx)
			}()
			synctest.Wait()
			if len(first) > 0 || len(late) > 0 {
				t.Error("somebody does not wait")
			}
			var want error
			if !patient {
				want = context.Canceled
				cancel()
			} else {
				release()
			}
			synctest.Wait()
			for range cap(late) {
				if err := <-late; !errors.Is(err, want) {
					t.Errorf("patient %v: %v, want %v", patient, err, want)
				}
			}
			release()
			for range cap(first) {
				must(t, <-first)
			}
			r.close()
			if n := len(recovered(t, r.mem)); n != map[bool]int{false: 4, true: 7}[patient] {
				t.Errorf("%d keys", n)
			}
		})
	}
}

// TestLoadsMeetTheEnd closes, or breaks, at every virtual millisecond a busy pipeline of
// which some load, whose disk takes a millisecond for a sync, and whose level 0 is small:
// whoever waits is answered, a load that was acknowledged is there, and any other as a
// whole or not at all.
func TestLoadsMeetTheEnd(t *testing.T) {
	for at := range 60 {
		for _, breaks := range []bool{false, true} {
			bubble(t, func(t *testing.T) {
				r := newRig(t, func(e *Environment) { e.Policy.L0Trigger, e.Policy.L0Limit = 2, 3 })
				var broken atomic.Bool
				r.onDisk(func(op vfstest.Op) error {
					if op.Kind == vfstest.OpSync || op.Kind == vfstest.OpCreate {
						time.Sleep(time.Millisecond)
					}
					if broken.Load() && op.Kind == vfstest.OpSync {
						return errBroken
					}
					return nil
				})
				r.open()
				var all sync.WaitGroup
				all.Go(func() {
					for i := 0; r.put(set(fmt.Sprintf("m%05d", i), kilobyte("m"))) == nil; i++ {
					}
				})
				all.Go(func() {
					for {
						if r.p.Flush(context.Background()) != nil {
							return
						}
						r.p.Unpin(r.p.Pin(view.Opened{}))
					}
				})
				const loaders, each = 3, 4
				var loaded [loaders]int // acknowledged
				for l := range loaders {
					all.Go(func() {
						for n := 0; r.p.Failed() == nil; n++ {
							var keys []string
							for i := range each {
								keys = append(keys, fmt.Sprintf("l%d-%03d-%d", i, n, l)) // all overlap
							}
							tables, err := r.write(keys...)
							if err == nil {
								err = r.p.Load(context.Background(), tables)
							}
							if err != nil {
								return
							}
							loaded[l] = n + 1
						}
					})
				}
				time.Sleep(time.Duration(at) * time.Millisecond)
				broken.Store(breaks)
				if err := r.p.Close(); err != nil && !breaks {
					t.Error(err)
				}
				all.Wait()
				got := recovered(t, r.mem.CrashClone(nil))
				for l := range loaders {
					for n := range loaded[l] + 2 {
						found := 0
						for i := range each {
							if got[fmt.Sprintf("l%d-%03d-%d", i, n, l)] == "loaded" {
								found++
							}
						}
						if found != each && (found > 0 || n < loaded[l]) {
							t.Errorf("ended at %dms: %d keys of load %d-%d, of which %d were acknowledged", at, found, l, n, loaded[l])
						}
					}
				}
				if n := r.p.writer.transactions.Load(); n != 0 || r.p.Pinned().Pins != 0 {
					t.Errorf("%d transactions, %+v", n, r.p.Pinned())
				}
				r.checkClosed()
			})
		}
	}
}

// TestReadersBeforeALoad: who has the state of before a load, and the number of after it,
// sees nothing that was written behind the load.
func TestReadersBeforeALoad(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).open()
		must(t, r.put(set("a", "1")))
		must(t, r.p.Flush(context.Background()))
		reading := r.p.Enter()
		must(t, r.p.Load(context.Background(), r.sorted("k")))
		must(t, r.put(set("b", "1")))
		at := view.At{Seq: r.p.Visible()}
		if _, found, err := reading.Get(at, []byte("b")); found || err != nil {
			t.Errorf("the write behind the load is seen, the load is not (%v)", err)
		}
		reading.Leave()
		reading = r.p.Enter()
		for _, key := range []string{"b", "k"} {
			if _, found, err := reading.Get(at, []byte(key)); !found || err != nil {
				t.Errorf("%q is not there: %v", key, err)
			}
		}
		reading.Leave()
		must(t, r.p.Close())
	})
}
