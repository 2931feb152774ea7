package output

import (
	"bytes"
	"fmt"

	"lsmdb/internal/base"
	"lsmdb/internal/ranges"
)

// Scope is what a Retention knows of the world.
type Scope struct {
	Readers Readers
	Ranges  ranges.List // the range deletes of all that is written again

	// Elide says whether nothing deeper in the tree holds a user key; it is asked with
	// ascending keys. ElideRange says so of the keys in [start, end). Nil: never.
	Elide      func(userKey []byte) bool
	ElideRange func(start, end []byte) bool

	Merger *base.Merger    // nil: operands stay as they are
	Failed func(err error) // is told when the Merger fails; not nil if there is one
}

// Retention decides which versions of a key live on when entries are written again. All
// readers of one stripe (see Readers) see the same of a key: what its newest version
// there makes of those below. So of each stripe the newest version is kept, and
//
//   - every older one is shadowed, but for what merge operands lie on. Operands are merged
//     onto each other, and onto the value in their stripe. What they lie on is known to
//     be nothing where a delete of their stripe is below them or, in the oldest stripe,
//     where nothing deeper in the tree holds the key;
//   - what a range delete of the same stripe covers is gone;
//   - a value that has ended, as all see it who see it at all, is a delete. Onto one that
//     will end nothing is merged: operands outlive it;
//   - a delete is itself dropped only in the oldest stripe, where nobody looks for an
//     older version, and only if nothing deeper in the tree holds the key: otherwise the
//     older version there would come back. So is a range delete.
//
// Where the Merger fails, the key keeps its operands, and so the error its readers get.
//
// A Retention belongs to one goroutine.
type Retention struct {
	Scope

	user     []byte    // user key of the last entry
	stripe   int       // stripe of the last entry; -1: there was none
	decided  bool      // whatever is older in the stripe is of no interest
	covered  base.Seq  // newest range delete of the stripe that covers the key; 0: none
	operands []operand // that wait for what they lie on, newest first
	held     []byte    // memory of their values; never nil, as an empty operand is one, too
	hold     int       // how many bytes may wait
	scratch  base.InternalKey
}

type operand struct {
	seq   base.Seq
	value []byte
}

// heldBytes is how many bytes of operands may wait before they are merged onto each other.
const heldBytes = 1 << 20

// Write takes an entry that is kept. It may not keep the memory.
type Write func(key base.InternalKey, value []byte) error

// NewRetention keeps what readers need.
func NewRetention(s Scope) *Retention {
	s.Readers.check()
	return &Retention{Scope: s, stripe: -1, held: []byte{}, hold: heldBytes}
}

// Take is fed every entry, in internal order, and writes what must be kept of it and of
// the entries before it.
func (r *Retention) Take(key base.InternalKey, value []byte, write Write) error {
	user, trailer := key.UserKey(), key.Trailer()
	stripe := r.Readers.stripe(trailer.Seq())
	same := bytes.Equal(user, r.user)
	if !same || stripe != r.stripe {
		if err := r.End(write); err != nil {
			return err
		}
		if !same {
			r.user = append(r.user[:0], user...)
		}
		r.stripe, r.covered = stripe, r.coveredBy(trailer.Seq(), stripe)
	} else if r.decided {
		return nil
	}
	kind := trailer.Kind()
	r.decided = kind != base.KindMerge || trailer.Seq() < r.covered
	switch {
	case trailer.Seq() < r.covered:
		_, err := r.settle(nil, true, write)
		return err
	case kind == base.KindMerge && r.Merger != nil:
		return r.take(operand{trailer.Seq(), value}, write)
	case kind == base.KindSetExpiring && base.Until(value) > r.Readers.Now(trailer.Seq()):
		if _, err := r.settle(nil, false, write); err != nil {
			return err
		}
		return write(key, value)
	case kind == base.KindSetExpiring:
		kind = base.KindDelete
	}
	if len(r.operands) > 0 {
		var older []byte
		if kind == base.KindSet {
			older = append([]byte{}, value...) // not nil, even if it is empty
		}
		if folded, err := r.settle(older, true, write); folded || err != nil {
			return err
		}
	}
	switch {
	case kind == base.KindDelete && r.elides():
		return nil
	case kind != trailer.Kind():
		return r.writeOne(operand{seq: trailer.Seq()}, kind, write)
	}
	return write(key, value)
}

