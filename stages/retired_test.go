package stages

import (
	"testing"
	"unsafe"

	"lsmdb/internal/base"
	"lsmdb/manifest"
	"lsmdb/memtable"
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
	a.Publish(ReadState{Active: memtable.New(arenaBytes), Version: &manifest.Version{}}, 0)
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

func (a *arenas) rotate() { a.Published.rotate(a.newMemtable(arenaBytes)) }

// flush drops the oldest sealed memtable, as if its table were published.
func (a *arenas) flush() {
	s := a.State()
	a.advance(s.Version, s.Sealed[len(s.Sealed)-1])
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
	if value, ok, _ := readAt(reading.ReadState, 1, "key"); !ok || value != "value" {
		t.Errorf("reads %q, %v", value, ok)
	}
	reading.Leave()
	a.check("a reader who left", at, true)

	a = newArenas(t)
	reading = a.Enter()
	reading.Hold(1)
	reading.Leave()
	at = a.cycle()
	a.check("held", at, false)
	reading.Hold(-1)
	a.check("not held any more", at, true)

	a = newArenas(t)
	at = a.cycle()
	a.Published.rotate(a.newMemtable(arenaBytes + 1))
	a.check("after one that needed more room", at, true)
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

// TestForgottenReaders never release what they hold: others take the places that
// their memtables waited in.
func TestForgottenReaders(t *testing.T) {
	a := newArenas(t)
	for range 5 {
		reading := a.Enter()
		reading.Hold(1)
		reading.Leave()
		at := a.cycle()
		a.flushAll()
		a.check("forgotten", at, false)
		a.flushAll()
		if len(a.retired) > maxRetired {
			t.Fatalf("%d memtables wait", len(a.retired))
		}
	}
	places := make(map[*byte]bool)
	for range 20 {
		places[a.cycle()] = true
	}
	if len(places) > 3 {
		t.Errorf("%d arenas where three would do", len(places))
	}
}

func (a *arenas) flushAll() {
	for len(a.State().Sealed) > 0 {
		a.flush()
	}
}
