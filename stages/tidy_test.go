package stages

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/vfstest"
	"lsmdb/manifest"
)

// tables returns how many tables each level holds that has any, and their size.
func (r *rig) tables() (counts map[int]int, sizeBytes int64) {
	counts = make(map[int]int)
	for level, tables := range r.p.State().Version.Levels {
		for _, table := range tables {
			counts[level]++
			sizeBytes += table.SizeBytes
		}
	}
	return counts, sizeBytes
}

// large makes one of 300 keys with a kilobyte each, in tables of the bottom, and a
// memtable that has nothing but room.
func (r *rig) large() *rig {
	r.env.MemtableBytes = 1 << 20
	r.open()
	r.fill("k", 300)
	must(r.t, r.p.Flush(context.Background()))
	must(r.t, r.p.Compact(context.Background(), nil, nil))
	time.Sleep(5 * time.Second)
	return r
}

// atRest reports whether no timer of the Compactor is running, nor any job.
func (r *rig) atRest() bool {
	synctest.Wait()
	c := r.p.compactor
	defer synctest.Wait()
	defer nudge(c.inbox.ch) // orders what was read before what the loop does next
	return c.quiet == nil && c.resume == nil && len(c.running) == 0
}

// TestIdleHouseTidiesUp: what was deleted is gone a while after the last write, although
// nothing was flushed; then the house is at rest.
func TestIdleHouseTidiesUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).large()
		if !r.atRest() {
			t.Error("something is left to do after Compact")
		}
		for i := range 300 {
			must(t, r.put(del(fmt.Sprintf("k%03d", i))))
			time.Sleep(10 * time.Millisecond)
			if _, size := r.tables(); size == 0 || r.p.Metrics().Flush.Jobs > 1 {
				t.Fatal("tidied up while somebody writes")
			}
		}
		if r.atRest() {
			t.Error("nothing waits for idleness")
		}
		time.Sleep(3 * time.Second)
		if counts, size := r.tables(); size > 0 || !r.atRest() {
			t.Errorf("%v tables with %d bytes are left, at rest: %v", counts, size, r.atRest())
		}
		r.close()
	})
}

// TestIdleHouseMergesLevel0: also after another open, and one table is enough.
func TestIdleHouseMergesLevel0(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).open()
		for _, prefix := range []string{"a", "a", "b"} {
			r.fill(prefix, 10)
			must(t, r.p.Flush(context.Background()))
			time.Sleep(3 * time.Second)
			if counts, _ := r.tables(); counts[0] > 0 || !r.atRest() {
				t.Errorf("%v tables, at rest: %v", counts, r.atRest())
			}
		}
		r.checkFilled("a", 10)
		r.close()
	})
}

// TestIdleHouseLeavesAlone: what is not worth it stays, without a timer; a house that is
// told never to tidy up does not.
func TestIdleHouseLeavesAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).large()
		for i := range 20 { // a few deletes every other second
			must(t, r.put(del(fmt.Sprintf("k%03d", i))))
			time.Sleep(2 * time.Second)
			if !r.atRest() || r.p.Metrics().Flush.Jobs > 1 {
				t.Fatalf("a delete of a kilobyte was flushed: %+v", r.p.Metrics().Flush)
			}
		}
		r.close()
	})
}

// TestIdleFlushWaitsForRoom: a full disk refuses the flush; it comes when there is room.
func TestIdleFlushWaitsForRoom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).large()
		r.fail(on(vfstest.OpCreate, base.FileWAL), syscall.ENOSPC)
		for i := range 300 {
			must(t, r.put(del(fmt.Sprintf("k%03d", i))))
		}
		time.Sleep(time.Minute)
		if _, size := r.tables(); size == 0 || r.p.Failed() != nil {
			t.Errorf("%d bytes, %v", size, r.p.Failed())
		}
		r.onDisk(nil)
		time.Sleep(4 * time.Second)
		if _, size := r.tables(); size > 0 || !r.atRest() {
			t.Errorf("%d bytes are left", size)
		}
		r.close()
	})
}

// TestReadersPayForTheMemtable: deletes that readers keep passing in the memtable are
// flushed while others write; those in a table below go down.
func TestReadersPayForTheMemtable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(e *Environment) { e.IdleDelay = 1000 * time.Hour }).large()
		must(t, r.put(del("k000")))
		active := r.p.State().Active
		passInMemtable := func() {
			if active.Pass(65_000) {
				r.p.Detoured()
			}
		}
		pass := func(level int, t *manifest.TableMeta) {
			if r.p.State().Version.Pass(level, t, 1<<20) {
				r.p.Detoured()
			}
		}
		passInMemtable()
		synctest.Wait()
		if r.p.Metrics().Flush.Jobs > 1 {
			t.Error("flushed too early")
		}
		passInMemtable()
		synctest.Wait()
		if counts, _ := r.tables(); r.p.Metrics().Flush.Jobs != 2 || counts[0] != 1 {
			t.Errorf("%d flushes, %v tables", r.p.Metrics().Flush.Jobs, counts)
		}
		table := r.p.State().Version.Levels[0][0]
		pass(0, table)
		synctest.Wait()
		if counts, _ := r.tables(); counts[0] != 0 {
			t.Errorf("%v tables, although readers paid for level 0", counts)
		}
		r.close()
	})
}

// TestReleaseWakesTheIdleHouse: what a snapshot held is tidied up when it is released.
func TestReleaseWakesTheIdleHouse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).large()
		held := r.p.Acquire(new(Snapshot))
		for i := range 300 {
			must(t, r.put(del(fmt.Sprintf("k%03d", i))))
		}
		time.Sleep(5 * time.Second)
		if _, size := r.tables(); size == 0 || !r.atRest() {
			t.Errorf("%d bytes beside a snapshot", size)
		}
		other := r.p.Acquire(new(Snapshot))
		r.p.Release(other)
		if !r.atRest() {
			t.Error("a snapshot that holds nothing wakes the Compactor")
		}
		r.p.Release(held)
		time.Sleep(3 * time.Second)
		if counts, size := r.tables(); size > 0 || !r.atRest() {
			t.Errorf("%v tables with %d bytes are left", counts, size)
		}
		r.close()
	})
}

// TestClockStandsStill: a clock that ran back stands still, perhaps just before a value
// ends. The Compactor then looks now and then, not all the time.
func TestClockStandsStill(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var asked, ahead atomic.Int64
		now := time.Now()
		r := newRig(t, func(e *Environment) {
			e.Clock = func() time.Time { asked.Add(1); return now.Add(time.Duration(ahead.Load())) }
		})
		r.open()
		must(t, r.put(putUntil("k", "v", now.Add(time.Millisecond))))
		must(t, r.p.Flush(context.Background()))
		time.Sleep(time.Minute)
		if n := asked.Load(); n > 1000 {
			t.Errorf("in a minute the clock was asked %d times", n)
		}
		ahead.Store(int64(time.Minute))
		time.Sleep(10 * time.Second)
		if n := len(r.names(base.FileTable)); n > 0 {
			t.Errorf("%d tables are left", n)
		}
		r.close()
	})
}
