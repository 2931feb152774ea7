package changes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// memory opens a database in memory.
func memory(t testing.TB, o db.Options) *db.DB {
	t.Helper()
	o.InMemory = true
	d, err := db.Open("", &o)
	fixture.Must(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

// must compares what was followed.
func must(t testing.TB, got []string, err error, want ...string) {
	t.Helper()
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %q\nwant     %q", err, got, want)
	}
}

// TestEveryKind: each kind of operation, by itself, in batches, transactions and keyspaces.
func TestEveryKind(t *testing.T) {
	ctx := guarded(t)
	d := memory(t, db.Options{Merger: db.AppendBytes, KeepChangesBytes: 1 << 30})
	until := time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	fixture.Must(t, d.Put([]byte("a"), []byte("1")))
	fixture.Must(t, d.PutUntil([]byte("b"), []byte("2"), until))
	fixture.Must(t, d.Delete([]byte("a")))
	fixture.Must(t, d.DeleteRange([]byte("b"), []byte("c")))
	fixture.Must(t, d.DeleteRange([]byte("x"), nil))
	fixture.Must(t, d.Merge([]byte("m"), []byte("3")))
	b := d.NewBatch()
	fixture.Must(t, errors.Join(b.Put([]byte("c"), nil), b.Delete([]byte("d")), b.Merge([]byte("e"), []byte("4"))))
	fixture.Must(t, d.Apply(ctx, b))
	fixture.Must(t, d.Update(ctx, func(tx *db.Tx) error { return errors.Join(tx.Put([]byte("f"), []byte("5")), tx.Delete([]byte("g"))) }))
	fixture.Must(t, d.Keyspace([]byte("space/")).Put([]byte("h"), []byte("6")))
	fixture.Must(t, d.Load(ctx, func(yield func(k, v []byte) bool) { _ = yield([]byte("i"), nil) && yield([]byte("k"), nil) }))
	got, err := follow(ctx, d, 0, 10)
	must(t, got, err,
		"1-1 a=1", fmt.Sprintf("2-2 b=2@%d", until.UnixNano()), "3-3 -a", `4-4 delete range["b","c")`, `5-5 delete range["x",nil)`, "6-6 m+3",
		"7-9 c= -d e+4", "10-11 f=5 -g", "12-12 space/h=6", `13-13 load["i","k\x00")`)
}

// TestAfter: one may begin anywhere, also inside a batch and beyond the newest.
func TestAfter(t *testing.T) {
	ctx := guarded(t)
	d := memory(t, db.Options{})
	batch := func(keys ...string) {
		b := d.NewBatch()
		for _, key := range keys {
			fixture.Must(t, b.Put([]byte(key), nil))
		}
		fixture.Must(t, d.Apply(ctx, b))
	}
	batch("a", "b", "c")
	batch("d", "e")
	batch("f")
	for after, want := range [][]string{
		0: {"1-3 a= b= c=", "4-5 d= e=", "6-6 f="}, 1: {"2-3 b= c=", "4-5 d= e=", "6-6 f="}, 2: {"3-3 c=", "4-5 d= e=", "6-6 f="},
		3: {"4-5 d= e=", "6-6 f="}, 4: {"5-5 e=", "6-6 f="}, 5: {"6-6 f="},
	} {
		got, err := follow(ctx, d, uint64(after), len(want))
		must(t, got, err, want...)
	}
	for _, after := range []uint64{6, 9, 14} {
		heard := make(chan []string, 1)
		go func() {
			got, err := follow(ctx, d, after, 1)
			heard <- append(got, fmt.Sprint(err))
		}()
		for n := d.Metrics().Sequence; n <= after; n++ { // of the last of these it has to hear
			batch("g")
		}
		if got := <-heard; !slices.Equal(got, []string{fmt.Sprintf("%d-%d g=", after+1, after+1), "<nil>"}) {
			t.Errorf("after %d: %q", after, got)
		}
	}
}

// TestEnds: what ends a loop is its last pair.
func TestEnds(t *testing.T) {
	ctx := guarded(t)
	d := memory(t, db.Options{})
	var none context.Context
	if _, err := follow(none, d, 0, 1); err == nil {
		t.Error("a context that is nil is accepted")
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	fixture.Must(t, d.Put([]byte("a"), nil))
	got, err := follow(ended, d, 0, 1)
	fixture.WantErr(t, "a context that has ended", err, context.Canceled)
	if got != nil {
		t.Errorf("it yields %q", got)
	}
	fixture.Must(t, d.Close())
	_, err = follow(ctx, d, 0, 1)
	fixture.WantErr(t, "a closed database", err, db.ErrClosed)

	m := fixture.NewMachine(vfstest.NewDisk())
	fixture.Must(t, m.OpenDB(t).Close())
	o := m.Options()
	o.ReadOnly = true
	d, err = db.Open(fixture.Dir, o)
	fixture.Must(t, err)
	defer d.Close()
	_, err = follow(ctx, d, 0, 1)
	fixture.WantErr(t, "a database that was opened read-only", err, db.ErrReadOnly)
}

// TestWaits: in a bubble it is certain that nothing more happens by itself.
func TestWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := memory(t, db.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var heard, other []string
		ended := make(chan error, 2)
		listen := func(ctx context.Context, to *[]string) {
			for c, err := range d.Changes(ctx, 0) {
				if err != nil {
					ended <- err
					return
				}
				*to = append(*to, fmt.Sprintf("%d-%d", c.First, c.Seq))
			}
		}
		go listen(ctx, &heard)
		go listen(t.Context(), &other)
		step := func(what string, do func() error, want ...string) {
			t.Helper()
			fixture.Must(t, do())
			synctest.Wait()
			if !slices.Equal(heard, want) {
				t.Errorf("%s: heard %q, want %q", what, heard, want)
			}
		}
		step("nothing", func() error { return nil })
		step("a write without a sync", func() error { return d.Put([]byte("a"), nil, db.NoSync) })
		step("a queued write", func() error { return d.Put([]byte("b"), nil, db.Queued) })
		step("a sync", func() error { return d.Sync(t.Context()) }, "1-1", "2-2")
		step("a write with a sync", func() error { return d.Put([]byte("c"), nil) }, "1-1", "2-2", "3-3")
		step("a write without", func() error { return d.Put([]byte("d"), nil, db.NoSync) }, "1-1", "2-2", "3-3")
		step("a flush", func() error { return d.Flush(t.Context()) }, "1-1", "2-2", "3-3", "4-4")
		load := func() error {
			return d.Load(t.Context(), func(yield func(k, v []byte) bool) { yield([]byte("e"), nil) })
		}
		step("a load, the newest of all", load, "1-1", "2-2", "3-3", "4-4", "5-5")
		step("another", load, "1-1", "2-2", "3-3", "4-4", "5-5", "6-6")
		if n := len(d.Pins()); n != 2 {
			t.Errorf("%d pins", n)
		}
		cancel()
		fixture.WantErr(t, "the end of the context", <-ended, context.Canceled)
		fixture.Must(t, d.Close())
		fixture.WantErr(t, "Close", <-ended, db.ErrClosed)
		if !slices.Equal(other, []string{"1-1", "2-2", "3-3", "4-4", "5-5", "6-6"}) {
			t.Errorf("the other loop heard %q", other)
		}
		synctest.Wait()
		if n := len(d.Pins()); n != 0 {
			t.Errorf("%d pins after the end", n)
		}
	})
}

