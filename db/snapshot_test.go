package db_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"lsmdb/db"
	"lsmdb/internal/base"
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

// kinds returns the kinds of the pins, and checks what all of them must tell.
func kinds(t *testing.T, d *db.DB) (list []string) {
	t.Helper()
	for _, p := range d.Pins() {
		list = append(list, p.Kind)
		if age := time.Since(p.Since); age < -time.Second || age > time.Hour || p.Seq > d.Metrics().Sequence || p.Bytes < 0 {
			t.Errorf("%+v", p)
		}
	}
	slices.Sort(list)
	return list
}

// TestPins: whatever is open is listed, until it is closed, with the place where it was opened.
func TestPins(t *testing.T) {
	d := openMemory(t)
	ctx := t.Context()
	fixture.Must(t, d.Put([]byte("a/k"), []byte("v")))
	keyspace := d.Keyspace([]byte("a/"))
	var open []func()
	sited := map[string]bool{"snapshot": true, "transaction": true, "checkpoint": true}
	opened := func(kind string, closeIt func()) {
		t.Helper()
		open = append(open, closeIt)
		list := d.Pins()
		newest := list[len(list)-1]
		if len(list) != len(open) || newest.Kind != kind || newest.Seq != d.Metrics().Sequence {
			t.Fatalf("after %d were opened, the last a %s: %+v", len(open), kind, list)
		}
		known := strings.HasPrefix(newest.Where, "lsmdb/db_test.TestPins") && strings.Contains(newest.Where, "snapshot_test.go:")
		if !known && (newest.Where != "" || sited[kind]) {
			t.Errorf("a %s was opened at %q", kind, newest.Where)
		}
		fixture.Must(t, d.Put([]byte("a/k"), []byte("v"))) // the next one has another number
	}
	s, err := d.NewSnapshot()
	fixture.Must(t, err)
	opened("snapshot", func() { fixture.Must(t, s.Close()) })
	tx, err := d.Begin()
	fixture.Must(t, err)
	opened("transaction", tx.Discard)
	c, err := d.NewCheckpoint(ctx)
	fixture.Must(t, err)
	opened("checkpoint", func() { fixture.Must(t, c.Close()) })
	for _, from := range []fixture.Reader{d, keyspace} {
		it, err := from.NewIterator(nil)
		fixture.Must(t, err)
		opened("iterator", func() { fixture.Must(t, it.Close()) })
	}
	fixture.Must(t, d.View(func(*db.Snapshot) error {
		opened("snapshot", func() {})
		return nil
	}))
	open = open[:len(open)-1]
	fixture.Must(t, d.Update(ctx, func(*db.Tx) error {
		opened("transaction", func() {})
		return nil
	}))
	open = open[:len(open)-1]
	before := d.Pins()
	for _, from := range []fixture.Reader{s, tx} { // these have the number of what they belong to
		it, err := from.NewIterator(nil)
		fixture.Must(t, err)
		open = append(open, func() { fixture.Must(t, it.Close()) })
	}
	others := slices.DeleteFunc(d.Pins(), func(p db.Pin) bool { return p.Kind != "iterator" || p.Seq > before[1].Seq })
	if len(others) != 2 {
		t.Errorf("iterators of a snapshot and of a transaction: %+v", others)
	}
	if text, err := json.Marshal(before[0]); err != nil || !strings.HasPrefix(string(text), `{"kind":"snapshot","since":"`) {
		t.Errorf("%s, %v", text, err)
	}
	for i, closeIt := range open {
		closeIt()
		closeIt() // twice is harmless
		if got := kinds(t, d); len(got) != len(open)-i-1 {
			t.Errorf("%d of %d are closed, open is %v", i+1, len(open), got)
		}
	}
}

// TestPinsBehindClose: what outlives the database stays listed until it is closed.
func TestPinsBehindClose(t *testing.T) {
	dir := t.TempDir()
	for _, readOnly := range []bool{false, true} {
		d, err := db.Open(dir, &db.Options{ReadOnly: readOnly})
		fixture.Must(t, err)
		s, err := d.NewSnapshot()
		fixture.Must(t, err)
		it, err := s.NewIterator(nil)
		fixture.Must(t, err)
		it2, err := d.NewIterator(nil)
		fixture.Must(t, err)
		fixture.Must(t, it2.Close())
		for range 2 {
			if got := fmt.Sprint(kinds(t, d)); got != "[iterator snapshot]" {
				t.Errorf("read-only %v: %s", readOnly, got)
			}
			fixture.Must(t, d.Close())
		}
		if _, err := d.NewIterator(nil); !errors.Is(err, db.ErrClosed) {
			t.Errorf("NewIterator: %v", err)
		}
		fixture.Must(t, s.Close())
		it.Close()
		if got := kinds(t, d); len(got) != 0 {
			t.Errorf("read-only %v: %v", readOnly, got)
		}
	}
}

