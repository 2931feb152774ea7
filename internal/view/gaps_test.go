package view

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/manifest"
	"lsmdb/memtable"
	"lsmdb/sstable"
)

// writer writes to a Published as the Writer does.
type writer struct {
	Published
	seq base.Seq
}

func newWriter() *writer {
	w := &writer{}
	w.Publish(&State{Active: memtable.New(64 << 20), Version: &manifest.Version{}}, 0)
	return w
}

// begin announces a group.
func (w *writer) begin(operations int) { w.Announce(w.seq + base.Seq(operations)) }

// insert makes one operation of a group part of the memtable, for nobody to see yet.
func (w *writer) insert(kind base.Kind, key string) {
	w.seq++
	w.State().Active.Insert([]byte(key), []byte(key), w.seq, kind)
	if kind == base.KindSet {
		w.Fill([]byte(key), []byte(key))
	}
}

func (w *writer) write(kind base.Kind, keys ...string) {
	w.begin(len(keys))
	for _, key := range keys {
		w.insert(kind, key)
	}
	w.Show(w.seq)
}

func (w *writer) iterator(lower, upper []byte) *Iterator {
	r := w.Enter()
	it := r.NewIterator(At{Seq: w.Visible()}, sstable.IteratorOptions{Lower: lower, Upper: upper}, new(atomic.Bool))
	return &it
}

func number(i int) string { return fmt.Sprintf("%06d", i) }

// TestQueueStaysFlat: however many elements were taken, the next one is found past a
// bounded number of deletes, at either end, beside a producer, and when it ran empty.
func TestQueueStaysFlat(t *testing.T) {
	const taken = 3000
	for _, how := range []string{"head", "tail", "producer", "runs empty"} {
		t.Run(how, func(t *testing.T) {
			w := newWriter()
			next := 0
			put := func() { w.write(base.KindSet, number(next)); next++ }
			if how != "runs empty" {
				for range taken + 10 {
					put()
				}
			}
			worst, first := 0, 0
			for i := range taken {
				if how == "producer" || how == "runs empty" {
					put()
				}
				it := w.iterator(nil, nil)
				want := first
				if how == "tail" {
					want = taken + 9 - i
					it.Last()
				} else {
					it.First()
				}
				if string(it.Key()) != number(want) {
					t.Fatalf("taking %d: found %q, want %q", i, it.Key(), number(want))
				}
				if i > 200 {
					worst = max(worst, it.inside.barren.walked)
				}
				key := string(it.Key())
				must(t, it.Close())
				w.write(base.KindDelete, key)
				first++
				if how == "runs empty" {
					it := w.iterator(nil, nil)
					if it.First() {
						t.Fatalf("an empty queue shows %q", it.Key())
					}
					must(t, it.Close())
				}
			}
			if worst > 3*worthNoting {
				t.Errorf("one of the last walked past %d deletes", worst)
			}
		})
	}
}

// TestScansSkipGaps: a scan of a range that was deleted walks past it twice, and not again.
func TestScansSkipGaps(t *testing.T) {
	w := newWriter()
	for i := range 5000 {
		w.write(base.KindSet, number(i))
	}
	for i := range 4000 {
		w.write(base.KindDelete, number(i+500))
	}
	for round := range 4 {
		for _, backward := range []bool{false, true} {
			it, count, walked := w.iterator(nil, nil), 0, 0
			move, ok := it.Next, it.First()
			if backward {
				move, ok = it.Prev, it.Last()
			}
			for ; ok; ok = move() {
				count++
				walked = max(walked, it.inside.barren.walked)
			}
			if count != 1000 || round > 1 && walked > 2*worthNoting {
				t.Errorf("round %d, backward %v: %d keys, %d deletes in a row", round, backward, count, walked)
			}
			must(t, it.Close())
		}
	}
}

// TestGapsHideNothing has a writer put and delete ever the same keys while readers walk
// over them in all ways. Each must see exactly what its sequence number sees.
func TestGapsHideNothing(t *testing.T) {
	const keys, writes, enough = 400, 20_000, 1000
	w := newWriter()
	var mu sync.Mutex
	history := make([][]base.Seq, keys) // of each key: numbers of its writes, puts odd in the list
	there := func(key int, seq base.Seq) bool {
		mu.Lock()
		defer mu.Unlock()
		n := 0
		for _, s := range history[key] {
			if s <= seq {
				n++
			}
		}
		return n%2 == 1
	}
	var done atomic.Bool
	var skipped atomic.Int64
	var wg sync.WaitGroup
	for reader := range uint64(3) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(reader, 7))
			for !done.Load() && !t.Failed() {
				it := w.iterator(nil, nil)
				seq := it.at.Seq
				for range 4 {
					from, shown, previous := rng.IntN(keys), 0, -1
					if rng.IntN(3) == 0 {
						from = 0
					}
					backward := rng.IntN(2) == 0
					ok := false
					if backward {
						ok = it.SeekLT([]byte(number(keys - from)))
						previous = keys - from
					} else {
						ok = it.SeekGE([]byte(number(from)))
						previous = from - 1
					}
					for ; shown < 5; shown++ {
						at := -1
						if ok {
							fmt.Sscanf(string(it.Key()), "%d", &at)
						} else if !backward {
							at = keys
						}
						between := [2]int{previous + 1, at}
						if backward {
							between = [2]int{at + 1, previous}
						}
						for key := between[0]; key < between[1]; key++ {
							if there(key, seq) {
								t.Errorf("at %d, %d was walked past, from %d, backward %v", seq, key, from, backward)
							}
						}
						if !ok {
							break
						}
						if !there(at, seq) {
							t.Errorf("at %d, %d was shown, which is deleted", seq, at)
						}
						previous = at
						if backward {
							ok = it.Prev()
						} else {
							ok = it.Next()
						}
					}
				}
				if list := w.gaps.list.Load(); list != nil {
					for _, g := range *list {
						if g.proven != 0 {
							skipped.Add(1)
						}
					}
				}
				it.Close()
				runtime.Gosched()
			}
		})
	}
	rng := rand.New(rand.NewPCG(1, 7))
	for n := 0; (n < writes || skipped.Load() < enough && n < 50*writes) && !t.Failed(); n++ {
		// Few keys have a value, and they move about: so gaps come and go.
		key := rng.IntN(keys)
		kind := base.KindSet
		mu.Lock()
		if len(history[key])%2 == 1 {
			kind = base.KindDelete
		} else if rng.IntN(keys) > 8 {
			mu.Unlock()
			if n%16 == 0 {
				runtime.Gosched()
			}
			continue
		}
		history[key] = append(history[key], w.seq+1)
		mu.Unlock()
		w.write(kind, number(key))
	}
	done.Store(true)
	wg.Wait()
	if skipped.Load() == 0 {
		t.Error("no reader ever had a gap to skip")
	}
}