// TestSegmentBorders: begun behind each number, in the middle of many segments, nothing is
// left out or told twice.
func TestSegmentBorders(t *testing.T) {
	ctx := guarded(t)
	m := fixture.NewMachine(vfstest.NewDisk())
	o := m.Options()
	o.KeepChangesBytes = 1 << 30
	d, err := db.Open(fixture.Dir, o)
	fixture.Must(t, err)
	defer d.Close()
	value := make([]byte, 3<<10)
	const writes = 60
	for n := range writes {
		fixture.Must(t, d.Put(fmt.Appendf(nil, "%03d", n), value))
	}
	fixture.Must(t, d.Flush(ctx))
	if n := d.Metrics().WAL.Rotations; n < 10 {
		t.Fatalf("%d rotations", n)
	}
	for after := range uint64(writes) {
		next := after
		for c, err := range d.Changes(ctx, after) {
			fixture.Must(t, err)
			if next++; c.First != next || c.Seq != next || string(c.Ops[0].Key) != fmt.Sprintf("%03d", next-1) {
				t.Fatalf("after %d: %d to %d, %s, instead of %d", after, c.First, c.Seq, c.Ops[0].Key, next)
			}
			if next == writes {
				break
			}
		}
	}
}

// TestLargeCommit has a segment of its own, among others.
func TestLargeCommit(t *testing.T) {
	ctx := guarded(t)
	m := fixture.NewMachine(vfstest.NewDisk())
	o := m.Options()
	o.KeepChangesBytes = 1 << 30
	d, err := db.Open(fixture.Dir, o)
	fixture.Must(t, err)
	defer d.Close()
	var want []string
	number := 0
	for round := range 3 {
		fixture.Must(t, d.Put([]byte("small"), nil, db.NoSync))
		number++
		want = append(want, fmt.Sprintf("%d-%d", number, number))
		b := d.NewBatch()
		for range 50 + round {
			fixture.Must(t, b.Put([]byte("large"), make([]byte, 1000)))
		}
		fixture.Must(t, d.Apply(ctx, b, db.NoSync))
		want = append(want, fmt.Sprintf("%d-%d", number+1, number+50+round))
		number += 50 + round
	}
	if n := d.Metrics().Writes.Large; n != 3 {
		t.Fatalf("%d commits were large", n)
	}
	got, err := follow(ctx, d, 0, len(want))
	for i := range got {
		got[i], _, _ = strings.Cut(got[i], " ")
	}
	must(t, got, err, want...)
}

