package manifest

import (
	"fmt"

	"lsmdb/internal/base"
)

// State is all that a MANIFEST records. The zero State is a database without
// tables; a nil Version counts as the empty one.
type State struct {
	DatabaseID uint64
	Version    *Version
	NextFile   uint64   // larger than every file number the State names
	LastSeq    base.Seq // no smaller than any sequence number in a table
	OldestWAL  uint64   // oldest WAL segment to replay; 0: none recorded
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
	if s.OldestWAL != 0 {
		s.NextFile = max(s.NextFile, s.OldestWAL+1)
	}
	for _, a := range e.Added {
		s.NextFile = max(s.NextFile, a.Meta.Number+1)
		s.LastSeq = max(s.LastSeq, a.Meta.LargestSeq)
	}
	return s, nil
}

// Snapshot returns the edit that makes s of the zero State.
func (s State) Snapshot() *Edit {
	e := &Edit{NextFile: s.NextFile, LastSeq: s.LastSeq, OldestWAL: s.OldestWAL, DatabaseID: s.DatabaseID}
	for level, tables := range s.version().Levels {
		for _, t := range tables {
			e.Added = append(e.Added, AddedTable{Level: level, Meta: t})
		}
	}
	return e
}

func (s State) version() *Version {
	if s.Version == nil {
		return &Version{}
	}
	return s.Version
}
