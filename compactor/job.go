// Package compactor decides what to merge in the tree and merges it. Decisions
// (Pick, PickRange) are pure functions of a Situation; a Job's Run is plain synchronous code. The goroutines that call
// them, and the application of a Job's Edit to the tree, stand in stages.
//
// What every job upholds: no newer version of a key ever lies below an older one.
// So an input of level 0 takes every older, overlapping table of level 0 along; the
// levels between input and output are empty in the job's range; and every table of
// the output level in that range takes part. Jobs that run at the same time share
// no table and write to no common range of one level.
//
// Picking always comes to an end when nothing is flushed: each job either moves
// entries to a deeper level, or is sure to drop some, or makes the tables of a level
// fewer.
package compactor

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/manifest"
)

// The reasons for a job, for logs and metrics.
const (
	ReasonL0         = "level 0 has too many tables"
	ReasonReads      = "reads meet too many tables"
	ReasonSize       = "level is too large"
	ReasonDrain      = "level should be empty"
	ReasonTombstones = "table is mostly deletes"
	ReasonGarbage    = "no reader needs all versions"
	ReasonCovered    = "range deletes cover all of it"
	ReasonEnded      = "all of it has ended"
	ReasonHalfEnded  = "half of it has ended"
	ReasonCrumbs     = "neighbours are small"
	ReasonIdle       = "nobody writes"
	ReasonManual     = "asked for"
)

// Job is one unit of compaction: Inputs of one level and the tables they overlap
// in another, or neighbours in one level, are replaced by one sorted run there. It is immutable, and safe for
// concurrent use.
type Job struct {
	Level       int
	OutputLevel int // deeper than Level, or equal to it for a rewrite in place, of one table or of neighbours

	Inputs       []*manifest.TableMeta // of Level; level 0: newest first, otherwise ascending
	Overlaps     []*manifest.TableMeta // of OutputLevel, ascending; none for a rewrite in place
	Grandparents []*manifest.TableMeta // overlapped in the level after OutputLevel

	Trivial bool   // the single input is moved as it is: no Run, only Edit(nil)
	Drop    bool   // the inputs are removed, in place: no Run, only Edit(nil)
	Reason  string // one of the Reason constants

	Lower, Upper []byte // user keys: range of Inputs and Overlaps, both ends inclusive

	TableBytes   int64 // outputs are cut at about this size
	OverlapBytes int64 // and before they overlap more than this of Grandparents
}

// InputBytes is the size of all tables that the job reads, or moves.
func (j *Job) InputBytes() int64 { return totalBytes(j.tables()) }

// InputEntries is what the manifest says of their number of entries.
func (j *Job) InputEntries() uint64 { return totalEntries(j.tables()) }

// Unread reports whether the job is done without its tables being read: there is no Run.
func (j *Job) Unread() bool { return j.Trivial || j.Drop }

// Edit is the change of the tree that the job amounts to, given its outputs. A
// trivial job has no outputs: its input changes level and keeps its Handle.
func (j *Job) Edit(outputs []*manifest.TableMeta) *manifest.Edit {
	if j.Unread() && len(outputs) > 0 {
		panic("invariant: a compaction that reads nothing has outputs")
	}
	if j.Trivial {
		outputs = j.Inputs
	}
	e := &manifest.Edit{}
	for _, t := range j.Inputs {
		e.Removed = append(e.Removed, manifest.RemovedTable{Level: j.Level, Number: t.Number})
	}
	for _, t := range j.Overlaps {
		e.Removed = append(e.Removed, manifest.RemovedTable{Level: j.OutputLevel, Number: t.Number})
	}
	e.Add(j.OutputLevel, outputs...)
	return e
}

// Damaged returns the numbers of the inputs that must be set aside after Run failed
// with a corruption error: the table the error names or, if it names none of them,
// all. For any other error it returns nothing.
func (j *Job) Damaged(err error) []uint64 {
	if !errors.Is(err, base.ErrCorrupt) && !errors.Is(err, base.ErrIncompatible) {
		return nil
	}
	named, isNamed := errors.AsType[*base.CorruptionError](err)
	for _, t := range j.tables() {
		if isNamed && filepath.Base(named.File) == base.TableName(t.Number) {
			return []uint64{t.Number}
		}
	}
	return numbers(j.tables())
}

func (j *Job) String() string {
	how := "merge"
	switch {
	case j.Trivial:
		how = "move"
	case j.Drop:
		how = "drop"
	}
	return fmt.Sprintf("%s L%d%v -> L%d%v (%s)", how, j.Level, numbers(j.Inputs), j.OutputLevel, numbers(j.Overlaps), j.Reason)
}

// tables lists everything the job replaces.
func (j *Job) tables() []*manifest.TableMeta {
	return slices.Concat(j.Inputs, j.Overlaps)
}

// Collides reports whether both jobs could write overlapping tables into one level.
func (j *Job) Collides(other *Job) bool {
	return j.OutputLevel == other.OutputLevel && !j.Drop && !other.Drop &&
		bytes.Compare(j.Lower, other.Upper) <= 0 && bytes.Compare(other.Lower, j.Upper) <= 0
}

func numbers(tables []*manifest.TableMeta) []uint64 {
	list := make([]uint64, len(tables))
	for i, t := range tables {
		list[i] = t.Number
	}
	return list
}
