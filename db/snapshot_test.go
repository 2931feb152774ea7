package db

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
)

// TestSnapshotClosedWhileRead closes a snapshot that others read, and has what only it
// needed dropped at once. They see what the snapshot shows or ErrClosed, nothing else.
func TestSnapshotClosedWhileRead(t *testing.T) {
	d := openMemory(t)
	ctx := context.Background()
	key := []byte("key")
	for round := range 60 {
		want := fmt.Sprint(round)
		must(t, d.Put(key, []byte(want), NoSync))
		s, err := d.NewSnapshot()
		must(t, err)
		must(t, d.Put(key, []byte("newer"), NoSync))
		must(t, d.Flush(ctx))
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				for {
					got, err := s.Get(key)
					if errors.Is(err, ErrClosed) {
						return
					}
					if err != nil || string(got) != want {
						t.Errorf("round %d: %q, %v", round, got, err)
						return
					}
				}
			})
		}
		must(t, s.Close())
		must(t, d.Compact(ctx, nil, nil))
		all.Wait()
	}
}

// TestSnapshotsAreIndependent holds several at different instants and closes them out of
// order, with compactions in between.
func TestSnapshotsAreIndependent(t *testing.T) {
	d := openMemory(t)
	var open []modelSnapshot
	for i := range 8 {
		must(t, d.Put([]byte("key"), fmt.Append(nil, i), NoSync))
		if i == 4 {
			must(t, d.Delete([]byte("key"), NoSync))
		}
		s, err := d.NewSnapshot()
		must(t, err)
		v := view{"key": fmt.Sprint(i)}
		if i == 4 {
			v = view{}
		}
		open = append(open, modelSnapshot{s, v})
	}
	for _, closing := range []int{3, 0, 6, 4, 1, 1, 0, 0} {
		if m := d.Metrics().Snapshot; m.Open != len(open) || m.Oldest != uint64(open[0].seq) {
			t.Errorf("%d snapshots are open, metrics: %+v", len(open), m)
		}
		closing %= len(open)
		must(t, open[closing].Close())
		open = append(open[:closing], open[closing+1:]...)
		must(t, d.Compact(t.Context(), nil, nil))
		if n := entryCount(d); int(n) > len(open)+1 {
			t.Errorf("%d entries are kept for %d snapshots and the present", n, len(open))
		}
		for i, s := range open {
			it, err := s.NewIterator(nil)
			must(t, err)
			if err := newModelIterator(it, s.view, nil).scan(); err != nil {
				t.Errorf("snapshot %d of %d: %v", i, len(open), err)
			}
			must(t, it.Close())
		}
	}
	if n := entryCount(d); n != 1 {
		t.Errorf("%d entries are kept, one can be seen", n)
	}
	it, err := d.NewIterator(nil)
	must(t, err)
	must(t, newModelIterator(it, view{"key": "7"}, nil).scan())
	must(t, it.Close())
}

// TestCompactIsCounted: when Compact returns, Metrics tells what it did.
func TestCompactIsCounted(t *testing.T) {
	d := openMemory(t)
	for i := range 100 {
		before := d.Metrics().Compact
		for range 2 {
			must(t, d.Put([]byte("key"), fmt.Append(nil, i), NoSync))
			must(t, d.Flush(t.Context()))
		}
		must(t, d.Compact(t.Context(), nil, nil))
		if after := d.Metrics().Compact; after.Jobs+after.Moves == before.Jobs+before.Moves || after.Running > 0 {
			t.Fatalf("round %d: %+v after %+v", i, after, before)
		}
	}
}
