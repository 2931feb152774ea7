package view

import (
	"fmt"
	"runtime/debug"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/memtable"
)

// A page of a memtable that was moved into a file may be lost with the disk. Whoever looks
// at such a memtable gets an error then, instead of the signal that ends the process. This
// costs too much to be done where all memtables are in memory. Only iterators and Changed
// have to: the others, who enter a state, are waited for before a memtable is moved. A step
// that is on its way at that very moment finds what was just written.

// guarded does something that may look at memtables which were moved. It returns an error
// if one of these cannot be read.
func (s *State) guarded(do func()) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		fault := recover()
		if fault == nil {
			return
		}
		at, ok := fault.(interface{ Addr() uintptr })
		if !ok || !slices.ContainsFunc(s.Memtables(), func(m *memtable.Memtable) bool { return m.Holds(at.Addr()) }) {
			panic(fault)
		}
		err = fmt.Errorf("lsmdb: a memtable that was moved to the disk for iterators, and that it does not give back: %v", fault)
	}()
	do()
	return nil
}

// ready checks, before a move, that there is still something to move on, and that it may
// be looked at just so. Otherwise the move is what again returns.
func (it *Iterator) ready() bool {
	if it.err != nil {
		it.err = nil
	}
	if it.inside == nil || it.closed.Load() {
		it.err, it.position = base.ErrClosed, nowhere
		return false
	}
	it.until = 0
	return !it.careful()
}

// again makes a move that was not ready, if it can be made.
func (it *Iterator) again(move func() bool) bool { return it.err == nil && it.guard(move) }

// careful reports whether what comes next has to be guarded, which it is not yet.
func (it *Iterator) careful() bool { return it.inside.state.moved.Load() && !it.guarded }

// guard does something that may look at memtables which were moved, and is a failed move
// if one of these cannot be read.
func (it *Iterator) guard(do func() bool) (ok bool) {
	it.guarded = true
	defer func() { it.guarded = false }()
	if err := it.inside.state.guarded(func() { ok = do() }); err != nil {
		it.position, it.value, it.err = failed, nil, err
		return false
	}
	return ok
}
