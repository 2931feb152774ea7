package stages

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"lsmdb/internal/base"
	"lsmdb/internal/vfstest"
	"lsmdb/memtable"
)

// TestRotationOrder shows that the read state is published before the sealed
// memtable is sent: nobody receives here, and the inbox is full.
func TestRotationOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		w := r.newWriter()
		must(t, w.sendOn(context.Background(), Sealed{})) // fills the inbox
		go w.run(context.Background())
		first := w.active
		acknowledged := 0
		for ; r.published.State().Active == first; acknowledged++ {
			c := set(fmt.Sprintf("k%03d", acknowledged), kilobyte("v"))
			w.inbox.ch <- c
			synctest.Wait()
			if len(c.reply) == 0 {
				break
			}
			must(t, c.Wait())
		}
		state := r.published.State()
		if len(state.Sealed) != 1 || state.Sealed[0] != first || !state.Active.Empty() {
			t.Fatalf("the read state was not rotated: %+v", state)
		}
		if s := w.snapshotStats(); !s.Stalled || s.Stalls != 1 || s.Rotations != 1 || s.Segment != w.log.Segment() {
			t.Errorf("%+v", s)
		}
		for i := range acknowledged {
			if _, ok := r.get(fmt.Sprintf("k%03d", i)); !ok {
				t.Errorf("key %d is lost to readers during a rotation", i)
			}
		}
		w.takeSealed()
		sealed := w.takeSealed()
		if sealed.Memtable != first || sealed.Segment != 1 || sealed.Next != w.log.Segment() || sealed.waiter != nil {
			t.Errorf("%+v", sealed)
		}
		close(w.inbox.ch)
		synctest.Wait()
		want := []string{"sync 000001.wal", "create 000003.wal", "sync 000003.wal", "syncdir db", "write 000003.wal"}
		got := r.traced("sync", "create", "write 000003")
		if i := slices.Index(got, "syncdir db"); i < 0 || got[i+1] != want[4] || got[0] != want[0] || got[1] != want[1] {
			t.Errorf("a rotation does %v, want an order like %v", got, want)
		}
	})
}

// TestRotationSyncsTheOldSegment cuts the power at every operation after the next
// segment came into being: the old one must be whole then, though nobody asked
// for a sync.
func TestRotationSyncsTheOldSegment(t *testing.T) {
	r := newRig(t)
	var created atomic.Bool
	checks := 0
	r.onDisk(func(op vfstest.Op) error {
		if created.Load() && fileType(op.Name) == base.FileWAL {
			checks++
			if n := len(readSegment(t, r.mem.CrashClone(nil), 1)); n != 3 {
				t.Errorf("%v %s: the old segment has %d records on disk", op.Kind, op.Name, n)
			}
		}
		if on(vfstest.OpCreate, base.FileWAL)(op) {
			created.Store(true)
		}
		return nil
	})
	w := r.newWriter()
	ended := started(context.Background(), w.run)
	for i := range 4 {
		c := set(fmt.Sprint(i), strings.Repeat("x", 5000))
		w.inbox.ch <- c
		must(t, c.Wait())
	}
	close(w.inbox.ch)
	must(t, <-ended)
	sealed := w.takeSealed()
	if sealed.Memtable.Len() != 3 || checks == 0 {
		t.Errorf("%d entries sealed, %d checks", sealed.Memtable.Len(), checks)
	}
}

// TestReadersDuringRotations looks for every acknowledged key at every operation
// on the disk, through rotations, flushes and compactions.
func TestReadersDuringRotations(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(e *Environment) { e.Policy.L0Trigger = 2 })
		r.open()
		var acknowledged, checks atomic.Int64
		r.onDisk(func(op vfstest.Op) error {
			if op.Kind == vfstest.OpRead || op.Kind == vfstest.OpOpen || op.Kind == vfstest.OpStat || op.Kind == vfstest.OpClose {
				return nil // in the middle of reading
			}
			n := acknowledged.Load()
			checks.Add(1)
			state := r.p.Enter()
			defer state.Leave()
			seq := r.p.Visible()
			for i := checks.Load() % 7; i < n; i += 7 {
				if v, ok, err := readAt(state.State, seq, fmt.Sprintf("k%03d", i)); err != nil || !ok || v != kilobyte("v") {
					t.Errorf("before %v %s: key %d reads as %.9q, %v, %v", op.Kind, op.Name, i, v, ok, err)
				}
			}
			return nil
		})
		for i := range 120 {
			must(t, r.put(set(fmt.Sprintf("k%03d", i), kilobyte("v"))))
			acknowledged.Store(int64(i + 1))
		}
		must(t, r.p.Flush(context.Background()))
		synctest.Wait()
		r.onDisk(nil)
		m := r.p.Metrics()
		if checks.Load() < 100 || m.Writer.Rotations < 8 || m.Flush.Jobs != m.Writer.Rotations || m.Compact.Jobs+m.Compact.Moves == 0 {
			t.Errorf("%d checks of %+v", checks.Load(), m)
		}
		r.close()
		if got := recovered(t, r.mem.CrashClone(nil)); len(got) != 120 {
			t.Errorf("%d keys after a clean close", len(got))
		}
	})
}

