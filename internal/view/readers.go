package view

import (
	"slices"
	"sync/atomic"
	"weak"

	"lsmdb/internal/base"
	"lsmdb/manifest"
	"lsmdb/memtable"
)

// Readers are counted for each state, in stripes, because they would meet at one counter.
// Who enters counts himself and then looks whether the state is still the current one. So
// when a state was replaced and each of its stripes was found empty, all who look at it
// have left, and all who still come turn back. Who looks longer holds the state before he
// leaves. Iterators do neither: they are listed, see holders.go.

// maxSpare is how many arenas wait to be used again: the Flusher may get ahead by so
// many. The garbage collector may be faster: no database that is idle keeps memory for
// that.
const maxSpare = 2

// stripe is a part of the readers of a state.
type stripe struct {
	_     [base.StripeBytes - 8]byte
	count atomic.Int64
}

// Reading is a state that may be looked at until Leave; longer only if it is held.
type Reading struct {
	*State
	published *Published
	stripe    *stripe
	own       *[]*memtable.Memtable // see Over
}

// Enter returns the current state, to look into it. It costs two atomic additions,
// with Leave, on a counter that few goroutines share.
func (p *Published) Enter() Reading {
	for {
		if r, ok := p.enter(p.state.Load()); ok {
			return r
		}
	}
}

// enter enters a state that was the current one, unless it is no more.
func (p *Published) enter(s *State) (r Reading, ok bool) {
	r = Reading{s, p, &s.readers[base.Stripe()], &nothingOwn}
	if r.stripe.count.Add(1); s == p.state.Load() {
		return r, true
	}
	r.Leave()
	return r, false
}

// Leave ends what Enter began.
func (r Reading) Leave() {
	if r.stripe.count.Add(-1) == 0 && r.State != r.published.state.Load() {
		r.published.unread()
	}
}

// entered reports whether somebody may still be inside a state that was replaced.
func (s *State) entered() bool {
	for i := range s.readers {
		if s.readers[i].count.Load() != 0 {
			return true
		}
	}
	return false
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
	unread := make(map[uint64]*State)
	for _, s := range p.past {
		if !s.entered() && s.held.Load() == 0 { // who begins to hold a state leaves it only then
			unread[s.number] = s
		}
	}
	if len(unread) > 0 {
		p.each(func(at *place, it *Iterator) bool {
			if s := unread[it.hold.state]; s != nil && s.watch(at, it) {
				delete(unread, s.number)
			}
			return len(unread) > 0
		})
	}
	p.past = slices.DeleteFunc(p.past, func(s *State) bool { return unread[s.number] != nil })
	p.flushed = slices.DeleteFunc(p.flushed, func(m *memtable.Memtable) bool {
		needed := slices.ContainsFunc(p.past, func(s *State) bool { return s.has(m) })
		if !needed {
			p.discard(m)
		}
		return !needed
	})
}

// watch has an Iterator tell that it leaves, and reports false if it has left already, perhaps
// without telling anybody.
func (s *State) watch(at *place, it *Iterator) bool {
	if at.outlived.Value() == it { // which must not be kept
		return true
	}
	s.watched.Store(it)
	return at.iterator.Load() == it
}

// End gives back the memory of all memtables, but those that somebody still looks at: the
// garbage collector gets them. Nobody writes any more, and who comes later looks at nothing.
func (p *Published) End() {
	p.changing.Lock()
	defer p.changing.Unlock()
	s := p.state.Load()
	p.flushed = append(p.flushed, s.Memtables()...)
	p.replace(memtable.New(0), nil, s.Version)
	p.outlive()
	for _, s := range p.past {
		s.watched.Store(nil)
	}
	for _, w := range p.spare {
		free(w)
	}
	p.spare = nil
}

// discard lets the arena of a memtable that nobody needs be used again, instead of that of
// an older one.
func (p *Published) discard(m *memtable.Memtable) {
	m.Release()
	if m.InFile() || p.Frugal {
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

// Needed returns what tells of tables that left the tree whether a reader may still come to them.
func (p *Published) Needed() func(*manifest.TableMeta) bool {
	p.changing.Lock()
	defer p.changing.Unlock()
	p.reap()
	past := slices.Clone(p.past)
	return func(t *manifest.TableMeta) bool {
		return slices.ContainsFunc(past, func(s *State) bool { return s.Version.Lists(t) })
	}
}

// Pin keeps the tables of the current tree until Unpin. What it returns is a state that
// nobody can enter: it has no memtables.
func (p *Published) Pin(o Opened) *State {
	p.changing.Lock()
	defer p.changing.Unlock()
	s := &State{Version: p.state.Load().Version, number: states.Add(1), pin: o}
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
	for _, m := range p.flushed {
		if most < 0 && m.CanMove() {
			if s := p.moving(m); s != nil {
				s.hold()
				return m, s
			}
		}
	}
	return nil, nil
}

// moving tells those who hold a memtable that it will be moved, and returns one of their states;
// nil while somebody else may look at it.
func (p *Published) moving(m *memtable.Memtable) *State {
	with := slices.DeleteFunc(slices.Clone(p.past), func(s *State) bool { return !s.has(m) })
	if slices.ContainsFunc(with, (*State).entered) {
		return nil
	}
	for _, s := range with {
		s.moved.Store(true)
	}
	return with[0]
}

// Pinned describes what only readers and pins keep: memtables that are in tables already, and
// tables that left the tree.
type Pinned struct {
	Iterators     int64 // open ones
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
	var pinned Pinned
	p.each(func(*place, *Iterator) bool { pinned.Iterators++; return true })
	current, only := p.state.Load().Version, make(map[*manifest.TableMeta]struct{})
	for _, s := range p.past {
		if s.Active != nil {
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
