package queued

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// fill makes the disk one on which nothing grows any more, until empty.
func fill(m *fixture.Machine)  { m.Disk.SetLimit(m.Disk.UsedBytes()) }
func empty(m *fixture.Machine) { m.Disk.SetLimit(0) }

// queueMany queues batches of two operations until something is wrong, and notes them in a
// history. It reports how many were acknowledged, and what stopped it.
func queueMany(d *db.DB, h *fixture.History, n int) (int, error) {
	for i := range n {
		c := fixture.Commit{{Key: "last", Value: fmt.Sprint(i)}, {Key: fmt.Sprintf("key%04d", i), Value: strings.Repeat("v", 500)}}
		if err := d.Apply(context.Background(), c.Batch(d), db.Queued); err != nil {
			return i, err
		}
		h.Add(c, db.Queued)
	}
	return n, nil
}

// onFullDisk has a writer queue on a disk that is full, until it is held up. In a bubble.
// With fresh, nobody has written to the database since it was opened.
func onFullDisk(t *testing.T, fresh bool) (m *fixture.Machine, d *db.DB, h *fixture.History, stopped chan error) {
	t.Helper()
	m = fixture.NewMachine(vfstest.NewDisk())
	d = m.OpenDB(t)
	h = &fixture.History{Now: fixture.State{}, Start: fixture.State{}}
	if fresh {
		fixture.Must(t, d.Close())
		d = m.OpenDB(t)
	} else {
		c := fixture.Commit{{Key: "first", Value: "value"}}
		fixture.Must(t, d.Apply(t.Context(), c.Batch(d)))
		h.Add(c, db.Sync)
	}
	fill(m)
	stopped = make(chan error, 1)
	go func() {
		_, err := queueMany(d, h, 2000) // more than the log and the mailbox have room for
		stopped <- err
	}()
	time.Sleep(time.Minute)
	synctest.Wait()
	select {
	case err := <-stopped:
		t.Fatalf("a full disk stopped a writer who queues: %v", err)
	default:
	}
	if len(h.Commits) < 60 {
		t.Errorf("only %d were queued", len(h.Commits))
	}
	return m, d, h, stopped
}

// TestFullDiskHoldsUp: what was queued when the disk got full is neither refused nor lost. It
// is written when there is room, and until then those wait who want to see it.
func TestFullDiskHoldsUp(t *testing.T) {
	for _, fresh := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m, d, h, stopped := onFullDisk(t, fresh)
			type result struct {
				what string
				err  error
			}
			waiting := make(chan result, 3)
			go func() { _, err := d.Get([]byte("last")); waiting <- result{"Get", err} }()
			go func() { waiting <- result{"Put with NoSync", d.Put([]byte("another"), nil, db.NoSync)} }()
			go func() { waiting <- result{"Sync", d.Sync(context.Background())} }()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			fixture.WantErr(t, "Sync that waits no longer", d.Sync(ctx), context.DeadlineExceeded)
			fixture.WantErr(t, "Apply that waits no longer", d.Apply(ctx, fixture.Commit{{Key: "never"}}.Batch(d), db.Queued), context.DeadlineExceeded)
			time.Sleep(time.Minute)
			select {
			case r := <-waiting:
				t.Errorf("%s while the disk is full: %v", r.what, r.err)
			default:
			}
			empty(m)
			fixture.Must(t, <-stopped)
			for range cap(waiting) {
				if r := <-waiting; r.err != nil {
					t.Errorf("%s after there was room: %v", r.what, r.err)
				}
			}
			want := h.Now.At(0)
			want["another"] = ""
			fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
			fixture.Must(t, d.Close())
			fixture.MustHold(t, m.Disk.CrashClone(nil), want)
		})
	}
}

