package compactor

import (
	"bytes"
	"cmp"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/manifest"
)

// Pick returns the most useful job that can start now beside the running ones, or
// nil. It is a pure function.
//
// What can go unread comes first. Then come levels that are due, the most urgent before
// others; level 0 on a tie. Level 0 is due when it has many tables, or when reads have paid
// for its merge. Only then come jobs that are good for space alone: tables that are mostly
// deletes, or whose values have ended, are pushed towards what they delete, and garbage at
// the bottom is rewritten. Last, many small neighbours become one table.
func Pick(s Situation) *Job {
	k := newPicker(s)
	if job := k.drops(); job != nil {
		return job
	}
	for _, level := range k.due() {
		if level > 0 {
			if job := k.cheapest(level); job != nil {
				return job
			}
			continue
		}
		job, waits := k.relieve()
		if job != nil {
			return job
		}
		if waits && !k.runningL0() {
			k.reserved = k.targets.Base
		}
	}
	return cmp.Or(k.first(1, k.pushes), k.first(0, k.garbage), k.crumbsFrom(1, crumbsDue))
}

// picker is one decision in progress.
type picker struct {
	Situation
	thrifty  bool // only jobs that are worth their price
	targets  Targets
	busy     map[uint64]bool // tables of running jobs
	reserved int             // level that level 0 waits for: nothing more is taken out of it; 0: none
}

func newPicker(s Situation) *picker {
	s.Deletes = cmp.Or(s.Deletes, &Deletes{})
	k := &picker{Situation: s, targets: s.Policy.Targets(s.Version), busy: make(map[uint64]bool)}
	for _, job := range s.Running {
		for _, t := range job.tables() {
			k.busy[t.Number] = true
		}
	}
	return k
}

// due lists the levels with a score of 1 and above, most urgent first. A level 0 beyond its
// limit is as urgent as one at the limit: a base level that is still more too large must
// shrink first, or each of the many jobs out of level 0 rewrites all of it.
func (k *picker) due() []int {
	var levels []int
	for level := range bottom {
		if k.score(level) >= 1 {
			levels = append(levels, level)
		}
	}
	slices.SortStableFunc(levels, func(a, b int) int { return cmp.Compare(k.score(b), k.score(a)) })
	return levels
}

// score says how urgent it is to take something out of a level: 1 and above is due. What
// running jobs take out of it does not count. A level that should be empty is due, but not
// urgent: only what would be its target if it were the base makes it so.
func (k *picker) score(level int) float64 {
	tables, target := k.Version.Levels[level], k.targets.Bytes[level]
	sizeBytes := totalBytes(tables)
	for _, job := range k.Running {
		if job.Level == level && job.OutputLevel > level {
			sizeBytes -= totalBytes(job.Inputs)
		}
	}
	switch {
	case level == 0 && len(tables) < k.Policy.L0Trigger && k.Version.DetoursPay():
		return min(1, float64(len(tables)))
	case level == 0:
		return float64(min(len(tables), k.Policy.L0Limit)) / float64(k.Policy.L0Trigger)
	case sizeBytes == 0:
		return 0
	case target > 0:
		return float64(sizeBytes) / float64(target)
	}
	return max(1, float64(sizeBytes)/float64(k.Policy.BaseBytes))
}

// cheapest moves the table of a level that overlaps least below for its size.
func (k *picker) cheapest(level int) *Job {
	reason := ReasonSize
	if k.targets.Bytes[level] == 0 {
		reason = ReasonDrain
	}
	var jobs []*Job
	for _, t := range k.Version.Levels[level] {
		if job := k.start(level, level+1, reason, t); job != nil {
			jobs = append(jobs, job)
		}
	}
	if len(jobs) == 0 {
		return nil
	}
	ratio := func(j *Job) float64 { return float64(totalBytes(j.Overlaps)) / float64(totalBytes(j.Inputs)) }
	return k.grow(slices.MinFunc(jobs, func(a, b *Job) int { return cmp.Compare(ratio(a), ratio(b)) }))
}

// first returns the first job, from the deepest level up, that takes a table to the next
// level (by 1) or, if nothing lies below it, rewrites it (by 0), for what why says; empty:
// it stays.
func (k *picker) first(by int, why func(level int, t *manifest.TableMeta) string) *Job {
	for level := bottom; level >= 1; level-- {
		for _, t := range k.Version.Levels[level] {
			reason := why(level, t)
			if reason == "" || !k.free(t) || k.lowest(level, t) != (by == 0) {
				continue
			}
			if job := k.start(level, level+by, reason, t); job != nil {
				return job
			}
		}
	}
	return nil
}

