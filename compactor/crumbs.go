package compactor

import (
	"cmp"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/manifest"
)

// crumbsDue is how many neighbours make the merge of crumbs due: each entry is then
// written about once for every factor of eight that its table grows.
const crumbsDue = 8

// anyCrumbs is how many are enough when there is nothing better to do.
const anyCrumbs = 2

// crumbsFrom makes one table out of at least so many neighbours in a level from this one on.
func (k *picker) crumbsFrom(level, least int) *Job {
	for ; level <= bottom; level++ {
		if job := k.crumbs(level, k.Version.Levels[level], least); job != nil {
			return job
		}
	}
	return nil
}

// crumbs makes one table out of at least so many neighbours in some of a level's
// tables. Together they must not be more than a full table. In level 0 neighbours are
// those that were flushed one after the other, and what they become stays there.
//
// Every job makes the tables of the level fewer, so this comes to an end.
func (k *picker) crumbs(level int, tables []*manifest.TableMeta, least int) *Job {
	fullBytes := k.Policy.outputBytes(k.targets, max(level, k.targets.Base))
	first := 0
	for i, t := range tables {
		neighbours := tables[first:i]
		small := t.SizeBytes <= fullBytes/2 && k.free(t) && (level > 0 || apart(tables, i))
		if small && totalBytes(neighbours)+t.SizeBytes <= fullBytes && k.endTogether(neighbours, t) {
			continue
		}
		if job := k.glue(level, neighbours, least); job != nil {
			return job
		}
		if first = i; !small {
			first = i + 1
		}
	}
	return k.glue(level, tables[first:], least)
}

// apart reports whether the numbers of table i of level 0 do not lie among those of others,
// as in tables of one load, or one flush: if one of them became one with another table,
// that might lie over the others, and yet be neither newer nor older.
func apart(tables []*manifest.TableMeta, i int) bool {
	return !slices.ContainsFunc(tables[:i], func(t *manifest.TableMeta) bool { return t.SmallestSeq <= tables[i].LargestSeq }) &&
		(i+1 == len(tables) || tables[i+1].LargestSeq < tables[i].SmallestSeq)
}

// endTogether reports whether a table may become one with neighbours: neither has to stay
// much longer than alone because the other's values end later, or never.
func (k *picker) endTogether(neighbours []*manifest.TableMeta, t *manifest.TableMeta) bool {
	if len(neighbours) == 0 {
		return true
	}
	ends := func(t *manifest.TableMeta) bool { return t.Expiring > 0 && t.Expiring == t.Entries }
	if !ends(t) {
		return !ends(neighbours[0])
	}
	earliest, latest, now := t.EarliestExpiry, t.LatestExpiry, k.Readers.Now(base.MaxSeq)
	for _, n := range neighbours {
		earliest, latest = min(earliest, n.EarliestExpiry), max(latest, n.LatestExpiry)
	}
	return ends(neighbours[0]) && now < latest && uint64(latest-earliest) <= uint64(latest-now)/4
}

// glue makes one table out of neighbours, or of some of them. The largest one must not
// be much larger than the others together: whatever is written again has then grown by
// more than half, and small tables that come one by one do not have a large one written
// again each time.
func (k *picker) glue(level int, tables []*manifest.TableMeta, least int) *Job {
	if level == 0 {
		tables = tables[max(0, len(tables)-k.Policy.JobInputs):]
	}
	if len(tables) < least {
		return nil
	}
	largest := slices.MaxFunc(tables, func(a, b *manifest.TableMeta) int { return int(a.SizeBytes - b.SizeBytes) })
	if 8*largest.SizeBytes > 5*totalBytes(tables) {
		at := slices.Index(tables, largest)
		return cmp.Or(k.glue(level, tables[at+1:], least), k.glue(level, tables[:at], least))
	}
	job := k.build(level, level, tables)
	if level > 0 && totalBytes(job.Grandparents) > job.OverlapBytes || !k.admits(job) {
		return nil
	}
	job.Reason = ReasonCrumbs
	job.TableBytes, job.Grandparents = 2*job.TableBytes, nil // not to be cut
	return job
}
