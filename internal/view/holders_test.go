package view

import (
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/memtable"
	"lsmdb/sstable"
)

// hold opens an iterator over what is visible.
func (a *arenas) hold() *Iterator {
	it := new(Iterator)
	a.Hold(it, 0, nil)
	it.Open(nil, &sstable.IteratorOptions{}, new(atomic.Bool))
	return it
}

// TestHoldersBesideChanges opens and closes iterators while the state is replaced all the time
// and others ask who is there. Whoever is open is listed, keeps its state, and nothing is left
// in the end.
func TestHoldersBesideChanges(t *testing.T) {
	a := newArenas(t)
	var done atomic.Bool
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for !done.Load() {
				it := a.hold()
				s := it.state
				runtime.Gosched()
				a.changing.Lock()
				a.reap()
				known := s == a.State()
				for _, p := range a.past {
					known = known || s == p
				}
				a.changing.Unlock()
				if !known {
					t.Error("the state that an iterator looks at is forgotten")
				}
				must(t, it.Close())
			}
		})
	}
	all.Go(func() {
		for !done.Load() {
			if n := len(a.Holders()); n > 3 {
				t.Errorf("%d iterators are listed", n)
			}
			runtime.Gosched()
		}
	})
	for range 3000 {
		a.write()
		a.rotate()
		a.flushAll()
		a.kept = nil
	}
	done.Store(true)
	all.Wait()
	if pinned := a.Pinned(); pinned != (Pinned{}) || len(a.past) > 0 || len(a.Holders()) > 0 {
		t.Errorf("%+v, %d states, %+v", pinned, len(a.past), a.Holders())
	}
}

// TestNobodyStaysWithAReplacedState: an iterator that has loaded a state which is replaced, and
// forgotten, before it is listed hears of that. Listed again, it leaves no trace there.
func TestNobodyStaysWithAReplacedState(t *testing.T) {
	a := newArenas(t)
	late := a.State()
	a.cycle()
	if len(a.past) != 0 {
		t.Fatalf("%d states are kept", len(a.past))
	}
	it := new(Iterator)
	it.inside = insides.Get().(*inside)
	it.inside.published = &a.Published
	if it.list(late, nil) {
		t.Error("the iterator stays with a state that was replaced")
	}
	a.Announce(a.seq)
	a.Show(a.seq)
	if !it.list(a.State(), nil) || it.state != a.State() || it.hold.seq != a.seq || len(a.Holders()) != 1 {
		t.Errorf("listed again: %+v, %+v", it.hold, a.Holders())
	}
	a.cycle()
	if len(a.past) == 0 || a.past[0] != it.state {
		t.Error("the state of an iterator is forgotten")
	}
	must(t, it.Close())
	if a.Pinned(); len(a.past) != 0 {
		t.Errorf("%d states are kept for nobody", len(a.past))
	}
}

// TestFewTellThatTheyLeave: of many iterators that keep a state, those that are closed first do
// not all tell that. The last one does, and the state is forgotten.
func TestFewTellThatTheyLeave(t *testing.T) {
	for _, backwards := range []bool{false, true} {
		a := newArenas(t)
		told := 0
		a.Unread = func() {
			told++
			a.Pinned()
		}
		var open []*Iterator
		for range 1000 {
			open = append(open, a.hold())
		}
		a.cycle()
		if len(a.past) == 0 {
			t.Fatal("nothing is kept")
		}
		if backwards {
			slices.Reverse(open)
		}
		for _, it := range open {
			must(t, it.Close())
		}
		if told == 0 || told > 200 || len(a.past) > 0 {
			t.Errorf("backwards %v: told %d times, %d states are kept", backwards, told, len(a.past))
		}
	}
}

// TestWatchOfOneThatLeaves: whoever has left before it could know that it was to tell keeps nothing.
func TestWatchOfOneThatLeaves(t *testing.T) {
	a := newArenas(t)
	it := a.hold()
	s, at := it.state, it.place
	if !s.watch(at, it) || s.watched.Load() != it {
		t.Error("an iterator that is open is not watched")
	}
	must(t, it.Close())
	if s.watch(at, it) {
		t.Error("an iterator that was closed keeps its state")
	}
}

// TestPlacesComeBack: the list does not grow with what was open once.
func TestPlacesComeBack(t *testing.T) {
	a := newArenas(t)
	count := func() int {
		places.mu.Lock()
		defer places.mu.Unlock()
		for i, p := range places.list {
			if p.index != i {
				t.Fatalf("place %d thinks that it is %d", i, p.index)
			}
		}
		return len(places.list)
	}
	var open []*Iterator
	for range 500 {
		open = append(open, a.hold())
	}
	most := count()
	if most < 500 {
		t.Errorf("%d places for 500 iterators", most)
	}
	for _, it := range open {
		must(t, it.Close())
	}
	open = nil
	for count() > most-400 {
		runtime.GC()
		runtime.Gosched()
	}
}