// pushes says why a table should go deeper that is mostly deletes, or values that have ended,
// which every snapshot agrees on: what they delete lies deeper and takes space until they
// arrive. Few deletes are enough where readers keep passing them, or where they are of
// ranges that hold much.
func (k *picker) pushes(level int, t *manifest.TableMeta) string {
	deletes := t.Deletes + t.RangeDeletes
	switch {
	case k.halfEnded(t) && !k.waits(t):
		return ReasonHalfEnded
	case deletes == 0 || !k.settled(t):
		return ""
	case 2*deletes >= t.Entries+t.RangeDeletes:
		return ReasonTombstones
	case t.DetoursPay():
		return ReasonReads
	case t.RangeDeletes > 0 && k.coveredBytes(k.Deletes.lists[t.Number], level) >= t.SizeBytes:
		return ReasonTombstones
	}
	return ""
}

// garbage says why a table should be rewritten that nothing lies below and that holds
// entries which no snapshot needs. All its entries are in the oldest stripe, so a rewrite is
// sure to drop some.
func (k *picker) garbage(_ int, t *manifest.TableMeta) string {
	if k.hasGarbage(t) && !k.waits(t) {
		return ReasonGarbage
	}
	return ""
}

// hasGarbage reports whether a table holds entries that no live snapshot needs: shadowed
// versions, or deletes, which only go where nothing lies deeper, or values that have
// ended. What a merge operand lies on counts as shadowed, and may have to stay: there is
// one such entry for each operand at most.
func (s *Situation) hasGarbage(t *manifest.TableMeta) bool {
	return s.settled(t) && (t.Deletes > 0 || t.RangeDeletes > 0 || s.halfEnded(t)) ||
		t.Shadowed > t.Merges && t.LargestSeq <= s.Readers.End(t.SmallestSeq) // also under a snapshot that is older than all of it
}

// start builds a job, nil if it cannot start now or is not worth its price.
func (k *picker) start(level, outputLevel int, reason string, inputs ...*manifest.TableMeta) *Job {
	job := k.build(level, outputLevel, inputs)
	if !k.admits(job) || k.thrifty && !k.worth(job) {
		return nil
	}
	job.Reason = reason
	return job
}

// lowest reports whether no deeper level overlaps the table.
func (k *picker) lowest(level int, t *manifest.TableMeta) bool {
	return k.lastLevel(t.Smallest.UserKey(), t.Largest.UserKey()) == level
}

// free reports whether a table may be part of a new job.
func (k *picker) free(t *manifest.TableMeta) bool {
	return !k.busy[t.Number] && !k.aside(t) && (k.Hidden == 0 || t.LargestSeq < k.Hidden)
}

func (k *picker) aside(t *manifest.TableMeta) bool { return k.SetAside[t.Number] != nil }

// admits reports whether the job can start now.
func (k *picker) admits(job *Job) bool {
	if job.Level == 0 && k.runningL0() || job.Level > 0 && job.Level == k.reserved {
		return false
	}
	taken := func(t *manifest.TableMeta) bool { return !k.free(t) }
	return !slices.ContainsFunc(job.tables(), taken) && !slices.ContainsFunc(k.Running, job.Collides)
}

// runningL0 reports whether a job empties level 0. There is never a second one: it
// could overtake the first, and put newer versions below older ones.
func (k *picker) runningL0() bool {
	return slices.ContainsFunc(k.Running, func(job *Job) bool { return job.Level == 0 && !job.Drop })
}

// build makes the job that merges inputs into the output level.
func (k *picker) build(level, outputLevel int, inputs []*manifest.TableMeta) *Job {
	job := &Job{Level: level, OutputLevel: outputLevel, Inputs: inputs}
	job.Lower, job.Upper = bounds(inputs)
	if outputLevel > level {
		job.Overlaps = k.Version.Overlapping(outputLevel, job.Lower, job.Upper)
		if n := len(job.Overlaps); n > 0 && !overlapsAny(job.Overlaps[n-1], inputs) && bytes.Equal(job.Overlaps[n-1].Smallest.UserKey(), job.Upper) {
			job.Overlaps = job.Overlaps[:n-1] // it begins where a range delete ends
		}
		job.Lower, job.Upper = bounds(inputs, job.Overlaps)
	}
	job.TableBytes = k.Policy.outputBytes(k.targets, outputLevel)
	job.OverlapBytes = k.Policy.overlapLimitBytes(job.TableBytes)
	if outputLevel < bottom {
		job.Grandparents = k.Version.Overlapping(outputLevel+1, job.Lower, job.Upper)
	}
	job.Trivial = outputLevel > level && len(inputs) == 1 && len(job.Overlaps) == 0 &&
		totalBytes(job.Grandparents) <= max(job.OverlapBytes, 2*k.Policy.Multiplier*inputs[0].SizeBytes)
	return job
}

// grow takes further tables of the input level along, as many as fit into the
// range of the job's overlaps: these are rewritten anyway.
func (k *picker) grow(job *Job) *Job {
	if len(job.Overlaps) == 0 {
		return job
	}
	larger := k.start(job.Level, job.OutputLevel, job.Reason, k.Version.Overlapping(job.Level, job.Lower, job.Upper)...)
	if larger == nil || len(larger.Overlaps) > len(job.Overlaps) || larger.InputBytes() > k.Policy.jobLimitBytes(job.TableBytes) {
		return job
	}
	return larger
}

