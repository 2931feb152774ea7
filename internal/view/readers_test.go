package view

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"unsafe"

	"lsmdb/internal/base"
	"lsmdb/manifest"
	"lsmdb/memtable"
	"lsmdb/sstable"
)

// arenas drives rotations and flushes of a Published by hand.
type arenas struct {
	Published
	t    *testing.T
	seq  base.Seq
	kept []*memtable.Memtable // from the garbage collector, which might be faster
}

const arenaBytes = 10_000

func newArenas(t *testing.T) *arenas {
	a := &arenas{t: t}
	a.Publish(&State{Active: memtable.New(arenaBytes), Version: &manifest.Version{}}, 0)
	return a
}

// write puts the first entry into the active memtable. It returns where it lies:
// that tells the arena.
func (a *arenas) write() *byte {
	m := a.State().Active
	a.kept = append(a.kept, m)
	a.seq++
	m.Insert([]byte("key"), []byte("value"), a.seq, base.KindSet)
	it := m.NewIterator()
	it.First()
	return unsafe.SliceData(it.Key())
}

func (a *arenas) rotate() { a.Rotate(a.NewMemtable(arenaBytes)) }

// flush drops the oldest sealed memtable, as if its table were published.
func (a *arenas) flush() {
	s := a.State()
	a.Advance(s.Version, s.Sealed[len(s.Sealed)-1])
}

// cycle writes, rotates and flushes. It returns where the arena is.
func (a *arenas) cycle() *byte {
	at := a.write()
	a.rotate()
	a.flush()
	return at
}

// check demands that the next memtable is, or is not, in an arena.
func (a *arenas) check(what string, at *byte, want bool) {
	a.t.Helper()
	a.write() // or else the active one is not sealed
	a.rotate()
	if got := a.write() == at; got != want {
		a.t.Errorf("%s: used again: %v, want %v", what, got, want)
	}
}

func TestArenasComeBack(t *testing.T) {
	a := newArenas(t)
	places := make(map[*byte]bool)
	for range 20 {
		places[a.cycle()] = true
	}
	if len(places) != 2 {
		t.Errorf("%d arenas where two would do", len(places))
	}
}

func TestReadersKeepArenas(t *testing.T) {
	// Whoever may have loaded the state with the memtable delays its arena.
	a := newArenas(t)
	reading := a.Enter()
	at := a.cycle()
	a.check("a reader who is inside", at, false)
	a.check("a reader who still is", at, false)
	if value, ok, err := reading.Get(At{Seq: 1}, []byte("key")); !ok || string(value) != "value" {
		t.Errorf("reads %q, %v, %v", value, ok, err)
	}
	reading.Leave()
	a.check("a reader who left", at, true)

	a = newArenas(t)
	reading = a.Enter()
	it := reading.NewIterator(At{Seq: a.seq}, sstable.IteratorOptions{}, new(atomic.Bool))
	at = a.cycle()
	a.check("an iterator", at, false)
	must(t, it.Close())
	a.check("closed", at, true)

	a = newArenas(t)
	reading = a.Enter()
	at = a.write()
	a.Announce(a.seq)
	a.Show(a.seq)
	it = reading.NewIterator(At{Seq: a.seq}, sstable.IteratorOptions{}, new(atomic.Bool))
	it.First()
	shown := it.Value()
	must(t, it.Close()) // and what it showed stays readable
	a.rotate()
	a.flush()
	a.check("shown", at, true)
	if string(shown) != "value" {
		t.Errorf("what was shown reads %q", shown)
	}

	a = newArenas(t)
	at = a.cycle()
	a.Rotate(a.NewMemtable(arenaBytes + 1))
	a.check("after one that needed more room", at, true)
}

// TestNobodyEntersAReplacedState: who has loaded a state that is replaced before he is
// counted there turns back, and leaves no trace.
func TestNobodyEntersAReplacedState(t *testing.T) {
	a := newArenas(t)
	late, woken := a.State(), 0
	a.Unread = func() { woken++ }
	at := a.cycle()
	if _, ok := a.enter(late); ok || late.entered() || woken != 1 {
		t.Errorf("entered: %v, counted: %v, the Sweeper was woken %d times", ok, late.entered(), woken)
	}
	a.check("a reader who came too late", at, true)
	if reading, ok := a.enter(a.State()); !ok || !reading.State.entered() {
		t.Errorf("the current state was entered: %v", ok)
	}
}

// TestReadersInTurns has readers overlap: there is always one inside.
func TestReadersInTurns(t *testing.T) {
	a := newArenas(t)
	places := make(map[*byte]bool)
	reading := a.Enter()
	turn := func() {
		next := a.Enter()
		reading.Leave()
		reading = next
	}
	for range 20 {
		places[a.write()] = true
		turn()
		a.rotate()
		turn()
		a.flush()
		turn()
	}
	if len(places) > 3 {
		t.Errorf("%d arenas where three would do", len(places))
	}
}