// TestWhere: the function, the file and the line.
func TestWhere(t *testing.T) {
	function := func() {}
	method := newArenas(t).cycle // stands on no line
	var through interface{ String() string } = new(strings.Builder)
	ofInterface, reflected := through.String, reflect.ValueOf(through).MethodByName("String").Interface().(func() string)
	for what, o := range map[string]Opened{
		"a call": {PC: Caller(1)}, "a function": {PC: PlaceOf(&function, 1)}, "a method value": {PC: PlaceOf(&method, 1)},
		"that of an interface": {PC: PlaceOf(&ofInterface, 1)}, "that of package reflect": {PC: PlaceOf(&reflected, 1)},
	} {
		if where := o.Where(); !strings.HasPrefix(where, "lsmdb/internal/view.TestWhere") || !strings.Contains(where, "holders_test.go:1") {
			t.Errorf("%s: %s", what, where)
		}
	}
	none := (func())(nil)
	for range 2 { // also what is remembered
		if pc := PlaceOf(&none, 1); pc != 0 {
			t.Errorf("no function begins at %#x", pc)
		}
		if outer := callerOf(&method); !strings.HasPrefix(Opened{PC: outer}.Where(), "lsmdb/internal/view.TestWhere ") {
			t.Errorf("a method value that somebody passes on: %s", Opened{PC: outer}.Where())
		}
	}
	if where := (Opened{}).Where(); where != "" {
		t.Errorf("nobody looked, and yet it was at %s", where)
	}
}

// callerOf asks for its caller's place.
func callerOf[F any](f *F) uintptr { return PlaceOf(f, 2) }

// TestKeptOfKinds: what counts as kept, entry by entry, in a memtable.
func TestKeptOfKinds(t *testing.T) {
	value := strings.Repeat("v", 1000)
	type op struct {
		seq  base.Seq
		kind base.Kind
	}
	set := func(seq base.Seq) op { return op{seq, base.KindSet} }
	remove := func(seq base.Seq) op { return op{seq, base.KindDelete} }
	clear := func(seq base.Seq) op { return op{seq, base.KindRangeDelete} }
	for name, c := range map[string]struct {
		ops  []op
		want []int64 // thousands of bytes for snapshots at 10 and 20
	}{
		"nothing newer":                 {[]op{set(1)}, []int64{0, 0}},
		"nothing older":                 {[]op{set(21)}, []int64{0, 0}},
		"the first snapshot's":          {[]op{set(1), set(11)}, []int64{1, 0}},
		"the second's":                  {[]op{set(11), set(21)}, []int64{0, 1}},
		"each has one":                  {[]op{set(1), set(11), set(21)}, []int64{1, 1}},
		"both see the same":             {[]op{set(1), set(21)}, []int64{0, 0}},
		"only the newest of each":       {[]op{set(1), set(2), set(11), set(12), set(21), set(22)}, []int64{1, 1}},
		"deleted":                       {[]op{set(1), remove(11)}, []int64{1, 0}},
		"a delete is little":            {[]op{remove(1), set(11)}, []int64{0, 0}},
		"a range delete":                {[]op{set(1), clear(11)}, []int64{1, 0}},
		"a range delete of both":        {[]op{set(1), clear(21)}, []int64{0, 0}},
		"a range delete long ago":       {[]op{set(1), clear(2), set(11)}, []int64{0, 0}},
		"overwritten before it":         {[]op{set(1), set(11), clear(12)}, []int64{1, 0}},
		"written again behind it":       {[]op{set(1), clear(11), set(12)}, []int64{1, 0}},
		"a range deleted twice":         {[]op{set(1), clear(11), clear(21)}, []int64{1, 0}},
		"overwritten, deleted twice":    {[]op{set(1), set(11), clear(12), clear(21)}, []int64{1, 0}},
		"deleted, written, deleted":     {[]op{set(1), clear(11), set(12), clear(21)}, []int64{1, 1}},
		"and again, and a range delete": {[]op{set(1), set(11), clear(21)}, []int64{1, 1}},
	} {
		a := newArenas(t)
		m := memtable.New(1 << 20)
		a.Rotate(m)
		for _, o := range c.ops {
			op := base.Op{Kind: o.kind, Key: []byte("key"), Value: []byte(value)}
			switch o.kind {
			case base.KindDelete:
				op.Value = nil
			case base.KindRangeDelete:
				op.Value = []byte("kez")
			}
			m.Apply(op, o.seq)
		}
		got := a.Kept([]At{{Seq: 10}, {Seq: 20}})
		for i := range got {
			got[i] = (got[i] + 100) / 1000
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if got := newArenas(t).Kept(nil); got != nil {
		t.Errorf("without snapshots %v", got)
	}
}
