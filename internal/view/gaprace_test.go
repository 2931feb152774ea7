package view

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/sstable"
)

// TestGapIsNotProvenBesideAPut: a put that is on its way, and could not know of a gap that
// was listed behind its back, counts for all who see it.
func TestGapIsNotProvenBesideAPut(t *testing.T) {
	w := newWriter()
	for i := range 100 {
		w.write(base.KindSet, number(i))
		w.write(base.KindDelete, number(i))
	}
	w.write(base.KindSet, number(100))
	first := func() string {
		it := w.iterator(nil, nil)
		defer it.Close()
		it.First()
		return string(it.Key())
	}
	w.begin(1)
	w.insert(base.KindSet, number(50))
	for range 3 {
		if key := first(); key != number(100) {
			t.Fatalf("before it is shown, the put of %s brings %s", number(50), key)
		}
	}
	w.Show(w.seq)
	if key := first(); key != number(50) {
		t.Errorf("the first is %s, but %s was put", key, number(50))
	}
}

// played is a database whose Writer and readers take turns in one goroutine: each step of
// a group is one of its own, and readers may come between any two.
type played struct {
	t    *testing.T
	rng  *rand.Rand
	w    *writer
	keys []string // ascending

	versions map[string][]version // of each key, oldest first
	live     int
	walkers  []*walker
	skips    int // seen that a usable gap was listed
}

type version struct {
	seq base.Seq
	set bool
}

// walker is an iterator and where it has to stand.
type walker struct {
	it           *Iterator
	lower, upper []byte
	at           int // index in keys: -1 before the first, len(keys) behind the last
	nowhere      bool
}

func newPlayed(t *testing.T, seed uint64) *played {
	p := &played{t: t, rng: rand.New(rand.NewPCG(seed, 3)), w: newWriter(), versions: make(map[string][]version)}
	names := make(map[string]bool)
	for len(names) < 300 {
		var key strings.Builder
		for range p.rng.IntN(6) {
			key.WriteByte("\x00\x01ab"[p.rng.IntN(4)])
		}
		names[key.String()] = true
	}
	p.keys = slices.Sorted(maps.Keys(names))
	for _, key := range p.keys {
		p.versions[key] = append(p.versions[key], version{p.w.seq + 1, false})
		p.w.write(base.KindDelete, key)
	}
	return p
}

// there tells whether the key with an index has a value at seq.
func (p *played) there(i int, seq base.Seq) (set bool) {
	for _, v := range p.versions[p.keys[i]] {
		if v.seq <= seq {
			set = v.set
		}
	}
	return set
}

// group writes some operations, with turns of the readers between all steps.
func (p *played) group() {
	members := 1 + p.rng.IntN(3)
	operations := 0
	sizes := make([]int, members)
	for i := range sizes {
		sizes[i] = 1 + p.rng.IntN(3)
		operations += sizes[i]
	}
	p.w.begin(operations)
	for _, size := range sizes {
		for range size {
			p.turns()
			key, kind := p.keys[p.rng.IntN(len(p.keys))], base.KindDelete
			if p.live < 6 && p.rng.IntN(3) == 0 {
				kind = base.KindSet
			} else if p.rng.IntN(2) == 0 { // one that has a value
				for i := range p.keys {
					if p.there(i, p.w.seq) {
						key = p.keys[i]
					}
				}
			}
			i, _ := slices.BinarySearch(p.keys, key)
			before := p.there(i, p.w.seq)
			p.w.insert(kind, key)
			p.versions[key] = append(p.versions[key], version{p.w.seq, kind == base.KindSet})
			switch after := kind == base.KindSet; {
			case after && !before:
				p.live++
			case before && !after:
				p.live--
			}
		}
		p.turns()
		p.w.Show(p.w.seq)
		p.turns()
	}
}

// turns lets readers do something, or not.
func (p *played) turns() {
	for p.rng.IntN(3) > 0 && !p.t.Failed() {
		if len(p.walkers) < 4 {
			p.open()
		}
		i := p.rng.IntN(len(p.walkers))
		p.move(p.walkers[i])
		if p.rng.IntN(6) == 0 {
			must(p.t, p.walkers[i].it.Close())
			p.walkers = slices.Delete(p.walkers, i, i+1)
		}
		if list := p.w.gaps.list.Load(); list != nil && slices.ContainsFunc(*list, func(g gap) bool { return g.usable(&At{Seq: p.w.Visible()}) }) {
			p.skips++
		}
	}
}

