package stages

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/vfstest"
	"lsmdb/internal/view"
)

func TestSnapshotsRegister(t *testing.T) {
	var r Snapshots
	at := base.Seq(3)
	visible := func() view.At { return view.At{Seq: at} }
	if n, oldest := r.Count(); n != 0 || oldest != 0 || len(r.Readers(new(view.Published).Now).Snapshots) != 0 {
		t.Errorf("%d, %d", n, oldest)
	}
	b, c := r.Register(new(Snapshot), visible), r.Register(new(Snapshot), visible)
	at = 5
	a := r.Register(new(Snapshot), visible)
	if list := r.Readers(new(view.Published).Now).Snapshots; !slices.Equal(list, []base.Seq{3, 5}) || b.At().Seq != 3 {
		t.Errorf("listed %d", list)
	}
	r.Unregister(b)
	if n, oldest := r.Count(); n != 2 || oldest != 3 {
		t.Errorf("%d, %d: one of two at the same number was released", n, oldest)
	}
	r.Unregister(b) // twice is harmless
	r.Unregister(c)
	if n, oldest := r.Count(); n != 1 || oldest != 5 {
		t.Errorf("%d, %d", n, oldest)
	}
	r.Unregister(a)
}

// TestReleaseIsAwaited: only the release that the Compactor can use is told, and once.
func TestReleaseIsAwaited(t *testing.T) {
	var r Snapshots
	at := base.Seq(0)
	var open []*Snapshot
	for range 5 { // at 1 to 5
		open = append(open, r.Register(new(Snapshot), func() view.At { at++; return view.At{Seq: at} }))
	}
	if r.Unregister(open[0]) {
		t.Error("nobody waits")
	}
	if r.await(3) {
		t.Error("2 is open")
	}
	if r.Unregister(open[3]) {
		t.Error("not the oldest")
	}
	if !r.Unregister(open[1]) || r.Unregister(open[2]) {
		t.Error("told too late or twice")
	}
	if !r.await(5) || !r.await(4) || r.await(0) || r.Unregister(open[4]) {
		t.Error("5 is the oldest")
	}
	if !r.await(base.MaxSeq) {
		t.Error("none is open")
	}
}

// TestSnapshotIsNumberedAndRegisteredAtOnce: between the two a job could list the
// snapshots without the new one, and drop what it sees.
func TestSnapshotIsNumberedAndRegisteredAtOnce(t *testing.T) {
	var r Snapshots
	listed := make(chan []base.Seq, 1)
	r.Register(new(Snapshot), func() view.At {
		go func() { listed <- r.Readers(new(view.Published).Now).Snapshots }()
		time.Sleep(20 * time.Millisecond)
		return view.At{Seq: 5}
	})
	if list := <-listed; !slices.Equal(list, []base.Seq{5}) {
		t.Errorf("a job that started meanwhile listed %d", list)
	}
}

// TestSnapshotDuringAJob acquires a snapshot at every operation of a flush and a
// compaction that rewrite the very keys it sees; it keeps its view.
func TestSnapshotDuringAJob(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(e *Environment) { e.Policy.L0Trigger = 2 })
		r.open()
		type view struct {
			snapshot *Snapshot
			want     [4]string
		}
		var views []view
		var current [4]string
		// Called while no commit is under way, so current is what a reader sees now.
		look := func() { views = append(views, view{r.p.Acquire(new(Snapshot)), current}) }
		steps := make(chan struct{})
		r.onDisk(func(op vfstest.Op) error {
			if fileType(op.Name) == base.FileTable && (op.Kind == vfstest.OpCreate || op.Kind == vfstest.OpWrite || op.Kind == vfstest.OpSync) ||
				on(vfstest.OpSync, base.FileManifest)(op) {
				<-steps
			}
			return nil
		})
		version := 0
		write := func() {
			for i := range current {
				version++
				current[i] = fmt.Sprintf("v%d", version)
				must(t, r.put(set(fmt.Sprintf("k%d", i), current[i])))
			}
		}
		for range 6 {
			write()
			look()
			write()
			flushed := make(chan error, 1)
			go func() { flushed <- r.p.Flush(context.Background()) }()
			for synctest.Wait(); len(flushed) == 0; synctest.Wait() {
				look()
				steps <- struct{}{}
			}
			must(t, <-flushed)
			// Let the compaction that is due take some steps beside the next round.
			for range 3 {
				select {
				case steps <- struct{}{}:
				default:
				}
				synctest.Wait()
				look()
			}
		}
		close(steps)
		must(t, r.p.Compact(context.Background(), nil, nil))
		check := func() {
			state := r.p.Enter()
			defer state.Leave()
			for n, v := range views {
				for i, want := range v.want {
					got, ok, err := readAt(state.State, v.snapshot.At().Seq, fmt.Sprintf("k%d", i))
					if err != nil || !ok || got != want {
						t.Errorf("snapshot %d at %d sees k%d as %q, %v, %v; want %q", n, v.snapshot.At().Seq, i, got, ok, err, want)
					}
				}
			}
		}
		check()
		if m := r.p.Metrics(); m.Snapshots != len(views) || m.OldestSnapshot == 0 || m.Compact.Jobs == 0 || len(views) < 30 {
			t.Errorf("%d views, %+v", len(views), m)
		}
		// Once half of them are released, what only these saw goes; the others stay.
		r.p.Release(views[0].snapshot)
		for len(views) > 20 {
			r.p.Release(views[len(views)-1].snapshot)
			views = views[:len(views)-1]
		}
		views = views[1:]
		synctest.Wait()
		check()
		for _, v := range views {
			r.p.Release(v.snapshot)
		}
		synctest.Wait() // a release makes the Compactor look for garbage
		for level, tables := range r.p.State().Version.Levels {
			for _, table := range tables {
				if level > 0 && table.Shadowed > 0 {
					t.Errorf("garbage stays in level %d: %v", level, table)
				}
			}
		}
		r.close()
	})
}

