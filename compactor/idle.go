package compactor

import (
	"slices"

	"lsmdb/internal/base"
	"lsmdb/manifest"
)

// PickIdle returns the next job that is worth its price while nobody writes and nothing
// else is running, or nil.
//
// The price is what has to be written again. It must be at most Policy.Multiplier bytes
// for each byte that the job takes out of level 0 or, as far as the manifest can tell,
// frees: a delete frees an entry of average size, a shadowed version itself. Whatever a
// program does, idle work thus writes no more than a multiple of what it wrote itself;
// a few bytes written every other second do not have large tables rewritten.
//
// Like Pick it comes to an end: every job moves entries to a deeper level or makes
// tables fewer.
func PickIdle(p Policy, v *manifest.Version, setAside map[uint64]bool, oldestSnapshot base.Seq) *Job {
	k := newPicker(p, v, nil, setAside, oldestSnapshot)
	k.thrifty = true
	if job, _ := k.fromL0(Range{Through: base.MaxSeq}); job != nil {
		job.Reason = ReasonIdle
		return job
	}
	if job := k.deletes(); job != nil {
		return job
	}
	for level, tables := range v.Levels {
		if job := k.crumbs(level, tables, anyCrumbs); job != nil {
			return job
		}
	}
	return nil
}

// deletes pushes down a table whose deletes and shadowed versions are worth it.
func (k *picker) deletes() *Job {
	for level := 1; level < bottom; level++ {
		for i, t := range k.version.Levels[level] {
			one := k.version.Levels[level][i : i+1]
			if !garbage(t, k.oldestSnapshot) || !k.free(t) || t.SizeBytes > k.policy.Multiplier*k.freedBytes(one) || k.lowest(level, t) {
				continue
			}
			if job := k.build(level, level+1, one); k.admits(job) && k.worth(job) {
				job.Reason = ReasonIdle
				return job
			}
		}
	}
	return nil
}

// worth reports whether the job frees enough for what it writes.
func (k *picker) worth(job *Job) bool {
	gain, price := k.freedBytes(job.Inputs), job.InputBytes()
	if job.Level == 0 {
		gain += totalBytes(job.Inputs)
		price -= totalBytes(job.Inputs)
	}
	return job.Trivial || price <= k.policy.Multiplier*gain
}

// freedBytes estimates what the deletes and shadowed versions of some tables will free,
// here or deeper.
func (k *picker) freedBytes(tables []*manifest.TableMeta) (sum int64) {
	lower, upper := bounds(tables)
	below := averageBytes(k.version.Overlapping(max(1, k.lastLevel(lower, upper)), lower, upper))
	for i, t := range tables {
		if garbage(t, k.oldestSnapshot) {
			sum += int64(t.Deletes)*below + int64(t.Shadowed)*averageBytes(tables[i:i+1])
		}
	}
	return sum
}

// averageBytes is the size of an entry in some tables.
func averageBytes(tables []*manifest.TableMeta) int64 {
	var entries uint64
	for _, t := range tables {
		entries += t.Entries
	}
	return totalBytes(tables) / max(1, int64(entries))
}

// flushedForBytes is the least that must be gained by flushing a memtable before it is
// full: a flush costs some syncs.
const flushedForBytes = 256 << 10

// FlushPays reports whether a memtable that is not full is worth flushing while nobody
// writes: since its deletes can free a good part of the tree, or since it is large
// beside the tree, so that its log takes space and its entries may shadow others.
func FlushPays(p Policy, v *manifest.Version, usedBytes, deletes int64) bool {
	all := slices.Concat(v.Levels[:]...)
	treeBytes, freed := totalBytes(all), deletes*averageBytes(all)
	large := usedBytes >= p.TableLimitBytes/16 && treeBytes <= p.Multiplier*usedBytes
	return treeBytes > 0 && (large || freed >= max(flushedForBytes, treeBytes/256))
}

// Awaited returns the oldest snapshot at which a table can be rid of garbage that
// snapshots of today hold: when no older one is open, it is time to look for jobs
// again. It is 0 if there is no such table.
func Awaited(v *manifest.Version, oldestSnapshot base.Seq) (awaited base.Seq) {
	if oldestSnapshot == base.MaxSeq {
		return 0
	}
	for _, tables := range v.Levels {
		for _, t := range tables {
			if t.LargestSeq > oldestSnapshot && (awaited == 0 || t.LargestSeq < awaited) && garbage(t, base.MaxSeq) {
				awaited = t.LargestSeq
			}
		}
	}
	return awaited
}
