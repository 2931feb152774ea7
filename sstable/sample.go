package sstable

import (
	"sort"

	"lsmdb/internal/base"
)

// What is asked here is how a table answers, and what it consists of. Nothing of that
// fills the cache or counts as a search.

// Foresight says what Find will do for a search.
type Foresight struct {
	Filtered bool // there is a filter to ask
	Absent   bool // it says that the key is not in the table
	Read     bool // a data block comes from the file
	Cached   bool // a data block is in the cache
}

// Foresee says what Find will do for the same search if it comes next. Like Find, it loads
// a filter that is due; Find also tells where that fails.
func (t *Table) Foresee(search base.InternalKey, hash uint64) (s Foresight) {
	f := t.filter.Load()
	if f == due {
		if f, _ = t.handle.loadFilter(t); f == nil {
			return s
		}
	}
	s.Filtered, s.Absent = f.count > 0, !f.mayContain(hash)
	if i := t.index.find(search); !s.Absent && i < t.index.count() {
		s.Cached = t.slots[i].Load() != nil
		s.Read = !s.Cached
	}
	return s
}

// MayContain is what the filter says, if it is loaded.
func (t *Table) MayContain(hash uint64) bool { return t.filter.Load().mayContain(hash) }

// Span returns the data blocks that may hold user keys of [start, end): those from first
// to before last. A nil bound is open.
func (t *Table) Span(start, end []byte) (first, last int) {
	last = t.index.count()
	if start != nil {
		first = t.index.find(base.AppendSearchKey(nil, start, base.MaxSeq))
	}
	if end != nil {
		last = min(last, t.index.lastBefore(base.AppendSearchKey(nil, end, base.MaxSeq))+1)
	}
	return first, max(first, last)
}

// SpanBytes returns how many bytes of the file the data blocks from first to before last take.
func (t *Table) SpanBytes(first, last int) int64 { return t.index.extent(first, last-1).length }

// BlockAt returns the data block that is reached after a part, of [0, 1), of the bytes that
// those from first to before last take.
func (t *Table) BlockAt(first, last int, part float64) int {
	at := t.index.offsets[first] + int64(part*float64(t.SpanBytes(first, last)))
	return first + sort.Search(last-first-1, func(i int) bool { return t.index.offsets[first+i+1] > at })
}

// Entry is an entry of a data block.
type Entry struct {
	Key   base.InternalKey
	Until int64   // when the value ends, of KindSetExpiring
	Bytes float64 // of the file that it takes, about
}

// Entries returns the entries of data block i. It does not read a large value.
func (t *Table) Entries(i int) ([]Entry, error) {
	if t.handle.closed.Load() {
		return nil, base.ErrClosed
	}
	b, err := new(block), error(nil)
	if _, large := t.index.large(i); large {
		t.index.stub(i, b)
	} else if b, err = t.block(i, nil, b); err != nil {
		return nil, err
	}
	list, sum := make([]Entry, b.count()), 0
	for j := range list {
		e := &list[j]
		e.Key = b.appendKey(nil, j)
		if e.Key.Kind() == base.KindSetExpiring {
			e.Until = base.Until(b.value(j))
		}
		bytes := len(b.rest(j)) + len(b.value(j))
		e.Bytes, sum = float64(bytes), sum+bytes
	}
	for j := range list {
		list[j].Bytes *= float64(t.SpanBytes(i, i+1)) / float64(sum)
	}
	return list, nil
}
