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
type gaps struct{ list atomic.Pointer[[]gap] }

// gap is a range of keys in which none has a value.
type gap struct {
	span
	keys  int // that were walked past when it was noted
	trims int // how often a key was taken out of it

	since  base.Seq // 1 + the number of the last write that may have missed it; 0: nobody has asked yet
	now    int64    // and it counts for readers whose time is this or a later one: a value may have ended
	proven base.Seq // it counts for readers at this number and later ones; 0: for nobody yet
}

const (
	worthNoting = 32  // as many keys in a row
	worthPaying = 128 // gaps have not helped: only a flush or a merge does
	maxGaps     = 4   // the Writer compares each key with all of them
	maxTrims    = 64  // of one gap: it is being filled again
)

// usable reports whether the gap counts for a reader at an instant. Without one, all do.
func (g *gap) usable(at *At) bool {
	return at == nil || g.proven != 0 && at.Seq >= g.proven && at.Now >= g.now
}

// change replaces the list by the revised one, where that differs. It may call the function
// several times. A list that was published is not changed any more.
func (p *Published) change(revised func(list []gap) (next []gap, differs bool)) {
	for {
		before := p.gaps.list.Load()
		var list []gap
		if before != nil {
			list = *before
		}
		next, differs := revised(list)
		if !differs {
			return
		}
		var after *[]gap // nil: puts pay for gaps only while there are some
		if len(next) > 0 {
			after = new(next)
		}
		if p.gaps.list.CompareAndSwap(before, after) {
			return
		}
	}
}

// note lists what a walk at an instant passed, which may have skipped gaps that are listed, and
// proves those that it passed once more. Those that are not proven, and never will be, as
// they contain the live key that ended the walk, leave their place to others; nil: it
// ended elsewhere.
func (p *Published) note(walked gap, live []byte, at *At) {
	p.change(func(list []gap) (next []gap, differs bool) {
		left, fresh := walked, walked.keys
		for _, g := range list {
			if g.proven == 0 && walked.covers(&g.span) {
				fresh -= g.keys
				if g.since != 0 && at.Seq+1 >= g.since {
					g.proven, g.now, differs = at.Seq, max(g.now, at.Now), true
				}
			}
			next = append(next, g)
		}
		next = slices.DeleteFunc(joined(next), func(g gap) bool { return live != nil && g.proven == 0 && g.holds(live) })
		if fresh >= worthNoting && left.cut(next) {
			return append(withRoom(next), left), true
		}
		return next, differs || len(next) < len(list)
	})
	p.change(func(list []gap) (next []gap, differs bool) { // only now that all puts to come will find it
		next = slices.Clone(list)
		for i := range next {
			if next[i].since == 0 {
				next[i].since, differs = base.Seq(p.announced.Load())+1, true
			}
		}
		return next, differs
	})
}

// withRoom returns those of a list, which it changes, that stay where one more comes.
func withRoom(list []gap) []gap {
	slices.SortFunc(list, func(a, b gap) int { return b.keys - a.keys })
	return list[:min(len(list), maxGaps-1)]
}

// clear lists the range of a range delete, which the Writer has just put into a memtable
// with so many other entries: whoever sees it finds no value in there, and all that is put
// into it later Fill will hear of. An empty end is open.
func (p *Published) clear(start, end []byte, seq base.Seq, entries int) {
	g := gap{span: span{from: bytes.Clone(start)}, keys: entries, since: seq, proven: seq}
	if len(end) > 0 {
		g.to = bytes.Clone(end)
	}
	if entries >= worthNoting && g.holds(start) {
		p.change(func(list []gap) ([]gap, bool) { return joined(append(withRoom(joined(list)), g)), true })
	}
}

// joined returns the gaps with those that are proven and touch made one.
func joined(list []gap) (next []gap) {
	for _, g := range list {
		next = slices.DeleteFunc(next, func(o gap) bool {
			if g.proven == 0 || o.proven == 0 || !g.touches(&o.span) {
				return false
			}
			g.join(&o.span)
			g.keys, g.trims = g.keys+o.keys, min(g.trims, o.trims)
			g.since, g.now, g.proven = max(g.since, o.since), max(g.now, o.now), max(g.proven, o.proven)
			return true
		})
		next = append(next, g)
	}
	return next
}

// cut takes the listed gaps at its ends off g, and reports whether anything is left.
func (g *gap) cut(list listed) bool {
	var none bool
	g.from, none = list.skipForward(g.from, nil)
	g.to = list.skipBackward(g.to, nil)
	return !none && g.holds(g.from)
}

