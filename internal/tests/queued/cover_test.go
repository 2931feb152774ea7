package queued

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// TestWhatCovers: everything with more durability covers all that was queued before, against
// a killed process at least.
func TestWhatCovers(t *testing.T) {
	ctx := context.Background()
	for what, cover := range map[string]struct {
		survivesPower bool
		do            func(*db.DB) error
	}{
		"Sync":             {true, func(d *db.DB) error { return d.Sync(ctx) }},
		"Put with Sync":    {true, func(d *db.DB) error { return d.Put([]byte("covers"), nil, db.Sync) }},
		"Put with NoSync":  {false, func(d *db.DB) error { return d.Put([]byte("covers"), nil, db.NoSync) }},
		"Apply of nothing": {false, func(d *db.DB) error { return d.Apply(ctx, d.NewBatch(), db.Queued) }},
		"Flush":            {true, func(d *db.DB) error { return d.Flush(ctx) }},
		"Compact":          {true, func(d *db.DB) error { return d.Compact(ctx, nil, nil) }},
		"Load":             {true, func(d *db.DB) error { return fixture.Commit{{Key: "loaded"}}.Load(ctx, d) }},
		"a read":           {false, func(d *db.DB) error { _, err := d.Has([]byte("last")); return err }},
		"a transaction": {false, func(d *db.DB) error {
			return d.Update(ctx, func(tx *db.Tx) error { return tx.Put([]byte("covers"), nil) }, db.Queued)
		}},
		"NewCheckpoint": {true, func(d *db.DB) error { return checkpoint(d) }},
		"Close":         {true, (*db.DB).Close},
		"a pending that came": {false, func(d *db.DB) error {
			p, err := d.Submit(ctx, fixture.Commit{{Key: "covers"}}.Batch(d), db.Queued)
			if err == nil {
				err = p.Wait(ctx)
			}
			return err
		}},
	} {
		for n := range 20 {
			m := fixture.NewMachine(vfstest.NewDisk())
			d := m.OpenDB(t)
			h := fixture.History{Now: fixture.State{}, Start: fixture.State{}}
			_, err := queueMany(d, &h, 1+n*n)
			fixture.Must(t, err)
			fixture.Must(t, cover.do(d))
			disk := m.Disk
			if cover.survivesPower {
				disk = m.Disk.CrashClone(nil)
			}
			m.Kill(d)
			after, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{MemtableBytes: 1, ReadOnly: true}))
			fixture.Must(t, err)
			found := fixture.Contents(t, after)
			delete(found, "covers")
			delete(found, "loaded")
			if err := fixture.Differ(h.Now.At(0), found); err != nil {
				t.Errorf("%s does not cover %d batches that were queued before: %v", what, len(h.Commits), err)
			}
			fixture.Must(t, after.Close())
		}
	}
}

// checkpoint makes one and sees that it holds the last write.
func checkpoint(d *db.DB) error {
	c, err := d.NewCheckpoint(context.Background())
	if err != nil {
		return err
	}
	if shown := d.Metrics().Sequence; c.Seq() != shown {
		err = fmt.Errorf("the checkpoint is at %d, and what is queued goes up to %d", c.Seq(), shown)
	}
	return errors.Join(err, c.Close())
}

// TestKillTakesASuffix: a killed process loses the newest of what was queued, if anything, and
// no part of a batch.
func TestKillTakesASuffix(t *testing.T) {
	lost := 0
	for n := range 100 {
		m := fixture.NewMachine(vfstest.NewDisk())
		d := m.OpenDB(t)
		h := fixture.History{Now: fixture.State{}, Start: fixture.State{}}
		_, err := queueMany(d, &h, 40+n)
		fixture.Must(t, err)
		m.Kill(d)
		m = fixture.NewMachine(m.Disk)
		d = m.OpenDB(t)
		lost += int(h.SequenceAfter(len(h.Commits)) - d.Metrics().Sequence)
		fixture.Must(t, h.Reopened(0, d.Metrics().Sequence, fixture.Contents(t, d)))
		fixture.Must(t, d.Close())
	}
	t.Logf("%d operations lost", lost)
}

// TestBatchesAreFree: a batch can be changed, applied again and reset as soon as Apply or
// Submit has returned, although the Writer has not looked at it.
func TestBatchesAreFree(t *testing.T) {
	for _, submit := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := stop(t)
			send := func(b *db.Batch) {
				t.Helper()
				if submit {
					_, err := s.Submit(t.Context(), b, db.Queued)
					fixture.Must(t, err)
				} else {
					fixture.Must(t, s.Apply(t.Context(), b, db.Queued))
				}
			}
			want := fixture.View{"first": "value"}
			b := s.NewBatch()
			for i := range 20 {
				for j := range 1 + i%3 {
					c := fixture.Operation{Key: fmt.Sprintf("key%d.%d", i, j), Value: fmt.Sprint(i * j)}
					fixture.Must(t, fixture.Commit{c}.Fill(b))
					want[c.Key] = c.Value
					send(b) // with what was in there before
				}
				if i%4 != 3 {
					b.Reset()
				}
			}
			synctest.Wait()
			b.Reset()
			fixture.Must(t, b.Put([]byte("never"), []byte("applied")))
			s.goOn()
			fixture.Must(t, fixture.Differ(want, fixture.Contents(t, s.DB)))
			b.Reset()
			fixture.Must(t, s.Close())
		})
	}
}

