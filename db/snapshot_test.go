package db_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// TestSnapshotClosedWhileRead closes a snapshot that others read, and has what only it
// needed dropped at once. They see what the snapshot shows or ErrClosed, nothing else.
func TestSnapshotClosedWhileRead(t *testing.T) {
	d := openMemory(t)
	ctx := context.Background()
	key := []byte("key")
	for round := range 60 {
		want := fmt.Sprint(round)
		fixture.Must(t, d.Put(key, []byte(want), db.NoSync))
		s, err := d.NewSnapshot()
		fixture.Must(t, err)
		fixture.Must(t, d.Put(key, []byte("newer"), db.NoSync))
		fixture.Must(t, d.Flush(ctx))
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				for {
					got, err := s.Get(key)
					if errors.Is(err, db.ErrClosed) {
						return
					}
					if err != nil || string(got) != want {
						t.Errorf("round %d: %q, %v", round, got, err)
						return
					}
				}
			})
		}
		fixture.Must(t, s.Close())
		fixture.Must(t, d.Compact(ctx, nil, nil))
		all.Wait()
	}
}

// TestSnapshotsAreIndependent holds several at different instants and closes them out of
// order, with compactions in between.
func TestSnapshotsAreIndependent(t *testing.T) {
	d := openMemory(t)
	type held struct {
		*db.Snapshot
		view fixture.View
		seq  uint64
	}
	var open []held
	for i := range 8 {
		fixture.Must(t, d.Put([]byte("key"), fmt.Append(nil, i), db.NoSync))
		if i == 4 {
			fixture.Must(t, d.Delete([]byte("key"), db.NoSync))
		}
		s, err := d.NewSnapshot()
		fixture.Must(t, err)
		v := fixture.View{"key": fmt.Sprint(i)}
		if i == 4 {
			v = fixture.View{}
		}
		open = append(open, held{s, v, d.Metrics().Sequence})
	}
	for _, closing := range []int{3, 0, 6, 4, 1, 1, 0, 0} {
		if m := d.Metrics().Snapshot; m.Open != len(open) || m.Oldest != open[0].seq {
			t.Errorf("%d snapshots are open, metrics: %+v", len(open), m)
		}
		closing %= len(open)
		fixture.Must(t, open[closing].Close())
		open = append(open[:closing], open[closing+1:]...)
		fixture.Must(t, d.Compact(t.Context(), nil, nil))
		if n := entryCount(d); int(n) > len(open)+1 {
			t.Errorf("%d entries are kept for %d snapshots and the present", n, len(open))
		}
		for i, s := range open {
			it, err := s.NewIterator(nil)
			fixture.Must(t, err)
			if err := fixture.NewModelIterator(it, s.view, nil).Scan(); err != nil {
				t.Errorf("snapshot %d of %d: %v", i, len(open), err)
			}
			fixture.Must(t, it.Close())
		}
	}
	if n := entryCount(d); n != 1 {
		t.Errorf("%d entries are kept, one can be seen", n)
	}
	it, err := d.NewIterator(nil)
	fixture.Must(t, err)
	fixture.Must(t, fixture.NewModelIterator(it, fixture.View{"key": "7"}, nil).Scan())
	fixture.Must(t, it.Close())
}

// TestCompactIsCounted: when Compact returns, Metrics tells what it did.
func TestCompactIsCounted(t *testing.T) {
	d := openMemory(t)
	for i := range 100 {
		before := d.Metrics().Compact
		for range 2 {
			fixture.Must(t, d.Put([]byte("key"), fmt.Append(nil, i), db.NoSync))
			fixture.Must(t, d.Flush(t.Context()))
		}
		fixture.Must(t, d.Compact(t.Context(), nil, nil))
		if after := d.Metrics().Compact; after.Jobs+after.Moves == before.Jobs+before.Moves || after.Running > 0 {
			t.Fatalf("round %d: %+v after %+v", i, after, before)
		}
	}
}

// TestTransactionMetrics counts transactions of every end.
func TestTransactionMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := db.Open("", &db.Options{InMemory: true})
		fixture.Must(t, err)
		ctx, key := t.Context(), []byte("k")
		runs := 0
		fixture.Must(t, d.Update(ctx, func(tx *db.Tx) error {
			if _, err := tx.Has(key); err != nil {
				return err
			}
			if runs++; runs == 1 {
				fixture.Must(t, d.Put(key, nil))
			}
			return tx.Put(key, nil)
		}))
		fixture.Must(t, d.Update(ctx, func(*db.Tx) error { return nil }))
		discarded, err := d.Begin()
		fixture.Must(t, err)
		discarded.Discard()
		open, err := d.Begin()
		fixture.Must(t, err)
		if m := d.Metrics(); m.Transaction != (db.TransactionMetrics{Open: 1, Begun: 5, Committed: 2, Conflicted: 1}) {
			t.Errorf("%+v, %+v", m.Transaction, m.Snapshot)
		}
		open.Discard()
		if m := d.Metrics(); m.Transaction.Open != 0 {
			t.Errorf("%+v, %+v", m.Transaction, m.Snapshot)
		}
		fixture.Must(t, d.Close())
	})
}
