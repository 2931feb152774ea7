package compactor

import (
	"slices"

	"lsmdb/internal/base"
	"lsmdb/manifest"
)

// Range is what a manual compaction is about: every entry with a user key from
// Lower to Upper, both included, nil unbounded, and a sequence number up to
// Through. What is written later does not prolong it.
type Range struct {
	Lower, Upper []byte
	Through      base.Seq
	Before       uint64 // first file number that did not exist when the compaction was asked for
	Overtaken    int    // of its jobs, how many were refused as tables had come between their inputs
}

// mostOvertaken is how often a manual compaction tries jobs between whose inputs there is
// room for others' tables. Then it goes on with those whose inputs overlap, one to the next.
const mostOvertaken = 3

// PickRange returns the next job of a manual compaction. It keeps no state: the
// caller calls it with the newest Version until done. Done false without a job
// means to call again when a running job, of whatever origin, is finished.
//
// Its jobs push the entries down, upper levels first, until one level holds all
// of them and nothing lies below; then they rewrite there what holds garbage that no
// snapshot needs, and merge what is small. Each job moves an entry of the range deeper, drops one, or
// replaces a table that is older than the compaction, so this comes to an end
// whatever is written, loaded and compacted meanwhile. When done is
// returned, what remains in other levels is held by tables set aside.
func PickRange(s Situation, r Range) (job *Job, done bool) {
	k := newPicker(s)
	if job := k.drops(); job != nil {
		return job, false
	}
	job, waits := k.fromL0(r)
	if job == nil && !waits {
		job, waits = k.fromRange(r)
	}
	if job == nil && !waits && r.Overtaken < mostOvertaken {
		job = k.crumbsOf(r)
	}
	if job == nil {
		return nil, !waits
	}
	if job.Reason != ReasonGarbage {
		job.Reason = ReasonManual
	}
	return job, false
}

// concerns reports whether the table may hold an entry of the range.
func (r Range) concerns(t *manifest.TableMeta) bool {
	return t.SmallestSeq <= r.Through && t.Overlaps(r.Lower, r.Upper)
}

// fromRange looks at the levels below level 0, top first. It takes a table, and perhaps its
// neighbours, out of a level, or rewrites it in the last one. A table of the last level that
// reaches out of the range, over deeper tables, cannot lose its deletes by a rewrite: it is
// pushed down as well. It does not go on to the next level while only running jobs hold one
// up: what they write there would have to be pushed down all over again.
func (k *picker) fromRange(r Range) (job *Job, waits bool) {
	last := k.lastLevel(r.Lower, r.Upper)
	for level := 1; level <= last && !waits; level++ {
		for _, t := range k.Version.Overlapping(level, r.Lower, r.Upper) {
			if !r.concerns(t) || (level == last && !k.mayShrink(t, r)) {
				continue
			}
			to, reason := level+1, ReasonManual
			if level == last && k.lowest(level, t) {
				to, reason = level, ReasonGarbage
			}
			job := k.build(level, to, []*manifest.TableMeta{t})
			if k.admits(job) {
				job.Reason = reason
				return k.grow(k.extend(job, r)), false
			}
			waits = waits || !slices.ContainsFunc(job.tables(), k.aside)
		}
	}
	return nil, waits
}

// crumbsOf merges small neighbours in the last level. One of them is older than the
// compaction, so writers cannot keep it going.
func (k *picker) crumbsOf(r Range) *Job {
	last := k.lastLevel(r.Lower, r.Upper)
	job := k.crumbs(last, k.Version.Overlapping(last, r.Lower, r.Upper), anyCrumbs)
	if last == 0 || job == nil || !slices.ContainsFunc(job.Inputs, func(t *manifest.TableMeta) bool { return t.Number < r.Before }) {
		return nil
	}
	return job
}

// mayShrink reports whether rewriting a table of the last level is worth it: it
// holds garbage for certain, or it may hold some between the open snapshots and
// was not rewritten for this compaction yet.
func (k *picker) mayShrink(t *manifest.TableMeta, r Range) bool {
	return k.hasGarbage(t) || t.Number < r.Before && (t.Deletes|t.RangeDeletes|t.Shadowed|t.Merges > 0 ||
		t.Expiring > 0 && t.EarliestExpiry <= k.Readers.Now(t.SmallestSeq))
}

// lastLevel is the deepest level with a table from lower to upper. What lies in level 0
// and waits there does not count.
func (k *picker) lastLevel(lower, upper []byte) int {
	for level := bottom; level >= 1; level-- {
		if len(k.Version.Overlapping(level, lower, upper)) > 0 {
			return level
		}
	}
	return 0
}

// extend takes the tables that follow in the range along while the job stays within
// its bound: one merge of neighbours rewrites the table below their border once.
func (k *picker) extend(job *Job, r Range) *Job {
	if job.Trivial || job.Level == job.OutputLevel || r.Overtaken >= mostOvertaken {
		return job
	}
	following := k.Version.Overlapping(job.Level, job.Upper, r.Upper)
	for i, t := range following {
		if slices.Contains(job.Inputs, t) {
			continue
		}
		larger := k.start(job.Level, job.OutputLevel, job.Reason, slices.Concat(job.Inputs, following[i:i+1])...)
		if larger == nil || !r.concerns(t) || larger.InputBytes() > k.Policy.jobLimitBytes(job.TableBytes) {
			break
		}
		job = larger
	}
	return job
}
