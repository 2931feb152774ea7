package view

import (
	"fmt"
	"testing"
)

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