// TestOthersAreRefused: who writes without queueing, in one group with what is queued, is told
// at once that the disk is full; nothing of that is stored.
func TestOthersAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stop(t)
		large := make([]byte, 7_500)                              // for which a new log is needed, behind these
		fixture.Must(t, s.Put([]byte("holds"), large, db.Queued)) // the Writer up
		synctest.Wait()
		fixture.Must(t, s.Put([]byte("stored"), large[:5000], db.Queued))
		var refused []*db.Pending
		synced := make(chan error, 1)
		for i := range 4 {
			if i == 3 {
				go func() { synced <- s.Sync(context.Background()) }()
				synctest.Wait()
			}
			p, err := s.Submit(t.Context(), fixture.Commit{{Key: "refused", Value: "value"}}.Batch(s.DB), db.Durability(i%2))
			fixture.Must(t, err)
			refused = append(refused, p)
			fixture.Must(t, s.Put(fmt.Appendf(nil, "queued%d", i), large[:1+i/3*len(large[1:])], db.Queued))
		}
		fill(s.Machine)
		s.goOn()
		time.Sleep(time.Minute)
		for _, p := range refused {
			select {
			case <-p.Done():
				fixture.WantErr(t, "a write beside what is queued", p.Wait(t.Context()), db.ErrDiskFull)
			default:
				t.Error("a write beside what is queued waits on a full disk")
			}
		}
		select {
		case err := <-synced:
			t.Errorf("Sync overtook what was queued: %v", err)
		default:
		}
		empty(s.Machine)
		fixture.Must(t, <-synced)
		got := fixture.Contents(t, s.DB)
		for i := range 4 {
			if len(got[fmt.Sprintf("queued%d", i)]) == 0 {
				t.Errorf("write %d, which was queued, is lost", i)
			}
		}
		if value, ok := got["refused"]; ok {
			t.Errorf("a refused write was stored: %q", value)
		}
		fixture.Must(t, s.Close())
	})
}

// TestCloseOfFullDisk: Close cannot wait for ever. It says that queued writes are lost, and what
// is there afterwards is a prefix of the history, of whole batches.
func TestCloseOfFullDisk(t *testing.T) {
	for _, fresh := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m, d, h, stopped := onFullDisk(t, fresh)
			reads := make(chan error, 1)
			go func() { _, err := d.Get([]byte("last")); reads <- err }()
			synctest.Wait()
			err := d.Close()
			if err == nil || !strings.Contains(err.Error(), "lost") || !strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
				t.Errorf("Close while queued writes wait for room: %v", err)
			}
			if err := <-stopped; !errors.Is(err, db.ErrClosed) && !errors.Is(err, db.ErrReadOnly) {
				t.Errorf("a writer who waited for room in the queue: %v", err)
			}
			fixture.WantErr(t, "a reader who waited", <-reads, db.ErrClosed)
			empty(m)
			d = m.OpenDB(t)
			fixture.Must(t, h.Reopened(h.Durable, d.Metrics().Sequence, fixture.Contents(t, d)))
			fixture.Must(t, d.Close())
		})
	}
}

// TestCloseFindsRoom: where there is room again, Close writes all that was queued.
func TestCloseFindsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, d, h, stopped := onFullDisk(t, false)
		empty(m)
		fixture.Must(t, d.Close())
		if err := <-stopped; err != nil && !errors.Is(err, db.ErrClosed) {
			t.Error(err)
		}
		fixture.MustHold(t, m.Disk.CrashClone(nil), h.Now.At(0))
	})
}

// TestFailureIsTold: the log fails under what was queued. Whoever wants to know is told, from
// the first one on: a write that follows is never queued. Reads go on.
func TestFailureIsTold(t *testing.T) {
	for i := range 200 {
		kind := []vfstest.OpKind{vfstest.OpWrite, vfstest.OpSync}[i%2]
		m := fixture.NewMachine(vfstest.NewDisk())
		d := m.OpenDB(t)
		h := fixture.History{Now: fixture.State{}, Start: fixture.State{}}
		first := fixture.Commit{{Key: "first", Value: "value"}}
		fixture.Must(t, d.Apply(t.Context(), first.Batch(d)))
		h.Add(first, db.Sync)
		m.Failing(kind, ".wal", fixture.ErrDisk)
		told := func(what string, err error) {
			t.Helper()
			if !errors.Is(err, db.ErrReadOnly) || !errors.Is(err, fixture.ErrDisk) {
				t.Fatalf("%s after the log failed: %v", what, err)
			}
		}
		queued, err := queueMany(d, &h, 5) // some of which may come too late
		if err != nil {
			told("queueing", err)
		}
		told("Sync", d.Sync(t.Context()))
		told("Put", d.Put([]byte("late"), nil, db.Queued))
		told("Apply", d.Apply(t.Context(), fixture.Commit{{Key: "late"}}.Batch(d), db.Queued))
		_, err = d.Submit(t.Context(), fixture.Commit{{Key: "late"}}.Batch(d), db.Queued)
		told("Submit", err)
		told("Put with NoSync", d.Put([]byte("late"), nil, db.NoSync))
		told("Flush", d.Flush(t.Context()))
		if value, err := d.Get([]byte("first")); string(value) != "value" || err != nil {
			t.Errorf("a read of a database that failed: %q, %v", value, err)
		}
		if len(fixture.Contents(t, d)) > 1+queued+1 {
			t.Errorf("reads show %v", fixture.Contents(t, d))
		}
		if err := d.Close(); !errors.Is(err, fixture.ErrDisk) {
			t.Errorf("Close of a database that failed: %v", err)
		}
		m.Fail(nil)
		d = m.OpenDB(t)
		fixture.Must(t, h.Reopened(h.Durable, d.Metrics().Sequence, fixture.Contents(t, d)))
		fixture.Must(t, d.Close())
	}
}

