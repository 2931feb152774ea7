package manifest

import (
	"cmp"
	"fmt"
	"slices"

	"lsmdb/internal/base"
)

// Apply returns the Version that e makes of v, which it leaves alone. It refuses
// an edit that removes what is not there, adds a number twice, describes an
// impossible table, moves a table under another description, or breaks the order
// of a level. Removals come before additions.
func (v *Version) Apply(e *Edit) (*Version, error) {
	var changed [NumLevels]bool
	removed := make(map[uint64]*TableMeta, len(e.Removed))
	for _, r := range e.Removed {
		if err := v.remove(r, removed); err != nil {
			return nil, err
		}
		changed[r.Level] = true
	}
	added := make(map[uint64]bool, len(e.Added))
	for _, a := range e.Added {
		if err := a.check(removed, added); err != nil {
			return nil, err
		}
		changed[a.Level] = true
	}
	next := &Version{Levels: v.Levels, ends: v.ends, Deleting: v.Deleting}
	for level, tables := range v.Levels {
		for _, t := range tables {
			if added[t.Number] && removed[t.Number] == nil {
				return nil, fmt.Errorf("edit adds table %d, which level %d holds already", t.Number, level)
			}
		}
		if changed[level] {
			if err := next.change(level, e.Added, removed); err != nil {
				return nil, err
			}
		}
	}
	for _, t := range slices.Concat(next.TopRuns()...) {
		next.mergeBytes += t.SizeBytes
	}
	if !changed[0] {
		next.detours.Store(v.detours.Load())
	}
	return next, nil
}

// remove notes a table that an edit removes.
func (v *Version) remove(r RemovedTable, removed map[uint64]*TableMeta) error {
	if r.Level < 0 || r.Level >= NumLevels {
		return fmt.Errorf("edit removes table %d from level %d, which is out of range", r.Number, r.Level)
	}
	if removed[r.Number] != nil {
		return fmt.Errorf("edit removes table %d twice", r.Number)
	}
	at := slices.IndexFunc(v.Levels[r.Level], func(t *TableMeta) bool { return t.Number == r.Number })
	if at < 0 {
		return fmt.Errorf("edit removes table %d from level %d, where it is not", r.Number, r.Level)
	}
	removed[r.Number] = v.Levels[r.Level][at]
	return nil
}

// check notes a table that an edit adds. If it is among the removed ones it moves.
func (a AddedTable) check(removed map[uint64]*TableMeta, added map[uint64]bool) error {
	if a.Level < 0 || a.Level >= NumLevels {
		return fmt.Errorf("edit adds a table to level %d, which is out of range", a.Level)
	}
	if err := a.Meta.check(); err != nil {
		return err
	}
	if added[a.Meta.Number] {
		return fmt.Errorf("edit adds table %d twice", a.Meta.Number)
	}
	added[a.Meta.Number] = true
	if before := removed[a.Meta.Number]; before != nil && before != a.Meta && !before.Equal(a.Meta) {
		return fmt.Errorf("edit moves table %d and changes it: %s, before %s", a.Meta.Number, a.Meta, before)
	}
	return nil
}

// change gives a level new tables.
func (v *Version) change(level int, added []AddedTable, removed map[uint64]*TableMeta) error {
	gone := func(t *TableMeta) bool { return removed[t.Number] != nil }
	tables := slices.DeleteFunc(slices.Clone(v.Levels[level]), gone)
	for _, a := range added {
		if a.Level == level {
			tables = append(tables, a.Meta)
		}
	}
	slices.SortFunc(tables, levelOrder(level))
	v.Levels[level], v.ends[level], v.Deleting[level] = tables, endPrefixes(tables), deleting(tables)
	return checkLevel(level, tables)
}

// checkLevel checks the order between the sorted tables of a level.
func checkLevel(level int, tables []*TableMeta) error {
	if level == 0 {
		return checkNewestFirst(tables)
	}
	for i := 1; i < len(tables); i++ {
		if before, t := tables[i-1], tables[i]; before.SharesKeys(t) {
			return fmt.Errorf("tables %d and %d overlap in level %d: %s to %s and %s to %s",
				before.Number, t.Number, level, before.Smallest, before.Largest, t.Smallest, t.Largest)
		}
	}
	return nil
}

// checkNewestFirst refuses tables of level 0 whose histories interleave while
// they share keys: reading the newer one first could then find the older version.
func checkNewestFirst(tables []*TableMeta) error {
	for i, newer := range tables {
		for _, older := range tables[i+1:] {
			if older.LargestSeq < newer.SmallestSeq {
				break // and so is everything after it, as the order is by LargestSeq
			}
			if newer.SharesKeys(older) {
				return fmt.Errorf("tables %d and %d of level 0 share keys and sequence numbers: %d to %d and %d to %d",
					newer.Number, older.Number, newer.SmallestSeq, newer.LargestSeq, older.SmallestSeq, older.LargestSeq)
			}
		}
	}
	return nil
}

