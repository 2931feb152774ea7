package view

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestReadKeys compares what Reads tells with the list of the keys that were added, in any
// order and again and again; also where a Reset has left memory of others.
func TestReadKeys(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var r Reads
	for _, n := range []int{0, 1, 2, 3, 10, 300} {
		added := make(map[string]bool)
		for range 3 * n {
			key := fmt.Appendf(nil, "%0*d", 1+rng.IntN(40), rng.IntN(n))
			r.Add(key)
			added[string(key)] = true
			clear(key) // it was copied
		}
		if r.Seal(); len(r.keys) != len(added) || r.Empty() != (n == 0) {
			t.Fatalf("%d keys of %d", len(r.keys), len(added))
		}
		for range 3 * (n + 1) {
			start := fmt.Appendf(nil, "%0*d", 1+rng.IntN(40), rng.IntN(n+1))
			end := append(bytes.Clone(start), "12"...)
			if r.Has(start) != added[string(start)] {
				t.Fatalf("Has(%q) is %t", start, r.Has(start))
			}
			var want []string
			for key := range added {
				if string(start) <= key && key < string(end) {
					want = append(want, key)
				}
			}
			first, found := r.First(start, end)
			if found != (len(want) > 0) || found && string(first) != slices.Min(want) {
				t.Fatalf("the first from %q to %q is %q, of %q", start, end, first, want)
			}
		}
		r.Reset()
	}
}

// TestKeysReadAgain: a key that is read again and again takes its memory once, more or less,
// and that of few and short ones alone is kept for others.
func TestKeysReadAgain(t *testing.T) {
	for _, keys := range []int{1, 3, 200, 2000} {
		var r Reads
		for i := range 20 * keys {
			r.Add(fmt.Appendf(nil, "%0300d", i%keys))
			if most := max(4*keys, 8); cap(r.keys) > most {
				t.Fatalf("room for %d after %d reads of %d keys", cap(r.keys), i+1, keys)
			}
		}
		r.Seal()
		r.Reset()
		for _, key := range r.keys[:cap(r.keys)] {
			if cap(key) > 256 {
				t.Fatalf("%d bytes of one of %d keys are kept", cap(key), keys)
			}
		}
		if cap(r.keys) > 256 {
			t.Errorf("room for %d keys is kept", cap(r.keys))
		}
	}
}

// TestReadsKeepLittle: what one transaction has read takes no memory from the next one on,
// also where many ranges have become one.
func TestReadsKeepLittle(t *testing.T) {
	for _, walks := range []int{100, 1000} {
		var r Reads
		for i := range walks {
			r.spans = append(r.spans, span{fmt.Appendf(nil, "%04d", i), fmt.Appendf(nil, "%04d", i+1)})
		}
		r.Seal()
		if len(r.spans) != 1 || !r.Has([]byte("0050")) {
			t.Fatalf("%d ranges", len(r.spans))
		}
		if r.Reset(); !r.Empty() || cap(r.spans) > 256 {
			t.Errorf("after %d walks: %v, room for %d", walks, r.spans, cap(r.spans))
		}
		for _, s := range r.spans[:cap(r.spans)] {
			if s.from != nil || s.to != nil {
				t.Fatalf("after %d walks %v is kept", walks, s)
			}
		}
	}
}