func TestBatchLargerThanAMemtable(t *testing.T) {
	for _, before := range []int{0, 1} {
		t.Run(fmt.Sprint("after ", before), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t).open()
				r.fill("small", before)
				large := set("large", strings.Repeat("x", 5*testMemtableBytes), "other", strings.Repeat("y", testMemtableBytes))
				must(t, r.put(large))
				synctest.Wait()
				if m := r.p.Metrics().Writer; m.Rotations != 2 {
					t.Errorf("%+v", m)
				}
				if n := len(r.p.State().Version.Levels[0]); n != 1+before {
					t.Errorf("%d tables", n)
				}
				r.fill("after", 2)
				if c := r.p.State().Active.CapacityBytes(); c > 2*testMemtableBytes {
					t.Errorf("the memtable after it has %d bytes", c)
				}
				must(t, r.p.Flush(context.Background()))
				if got, ok := r.get("large"); !ok || len(got) != 5*testMemtableBytes {
					t.Errorf("%d bytes, %v", len(got), ok)
				}
				r.checkFilled("small", before)
				r.checkFilled("after", 2)
				r.close()
			})
		})
	}
}

func TestSealEndsItsGroupAndIsAnsweredByTheFlusher(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		w := r.newWriter()
		seal, empty := NewCommit(), NewCommit()
		seal.seal, empty.seal = true, true
		before, after := set("a", "1"), set("b", "2")
		for _, c := range []*Commit{before, seal, empty, after} {
			w.inbox.ch <- c
		}
		go w.run(context.Background())
		synctest.Wait()
		must(t, before.Wait())
		if len(seal.reply)+len(empty.reply)+len(after.reply) > 0 {
			t.Fatal("answered before anything was flushed")
		}
		sealed := w.takeSealed()
		if sealed.waiter != seal || sealed.Memtable.Len() != 1 {
			t.Errorf("%+v", sealed)
		}
		// Nothing is left to seal, but the second waits its turn behind the first.
		if sealed = w.takeSealed(); sealed.waiter != empty || sealed.Memtable != nil {
			t.Errorf("%+v", sealed)
		}
		must(t, after.Wait())
		close(w.inbox.ch)
		synctest.Wait()
		r.checkRecords(1, "1+1: set a=1@1")
		r.checkRecords(w.log.Segment(), "2+1: set b=2@2")
	})
}

// TestDiskFullAtRotation fills the disk so that no new segment finds room: writes
// are refused, nothing is torn, and they go on by themselves once there is room.
func TestDiskFullAtRotation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).open()
		r.fill("before", 14)
		r.mem.SetLimit(r.mem.UsedBytes())
		refused := 0
		for i := 0; refused < 5; i++ {
			switch err := r.put(synced(set(fmt.Sprintf("full%03d", i), kilobyte("v")))); {
			case err == nil && refused == 0:
			case errors.Is(err, base.ErrDiskFull) && !errors.Is(err, base.ErrReadOnly):
				refused++
			default:
				t.Fatalf("write %d: %v", i, err)
			}
		}
		if got := r.names(base.FileWAL); len(got) != 1 {
			t.Errorf("refused segments stay behind: %v", got)
		}
		if err := r.p.Flush(context.Background()); !errors.Is(err, base.ErrDiskFull) {
			t.Errorf("Flush: %v", err)
		}
		r.checkFilled("before", 14)
		if err := r.p.Failed(); err != nil {
			t.Errorf("the pipeline failed: %v", err)
		}
		r.mem.SetLimit(0)
		r.fill("after", 20)
		r.close()
		got := recovered(t, r.mem.CrashClone(nil))
		for i := range 20 {
			if key := fmt.Sprintf("after%03d", i); got[key] != kilobyte(key) {
				t.Errorf("%s is lost", key)
			}
		}
	})
}

