// Package vocabulary holds the tables of docs/vocabulary.md to the database: what each way
// of reading shows of a key, after each thing that can happen to it, wherever it lies.
package vocabulary

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"lsmdb/db"
)

// errOdd is what the merger below says of odd operands.
var errOdd = errors.New("odd")

// chain puts operands behind the value, and tells nothing from an empty value. It fails
// for the operand "!".
var chain = &db.Merger{Name: "chain", Merge: func(dst, _, older, newer []byte) ([]byte, error) {
	if bytes.Contains(newer, []byte("!")) || bytes.Contains(older, []byte("!")) {
		return nil, errOdd
	}
	if older == nil {
		older = []byte("nil")
	}
	return append(append(append(dst, older...), '+'), newer...), nil
}}

var (
	key   = []byte("k1") // in the keyspace k
	start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	end   = start.Add(time.Hour)
)

// clock is an Options.Now that a test sets.
type clock struct{ nanoseconds atomic.Int64 }

func (c *clock) now() time.Time       { return time.Unix(0, c.nanoseconds.Load()) }
func (c *clock) set(t time.Time)      { c.nanoseconds.Store(t.UnixNano()) }
func put(v string) func(*db.DB) error { return func(d *db.DB) error { return d.Put(key, []byte(v)) } }
func merge(o string) func(*db.DB) error {
	return func(d *db.DB) error { return d.Merge(key, []byte(o)) }
}
func putUntil(d *db.DB) error    { return d.PutUntil(key, []byte("v"), end) }
func remove(d *db.DB) error      { return d.Delete(key) }
func removeRange(d *db.DB) error { return d.DeleteRange([]byte("j"), []byte("l")) }
func load(d *db.DB) error {
	return d.Load(context.Background(), func(yield func(k, v []byte) bool) { yield(key, []byte("loaded")) })
}

// rows are those of the table "What reads show", and those of "What writes do".
var rows = []struct {
	name        string
	steps       []func(*db.DB) error
	value       string // before the end; "": there is none
	later       string // from the end on; "same": the same
	until       bool   // Until says when it ends
	unreadable  error
	presentOnly bool // Has is true all the same
}{
	{name: "nothing", later: "same"},
	{name: "Put", steps: steps(put("v")), value: "v", later: "same"},
	{name: "Put over Put", steps: steps(put("u"), put("v")), value: "v", later: "same"},
	{name: "Load", steps: steps(load), value: "loaded", later: "same"},
	{name: "Load over Put", steps: steps(put("v"), load), value: "loaded", later: "same"},
	{name: "Load over what ends", steps: steps(putUntil, load), value: "loaded", later: "same"},
	{name: "Load over operands", steps: steps(put("v"), merge("a"), load), value: "loaded", later: "same"},
	{name: "Merge onto Load", steps: steps(load, merge("a")), value: "loaded+a", later: "same"},
	{name: "PutUntil", steps: steps(putUntil), value: "v", until: true},
	{name: "PutUntil over Put", steps: steps(put("u"), putUntil), value: "v", until: true},
	{name: "Put over PutUntil", steps: steps(putUntil, put("w")), value: "w", later: "same"},
	{name: "PutUntil over operands", steps: steps(merge("a"), putUntil), value: "v", until: true},
	{name: "Delete", steps: steps(put("v"), remove), later: "same"},
	{name: "Delete of what ends", steps: steps(putUntil, remove), later: "same"},
	{name: "Delete of operands", steps: steps(merge("a"), remove), later: "same"},
	{name: "DeleteRange", steps: steps(put("v"), removeRange), later: "same"},
	{name: "DeleteRange of what ends", steps: steps(putUntil, removeRange), later: "same"},
	{name: "DeleteRange of operands", steps: steps(merge("a"), merge("b"), removeRange), later: "same"},
	{name: "Put behind DeleteRange", steps: steps(put("v"), removeRange, put("w")), value: "w", later: "same"},
	{name: "Merge onto nothing", steps: steps(merge("a")), value: "nil+a", later: "same"},
	{name: "Merge onto Put", steps: steps(put("v"), merge("a"), merge("b")), value: "v+a+b", later: "same"},
	{name: "Merge onto an empty value", steps: steps(put(""), merge("a")), value: "+a", later: "same"},
	{name: "Merge onto Delete", steps: steps(put("v"), remove, merge("a")), value: "nil+a", later: "same"},
	{name: "Merge onto DeleteRange", steps: steps(put("v"), removeRange, merge("a")), value: "nil+a", later: "same"},
	{name: "Merge onto what ends", steps: steps(putUntil, merge("a"), merge("b")), value: "v+a+b", later: "nil+a+b"},
	{name: "a failing merger", steps: steps(put("v"), merge("!")), unreadable: errOdd, presentOnly: true, later: "same"},
	{name: "Put over what failed", steps: steps(put("v"), merge("!"), put("w")), value: "w", later: "same"},
}