// State is all that a MANIFEST records. The zero State is a database without
// tables; a nil Version counts as the empty one.
type State struct {
	DatabaseID uint64
	Version    *Version
	NextFile   uint64   // larger than every file number the State names
	LastSeq    base.Seq // no smaller than any sequence number in a table
	OldestWAL  uint64   // oldest WAL segment to replay; 0: none recorded
	Now        int64    // newest time that an expiry was judged by, see Edit; 0: none recorded
	Merger     string   // name of the merge operator; empty: there was none yet
	Loaded     []Loaded // ascending; whoever begins a MANIFEST drops what nobody needs any more
}

// Apply returns the State that e makes of s. Beyond what Version.Apply refuses,
// no scalar may go backwards and the database keeps its identity. NextFile and
// LastSeq are raised past what the edit names even where it does not set them, so
// that no number is ever given out twice.
func (s State) Apply(e *Edit) (State, error) {
	switch {
	case e.NextFile != 0 && e.NextFile < s.NextFile:
		return State{}, fmt.Errorf("next file number goes back from %d to %d", s.NextFile, e.NextFile)
	case e.LastSeq != 0 && e.LastSeq < s.LastSeq:
		return State{}, fmt.Errorf("last sequence number goes back from %d to %d", s.LastSeq, e.LastSeq)
	case e.OldestWAL != 0 && e.OldestWAL < s.OldestWAL:
		return State{}, fmt.Errorf("oldest WAL goes back from %d to %d", s.OldestWAL, e.OldestWAL)
	case e.DatabaseID != 0 && s.DatabaseID != 0 && e.DatabaseID != s.DatabaseID:
		return State{}, fmt.Errorf("database %016x turns into %016x", s.DatabaseID, e.DatabaseID)
	case e.Now != 0 && e.Now < s.Now:
		return State{}, fmt.Errorf("now goes back from %d to %d", s.Now, e.Now)
	case e.Merger != "" && s.Merger != "" && e.Merger != s.Merger || len(e.Merger) > MaxMergerBytes:
		return State{}, fmt.Errorf("merge operator %q turns into %q", s.Merger, e.Merger)
	case e.NextFile > MaxFileNumber || e.OldestWAL >= MaxFileNumber || e.LastSeq > base.MaxSeq:
		return State{}, fmt.Errorf("next file %d, oldest WAL %d or last sequence number %d is out of range", e.NextFile, e.OldestWAL, e.LastSeq)
	}
	version, err := s.version().Apply(e)
	if err != nil {
		return State{}, err
	}
	s.Version = version
	s.DatabaseID = max(s.DatabaseID, e.DatabaseID)
	s.OldestWAL = max(s.OldestWAL, e.OldestWAL)
	s.NextFile = max(s.NextFile, e.NextFile)
	s.LastSeq = max(s.LastSeq, e.LastSeq)
	s.Now = max(s.Now, e.Now)
	s.Merger = cmp.Or(s.Merger, e.Merger)
	if s.OldestWAL != 0 {
		s.NextFile = max(s.NextFile, s.OldestWAL+1)
	}
	for _, a := range e.Added {
		s.NextFile = max(s.NextFile, a.Meta.Number+1)
		s.LastSeq = max(s.LastSeq, a.Meta.LargestSeq)
	}
	version.LastSeq = s.LastSeq
	return s.load(e.Loaded)
}

// load adds loads to those that are known.
func (s State) load(loaded []Loaded) (State, error) {
	for _, l := range loaded {
		if n := len(s.Loaded); l.Seq > s.LastSeq || n > 0 && l.Seq <= s.Loaded[n-1].Seq {
			return State{}, fmt.Errorf("load %d does not follow the loads before it, or is beyond the last sequence number %d", l.Seq, s.LastSeq)
		}
		s.Loaded = append(slices.Clip(s.Loaded), l)
	}
	return s, nil
}

// Snapshot returns the edit that makes s of the zero State.
func (s State) Snapshot() *Edit {
	e := &Edit{NextFile: s.NextFile, LastSeq: s.LastSeq, OldestWAL: s.OldestWAL, DatabaseID: s.DatabaseID, Now: s.Now, Merger: s.Merger, Loaded: s.Loaded}
	for level, tables := range s.version().Levels {
		e.Add(level, tables...)
	}
	return e
}

func (s State) version() *Version { return cmp.Or(s.Version, &Version{}) }
