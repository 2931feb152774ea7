package ranges

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"lsmdb/internal/base"
)

// one is a range delete of keys that are one byte; to 0 is open.
type one struct {
	from, to byte
	seq      base.Seq
}

func (o one) bounds() (start, end []byte) {
	if o.to > 0 {
		end = []byte{o.to}
	}
	return []byte{o.from}, end
}

func (o one) covers(key byte) bool { return o.from <= key && (o.to == 0 || key < o.to) }

// model is the plain definition of a set of range deletes.
type model []one

func (m model) newest(key byte, seq base.Seq) (newest base.Seq) {
	for _, o := range m {
		if o.covers(key) && o.seq <= seq {
			newest = max(newest, o.seq)
		}
	}
	return newest
}

const letters = 24 // keys are 1 to letters

func random(rng *rand.Rand, n int) (m model) {
	for i := range n {
		o := one{byte(1 + rng.IntN(letters)), byte(rng.IntN(letters + 2)), base.Seq(i + 1)}
		m = append(m, o)
	}
	return m
}

// check compares a list, or several that are one set, with the model, within [lower, upper).
func check(t *testing.T, m model, lists []List, lower, upper byte) {
	t.Helper()
	for key := byte(1); key <= letters; key++ {
		for seq := base.Seq(0); seq <= base.Seq(len(m)+1); seq++ {
			want, got := base.Seq(0), base.Seq(0)
			if lower <= key && key < upper {
				want = m.newest(key, seq)
			}
			for _, l := range lists {
				newest := l.Newest([]byte{key}, seq)
				got = max(got, newest)
				w := l.Window([]byte{key}, seq)
				if w.Newest != newest || bytes.Compare(w.From, []byte{key}) > 0 || w.Until != nil && bytes.Compare(w.Until, []byte{key}) <= 0 {
					t.Fatalf("window of %d at %d: %v, newest is %d", key, seq, w, newest)
				}
				for _, end := range []byte{byte(len(w.From)), key} {
					if other := l.Newest(append(w.From[:len(w.From):len(w.From)], end), seq); w.From != nil && end == 0 && other != newest {
						t.Fatalf("window %v says %d, at its start it is %d", w, newest, other)
					}
				}
			}
			if got != want {
				t.Fatalf("%v: newest of %d at %d is %d, want %d", m, key, seq, got, want)
			}
		}
	}
}

func TestListsAgreeWithTheModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		m := random(rng, 1+rng.IntN(12))
		var set Set
		var singles []List
		for _, o := range m {
			start, end := o.bounds()
			set.Add(start, end, o.seq)
			if start[0]++; len(end) > 0 { // it must have been copied
				end[0]++
			}
			start, end = o.bounds()
			singles = append(singles, Of(start, end, o.seq))
		}
		check(t, m, set.Lists(), 0, 255)
		if n := len(set.Lists()); n > 5 {
			t.Errorf("%d additions are %d lists", len(m), n)
		}
		merged := Merge(singles...)
		check(t, m, []List{merged}, 0, 255)
		lower, upper := byte(rng.IntN(letters)), byte(1+rng.IntN(letters))
		clipped := merged.Clip([]byte{lower}, []byte{upper})
		check(t, m, []List{clipped}, lower, upper)
		checkOrder(t, clipped)
		checkOrder(t, merged)
		checkOverlapping(t, m, merged, rng)
		if closed := merged.Clip(nil, []byte{0xff}); len(closed) > 0 {
			again, err := Decode(closed.AppendTo(nil))
			if err != nil || !reflect.DeepEqual(again, closed) {
				t.Fatalf("decoded %v of %v: %v", again, closed, err)
			}
		}
	}
}

// checkOrder insists on what a list promises of its spans.
func checkOrder(t *testing.T, l List) {
	t.Helper()
	var last *Span
	smallest, largest := base.MaxSeq, base.Seq(0)
	for _, s := range l {
		if s.End != nil && bytes.Compare(s.Start, s.End) >= 0 || !slices.IsSortedFunc(s.Seqs, func(a, b base.Seq) int { return int(b) - int(a) }) {
			t.Fatalf("malformed span %v", s)
		}
		if last != nil && !last.endsBy(s.Start) {
			t.Fatalf("span %v follows %v", s, *last)
		}
		if last != nil && bytes.Equal(last.End, s.Start) && slices.Equal(last.Seqs, s.Seqs) {
			t.Fatalf("spans %v and %v could be one", *last, s)
		}
		last = &s
		smallest, largest = min(smallest, slices.Min(s.Seqs)), max(largest, slices.Max(s.Seqs))
	}
	if len(l) == 0 {
		return
	}
	if a, b := l.Seqs(); a != smallest || b != largest {
		t.Fatalf("numbers from %d to %d, want %d to %d", a, b, smallest, largest)
	}
}

