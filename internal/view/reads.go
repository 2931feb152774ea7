package view

import (
	"bytes"
	"slices"
	"sort"
)

// Reads is what a transaction has read of the database: keys, and ranges of keys that it
// has walked. Whether there was anything does not matter: what was not there is read as
// well. The zero value is empty. One goroutine at a time uses it.
//
// A key takes its length and some 50 bytes of memory, and never more than four times that,
// however often it is read; a walk takes its two ends, however long it is.
type Reads struct {
	keys  [][]byte // ascending, once sealed
	spans []span   // once sealed, ascending, and none touches another
}

// span is a range of keys [from, to); a nil to is open.
type span struct{ from, to []byte }

// Empty reports whether nothing was read.
func (r *Reads) Empty() bool { return len(r.keys) == 0 && len(r.spans) == 0 }

// Reset forgets everything. It keeps the memory of a few reads.
func (r *Reads) Reset() {
	const few, fewBytes = 256, 256
	if cap(r.keys) > few || cap(r.spans) > few { // Seal leaves fewer than there were
		*r = Reads{}
	}
	r.keys = slices.DeleteFunc(r.keys, func(key []byte) bool { return cap(key) > fewBytes })[:0]
	clear(r.spans[:cap(r.spans)])
	r.spans = r.spans[:0]
}

// Add adds a key, and copies it.
func (r *Reads) Add(key []byte) {
	if n := len(r.keys); n == cap(r.keys) {
		if r.sort(); 2*len(r.keys) >= n { // otherwise they are few, and were read again and again
			r.keys = slices.Grow(r.keys, n+1)
		}
	}
	n := len(r.keys)
	r.keys = r.keys[:n+1]
	r.keys[n] = append(r.keys[n][:0], key...) // in the memory of one that was there before a Reset
}

// sort sorts the keys, and leaves each of them once.
func (r *Reads) sort() {
	slices.SortFunc(r.keys, bytes.Compare)
	r.keys = slices.CompactFunc(r.keys, bytes.Equal)
}

// Seal ends the reading, so that Has and First can be asked.
func (r *Reads) Seal() {
	r.sort()
	slices.SortFunc(r.spans, func(a, b span) int { return bytes.Compare(a.from, b.from) })
	kept := r.spans[:0]
	for _, s := range r.spans {
		if n := len(kept); n > 0 && kept[n-1].touches(&s) {
			kept[n-1].join(&s)
		} else {
			kept = append(kept, s)
		}
	}
	r.spans = kept
}

// Has reports whether a key was read.
func (r *Reads) Has(key []byte) bool {
	if _, found := slices.BinarySearchFunc(r.keys, key, bytes.Compare); found {
		return true
	}
	i := r.firstSpan(key)
	return i < len(r.spans) && r.spans[i].holds(key)
}

// firstSpan returns the first range that ends behind key.
func (r *Reads) firstSpan(key []byte) int {
	return sort.Search(len(r.spans), func(i int) bool { return r.spans[i].to == nil || bytes.Compare(r.spans[i].to, key) > 0 })
}

// First returns the first key in [start, end) that was read; of a walk, where it begins
// in there. A nil end is open.
func (r *Reads) First(start, end []byte) (first []byte, found bool) {
	within := span{start, end}
	if i := r.firstSpan(start); i < len(r.spans) {
		if first = r.spans[i].from; bytes.Compare(first, start) < 0 {
			first = start
		}
		found = within.holds(first)
	}
	if i, _ := slices.BinarySearchFunc(r.keys, start, bytes.Compare); i < len(r.keys) {
		if k := r.keys[i]; within.holds(k) && (!found || bytes.Compare(k, first) < 0) {
			first, found = k, true
		}
	}
	return first, found
}

// holds reports whether the range contains a key.
func (s *span) holds(key []byte) bool {
	return bytes.Compare(s.from, key) <= 0 && (s.to == nil || bytes.Compare(key, s.to) < 0)
}

// reaches reports whether the range goes on at least up to the end of another one.
func (s *span) reaches(to []byte) bool {
	return s.to == nil || to != nil && bytes.Compare(to, s.to) <= 0
}

// covers reports whether every key of t is one of s.
func (s *span) covers(t *span) bool { return bytes.Compare(s.from, t.from) <= 0 && s.reaches(t.to) }

