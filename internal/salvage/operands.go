package salvage

import (
	"bytes"
	"fmt"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/internal/merge"
	"lsmdb/internal/ranges"
)

// An operand is nothing by itself: what it makes depends on what lies below it. If something
// there is lost, a value would come out that the key never had. So an operand is kept only if no
// loss covers a number between it and what it lies on, down to a value, a delete or the
// beginning of the history. Where that is not so, the operands above the place are left out, and
// what is below them shows: a value that the key once had. What is left out is reported.
//
// Where nothing is known to be missing, but no MANIFEST says that all is there, operands are
// kept. Whoever has lost a MANIFEST and nothing else gets all values back as they were; the
// report says that they are doubtful.

// hole is a loss, and what was left out because of it.
type hole struct {
	Loss
	leftOut        uint64   // operands
	from, to       []byte   // the first and the last of their keys
	oldest, newest base.Seq // of their numbers
}

// operands decides which operands are kept. Keys come in ascending order.
type operands struct {
	ahead   *merge.Iterator // walks all versions, not behind the writer; nil: nothing is missing
	deletes ranges.List
	holes   []*hole // not reached yet, by their first key
	active  []*hole // that may cover the current key
}

// newOperands returns what decides, where that is needed.
func (r *rescue) newOperands(deletes ranges.List) (*operands, error) {
	o := &operands{deletes: deletes}
	if len(r.certain) == 0 || !r.hasOperands() {
		return o, nil
	}
	o.holes = slices.Clone(r.certain)
	slices.SortStableFunc(o.holes, func(a, b *hole) int { return bytes.Compare(a.From, b.From) })
	var err error
	if o.ahead, _, err = r.merged(); err == nil && !o.ahead.First() {
		err = o.ahead.Err()
	}
	return o, err
}

// hasOperands reports whether anything that was rescued is an operand.
func (r *rescue) hasOperands() bool {
	return r.log.merges > 0 || slices.ContainsFunc(r.tables, func(t *table) bool { return t.merges > 0 })
}

// limit returns the number up to which operands of a key count, whose newest version is one; and
// the hole above that.
func (o *operands) limit(user []byte) (limit base.Seq, why *hole, err error) {
	limit = base.MaxSeq
	if o.ahead == nil {
		return limit, nil, nil
	}
	for o.ahead.Valid() && bytes.Compare(o.ahead.Key().UserKey(), user) < 0 {
		o.ahead.Next()
	}
	o.reach(user)
	covered := o.deletes.Newest(user, base.MaxSeq)
	above, based := base.Seq(0), false // the operand that what comes next lies below
	step := func(lower base.Seq) {
		if above == 0 {
			return
		}
		if h := o.between(lower, above); h != nil {
			limit, why = lower, h
		}
	}
	for ; o.ahead.Valid() && bytes.Equal(o.ahead.Key().UserKey(), user) && !based; o.ahead.Next() {
		t := o.ahead.Key().Trailer()
		step(max(t.Seq(), covered))
		based = t.Seq() < covered || t.Kind() != base.KindMerge
		above = t.Seq()
	}
	if !based {
		step(covered)
	}
	return limit, why, o.ahead.Err()
}

// reach makes active the holes that may cover a key.
func (o *operands) reach(user []byte) {
	for len(o.holes) > 0 && bytes.Compare(o.holes[0].From, user) <= 0 {
		o.active, o.holes = append(o.active, o.holes[0]), o.holes[1:]
	}
	o.active = slices.DeleteFunc(o.active, func(h *hole) bool { return h.To != nil && bytes.Compare(h.To, user) < 0 })
}

// between returns an active hole in which numbers lie that are larger than one and smaller than
// another.
func (o *operands) between(lower, upper base.Seq) *hole {
	for _, h := range o.active {
		last := h.LastSeq
		if last == 0 {
			last = base.MaxSeq
		}
		if max(lower+1, h.FirstSeq) <= min(upper-1, last) {
			return h
		}
	}
	return nil
}

// leaveOut notes an operand that is left out, as only what has a number up to a limit counts. It may
// be what a flush has made of several above that.
func (h *hole) leaveOut(key base.InternalKey, limit base.Seq) {
	if h.leftOut == 0 {
		h.from, h.oldest = append([]byte{}, key.UserKey()...), limit+1
	}
	h.leftOut++
	h.to = append(h.to[:0], key.UserKey()...)
	h.oldest, h.newest = min(h.oldest, limit+1), max(h.newest, key.Seq())
}

// reportOperands reports what was left out.
func (r *rescue) reportOperands() {
	for _, h := range r.certain {
		if h.leftOut > 0 {
			r.lose(Loss{File: h.File, Offset: h.Offset, From: h.from, To: h.to, FirstSeq: h.oldest, LastSeq: h.newest,
				Detail: fmt.Sprintf("%d merge operands are left out, as what is lost here may lie below them", h.leftOut)})
		}
	}
}

// compare looks for versions that are there twice, where tables are used that no MANIFEST lists.
// Then one of the tables is obsolete, or was never finished: operands may be merged in one
// that the other one has again. So within both no operand is used.
func (r *rescue) compare() error {
	if !r.guessed || !r.hasOperands() {
		return nil
	}
	it, runs, err := r.merged()
	if err != nil {
		return err
	}
	defer it.Close()
	var last base.InternalKey
	var before *table
	suspects := 0
	for ok := it.First(); ok; ok = it.Next() {
		key, now := it.Key(), (*table)(nil)
		if u := runs[it.Child()]; u != nil {
			now = u.current
		}
		if len(last) > 0 && key.Seq() == last.Seq() && bytes.Equal(key.UserKey(), last.UserKey()) {
			for _, t := range []*table{before, now} {
				if t != nil && !t.suspect {
					t.suspect = true
					suspects++
				}
			}
		}
		last, before = append(last[:0], key...), now
	}
	if suspects > 0 {
		r.note("%d tables have versions that others have, too, so some of them are obsolete: no merge operand is used in their ranges, where such keys have an older value or none", suspects)
	}
	return it.Err()
}

// distrusts reports whether operands of a key may be merged in one table and there in another.
func (r *rescue) distrusts(user []byte) bool {
	return slices.ContainsFunc(r.tables, func(t *table) bool {
		return t.suspect && bytes.Compare(t.first.UserKey(), user) <= 0 && bytes.Compare(user, t.last.UserKey()) <= 0
	})
}