// TestClosedDatabaseIsGarbage: an iterator that somebody has forgotten keeps no database that was
// closed, and that nobody has any more.
func TestClosedDatabaseIsGarbage(t *testing.T) {
	d, err := db.Open("", &db.Options{InMemory: true})
	fixture.Must(t, err)
	for range 2 {
		it, err := d.NewIterator(nil)
		fixture.Must(t, err)
		it.First()
	}
	fixture.Must(t, d.Close())
	database := weak.Make(d)
	for d = nil; database.Value() != nil; {
		runtime.GC()
		runtime.Gosched()
	}
}

// TestWhereOfAForgottenIterator: also if others were opened and closed in the same moment.
func TestWhereOfAForgottenIterator(t *testing.T) {
	d := openMemory(t)
	for range 20 {
		for range 3 {
			it, err := d.NewIterator(nil)
			fixture.Must(t, err)
			fixture.Must(t, it.Close())
		}
		it, err := d.NewIterator(nil)
		fixture.Must(t, err)
		if where := d.Pins()[0].Where; !strings.Contains(where, "TestWhereOfAForgottenIterator") {
			t.Fatalf("it was opened at %q", where)
		}
		fixture.Must(t, it.Close())
	}
}

// TestIteratorsThatManyForget: of most iterators that are open at the same time it is known
// where they were opened.
func TestIteratorsThatManyForget(t *testing.T) {
	d := openMemory(t)
	const many = 2000
	forget := func() *db.Iterator {
		it, err := d.NewIterator(nil)
		fixture.Must(t, err)
		return it
	}
	var open []*db.Iterator
	for range many {
		open = append(open, forget())
	}
	known := 0
	for _, p := range d.Pins() {
		if strings.Contains(p.Where, "TestIteratorsThatManyForget") {
			known++
		}
	}
	if known < many/2 {
		t.Errorf("the place is known of %d iterators out of %d", known, many)
	}
	for _, it := range open {
		fixture.Must(t, it.Close())
	}
	if list := d.Pins(); len(list) > 0 {
		t.Errorf("%d are still listed", len(list))
	}
}

// TestWhatSnapshotsKeep compares what Pins says that a snapshot keeps with the room that comes
// back when it is closed.
func TestWhatSnapshotsKeep(t *testing.T) {
	const valueBytes = 100
	keys := 20_000
	if base.Invariants { // the race detector makes it slow
		keys = 5_000
	}
	key := func(i int) []byte { return fmt.Appendf(nil, "key%08d", i) }
	ctx := t.Context()
	write := func(from, to int) func(*db.DB) error {
		return func(d *db.DB) error {
			value := make([]byte, valueBytes)
			b := d.NewBatch()
			for i := from; i < to; i++ {
				for j := range value {
					value[j] = byte(rand.Uint32())
				}
				fixture.Must(t, b.Put(key(i), value))
			}
			return d.Apply(ctx, b)
		}
	}
	each := func(step int, add func(b *db.Batch, i int) error) func(*db.DB) error {
		return func(d *db.DB) error {
			b := d.NewBatch()
			for i := 0; i < keys; i += step {
				fixture.Must(t, add(b, i))
			}
			return d.Apply(ctx, b)
		}
	}
	var now atomic.Int64
	for name, change := range map[string]func(*db.DB) error{
		"nothing":           func(*db.DB) error { return nil },
		"other keys":        write(keys, 2*keys),
		"all overwritten":   write(0, keys),
		"a tenth":           write(keys/2, keys/2+keys/10),
		"all and others":    write(0, 2*keys),
		"a hundredth":       each(100, func(b *db.Batch, i int) error { return b.Put(key(i), make([]byte, valueBytes)) }),
		"all deleted":       each(1, func(b *db.Batch, i int) error { return b.Delete(key(i)) }),
		"operands":          each(1, func(b *db.Batch, i int) error { return b.Merge(key(i), []byte("more")) }),
		"values that ended": func(*db.DB) error { now.Add(1000); return nil },
		"a range deleted":   func(d *db.DB) error { return d.DeleteRange(key(keys/4), key(keys/2)) },
		"overwritten twice": func(d *db.DB) error { return errors.Join(write(0, keys)(d), d.Flush(ctx), write(0, keys)(d)) },
	} {
		for _, when := range []string{"in memory", "flushed", "merged"} {
			if base.Invariants && when == "flushed" { // the race detector makes it slow
				continue
			}
			t.Run(name+", "+when, func(t *testing.T) {
				d, err := db.Open("", &db.Options{
					InMemory: true, MemtableBytes: 64 << 20, Durability: db.NoSync, Compression: db.NoCompression,
					Merger: db.AppendBytes, Now: func() time.Time { return time.Unix(now.Load(), 0) },
				})
				fixture.Must(t, err)
				defer d.Close()
				fixture.Must(t, write(0, keys)(d))
				fixture.Must(t, each(10, func(b *db.Batch, i int) error {
					return b.PutUntil(append(key(i), '+'), make([]byte, valueBytes), time.Unix(now.Load()+500, 0))
				})(d))
				fixture.Must(t, d.Compact(ctx, nil, nil))
				s, err := d.NewSnapshot()
				fixture.Must(t, err)
				fixture.Must(t, change(d))
				switch when {
				case "flushed":
					fixture.Must(t, d.Flush(ctx))
				case "merged":
					fixture.Must(t, d.Compact(ctx, nil, nil))
				}
				said := d.Pins()[0].Bytes
				fixture.Must(t, d.Compact(ctx, nil, nil))
				m := d.Metrics()
				_, with := m.Tables()
				fixture.Must(t, s.Close())
				fixture.Must(t, d.Compact(ctx, nil, nil))
				m = d.Metrics()
				_, without := m.Tables()
				const slack = 8 << 10
				if freed := with - without; said > 2*freed+slack || said < freed/2-slack {
					t.Errorf("a snapshot is said to keep %d bytes, %d came back", said, freed)
				}
			})
		}
	}
}

