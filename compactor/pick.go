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
	if job := cmp.Or(k.tombstones(), k.garbage()); job != nil {
		return job
	}
	for level := 1; level <= bottom; level++ {
		if job := k.crumbs(level, s.Version.Levels[level], crumbsDue); job != nil {
			return job
		}
	}
	return nil
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
	var scores [manifest.NumLevels]float64
	scores[0] = float64(min(len(k.Version.Levels[0]), k.Policy.L0Limit)) / float64(k.Policy.L0Trigger)
	if len(k.Version.Levels[0]) > 0 && k.Version.DetoursPay() {
		scores[0] = max(scores[0], 1)
	}
	for level := 1; level < bottom; level++ {
		scores[level] = k.Policy.score(k.targets, level, k.settledBytes(level))
	}
	var levels []int
	for level, score := range scores {
		if score >= 1 {
			levels = append(levels, level)
		}
	}
	slices.SortStableFunc(levels, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
	return levels
}

// settledBytes is the size of a level without what running jobs take out of it.
func (k *picker) settledBytes(level int) int64 {
	size := totalBytes(k.Version.Levels[level])
	for _, job := range k.Running {
		if job.Level == level && job.OutputLevel > level {
			size -= totalBytes(job.Inputs)
		}
	}
	return size
}

// cheapest moves the table of a level that overlaps least below for its size.
func (k *picker) cheapest(level int) *Job {
	if level == k.reserved {
		return nil
	}
	var best *manifest.TableMeta
	var bestRatio float64
	for _, t := range k.Version.Levels[level] {
		overlaps := k.Version.Overlapping(level+1, t.Smallest.UserKey(), t.Largest.UserKey())
		ratio := float64(totalBytes(overlaps)) / float64(t.SizeBytes)
		if (best == nil || ratio < bestRatio) && k.admits(k.build(level, level+1, []*manifest.TableMeta{t})) {
			best, bestRatio = t, ratio
		}
	}
	if best == nil {
		return nil
	}
	job := k.grow(k.build(level, level+1, []*manifest.TableMeta{best}))
	job.Reason = ReasonSize
	if k.targets.Bytes[level] == 0 {
		job.Reason = ReasonDrain
	}
	return job
}

// tombstones pushes down a table that is mostly deletes, or values that have ended, which
// every snapshot agrees on: what they delete lies deeper and takes space until they arrive.
// Few deletes are enough where readers keep passing them, or where they are of ranges that
// hold much.
func (k *picker) tombstones() *Job {
	for level := bottom - 1; level >= 1; level-- {
		if level == k.reserved {
			continue
		}
		for _, t := range k.Version.Levels[level] {
			reason := k.pushes(level, t)
			if reason == "" || !k.settled(t) || !k.free(t) || k.lowest(level, t) {
				continue
			}
			if job := k.build(level, level+1, []*manifest.TableMeta{t}); k.admits(job) {
				job.Reason = reason
				return job
			}
		}
	}
	return nil
}

// pushes says why a table should go deeper for the sake of its deletes, if it should.
func (k *picker) pushes(level int, t *manifest.TableMeta) string {
	deletes := t.Deletes + t.RangeDeletes
	switch {
	case k.halfEnded(t) && !k.waits(t):
		return ReasonHalfEnded
	case deletes == 0:
		return ""
	case 2*deletes >= t.Entries+t.RangeDeletes:
		return ReasonTombstones
	case t.DetoursPay():
		return ReasonReads
	case t.RangeDeletes > 0 && k.coveredBytes(k.Deletes.of(t), level) >= t.SizeBytes:
		return ReasonTombstones
	}
	return ""
}

// garbage rewrites a table that nothing lies below and that holds entries which no
// snapshot needs. All its entries are in the oldest stripe, so a rewrite is sure to
// drop some.
func (k *picker) garbage() *Job {
	for level := bottom; level >= 1; level-- {
		if level == k.reserved {
			continue
		}
		for _, t := range k.Version.Levels[level] {
			if k.hasGarbage(t) && k.free(t) && k.lowest(level, t) && !k.waits(t) {
				if job := k.rewrite(level, t); job != nil {
					return job
				}
			}
		}
	}
	return nil
}

// hasGarbage reports whether a table holds entries that no live snapshot needs: shadowed
// versions, or deletes, which only go where nothing lies deeper, or values that have
// ended. What a merge operand lies on counts as shadowed, and may have to stay: there is
// one such entry for each operand at most.
func (s *Situation) hasGarbage(t *manifest.TableMeta) bool {
	return s.settled(t) && (t.Deletes > 0 || t.RangeDeletes > 0 || t.Shadowed > t.Merges || s.halfEnded(t))
}

