package output

import (
	"bytes"
	"slices"

	"lsmdb/internal/base"
)

// Retention decides which versions of a key live on when entries are written
// again. The live snapshots cut history into stripes: a snapshot at sequence
// number s sees everything up to and including s, so stripe i holds the numbers
// above snapshot i-1 and up to snapshot i, and the last stripe those above every
// snapshot. All readers of one stripe see the same version of a key, the newest in
// it: that one is kept, and every older one of the stripe is shadowed.
//
// A delete is itself dropped only in the oldest stripe, where nobody looks for an
// older version, and only if nothing deeper in the tree holds the key: otherwise
// the older version there would come back.
//
// A Retention belongs to one goroutine.
type Retention struct {
	snapshots []base.Seq
	elide     func(userKey []byte) bool

	started bool
	user    []byte // user key of the last entry
	stripe  int    // stripe of the last entry
}

// NewRetention keeps what the live snapshots, given in ascending order, and
// readers of the newest state can see. elide says whether nothing deeper in the
// tree holds a user key; it is asked with ascending keys. Nil: never.
func NewRetention(snapshots []base.Seq, elide func(userKey []byte) bool) *Retention {
	if !slices.IsSorted(snapshots) {
		panic("invariant: snapshots are not in ascending order")
	}
	return &Retention{snapshots: snapshots, elide: elide}
}

// Keep reports whether the entry with this key must be written. It is fed every
// entry, in internal order.
func (r *Retention) Keep(key base.InternalKey) bool {
	user, trailer := key.UserKey(), key.Trailer()
	stripe := 0
	if len(r.snapshots) > 0 {
		stripe, _ = slices.BinarySearch(r.snapshots, trailer.Seq())
	}
	if r.started && bytes.Equal(user, r.user) {
		if stripe == r.stripe {
			return false
		}
	} else {
		r.user = append(r.user[:0], user...)
		r.started = true
	}
	r.stripe = stripe
	droppable := stripe == 0 && trailer.Kind() == base.KindDelete && r.elide != nil
	return !droppable || !r.elide(user)
}