// gate is a log whose writers wait when the database fails.
type gate struct {
	reached bool
	release chan struct{}
}

func (g *gate) Write(line []byte) (int, error) {
	if strings.Contains(string(line), "the database is read-only") {
		g.reached = true
		<-g.release
	}
	return len(line), nil
}

// TestNobodyKnowsOfAFailureSooner: a failure is told when nothing can be queued any more, and
// not before.
func TestNobodyKnowsOfAFailureSooner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, g := fixture.NewMachine(vfstest.NewDisk()), &gate{release: make(chan struct{})}
		d, err := db.Open(fixture.Dir, fixture.On(m, db.Options{Logger: zerolog.New(g)}))
		fixture.Must(t, err)
		fixture.Must(t, d.Put([]byte("first"), nil))
		m.Failing(vfstest.OpSync, ".wal", fixture.ErrDisk)
		fixture.Must(t, d.Put([]byte("queued"), nil, db.Queued))
		told := make(chan error, 1)
		go func() { told <- d.Sync(context.Background()) }()
		synctest.Wait()
		if !g.reached {
			t.Fatal("the database has not failed")
		}
		select {
		case err := <-told:
			t.Errorf("Sync tells of a failure (%v), and then something is queued: %v", err, d.Put([]byte("late"), nil, db.Queued))
			close(g.release)
		default:
			close(g.release)
			fixture.WantErr(t, "Sync", <-told, fixture.ErrDisk)
			fixture.WantErr(t, "Put", d.Put([]byte("late"), nil, db.Queued), fixture.ErrDisk)
		}
		fixture.WantErr(t, "Close", d.Close(), fixture.ErrDisk)
	})
}

// TestFailureWhileHeld: a database that fails for another reason holds nobody up any more.
func TestFailureWhileHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fixture.NewMachine(vfstest.NewDisk())
		d := m.OpenDB(t)
		fixture.Must(t, d.Put([]byte("first"), []byte("value")))
		var segments atomic.Int64 // the Writer may be at the next one while this is read
		m.Fail(func(op vfstest.Op) error {
			switch {
			case op.Kind != vfstest.OpCreate:
			case strings.HasSuffix(op.Name, ".sst"):
				time.Sleep(time.Minute)
				return fixture.ErrDisk // which the Flusher gives up on in the end
			case strings.HasSuffix(op.Name, ".wal"):
				if segments.Add(1) > 1 { // the Writer has no room, meanwhile
					return syscall.ENOSPC
				}
			}
			return nil
		})
		h := fixture.History{Now: fixture.State{}, Start: fixture.State{}}
		_, err := queueMany(d, &h, 2000)
		if !errors.Is(err, db.ErrReadOnly) || !errors.Is(err, fixture.ErrDisk) {
			t.Errorf("queueing while the database fails: %v", err)
		}
		if n := segments.Load(); n < 3 {
			t.Errorf("%d segments were tried", n)
		}
		fixture.WantErr(t, "Sync", d.Sync(t.Context()), fixture.ErrDisk)
		fixture.WantErr(t, "Put", d.Put([]byte("late"), nil, db.Queued), fixture.ErrDisk)
		if value, err := d.Get([]byte("first")); string(value) != "value" || err != nil {
			t.Errorf("Get: %q, %v", value, err)
		}
		fixture.WantErr(t, "Close", d.Close(), fixture.ErrDisk)
	})
}