// Announce tells that Fill will hear of the keys of a group, up to seq. Only the Writer
// calls it.
func (p *Published) Announce(seq base.Seq) { p.announced.Store(uint64(seq)) }

// Fill takes keys from lower to upper, both included, that get a value out of the gaps. The
// Writer calls it for each such key of a group before it shows the group. (A gap that
// misses it is not proven while the key has its value, and goes when a long walk ends at
// that: see note.) Of a gap it leaves the part before them. That is the larger one where
// keys are put behind all others, as into a queue.
func (p *Published) Fill(lower, upper []byte) {
	filled := func(g gap) bool {
		return bytes.Compare(g.from, upper) <= 0 && (g.to == nil || bytes.Compare(lower, g.to) < 0)
	}
	p.change(func(list []gap) (next []gap, differs bool) {
		if !slices.ContainsFunc(list, filled) {
			return list, false
		}
		for _, g := range list {
			if filled(g) {
				g.to = append([]byte{}, lower...)
				g.trims++
			}
			if g.trims <= maxTrims && g.holds(g.from) {
				next = append(next, g)
			}
		}
		return next, true
	})
}

// barren is what an Iterator notes of the keys without a value that it passes in a row.
type barren struct {
	listed         // gaps, as of the beginning of the row: what may be skipped
	gaps    *gaps  // nil: they do not count
	start   []byte // where the row begins: its first key, or the end before which it lies
	endless bool   // there is no such end: it begins behind all keys
	begun   bool   // start is known
	walked  int    // keys passed, those skipped not counted
	run     int    // which of the iterator's runs the last of them lies in
}

// begin starts a row at a key that is sought; nil: at the end, backward.
func (b *barren) begin(key []byte) {
	b.start, b.endless, b.begun = append(b.start[:0], key...), key == nil, true
	b.walked, b.listed = 0, nil
	if b.gaps == nil {
		return
	}
	if list := b.gaps.list.Load(); list != nil {
		b.listed = *list
	}
}

// reset ends the row: another one begins with the next key without a value. Most walks
// never meet one, and pay nothing else.
func (b *barren) reset() {
	if b.begun {
		b.walked, b.begun = 0, false
	}
}

// listed are gaps in no order.
type listed []gap

// skipForward returns the first key at or after the given one that no gap contains.
func (l listed) skipForward(key []byte, at *At) (next []byte, endless bool) {
	for i := 0; i < len(l); i++ {
		if g := &l[i]; g.holds(key) && g.usable(at) {
			if g.to == nil {
				return nil, true
			}
			key, i = g.to, -1
		}
	}
	return key, false
}

// skipBackward returns the last end at or before the given one, nil being that of all
// keys, which lies behind no gap.
func (l listed) skipBackward(end []byte, at *At) []byte {
	for i := 0; i < len(l); i++ {
		if g := &l[i]; g.reaches(end) && (end == nil || bytes.Compare(g.from, end) < 0) && g.usable(at) {
			end, i = append([]byte{}, g.from...), -1
		}
	}
	return end
}

// passForward counts a key without a value. It says where to go on if a gap begins there.
func (b *barren) passForward(user []byte, at *At) (next []byte, endless, skip bool) {
	if !b.begun {
		b.begin(user)
	}
	b.walked++
	next, endless = b.skipForward(user, at)
	return next, endless, endless || !bytes.Equal(next, user)
}

// passBackward is passForward in the other direction: the row goes on before the result.
func (b *barren) passBackward(user []byte, at *At) (next []byte, skip bool) {
	if !b.begun {
		b.begin(user)
		b.start = append(b.start, 0)
	}
	b.walked++
	if len(b.listed) == 0 {
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
	walked := span{bytes.Clone(lower), append([]byte{}, upper...)}
	if endless {
		walked.to = nil
	}
	it.published.note(gap{span: walked, keys: passed}, live, &it.at)
}

// pay counts what was passed as a detour of where it lies.
func (it *Iterator) pay(passed int64) {
	in, due := it.inside, false
	if run := in.barren.run - len(in.memtables); run >= 0 {
		due = in.tables[run].Pass(passed)
	} else if in.barren.run == 0 && !in.state.Active.Empty() { // the others are being flushed already
		due = in.state.Active.Pass(passed)
	}
	it.published.detour(due)
}