func checkOverlapping(t *testing.T, m model, l List, rng *rand.Rand) {
	t.Helper()
	for range 20 {
		lower, upper := byte(1+rng.IntN(letters)), byte(1+rng.IntN(letters))
		if lower > upper {
			lower, upper = upper, lower
		}
		overlaps := false
		for key := lower; key <= upper; key++ {
			overlaps = overlaps || m.newest(key, base.MaxSeq) > 0
		}
		if got := len(l.Overlapping([]byte{lower}, []byte{upper})) > 0; got != overlaps {
			t.Fatalf("%v: %d to %d overlaps: %v, want %v", m, lower, upper, got, overlaps)
		}
	}
}

func TestReduce(t *testing.T) {
	l := Merge(Of([]byte("a"), []byte("m"), 1), Of([]byte("f"), nil, 2))
	newest := l.Reduce(func(s Span) []base.Seq { return s.Seqs[:1] })
	if got := fmt.Sprint([]Span(newest)); got != "[{[97] [102] [1]} {[102] [] [2]}]" {
		t.Error(got)
	}
	if old := l.Reduce(func(s Span) []base.Seq { return s.Seqs[len(s.Seqs):] }); len(old) > 0 || old.Count() != 0 {
		t.Error(old)
	}
	if l.Count() != 4 {
		t.Errorf("%v counts %d", l, l.Count())
	}
	start, end := l.Bounds()
	if string(start) != "a" || end != nil {
		t.Errorf("from %q to %q", start, end)
	}
}

// TestNestedRangesStaySmall: whoever deletes everything up to some key, again and again,
// takes memory for what was done, not for its square, neither in a set nor in what is
// kept of it.
func TestNestedRangesStaySmall(t *testing.T) {
	const n = 4000
	var set Set
	sum := int64(0)
	for seq := base.Seq(1); seq <= n; seq++ {
		sum += set.Add(nil, fmt.Appendf(nil, "%05d", seq), seq)
	}
	numbers := uint64(0)
	for _, l := range set.Lists() {
		numbers += l.Count()
	}
	if numbers > maxNumbers*n || int64(numbers) != sum || len(set.Lists()) > n/maxNumbers {
		t.Errorf("%d range deletes are %d numbers in %d lists, and were counted as %d", n, numbers, len(set.Lists()), sum)
	}
	for seq := base.Seq(1); seq < n; seq += 77 {
		if got := set.Newest(fmt.Appendf(nil, "%05d", seq), n/2+seq/2); got != n/2+seq/2 {
			t.Errorf("the newest before %d that covers key %d is %d", n/2+seq/2, seq, got)
		}
	}
	longest := 0
	kept := MergeReduced(func(s Span) []base.Seq {
		longest = max(longest, len(s.Seqs))
		return s.Seqs[:1]
	}, set.Lists()...)
	if longest > 2*maxNumbers || kept.Count() != 1 || kept.Newest(nil, base.MaxSeq) != n {
		t.Errorf("spans of up to %d numbers were reduced to %d", longest, kept.Count())
	}
}

func TestEmptyRanges(t *testing.T) {
	var set Set
	set.Add([]byte("b"), []byte("a"), 1)
	set.Add([]byte("b"), []byte("b"), 2)
	set.Add(nil, []byte{}, 3)
	if len(set.Lists()) > 0 || Of(nil, []byte{}, 1) != nil || Merge() != nil || len(Merge(nil, List{})) > 0 {
		t.Error("a range without keys is not empty")
	}
	var none List
	if none.Newest(nil, 1) != 0 || none.Window(nil, 1).Newest != 0 || len(none.Clip(nil, nil)) > 0 || len(none.Overlapping(nil, nil)) > 0 {
		t.Error("the nil list is not empty")
	}
	everything := Of(nil, nil, 1)
	if everything.Newest([]byte{}, 1) != 1 || everything.Newest([]byte("\xff"), 1) != 1 {
		t.Error("an open range misses keys")
	}
}

// TestDecodeRefusesLongBounds: the longest bound is the successor of the longest key.
func TestDecodeRefusesLongBounds(t *testing.T) {
	for _, c := range []struct {
		bytes int
		sound bool
	}{{MaxBoundBytes, true}, {MaxBoundBytes + 1, false}} {
		_, err := Decode(Of([]byte("a"), bytes.Repeat([]byte("b"), c.bytes), 1).AppendTo(nil))
		if (err == nil) != c.sound || err != nil && len(err.Error()) > 100 {
			t.Errorf("a bound of %d bytes: %v", c.bytes, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Merge(Of([]byte("a"), []byte("m"), 1), Of([]byte("f"), []byte("z"), 2)).AppendTo(nil))
	f.Add([]byte{0, 1, 'b', 1, 1})
	f.Fuzz(func(t *testing.T, p []byte) {
		l, err := Decode(p)
		if err != nil {
			return
		}
		for _, s := range l {
			if bytes.Compare(s.Start, s.End) >= 0 || l.Newest(s.Start, base.MaxSeq) != s.Seqs[0] {
				t.Fatalf("%v of %x", s, p)
			}
		}
		again, err := Decode(l.AppendTo(nil))
		if err != nil || !reflect.DeepEqual(again, l) {
			t.Fatalf("%v became %v, %v", l, again, err)
		}
	})
}
