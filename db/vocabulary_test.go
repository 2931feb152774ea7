package db_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// inMemory opens a database with a clock that the test sets, in nanoseconds since 1970.
func inMemory(t *testing.T, merger *db.Merger) (*db.DB, *atomic.Int64) {
	clock := new(atomic.Int64)
	clock.Store(1000)
	d, err := db.Open("", &db.Options{
		InMemory: true, MemtableBytes: 1 << 20, Durability: db.NoSync, Merger: merger, Now: func() time.Time { return time.Unix(0, clock.Load()) },
	})
	fixture.Must(t, err)
	t.Cleanup(func() { d.Close() })
	return d, clock
}

// contents shows all keys and values in both directions, which have to agree.
func contents(t *testing.T, from interface {
	NewIterator(*db.IterOptions) (*db.Iterator, error)
}) (shown string) {
	t.Helper()
	it, err := from.NewIterator(nil)
	fixture.Must(t, err)
	defer it.Close()
	var forward, backward []string
	for k, v := range it.All() {
		forward = append(forward, fmt.Sprintf("%s=%s", k, v))
	}
	fixture.Must(t, it.Err())
	for k, v := range it.Backward() {
		backward = append(backward, fmt.Sprintf("%s=%s", k, v))
	}
	fixture.Must(t, it.Err())
	if slices.Reverse(backward); !slices.Equal(forward, backward) {
		t.Errorf("%q forward, %q backward", forward, backward)
	}
	return fmt.Sprint(forward)
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

func TestDeleteRange(t *testing.T) {
	d, _ := inMemory(t, nil)
	for _, k := range []string{"a", "b", "c", "d", "\xff\xff"} {
		fixture.Must(t, d.Put([]byte(k), []byte("1")))
	}
	snapshot, err := d.NewSnapshot()
	fixture.Must(t, err)
	defer snapshot.Close()
	before := contents(t, d)
	for _, r := range [][2][]byte{{[]byte("c"), []byte("b")}, {[]byte("c"), []byte("c")}, {nil, {}}, {[]byte("a"), {}}} {
		fixture.Must(t, d.DeleteRange(r[0], r[1]))
		expect(t, "after an empty range", contents(t, d), before)
	}
	fixture.Must(t, d.DeleteRange([]byte("b"), []byte("d")))
	expect(t, "after [b, d)", contents(t, d), "[a=1 d=1 \xff\xff=1]")
	fixture.Must(t, d.Put([]byte("c"), []byte("2")))
	expect(t, "after a put", contents(t, d), "[a=1 c=2 d=1 \xff\xff=1]")
	b := d.NewBatch()
	fixture.Must(t, b.Put([]byte("b"), []byte("3")))
	fixture.Must(t, b.DeleteRange([]byte("b"), nil))
	fixture.Must(t, b.Put([]byte("e"), []byte("3")))
	fixture.Must(t, d.Apply(t.Context(), b))
	expect(t, "after a batch", contents(t, d), "[a=1 e=3]")
	fixture.Must(t, d.Flush(t.Context()))
	expect(t, "after a flush", contents(t, d), "[a=1 e=3]")
	expect(t, "a snapshot after a flush", contents(t, snapshot), before)
	start, end := db.PrefixRange([]byte("e\xff"))
	fixture.Must(t, d.DeleteRange(start, end))
	expect(t, "after another prefix", contents(t, d), "[a=1 e=3]")
	fixture.Must(t, d.DeleteRange(db.PrefixRange(nil)))
	expect(t, "after all", contents(t, d), "[]")
	expect(t, "a snapshot", contents(t, snapshot), before)
	long := make([]byte, db.MaxKeyBytes+1)
	for _, err := range []error{d.DeleteRange(long, nil), d.DeleteRange(nil, append(long, 1)), b.DeleteRange(nil, append(long, 1))} {
		if !errors.Is(err, db.ErrKeyTooLarge) {
			t.Errorf("a bound that is too long: %v", err)
		}
	}
	fixture.Must(t, d.Close())
	if err := d.DeleteRange([]byte("b"), []byte("a")); !errors.Is(err, db.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestPutUntil(t *testing.T) {
	d, clock := inMemory(t, db.AppendBytes)
	at := func(n int64) time.Time { return time.Unix(0, n) }
	k := []byte("k")
	fixture.Must(t, d.Put(k, []byte("old")))
	fixture.Must(t, d.PutUntil(k, []byte("v"), at(1010)))
	snapshot, err := d.NewSnapshot()
	fixture.Must(t, err)
	defer snapshot.Close()
	it, err := d.NewIterator(&db.IterOptions{KeysOnly: true})
	fixture.Must(t, err)
	defer it.Close()
	clock.Store(1009)
	expect(t, "just before its end", contents(t, d), "[k=v]")
	clock.Store(1010)
	expect(t, "at its end", contents(t, d), "[]")
	if _, err := d.Get(k); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	if _, err := d.GetSize(k); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("GetSize: %v", err)
	}
	if ok, err := d.Has(k); ok || err != nil {
		t.Errorf("Has: %v, %v", ok, err)
	}
	clock.Store(900) // it counts as standing still
	expect(t, "when the clock ran back", contents(t, d), "[]")
	expect(t, "a snapshot", contents(t, snapshot), "[k=v]")
	if n, err := snapshot.GetSize(k); n != 1 || err != nil {
		t.Errorf("size in a snapshot: %d, %v", n, err)
	}
	if !it.First() || !it.Until().Equal(at(1010)) || len(it.Value()) != 0 || it.Next() || !it.Until().IsZero() {
		t.Error("an iterator with KeysOnly does not tell when the value ends")
	}
	for _, c := range []struct {
		until time.Time
		want  string
	}{
		{time.Time{}, "[k=v]"}, {time.Date(5000, 1, 1, 0, 0, 0, 0, time.UTC), "[k=v]"},
		{at(5), "[]"}, {time.Date(1500, 1, 1, 0, 0, 0, 0, time.UTC), "[]"},
	} {
		fixture.Must(t, d.PutUntil(k, []byte("v"), c.until))
		expect(t, c.until.String(), contents(t, d), c.want)
	}
	// Several in one batch, and operands on them: these stay.
	b := d.NewBatch()
	for i, key := range []string{"x", "y", "z"} {
		fixture.Must(t, b.PutUntil([]byte(key), []byte("v"), at(int64(2001+i))))
	}
	fixture.Must(t, b.Merge([]byte("y"), []byte("+")))
	fixture.Must(t, d.Apply(t.Context(), b))
	for _, want := range []string{"[x=v y=v+ z=v]", "[y=v+ z=v]", "[y=+ z=v]", "[y=+]"} {
		clock.Store(max(clock.Load(), 1999) + 1)
		expect(t, fmt.Sprint(clock.Load()), contents(t, d), want)
	}
}

func TestMerge(t *testing.T) {
	d, _ := inMemory(t, db.SumInt64)
	eight := func(n int64) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(n)) }
	k, bad := []byte("k"), []byte("bad")
	for _, n := range []int64{5, -7, 3} {
		fixture.Must(t, d.Merge(k, eight(n)))
	}
	value, err := d.Get(k)
	if err != nil || !bytes.Equal(value, eight(1)) {
		t.Errorf("%v, %v", value, err)
	}
	if n, err := d.GetSize(k); n != 8 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	fixture.Must(t, d.Merge(bad, []byte("short")))
	fixture.Must(t, d.Put([]byte("z"), eight(1)))
	if _, err := d.Get(bad); err == nil || errors.Is(err, db.ErrNotFound) {
		t.Errorf("an operand of five bytes: %v", err)
	}
	it, err := d.NewIterator(nil)
	fixture.Must(t, err)
	defer it.Close()
	if it.First() || it.Err() == nil || it.Next() || it.Err() == nil {
		t.Errorf("a walk goes on from what fails: %q", it.Key())
	}
	if !it.SeekGE([]byte("bae")) || string(it.Key()) != "k" || it.Prev() || it.Err() == nil {
		t.Errorf("%q, %v", it.Key(), it.Err())
	}
	fixture.Must(t, d.Put(bad, eight(0)))
	fixture.Must(t, d.Merge(bad, eight(4)))
	if value, err := d.Get(bad); err != nil || !bytes.Equal(value, eight(4)) {
		t.Errorf("%v, %v", value, err)
	}
}

