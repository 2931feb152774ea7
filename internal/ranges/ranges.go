// Package ranges holds range deletes as sorted lists of spans that do not overlap.
//
// A range delete says that no key of [start, end) has a value as of its sequence number.
// Where several overlap, their range is cut at every start and end, so that each key lies
// in one span at most, with the numbers of all range deletes that cover it. To look a key
// up is then one binary search. Memtables and tables hold the same lists.
//
// A List is immutable and safe for concurrent use. It shares the bytes of its spans with
// the lists that it was made of.
package ranges

import (
	"bytes"
	"cmp"
	"iter"
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

// List is a set of range deletes. The nil List is empty.
type List struct{ spans []Span }

// Of returns the list of one range delete, which is empty where end is not behind start.
// A nil end is open. It keeps start and end.
func Of(start, end []byte, seq base.Seq) *List {
	if end != nil && bytes.Compare(start, end) >= 0 {
		return nil
	}
	return &List{[]Span{{start, end, []base.Seq{seq}}}}
}

// Empty reports whether the list holds no range delete.
func (l *List) Empty() bool { return l == nil || len(l.spans) == 0 }

// All walks the spans in ascending order. They are not to be changed.
func (l *List) All() iter.Seq[Span] {
	return func(yield func(Span) bool) {
		if l == nil {
			return
		}
		for _, s := range l.spans {
			if !yield(s) {
				return
			}
		}
	}
}

// Count returns the number of spans, each counted for every range delete that covers it.
func (l *List) Count() (count uint64) {
	for s := range l.All() {
		count += uint64(len(s.Seqs))
	}
	return count
}

// Bounds returns the start of the first span and the end of the last one of a list that
// is not empty.
func (l *List) Bounds() (start, end []byte) { return l.spans[0].Start, l.spans[len(l.spans)-1].End }

// Seqs returns the smallest and the largest number of a list that is not empty.
func (l *List) Seqs() (smallest, largest base.Seq) {
	smallest = base.MaxSeq
	for _, s := range l.spans {
		smallest, largest = min(smallest, s.Seqs[len(s.Seqs)-1]), max(largest, s.Seqs[0])
	}
	return smallest, largest
}

// find returns the index of the first span that does not end before key.
func (l *List) find(key []byte) int {
	if l == nil {
		return 0
	}
	return sort.Search(len(l.spans), func(i int) bool { return !l.spans[i].endsBy(key) })
}

// Newest returns the number of the newest range delete that covers key and is not newer
// than seq, 0 if there is none.
func (l *List) Newest(key []byte, seq base.Seq) base.Seq {
	i := l.find(key)
	if l.Empty() || i == len(l.spans) || bytes.Compare(key, l.spans[i].Start) < 0 {
		return 0
	}
	return l.spans[i].newest(seq)
}

// Window says what covers the keys of [From, Until): nil bounds are open.
type Window struct {
	From, Until []byte
	Newest      base.Seq // see List.Newest; 0: nothing covers them
}

// Window returns a window that holds key, as large as it can be told.
func (l *List) Window(key []byte, seq base.Seq) (w Window) {
	if l.Empty() {
		return w
	}
	i := l.find(key)
	if i < len(l.spans) && bytes.Compare(l.spans[i].Start, key) <= 0 {
		s := &l.spans[i]
		return Window{s.Start, s.End, s.newest(seq)}
	}
	if i > 0 {
		w.From = l.spans[i-1].End
	}
	if i < len(l.spans) {
		w.Until = l.spans[i].Start
	}
	return w
}

// Covers reports whether every key from lower to upper, both included, is covered by a
// range delete with a number from oldest to newest.
func (l *List) Covers(lower, upper []byte, oldest, newest base.Seq) bool {
	for i := l.find(lower); l != nil && i < len(l.spans); i++ {
		s := &l.spans[i]
		if bytes.Compare(s.Start, lower) > 0 || s.newest(newest) < oldest {
			return false
		}
		if !s.endsBy(upper) {
			return true
		}
		lower = s.End
	}
	return false
}

// Overlapping returns the spans that hold a key from lower to upper, both included. A nil
// bound is open.
func (l *List) Overlapping(lower, upper []byte) []Span {
	if l.Empty() {
		return nil
	}
	rest := l.spans[l.find(lower):]
	n := sort.Search(len(rest), func(i int) bool { return upper != nil && bytes.Compare(rest[i].Start, upper) > 0 })
	return rest[:n]
}

// Clip returns the parts of the list within [lower, upper). A nil bound is open.
func (l *List) Clip(lower, upper []byte) *List {
	if l.Empty() {
		return nil
	}
	var b builder
	for _, s := range l.spans[l.find(lower):] {
		if upper != nil && bytes.Compare(s.Start, upper) >= 0 {
			break
		}
		if bytes.Compare(s.Start, lower) < 0 {
			s.Start = lower
		}
		if upper != nil && !s.endsBy(upper) {
			s.End = upper
		}
		b.add(s)
	}
	return b.list()
}

// Reduce returns the list in which each span has the numbers that keep returns of it, in
// the same order; those without any are dropped.
func (l *List) Reduce(keep func(Span) []base.Seq) *List {
	var b builder
	for s := range l.All() {
		if s.Seqs = keep(s); len(s.Seqs) > 0 {
			b.add(s)
		}
	}
	return b.list()
}

// Merge returns a list of all range deletes of some lists.
func Merge(lists ...*List) *List { return MergeReduced(nil, lists...) }

// MergeReduced is Merge followed by Reduce with keep, for which it does not matter what is
// reduced before. It does so on the way, so that nothing long comes up that is not kept.
func MergeReduced(keep func(Span) []base.Seq, lists ...*List) *List {
	lists = slices.DeleteFunc(slices.Clone(lists), (*List).Empty)
	reduce := func(i int) {
		if keep != nil {
			lists[i] = lists[i].Reduce(keep)
		}
	}
	for i := range lists {
		reduce(i)
	}
	for len(lists) > 1 {
		half := len(lists) / 2
		for i := range half {
			lists[i] = merge(lists[i], lists[len(lists)-1-i])
			reduce(i)
		}
		lists = lists[:len(lists)-half]
	}
	if len(lists) == 0 {
		return nil
	}
	return lists[0]
}

func merge(x, y *List) *List {
	var b builder
	a, c := slices.Clone(x.spans), slices.Clone(y.spans) // their first spans shrink
	for len(a) > 0 && len(c) > 0 {
		if bytes.Compare(a[0].Start, c[0].Start) > 0 {
			a, c = c, a
		}
		s, other := a[0], &c[0]
		switch {
		case s.endsBy(other.Start):
			b.add(s)
			a = a[1:]
		case !bytes.Equal(s.Start, other.Start):
			a[0].Start, s.End = other.Start, other.Start
			b.add(s)
		default:
			if s.End == nil || other.End != nil && bytes.Compare(other.End, s.End) < 0 {
				s.End = other.End
			}
			s.Seqs = union(s.Seqs, other.Seqs)
			b.add(s)
			a, c = behind(a, s.End), behind(c, s.End)
		}
	}
	for _, s := range append(a, c...) {
		b.add(s)
	}
	return b.list()
}

// behind takes what lies before end off the first of some spans.
func behind(spans []Span, end []byte) []Span {
	if end == nil || spans[0].endsBy(end) {
		return spans[1:]
	}
	spans[0].Start = end
	return spans
}

// union merges two descending lists of numbers.
func union(a, b []base.Seq) []base.Seq {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(a, b base.Seq) int { return cmp.Compare(b, a) })
	return slices.Compact(all)
}

// builder makes one span of neighbours that the same range deletes cover.
type builder struct{ spans []Span }

func (b *builder) add(s Span) {
	if n := len(b.spans); n > 0 {
		last := &b.spans[n-1]
		if bytes.Equal(last.End, s.Start) && slices.Equal(last.Seqs, s.Seqs) {
			last.End = s.End
			return
		}
	}
	b.spans = append(b.spans, s)
}

func (b *builder) list() *List {
	if len(b.spans) == 0 {
		return nil
	}
	return &List{b.spans}
}
