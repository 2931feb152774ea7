package backup

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
)

// quick ships as often as it can.
var quick = Options{LogInterval: time.Millisecond, PointInterval: time.Hour, graceTime: 100 * time.Millisecond}

// running is a Run under way.
type running struct {
	t    testing.TB
	stop context.CancelFunc
	done chan error
}

func start(t testing.TB, from source, s store, o Options) *running {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	r := &running{t, stop, make(chan error, 1)}
	go func() { r.done <- run(ctx, from, s, o.resolved()) }()
	t.Cleanup(func() {
		stop()
		select {
		case <-r.done:
		case <-time.After(time.Minute):
			t.Error("Run does not end")
		}
	})
	return r
}

// end ends it and returns its error.
func (r *running) end() error {
	r.t.Helper()
	r.stop()
	return r.wait()
}

// wait waits until it ends by itself.
func (r *running) wait() error {
	r.t.Helper()
	select {
	case err := <-r.done:
		r.done <- err
		return err
	case <-time.After(time.Minute):
		r.t.Fatal("Run does not end")
		return nil
	}
}

// eventually waits until something is so, for as long as it takes on a slow machine.
func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never happened that %s", what)
		}
	}
}

// reached waits until the bucket holds a state.
func reached(t testing.TB, s store, seq uint64) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d was shipped", seq), func() bool {
		v, err := s.view(t.Context())
		if err != nil {
			return false
		}
		at, err := v.find(t.Context(), Latest)
		return err == nil && max(at.Seq, at.until) >= seq
	})
}

// backedUp runs a backup of some commits, and leaves two points and several pieces of the log.
func (w *world) backedUp(s store) {
	w.t.Helper()
	w.commit()
	from := local{w.DB}
	for range 2 {
		r := start(w.t, from, s, quick)
		for range 3 {
			for range 4 {
				w.commit()
			}
			reached(w.t, s, w.newest().seq)
		}
		if err := r.end(); !errors.Is(err, context.Canceled) {
			w.t.Fatal(err)
		}
	}
}

// everySeq restores at each sequence number from the first point on, and compares.
func (w *world) everySeq(s store) {
	w.t.Helper()
	list, err := List(w.t.Context(), s.Bucket)
	fixture.Must(w.t, err)
	from := list[0].Seq
	for seq := from; seq <= w.newest().seq; seq++ {
		w.restored(s, Seq(seq), w.at(seq))
	}
	w.restored(s, Latest, w.newest())
	w.refused(s, Seq(w.newest().seq+1), "beyond the end")
	if from > 0 {
		w.refused(s, Seq(from-1), "before the beginning")
	}
	_, err = Verify(w.t.Context(), s.Bucket)
	fixture.Must(w.t, err)
}

func TestRunEverySeq(t *testing.T) {
	_, s := newFaulty(t)
	w := newWorld(t, 30)
	for range 5 {
		w.commit()
	}
	w.backedUp(s)
	w.everySeq(s)
}

// Points on the way lead to the same states, and after Prune the rest does.
func TestRunPoints(t *testing.T) {
	_, s := newFaulty(t)
	w := newWorld(t, 31)
	o := quick
	o.PointInterval = 5 * time.Millisecond
	r := start(t, local{w.DB}, s, o)
	eventually(t, "there were several points", func() bool {
		w.commit()
		list, err := List(t.Context(), s.Bucket)
		fixture.Must(t, err)
		return len(list) > 4
	})
	reached(t, s, w.newest().seq)
	r.end()
	list, err := List(t.Context(), s.Bucket)
	fixture.Must(t, err)
	for _, l := range list {
		if l.LogSeq != w.newest().seq {
			t.Errorf("listed %+v, the log leads to %d", l, w.newest().seq)
		}
	}
	w.everySeq(s)
	for _, keep := range []int{3, 1} {
		_, err = Prune(t.Context(), s.Bucket, Keep{Points: keep})
		fixture.Must(t, err)
		left, err := List(t.Context(), s.Bucket)
		fixture.Must(t, err)
		if len(left) != keep || left[0].Seq != list[len(list)-keep].Seq {
			t.Errorf("kept %+v of %+v", left, list)
		}
		w.everySeq(s)
	}
}

