package view

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/memtable"
	"lsmdb/sstable"
)

// deleted is a world with some keys in tables and memtables, and a range delete over
// most of them in the newest memtable.
func deleted(t *testing.T, keys int) *world {
	d := newWorld(t, rand.New(rand.NewPCG(1, 1)), 4)
	set := func(from, to int) {
		for i := from; i < to; i++ {
			d.apply(base.Op{Kind: base.KindSet, Key: []byte(number(i)), Value: []byte("v")})
		}
	}
	third := keys / 3
	set(0, third)
	set(keys-5, keys)
	d.flush(0)
	set(third, 2*third)
	d.w.Rotate(memtable.New(64 << 20))
	d.w.Rotate(memtable.New(64 << 20))
	set(2*third, keys-5)
	d.apply(base.Op{Kind: base.KindRangeDelete, Key: []byte(number(5)), Value: []byte(number(keys - 5))})
	return d
}

// TestWalksLeapOverRangeDeletes: what a range delete covers is not walked over, in tables
// and memtables, in the memtable that it lies in, and in both directions.
func TestWalksLeapOverRangeDeletes(t *testing.T) {
	const keys = 30_000
	d := deleted(t, keys)
	for range 2 {
		for _, backward := range []bool{false, true} {
			it := d.w.iterator(nil, nil)
			ok, next := it.SeekGE([]byte(number(3))), it.Next
			if backward {
				ok, next = it.SeekLT([]byte(number(keys-3))), it.Prev
			}
			want := []int{3, 4, keys - 5, keys - 4, keys - 3}
			if backward {
				want = []int{keys - 4, keys - 5, 4, 3}
			}
			for _, n := range want {
				if !ok || string(it.Key()) != number(n) {
					t.Fatalf("backward %v: %v %q, want %q", backward, ok, it.Key(), number(n))
				}
				if it.inside.barren.walked > 5*worthLeaping {
					t.Errorf("backward %v: walked past %d entries", backward, it.inside.barren.walked)
				}
				ok = next()
			}
			must(t, it.Close())
		}
	}
}

// TestOldSnapshotsDoNotLeap: who reads before a range delete sees all that it covers.
func TestOldSnapshotsDoNotLeap(t *testing.T) {
	const keys = 3000
	d := deleted(t, keys)
	at := At{Seq: d.w.Visible() - 1}
	it, n := d.w.Enter().NewIterator(at, sstable.IteratorOptions{}, new(atomic.Bool)), 0
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	must(t, it.Close())
	it = d.w.Enter().NewIterator(at, sstable.IteratorOptions{}, new(atomic.Bool))
	for ok := it.Last(); ok; ok = it.Prev() {
		n--
	}
	must(t, it.Close())
	if r := d.w.Enter(); n != 0 || it.Err() != nil {
		t.Errorf("%d more keys forward than backward", n)
	} else if _, found, err := r.Get(at, []byte(number(100))); !found || err != nil {
		t.Errorf("%v %v", found, err)
	} else {
		r.Leave()
	}
}

// TestPutsIntoARangeDelete: what is put into a range after it was deleted is shown, though
// the range counts as a gap.
func TestPutsIntoARangeDelete(t *testing.T) {
	d := deleted(t, 3000)
	for _, n := range []int{2500, 100, 1500, 5} {
		d.apply(base.Op{Kind: base.KindSet, Key: []byte(number(n)), Value: []byte("new")})
		it := d.w.iterator(nil, nil)
		if !it.SeekGE([]byte(number(5))) || string(it.Key()) != number(n) {
			t.Errorf("%q follows, want %q", it.Key(), number(n))
		}
		if !it.SeekLT([]byte(number(n+1))) || string(it.Key()) != number(n) {
			t.Errorf("%q precedes, want %q", it.Key(), number(n))
		}
		must(t, it.Close())
		d.apply(base.Op{Kind: base.KindDelete, Key: []byte(number(n))})
	}
}

// TestErrorsUnderRangeDeletes: a table that cannot be read ends a walk, whatever the other
// runs leap over; and one whose range deletes are not known lets nothing be shown.
func TestErrorsUnderRangeDeletes(t *testing.T) {
	for _, of := range []string{"range deletes", "entries"} {
		d := newWorld(t, rand.New(rand.NewPCG(1, 1)), 4)
		put := func(i int) {
			d.apply(base.Op{Kind: base.KindSet, Key: []byte(number(i)), Value: make([]byte, 100)})
		}
		for i := range 300 {
			put(i)
		}
		d.flush(2)
		d.apply(base.Op{Kind: base.KindRangeDelete, Key: []byte(number(100)), Value: []byte(number(200))})
		if of == "entries" {
			for i := 150; i < 300; i++ {
				put(i)
			}
		}
		d.flush(0)
		d.apply(base.Op{Kind: base.KindRangeDelete, Key: []byte(number(50)), Value: []byte(number(120))})
		damage(t, d, of == "entries")
		for _, backward := range []bool{false, true} {
			it := d.w.iterator(nil, nil)
			ok, next := it.First(), it.Next
			if backward {
				ok, next = it.Last(), it.Prev
			}
			for ; ok; ok = next() {
			}
			if it.Err() == nil {
				t.Errorf("%s damaged, backward %v: no error", of, backward)
			}
			it.Close()
		}
		r := d.w.Enter()
		if _, found, err := r.Get(At{Seq: d.w.Visible()}, []byte(number(155))); found || err == nil {
			t.Errorf("%s damaged: Get finds %v, %v", of, found, err)
		}
		r.Leave()
	}
}

// damage spoils the newest table of level 0: all of it, or its first data blocks.
func damage(t *testing.T, d *world, entries bool) {
	m := d.w.State().Version.Levels[0][0]
	path := base.TablePath(worldDir, m.Number)
	old, err := d.disk.Open(path)
	must(t, err)
	contents := make([]byte, m.SizeBytes)
	_, _ = old.ReadAt(contents, 0)
	spoilt := contents
	if entries {
		spoilt = contents[:len(contents)/2]
	}
	for i := range spoilt {
		spoilt[i] ^= 0x40
	}
	must(t, d.disk.Remove(path))
	file, err := d.disk.Create(path)
	must(t, err)
	_, err = file.WriteAt(contents, 0)
	must(t, err)
	must(t, m.Handle.Close())
	m.Handle = sstable.NewHandle(d.disk, path, sstable.ReaderOptions{SizeBytes: m.SizeBytes, Identity: m.Identity}, d.files)
}

// BenchmarkRangeDelete reads across a range delete over a million keys.
func BenchmarkRangeDelete(b *testing.B) {
	for _, where := range []string{"older runs", "same memtable"} {
		b.Run(where, func(b *testing.B) {
			w := newWriter()
			w.Rotate(memtable.New(256 << 20))
			for i := range 1_000_000 {
				w.write(base.KindSet, fmt.Sprintf("%08d", i))
			}
			if where == "older runs" {
				w.Rotate(memtable.New(1 << 20))
			}
			w.begin(1)
			w.seq++
			op := base.Op{Kind: base.KindRangeDelete, Key: []byte("00000100"), Value: []byte("00999900")}
			w.State().Active.Apply(op, w.seq)
			w.Applied(op, w.seq, w.State().Active.Len())
			w.Show(w.seq)
			for b.Loop() {
				it := w.iterator(nil, nil)
				if !it.SeekGE([]byte("00000100")) || string(it.Key()) != "00999900" || !it.Prev() || string(it.Key()) != "00000099" {
					b.Fatalf("%q", it.Key())
				}
				it.Close()
			}
		})
	}
}
