package view

import (
	"math"
	"time"

	"lsmdb/internal/base"
	"lsmdb/memtable"
)

// At is the instant of a read.
type At struct {
	Seq base.Seq // of the newest write that is seen
	Own base.Seq // of a transaction's newest own write that is seen, OwnBase or more; 0: there is none
	Now int64    // in nanoseconds since 1970: a value is there while this is less than its end; 0: ask the clock
}

// OwnBase is the smallest number of a transaction's own writes, which nobody else sees
// yet: they count as newer than all of the database.
const OwnBase = base.MaxSeq - 1<<32

// sees reports whether a version with this number is visible.
func (at *At) sees(seq base.Seq) bool { return seq <= at.Seq || OwnBase <= seq && seq <= at.Own }

// newest returns the largest number that may be visible.
func (at *At) newest() base.Seq { return max(at.Seq, at.Own) }

// below returns the largest number that may be visible below one that is not.
func (at *At) below(seq base.Seq) base.Seq {
	if seq < OwnBase {
		return at.Seq
	}
	return at.newest()
}

// Over puts a transaction's own memtables, newest first, in front of the state.
func (r Reading) Over(own *[]*memtable.Memtable) Reading {
	if len(*own) > 0 {
		r.own = own
	}
	return r
}

// nothingOwn is what a Reading has before Over.
var nothingOwn []*memtable.Memtable

// Nanoseconds returns a time as values record their end, in nanoseconds since 1970. What
// lies beyond that range is its nearest end.
func Nanoseconds(t time.Time) int64 {
	const most = math.MaxInt64 / int64(time.Second)
	switch seconds := t.Unix(); {
	case seconds >= most:
		return math.MaxInt64
	case seconds <= -most:
		return math.MinInt64
	}
	return t.UnixNano()
}

// Now returns the time, in nanoseconds since 1970, by which values end. It never runs
// back, and lies between the first and the last time that a value can end.
func (p *Published) Now() int64 {
	clock := time.Now
	if p.Clock != nil {
		clock = p.Clock
	}
	return p.NotBefore(min(max(Nanoseconds(clock()), 1), math.MaxInt64-1))
}

// NotBefore has Now return no time before the given one from now on, and returns what was
// the latest so far. With 0 it only tells that.
func (p *Published) NotBefore(now int64) int64 {
	for {
		seen := p.seen.Load()
		if now <= seen {
			return seen
		}
		if p.seen.CompareAndSwap(seen, now) {
			return now
		}
	}
}

// Ended returns the time by which values have ended for whoever comes later. Where none
// may end, the clock is not asked.
func (p *Published) Ended() int64 {
	if !p.expiring.Load() {
		return 0
	}
	return p.Now()
}

// At returns the instant of what is visible now, for somebody who reads more than once.
func (p *Published) At() At { return p.fix(At{Seq: p.Visible()}) }

// fix gives an instant its time, unless it has one or none matters.
func (p *Published) fix(at At) At {
	if at.Now == 0 {
		at.Now = p.Ended()
	}
	return at
}

// Applied tells of an operation of a new kind that the Writer has just put into a memtable,
// with so many others, and not shown yet.
func (p *Published) Applied(op base.Op, seq base.Seq, entries int64) {
	switch op.Kind {
	case base.KindSetExpiring:
		p.expiring.Store(true)
	case base.KindRangeDelete:
		p.clear(op.Key, op.Value, seq, int(entries))
	}
}
