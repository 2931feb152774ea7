package view

import (
	"bytes"
	"slices"
	"sync/atomic"

	"lsmdb/internal/base"
)

// A queue leaves a delete behind for each element that was taken from its head. Until
// compaction drops them, whoever looks for the head would walk past all of them, each
// time. So iterators note such gaps, and later ones skip them.
//
// A gap says that none of its keys has a value at some sequence number, nor at any
// later one for as long as the gap is listed: the Writer takes a key out before it makes
// its value visible. Readers load the sequence number first and the list second; so who
// finds a gap sees no value that was put into it meanwhile.
//
// That a walk found no value does not suffice to begin a gap, because the Writer may
// have put one in after the walk and before it could know of the gap. So a gap counts
// only when a second walk has found the same (proven), one that sees all puts that may
// have missed the gap. These are no newer than what the Writer had announced when the gap
// was listed: it announces a group before it looks at the list.
type gaps struct{ list atomic.Pointer[[]*gap] }

// gap is a range of keys [lower, upper) in which none has a value.
type gap struct {
	lower, upper []byte
	endless      bool // there is no upper
	keys         int  // that were walked past when it was noted
	trims        int  // how often a key was taken out of it

	since  atomic.Uint64 // 1 + the number of the last write that may have missed it; 0: nobody has asked yet
	now    atomic.Int64  // and it counts for readers whose time is this or a later one: a value may have ended
	proven atomic.Uint64 // it counts for readers at this number and later ones; 0: for nobody yet
}

const (
	worthNoting = 32  // as many keys in a row
	worthPaying = 128 // gaps have not helped: only a flush or a merge does
	maxGaps     = 4   // the Writer compares each key with all of them
	maxTrims    = 64  // of one gap: it is being filled again
)

func (g *gap) contains(key []byte) bool {
	return bytes.Compare(g.lower, key) <= 0 && (g.endless || bytes.Compare(key, g.upper) < 0)
}

func (g *gap) usable(at *At) bool {
	proven := g.proven.Load()
	return proven != 0 && uint64(at.Seq) >= proven && at.Now >= g.now.Load()
}

// prove says that a walk at an instant has found the gap.
func (g *gap) prove(at *At) {
	for now := g.now.Load(); now < at.Now && !g.now.CompareAndSwap(now, at.Now); now = g.now.Load() {
	}
	g.proven.CompareAndSwap(0, uint64(at.Seq))
}

// endsBefore reports whether keys lie between g and other, which begins later.
func (g *gap) endsBefore(other *gap) bool {
	return !g.endless && bytes.Compare(g.upper, other.lower) < 0
}

// covers reports whether every key of other is one of g.
func (g *gap) covers(other *gap) bool {
	return bytes.Compare(g.lower, other.lower) <= 0 &&
		(g.endless || !other.endless && bytes.Compare(other.upper, g.upper) <= 0)
}

// note lists what a walk at an instant passed, which may have skipped gaps that are listed, and
// proves those that it passed once more. Those that are not proven, and never will be, as
// they contain the live key that ended the walk, leave their place to others; nil: it
// ended elsewhere.
func (p *Published) note(walked *gap, live []byte, at *At) {
	before := p.gaps.list.Load()
	var list []*gap
	if before != nil {
		list = *before
	}
	fresh := walked.keys
	for _, g := range list {
		if since := g.since.Load(); g.proven.Load() == 0 && walked.covers(g) {
			fresh -= g.keys
			if since == 0 {
				g.since.Store(p.announced.Load() + 1)
			} else if uint64(at.Seq)+1 >= since {
				g.prove(at)
			}
		}
	}
	next := slices.DeleteFunc(joined(list), func(g *gap) bool { return live != nil && g.proven.Load() == 0 && g.contains(live) })
	if fresh >= worthNoting && walked.cut(next) {
		next = append(withRoom(next), walked)
	} else {
		walked = nil
	}
	if len(next) == len(list) && walked == nil {
		return
	}
	if p.gaps.list.CompareAndSwap(before, &next) && walked != nil {
		walked.since.Store(p.announced.Load() + 1)
	}
}

// withRoom returns a list that has room for one more.
func withRoom(list []*gap) []*gap {
	if len(list) < maxGaps {
		return list
	}
	smallest := slices.MinFunc(list, func(a, b *gap) int { return a.keys - b.keys })
	return slices.DeleteFunc(list, func(g *gap) bool { return g == smallest })
}