// A point that Once takes beside a Run is as good as one of its own, also when Prune leaves no
// other.
func TestRunBesideOnce(t *testing.T) {
	for _, elsewhere := range []bool{false, true} { // by a process that knows nothing of the Run
		_, s := newFaulty(t)
		w := newWorld(t, 38)
		w.commit()
		r := start(t, local{w.DB}, s, quick)
		reached(t, s, w.newest().seq)
		for range 3 {
			w.commit()
		}
		reached(t, s, w.newest().seq)
		var from source = local{w.DB}
		if elsewhere {
			from = stranger{from, newMemory()}
		}
		at, err := once(t.Context(), from, s, quick.resolved())
		fixture.Must(t, err)
		for range 3 {
			w.commit()
			reached(t, s, w.newest().seq)
		}
		r.end()
		w.everySeq(s)
		left, err := Prune(t.Context(), s.Bucket, Keep{Points: 1})
		fixture.Must(t, err)
		if left.Point != at.Point {
			t.Errorf("%s is left, taken was %s", left.Point, at.Point)
		}
		for seq := at.Seq; seq <= w.newest().seq; seq++ {
			w.restored(s, Seq(seq), w.at(seq))
		}
		w.restored(s, Latest, w.newest())
		r = start(t, local{w.DB}, s, quick)
		w.commit()
		reached(t, s, w.newest().seq)
		r.end()
		w.restored(s, Latest, w.newest())
		_, err = Verify(t.Context(), s.Bucket)
		fixture.Must(t, err)
	}
}

// stranger is a source of which a process knows nothing.
type stranger struct {
	source
	known *memory
}

func (s stranger) memory() *memory { return s.known }

// Run is interrupted at every operation of the bucket, before it and behind it, for good. What was shipped can be
// restored, and the next Run goes on.
func TestRunKilled(t *testing.T) {
	for n := 0; n < 60; n += stride(5) {
		f, s := newFaulty(t)
		w := newWorld(t, uint64(40+n%7))
		w.commit()
		from := local{w.DB}
		f.dieAt(n)
		r := start(t, from, s, quick)
		for range 5 {
			w.commit()
		}
		eventually(t, "the bucket died", func() bool { return f.counted() > n || len(r.done) > 0 })
		r.end()
		f.set(nil)
		if _, err := Verify(t.Context(), s.Bucket); err != nil {
			t.Fatalf("killed at %d: %v", n, err)
		}
		before := w.newest()
		r = start(t, from, s, quick)
		eventually(t, "there was a point", func() bool { names, _ := s.points(t.Context()); return len(names) > 0 })
		reached(t, s, before.seq)
		for range 3 {
			w.commit()
		}
		reached(t, s, w.newest().seq)
		r.end()
		for seq := before.seq; seq <= w.newest().seq; seq++ {
			w.restored(s, Seq(seq), w.at(seq))
		}
		w.someRight(s)
		fixture.Must(t, w.Close())
	}
}

// someRight restores at each number. What can be restored is right.
func (w *world) someRight(s store) (right int) {
	w.t.Helper()
	for _, at := range w.states {
		fsys := vfs.NewMem()
		_, err := restoreOn(w.t.Context(), fsys, s, "/new", Seq(at.seq))
		if errors.Is(err, ErrNotReached) {
			continue
		}
		fixture.Must(w.t, err)
		w.check(fsys, "/new", at)
		right++
	}
	return right
}

// A bucket that fails now and then, in all its operations, holds up nothing for ever and loses
// nothing.
func TestRunUnreliable(t *testing.T) {
	f, s := newFaulty(t)
	w := newWorld(t, 32)
	w.commit()
	rng := rand.New(rand.NewPCG(3, 4))
	r := start(t, local{w.DB}, s, quick)
	eventually(t, "it has begun", func() bool { names, _ := s.points(t.Context()); return len(names) > 0 })
	f.set(func(operation) error {
		if rng.IntN(5) == 0 {
			return errBroken
		}
		return nil
	})
	for range 30 {
		w.commit()
		time.Sleep(time.Millisecond)
	}
	want := w.newest().seq
	eventually(t, "all was shipped", func() bool {
		v, err := s.view(t.Context())
		if err != nil {
			return false
		}
		at, err := v.find(t.Context(), Latest)
		return err == nil && max(at.Seq, at.until) >= want
	})
	f.set(nil)
	r.end()
	w.everySeq(s)
}

// A bucket that takes its time holds up nothing but the bucket.
func TestRunSlow(t *testing.T) {
	f, s := newFaulty(t)
	w := newWorld(t, 39)
	w.commit()
	f.set(func(operation) error { time.Sleep(2 * time.Millisecond); return nil })
	r := start(t, local{w.DB}, s, quick)
	for range 20 {
		w.commit()
	}
	reached(t, s, w.newest().seq)
	r.end()
	f.set(nil)
	w.everySeq(s)
}