// bound draws a key, or the one right behind it, or none.
func (p *played) bound() []byte {
	key := []byte(p.keys[p.rng.IntN(len(p.keys))])
	switch p.rng.IntN(6) {
	case 0:
		return append(key, 0)
	case 1:
		return key
	}
	return nil
}

// open opens an iterator: on what is visible, or on what was visible before.
func (p *played) open() {
	r := p.w.Enter()
	seq := p.w.Visible()
	if p.rng.IntN(4) == 0 {
		seq -= base.Seq(p.rng.IntN(min(30, int(seq))))
	}
	lower, upper := p.bound(), p.bound()
	it := r.NewIterator(At{Seq: seq}, sstable.IteratorOptions{Lower: lower, Upper: upper}, new(atomic.Bool))
	p.walkers = append(p.walkers, &walker{it: &it, lower: lower, upper: upper, nowhere: true})
}

// from returns the index of the first key with a value at or behind an index.
func (p *played) from(k *walker, i int) int {
	for ; i < len(p.keys); i++ {
		if k.upper != nil && p.keys[i] >= string(k.upper) {
			return len(p.keys)
		}
		if p.keys[i] >= string(k.lower) && p.there(i, k.it.at.Seq) {
			return i
		}
	}
	return i
}

// until returns the index of the last key with a value before an index.
func (p *played) until(k *walker, i int) int {
	for i--; i >= 0; i-- {
		if p.keys[i] < string(k.lower) {
			return -1
		}
		if (k.upper == nil || p.keys[i] < string(k.upper)) && p.there(i, k.it.at.Seq) {
			return i
		}
	}
	return i
}

// move makes one move and compares where it ends.
func (p *played) move(k *walker) {
	what, ok := p.rng.IntN(6), false
	target := []byte(p.keys[p.rng.IntN(len(p.keys))])
	if p.rng.IntN(3) == 0 {
		target = append(target, 0)
	}
	i, _ := slices.BinarySearch(p.keys, string(target))
	switch before := k.at; {
	case what == 0 || what == 4 && k.nowhere:
		k.at = p.from(k, 0)
	case what == 1 || what == 5 && k.nowhere:
		k.at = p.until(k, len(p.keys))
	case what == 2:
		k.at = p.from(k, i)
	case what == 3:
		k.at = p.until(k, i)
	case what == 4 && before < 0:
		k.at = p.from(k, 0)
	case what == 4 && before < len(p.keys):
		k.at = p.from(k, before+1)
	case what == 5 && before == len(p.keys):
		k.at = p.until(k, len(p.keys))
	case what == 5 && before >= 0:
		k.at = p.until(k, before)
	}
	k.nowhere = false
	ok = []func() bool{
		k.it.First, k.it.Last,
		func() bool { return k.it.SeekGE(target) }, func() bool { return k.it.SeekLT(target) },
		k.it.Next, k.it.Prev,
	}[what]()
	must(p.t, k.it.Err())
	want := k.at >= 0 && k.at < len(p.keys)
	if ok != want || ok && string(k.it.Key()) != p.keys[k.at] {
		p.t.Fatalf("move %d to %q at %d within [%q, %q) came to %v %q, want %v and index %d; visible is %d",
			what, target, k.it.at.Seq, k.lower, k.upper, ok, k.it.Key(), want, k.at, p.w.Visible())
	}
}

// TestGapsBetweenAllSteps has readers of all kinds come between any two steps of the
// Writer, and compares what each of their moves shows.
func TestGapsBetweenAllSteps(t *testing.T) {
	skips := 0
	for seed := range uint64(60) {
		p := newPlayed(t, seed)
		for range 60 {
			p.group()
			for range p.rng.IntN(4) { // pairs of walks prove gaps
				p.turns()
			}
		}
		for _, k := range p.walkers {
			must(t, k.it.Close())
		}
		skips += p.skips
	}
	if skips < 1000 {
		t.Errorf("readers had a gap to skip in %d moves only", skips)
	}
}

// TestGapOfUnknownAge: who walks before it is known which puts a gap may have missed does
// not prove it, but finds out; so the next one does.
func TestGapOfUnknownAge(t *testing.T) {
	w := newWriter()
	for i := range 100 {
		w.write(base.KindDelete, number(i))
	}
	w.gaps.list.Store(&[]gap{{keys: 100}})
	for _, want := range []bool{false, true} {
		it := w.iterator(nil, nil)
		it.First()
		must(t, it.Close())
		if got := (*w.gaps.list.Load())[0].proven != 0; got != want {
			t.Errorf("proven: %v, want %v", got, want)
		}
	}
}