// TestWhatSeveralSnapshotsKeep: each is told what it alone keeps.
func TestWhatSeveralSnapshotsKeep(t *testing.T) {
	d, err := db.Open("", &db.Options{InMemory: true, Durability: db.NoSync, Compression: db.NoCompression})
	fixture.Must(t, err)
	defer d.Close()
	ctx := t.Context()
	const keys, each = 500, 1000
	write := func() {
		for i := range keys {
			fixture.Must(t, d.Put(fmt.Appendf(nil, "%04d", i), make([]byte, each)))
		}
		fixture.Must(t, d.Flush(ctx))
	}
	var open []*db.Snapshot
	for _, n := range []int{1, 2, 0, 1} { // snapshots behind each round
		write()
		for range n {
			s, err := d.NewSnapshot()
			fixture.Must(t, err)
			open = append(open, s)
		}
	}
	check := func(want ...int64) {
		t.Helper()
		list := d.Pins()
		differs := len(list) != len(want)
		for i := 0; i < len(list) && !differs; i++ {
			differs = list[i].Bytes < want[i]*8/10 || list[i].Bytes > want[i]*12/10
		}
		if differs {
			t.Errorf("%+v, want %v bytes", list, want)
		}
	}
	const all = keys * each
	check(all, 0, 0, 0) // the next two see the same, and nothing is newer than the last
	fixture.Must(t, open[1].Close())
	check(all, all, 0)
	fixture.Must(t, open[0].Close())
	check(all, 0)
	write()
	check(all, all)
	fixture.Must(t, open[2].Close())
	check(all)
	fixture.Must(t, open[3].Close())
	check()
}

// visitor is somebody whose methods are called back.
type visitor struct{ d *db.DB }

func (v visitor) view(*db.Snapshot) error {
	if pins := v.d.Pins(); len(pins) != 1 || !strings.HasPrefix(pins[0].Where, "lsmdb/db_test.TestWhereMethodsAreCalled ") || !strings.Contains(pins[0].Where, "snapshot_test.go:") {
		return fmt.Errorf("%+v", pins)
	}
	return nil
}

func (v visitor) update(*db.Tx) error { return v.view(nil) }

// TestWhereMethodsAreCalled: a method value has no line of its own, so the pin names whoever
// calls View or Update with it.
func TestWhereMethodsAreCalled(t *testing.T) {
	d := openMemory(t)
	v := visitor{d}
	for range 2 {
		fixture.Must(t, d.View(v.view))
		fixture.Must(t, d.Update(t.Context(), v.update))
	}
}

// TestWhatIteratorsAndCheckpointsKeep: memtables and tables that nobody else needs.
func TestWhatIteratorsAndCheckpointsKeep(t *testing.T) {
	d := openMemory(t)
	ctx := t.Context()
	write := func() {
		for i := range 50 {
			fixture.Must(t, d.Put(fmt.Appendf(nil, "%04d", i), make([]byte, 100)))
		}
	}
	write()
	fixture.Must(t, d.Compact(ctx, nil, nil))
	m := d.Metrics()
	_, tables := m.Tables()
	c, err := d.NewCheckpoint(ctx)
	fixture.Must(t, err)
	write()
	memtable := d.Metrics().Memtable.ActiveBytes
	it, err := d.NewIterator(nil)
	fixture.Must(t, err)
	for _, p := range d.Pins() {
		if p.Bytes != 0 {
			t.Errorf("nothing is kept for %+v", p)
		}
	}
	fixture.Must(t, d.Flush(ctx))
	fixture.Must(t, d.Compact(ctx, nil, nil))
	list := d.Pins()
	if len(list) != 2 || list[0].Bytes != tables || list[1].Bytes < tables+memtable {
		t.Errorf("%+v; the checkpoint keeps %d bytes of tables, the iterator %d of a memtable besides", list, tables, memtable)
	}
	fixture.Must(t, it.Close())
	fixture.Must(t, c.Close())
}
