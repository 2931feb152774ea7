package memtable

import (
	"io"
	"runtime"
	"unsafe"

	"lsmdb/internal/budget"
)

// memory is the cells of an arena. Large ones lie outside of Go's heap where the system
// can do that: so an arena costs what was touched of it, the collector's pace does not
// depend on it, and it is given back when nobody needs it instead of when the collector
// comes. Who uses a slice of an arena must know that the memtable is still needed.
type memory struct {
	cells   []cell
	mapped  bool            // outside of Go's heap
	cleanup runtime.Cleanup // if nobody calls Free
}

// take returns memory of so many cells: that of another memtable, or new one.
func (m *Memtable) take(count int64, from *memory) []cell {
	t := &m.memory
	if from != nil {
		from.cleanup.Stop()
		*t, *from = *from, memory{}
	} else if t.cells = mapCells(count); t.cells != nil {
		t.mapped = true
	} else {
		t.cells = make([]cell, count)
	}
	if t.mapped {
		t.cleanup = runtime.AddCleanup(m, unmapCells, t.cells)
	}
	return t.cells
}

// Free gives the memory back at once. Whoever still looks at an entry may end the
// process.
func (m *Memtable) Free() {
	t := m.memory
	t.cleanup.Stop() // while m is still to be used: otherwise the cleanup may be on its way, and would come second
	m.memory, m.list.cells, m.list.bytes, m.list.filter = memory{}, nil, nil, nil
	if t.mapped {
		unmapCells(t.cells)
	}
}

// charge is what an account pays for a memtable.
type charge struct {
	account *budget.Account
	kind    budget.Kind
	bytes   int64
}

// Charge has an account pay for what the memtable takes by now, as memory of a kind, and
// reports whether that is more than before. Only the writer may call it.
func (m *Memtable) Charge(a *budget.Account, k budget.Kind) (more bool) {
	bytes := m.heldBytes()
	m.list.busy = m.list.busy || a.Bounded() // no large pages: they would take more than is counted
	if c := &m.charge; bytes != c.bytes || k != c.kind {
		more = bytes > c.bytes
		c.account.Add(c.kind, -c.bytes)
		*c = charge{a, k, bytes}
		a.Add(k, bytes)
	}
	return more
}

// Keep has who pays for the memtable know that it takes memory for its readers only. It is
// called when nobody writes any more.
func (m *Memtable) Keep() { m.Charge(m.charge.account, budget.Kept) }

// Release ends what Charge began: the memory is nobody's, or about to be given back. It is
// called when nobody writes any more, by one goroutine at a time.
func (m *Memtable) Release() {
	m.charge.account.Add(m.charge.kind, -m.charge.bytes)
	m.charge = charge{}
}

// heldBytes is what was touched of the memtable's memory, in steps that are worth counting.
func (m *Memtable) heldBytes() int64 {
	const stepBytes, pageBytes = 16 << 10, 4 << 10
	filter := min(m.Len()*pageBytes, m.list.capacityBytes/filterShare) // which is touched anywhere
	return (m.UsedBytes() + filter + stepBytes - 1) / stepBytes * stepBytes
}

// A MappableFile can take the place of memory.
type MappableFile interface {
	io.WriterAt
	Truncate(size int64) error
	// MapOver makes the file, which is as long, what lies in memory from now on.
	MapOver(memory []byte) error
}

// Holds reports whether an address lies in memory that MoveTo can move.
func (m *Memtable) Holds(address uintptr) bool {
	t := &m.memory
	return t.mapped && address-uintptr(unsafe.Pointer(&t.cells[0])) < uintptr(len(t.cells)*cellBytes)
}

// CanMove reports whether MoveTo is possible.
func (m *Memtable) CanMove() bool { return m.memory.mapped && !m.inFile.Load() }

// InFile reports whether MoveTo has moved the entries.
func (m *Memtable) InFile() bool { return m.inFile.Load() }

// MoveTo moves the entries of a memtable that CanMove, and grows no more, into a file which
// nobody else uses. They stay where they were for all who look at them, but the memory is
// the system's, which may take it as it may that of any file. There is no Renew then.
func (m *Memtable) MoveTo(f MappableFile) error {
	all := m.list.bytes
	if err := f.Truncate(int64(len(all))); err != nil {
		return err
	}
	blocks := int64(m.list.blocks) * cellBytes // nothing was touched between entries and blocks
	if _, err := f.WriteAt(all[:m.list.entryEnd], 0); err != nil {
		return err
	}
	if _, err := f.WriteAt(all[blocks:], blocks); err != nil {
		return err
	}
	if err := f.MapOver(all); err != nil {
		return err
	}
	m.inFile.Store(true)
	m.Release()
	return nil
}