// bounds returns the smallest and the largest user key of some tables.
func bounds(groups ...[]*manifest.TableMeta) (lower, upper []byte) {
	all := slices.Concat(groups...)
	last := slices.MaxFunc(all, func(a, b *manifest.TableMeta) int { return base.Compare(a.Largest, b.Largest) })
	return slices.MinFunc(all, bySmallest).Smallest.UserKey(), last.Largest.UserKey()
}

func bySmallest(a, b *manifest.TableMeta) int { return base.Compare(a.Smallest, b.Smallest) }

// fromL0 returns a job that takes the tables which r concerns, and older ones that they
// overlap, out of level 0, or as many of them as one job can.
// Without a job, waits says that one will be possible when running jobs are done.
//
// The tables are split into clusters that share no key, because merging those
// together gains nothing, and the largest free cluster is taken: so sequential
// loads move their tables down unread, and hot spots do not drag the rest along.
// Of a large cluster only the oldest tables go: all inputs are open at once.
func (k *picker) fromL0(r Range) (job *Job, waits bool) {
	inputs, _ := divide(k.sinkable(), nil, r.concerns) // those that it concerns, and every older one that they overlap
	reason := ReasonL0
	if len(k.Version.Levels[0]) < k.Policy.L0Trigger {
		reason = ReasonReads
	}
	for _, cluster := range k.clusters(inputs) {
		candidate := k.start(0, k.targets.Base, reason, cluster[max(0, len(cluster)-k.Policy.JobInputs):]...)
		if candidate != nil && (job == nil || len(candidate.Inputs) > len(job.Inputs)) {
			job = candidate
		}
	}
	return job, job == nil && len(inputs) > 0
}

// relieve returns a job that makes the tables of level 0 fewer: it takes them down or,
// where that would rewrite much more than they hold, merges small ones first. So many
// small flushes are gathered before what lies below is rewritten for them.
func (k *picker) relieve() (job *Job, waits bool) {
	job, waits = k.fromL0(Range{Through: base.MaxSeq})
	if k.Version.DetoursPay() {
		return job, waits
	}
	small := k.crumbs(0, k.Version.Levels[0], max(anyCrumbs, k.Policy.L0Trigger/2))
	if small != nil && (job == nil || len(job.Inputs) < len(small.Inputs) || totalBytes(job.Overlaps) > totalBytes(job.Inputs)) {
		return small, false
	}
	return job, waits
}

// sinkable returns the tables of level 0, newest first, that can leave it as far
// as tables set aside are concerned: those must stay, and nothing newer may sink
// below them, or below what stays for their sake.
func (k *picker) sinkable() []*manifest.TableMeta {
	stuck, _ := divide(k.Version.Levels[k.targets.Base], nil, k.aside)
	oldestFirst := slices.Clone(k.Version.Levels[0])
	slices.Reverse(oldestFirst)
	_, free := divide(oldestFirst, stuck, k.aside)
	slices.Reverse(free)
	return free
}

// divide adds to some chosen tables those that are meant and, one after the other, those
// that overlap a chosen one. It returns the others, too.
func divide(tables, chosen []*manifest.TableMeta, meant func(*manifest.TableMeta) bool) (all, others []*manifest.TableMeta) {
	for _, t := range tables {
		if meant(t) || overlapsAny(t, chosen) {
			chosen = append(chosen, t)
		} else {
			others = append(others, t)
		}
	}
	return chosen, others
}

// clusters splits tables of level 0, newest first, into groups whose ranges,
// overlapped tables of the base level included, share no key.
func (k *picker) clusters(tables []*manifest.TableMeta) [][]*manifest.TableMeta {
	ascending := slices.SortedStableFunc(slices.Values(tables), bySmallest)
	var clusters [][]*manifest.TableMeta
	var end []byte // of the last cluster
	for i, t := range ascending {
		below := k.Version.Overlapping(k.targets.Base, t.Smallest.UserKey(), t.Largest.UserKey())
		lower, upper := bounds(ascending[i:i+1], below)
		if last := len(clusters) - 1; last >= 0 && bytes.Compare(lower, end) <= 0 {
			clusters[last] = append(clusters[last], t)
			end = slices.MaxFunc([][]byte{end, upper}, bytes.Compare)
		} else {
			clusters, end = append(clusters, []*manifest.TableMeta{t}), upper
		}
	}
	for _, cluster := range clusters {
		slices.SortFunc(cluster, func(a, b *manifest.TableMeta) int { return slices.Index(tables, a) - slices.Index(tables, b) })
	}
	return clusters
}

// overlapsAny reports whether a table shares user keys with any of some tables.
func overlapsAny(t *manifest.TableMeta, tables []*manifest.TableMeta) bool {
	return slices.ContainsFunc(tables, t.SharesKeys)
}
