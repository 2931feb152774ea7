// Package view is what a reader sees of a database: which memtables and tables there
// are (State), which version of a key counts at a sequence number (Get, Iterator), and
// when nobody looks at a memtable or a table any more (Published).
//
// It starts no goroutine. The Writer and the Keeper publish states; any number of
// readers look at them without waiting for anybody.
package view

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"lsmdb/internal/base"
	"lsmdb/manifest"
	"lsmdb/memtable"
)

// State is everything a reader searches, newest first: the active memtable, the
// sealed ones, the tree. It is immutable; only the active memtable still grows, and
// readers bound what they see of it by a sequence number.
type State struct {
	Active  *memtable.Memtable
	Sealed  []*memtable.Memtable // newest first
	Version *manifest.Version

	number  uint64                   // tells it from all other states of the process; 0: it was not published
	pin     Opened                   // of a state that Pin made
	moved   atomic.Bool              // a memtable lies in a file, or soon will
	watched atomic.Pointer[Iterator] // of those that keep it when it was replaced, the one that tells when it is closed; nil: each does
	held    atomic.Int64             // who looks at it for longer: pins, and others beside Iterators
	readers [base.Stripes]stripe
}

// states is how many states there were, of all databases.
var states atomic.Uint64

// Memtables returns all of them, newest first.
func (s *State) Memtables() []*memtable.Memtable {
	return append([]*memtable.Memtable{s.Active}, s.Sealed...)
}

// has reports whether a memtable belongs to it.
func (s *State) has(m *memtable.Memtable) bool { return s.Active == m || slices.Contains(s.Sealed, m) }

// Published is what readers see of the pipeline. They load the state first and
// the visible sequence number second: then the state holds every version that
// this number, or any later one, can ask for. (The other way round a compaction
// could remove a version between the two loads.) Should the memtable be rotated
// between the loads, the reader sees the instant of the rotation.
//
// It also knows who still looks at states that were replaced, so that the files and
// the memory which only they lead to can be given back in time, and not before.
type Published struct {
	state   atomic.Pointer[State]
	visible atomic.Uint64
	gaps    gaps

	expiring atomic.Bool  // a value may end, of those that are visible at a number that was read before
	seen     atomic.Int64 // the latest time that Now has returned

	announced atomic.Uint64 // newest write of which gaps may have heard: see Announce

	// Detoured is called when reads have spent as much on looking into many runs as
	// merging them would cost; Unread when nobody looks at some replaced state any more.
	// Both must not wait. They are set before the first reader comes; nil: nobody cares.
	Detoured, Unread func()

	// Merger merges operands, and Clock tells the time: nil is time.Now. They are set before
	// the first reader comes.
	Merger *base.Merger
	Clock  func() time.Time

	// Frugal says that memory of memtables is given back at once when nobody needs it, and
	// not kept for later ones. It is set before the first reader comes.
	Frugal bool

	// Remember is for tests: of each Iterator it is noted where it was opened, and one that nobody
	// has closed stays known after End. It is set before the first Iterator is opened.
	Remember bool

	// changing makes those who publish, the Writer and the Keeper, apply their change
	// to each other's latest result. Readers do not take it.
	changing sync.Mutex
	past     []*State                          // replaced, and perhaps still looked at; oldest first
	spare    []weak.Pointer[memtable.Memtable] // flushed, in no state any more: their arenas can be used again
	flushed  []*memtable.Memtable              // not in the current state any more, but in a past one; oldest first
}

// Publish starts with a state in which everything up to visible can be read.
func (p *Published) Publish(s *State, visible base.Seq) {
	ends := func(t *manifest.TableMeta) bool { return t.Expiring > 0 }
	p.expiring.Store(slices.ContainsFunc(s.Memtables(), (*memtable.Memtable).Expiring) ||
		slices.ContainsFunc(slices.Concat(s.Version.Levels[:]...), ends))
	s.number = states.Add(1)
	p.state.Store(s)
	p.visible.Store(uint64(visible))
	p.announced.Store(uint64(visible))
}

// State returns the current state, for whoever looks at no entry of a memtable and
// reads no table.
func (p *Published) State() *State { return p.state.Load() }

// Visible returns the sequence number of the newest visible write.
func (p *Published) Visible() base.Seq { return base.Seq(p.visible.Load()) }

// Show makes everything up to seq, which was announced, visible. Only the Writer calls it.
func (p *Published) Show(seq base.Seq) {
	if uint64(seq) > p.announced.Load() {
		panic("invariant: a group is shown that was not announced")
	}
	p.visible.Store(uint64(seq))
}

// replace publishes what the arguments make of the current state: nil leaves as it is.
// The caller has the mutex.
func (p *Published) replace(active *memtable.Memtable, sealed []*memtable.Memtable, v *manifest.Version) {
	before := p.state.Load()
	p.state.Store(&State{Active: active, Sealed: sealed, Version: v, number: states.Add(1)})
	p.past = append(p.past, before)
	p.reap()
}

// Rotate publishes active as the active memtable. The previous one becomes the
// newest sealed one, or is dropped where it holds nothing.
func (p *Published) Rotate(active *memtable.Memtable) {
	p.changing.Lock()
	defer p.changing.Unlock()
	s := p.state.Load()
	sealed := s.Sealed
	if !s.Active.Empty() {
		sealed = s.Memtables()
	}
	p.replace(active, sealed, s.Version)
}

// Advance publishes a version, and in the same instant drops the memtables whose
// entries it now holds; nil is none.
func (p *Published) Advance(v *manifest.Version, flushed ...*memtable.Memtable) {
	p.changing.Lock()
	defer p.changing.Unlock()
	s := p.state.Load()
	sealed := slices.DeleteFunc(slices.Clone(s.Sealed), func(m *memtable.Memtable) bool {
		drop := slices.Contains(flushed, m)
		if drop {
			m.Keep()
			p.flushed = append(p.flushed, m)
		}
		return drop
	})
	p.replace(s.Active, sealed, v)
}