// TestSnapshotsAgainstTheModel writes, flushes and compacts at random, with a disk
// that takes time, and holds snapshots for a while.
func TestSnapshotsAgainstTheModel(t *testing.T) {
	for seed := range uint64(6) {
		bubble(t, func(t *testing.T) { checkModel(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func checkModel(t *testing.T, random *rand.Rand) {
	r := newRig(t, func(e *Environment) {
		e.Policy.L0Trigger, e.Policy.L0Limit, e.Workers = 2, 4, 2
		e.MemtableBytes = 4 << 10
	})
	r.onDisk(func(op vfstest.Op) error {
		if fileType(op.Name) == base.FileTable && op.Kind == vfstest.OpSync {
			time.Sleep(time.Millisecond)
		}
		return nil
	})
	r.open()
	type view struct {
		snapshot *Snapshot
		model    map[string]string
	}
	model := make(map[string]string)
	var views []view
	for step := range 1500 {
		key := fmt.Sprintf("k%02d", random.IntN(40))
		switch choice := random.IntN(100); {
		case choice < 70:
			value := fmt.Sprint(step, kilobyte("x")[:random.IntN(200)])
			must(t, r.put(set(key, value)))
			model[key] = value
		case choice < 90:
			must(t, r.put(del(key)))
			delete(model, key)
		case choice < 93:
			views = append(views, view{r.p.Acquire(new(Snapshot)), cloneOf(model)})
		case choice < 96 && len(views) > 0:
			i := random.IntN(len(views))
			checkView(t, r, views[i].snapshot.At().Seq, views[i].model)
			r.p.Release(views[i].snapshot)
			views = slices.Delete(views, i, i+1)
		case choice == 96:
			must(t, r.p.Flush(context.Background()))
		case choice == 97:
			must(t, r.p.Compact(context.Background(), []byte(key), nil))
		default:
			time.Sleep(time.Duration(random.IntN(3)) * time.Millisecond)
		}
		checkView(t, r, r.p.Visible(), model)
		if t.Failed() {
			t.Fatalf("step %d", step)
		}
	}
	for _, v := range views {
		checkView(t, r, v.snapshot.At().Seq, v.model)
	}
	r.onDisk(nil)
	r.close()
	got := recovered(t, r.mem.CrashClone(nil))
	if len(got) != len(model) {
		t.Errorf("%d keys on disk, %d in the model", len(got), len(model))
	}
	for key, value := range model {
		if got[key] != value {
			t.Errorf("%s is %q on disk, %q in the model", key, got[key], value)
		}
	}
}

func cloneOf(model map[string]string) map[string]string {
	clone := make(map[string]string, len(model))
	for key, value := range model {
		clone[key] = value
	}
	return clone
}

func checkView(t *testing.T, r *rig, seq base.Seq, model map[string]string) {
	t.Helper()
	state := r.p.Enter()
	defer state.Leave()
	for i := range 40 {
		key := fmt.Sprintf("k%02d", i)
		want, exists := model[key]
		if got, ok, err := readAt(state.State, seq, key); err != nil || ok != exists || ok && got != want {
			t.Errorf("at %d %s is %.20q, %v, %v; want %.20q, %v", seq, key, got, ok, err, want, exists)
		}
	}
}

// BenchmarkSnapshot acquires and releases one beside 20,000 others.
func BenchmarkSnapshot(b *testing.B) {
	var r Snapshots
	at := base.Seq(0)
	visible := func() view.At { at++; return view.At{Seq: at} }
	for range 20_000 {
		r.Register(new(Snapshot), visible)
	}
	for b.Loop() {
		r.Unregister(r.Register(new(Snapshot), visible))
	}
}

// TestClock: whoever asks all the time hears the time of a moment ago, and whoever asks after
// a rest the exact time. No timer runs meanwhile.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewClock()
		defer c.Stop()
		for range 3 {
			time.Sleep(time.Hour + time.Nanosecond)
			exact := time.Now().UnixNano()
			if got := c.Now(); got != exact|1 {
				t.Errorf("after a rest it is %d, the clock tells %d", exact, got)
			}
			for range 9 {
				time.Sleep(time.Millisecond)
				if got := c.Now(); got != exact&^1 {
					t.Errorf("%d is remembered, the clock tells %d", exact, got)
				}
			}
			time.Sleep(time.Millisecond)
			synctest.Wait()
			if got := c.Now(); got != time.Now().UnixNano()|1 {
				t.Errorf("after %v the clock tells %d", clockStep, got)
			}
		}
	})
}

// TestOpenSnapshots: those that are open are told, oldest first, with what their owners have
// said of them.
func TestOpenSnapshots(t *testing.T) {
	var r Snapshots
	at := view.At{}
	now := func() view.At { at.Seq++; return at }
	var all [3]Snapshot
	for i := range all {
		all[i].Since = int64(i)
		r.Register(&all[i], now)
	}
	told := func() (list []int64) {
		for _, s := range r.Open() {
			list = append(list, s.Since)
			if int64(s.At.Seq) != s.Since+1 {
				t.Errorf("%+v", s)
			}
		}
		return list
	}
	if got := told(); !slices.Equal(got, []int64{0, 1, 2}) {
		t.Errorf("open are %v", got)
	}
	r.Unregister(&all[1])
	if got := told(); !slices.Equal(got, []int64{0, 2}) {
		t.Errorf("open are %v", got)
	}
}
