package view

import (
	"lsmdb/internal/base"
	"lsmdb/memtable"
)

// At is an instant to read at.
type At struct {
	Seq base.Seq // of the newest write that is seen
	Own base.Seq // of the newest own write that is seen; 0: there are none
}

// FirstOwn is the number of the first own write of a transaction; all others are smaller.
const FirstOwn = base.MaxSeq - 1<<32

// Over puts the own writes of a transaction, newest first, in front of the state.
func (r Reading) Over(own []*memtable.Memtable) Reading {
	r.own = own
	return r
}

var noGaps gaps

// sees reports whether a version with this number is visible.
func (at At) sees(seq base.Seq) bool {
	return seq <= at.Seq || FirstOwn <= seq && seq <= at.Own
}

// seenBelow is the largest number below one that is not visible that may be.
func (at At) seenBelow(seq base.Seq) base.Seq {
	if seq >= FirstOwn {
		return max(at.Seq, at.Own)
	}
	return at.Seq
}