// touches reports whether no key lies between s and t.
func (s *span) touches(t *span) bool {
	return (s.to == nil || bytes.Compare(s.to, t.from) >= 0) && (t.to == nil || bytes.Compare(t.to, s.from) >= 0)
}

// join adds a range that touches s.
func (s *span) join(t *span) {
	if bytes.Compare(t.from, s.from) < 0 {
		s.from = t.from
	}
	if !s.reaches(t.to) {
		s.to = t.to
	}
}

// Walk notes what an Iterator reads: from where it was asked to start to the key it
// stopped on, that key included, or to the end of its range. A move back from a key reads
// up to, not including, that key. A move that fails may have read all up to the end. Its
// moves are those of the Iterator.
type Walk struct {
	reads     *Reads
	at        int    // of reads.spans, which one grows; -1: there is none yet
	mark, end []byte // where a move begins, and where one onward ends; never nil
}

// NewWalk returns what notes the moves of an iterator.
func (r *Reads) NewWalk() *Walk { return &Walk{reads: r, at: -1, mark: []byte{}} }

// First moves to the first key of the range.
func (w *Walk) First(it *Iterator) bool { return w.forward(it, it.lower, it.First()) }

// SeekGE moves to the first key of the range at or after key.
func (w *Walk) SeekGE(it *Iterator, key []byte) bool {
	if bytes.Compare(key, it.lower) < 0 {
		key = it.lower
	}
	w.mark = append(w.mark[:0], key...) // it may be the iterator's own
	return w.forward(it, w.mark, it.SeekGE(key))
}

// Last moves to the last key of the range.
func (w *Walk) Last(it *Iterator) bool {
	return w.backward(it, span{to: it.upper}, it.Last())
}

// SeekLT moves to the last key of the range before key.
func (w *Walk) SeekLT(it *Iterator, key []byte) bool {
	if it.upper != nil && bytes.Compare(key, it.upper) > 0 {
		key = it.upper
	}
	w.mark = append(w.mark[:0], key...)
	return w.backward(it, span{to: w.mark}, it.SeekLT(key))
}

// Next moves to the next key.
func (w *Walk) Next(it *Iterator) bool {
	switch it.position {
	case nowhere, atStart:
		return w.First(it)
	case atEnd, failed:
		return it.Next()
	}
	w.mark = append(append(w.mark[:0], it.Key()...), 0)
	return w.forward(it, w.mark, it.Next())
}

// Prev moves to the previous key.
func (w *Walk) Prev(it *Iterator) bool {
	switch it.position {
	case nowhere, atEnd:
		return w.Last(it)
	case atStart, failed:
		return it.Prev()
	}
	w.mark = append(w.mark[:0], it.Key()...)
	return w.backward(it, span{to: w.mark}, it.Prev())
}

// forward notes a move onward from a key, that one included.
func (w *Walk) forward(it *Iterator, from []byte, stands bool) bool {
	read := span{from, it.upper}
	if stands {
		w.end = append(append(w.end[:0], it.Key()...), 0)
		read.to = w.end
	}
	return w.note(read, stands)
}

// backward notes a move back from the end of read.
func (w *Walk) backward(it *Iterator, read span, stands bool) bool {
	if read.from = it.lower; stands {
		read.from = it.Key()
	}
	return w.note(read, stands)
}

// note adds what a move has read to what the moves before have, or else to a range of its
// own. It returns whether the move stands on a key.
func (w *Walk) note(read span, stands bool) bool {
	if read.to != nil && bytes.Compare(read.from, read.to) >= 0 {
		return stands // the iterator's range had ended before
	}
	if w.at < 0 || !w.reads.spans[w.at].touches(&read) {
		w.at = len(w.reads.spans)
		w.reads.spans = append(w.reads.spans, span{bytes.Clone(read.from), append([]byte{}, read.from...)})
	}
	s := &w.reads.spans[w.at]
	if bytes.Compare(read.from, s.from) < 0 {
		s.from = append(s.from[:0], read.from...)
	}
	switch {
	case s.reaches(read.to):
	case read.to == nil:
		s.to = nil
	default:
		s.to = append(s.to[:0], read.to...)
	}
	return stands
}
