package stages

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/internal/vfstest"
	"lsmdb/internal/view"
	"lsmdb/manifest"
)

// TestLoadsAmongCompactions loads, writes and deletes beside compactions that take their
// time, and now and then meet a full disk, and compares with what a map would hold, now and
// under snapshots.
func TestLoadsAmongCompactions(t *testing.T) {
	const seeds, steps, keys = 20, 150, 120
	for seed := range uint64(seeds) {
		bubble(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			r := newRig(t, func(e *Environment) {
				e.Workers, e.IdleDelay = 3, 5*time.Millisecond
				e.Policy.L0Trigger, e.Policy.L0Limit, e.Policy.JobInputs = 2, 4, 3
				e.Policy.BaseBytes, e.Policy.TableBytes, e.Policy.TableLimitBytes, e.Policy.Multiplier = 4<<10, 1<<10, 4<<10, 3
			})
			var full atomic.Int64 // how many creations of tables fail
			r.onDisk(func(op vfstest.Op) error {
				if op.Kind == vfstest.OpSync || op.Kind == vfstest.OpCreate {
					time.Sleep(time.Duration(len(op.Name)*7%5+1) * time.Millisecond)
				}
				if op.Kind == vfstest.OpWrite && fileType(op.Name) == base.FileTable && full.Add(-1) >= 0 {
					return syscall.ENOSPC
				}
				return nil
			})
			r.open()
			model := map[string]string{}
			key := func(i int) string { return fmt.Sprintf("k%03d", i) }
			check := func(when string, at base.Seq, want map[string]string) {
				reading := r.p.Enter()
				defer reading.Leave()
				for i := range keys {
					got, found, err := reading.Get(view.At{Seq: at}, []byte(key(i)))
					if w, ok := want[key(i)]; err != nil || found != ok || string(got) != w {
						t.Fatalf("seed %d, %s: %s is %q %v (%v), want %q %v", seed, when, key(i), got, found, err, w, ok)
					}
				}
			}
			type look struct {
				s    *Snapshot
				want map[string]string
			}
			var looks []look
			done := make(chan struct{})
			var all sync.WaitGroup
			all.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					must(t, r.p.Compact(context.Background(), nil, nil))
					time.Sleep(10 * time.Millisecond)
				}
			})
			for step := range steps {
				from := rng.IntN(keys)
				to := min(keys, from+1+rng.IntN(12))
				switch rng.IntN(9) {
				case 0, 1, 2, 3:
					tables := output.NewLoadedTables(r.env.Directory, nil, func(n int64, _ []byte) bool { return n > 200 })
					value := fmt.Sprint("loaded", step)
					var err error
					var loaded []string
					for i := from; i < to && err == nil; i += 1 + rng.IntN(2) {
						err = tables.Add(base.AppendInternalKey(nil, []byte(key(i)), base.MakeTrailer(output.LoadedSeq, base.KindSet)), []byte(value))
						loaded = append(loaded, key(i))
					}
					var done []*manifest.TableMeta
					if err == nil {
						done, err = tables.Finish()
					}
					if err == nil {
						err = r.p.Load(context.Background(), done)
					} else {
						err = errors.Join(err, tables.Abort())
					}
					if err != nil && !base.IsShortage(err) {
						t.Fatal(err)
					}
					if err == nil {
						for _, k := range loaded {
							model[k] = value
						}
					}
				case 4, 5:
					c := NewCommit()
					for i := from; i < to; i++ {
						must(t, c.Add(base.KindSet, []byte(key(i)), []byte(kilobyte(fmt.Sprint(step))[:100]), 0))
						model[key(i)] = kilobyte(fmt.Sprint(step))[:100]
					}
					must(t, r.put(c))
				case 6:
					c := NewCommit()
					must(t, c.Add(base.KindRangeDelete, []byte(key(from)), []byte(key(to)), 0))
					must(t, r.put(c))
					maps.DeleteFunc(model, func(k, _ string) bool { return k >= key(from) && k < key(to) })
				case 7:
					must(t, r.put(del(key(from))))
					delete(model, key(from))
					must(t, r.p.Flush(context.Background()))
				case 8:
					if rng.IntN(3) == 0 {
						full.Store(3)
					}
					if len(looks) > 2 {
						at := rng.IntN(len(looks))
						check("snapshot", looks[at].s.At().Seq, looks[at].want)
						r.p.Release(looks[at].s)
						looks = slices.Delete(looks, at, at+1)
					}
					looks = append(looks, look{r.p.Acquire(new(Snapshot)), maps.Clone(model)})
				}
				if step%5 == 0 {
					check("now", r.p.Visible(), model)
					time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
				}
			}
			check("at the end", r.p.Visible(), model)
			for _, l := range looks {
				check("snapshot at the end", l.s.At().Seq, l.want)
				r.p.Release(l.s)
			}
			close(done)
			full.Store(0)
			all.Wait()
			r.onDisk(nil)
			r.close()
		})
	}
}
