package db_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// The rules of the vocabulary, by their numbers, as far as no other test is about them
// alone: 3 and 19 are TestRangeDeleteGivesSpaceBack, TestEndedValuesGoByThemselves and
// TestHalfEndedTables in stages; 6, 8 to 12 are those of internal/tests/transactions and
// internal/tests/vocabulary; 18 and 21 are TestNowIsKept and TestMergerIsRecorded, 23
// TestReadyMergers, 24 TestPlaces in internal/tests/checkpoint, 28 TestLoad.

// places brings what is in memory somewhere.
var places = map[string]func(*db.DB) error{
	"in memory":     func(*db.DB) error { return nil },
	"in level 0":    func(d *db.DB) error { return d.Flush(context.Background()) },
	"at the bottom": func(d *db.DB) error { return d.Compact(context.Background(), nil, nil) },
}

// everywhere runs a test with all of these.
func everywhere(t *testing.T, test func(t *testing.T, move func(*db.DB))) {
	for name, move := range places {
		t.Run(name, func(t *testing.T) { test(t, func(d *db.DB) { t.Helper(); fixture.Must(t, move(d)) }) })
	}
}

func TestRule01And02EmptyEndsAndLongBounds(t *testing.T) {
	d, _ := inMemory(t, nil)
	k := d.Keyspace([]byte("k"))
	fixture.Must(t, k.Put(nil, []byte("v")))
	tx, err := d.Begin()
	fixture.Must(t, err)
	b, long := d.NewBatch(), make([]byte, db.MaxKeyBytes+1)
	for _, deletes := range []func(start, end []byte) error{
		func(start, end []byte) error { return d.DeleteRange(start, end) },
		func(start, end []byte) error { return k.DeleteRange(start, end) },
		b.DeleteRange, b.In(k).DeleteRange, tx.DeleteRange, tx.In(k).DeleteRange,
	} {
		fixture.Must(t, deletes(nil, []byte{}))
		fixture.Must(t, deletes([]byte("b"), []byte("a")))
		fixture.Must(t, deletes(long, long[:1])) // it deletes nothing, whatever the bounds
		fixture.WantErr(t, "a long start", deletes(long, nil), db.ErrKeyTooLarge)
	}
	if b.Len() != 0 {
		t.Errorf("%d operations for nothing", b.Len())
	}
	fixture.WantErr(t, "Apply", d.Apply(t.Context(), b), db.ErrKeyTooLarge)
	fixture.WantErr(t, "Commit", tx.Commit(t.Context()), db.ErrKeyTooLarge)
	expect(t, "after all of them", contents(t, d), "[k=v]")
}

func TestRule04OwnWritesAnswer(t *testing.T) {
	key := []byte("k")
	for what, c := range map[string]struct {
		do   func(tx *db.Tx) error
		read bool
	}{
		"Put":                  {do: func(tx *db.Tx) error { return tx.Put(key, nil) }},
		"PutUntil":             {do: func(tx *db.Tx) error { return tx.PutUntil(key, nil, time.Unix(9, 0)) }},
		"PutUntil, long ago":   {do: func(tx *db.Tx) error { return tx.PutUntil(key, nil, time.Unix(-9, 0)) }},
		"Delete":               {do: func(tx *db.Tx) error { return tx.Delete(key) }},
		"DeleteRange":          {do: func(tx *db.Tx) error { return tx.DeleteRange(key, nil) }},
		"DeleteRange, another": {do: func(tx *db.Tx) error { return tx.DeleteRange([]byte("ka"), nil) }, read: true},
		"Merge":                {do: func(tx *db.Tx) error { return tx.Merge(key, nil) }, read: true},
		"Merge and Delete":     {do: func(tx *db.Tx) error { return errors.Join(tx.Merge(key, nil), tx.Delete(key)) }},
		"Merge and DeleteRange": {do: func(tx *db.Tx) error {
			return errors.Join(tx.Merge(key, nil), tx.DeleteRange(nil, nil))
		}},
	} {
		d, _ := inMemory(t, db.AppendBytes)
		tx, err := d.Begin()
		fixture.Must(t, err)
		fixture.Must(t, c.do(tx))
		for _, err := range []error{second(tx.Get(key)), second(tx.Has(key)), second(tx.GetSize(key))} {
			if err != nil && !errors.Is(err, db.ErrNotFound) {
				t.Error(err)
			}
		}
		fixture.Must(t, d.Put(key, []byte("other")))
		if err := tx.Commit(t.Context()); errors.Is(err, db.ErrConflict) != c.read {
			t.Errorf("a read after %s: %v", what, err)
		}
	}
}