// coveredBy returns the newest range delete that covers the key, of a stripe, in which seq
// lies; 0 if there is none.
func (r *Retention) coveredBy(seq base.Seq, stripe int) base.Seq {
	if len(r.Ranges) == 0 {
		return 0
	}
	if newest := r.Ranges.Newest(r.user, r.Readers.End(seq)); r.Readers.stripe(newest) == stripe {
		return newest
	}
	return 0
}

// End writes what is left when all entries of a stripe of a key were taken, or all there
// are: nothing more is there to lie below its operands.
func (r *Retention) End(write Write) error {
	if len(r.operands) == 0 {
		return nil
	}
	_, err := r.settle(nil, r.covered > 0 || r.elides(), write)
	return err
}

// elides reports whether nothing older can lie below the last entry.
func (r *Retention) elides() bool { return r.stripe == 0 && r.Elide != nil && r.Elide(r.user) }

// take has an operand wait for what it lies on.
func (r *Retention) take(o operand, write Write) error {
	if len(r.operands) == 0 {
		r.held, r.hold = r.held[:0], heldBytes
	}
	r.held = append(r.held, o.value...)
	o.value = r.held[len(r.held)-len(o.value):]
	r.operands = append(r.operands, o)
	if len(r.held) < r.hold || len(r.operands) == 1 {
		return nil
	}
	value, err := r.fold(r.operands)
	if err != nil {
		return r.fail(err, write)
	}
	r.operands = append(r.operands[:0], operand{r.operands[0].seq, value})
	r.held, r.hold = []byte{}, max(heldBytes, 2*len(value))
	return nil
}

// settle writes the operands that wait, as one: merged onto a value or nothing, where
// that is known, or else onto each other. Folded is false where they were none or stay
// what they were, so that what is below them is needed.
func (r *Retention) settle(older []byte, known bool, write Write) (folded bool, err error) {
	if len(r.operands) == 0 {
		return false, nil
	}
	kind := base.KindMerge
	value, err := r.fold(r.operands)
	if err == nil && known {
		kind = base.KindSet
		value, err = r.merge(older, value)
	}
	if err != nil {
		return false, r.fail(err, write)
	}
	newest := operand{r.operands[0].seq, value}
	r.operands = r.operands[:0]
	return known, r.writeOne(newest, kind, write)
}

// fail writes the operands that wait as they are.
func (r *Retention) fail(cause error, write Write) error {
	r.Failed(cause)
	for _, o := range r.operands {
		if err := r.writeOne(o, base.KindMerge, write); err != nil {
			return err
		}
	}
	r.operands = r.operands[:0]
	return nil
}

// fold merges operands onto each other. Halves are merged first, so that appending many
// to a long value does not copy it for each.
func (r *Retention) fold(newestFirst []operand) ([]byte, error) {
	if len(newestFirst) == 1 {
		return newestFirst[0].value, nil
	}
	half := len(newestFirst) / 2
	older, err := r.fold(newestFirst[half:])
	if err != nil {
		return nil, err
	}
	newer, err := r.fold(newestFirst[:half])
	if err != nil {
		return nil, err
	}
	return r.merge(older, newer)
}

// merge asks the Merger. That is the program's code: it may panic.
func (r *Retention) merge(older, newer []byte) (value []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("merging the operands of key %q: panic in merge operator %s: %v", r.user, r.Merger.Name, p)
		}
	}()
	return new(base.Fold).Onto(r.Merger, r.user, older, [][]byte{newer})
}

func (r *Retention) writeOne(o operand, kind base.Kind, write Write) error {
	r.scratch = base.AppendInternalKey(r.scratch[:0], r.user, base.MakeTrailer(o.seq, kind))
	return write(r.scratch, o.value)
}

// Keep returns the range deletes that must be kept: of each span the newest of each
// stripe, but for the oldest stripe's where there is nothing left for them to cover.
func (r *Retention) Keep() ranges.List {
	return r.Ranges.Reduce(func(s ranges.Span) []base.Seq {
		kept := r.Readers.newest(s)
		oldest := len(kept) - 1
		if r.ElideRange != nil && r.Readers.stripe(kept[oldest]) == 0 && r.ElideRange(s.Start, s.End) {
			return kept[:oldest]
		}
		return kept
	})
}