// clear lists the range of a range delete, which the Writer has just put into a memtable
// with so many other entries: whoever sees it finds no value in there, and all that is put
// into it later Fill will hear of. An empty end is open.
func (p *Published) clear(start, end []byte, seq base.Seq, entries int) {
	g := &gap{lower: bytes.Clone(start), upper: bytes.Clone(end), endless: len(end) == 0, keys: entries}
	if entries < worthNoting || !g.endless && bytes.Compare(start, end) >= 0 {
		return
	}
	g.since.Store(uint64(seq))
	g.proven.Store(uint64(seq))
	for {
		before := p.gaps.list.Load()
		var list []*gap
		if before != nil {
			list = joined(*before)
		}
		next := joined(append(withRoom(list), g))
		if p.gaps.list.CompareAndSwap(before, &next) {
			return
		}
	}
}

// joined returns the gaps with those that are proven and touch made one.
func joined(list []*gap) []*gap {
	var next []*gap
	for _, g := range list {
		for i := 0; i < len(next) && g.proven.Load() != 0; i++ {
			if o := next[i]; o.proven.Load() != 0 && !g.endsBefore(o) && !o.endsBefore(g) {
				g = union(g, o)
				next = slices.Delete(next, i, i+1)
				i = -1
			}
		}
		next = append(next, g)
	}
	return next
}

// union joins two gaps that are proven and touch.
func union(a, b *gap) *gap {
	u := &gap{lower: a.lower, upper: a.upper, endless: a.endless || b.endless, keys: a.keys + b.keys, trims: min(a.trims, b.trims)}
	if bytes.Compare(b.lower, a.lower) < 0 {
		u.lower = b.lower
	}
	if bytes.Compare(b.upper, a.upper) > 0 {
		u.upper = b.upper
	}
	u.since.Store(max(a.since.Load(), b.since.Load()))
	u.now.Store(max(a.now.Load(), b.now.Load()))
	u.proven.Store(max(a.proven.Load(), b.proven.Load()))
	return u
}

// cut takes the listed gaps at its ends off g, and reports whether anything is left.
func (g *gap) cut(list []*gap) bool {
	for range list {
		for _, o := range list {
			if o.contains(g.lower) {
				if g.lower = o.upper; o.endless {
					return false
				}
			}
			if g.endless && o.endless || !g.endless && bytes.Compare(o.lower, g.upper) < 0 && (o.endless || bytes.Compare(g.upper, o.upper) <= 0) {
				g.upper, g.endless = o.lower, false
			}
		}
	}
	return g.endless || bytes.Compare(g.lower, g.upper) < 0
}

// HasGaps reports whether gaps are listed, which Fill must hear of puts.
func (p *Published) HasGaps() bool { return p.gaps.list.Load() != nil }

// Announce tells that Fill will hear of the keys of a group, up to seq. Only the Writer
// calls it.
func (p *Published) Announce(seq base.Seq) { p.announced.Store(uint64(seq)) }

// Fill takes a key that gets a value out of the gaps. The Writer calls it for each such
// key of a group before it shows the group; and again after, so that no gap which missed
// it waits in vain to be proven.
func (p *Published) Fill(key []byte) {
	for {
		before := p.gaps.list.Load()
		if before == nil || !slices.ContainsFunc(*before, func(g *gap) bool { return g.contains(key) }) {
			return
		}
		var next []*gap
		for _, g := range *before {
			if !g.contains(key) {
				next = append(next, g)
			} else if bytes.Compare(g.lower, key) < 0 && g.trims < maxTrims {
				next = append(next, g.before(key))
			}
		}
		list := &next
		if len(next) == 0 {
			list = nil
		}
		if p.gaps.list.CompareAndSwap(before, list) {
			return
		}
	}
}

// FillRange is Fill for all keys from lower to upper, both included.
func (p *Published) FillRange(lower, upper []byte) {
	for before := p.gaps.list.Load(); before != nil; before = p.gaps.list.Load() {
		next := slices.DeleteFunc(slices.Clone(*before), func(g *gap) bool {
			return bytes.Compare(g.lower, upper) <= 0 && (g.endless || bytes.Compare(lower, g.upper) < 0)
		})
		list := &next
		if len(next) == 0 {
			list = nil // puts pay for gaps only while there are some
		}
		if len(next) == len(*before) || p.gaps.list.CompareAndSwap(before, list) {
			return
		}
	}
}