func TestRule05IteratorsOfTransactionsStay(t *testing.T) {
	d, _ := inMemory(t, db.AppendBytes)
	fixture.Must(t, d.Put([]byte("a"), []byte("1")))
	tx, err := d.Begin()
	fixture.Must(t, err)
	defer tx.Discard()
	fixture.Must(t, tx.Put([]byte("b"), []byte("2")))
	it, err := tx.NewIterator(nil)
	fixture.Must(t, err)
	defer it.Close()
	fixture.Must(t, tx.Put([]byte("c"), []byte("3")))
	fixture.Must(t, tx.Merge([]byte("a"), []byte("later")))
	fixture.Must(t, tx.DeleteRange(nil, nil))
	fixture.Must(t, tx.Put([]byte("aa"), make([]byte, 100_000)))
	var shown []string
	for k, v := range it.All() {
		shown = append(shown, fmt.Sprintf("%s=%s", k, v))
	}
	expect(t, "the iterator", fmt.Sprint(shown), "[a=1 b=2]")
}

// TestRule07WhichConflict: the same key and number, whoever finds the change: the Writer
// among the latest operations, or the transaction in memtables or tables.
func TestRule07WhichConflict(t *testing.T) {
	everywhere(t, func(t *testing.T, move func(*db.DB)) {
		for _, many := range []int{0, 100} {
			for what, c := range map[string]struct {
				read, change func(d *db.DB, tx *db.Tx) error
				key          string
			}{
				"a key in a keyspace": {
					func(d *db.DB, tx *db.Tx) error { return second(tx.In(d.Keyspace([]byte("p/"))).Has([]byte("k"))) },
					func(d *db.DB, _ *db.Tx) error { return d.Put([]byte("p/k"), nil) }, "p/k",
				},
				"a key, a range delete": {
					func(_ *db.DB, tx *db.Tx) error { return second(tx.Has([]byte("k"))) },
					func(d *db.DB, _ *db.Tx) error { return d.DeleteRange([]byte("a"), []byte("m")) }, "k",
				},
				"a walk, a range delete before": {walks("c", "x"), func(d *db.DB, _ *db.Tx) error { return d.DeleteRange([]byte("a"), []byte("m")) }, "c"},
				"a walk, a range delete within": {walks("c", "x"), func(d *db.DB, _ *db.Tx) error { return d.DeleteRange([]byte("d"), []byte("m")) }, "d"},
				"a walk, several":               {walks("c", "x"), func(d *db.DB, _ *db.Tx) error { return errors.Join(d.Put([]byte("b"), nil), d.Put([]byte("d"), nil)) }, "d"},
			} {
				d, _ := inMemory(t, nil)
				fixture.Must(t, d.Put([]byte("z"), nil))
				tx, err := d.Begin()
				fixture.Must(t, err)
				fixture.Must(t, tx.Put([]byte("own"), nil))
				fixture.Must(t, c.read(d, tx))
				fixture.Must(t, c.change(d, tx))
				seq := d.Metrics().Sequence
				for i := range many {
					fixture.Must(t, d.Put(fmt.Appendf(nil, "y%d", i), nil))
				}
				move(d)
				var conflict *db.ConflictError
				if err := tx.Commit(t.Context()); !errors.As(err, &conflict) || string(conflict.Key) != c.key || conflict.Seq != seq {
					t.Errorf("%s, %d writes later: %v, want %q at %d", what, many, err, c.key, seq)
				}
			}
		}
	})
}

// walks reads everything from lower to upper.
func walks(lower, upper string) func(*db.DB, *db.Tx) error {
	return func(_ *db.DB, tx *db.Tx) error {
		it, err := tx.NewIterator(&db.IterOptions{Lower: []byte(lower), Upper: []byte(upper)})
		if err != nil {
			return err
		}
		for it.Next() {
		}
		return it.Close()
	}
}