// What was written last is shipped although the context has ended.
func TestRunEnds(t *testing.T) {
	_, s := newFaulty(t)
	w := newWorld(t, 59)
	w.commit()
	r := start(t, local{w.DB}, s, Options{LogInterval: time.Hour, graceTime: time.Minute})
	reached(t, s, w.newest().seq)
	for range 5 {
		w.commit()
	}
	r.end()
	w.everySeq(s)
}

// A second Run takes the bucket over, and the first one ends.
func TestRunFenced(t *testing.T) {
	_, s := newFaulty(t)
	w := newWorld(t, 33)
	w.commit()
	first := w.newest().seq
	one := start(t, local{w.DB}, s, quick)
	reached(t, s, first)
	two := start(t, local{w.DB}, s, quick)
	fixture.WantErr(t, "the first Run", one.wait(), ErrFenced)
	w.commit()
	reached(t, s, w.newest().seq)
	if err := two.end(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	w.everySeq(s)
}

// Who was stopped for so long that nothing is left of the next epoch finds out all the same.
func TestRunFencedLate(t *testing.T) {
	f, s := newFaulty(t)
	w := newWorld(t, 58)
	w.commit()
	r := start(t, local{w.DB}, s, quick)
	reached(t, s, w.newest().seq)
	claim := logHeader{Database: "another", Epoch: 3, Claim: "another"}
	fixture.Must(t, f.inner.WriteAll(t.Context(), logName(3, 0), claim.head(), nil))
	fixture.WantErr(t, "the stopped Run", r.wait(), ErrFenced)
}

// A load is not in the log: there is a point behind it.
func TestRunLoad(t *testing.T) {
	_, s := newFaulty(t)
	w := newWorld(t, 34)
	w.commit()
	r := start(t, local{w.DB}, s, quick)
	reached(t, s, w.newest().seq)
	for range 3 {
		w.commit()
		reached(t, s, w.newest().seq) // so that nothing comes between the load and its point
		w.load()
		reached(t, s, w.newest().seq)
	}
	w.commit()
	reached(t, s, w.newest().seq)
	r.end()
	w.everySeq(s)
}

// What was given up before it was shipped is a hole, never a wrong state.
func TestRunTrimmed(t *testing.T) {
	_, s := newFaulty(t)
	w := newWorld(t, 35)
	w.commit()
	from := w.modelled()
	var said diary
	o := quick
	o.Logger = zerolog.New(&said)
	r := start(t, from, s, o)
	reached(t, s, w.newest().seq)
	before := w.newest()
	from.trim(1 << 60) // whatever comes next is gone
	w.commit()
	w.commit()
	eventually(t, "it was seen", func() bool { return said.has("given up") })
	from.trim(0)
	reached(t, s, w.newest().seq)
	w.commit()
	reached(t, s, w.newest().seq)
	r.end()
	w.restored(s, Seq(before.seq), before)
	w.restored(s, Latest, w.newest())
	if w.someRight(s) < 3 {
		t.Error("next to nothing can be restored")
	}
}

// Time finds the newest state that is not younger.
func TestTime(t *testing.T) {
	_, s := newFaulty(t)
	w := newWorld(t, 36)
	w.commit()
	w.refused(s, Time(time.Now()), "an empty bucket")
	began := time.Now()
	r := start(t, local{w.DB}, s, quick)
	type moment struct {
		time  time.Time
		state state
	}
	var moments []moment
	for range 6 {
		reached(t, s, w.newest().seq)
		moments = append(moments, moment{time.Now(), w.newest()})
		time.Sleep(2 * time.Millisecond) // for clocks that are coarse
		w.commit()
	}
	reached(t, s, w.newest().seq)
	r.end()
	for _, m := range moments {
		w.restored(s, Time(m.time), m.state)
	}
	w.restored(s, Time(time.Now().Add(time.Hour)), w.newest())
	w.refused(s, Time(began), "before the first point")
}

// The end of the database is the end of Run.
func TestRunClosed(t *testing.T) {
	_, s := newFaulty(t)
	d, err := db.Open("", &db.Options{InMemory: true})
	fixture.Must(t, err)
	fixture.Must(t, d.Close())
	fixture.WantErr(t, "a closed database", start(t, local{d}, s, quick).wait(), db.ErrClosed)
}

// A bucket that does not work at all is an error soon.
func TestRunWithoutBucket(t *testing.T) {
	f, s := newFaulty(t)
	w := newWorld(t, 37)
	f.dieAt(0)
	fixture.WantErr(t, "a dead bucket", start(t, local{w.DB}, s, quick).wait(), errBroken)
}

// diary is what a Run says.
type diary struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (d *diary) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.Write(p)
}

func (d *diary) has(text string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Contains(d.text.String(), text)
}
