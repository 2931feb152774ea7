package view

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/manifest"
	"lsmdb/sstable"
)

// Space is what some keys take in tables, in bytes of the files.
type Space struct {
	Live      float64 // entries that somebody sees who comes now
	Dead      float64 // values and operands that were overwritten or deleted
	Tombstone float64 // deletes and range deletes
	Expired   float64 // values that have ended
	Pinned    float64 // the part of Dead that an open snapshot sees
}

// add adds so many times what another one is.
func (s *Space) add(other Space, times float64) {
	s.Live += times * other.Live
	s.Dead += times * other.Dead
	s.Tombstone += times * other.Tombstone
	s.Expired += times * other.Expired
	s.Pinned += times * other.Pinned
}

// How much of the tables is read. A few blocks are read all. Of more, samples are read, and
// some entries of each are compared with what is newer; that takes a block of each run, or
// some. So there are fewer samples where there are many runs.
const (
	wholeBlocks   = 64
	mostSamples   = 192 // of all levels together, about
	leastSamples  = 8   // of each level
	sampleEntries = 16
	mostBlocks    = 1500 // of all levels together, about
	leastBlocks   = 100  // of each level
)

// Space estimates, for each level, what the keys of [start, end) take there, and leaves. A
// nil end is open. Snapshots, in ascending order, are those that are open.
//
// A level is taken for what blocks of it are that lie anywhere in it: every byte is as likely
// to be in a sample as any other one. Whether an entry is dead is not estimated: what is
// newer is looked at, in memtables and in tables. The same samples are taken each time.
func (r Reading) Space(ctx context.Context, at At, start, end []byte, snapshots []base.Seq) ([manifest.NumLevels]Space, error) {
	s := survey{ctx: ctx, start: start, end: end, snapshots: snapshots}
	err := s.run(r, at, s.all)
	return s.space, err
}

// survey is one estimate of what keys take.
type survey struct {
	ctx        context.Context
	at         At
	start, end []byte
	snapshots  []base.Seq
	rng        *rand.Rand

	kept []float64 // for Kept: bytes, for each snapshot; nil: for Space
	nows []int64   // for Kept: by which values have ended, for each snapshot and who comes now

	look  look                                      // for what is newer than an entry
	asked map[*manifest.TableMeta]*sstable.Iterator // for that, past the cache
	read  sstable.BlockCounts
	space [manifest.NumLevels]Space
}

// run has a survey look at a state, and leaves it.
func (s *survey) run(r Reading, at At, all func() error) (err error) {
	s.at, s.rng = r.published.fix(at), rand.New(rand.NewPCG(1, 1))
	s.look, s.asked = look{State: r.State, memtables: r.Memtables()}, make(map[*manifest.TableMeta]*sstable.Iterator)
	r.hold()
	defer r.published.release(r.State)
	r.Leave()
	if lost := r.guarded(func() { err = all() }); lost != nil {
		err = lost
	}
	s.forget()
	return err
}

// portion is what a table holds of the range.
type portion struct {
	*manifest.TableMeta
	level       int
	table       *sstable.Table // nil: all of it counts, and it was not opened yet
	first, last int            // its data blocks, as of Table.Span
	bytes       float64        // that they take, with their part of what belongs to them
}