// TestDiskFullAtPreallocation is the same inside a segment that has to grow.
func TestDiskFullAtPreallocation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(e *Environment) { e.MemtableBytes = 1 << 20 })
		r.open()
		r.mem.SetLimit(r.mem.UsedBytes() + 10_000)
		written := 0
		var err error
		for ; err == nil; written++ {
			err = r.put(set(fmt.Sprintf("k%03d", written), kilobyte("v")))
		}
		if written--; !errors.Is(err, base.ErrDiskFull) || written < 25 {
			t.Fatalf("after %d writes: %v", written, err)
		}
		records := len(readSegment(t, r.mem, 1))
		if records != written {
			t.Errorf("%d records of %d writes: something is torn", records, written)
		}
		r.mem.SetLimit(0)
		must(t, r.put(synced(set("later", "x"))))
		if got := recovered(t, r.mem.CrashClone(nil)); len(got) != written+1 || got["later"] != "x" {
			t.Errorf("%d keys", len(got))
		}
		r.close()
	})
}

// TestSegmentThatCannotBeMade fails each step of opening the next segment with an
// error that is not a full disk, or is one at the directory: the database stops.
func TestSegmentThatCannotBeMade(t *testing.T) {
	full := fmt.Errorf("%w: %w", syscall.ENOSPC, errBroken)
	for name, c := range map[string]struct {
		matches func(vfstest.Op) bool
		err     error
	}{
		"create":         {on(vfstest.OpCreate, base.FileWAL), errBroken},
		"write":          {on(vfstest.OpWrite, base.FileWAL), errBroken},
		"sync":           {on(vfstest.OpSync, base.FileWAL), errBroken},
		"close old":      {on(vfstest.OpClose, base.FileWAL), errBroken},
		"directory":      {func(op vfstest.Op) bool { return op.Kind == vfstest.OpSyncDir }, errBroken},
		"directory full": {func(op vfstest.Op) bool { return op.Kind == vfstest.OpSyncDir }, full},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t).open()
				must(t, r.put(synced(set("a", "1"))))
				r.fail(c.matches, c.err)
				err := r.p.Flush(context.Background())
				if !errors.Is(err, base.ErrReadOnly) || errors.Is(err, base.ErrDiskFull) {
					t.Errorf("Flush: %v", err)
				}
				r.onDisk(nil)
				if err := r.put(set("b", "2")); !errors.Is(err, base.ErrReadOnly) {
					t.Errorf("a later write: %v", err)
				}
				if got, ok := r.get("a"); !ok || got != "1" {
					t.Error("reads do not go on")
				}
				if err := r.p.Close(); err == nil {
					t.Error("Close forgot the failure")
				}
				r.checkClosed()
				if got := recovered(t, r.mem.CrashClone(nil)); got["a"] != "1" {
					t.Errorf("after a crash there is %v", got)
				}
			})
		})
	}
}

func TestReadStateKeepsOrder(t *testing.T) {
	r := newRig(t)
	var tables []*memtable.Memtable
	for i := range 3 {
		r.published.State().Active.Insert([]byte("k"), nil, base.Seq(i+1), base.KindSet)
		tables = append(tables, r.published.State().Active)
		r.published.Rotate(memtable.New(1000))
	}
	r.published.Rotate(memtable.New(2000)) // the active one holds nothing: it is dropped
	before := r.published.State()
	if !slices.Equal(before.Sealed, []*memtable.Memtable{tables[2], tables[1], tables[0]}) {
		t.Error("sealed memtables are not newest first")
	}
	r.published.Advance(before.Version, tables[0])
	r.published.Advance(before.Version)
	if after := r.published.State(); !slices.Equal(after.Sealed, []*memtable.Memtable{tables[2], tables[1]}) {
		t.Error("the wrong memtable left")
	}
	if len(before.Sealed) != 3 {
		t.Error("a published state was changed")
	}
}