// TestOldReadersDoNotSkip: a gap says nothing of before it was proven.
func TestOldReadersDoNotSkip(t *testing.T) {
	w := newWriter()
	for i := range 100 {
		w.write(base.KindSet, number(i))
	}
	old := w.iterator(nil, nil)
	for i := range 99 {
		w.write(base.KindDelete, number(i))
	}
	for range 3 {
		it := w.iterator(nil, nil)
		if it.First(); string(it.Key()) != number(99) {
			t.Fatalf("the first is %q", it.Key())
		}
		must(t, it.Close())
	}
	if list := w.gaps.list.Load(); list == nil || (*list)[0].proven == 0 {
		t.Fatal("there is no gap to skip")
	}
	n := 0
	for ok := old.First(); ok; ok = old.Next() {
		n++
	}
	if n != 100 {
		t.Errorf("an older iterator shows %d keys", n)
	}
	must(t, old.Close())
}

// TestOldReadersSpoilNoGaps: what an older iterator found empty, and is no longer, does not
// keep newer ones from noting what is empty now.
func TestOldReadersSpoilNoGaps(t *testing.T) {
	w := newWriter()
	for i := range 100 {
		w.write(base.KindDelete, number(i))
	}
	old := w.iterator(nil, nil)
	for i := range 3000 {
		w.write(base.KindSet, number(i))
	}
	for i := range 2000 {
		w.write(base.KindDelete, number(i))
	}
	if old.First() || old.Last() {
		t.Fatal("an older iterator shows something newer")
	}
	walked := 0
	for range 3 {
		it := w.iterator(nil, nil)
		if it.First(); string(it.Key()) != number(2000) {
			t.Fatalf("the first is %q", it.Key())
		}
		walked = it.inside.barren.walked
		must(t, it.Close())
	}
	if walked > worthNoting {
		t.Errorf("the last of three walked past %d deletes", walked)
	}
	must(t, old.Close())
}

// TestPartsOfGapsKnowTheTime: what is left of a gap, or was joined to one, counts for nobody
// who comes before the proof, nor for anybody whose time is before that of the proof.
func TestPartsOfGapsKnowTheTime(t *testing.T) {
	var p Published
	p.gaps.list.Store(&[]gap{{span: span{[]byte("a"), []byte("z")}, proven: 7, now: 9}})
	p.Fill([]byte("m"), []byte("n"))
	if part := (*p.gaps.list.Load())[0]; string(part.from) != "a" || string(part.to) != "m" {
		t.Fatalf("from %q to %q is left of the gap", part.from, part.to)
	}
	p.clear([]byte("m"), []byte("q"), 3, worthNoting)
	list := *p.gaps.list.Load()
	if len(list) != 1 || string(list[0].from) != "a" || string(list[0].to) != "q" {
		t.Fatalf("the gaps are %v", list)
	}
	for _, c := range []struct {
		at     At
		usable bool
	}{{At{Seq: 8, Now: 8}, false}, {At{Seq: 6, Now: 9}, false}, {At{Seq: 7, Now: 9}, true}} {
		if list[0].usable(&c.at) != c.usable {
			t.Errorf("at %+v usable is %v", c.at, !c.usable)
		}
	}
}

// TestFillLeavesNothingBehind: when a load has taken the last gap away, puts pay for
// none.
func TestFillLeavesNothingBehind(t *testing.T) {
	var p Published
	p.gaps.list.Store(&[]gap{{span: span{[]byte("b"), []byte("d")}, keys: 100}})
	p.Fill([]byte("d"), []byte("e"))
	if p.gaps.list.Load() == nil {
		t.Error("a gap beside the range is gone")
	}
	p.Fill([]byte("a"), []byte("b"))
	if p.gaps.list.Load() != nil {
		t.Error("no gap is left, but puts look for some")
	}
}