// all looks at all levels.
func (s *survey) all() error {
	if s.end != nil && bytes.Compare(s.start, s.end) >= 0 {
		return nil
	}
	var levels [manifest.NumLevels][]*portion
	var sums [manifest.NumLevels]float64
	blocks, sum := 0, 0.0
	for level := range levels {
		s.look.levels = append(s.look.levels, level)
		for _, t := range s.look.Version.Overlapping(level, s.start, s.end) {
			if s.kept != nil && (t.Entries == 0 || t.SmallestSeq > s.snapshots[len(s.snapshots)-1]) {
				continue
			}
			p := &portion{TableMeta: t, level: level, bytes: float64(t.SizeBytes)}
			if err := s.measure(p, blocks <= wholeBlocks); err != nil {
				if s.fails(err) != nil {
					return err
				}
				continue
			}
			levels[level], sums[level] = append(levels[level], p), sums[level]+p.bytes
			if blocks += p.last - p.first; p.table == nil {
				blocks = wholeBlocks + 1
			}
		}
		sum += sums[level]
	}
	for level, portions := range levels {
		var err error
		if blocks <= wholeBlocks {
			err = s.whole(portions)
		} else if sums[level] > 0 {
			err = s.sample(portions, sums[level], sums[level]/sum)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// measure finds out what a table has of the range. It opens it only where it has to, or
// few were opened yet.
func (s *survey) measure(p *portion, few bool) error {
	const manyRangeDeletes = 8 // entries for each of them are not many
	inside := bytes.Compare(s.start, p.Smallest.UserKey()) <= 0 && (s.end == nil || p.EndsBefore(s.end))
	if err := s.ctx.Err(); err != nil || inside && !few && (s.kept != nil || p.RangeDeletes*manyRangeDeletes <= p.Entries) {
		return err
	}
	if err := s.open(p); err != nil {
		return err
	}
	properties := p.table.Properties()
	data, rangeDeletes := float64(0), float64(p.SizeBytes)
	if properties.DataBlocks > 0 {
		data, rangeDeletes = float64(p.SizeBytes-properties.RangeBytes)/float64(properties.DataBytes), float64(properties.RangeBytes)
	}
	p.bytes = data * float64(p.table.SpanBytes(p.first, p.last))
	if list := p.table.Ranges(); len(list) > 0 {
		s.space[p.level].Tombstone += rangeDeletes * float64(len(list.Clip(s.start, s.end))) / float64(len(list))
	}
	return nil
}

// open opens the table.
func (s *survey) open(p *portion) (err error) {
	if p.table, err = p.Handle.Table(); err == nil {
		p.first, p.last = p.table.Span(s.start, s.end)
	}
	return err
}

// whole looks at all that tables, which are open, have of the range.
func (s *survey) whole(portions []*portion) error {
	for _, p := range portions {
		for i := p.first; i < p.last; i++ {
			stands := p.bytes * float64(p.table.SpanBytes(i, i+1)) / float64(p.table.SpanBytes(p.first, p.last))
			if err := s.block(p, i, stands, int(p.Entries)); err != nil {
				return err
			}
		}
		s.forget()
	}
	return nil
}

// sample looks at blocks of a level, one of each of many equal parts of it, in no order: it
// ends when it has read its share.
func (s *survey) sample(portions []*portion, sum, share float64) error {
	ends, end := make([]float64, len(portions)), 0.0 // bytes
	for i, p := range portions {
		end += p.bytes
		ends[i] = end
	}
	space := &s.space[portions[0].level]
	rest, kept := *space, slices.Clone(s.kept) // which is no estimate
	*space = Space{}
	taken, limit := 0, s.read.Read+max(leastBlocks, uint64(share*mostBlocks))
	samples := max(leastSamples, int(share*mostSamples))
	for _, n := range s.rng.Perm(samples) {
		if taken >= leastSamples && s.read.Read >= limit {
			break
		}
		at := (float64(n) + s.rng.Float64()) / float64(samples) * sum
		i, _ := slices.BinarySearch(ends, at)
		i = min(i, len(ends)-1)
		p := portions[i]
		if p.table == nil {
			if err := s.open(p); err != nil {
				if s.fails(err) != nil {
					return err
				}
				continue
			}
		}
		if p.first == p.last { // rounding has led here
			continue
		}
		part := (at - ends[i] + p.bytes) / p.bytes
		if err := s.block(p, p.table.BlockAt(p.first, p.last, min(max(part, 0), 1)), 1, sampleEntries); err != nil {
			return err
		}
		s.forget()
		taken++
	}
	each := sum / float64(max(taken, 1))
	rest.add(*space, each)
	*space = rest
	for i, before := range kept {
		s.kept[i] = before + (s.kept[i]-before)*each
	}
	return nil
}

// block looks at a block, which stands for so many bytes. Of its entries, no more are judged
// than said; they stand for the others.
func (s *survey) block(p *portion, i int, stands float64, most int) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	s.read.Read++
	entries, err := p.table.Entries(i)
	if err != nil {
		return s.fails(err)
	}
	each := stands / float64(p.table.SpanBytes(i, i+1))
	entries = slices.DeleteFunc(entries, func(e sstable.Entry) bool {
		user := e.Key.UserKey()
		if bytes.Compare(user, s.start) < 0 || s.end != nil && bytes.Compare(user, s.end) >= 0 {
			return true
		}
		isDelete := s.kept == nil && e.Key.Kind() == base.KindDelete
		if isDelete {
			s.space[p.level].Tombstone += e.Bytes * each
		}
		return isDelete
	})
	chosen := entries
	if len(entries) > most {
		chosen = make([]sstable.Entry, most)
		for k := range chosen {
			chosen[k] = entries[int((float64(k)+s.rng.Float64())*float64(len(entries))/float64(most))]
		}
	}
	each *= bytesOf(entries) / bytesOf(chosen) // without any it does not matter
	for _, e := range chosen {
		if s.kept != nil {
			s.keep(p.TableMeta, e, e.Bytes*each)
		} else if err := s.judge(p.TableMeta, p.level, e, e.Bytes*each); err != nil {
			return err
		}
	}
	return nil
}

func bytesOf(entries []sstable.Entry) (sum float64) {
	for _, e := range entries {
		sum += e.Bytes
	}
	return sum
}

// judge adds an entry of a table, which stands for so many bytes, to what it is.
func (s *survey) judge(t *manifest.TableMeta, level int, e sstable.Entry, stands float64) error {
	space, user, seq := &s.space[level], e.Key.UserKey(), e.Key.Seq()
	fate, err := s.fate(t, user, seq, s.at.Seq)
	switch {
	case err != nil:
		return err
	case fate.hidden():
		space.Dead += stands
		// If the oldest snapshot that is new enough does not see it, no newer one does.
		if i, _ := slices.BinarySearch(s.snapshots, seq); i < len(s.snapshots) {
			if fate, err = s.fate(t, user, seq, s.snapshots[i]); !fate.hidden() {
				space.Pinned += stands
			}
		}
		return err
	case e.Key.Kind() == base.KindSetExpiring && e.Until <= s.at.Now:
		space.Expired += stands
	default:
		space.Live += stands
	}
	return nil
}

// fate is what has become of a version of a key for who sees up to a number.
type fate uint8

const (
	shown   fate = iota
	merged       // operands are newer, and nothing else
	covered      // by a newer version, or by a range delete
	removed      // by a newer version, which is a delete
)

func (f fate) hidden() bool { return f >= covered }

// of returns the fate of a version below another one, of some kind.
func (f fate) of(kind base.Kind) fate {
	switch kind {
	case base.KindMerge:
		return merged
	case base.KindDelete:
		return removed
	}
	return covered
}

// fate finds it out for a version in a table; nil: in a memtable.
func (s *survey) fate(own *manifest.TableMeta, user []byte, seq, upTo base.Seq) (fate fate, err error) {
	hash := base.Hash(user)
	for _, m := range s.look.memtables {
		next := upTo
		for range manyVersions {
			_, t, ok := m.Get(user, hash, next)
			if !ok || t.Seq() <= seq {
				break
			}
			if fate = fate.of(t.Kind()); fate.hidden() {
				return fate, nil
			}
			next = t.Seq() - 1
		}
		if m.RangeDeletes.Newest(user, upTo) > seq {
			return covered, nil
		}
	}
	s.look.after = seq
	for t := range s.look.tables(span{from: user, to: user}) {
		table, err := t.Handle.Table()
		if err != nil {
			return fate, err
		}
		if table.Ranges().Newest(user, upTo) > seq {
			return covered, nil
		}
		if t == own && t.Shadowed == 0 || !table.MayContain(hash) {
			continue
		}
		if fate, err = s.fateIn(t, table, user, seq, upTo, fate); fate.hidden() || err != nil {
			return fate, err
		}
	}
	return fate, nil
}

// fateIn goes on with the entries of a table.
func (s *survey) fateIn(t *manifest.TableMeta, table *sstable.Table, user []byte, seq, upTo base.Seq, fate fate) (fate, error) {
	it := s.asked[t]
	if it == nil {
		it = table.NewIterator(sstable.IteratorOptions{NoCacheFill: true, KeysOnly: true, Entered: &s.read})
		s.asked[t] = it
	}
	s.look.search = base.AppendSearchKey(s.look.search[:0], user, upTo)
	ok := it.SeekGE(s.look.search)
	for n := 0; ok && n < manyVersions && bytes.Equal(it.Key().UserKey(), user) && it.Key().Seq() > seq; n++ {
		if fate = fate.of(it.Key().Kind()); fate.hidden() {
			return fate, nil
		}
		ok = it.Next()
	}
	return fate, it.Err()
}

// forget lets go of the tables that were asked: what comes next lies elsewhere.
func (s *survey) forget() {
	for _, it := range s.asked {
		_ = it.Close() // repeats what its Err has told
	}
	clear(s.asked)
}