func TestRule13To15Views(t *testing.T) {
	var keys []string
	merger := &db.Merger{Name: "keys", Merge: func(dst, key, older, newer []byte) ([]byte, error) {
		keys = append(keys, string(key))
		return append(append(dst, older...), newer...), nil
	}}
	d, _ := inMemory(t, merger)
	a, b := d.Keyspace([]byte("a/")), d.Keyspace([]byte("b/"))
	batch := d.NewBatch()
	nested := batch.In(a).In(b)
	fixture.Must(t, nested.Put([]byte("x"), []byte("1")))
	fixture.Must(t, batch.In(a).Merge([]byte("x"), []byte("2")))
	if n := []int{batch.Len(), nested.Len(), batch.In(a).Len()}; !slices.Equal(n, []int{2, 2, 2}) || nested.Bytes() != batch.Bytes() {
		t.Errorf("lengths %v, %d and %d bytes", n, nested.Bytes(), batch.Bytes())
	}
	fixture.Must(t, d.Apply(t.Context(), nested))
	expect(t, "all", contents(t, d), "[a/x=2 b/x=1]")
	s, err := d.NewSnapshot()
	fixture.Must(t, err)
	defer s.Close()
	expect(t, "a nested snapshot", contents(t, s.In(a).In(b)), "[x=1]")
	if !slices.Contains(keys, "a/x") || slices.Contains(keys, "x") {
		t.Errorf("the merger got the keys %q", keys)
	}
	if nested.Reset(); batch.Len() != 0 {
		t.Errorf("%d operations after a view's Reset", batch.Len())
	}
}

func TestRule16And17WhenValuesEnd(t *testing.T) {
	key := []byte("k")
	at := func(n int64) time.Time { return time.Unix(0, n) }
	everywhere(t, func(t *testing.T, move func(*db.DB)) {
		for _, when := range []int64{1000, 1009, 1010, 1011} { // of the compaction
			d, clock := inMemory(t, db.AppendBytes)
			fixture.Must(t, d.Put(key, []byte("older")))
			fixture.Must(t, d.PutUntil(key, []byte("v"), at(1010)))
			clock.Store(when)
			move(d)
			fixture.Must(t, d.Merge(key, []byte("+")))
			move(d)
			fixture.Must(t, d.Merge(key, []byte("+")))
			it, err := d.NewIterator(nil)
			fixture.Must(t, err)
			if !it.First() || !it.Until().IsZero() {
				t.Errorf("merged onto a value that ends, it ends at %v", it.Until())
			}
			fixture.Must(t, it.Close())
			want := "[k=v++]"
			if when >= 1010 {
				want = "[k=++]"
			}
			expect(t, fmt.Sprint("at ", when), contents(t, d), want)
			clock.Store(1010)
			move(d)
			expect(t, "at its end", contents(t, d), "[k=++]")
			// One that ended before it was there shadows what is older, and one without an end stays.
			fixture.Must(t, d.PutUntil(key, []byte("past"), at(1)))
			move(d)
			expect(t, "after a past one", contents(t, d), "[]")
			fixture.Must(t, d.PutUntil(key, []byte("late"), time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)))
			clock.Store(1<<63 - 1)
			move(d)
			expect(t, "after 2262", contents(t, d), "[k=late]")
		}
	})
}