// before returns the part of g that lies before key. It is the larger one where keys
// are put behind all others, as into a queue.
func (g *gap) before(key []byte) *gap {
	part := &gap{lower: g.lower, upper: bytes.Clone(key), keys: g.keys, trims: g.trims + 1}
	part.proven.Store(g.proven.Load()) // first: who proves it now, sets the time before
	part.since.Store(g.since.Load())
	part.now.Store(g.now.Load())
	return part
}

// barren is what an Iterator notes of the keys without a value that it passes in a row.
type barren struct {
	gaps    *gaps  // nil: they do not count
	list    []*gap // of them, as of the beginning of the row: what may be skipped
	start   []byte // where the row begins: its first key, or the end before which it lies
	endless bool   // there is no such end: it begins behind all keys
	begun   bool   // start is known
	walked  int    // keys passed, those skipped not counted
	run     int    // which of the iterator's runs the last of them lies in
}

// begin starts a row at a key that is sought; nil: at the end, backward.
func (b *barren) begin(key []byte) {
	b.start, b.endless, b.begun = append(b.start[:0], key...), key == nil, true
	b.walked, b.list = 0, nil
	if b.gaps == nil {
		return
	}
	if list := b.gaps.list.Load(); list != nil {
		b.list = *list
	}
}

// reset ends the row: another one begins with the next key without a value. Most walks
// never meet one, and pay nothing else.
func (b *barren) reset() {
	if b.begun {
		b.walked, b.begun = 0, false
	}
}

// skipForward returns the first key at or after the given one that no gap contains.
func (b *barren) skipForward(key []byte, at *At) (next []byte, endless bool) {
	for i := 0; i < len(b.list); i++ {
		if g := b.list[i]; g.contains(key) && g.usable(at) {
			if g.endless {
				return nil, true
			}
			key, i = g.upper, -1
		}
	}
	return key, false
}

// skipBackward returns the last end at or before the given one, nil being that of all
// keys, which lies behind no gap.
func (b *barren) skipBackward(end []byte, at *At) []byte {
	for i := 0; i < len(b.list); i++ {
		g := b.list[i]
		behind := g.endless || end != nil && bytes.Compare(end, g.upper) <= 0
		if behind && (end == nil || bytes.Compare(g.lower, end) < 0) && g.usable(at) {
			end, i = append([]byte{}, g.lower...), -1
		}
	}
	return end
}

// passForward counts a key without a value. It says where to go on if a gap begins there.
func (b *barren) passForward(user []byte, at *At) (next []byte, endless, skip bool) {
	if !b.begun {
		b.begin(user)
		b.endless = false // also where it is the empty key
	}
	b.walked++
	if len(b.list) == 0 {
		return nil, false, false
	}
	next, endless = b.skipForward(user, at)
	return next, endless, endless || !bytes.Equal(next, user)
}

// passBackward is passForward in the other direction: the row goes on before the result.
func (b *barren) passBackward(user []byte, at *At) (next []byte, skip bool) {
	if !b.begun {
		b.begin(user)
		b.start, b.endless = append(b.start, 0), false
	}
	b.walked++
	if len(b.list) == 0 {
		return nil, false
	}
	next = b.skipBackward(append(user[:len(user):len(user)], 0), at)
	return next, bytes.Compare(next, user) <= 0
}

// note tells later iterators what was walked past, and pays for it: when all that was
// passed has cost as much as the merge that drops it, somebody hears of it.
func (it *Iterator) note(lower, upper []byte, endless bool, live []byte) {
	passed := it.inside.barren.walked
	if passed < worthNoting || it.inside.barren.gaps == nil {
		return
	}
	if passed >= worthPaying {
		it.pay(int64(passed))
	}
	walked := &gap{lower: bytes.Clone(lower), upper: bytes.Clone(upper), endless: endless, keys: passed}
	it.published.note(walked, live, &it.at)
}

// pay counts what was passed as a detour of where it lies.
func (it *Iterator) pay(passed int64) {
	in, due := it.inside, false
	if run := in.barren.run - len(in.memtables); run >= 0 {
		due = in.tables[run].Pass(passed)
	} else if in.barren.run == 0 && !in.state.Active.Empty() { // the others are being flushed already
		due = in.state.Active.Pass(passed)
	}
	if due && it.published.Detoured != nil {
		it.published.Detoured()
	}
}
