package compactor

import (
	"cmp"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/manifest"
	"lsmdb/memtable"
)

// PickIdle returns the next job that is worth its price while nobody writes and nothing
// else is running, or nil.
//
// The price is what has to be written again. It must be at most Policy.Multiplier bytes
// for each byte that the job takes out of level 0 or, as far as the manifest can tell,
// frees: a delete frees an entry of average size, a shadowed version and a value that has
// ended itself, a range delete what it covers. Whatever a
// program does, idle work thus writes no more than a multiple of what it wrote itself;
// a few bytes written every other second do not have large tables rewritten.
//
// Like Pick it comes to an end: every job moves entries to a deeper level or makes
// tables fewer.
func PickIdle(s Situation) *Job {
	k := newPicker(s)
	k.thrifty = true
	if job, _ := k.fromL0(Range{Through: base.MaxSeq}); job != nil {
		job.Reason = ReasonIdle
		return job
	}
	return cmp.Or(k.first(1, k.frees), k.crumbsFrom(0, anyCrumbs))
}

// frees says why a table should go deeper whose deletes and shadowed versions are worth it.
func (k *picker) frees(level int, t *manifest.TableMeta) string {
	if k.garbage(level, t) == "" || t.SizeBytes > k.Policy.Multiplier*k.freedBytes(level, []*manifest.TableMeta{t}) {
		return ""
	}
	return ReasonIdle
}

// worth reports whether the job frees enough for what it writes.
func (k *picker) worth(job *Job) bool {
	gain, price := k.freedBytes(job.Level, job.Inputs), job.InputBytes()
	if job.Level == 0 {
		gain += totalBytes(job.Inputs)
		price -= totalBytes(job.Inputs)
	}
	return job.Trivial || price <= k.Policy.Multiplier*gain
}

// freedBytes estimates what the deletes, shadowed versions and ended values of some tables
// will free, here or deeper.
func (k *picker) freedBytes(level int, tables []*manifest.TableMeta) (sum int64) {
	lower, upper := bounds(tables)
	below := averageBytes(k.Version.Overlapping(max(1, k.lastLevel(lower, upper)), lower, upper))
	for i, t := range tables {
		if !k.hasGarbage(t) {
			continue
		}
		dropped := t.Shadowed - min(t.Shadowed, t.Merges)
		if k.halfEnded(t) {
			dropped += t.Expiring / 2
		}
		sum += int64(t.Deletes)*below + int64(dropped)*averageBytes(tables[i:i+1])
		if t.RangeDeletes > 0 {
			sum += k.coveredBytes(k.Deletes.lists[t.Number], level)
		}
	}
	return sum
}

// averageBytes is the size of an entry in some tables.
func averageBytes(tables []*manifest.TableMeta) int64 {
	return totalBytes(tables) / max(1, int64(totalEntries(tables)))
}

// flushedForBytes is the least that must be gained by flushing a memtable before it is
// full: a flush costs some syncs.
const flushedForBytes = 256 << 10

// FlushPays reports whether a memtable that is not full is worth flushing while nobody
// writes: since its deletes can free a good part of the tree, or since it is large
// beside the tree, so that its log takes space and its entries may shadow others.
func FlushPays(s Situation, m *memtable.Memtable) bool {
	all := slices.Concat(s.Version.Levels[:]...)
	treeBytes, freed := totalBytes(all), m.Deletes()*averageBytes(all)
	for _, deletes := range m.RangeDeletes.Lists() {
		freed += s.coveredBytes(deletes, -1)
	}
	large := m.UsedBytes() >= s.Policy.TableLimitBytes/16 && treeBytes <= s.Policy.Multiplier*m.UsedBytes()
	return treeBytes > 0 && (large || freed >= max(flushedForBytes, treeBytes/256))
}

// Awaited returns a number. When no open snapshot is older than it, it is time to look for jobs
// again. Today the oldest snapshot is: it does not see all of some table, or it still sees a
// value that has ended for everybody else. Where it does neither, the number is 0.
func Awaited(s Situation) (awaited base.Seq) {
	oldest := s.Readers.Oldest()
	if ended := NextExpiry(s.Version, s.Readers.Now(0)); ended != 0 && ended <= s.Readers.Now(base.MaxSeq) {
		return oldest + 1
	}
	for _, t := range slices.Concat(s.Version.Levels[:]...) {
		if t.LargestSeq > oldest && (awaited == 0 || t.LargestSeq < awaited) {
			awaited = t.LargestSeq
		}
	}
	return awaited
}
