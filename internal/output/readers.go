package output

import (
	"math"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/internal/ranges"
)

// Readers are those for whom flushes and compactions keep things: the open snapshots,
// and whoever comes later and sees all there is. They cut history into stripes: a
// snapshot at sequence number s sees everything up to and including s, so stripe i holds
// the numbers above snapshot i-1 and up to snapshot i, and the last stripe those above
// every snapshot. The zero value has no snapshot, and no value ends.
type Readers struct {
	Snapshots []base.Seq // ascending, without repetition
	Nows      []int64    // what the clock of each shows, in nanoseconds since 1970, and last that of later readers; ascending, as no clock runs back
}

// stripe returns the stripe of a number.
func (r *Readers) stripe(seq base.Seq) int {
	if len(r.Snapshots) == 0 {
		return 0
	}
	i, _ := slices.BinarySearch(r.Snapshots, seq)
	return i
}

// Merge returns those of some range deletes that readers can tell apart: of each span the
// newest of each stripe.
func (r *Readers) Merge(lists ...ranges.List) ranges.List {
	return ranges.MergeReduced(r.newest, lists...)
}

// newest returns the newest number of each stripe of those that a span has.
func (r *Readers) newest(s ranges.Span) (kept []base.Seq) {
	last := -1
	for _, seq := range s.Seqs {
		if stripe := r.stripe(seq); stripe != last {
			kept, last = append(kept, seq), stripe
		}
	}
	return kept
}

// Oldest returns the oldest snapshot's number, base.MaxSeq if there is none: all readers
// see the same of what is no newer.
func (r *Readers) Oldest() base.Seq { return r.End(0) }

// End returns the last number of the stripe that a number lies in.
func (r *Readers) End(seq base.Seq) base.Seq {
	if stripe := r.stripe(seq); stripe < len(r.Snapshots) {
		return r.Snapshots[stripe]
	}
	return base.MaxSeq
}

// Now returns what the clocks of all have reached who see what has the number, or see
// something newer.
func (r *Readers) Now(seq base.Seq) int64 {
	if len(r.Nows) == 0 {
		return math.MinInt64
	}
	return r.Nows[r.stripe(seq)]
}

// check panics where the promises of the fields are broken.
func (r *Readers) check() {
	if !slices.IsSorted(r.Snapshots) || !slices.IsSorted(r.Nows) || len(r.Nows) > 0 && len(r.Nows) != len(r.Snapshots)+1 {
		panic("invariant: snapshots are not in ascending order, or their clocks")
	}
}
