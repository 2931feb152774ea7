package view

import (
	"math"
	"slices"
	"sync/atomic"
	"weak"

	"lsmdb/internal/base"
	"lsmdb/manifest"
	"lsmdb/memtable"
)

// Readers are not counted for each state, because they would meet at the counter. They
// enter a stripe and then load the state. So when a stripe is found empty after a state
// was replaced, all who were in it have left, and all who enter it later find a newer
// state. Iterators, who look longer, hold the state before they leave.

// maxSpare is how many arenas wait to be used again: the Flusher may get ahead by so
// many. The garbage collector may be faster: no database that is idle keeps memory for
// that.
const maxSpare = 2

// phases is how many stripes of readers there are for each of base.Stripes. While
// they enter one phase, those in the other become fewer: so it is found empty where
// readers come and go all the time. Not before it is, they enter that one again.
const phases = 2

// readers counts who is inside, by stripes.
type readers struct {
	phase   atomic.Uint32 // first stripe of those to enter
	awaited atomic.Uint64 // a bit for each stripe that is to become empty before the next look is worth it
	inside  [phases * base.Stripes]struct {
		_     [base.StripeBytes - 8]byte
		count atomic.Int64
	}
}

// Reading is a state that may be looked at until Leave; longer only if it is held.
type Reading struct {
	*State
	published *Published
	stripe    uint32
	own       *[]*memtable.Memtable // see Over
}

// Enter returns the current state, to look into it. It costs two atomic additions,
// with Leave, on a counter that few goroutines share.
func (p *Published) Enter() Reading {
	stripe := p.readers.phase.Load() + base.Stripe()
	p.readers.inside[stripe].count.Add(1)
	return Reading{p.state.Load(), p, stripe, &nothingOwn}
}

// Leave ends what Enter began.
func (r Reading) Leave() { r.published.left(r.stripe) }

func (p *Published) left(stripe uint32) {
	if p.readers.inside[stripe].count.Add(-1) == 0 && p.readers.awaited.Load()>>stripe&1 != 0 {
		p.unread()
	}
}

// hold keeps a state that was entered beyond Leave, until release.
func (s *State) hold() { s.held.Add(1) }

// release ends what hold began.
func (p *Published) release(s *State) {
	if s.held.Add(-1) == 0 && s != p.state.Load() {
		p.unread()
	}
}

func (p *Published) unread() {
	if p.Unread != nil {
		p.Unread()
	}
}

// reap drops the past states that nobody looks at any more. The caller has the mutex.
func (p *Published) reap() {
	r := &p.readers
	r.awaited.Store(math.MaxUint64) // before the look: who leaves after it will tell
	var empty uint64
	for stripe := range r.inside {
		if r.inside[stripe].count.Load() == 0 {
			empty |= 1 << stripe
		}
	}
	for _, s := range p.past {
		s.left |= empty
	}
	entered := uint64(1<<base.Stripes-1) << r.phase.Load()
	if empty|entered == math.MaxUint64 { // nobody is left in the other phase
		r.phase.Store(base.Stripes - r.phase.Load())
		entered = ^entered
	}
	p.past = slices.DeleteFunc(p.past, func(s *State) bool { return s.left == math.MaxUint64 && s.held.Load() == 0 })
	if slices.ContainsFunc(p.past, func(s *State) bool { return s.left != math.MaxUint64 }) {
		r.awaited.Store(^entered &^ empty)
	} else {
		r.awaited.Store(0)
	}
	p.flushed = slices.DeleteFunc(p.flushed, func(m *memtable.Memtable) bool {
		needed := slices.ContainsFunc(p.past, func(s *State) bool { return s.has(m) })
		if !needed {
			p.discard(m)
		}
		return !needed
	})
}

// End gives back the memory of all memtables, but those that somebody still looks at: the
// garbage collector gets them. Nobody writes any more, and who comes later looks at nothing.
func (p *Published) End() {
	p.changing.Lock()
	defer p.changing.Unlock()
	s := p.state.Load()
	p.flushed = append(p.flushed, s.Memtables()...)
	p.replace(memtable.New(0), nil, s.Version)
	for _, w := range p.spare {
		free(w)
	}
	p.spare = nil
}

// discard lets the arena of a memtable that nobody needs be used again, instead of that of
// an older one.
func (p *Published) discard(m *memtable.Memtable) {
	if m.InFile() {
		m.Free()
		return
	}
	if p.spare = append(p.spare, weak.Make(m)); len(p.spare) > maxSpare {
		free(p.spare[0])
		p.spare = slices.Delete(p.spare, 0, 1)
	}
}

// free gives the memory of a spare memtable back, unless the garbage collector was faster.
func free(spare weak.Pointer[memtable.Memtable]) {
	if m := spare.Value(); m != nil {
		m.Free()
	}
}