func TestMergeWithoutMerger(t *testing.T) {
	d, _ := inMemory(t, nil)
	if err := d.Merge([]byte("k"), nil); !errors.Is(err, db.ErrNoMerger) {
		t.Error(err)
	}
	b := d.NewBatch()
	fixture.Must(t, b.Merge([]byte("k"), nil))
	if err := d.Apply(t.Context(), b); !errors.Is(err, db.ErrNoMerger) {
		t.Error(err)
	}
	if _, err := d.Submit(t.Context(), b); !errors.Is(err, db.ErrNoMerger) {
		t.Error(err)
	}
	b.Reset()
	fixture.Must(t, b.Put([]byte("k"), nil))
	fixture.Must(t, d.Apply(t.Context(), b))
	expect(t, "after a reset", contents(t, d), "[k=]")
}

// TestReadyMergers: what they make of nothing, of an empty value, and of others.
func TestReadyMergers(t *testing.T) {
	for _, c := range []struct {
		merger       *db.Merger
		older, newer string
		none         bool
		want         string
	}{
		{db.MaxBytes, "b", "ab", false, "b"}, {db.MaxBytes, "a", "ab", false, "ab"}, {db.MaxBytes, "", "a", true, "a"},
		{db.AppendBytes, "b", "a", false, "ba"}, {db.AppendBytes, "", "a", true, "a"}, {db.AppendBytes, "", "", true, ""},
		{db.SumInt64, "\x01\x00\x00\x00\x00\x00\x00\x00", "\xff\xff\xff\xff\xff\xff\xff\xff", false, "\x00\x00\x00\x00\x00\x00\x00\x00"},
		{db.SumInt64, "", "\x02\x00\x00\x00\x00\x00\x00\x00", true, "\x02\x00\x00\x00\x00\x00\x00\x00"},
		{db.SumInt64, "", "\x02\x00\x00\x00\x00\x00\x00\x00", false, "error"},
		{db.SumInt64, "", "1", true, "error"},
	} {
		older := []byte(c.older)
		if c.none {
			older = nil
		}
		got, err := c.merger.Merge([]byte("dst:"), nil, older, []byte(c.newer))
		if want := "dst:" + c.want; c.want == "error" && err == nil || c.want != "error" && (err != nil || string(got) != want) {
			t.Errorf("%s of %q and %q: %q, %v", c.merger.Name, c.older, c.newer, got, err)
		}
	}
	for _, bad := range []*db.Merger{{Name: "x"}, {Merge: db.MaxBytes.Merge}} {
		if d, err := db.Open("", &db.Options{InMemory: true, Merger: bad}); err == nil {
			d.Close()
			t.Errorf("%+v is accepted", bad)
		}
	}
}