// TestArgumentsAreFree: so can keys and values.
func TestArgumentsAreFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stop(t)
		key, value := make([]byte, 8), make([]byte, 8)
		want := fixture.View{"first": "value"}
		for i := range 40 {
			copy(key, fmt.Sprintf("key%05d", i))
			copy(value, fmt.Sprintf("val%05d", i))
			fixture.Must(t, s.Put(key, value, db.Queued))
			want[string(key)] = string(value)
		}
		fixture.Clobber(key, value)
		s.goOn()
		fixture.Must(t, fixture.Differ(want, fixture.Contents(t, s.DB)))
		fixture.Must(t, s.Close())
	})
}

// TestFullMailbox: where it has no more room, callers wait, no longer than their contexts. What
// they took back is not written, and no read waits for it.
func TestFullMailbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stop(t)
		done := make(chan error, 1)
		go func() {
			h := fixture.History{Now: fixture.State{}}
			_, err := queueMany(s.DB, &h, 500)
			done <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan error, 8)
		for range cap(results) {
			go func() {
				results <- s.Apply(ctx, fixture.Commit{{Key: "taken back"}}.Batch(s.DB), db.Queued)
			}()
		}
		synctest.Wait()
		cancel()
		for range cap(results) {
			fixture.WantErr(t, "Apply without room", <-results, context.Canceled)
		}
		s.goOn()
		fixture.Must(t, <-done)
		if has, err := s.Has([]byte("taken back")); has || err != nil {
			t.Errorf("what was taken back: %v, %v", has, err)
		}
		before := s.Metrics().Writes
		if value, err := s.Get([]byte("last")); string(value) != "499" || err != nil {
			t.Errorf("the last one: %q, %v", value, err)
		}
		if after := s.Metrics().Writes; after != before || after.Queued != 500 {
			t.Errorf("writes are %+v after a read, %+v before", after, before)
		}
		fixture.Must(t, s.Close())
	})
}

// TestQueuedRefusals: what is refused is refused at once, also when it is to be queued.
func TestQueuedRefusals(t *testing.T) {
	d, err := db.Open("", &db.Options{InMemory: true, Durability: db.Queued})
	fixture.Must(t, err)
	large := make([]byte, db.MaxKeyBytes+1)
	fixture.WantErr(t, "a key beyond the limit", d.Put(large, nil), db.ErrKeyTooLarge)
	fixture.WantErr(t, "an operand without a Merger", d.Merge(nil, nil), db.ErrNoMerger)
	b := d.NewBatch()
	fixture.Must(t, b.Merge(nil, nil))
	fixture.WantErr(t, "a batch without a Merger", d.Apply(t.Context(), b), db.ErrNoMerger)
	fixture.Must(t, d.DeleteRange([]byte("b"), []byte("a")))
	fixture.Must(t, d.Apply(t.Context(), d.NewBatch()))
	p, err := d.Submit(t.Context(), d.NewBatch())
	fixture.Must(t, err)
	fixture.Must(t, p.Wait(t.Context()))
	if n := d.Metrics().Writes.Queued; n != 0 {
		t.Errorf("%d were queued", n)
	}
	fixture.Must(t, d.Put([]byte("k"), nil))
	if n := d.Metrics().Writes.Queued; n != 1 {
		t.Errorf("%d were queued by default, want 1", n)
	}
	fixture.Must(t, d.Close())
	fixture.WantErr(t, "Put after Close", d.Put(nil, nil, db.Queued), db.ErrClosed)
	_, err = d.Get([]byte("k"))
	fixture.WantErr(t, "Get after Close", err, db.ErrClosed)

	m := fixture.NewMachine(vfstest.NewDisk())
	fixture.Must(t, m.OpenDB(t).Close())
	d, err = db.Open(fixture.Dir, fixture.On(m, db.Options{ReadOnly: true, Durability: db.Queued}))
	fixture.Must(t, err)
	fixture.WantErr(t, "Put into a read-only database", d.Put(nil, nil), db.ErrReadOnly)
	_, err = d.Get([]byte("k"))
	fixture.WantErr(t, "Get", err, db.ErrNotFound)
	fixture.Must(t, d.Close())
}
