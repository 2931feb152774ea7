package view

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/internal/ranges"
	"lsmdb/manifest"
	"lsmdb/sstable"
)

// How much is looked at to estimate what snapshots keep. Of a database that has more, this is
// a sample. The error is then some 20 % where a tenth of what is newer than the snapshot has
// replaced something that it sees.
const (
	sampledEntries = 256
	sampledInBlock = 4
	wholeEntries   = 4 * sampledEntries
	sampledRanges  = 64
)

// Kept estimates how many bytes a compaction could drop, of each of the open snapshots, if
// that alone were closed. They are in ascending order. What two of them see counts for
// neither.
//
// What is kept is a version with a newer one, or a range delete, behind the snapshot. So
// what came after the oldest snapshot is looked at, and which version it has replaced.
func (p *Published) Kept(snapshots []base.Seq) (kept []int64) {
	if len(snapshots) == 0 {
		return nil
	}
	r := p.Enter()
	r.hold()
	defer p.release(r.State)
	r.Leave()
	e := estimate{
		inside: inside{published: p, state: r.State, at: At{Seq: base.MaxSeq}}, snapshots: snapshots,
		sums: make([]float64, len(snapshots)), rng: rand.New(rand.NewPCG(1, 1)),
	}
	o := sstable.IteratorOptions{NoCacheFill: true, KeysOnly: true}
	e.open(&o)
	defer e.entries.Close()
	_ = r.guarded(func() { // what cannot be read counts for nothing
		e.inTables(o)
		e.inMemtables()
		e.inRanges()
	})
	for _, n := range e.sums {
		kept = append(kept, int64(n))
	}
	return kept
}

// estimate is one look at what snapshots keep.
type estimate struct {
	inside
	snapshots []base.Seq
	sums      []float64 // bytes, for each snapshot
	rng       *rand.Rand
}

// stripe returns how many snapshots do not see a number. Where it is the last of its key in a
// stripe, a version is needed.
func (e *estimate) stripe(seq base.Seq) int {
	i, _ := slices.BinarySearch(e.snapshots, seq)
	return i
}

func (e *estimate) inTables(o sstable.IteratorOptions) {
	var newer []*manifest.TableMeta // than the oldest snapshot, at least in part
	all := uint64(0)
	for _, t := range slices.Concat(e.state.Version.Levels[:]...) {
		if t.LargestSeq > e.snapshots[0] && t.Entries > 0 {
			newer, all = append(newer, t), all+t.Entries
		}
	}
	const blocks = sampledEntries / sampledInBlock
	end := uint64(0)
	for _, t := range newer {
		before := end
		end += t.Entries
		table, err := t.Handle.Table()
		if err != nil {
			continue
		}
		it := table.NewIterator(o)
		if all <= wholeEntries {
			e.some(it, it.First(), wholeEntries, 0)
		} else {
			// Of as many equal parts of all tables, the block in the middle of each.
			for i := (before*blocks + all/2) / all; (2*i+1)*all < 2*end*blocks; i++ {
				part := (float64(2*i+1)*float64(all)/(2*blocks) - float64(before)) / float64(t.Entries)
				e.some(it, it.SeekPart(min(max(part, 0), 0.999999)), sampledInBlock, float64(all)/blocks)
			}
		}
		_ = it.Close()
	}
}

// some looks at entries from where an iterator stands, if it does. They stand for so many; 0: for
// themselves.
func (e *estimate) some(it base.Iterator, stands bool, most int, standsFor float64) {
	var keys []base.InternalKey
	for ; stands && len(keys) < most; stands = it.Next() {
		keys = append(keys, slices.Clone(it.Key()))
	}
	each := cmp.Or(standsFor/float64(len(keys)), 1)
	for _, key := range keys {
		e.look(key, each)
	}
}

