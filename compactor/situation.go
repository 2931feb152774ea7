package compactor

import (
	"maps"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/internal/ranges"
	"lsmdb/manifest"
)

// Situation is all that a decision depends on.
type Situation struct {
	Policy   Policy
	Version  *manifest.Version
	Running  []*Job
	SetAside map[uint64]error // what is wrong with damaged tables, by number; of a job they are never part but to be dropped
	Readers  output.Readers
	Hidden   base.Seq // what has this number, or a later one, is not visible yet, and nothing is merged with it; 0: all is visible
	Deletes  *Deletes // of Version; nil: there are none

	// Share estimates which part of a table lies in [start, end). Nil: nothing is known.
	Share func(t *manifest.TableMeta, start, end []byte) float64
}

// settled reports whether all readers see the same of a table: nothing in it is kept for
// the sake of snapshots.
func (s *Situation) settled(t *manifest.TableMeta) bool { return t.LargestSeq <= s.Readers.Oldest() }

// Deletes are the range deletes of a tree.
type Deletes struct {
	tables []*manifest.TableMeta // that hold them
	lists  map[uint64]ranges.List
	all    ranges.List
}

// Gather collects the range deletes of a tree. load returns those of a table. What was
// gathered of a tree with the same ones serves again.
func Gather(v *manifest.Version, load func(*manifest.TableMeta) ranges.List, before *Deletes) *Deletes {
	d := &Deletes{tables: slices.Concat(v.Deleting[:]...), lists: make(map[uint64]ranges.List)}
	if before != nil && slices.Equal(d.tables, before.tables) {
		return before
	}
	for _, t := range d.tables {
		d.lists[t.Number] = load(t)
	}
	d.all = ranges.Merge(slices.Collect(maps.Values(d.lists))...)
	return d
}

// covers reports whether nobody can see anything of the table any more: everything in
// it, its own range deletes too, is covered by newer range deletes of the stripe that it
// begins in.
func (d *Deletes) covers(t *manifest.TableMeta, r *output.Readers) bool {
	newest := r.End(t.SmallestSeq)
	at := t.Smallest.UserKey()
	for _, s := range d.all.Overlapping(at, t.Largest.UserKey()) {
		covers := slices.ContainsFunc(s.Seqs, func(seq base.Seq) bool { return t.LargestSeq < seq && seq <= newest })
		if string(at) < string(s.Start) || !covers {
			return false
		}
		if s.End == nil || t.EndsBefore(s.End) {
			return true
		}
		at = s.End
	}
	return false
}

// ended reports whether every value in the table has ended, for all who see it, and it
// holds nothing else.
func (s *Situation) ended(t *manifest.TableMeta) bool {
	return t.Expiring > 0 && t.Expiring == t.Entries && t.LatestExpiry <= s.Readers.Now(t.SmallestSeq)
}

// halfEnded reports whether half of the entries have ended, for all who see them.
func (s *Situation) halfEnded(t *manifest.TableMeta) bool {
	return t.HalfExpiry != 0 && s.settled(t) && t.HalfExpiry <= s.Readers.Now(t.LargestSeq)
}

// waits reports whether a half ended table is left to end: it takes about as long again
// until all of it goes unread, and it is not one of many. So values that come and end in
// the order of time are never read for that.
func (s *Situation) waits(t *manifest.TableMeta) bool {
	left, spread := uint64(t.LatestExpiry-s.Readers.Now(t.LargestSeq)), uint64(t.HalfExpiry-t.EarliestExpiry)
	if t.Expiring < t.Entries || t.RangeDeletes > 0 || !s.halfEnded(t) || left/2 > spread {
		return false
	}
	var all, ended int64
	for _, other := range slices.Concat(s.Version.Levels[:]...) {
		all += other.SizeBytes
		if s.halfEnded(other) {
			ended += other.SizeBytes
		}
	}
	return 4*ended <= all
}

// NextExpiry returns when, for readers who come then, the next table may have to go, or to
// be rid of what has ended; 0: never.
func NextExpiry(v *manifest.Version, now int64) (next int64) {
	for _, t := range slices.Concat(v.Levels[:]...) {
		for _, at := range [...]int64{t.HalfExpiry, t.LatestExpiry} {
			if t.Expiring > 0 && at > now && (next == 0 || at < next) {
				next = at
			}
		}
	}
	return next
}

// drops removes tables of one level, as many as there are, that nobody can see anything
// of: they need not be read for that. It looks at the deepest level first, as a table whose
// values have ended still hides what lies below.
func (k *picker) drops() *Job {
	for level := bottom; level >= 0; level-- {
		var covered, ended []*manifest.TableMeta // one job of both would have two reasons
		for i, t := range k.Version.Levels[level] {
			switch {
			case k.busy[t.Number]:
			case k.Deletes.covers(t, &k.Readers):
				covered = append(covered, t)
			case k.ended(t) && k.hidesNothing(level, i):
				ended = append(ended, t)
			}
		}
		job := &Job{Level: level, OutputLevel: level, Inputs: covered, Drop: true, Reason: ReasonCovered}
		if len(covered) == 0 {
			job.Inputs, job.Reason = ended, ReasonEnded
		}
		if len(job.Inputs) > 0 {
			job.Lower, job.Upper = bounds(job.Inputs)
			return job
		}
	}
	return nil
}

// hidesNothing reports whether nothing older shares keys with table i of a level.
func (k *picker) hidesNothing(level, i int) bool {
	t := k.Version.Levels[level][i]
	if level == 0 && overlapsAny(t, k.Version.Levels[0][i+1:]) {
		return false
	}
	return k.lastLevel(t.Smallest.UserKey(), t.Largest.UserKey()) <= level
}

// coveredBytes estimates what range deletes free below a level.
func (s *Situation) coveredBytes(deletes ranges.List, level int) (sum int64) {
	if s.Share == nil {
		return 0
	}
	for _, span := range deletes {
		for below := level + 1; below <= bottom; below++ {
			for _, t := range s.Version.Overlapping(below, span.Start, span.End) {
				if t.SmallestSeq < span.Seqs[0] {
					sum += int64(s.Share(t, span.Start, span.End) * float64(t.SizeBytes))
				}
			}
		}
	}
	return sum
}

// RangeDeletes returns the range deletes of a table. Of one that cannot be read they are not known:
// then nothing is dropped for them, and whoever merges the table hears of the damage.
func RangeDeletes(t *manifest.TableMeta) ranges.List {
	table, err := t.Handle.Table()
	if err != nil {
		return nil
	}
	return table.Ranges()
}

// Share estimates which part of a table lies in [start, end).
func Share(t *manifest.TableMeta, start, end []byte) float64 {
	table, err := t.Handle.Table()
	if err != nil {
		return 0
	}
	return table.Share(start, end)
}
