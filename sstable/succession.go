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
	origins := make([]origin, len(runs))
	filtered := false // a filter was needed
	for i, run := range runs {
		for _, h := range run {
			if t := h.table.Load(); t != nil {
				origins[i] = append(origins[i], t)
				s.leftBytes += t.cachedBytes()
				filtered = filtered || t.filter.Load().count > 0
			}
		}
	}
	if s.leftBytes == 0 {
		return s
	}
	var last base.InternalKey
	first := base.AppendSearchKey(nil, nil, base.MaxSeq)
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
			for j := range origins {
				b, n := origins[j].count(first, last)
				blocks, cached = blocks+b, cached+n
			}
			first = behind(first[:0], last)
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
		if at.hook().Load() != nil {
			continue // somebody has read it meanwhile
		}
		b := new(block)
		if s.reader.read(at.table, at.number, b) != nil || s.leftBytes < b.memoryBytes() || !at.table.handle.options.Cache.fill(at, b) {
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

// origin is a run of tables, but for those that lie before what is asked for.
type origin []*Table

// count returns how many blocks may hold keys from first to last, and how many of these are
// cached. It is asked with ascending keys.
func (o *origin) count(first, last base.InternalKey) (blocks, cached int) {
	for len(*o) > 0 && (*o)[0].index.find(first) == (*o)[0].index.count() {
		*o = (*o)[1:]
	}
	for _, t := range *o {
		if base.Compare(t.properties.Smallest, last) > 0 {
			break
		}
		end := min(t.index.find(last)+1, t.index.count())
		for i := t.index.find(first); i < end; i++ {
			blocks++
			if t.slots[i].Load() != nil {
				cached++
			}
		}
	}
	return blocks, cached
}

// behind appends to dst the first key behind another one.
func behind(dst, key base.InternalKey) base.InternalKey {
	if trailer := key.Trailer(); trailer > 0 {
		return base.AppendInternalKey(dst, key.UserKey(), trailer-1)
	}
	return base.AppendInternalKey(append(dst, key.UserKey()...), []byte{0}, ^base.Trailer(0))
}