// TestRule20And22OperandsOnNothing: nil where there is no value, once; not where it is empty.
// A key whose operands cannot be merged stops a walk, and seeks lead past.
func TestRule20And22OperandsOnNothing(t *testing.T) {
	merger := &db.Merger{Name: "shows", Merge: func(dst, key, older, newer []byte) ([]byte, error) {
		if older == nil {
			dst = append(dst, "nil"...)
		}
		if string(newer) == "bad" {
			return nil, errors.New("bad")
		}
		return append(append(append(dst, older...), ','), newer...), nil
	}}
	everywhere(t, func(t *testing.T, move func(*db.DB)) {
		d, clock := inMemory(t, merger)
		below := map[string]func(key []byte) error{
			"1nothing": func([]byte) error { return nil },
			"2empty":   func(key []byte) error { return d.Put(key, nil) },
			"3ends":    func(key []byte) error { return d.PutUntil(key, nil, time.Unix(0, 2000)) },
			"4deleted": func(key []byte) error { return errors.Join(d.Put(key, []byte("v")), d.Delete(key)) },
			"5covered": func(key []byte) error {
				return errors.Join(d.Put(key, []byte("v")), d.DeleteRange(key, append(key, 0)))
			},
			"6ended": func(key []byte) error { return d.PutUntil(key, []byte("v"), time.Unix(0, 1)) },
		}
		for name, do := range below {
			fixture.Must(t, do([]byte(name)))
		}
		move(d)
		for name := range below {
			fixture.Must(t, d.Merge([]byte(name), []byte("a")))
		}
		move(d)
		expect(t, "one operand", contents(t, d), "[1nothing=nil,a 2empty=,a 3ends=,a 4deleted=nil,a 5covered=nil,a 6ended=nil,a]")
		for name := range below {
			fixture.Must(t, d.Merge([]byte(name), []byte("b")))
		}
		clock.Store(2000)
		move(d)
		expect(t, "two", contents(t, d), "[1nothing=nil,a,b 2empty=,a,b 3ends=nil,a,b 4deleted=nil,a,b 5covered=nil,a,b 6ended=nil,a,b]")

		fixture.Must(t, d.Merge([]byte("2empty"), []byte("bad")))
		move(d)
		it, err := d.NewIterator(nil)
		fixture.Must(t, err)
		defer it.Close()
		if !it.First() || it.Next() || it.Err() == nil || it.Next() || !it.SeekGE([]byte("2f")) || string(it.Key()) != "3ends" || it.Prev() || it.Err() == nil {
			t.Errorf("at %q: %v", it.Key(), it.Err())
		}
		if _, err := d.Get([]byte("2empty")); err == nil || errors.Is(err, db.ErrNotFound) {
			t.Errorf("Get: %v", err)
		}
	})
}

// TestRule25InstantOfCheckpoints: however often it is copied, and whatever was written since.
func TestRule25InstantOfCheckpoints(t *testing.T) {
	dir := t.TempDir()
	d, err := db.Open(filepath.Join(dir, "db"), nil)
	fixture.Must(t, err)
	defer d.Close()
	fixture.Must(t, d.Put([]byte("k"), []byte("then"), db.NoSync))
	c, err := d.NewCheckpoint(t.Context())
	fixture.Must(t, err)
	defer c.Close()
	copies := []string{filepath.Join(dir, "deep", "er", "0"), filepath.Join(dir, "1"), filepath.Join(dir, "2")}
	for i, copied := range copies {
		if i < 2 {
			fixture.Must(t, c.Link(copied))
		} else {
			var stream bytes.Buffer
			n, err := c.WriteTo(&stream)
			if fixture.Must(t, err); n != int64(stream.Len()) {
				t.Errorf("%d bytes are said to be %d", stream.Len(), n)
			}
			fixture.Must(t, db.Restore(t.Context(), &stream, copied))
		}
		again, err := db.Open(copied, &db.Options{MustExist: true})
		fixture.Must(t, err)
		expect(t, copied, contents(t, again), "[k=then]")
		fixture.Must(t, again.Put([]byte("k"), []byte("its own")))
		fixture.Must(t, again.Close())
		fixture.Must(t, d.Put([]byte("k"), fmt.Append(nil, i)))
		fixture.Must(t, d.Compact(t.Context(), nil, nil))
	}
	fixture.Must(t, c.Close())
	fixture.Must(t, c.Close())
}

func TestRule26NothingLiesBeside(t *testing.T) {
	for _, dir := range []string{"new", "a/b/new"} {
		root := t.TempDir()
		err := db.Restore(t.Context(), io.MultiReader(strings.NewReader("lsmdbckp"), strings.NewReader("x")), filepath.Join(root, dir))
		fixture.WantErr(t, "a short stream", err, db.ErrCorrupt)
		fixture.Must(t, filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				t.Errorf("%s is left", path)
			}
			return err
		}))
	}
}

