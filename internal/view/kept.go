package view

import (
	"context"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/manifest"
	"lsmdb/memtable"
	"lsmdb/sstable"
)

// How many entries of a memtable are looked at: a few all, of more a sample.
const (
	wholeMemtable   = 2048
	sampledMemtable = 512
)

// Kept estimates how many bytes a compaction could drop, of each of the open snapshots, if
// that alone were closed. They are in ascending order. What two of them see counts for
// neither. It takes samples as Space does, and of memtables as well; what cannot be read
// counts for nothing.
func (p *Published) Kept(snapshots []At) (kept []int64) {
	if len(snapshots) == 0 {
		return nil
	}
	s := survey{ctx: context.Background(), kept: make([]float64, len(snapshots))}
	for _, at := range snapshots {
		s.snapshots, s.nows = append(s.snapshots, at.Seq), append(s.nows, at.Now)
	}
	r := p.Enter()
	at := p.fix(At{Seq: base.MaxSeq})
	s.nows = append(s.nows, at.Now)
	_ = s.run(r, at, func() error {
		for _, m := range s.look.memtables {
			s.memtable(m)
		}
		return s.all()
	})
	for _, n := range s.kept {
		kept = append(kept, int64(n))
	}
	return kept
}

// fails returns what a survey fails with that has met an error.
func (s *survey) fails(err error) error {
	if s.kept != nil {
		return nil
	}
	return err
}

// memtable looks at a memtable.
func (s *survey) memtable(m *memtable.Memtable) {
	it := m.NewIterator()
	look := func(times float64) {
		e := sstable.Entry{Key: slices.Clone(it.Key()), Bytes: float64(len(it.Key()) + len(it.Value()))}
		if e.Key.Kind() == base.KindSetExpiring {
			e.Until = base.Until(it.Value())
		}
		s.keep(nil, e, times*e.Bytes)
	}
	if m.Len() > wholeMemtable {
		for range sampledMemtable {
			if it.SeekRandom(s.rng) {
				look(float64(m.Len()) / sampledMemtable)
			}
		}
		return
	}
	for ok := it.First(); ok; ok = it.Next() {
		look(1)
	}
}

// keep looks at an entry of a table, nil for a memtable, which stands for so many bytes: it
// is kept for the oldest snapshot that sees it, if nobody else does. A delete that hides it from others
// goes with it.
func (s *survey) keep(t *manifest.TableMeta, e sstable.Entry, stands float64) {
	user, seq := e.Key.UserKey(), e.Key.Seq()
	i, _ := slices.BinarySearch(s.snapshots, seq)
	ended := func(now int64) bool { return e.Key.Kind() == base.KindSetExpiring && e.Until <= now }
	if i == len(s.snapshots) || ended(s.nows[i]) {
		return
	}
	next := s.at.Seq
	if i+1 < len(s.snapshots) {
		next = s.snapshots[i+1]
	}
	later, err := s.fate(t, user, seq, next)
	if ended(s.nows[i+1]) && !later.hidden() {
		later = covered
	}
	if err != nil || later == shown {
		return
	}
	sooner, err := s.fate(t, user, seq, s.snapshots[i])
	if err != nil || sooner.hidden() {
		return
	}
	alone := stands / e.Bytes * float64(len(e.Key)) // without the value
	switch {
	case later == removed:
		s.kept[i] += stands + alone
	case later == covered:
		s.kept[i] += stands
	case sooner == shown: // the next operand is merged into it then
		s.kept[i] += min(stands, alone)
	}
}
