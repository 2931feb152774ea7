package compactor

import (
	"bytes"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/manifest"
)

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
		candidate := k.build(0, k.targets.Base, cluster[max(0, len(cluster)-k.policy.JobInputs):])
		if k.admits(candidate) && (!k.thrifty || k.worth(candidate)) && (job == nil || len(candidate.Inputs) > len(job.Inputs)) {
			job = candidate
		}
	}
	if job == nil {
		return nil, true
	}
	job.Reason = ReasonL0
	if len(k.version.Levels[0]) < k.policy.L0Trigger {
		job.Reason = ReasonReads
	}
	return job, false
}

// relieve returns a job that makes the tables of level 0 fewer: it takes them down or,
// where that would rewrite much more than they hold, merges small ones first. So many
// small flushes are gathered before what lies below is rewritten for them.
func (k *picker) relieve() (job *Job, waits bool) {
	job, waits = k.fromL0(Range{Through: base.MaxSeq})
	if k.version.DetoursPay() {
		return job, waits
	}
	small := k.crumbs(0, k.version.Levels[0], max(anyCrumbs, k.policy.L0Trigger/2))
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
	for _, t := range k.version.Levels[k.targets.Base] {
		if k.setAside[t.Number] {
			stuck = append(stuck, t)
		}
	}
	var tables []*manifest.TableMeta
	for _, t := range slices.Backward(k.version.Levels[0]) {
		if k.setAside[t.Number] || overlapsAny(t, stuck) {
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
		below := k.version.Overlapping(k.targets.Base, t.Smallest.UserKey(), t.Largest.UserKey())
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
	return slices.ContainsFunc(tables, func(o *manifest.TableMeta) bool {
		return t.Overlaps(o.Smallest.UserKey(), o.Largest.UserKey())
	})
}
