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
func (k *picker) fromL0(r Range) (job *Job, waits bool) {
	inputs := closure(k.sinkable(), r)
	if len(inputs) == 0 || k.runningL0() {
		return nil, len(inputs) > 0
	}
	for _, cluster := range k.clusters(inputs) {
		candidate := k.build(0, k.targets.Base, cluster)
		if k.admits(candidate) && (job == nil || len(candidate.Inputs) > len(job.Inputs)) {
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
// overlapped tables of the base level included, share no key. Small neighbours with
// nothing between them stay together, so that many small flushes do not become many
// small tables for good.
func (k *picker) clusters(tables []*manifest.TableMeta) [][]*manifest.TableMeta {
	ascending := slices.SortedStableFunc(slices.Values(tables), func(a, b *manifest.TableMeta) int {
		return base.Compare(a.Smallest, b.Smallest)
	})
	var clusters [][]*manifest.TableMeta
	for _, t := range ascending {
		if last := len(clusters) - 1; last >= 0 && k.belongs(t, clusters[last]) {
			clusters[last] = append(clusters[last], t)
		} else {
			clusters = append(clusters, []*manifest.TableMeta{t})
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

// belongs reports whether a table that starts after the cluster's tables do is to
// be merged together with them.
func (k *picker) belongs(t *manifest.TableMeta, cluster []*manifest.TableMeta) bool {
	out := k.targets.Base
	lower, upper := bounds(cluster)
	lower, upper = bounds(cluster, k.version.Overlapping(out, lower, upper))
	first := t.Smallest.UserKey()
	if below := k.version.Overlapping(out, first, t.Largest.UserKey()); len(below) > 0 {
		first = slices.MinFunc([][]byte{first, below[0].Smallest.UserKey()}, bytes.Compare)
	}
	if bytes.Compare(first, upper) <= 0 {
		return true
	}
	return totalBytes(cluster)+t.SizeBytes <= k.policy.TableBytes &&
		len(k.version.Overlapping(out, lower, t.Largest.UserKey())) == 0
}

// overlapsAny reports whether a table shares user keys with any of some tables.
func overlapsAny(t *manifest.TableMeta, tables []*manifest.TableMeta) bool {
	return slices.ContainsFunc(tables, func(o *manifest.TableMeta) bool {
		return t.Overlaps(o.Smallest.UserKey(), o.Largest.UserKey())
	})
}