// Unneeded returns those of some tables, which left the tree, that no reader can come
// to any more.
func (p *Published) Unneeded(tables []*manifest.TableMeta) (unneeded []*manifest.TableMeta) {
	p.changing.Lock()
	defer p.changing.Unlock()
	p.reap()
	for _, t := range tables {
		if !slices.ContainsFunc(p.past, func(s *State) bool { return s.Version.Lists(t) }) {
			unneeded = append(unneeded, t)
		}
	}
	return unneeded
}

// Pin keeps the tables of the current tree until Unpin. What it returns is a state that
// nobody can enter: it has no memtables.
func (p *Published) Pin() *State {
	p.changing.Lock()
	defer p.changing.Unlock()
	s := &State{Version: p.state.Load().Version, left: math.MaxUint64}
	s.hold()
	p.past = append(p.past, s)
	return s
}

// Unpin ends what Pin began.
func (p *Published) Unpin(s *State) { p.release(s) }

// NewMemtable makes a memtable, in the arena of one that nobody needs if that can be.
// Large arenas take their time, for which nobody waits.
func (p *Published) NewMemtable(arenaBytes int64) *memtable.Memtable {
	if m := p.takeSpare(arenaBytes); m != nil {
		return m.Renew()
	}
	return memtable.New(arenaBytes)
}

// takeSpare returns a memtable with such an arena that nobody needs, nil if there is none.
func (p *Published) takeSpare(arenaBytes int64) *memtable.Memtable {
	p.changing.Lock()
	defer p.changing.Unlock()
	p.reap()
	for i, w := range p.spare {
		if m := w.Value(); m != nil && m.CapacityBytes() == arenaBytes {
			p.spare = slices.Delete(p.spare, i, i+1)
			return m
		}
	}
	return nil
}

// MoveAside moves memtables that are in tables already, and that readers keep, into files,
// the oldest first, until the rest takes no more than some bytes of memory. Move does that
// with one of them; if it fails, the rest stays.
func (p *Published) MoveAside(most int64, move func(*memtable.Memtable) error) error {
	for {
		m, s := p.toMove(most)
		if m == nil {
			return nil
		}
		err := move(m)
		p.release(s)
		if err != nil {
			return err
		}
	}
}

// toMove returns the oldest memtable to move, nil if there is none, and a state that holds
// it, and that is held until release.
func (p *Published) toMove(most int64) (*memtable.Memtable, *State) {
	p.changing.Lock()
	defer p.changing.Unlock()
	p.reap()
	for _, m := range p.flushed {
		if m.CanMove() {
			most -= m.UsedBytes()
		}
	}
	if most >= 0 {
		return nil, nil
	}
	for _, s := range p.past {
		for _, m := range slices.Backward(s.Memtables()) {
			if slices.Contains(p.flushed, m) && m.CanMove() && p.moving(m) {
				s.hold()
				return m, s
			}
		}
	}
	return nil, nil
}

// moving tells those who hold a memtable that it will be moved. It returns false while
// somebody else may look at it.
func (p *Published) moving(m *memtable.Memtable) bool {
	var with []*State
	for _, s := range p.past {
		if s.has(m) {
			with = append(with, s)
		}
	}
	if slices.ContainsFunc(with, func(s *State) bool { return s.left != math.MaxUint64 }) {
		return false
	}
	for _, s := range with {
		s.moved.Store(true)
	}
	return true
}

// Pinned describes what only readers and pins keep: memtables that are in tables already,
// replaced states, and tables that left the tree.
type Pinned struct {
	Iterators     int64 // open ones
	States        int   // replaced, but still looked at
	MemtableBytes int64
	FileBytes     int64 // of memtables that were moved into files
	Pins          int
	TableBytes    int64 // of pins
}

// Pinned counts what only readers and pins keep.
func (p *Published) Pinned() Pinned {
	p.changing.Lock()
	defer p.changing.Unlock()
	p.reap()
	pinned := Pinned{Iterators: p.state.Load().held.Load()}
	current, only := p.state.Load().Version, make(map[*manifest.TableMeta]struct{})
	for _, s := range p.past {
		if s.Active != nil {
			pinned.States++
			pinned.Iterators += s.held.Load()
			continue
		}
		pinned.Pins++
		for _, t := range slices.Concat(s.Version.Levels[:]...) {
			if _, again := only[t]; !again && !current.Lists(t) {
				only[t] = struct{}{}
				pinned.TableBytes += t.SizeBytes
			}
		}
	}
	for _, m := range p.flushed {
		if m.InFile() {
			pinned.FileBytes += m.UsedBytes()
		} else {
			pinned.MemtableBytes += m.UsedBytes()
		}
	}
	return pinned
}
