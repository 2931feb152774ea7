package view

import (
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