func steps(s ...func(*db.DB) error) []func(*db.DB) error { return s }

// places are where what happened may lie when it is read.
var places = map[string]func(*db.DB) error{
	"memtable":          func(*db.DB) error { return nil },
	"level 0":           func(d *db.DB) error { return d.Flush(context.Background()) },
	"the deepest level": func(d *db.DB) error { return d.Compact(context.Background(), nil, nil) },
}

func TestWhatReadsShow(t *testing.T) {
	for _, row := range rows {
		for place, move := range places {
			for _, each := range []bool{false, true} { // after all steps, or after each
				t.Run(fmt.Sprintf("%s/%s/%v", row.name, place, each), func(t *testing.T) {
					var c clock
					c.set(start)
					d, err := db.Open("", &db.Options{InMemory: true, MemtableBytes: 1 << 20, Merger: chain, Now: c.now})
					must(t, err)
					defer d.Close()
					for _, step := range row.steps {
						must(t, step(d))
						if each {
							must(t, move(d))
						}
					}
					must(t, move(d))
					snapshot, err := d.NewSnapshot()
					must(t, err)
					defer snapshot.Close()
					want := reading{value: row.value, until: row.until, err: row.unreadable, present: row.value != "" || row.presentOnly}
					wantAll(t, d, snapshot, want)

					c.set(end.Add(-1)) // still there
					wantAll(t, d, snapshot, want)
					c.set(end)
					later := want
					if row.later != "same" {
						later = reading{value: row.later, present: row.later != ""}
					}
					wantRead(t, "a snapshot of before the end", want, snapshot, key)
					must(t, move(d))
					wantRead(t, "a snapshot of before the end, moved", want, snapshot, key)
					snapshot.Close()
					must(t, move(d))
					now, err := d.NewSnapshot()
					must(t, err)
					defer now.Close()
					wantAll(t, d, now, later)
				})
			}
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// reading is what one way of reading should find.
type reading struct {
	value   string
	present bool
	until   bool
	err     error
}

// reader is what all of them have.
type reader interface {
	Get(key []byte) ([]byte, error)
	GetSize(key []byte) (int, error)
	Has(key []byte) (bool, error)
	NewIterator(o *db.IterOptions) (*db.Iterator, error)
}

// wantAll reads the key in every way.
func wantAll(t *testing.T, d *db.DB, s *db.Snapshot, want reading) {
	t.Helper()
	tx, err := d.Begin()
	must(t, err)
	defer tx.Discard()
	for name, r := range map[string]reader{"DB": d, "Snapshot": s, "Tx": tx, "Tx.Snapshot": tx.Snapshot()} {
		wantRead(t, name, want, r, key)
	}
	space := d.Keyspace(key[:1])
	for name, r := range map[string]reader{"Keyspace": space, "Snapshot.In": s.In(space), "Tx.In": tx.In(space)} {
		wantRead(t, name, want, r, key[1:])
	}
}

func wantRead(t *testing.T, name string, want reading, r reader, key []byte) {
	t.Helper()
	value, err := r.Get(key)
	size, sizeErr := r.GetSize(key)
	switch {
	case want.err != nil:
		if !errors.Is(err, want.err) || !errors.Is(sizeErr, want.err) {
			t.Errorf("%s: Get %q, %v, GetSize %v, want %v", name, value, err, sizeErr, want.err)
		}
	case !want.present:
		if !errors.Is(err, db.ErrNotFound) || !errors.Is(sizeErr, db.ErrNotFound) {
			t.Errorf("%s: Get %q, %v, GetSize %v, want nothing", name, value, err, sizeErr)
		}
	case err != nil || string(value) != want.value || sizeErr != nil || size != len(want.value):
		t.Errorf("%s: Get %q, %v, GetSize %d, %v, want %q", name, value, err, size, sizeErr, want.value)
	}
	if has, err := r.Has(key); err != nil || has != want.present {
		t.Errorf("%s: Has %v, %v, want %v", name, has, err, want.present)
	}
	for _, keysOnly := range []bool{false, true} {
		for _, backward := range []bool{false, true} {
			wantWalk(t, name, want, r, key, keysOnly, backward)
		}
	}
}

func wantWalk(t *testing.T, name string, want reading, r reader, key []byte, keysOnly, backward bool) {
	t.Helper()
	it, err := r.NewIterator(&db.IterOptions{KeysOnly: keysOnly})
	must(t, err)
	defer it.Close()
	stands := it.First()
	if backward {
		stands = it.Last()
	}
	how := fmt.Sprintf("%s: a walk with KeysOnly %v, backward %v", name, keysOnly, backward)
	if want.err != nil && !keysOnly {
		if stands || !errors.Is(it.Err(), want.err) {
			t.Errorf("%s stands: %v, %v, want %v", how, stands, it.Err(), want.err)
		}
		return
	}
	if stands != want.present {
		t.Errorf("%s stands: %v, %v, want %v", how, stands, it.Err(), want.present)
		return
	}
	if !stands {
		must(t, it.Err())
		return
	}
	shown := want.value
	if keysOnly {
		shown = ""
	}
	if string(it.Value()) != shown || !bytes.Equal(it.Key(), key) || it.Until().IsZero() == want.until || want.until && !it.Until().Equal(end) {
		t.Errorf("%s shows %q = %q until %v, want %q, until: %v", how, it.Key(), it.Value(), it.Until(), shown, want.until)
	}
}

// Without a merger, a key with operands is an error for whoever needs the value.
func TestReadsWithoutMerger(t *testing.T) {
	dir := t.TempDir()
	d, err := db.Open(dir, &db.Options{Merger: chain})
	must(t, err)
	must(t, d.Merge(key, []byte("a")))
	must(t, d.Put([]byte("other"), []byte("v")))
	must(t, d.Close())
	if _, err := db.Open(dir, &db.Options{Merger: db.SumInt64}); !errors.Is(err, db.ErrIncompatible) {
		t.Errorf("opened with another merger: %v", err)
	}
	d, err = db.Open(dir, nil)
	must(t, err)
	defer d.Close()
	_, getErr := d.Get(key)
	_, sizeErr := d.GetSize(key)
	_, hasErr := d.Has(key)
	for what, err := range map[string]error{"Get": getErr, "GetSize": sizeErr, "Has": hasErr, "Merge": d.Merge(key, nil)} {
		if !errors.Is(err, db.ErrNoMerger) {
			t.Errorf("%s: %v", what, err)
		}
	}
	it, err := d.NewIterator(nil)
	must(t, err)
	defer it.Close()
	if it.First() || !errors.Is(it.Err(), db.ErrNoMerger) {
		t.Errorf("a walk shows %q, %v", it.Key(), it.Err())
	}
	if !it.SeekGE([]byte("l")) || string(it.Key()) != "other" {
		t.Errorf("a seek leads to %q, %v", it.Key(), it.Err())
	}
	must(t, d.Put(key, []byte("mended")))
	if value, err := d.Get(key); err != nil || string(value) != "mended" {
		t.Errorf("mended: %q, %v", value, err)
	}
}
