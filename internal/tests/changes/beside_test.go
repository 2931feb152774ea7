package changes

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
)

// TestBesideWriters: several loops, begun at different times, beside writers of all kinds, flushes, loads and a
// compaction. All hear the same, everything, and nothing before a read can see it.
func TestBesideWriters(t *testing.T) {
	writes, loads := 400, 12
	if base.Invariants {
		writes, loads = 120, 4
	}
	t.Run("memory", func(t *testing.T) {
		besideWriters(t, memory(t, db.Options{MemtableBytes: 16 << 10, KeepChangesBytes: 1 << 30}), writes, loads, db.Sync)
	})
	t.Run("files", func(t *testing.T) {
		d, err := db.Open(t.TempDir(), &db.Options{MemtableBytes: 128 << 10, KeepChangesBytes: 1 << 30})
		fixture.Must(t, err)
		defer d.Close()
		besideWriters(t, d, writes, loads/4, db.NoSync)
	})
}

// besideWriters runs some loops beside writers. First is the strongest durability of theirs, so that syncs
// are rare where it is not Sync.
func besideWriters(t *testing.T, d *db.DB, writes, loads int, first db.Durability) {
	ctx := guarded(t)
	var writers, followers sync.WaitGroup
	fail := make(chan error, 32)
	for w := range 4 {
		writers.Go(func() {
			for n := range writes {
				b := d.NewBatch()
				for i := range 1 + (n+w)%3 {
					if err := b.Put(fmt.Appendf(nil, "%d-%d-%d", w, n, i), make([]byte, 50*(n%7))); err != nil {
						fail <- err
					}
				}
				if err := d.Apply(ctx, b, first+db.Durability(n%(3-int(first)))); err != nil {
					fail <- err
				}
			}
		})
	}
	writers.Go(func() {
		for n := range loads {
			c := fixture.Commit{{Key: fmt.Sprintf("load%d", n), Value: "a"}, {Key: fmt.Sprintf("load%d.", n), Value: "b"}}
			if err := errors.Join(c.Load(ctx, d), d.Flush(ctx)); err != nil {
				fail <- err
			}
		}
		fail <- d.Compact(ctx, nil, nil)
	})
	heard := make([][]string, 4)
	for f := range heard {
		followers.Go(func() {
			at, ended := uint64(0), false
			for !ended {
				for c, err := range d.Changes(ctx, at) {
					if err == nil && c.First != at+1 {
						err = fmt.Errorf("change %d follows %d", c.First, at)
					}
					if visible := d.Metrics().Sequence; err == nil && visible < c.Seq {
						err = fmt.Errorf("change %d is told, but %d is visible", c.Seq, visible)
					}
					if err != nil {
						fail <- err
						return
					}
					for _, o := range c.Ops {
						heard[f] = append(heard[f], words(o))
						ended = string(o.Key) == "end"
					}
					if at = c.Seq; ended || f > 0 && at%uint64(50*f) == 0 { // begins again
						break
					}
				}
			}
		})
	}
	writers.Wait()
	fixture.Must(t, d.Put([]byte("end"), nil))
	followers.Wait()
	close(fail)
	for err := range fail {
		fixture.Must(t, err)
	}
	for f := range heard {
		if uint64(len(heard[f])) != d.Metrics().Sequence || !slices.Equal(heard[f], heard[0]) {
			t.Errorf("loop %d heard %d operations, of %d, or others than the first", f, len(heard[f]), d.Metrics().Sequence)
		}
	}
}