func (e *estimate) inMemtables() {
	for _, m := range e.state.Memtables() {
		it := m.NewIterator()
		if m.Len() <= wholeEntries {
			e.some(it, it.First(), wholeEntries, 0)
			continue
		}
		for range sampledEntries {
			if it.SeekRandom(e.rng) {
				e.look(it.Key(), float64(m.Len())/sampledEntries)
			}
		}
	}
}

// look looks at an entry, which stands for some: whether a range delete behind a snapshot is all
// that hides it, and what it has replaced itself.
func (e *estimate) look(key base.InternalKey, standsFor float64) {
	user, seq := key.UserKey(), key.Seq()
	i := e.stripe(seq)
	if e.newest(user, e.end(i)) != seq || e.covered(user, seq) == i {
		return // nobody sees it
	}
	if i < len(e.snapshots) && e.covered(user, seq) == i+1 {
		if newer := e.newest(user, e.end(i+1)); newer == seq || e.covered(user, newer) == i+1 {
			if e.newest(user, seq) == seq {
				e.sums[i] += standsFor * e.entryBytes()
			}
		}
	}
	if i == 0 {
		return
	}
	older := e.newest(user, e.snapshots[i-1])
	if older == 0 || e.stripe(older) != i-1 || e.covered(user, older) == i-1 {
		return
	}
	e.sums[i-1] += standsFor * e.entryBytes()
	if key.Kind() == base.KindDelete { // it goes, too
		e.sums[i-1] += standsFor * float64(len(key))
	}
}

// end returns the largest number in a stripe.
func (e *estimate) end(stripe int) base.Seq {
	if stripe < len(e.snapshots) {
		return e.snapshots[stripe]
	}
	return base.MaxSeq
}

// newest moves entries to the newest version of a key up to a number, and returns its number; 0:
// there is none.
func (e *estimate) newest(user []byte, upTo base.Seq) base.Seq {
	e.search = base.AppendSearchKey(e.search[:0], user, upTo)
	if !e.entries.SeekGE(e.search) || !bytes.Equal(e.entries.Key().UserKey(), user) {
		return 0
	}
	return e.entries.Key().Seq()
}

// covered returns the stripe of the newest range delete that covers a version, -1 if none does.
func (e *estimate) covered(user []byte, seq base.Seq) int {
	if len(e.covers.sources) == 0 {
		return -1
	}
	if hidden, err := e.covers.hide(user, seq); err != nil || !hidden {
		return -1
	}
	return e.stripe(e.covers.window.Newest)
}

// entryBytes returns what the entry takes that entries stand on: of a table, what one takes in
// the mean.
func (e *estimate) entryBytes() float64 {
	if !e.entries.Valid() {
		return 0
	}
	if run := e.entries.Child() - len(e.memtables); run >= 0 {
		t := e.tables[run].Table()
		return float64(t.SizeBytes) / float64(t.Entries)
	}
	return float64(len(e.entries.Key()) + len(e.entries.Value()))
}

// inRanges counts what range deletes cover in the tables that are older than all snapshots, of
// which no entry was looked at.
func (e *estimate) inRanges() {
	var lists []ranges.List
	for _, s := range e.covers.sources {
		lists = append(lists, s.lists...)
		for _, t := range s.tables {
			if table, err := t.Handle.Table(); err == nil {
				lists = append(lists, table.Ranges())
			}
		}
	}
	spans := ranges.Merge(lists...)
	each := len(spans)/sampledRanges + 1
	for n := 0; n < len(spans); n += each {
		s := &spans[n]
		if !slices.ContainsFunc(s.Seqs, func(seq base.Seq) bool { return e.stripe(seq) == 1 }) {
			continue
		}
		for level := range e.state.Version.Levels {
			for _, t := range e.state.Version.Overlapping(level, s.Start, s.End) {
				if table, err := t.Handle.Table(); err == nil && t.LargestSeq <= e.snapshots[0] {
					e.sums[0] += float64(each) * float64(t.SizeBytes) * table.Share(s.Start, s.End)
				}
			}
		}
	}
}