// TestIteratorsOfManyStates: each keeps the memtables of its state and no others, and
// Pinned tells.
func TestIteratorsOfManyStates(t *testing.T) {
	a := newArenas(t)
	var open []Iterator
	for range 5 {
		a.write()
		open = append(open, a.Enter().NewIterator(At{Seq: a.seq}, sstable.IteratorOptions{}, new(atomic.Bool)))
		a.rotate()
		a.flushAll()
	}
	a.write()
	if got := a.Pinned(); got.Iterators != 5 || len(a.past) != 5 || got.MemtableBytes != 5*a.State().Active.UsedBytes() {
		t.Errorf("%+v", got)
	}
	for i := range open {
		must(t, open[i].Close())
		if got := a.Pinned(); len(a.past) != 4-i || len(a.flushed) != 4-i {
			t.Errorf("%d closed: %+v", i+1, got)
		}
	}
}

func (a *arenas) flushAll() {
	for len(a.State().Sealed) > 0 {
		a.flush()
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestCrowdOfReadersInTurns has many readers overlap, each for long, while others make the
// looks at who is inside many: states are reaped all the same, after a look or two for
// each reader, not for each of the others.
func TestCrowdOfReadersInTurns(t *testing.T) {
	const crowd = 40
	a := newArenas(t)
	unread, rng := 0, rand.New(rand.NewPCG(1, 1))
	a.Unread = func() { unread++; a.Pinned() }
	var inside []Reading
	for range crowd {
		inside = append(inside, a.Enter())
	}
	a.write()
	a.rotate()
	a.flush()
	for turn := range 4 * crowd {
		inside[0].Leave()
		inside = append(inside[1:], a.Enter())
		for range rng.IntN(4) {
			a.Pinned() // others look, too
		}
		for range rng.IntN(20) {
			enterElsewhere(a)
		}
		if turn > 3*crowd && len(a.past) > 0 {
			t.Fatalf("%d states are kept after %d turns of %d readers", len(a.past), turn, crowd)
		}
	}
	if unread > 2*crowd {
		t.Errorf("somebody was woken %d times", unread)
	}
}

// enterElsewhere is a short read in a stripe of its own.
func enterElsewhere(a *arenas) {
	r := Reading{State: a.State(), published: &a.Published}
	r.stripe = &r.readers[(base.Stripe()+1)%base.Stripes]
	r.stripe.count.Add(1)
	r.Leave()
}

// TestPin: a pin keeps tables, no memory, and tells when it ends.
func TestPin(t *testing.T) {
	a := newArenas(t)
	var told atomic.Int64
	a.Unread = func() { told.Add(1) }
	table := &manifest.TableMeta{Number: 1}
	table.SizeBytes, table.Entries, table.SmallestSeq, table.LargestSeq = 100, 1, 1, 1
	table.Smallest = base.AppendInternalKey(nil, []byte("key"), base.MakeTrailer(1, base.KindSet))
	table.Largest = table.Smallest
	with, err := (&manifest.Version{}).Apply(&manifest.Edit{Added: []manifest.AddedTable{{Level: 1, Meta: table}}})
	if err != nil {
		t.Fatal(err)
	}
	a.Advance(with)
	first, second := a.Pin(Opened{}), a.Pin(Opened{})
	if first.Version != with {
		t.Error("another version is pinned")
	}
	check := func(what string, needed bool, pins int, tableBytes int64) {
		t.Helper()
		got := a.Needed()(table)
		if pinned := a.Pinned(); got != needed || pinned != (Pinned{Pins: pins, TableBytes: tableBytes}) || len(a.past) != pins {
			t.Errorf("%s: needed %v, pinned %+v; want %v, %d pins of %d bytes", what, got, pinned, needed, pins, tableBytes)
		}
	}
	check("two pins of the current tree", true, 2, 0)
	at := a.cycle()
	a.Advance(&manifest.Version{})
	check("two pins", true, 2, 100)
	a.check("with pins", at, true)
	before := told.Load()
	a.Unpin(second)
	check("one pin", true, 1, 100)
	a.Unpin(first)
	check("no pin", false, 0, 0)
	if told.Load() != before+2 {
		t.Errorf("the Sweeper heard of %d ends", told.Load()-before)
	}
}

// TestEnd: when nobody comes any more, memory stays for those who are still here.
func TestEnd(t *testing.T) {
	a := newArenas(t)
	m := a.State().Active
	a.write()
	a.Announce(a.seq)
	a.Show(a.seq)
	it := a.Enter().NewIterator(At{Seq: a.seq}, sstable.IteratorOptions{}, new(atomic.Bool))
	a.End()
	if !it.First() || string(it.Value()) != "value" || m.Len() != 1 {
		t.Errorf("%v, %q", it.Err(), it.Value())
	}
	must(t, it.Close())
	a.End()
	if pinned := a.Pinned(); pinned != (Pinned{}) || len(a.past)+len(a.spare) > 0 {
		t.Errorf("%+v, %d states, %d spare", pinned, len(a.past), len(a.spare))
	}
	defer func() {
		if recover() == nil {
			t.Error("the memory is still there")
		}
	}()
	it2 := m.NewIterator()
	it2.First()
	it2.Key()
}
