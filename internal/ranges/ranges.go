// Package ranges holds range deletes as sorted lists of spans that do not overlap.
//
// A range delete says that no key of [start, end) has a value as of its sequence number.
// Where several overlap, their range is cut at every start and end, so that each key lies
// in one span at most, with the numbers of all range deletes that cover it. To look a key
// up is then one binary search. Memtables and tables hold the same lists.
//
// A List is never changed once it is made, and so safe for concurrent use. It shares the
// bytes of its spans with the lists that it was made of.
package ranges

import (
	"bytes"
	"cmp"
	"slices"
	"sort"

	"lsmdb/internal/base"
)

// Span is a range of keys that the same range deletes cover.
type Span struct {
	Start, End []byte     // [Start, End); a nil End: no upper bound
	Seqs       []base.Seq // of the range deletes, newest first; never empty
}

// newest returns the newest number that is at most seq, 0 if there is none.
func (s *Span) newest(seq base.Seq) base.Seq {
	if s.Seqs[0] <= seq { // nearly always
		return s.Seqs[0]
	}
	i := sort.Search(len(s.Seqs), func(i int) bool { return s.Seqs[i] <= seq })
	if i == len(s.Seqs) {
		return 0
	}
	return s.Seqs[i]
}

// endsBy reports whether every key of the span lies before key.
func (s *Span) endsBy(key []byte) bool { return s.End != nil && bytes.Compare(s.End, key) <= 0 }

// List is a set of range deletes: its spans in ascending order.
type List []Span

// Of returns the list of one range delete, which is empty where end is not behind start.
// A nil end is open. It keeps start and end.
func Of(start, end []byte, seq base.Seq) List {
	if end != nil && bytes.Compare(start, end) >= 0 {
		return nil
	}
	return List{{start, end, []base.Seq{seq}}}
}

// Count returns the number of spans, each counted for every range delete that covers it.
func (l List) Count() (count uint64) {
	for _, s := range l {
		count += uint64(len(s.Seqs))
	}
	return count
}

// Bounds returns the start of the first span and the end of the last one of a list that
// is not empty.
func (l List) Bounds() (start, end []byte) { return l[0].Start, l[len(l)-1].End }

// Seqs returns the smallest and the largest number of a list that is not empty.
func (l List) Seqs() (smallest, largest base.Seq) {
	smallest = base.MaxSeq
	for _, s := range l {
		smallest, largest = min(smallest, s.Seqs[len(s.Seqs)-1]), max(largest, s.Seqs[0])
	}
	return smallest, largest
}

// find returns the index of the first span that does not end before key, and reports
// whether that one holds it.
func (l List) find(key []byte) (i int, holds bool) {
	i = sort.Search(len(l), func(i int) bool { return !l[i].endsBy(key) })
	return i, i < len(l) && bytes.Compare(l[i].Start, key) <= 0
}

// Newest returns the number of the newest range delete that covers key and is not newer
// than seq, 0 if there is none.
func (l List) Newest(key []byte, seq base.Seq) base.Seq {
	if i, holds := l.find(key); holds {
		return l[i].newest(seq)
	}
	return 0
}

// Window says what covers the keys of [From, Until): nil bounds are open.
type Window struct {
	From, Until []byte
	Newest      base.Seq // see List.Newest; 0: nothing covers them
}

// Window returns a window that holds key, as large as it can be told.
func (l List) Window(key []byte, seq base.Seq) (w Window) {
	i, holds := l.find(key)
	if holds {
		s := &l[i]
		return Window{s.Start, s.End, s.newest(seq)}
	}
	if i > 0 {
		w.From = l[i-1].End
	}
	if i < len(l) {
		w.Until = l[i].Start
	}
	return w
}

