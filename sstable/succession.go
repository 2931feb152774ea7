package sstable

import "lsmdb/internal/base"

// Succession is what the cache should hold of new tables, the heirs, since it holds what they
// were made from: so a merge does not empty it. It belongs to one goroutine, and keeps no
// blocks.
//
// A block of an heir is wanted if at least half of the blocks that hold keys of its range, in
// the tables that were merged, are cached when Succeed looks. The heirs get no more memory than
// these have.
type Succession struct {
	wanted    []slot // in the order of the keys
	leftBytes int64
	reader    blockReader
}

// fillAheadBytes is the longest read of Fill: what is wanted often lies in a row.
const fillAheadBytes = 256 << 10

// Succeed finds out what is wanted of the heirs. They, and each of runs, are tables with
// ascending keys that share none. Without anything in the cache nothing is opened. Of what
// cannot be opened nothing is wanted: whoever reads it will hear of that.
func Succeed(runs [][]*Handle, heirs []*Handle) *Succession {
	s := new(Succession)
	s.reader.restart(fillAheadBytes, nil)
	var cursors []*cursor
	filtered := false // a filter was needed
	for _, run := range runs {
		c := &cursor{}
		for _, h := range run {
			if t := h.table.Load(); t != nil && len(t.slots) > 0 {
				c.tables = append(c.tables, t)
				s.leftBytes += t.cachedBytes()
				filtered = filtered || t.filter.Load().count > 0
			}
		}
		if len(c.tables) > 0 {
			c.begin()
			cursors = append(cursors, c)
		}
	}
	if s.leftBytes == 0 {
		return s
	}
	var last base.InternalKey
	for _, h := range heirs {
		t, err := h.Table()
		if err != nil {
			return s
		}
		if filtered && t.filter.CompareAndSwap(later, due) {
			_, _ = h.loadFilter(t) // a reader who needs it hears of an error
		}
		s.leftBytes -= t.cachedBytes()
		for i := range t.slots {
			last = t.index.separators.appendKey(last[:0], i)
			blocks, cached := 0, 0
			for _, c := range cursors {
				b, n := c.pass(last)
				blocks, cached = blocks+b, cached+n
			}
			if cached > 0 && 2*cached >= blocks {
				s.wanted = append(s.wanted, slot{t, i})
			}
		}
	}
	return s
}

// Fill reads what is wanted into the cache as long as there is room: nothing else is taken
// out. Called again it goes on. It ends early when yield returns false, which is called for
// each block, or where a read fails.
func (s *Succession) Fill(yield func() bool) {
	for ; len(s.wanted) > 0 && yield(); s.wanted = s.wanted[1:] {
		at := s.wanted[0]
		cache := at.table.handle.options.Cache
		if at.hook().Load() != nil {
			continue // somebody has read it meanwhile
		}
		b := new(block)
		if !cache.hasRoom(at.table.index.extent(at.number, at.number).length) || s.reader.read(at.table, at.number, b) != nil {
			return
		}
		if s.leftBytes < b.memoryBytes() || !cache.fill(at, b) {
			return
		}
		s.leftBytes -= b.memoryBytes()
	}
}

// cachedBytes is what the cache holds of a table.
func (t *Table) cachedBytes() (sum int64) {
	for i := range t.slots {
		if b := t.slots[i].Load(); b != nil {
			sum += b.memoryBytes()
		}
	}
	return sum
}

// cursor walks the data blocks of a run of tables. It stands on one of the first, until none
// is left.
type cursor struct {
	tables     []*Table
	number     int
	start, end base.InternalKey // the block's keys lie between these, which may be among them
}

// begin stands on the first block of the first table.
func (c *cursor) begin() {
	t := c.tables[0]
	c.number, c.start = 0, append(c.start[:0], t.properties.Smallest...)
	c.end = t.index.separators.appendKey(c.end[:0], 0)
}

// pass goes past the blocks that end at or before last, or before the keys behind it. It
// returns how many it met of those that may hold keys up to last, and how many were cached.
func (c *cursor) pass(last base.InternalKey) (blocks, cached int) {
	for len(c.tables) > 0 && base.Compare(c.start, last) <= 0 {
		t := c.tables[0]
		blocks++
		if t.slots[c.number].Load() != nil {
			cached++
		}
		order := base.Compare(c.end, last)
		if order > 0 {
			return blocks, cached // it goes on behind last
		}
		c.number++
		switch {
		case c.number < len(t.slots):
			c.start, c.end = c.end, t.index.separators.appendKey(c.start[:0], c.number)
		case len(c.tables) == 1:
			c.tables = nil
		default:
			c.tables = c.tables[1:]
			c.begin()
		}
		if order == 0 {
			return blocks, cached
		}
	}
	return blocks, cached
}
