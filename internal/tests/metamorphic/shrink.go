package metamorphic

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Shrink removes from a failing history what its failure does not need: whole
// operations, in chunks that become smaller (delta debugging), then parts of batches,
// the fillings of values, bounds. Fails says whether a history still fails, in
// whatever way; every operation that is left is needed for that.
func Shrink(h History, fails func(History) bool) History {
	for {
		size := len(h.String())
		h = minimize(h, fails)
		for i := range h {
			h = simplify(h, i, fails)
		}
		if len(h.String()) == size {
			return h
		}
	}
}

// minimize leaves out parts of a list for as long as it fails without them.
func minimize[L ~[]E, E any](list L, fails func(L) bool) L {
	for chunk := (len(list) + 1) / 2; chunk > 0; {
		removed := false
		for end := len(list); end > 0; end -= chunk { // from behind: what is open stays so
			without := slices.Delete(slices.Clone(list), max(end-chunk, 0), end)
			if fails(without) {
				list, removed = without, true
			}
		}
		if !removed || chunk > 1 {
			chunk /= 2
		}
	}
	return list
}

// simplify makes one operation simpler.
func simplify(h History, i int, fails func(History) bool) History {
	try := func(o Operation) bool {
		if o.String() == h[i].String() {
			return false
		}
		changed := slices.Clone(h)
		if changed[i] = o; !fails(changed) {
			return false
		}
		h = changed
		return true
	}
	if o := h[i]; o.Kind == Batch || o.Kind == Submit || o.Kind == Load {
		minimize(o.Writes, func(w []Write) bool {
			o.Writes = w
			return try(o)
		})
	}
	for n := range h[i].Writes {
		for _, size := range []int{0, 1, 1000} {
			o := h[i]
			o.Writes = slices.Clone(o.Writes)
			if v := &o.Writes[n].Value; size < v.Size {
				v.Size, v.Regular = size, true
				if try(o) {
					break
				}
			}
		}
	}
	for _, change := range simplifications {
		o := h[i]
		change(&o)
		try(o)
	}
	return h
}

// simplifications of an operation; each leaves alone what it does not fit.
var simplifications = []func(*Operation){
	func(o *Operation) {
		if o.Kind == Submit {
			o.Kind = Batch
		}
	},
	func(o *Operation) {
		if o.Kind == Batch && len(o.Writes) == 1 {
			o.Kind = o.Writes[0].kind()
		}
	},
	func(o *Operation) { o.Space = nil }, func(o *Operation) { o.KeysOnly = false },
	func(o *Operation) { o.Prefix = nil }, func(o *Operation) { o.Lower = nil }, func(o *Operation) { o.Upper = nil },
	func(o *Operation) { o.Verify = false }, func(o *Operation) { o.ReadOnly = false },
	func(o *Operation) {
		if o.Kind == Restart {
			o.End = CleanClose
		}
	},
	func(o *Operation) {
		if o.Durability != "" {
			o.Durability = ByDefault
		}
	},
}

// maxAttempts are how often a shrunk history may pass before it counts as one that does
// not fail: flushes and compactions go on beside it, each time at other instants.
const maxAttempts = 3

// maxShrinkTime bounds the shrinking, so that the failure is told before the test is
// ended from outside.
const maxShrinkTime = time.Minute

// Explain shrinks a history that failed and says what is left of it as a script,
// which Parse reads.
func (s Subject) Explain(h History, failure *Failure) string {
	var last *Failure
	attempts, began := 1, time.Now()
	fails := func(h History) bool {
		for range attempts {
			if time.Since(began) > maxShrinkTime {
				return false
			}
			if f := s.Compare(h); f != nil {
				last = f
				return true
			}
		}
		return false
	}
	short := h[:min(failure.At+1, len(h))]
	for range maxAttempts {
		if !fails(short) {
			attempts = maxAttempts
		}
	}
	short = Shrink(short, fails)
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %v\n", s.Name, failure)
	if last == nil {
		fmt.Fprintf(&b, "It did not happen again; all %d operations:\n", len(short))
	} else {
		fmt.Fprintf(&b, "The same, or another failure, in %d operations instead of %d: %v\n", len(short), len(h), last)
	}
	return b.String() + "# a script to replay\n" + short.String()
}