// rewrite builds the job that replaces a table in place.
func (k *picker) rewrite(level int, t *manifest.TableMeta) *Job {
	job := k.build(level, level, []*manifest.TableMeta{t})
	if !k.admits(job) {
		return nil
	}
	job.Reason = ReasonGarbage
	return job
}

// lowest reports whether no deeper level overlaps the table.
func (k *picker) lowest(level int, t *manifest.TableMeta) bool {
	return k.lastLevel(t.Smallest.UserKey(), t.Largest.UserKey()) == level
}

// free reports whether a table may be part of a new job.
func (k *picker) free(t *manifest.TableMeta) bool {
	return !k.busy[t.Number] && !k.SetAside[t.Number] && (k.Hidden == 0 || t.LargestSeq < k.Hidden)
}

// admits reports whether the job can start now.
func (k *picker) admits(job *Job) bool {
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
	inputs := k.Version.Overlapping(job.Level, job.Lower, job.Upper)
	if len(inputs) == len(job.Inputs) {
		return job
	}
	larger := k.build(job.Level, job.OutputLevel, inputs)
	if len(larger.Overlaps) > len(job.Overlaps) || larger.InputBytes() > k.Policy.jobLimitBytes(job.TableBytes) || !k.admits(larger) {
		return job
	}
	return larger
}

// bounds returns the smallest and the largest user key of some tables.
func bounds(groups ...[]*manifest.TableMeta) (lower, upper []byte) {
	for _, t := range slices.Concat(groups...) {
		if lower == nil || bytes.Compare(t.Smallest.UserKey(), lower) < 0 {
			lower = t.Smallest.UserKey()
		}
		if upper == nil || bytes.Compare(t.Largest.UserKey(), upper) > 0 {
			upper = t.Largest.UserKey()
		}
	}
	return lower, upper
}

// fromL0 returns a job that takes the tables which r concerns, and older ones that they
// overlap, out of level 0, or as many of them as one job can.
// Without a job, waits says that one will be possible when running jobs are done.
//
// The tables are split into clusters that share no key, because merging those
// together gains nothing, and the largest free cluster is taken: so sequential
// loads move their tables down unread, and hot spots do not drag the rest along.
// Of a large cluster only the oldest tables go: all inputs are open at once.
func (k *picker) fromL0(r Range) (job *Job, waits bool) {
	inputs := closure(k.sinkable(), r)
	if len(inputs) == 0 || k.runningL0() {
		return nil, len(inputs) > 0
	}
	for _, cluster := range k.clusters(inputs) {
		candidate := k.build(0, k.targets.Base, cluster[max(0, len(cluster)-k.Policy.JobInputs):])
		if k.admits(candidate) && (!k.thrifty || k.worth(candidate)) && (job == nil || len(candidate.Inputs) > len(job.Inputs)) {
			job = candidate
		}
	}
	if job == nil {
		return nil, true
	}
	job.Reason = ReasonL0
	if len(k.Version.Levels[0]) < k.Policy.L0Trigger {
		job.Reason = ReasonReads
	}
	return job, false
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
	var stuck []*manifest.TableMeta
	for _, t := range k.Version.Levels[k.targets.Base] {
		if k.SetAside[t.Number] {
			stuck = append(stuck, t)
		}
	}
	var tables []*manifest.TableMeta
	for _, t := range slices.Backward(k.Version.Levels[0]) {
		if k.SetAside[t.Number] || overlapsAny(t, stuck) {
			stuck = append(stuck, t)
		} else {
			tables = append(tables, t)
		}
	}
	slices.Reverse(tables)
	return tables
}

// closure returns those of tables, newest first, that r concerns, and every older one
// that an already chosen one overlaps.
func closure(tables []*manifest.TableMeta, r Range) []*manifest.TableMeta {
	var chosen []*manifest.TableMeta
	for _, t := range tables {
		if r.concerns(t) || overlapsAny(t, chosen) {
			chosen = append(chosen, t)
		}
	}
	return chosen
}

// clusters splits tables of level 0, newest first, into groups whose ranges,
// overlapped tables of the base level included, share no key.
func (k *picker) clusters(tables []*manifest.TableMeta) [][]*manifest.TableMeta {
	ascending := slices.SortedStableFunc(slices.Values(tables), func(a, b *manifest.TableMeta) int {
		return base.Compare(a.Smallest, b.Smallest)
	})
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
	age := make(map[uint64]int, len(tables))
	for i, t := range tables {
		age[t.Number] = i
	}
	for _, cluster := range clusters {
		slices.SortFunc(cluster, func(a, b *manifest.TableMeta) int { return age[a.Number] - age[b.Number] })
	}
	return clusters
}

// overlapsAny reports whether a table shares user keys with any of some tables.
func overlapsAny(t *manifest.TableMeta, tables []*manifest.TableMeta) bool {
	return slices.ContainsFunc(tables, t.SharesKeys)
}