// TestRule27InputOfLoads: it runs in the caller's goroutine, which may end in there.
func TestRule27InputOfLoads(t *testing.T) {
	d, _ := inMemory(t, nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = d.Load(t.Context(), func(yield func([]byte, []byte) bool) {
			yield([]byte("never"), nil)
			runtime.Goexit()
		})
	})
	wg.Wait()
	fixture.Must(t, d.Load(t.Context(), numbered("k", 2, "v")))
	expect(t, "after it", contents(t, d), "[k000000=v0 k000001=v1]")
	stops := func(yield func([]byte, []byte) bool) { // one that does not ask whether to stop
		for _, k := range []string{"b", "a", "c"} {
			if !yield([]byte(k), nil) {
				return
			}
		}
	}
	if err := d.Load(t.Context(), iter.Seq2[[]byte, []byte](stops)); err == nil || !strings.Contains(err.Error(), `"a" follows "b"`) {
		t.Error(err)
	}
}

// TestRule29And30SizesWithoutValues: neither Has, GetSize nor a walk over keys reads a value
// that lies alone, compressed or not.
func TestRule29And30SizesWithoutValues(t *testing.T) {
	for _, compression := range []db.Compression{db.Snappy, db.NoCompression, db.Zstd} {
		d, err := db.Open("", &db.Options{InMemory: true, Compression: compression, CacheBytes: -1, Now: func() time.Time { return time.Unix(1, 0) }})
		fixture.Must(t, err)
		const size = 1 << 20
		large := bytes.Repeat([]byte("0123456789abcdef"), size/16)
		until := time.Unix(99, 7)
		fixture.Must(t, d.Put([]byte("stays"), large))
		fixture.Must(t, d.PutUntil([]byte("ends"), large, until))
		fixture.Must(t, d.Compact(t.Context(), nil, nil))
		fixture.Must(t, second(d.Get([]byte("stays"))))
		before := d.Metrics().Reads
		for _, key := range []string{"stays", "ends"} {
			n, err := d.GetSize([]byte(key))
			there, failed := d.Has([]byte(key))
			if n != size || !there || err != nil || failed != nil {
				t.Errorf("%s: %d, %v, %v, %v", key, n, there, err, failed)
			}
		}
		it, err := d.NewIterator(&db.IterOptions{KeysOnly: true})
		fixture.Must(t, err)
		for key, value := range it.All() {
			if len(value) > 0 || it.Until().IsZero() != (string(key) == "stays") || string(key) == "ends" && !it.Until().Equal(until) {
				t.Errorf("%q: %d bytes until %v", key, len(value), it.Until())
			}
		}
		fixture.Must(t, it.Close())
		if read := d.Metrics().Reads.BytesRead - before.BytesRead; read > 20<<10 {
			t.Errorf("compression %d: %d bytes were read", compression, read)
		}
		fixture.Must(t, d.Close())
	}
}

// TestNilContexts: every call that waits refuses them, and nothing stays open.
func TestNilContexts(t *testing.T) {
	d, _ := inMemory(t, nil)
	var none context.Context
	tx, err := d.Begin()
	fixture.Must(t, err)
	fixture.Must(t, tx.Put([]byte("k"), nil))
	_, checkpoint := d.NewCheckpoint(none)
	_, submit := d.Submit(none, d.NewBatch())
	for what, err := range map[string]error{
		"Commit": tx.Commit(none), "Update": d.Update(none, func(*db.Tx) error { return errors.New("called") }),
		"Load": d.Load(none, numbered("k", 1, "")), "NewCheckpoint": checkpoint, "Submit": submit,
		"Drop": d.Keyspace(nil).Drop(none), "Apply": d.Apply(none, d.NewBatch()), "Compact": d.Compact(none, nil, nil),
		"Restore": db.Restore(none, strings.NewReader(""), t.TempDir()),
	} {
		if err == nil || !strings.Contains(err.Error(), "context is nil") {
			t.Errorf("%s: %v", what, err)
		}
	}
	fixture.WantErr(t, "a transaction whose Commit had no context", tx.Put(nil, nil), db.ErrClosed)
	if open := d.Metrics().Snapshot.Open; open != 0 {
		t.Errorf("%d snapshots are open", open)
	}
	expect(t, "after all of them", contents(t, d), "[]")
}