// TestLoads are told between what was written before and after them, with the keys that they
// enclose, however many follow each other, also when the database is opened again.
func TestLoads(t *testing.T) {
	ctx := guarded(t)
	m := fixture.NewMachine(vfstest.NewDisk())
	o := m.Options()
	o.KeepChangesBytes = 1 << 30
	load := func(d *db.DB, first, last string) {
		t.Helper()
		fixture.Must(t, d.Load(ctx, func(yield func(k, v []byte) bool) { _ = yield([]byte(first), nil) && yield([]byte(last), nil) }))
	}
	want := []string{`1-1 load["a","b\x00")`}
	d, err := db.Open(fixture.Dir, o)
	fixture.Must(t, err)
	load(d, "a", "b")
	again := func() {
		t.Helper()
		for range 3 {
			got, err := follow(ctx, d, 0, len(want))
			must(t, got, err, want...)
			fixture.Must(t, d.Close())
			d, err = db.Open(fixture.Dir, o)
			fixture.Must(t, err)
		}
	}
	again()
	load(d, "b", "c")
	load(d, "c", "d")
	want = append(want, `2-2 load["b","c\x00")`, `3-3 load["c","d\x00")`)
	again()
	fixture.Must(t, d.Put([]byte("x"), nil))
	want = append(want, "4-4 x=")
	again()
	load(d, "d", "e")
	fixture.Must(t, d.Put([]byte("y"), nil))
	load(d, "f", "g")
	load(d, "h", "i")
	want = append(want, `5-5 load["d","e\x00")`, "6-6 y=", `7-7 load["f","g\x00")`, `8-8 load["h","i\x00")`)
	again()
	fixture.Must(t, d.Put([]byte("z"), nil))
	want = append(want, "9-9 z=")
	again()
	for after := range want {
		got, err := follow(ctx, d, uint64(after), len(want)-after)
		must(t, got, err, want[after:]...)
	}
	fixture.Must(t, d.Close())
}

// TestWhatIsHeld: a loop has one file open, and none when it is left; it is among the pins, with the
// place where it was begun.
func TestWhatIsHeld(t *testing.T) {
	ctx := guarded(t)
	m := fixture.NewMachine(vfstest.NewDisk())
	d := m.OpenDB(t)
	defer d.Close()
	for n := range 20 { // which fit into a memtable: no flush opens and closes files beside the loop
		fixture.Must(t, d.Put(fmt.Appendf(nil, "%03d", n), nil))
	}
	last := d.Metrics().Sequence
	open := m.OpenFiles()
	for c, err := range d.Changes(ctx, last-1) {
		fixture.Must(t, err)
		if got := m.OpenFiles(); got != open+1 {
			t.Errorf("%d files are open, %d before", got, open)
		}
		pins := d.Pins()
		if len(pins) != 1 || pins[0].Kind != "changes" || pins[0].Seq != c.Seq || !strings.Contains(pins[0].Where, "TestWhatIsHeld") || time.Since(pins[0].Since) > time.Hour {
			t.Errorf("pins: %+v", pins)
		}
		if got := d.Metrics().Changes.Loops; got != 1 {
			t.Errorf("%d loops", got)
		}
		break
	}
	if got := m.OpenFiles(); got != open {
		t.Errorf("%d files are open after the loop, %d before", got, open)
	}
	if pins := d.Pins(); len(pins) != 0 {
		t.Errorf("pins after the loop: %+v", pins)
	}
	func() {
		defer func() { _ = recover() }()
		for range d.Changes(ctx, last-1) {
			panic("in the loop")
		}
	}()
	if got, pins := m.OpenFiles(), d.Pins(); got != open || len(pins) != 0 {
		t.Errorf("after a panic in the loop %d files are open, %d before; pins: %+v", got, open, pins)
	}
}

// TestBytesStay: what a step yields is whole until the next one, though everything around it
// changes.
func TestBytesStay(t *testing.T) {
	ctx := guarded(t)
	d := memory(t, db.Options{MemtableBytes: 16 << 10})
	want := func(n int) []byte { return bytes.Repeat([]byte{byte('a' + n%26)}, 2000) }
	fixture.Must(t, d.Put([]byte("k"), want(0)))
	n := 0
	for c, err := range d.Changes(ctx, 0) {
		fixture.Must(t, err)
		value := c.Ops[0].Value
		if n++; n == 40 {
			break
		}
		fixture.Must(t, d.Put([]byte("k"), want(n)))
		if !bytes.Equal(value, want(n-1)) {
			t.Fatalf("change %d has changed", n)
		}
	}
}
