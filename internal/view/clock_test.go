package view

import (
	"math"
	"sync/atomic"
	"testing"
	"time"

	"lsmdb/internal/base"
	"lsmdb/manifest"
	"lsmdb/memtable"
	"lsmdb/sstable"
)

// expiringWorld has one value that ends at 1010.
func expiringWorld() (*writer, *int64) {
	w, clock := newWriter(), new(int64)
	*clock = 1000
	w.Clock = func() time.Time { return time.Unix(0, *clock) }
	put(w, base.Op{Kind: base.KindSetExpiring, Key: []byte("k"), Value: append(little(1010), "v"...)})
	return w, clock
}

func put(w *writer, op base.Op) {
	w.begin(1)
	w.seq++
	w.State().Active.Apply(op, w.seq)
	if op.Kind > base.KindDelete {
		w.Applied(op, w.seq, w.State().Active.Len())
	}
	if !op.Kind.Removes() {
		w.Fill(op.Key, op.Key)
	}
	w.Show(w.seq)
}

// TestTimeIsFixedAndNeverRunsBack: an iterator keeps the time of when it was made, a get
// looks at the clock, and what was gone once is gone for good.
func TestTimeIsFixedAndNeverRunsBack(t *testing.T) {
	w, clock := expiringWorld()
	get := func() bool {
		r := w.Enter()
		defer r.Leave()
		_, found, err := r.Get(At{Seq: w.Visible()}, []byte("k"))
		must(t, err)
		return found
	}
	before, instant := w.iterator(nil, nil), w.At()
	if *clock = 1009; !get() {
		t.Error("it is gone too soon")
	}
	if *clock = 1010; get() {
		t.Error("it does not end")
	}
	if *clock = 900; get() {
		t.Error("the clock ran back, and a value with it")
	}
	if !before.First() || before.Until() != 1010 {
		t.Error("an iterator's time goes on")
	}
	if it := w.Enter().NewIterator(instant, sstable.IteratorOptions{}, new(atomic.Bool)); !it.Last() || string(it.Value()) != "v" {
		t.Error("an instant's time goes on")
	}
	if after := w.iterator(nil, nil); after.First() {
		t.Error("an iterator sees what had ended")
	}
	if got := w.NotBefore(0); got != 1010 {
		t.Errorf("the latest time seen is %d", got)
	}
	if w.NotBefore(2000); w.Now() != 2000 {
		t.Error("a time that was recorded does not count")
	}
}

// TestClockIsAskedInNeedOnly: not before there is a value that may end, wherever it lies.
func TestClockIsAskedInNeedOnly(t *testing.T) {
	w, asked := newWriter(), 0
	w.Clock = func() time.Time { asked++; return time.Unix(0, 1000) }
	put(w, base.Op{Kind: base.KindSet, Key: []byte("a"), Value: []byte("v")})
	w.iterator(nil, nil).First()
	r := w.Enter()
	_, _, _ = r.Get(w.At(), []byte("a"))
	if asked != 0 {
		t.Errorf("asked %d times for nothing", asked)
	}
	own := memtable.New(1 << 12)
	own.Apply(base.Op{Kind: base.KindSetExpiring, Key: []byte("o"), Value: little(1000)}, OwnBase)
	it := r.Over(&[]*memtable.Memtable{own}).NewIterator(At{Seq: 1, Own: OwnBase}, sstable.IteratorOptions{}, new(atomic.Bool))
	if !it.First() || string(it.Key()) != "a" || it.Next() || asked == 0 {
		t.Errorf("an own value that has ended is shown; asked %d times", asked)
	}
	for _, state := range []*State{
		{Active: memtable.New(0), Sealed: []*memtable.Memtable{own}, Version: &manifest.Version{}},
		{Active: memtable.New(0), Version: &manifest.Version{Levels: [manifest.NumLevels][]*manifest.TableMeta{3: {tableWith(1)}}}},
		{Active: memtable.New(0), Version: &manifest.Version{Levels: [manifest.NumLevels][]*manifest.TableMeta{3: {tableWith(0)}}}},
	} {
		var p Published
		p.Publish(state, 1)
		if want := len(state.Sealed) > 0 || state.Version.Levels[3][0].Expiring > 0; p.expiring.Load() != want {
			t.Errorf("expiring is %v for %+v", !want, state)
		}
	}
}

func tableWith(expiring uint64) *manifest.TableMeta {
	m := &manifest.TableMeta{}
	m.Expiring = expiring
	return m
}

// TestGapsOfEndedValues: that values have ended is no gap for who reads at a time before.
func TestGapsOfEndedValues(t *testing.T) {
	w, clock := newWriter(), int64(1000)
	w.Clock = func() time.Time { return time.Unix(0, clock) }
	for i := range 200 {
		put(w, base.Op{Kind: base.KindSetExpiring, Key: []byte(number(i)), Value: little(1100)})
	}
	for _, op := range []base.Op{{Kind: base.KindDelete}, {Kind: base.KindRangeDelete, Value: []byte(number(110))}} {
		op.Key = []byte(number(100))
		put(w, op)
	}
	early := w.At()
	clock = 1200
	for range 4 {
		it := w.iterator(nil, nil)
		if it.First() || it.Last() {
			t.Fatalf("%q is shown, which has ended", it.Key())
		}
		must(t, it.Close())
	}
	it := w.iterator(nil, nil)
	it.First()
	if walked := it.inside.barren.walked; walked > worthNoting {
		t.Errorf("the gap is not skipped: %d", walked)
	}
	w.Fill([]byte(number(150)), []byte(number(150))) // as if it was put there
	for _, backward := range []bool{false, true} {
		it := w.Enter().NewIterator(early, sstable.IteratorOptions{}, new(atomic.Bool))
		ok, next, n := it.First(), it.Next, 0
		if backward {
			ok, next = it.Last(), it.Prev
		}
		for ; ok; ok = next() {
			n++
		}
		if n != 190 {
			t.Errorf("backward %v: %d of 190 values, which have not ended yet", backward, n)
		}
	}
}

// TestNanoseconds: what lies beyond the range is its end.
func TestNanoseconds(t *testing.T) {
	for _, c := range []struct {
		time time.Time
		want int64
	}{
		{time.Unix(5, 7), 5e9 + 7},
		{time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), math.MaxInt64},
		{time.Date(2262, 4, 12, 0, 0, 0, 0, time.UTC), math.MaxInt64},
		{time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC), math.MinInt64},
		{time.Time{}, math.MinInt64},
	} {
		if got := Nanoseconds(c.time); got != c.want {
			t.Errorf("%v: %d, want %d", c.time, got, c.want)
		}
	}
	var p Published
	p.Clock = func() time.Time { return time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) }
	if p.Now() == math.MaxInt64 {
		t.Error("the latest end of all comes")
	}
}