// Overlapping returns the part of the list whose spans hold a key from lower to upper, both included. A nil
// bound is open.
func (l List) Overlapping(lower, upper []byte) List {
	i, _ := l.find(lower)
	rest := l[i:]
	n := sort.Search(len(rest), func(i int) bool { return upper != nil && bytes.Compare(rest[i].Start, upper) > 0 })
	return rest[:n]
}

// Clip returns the parts of the list within [lower, upper). A nil bound is open.
func (l List) Clip(lower, upper []byte) (clipped List) {
	for _, s := range l.Overlapping(lower, upper) {
		if bytes.Compare(s.Start, lower) < 0 {
			s.Start = lower
		}
		if s.End = nearer(s.End, upper); !s.endsBy(s.Start) {
			clipped = clipped.add(s)
		}
	}
	return clipped
}

// nearer returns that of two ends which lies before the other one.
func nearer(a, b []byte) []byte {
	if a == nil || b != nil && bytes.Compare(b, a) < 0 {
		return b
	}
	return a
}

// Reduce returns the list in which each span has the numbers that keep returns of it, in
// the same order; those without any are dropped. A nil keep keeps all.
func (l List) Reduce(keep func(Span) []base.Seq) (reduced List) {
	if keep == nil {
		return l
	}
	for _, s := range l {
		if s.Seqs = keep(s); len(s.Seqs) > 0 {
			reduced = reduced.add(s)
		}
	}
	return reduced
}

// raised returns the list with numbers that are larger.
func (l List) raised(by base.Seq) List {
	raised, numbers := slices.Clone(l), make([]base.Seq, 0, l.Count())
	for i, s := range raised {
		start := len(numbers)
		for _, seq := range s.Seqs {
			numbers = append(numbers, seq+by)
		}
		raised[i].Seqs = numbers[start:len(numbers):len(numbers)]
	}
	return raised
}

// Merge returns a list of all range deletes of some lists.
func Merge(lists ...List) List { return MergeReduced(nil, lists...) }

// MergeReduced is Merge followed by Reduce with keep, for which it does not matter what is
// reduced before. It does so on the way, so that nothing long comes up that is not kept.
func MergeReduced(keep func(Span) []base.Seq, lists ...List) List {
	half := len(lists) / 2
	switch len(lists) {
	case 0:
		return nil
	case 1:
		return lists[0].Reduce(keep)
	}
	return merge(MergeReduced(keep, lists[:half]...), MergeReduced(keep, lists[half:]...)).Reduce(keep)
}

func merge(x, y List) (merged List) {
	a, c := slices.Clone(x), slices.Clone(y) // their first spans shrink
	for len(a) > 0 && len(c) > 0 {
		if bytes.Compare(a[0].Start, c[0].Start) > 0 {
			a, c = c, a
		}
		s := a[0]
		if bytes.Equal(s.Start, c[0].Start) {
			s.End, s.Seqs = nearer(s.End, c[0].End), union(s.Seqs, c[0].Seqs)
			c = behind(c, s.End)
		} else {
			s.End = nearer(s.End, c[0].Start)
		}
		a = behind(a, s.End)
		merged = merged.add(s)
	}
	for _, s := range append(a, c...) {
		merged = merged.add(s)
	}
	return merged
}

// behind takes what lies before end off the first of some spans.
func behind(spans List, end []byte) List {
	if end == nil || spans[0].endsBy(end) {
		return spans[1:]
	}
	spans[0].Start = end
	return spans
}

// add appends the next span to a list that is being made. It makes one of neighbours that
// the same range deletes cover.
func (l List) add(s Span) List {
	if n := len(l); n > 0 {
		last := &l[n-1]
		if bytes.Equal(last.End, s.Start) && slices.Equal(last.Seqs, s.Seqs) {
			last.End = s.End
			return l
		}
	}
	return append(l, s)
}

// union merges two descending lists of numbers.
func union(a, b []base.Seq) []base.Seq {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(a, b base.Seq) int { return cmp.Compare(b, a) })
	return slices.Compact(all)
}
