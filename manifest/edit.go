package manifest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"lsmdb/internal/base"
)

// Edit is one change to a State. A zero scalar leaves its value unchanged. A table
// that is removed and added moves.
//
// An edit is encoded as fields, each
//
//	tag uvarint | length uvarint | that many bytes
//
// in ascending order of tags; only the tags of tables repeat. There is exactly
// one encoding of an edit, and nothing else decodes.
type Edit struct {
	Added   []AddedTable
	Removed []RemovedTable

	NextFile   uint64   // the next file number to give out
	LastSeq    base.Seq // no sequence number up to here may be given out again
	OldestWAL  uint64   // the oldest WAL segment that recovery must replay
	DatabaseID uint64   // set once, when the database is created
	Now        int64    // the newest time, in nanoseconds since 1970, that an expiry was judged by
	Merger     string   // the name of the merge operator; set once

	Loaded []Loaded // loads, of which the log does not tell
}

// Loaded says which number a load of tables has, and between which user keys it lies. Only
// those who follow the changes need to know.
type Loaded struct {
	Seq         base.Seq
	First, Last []byte // both included
}

// AddedTable puts a table into a level.
type AddedTable struct {
	Level int
	Meta  *TableMeta
}

// RemovedTable takes a table out of a level.
type RemovedTable struct {
	Level  int
	Number uint64
}

// Add puts tables into a level.
func (e *Edit) Add(level int, tables ...*TableMeta) {
	for _, t := range tables {
		e.Added = append(e.Added, AddedTable{Level: level, Meta: t})
	}
}

// Moves reports whether a table that the edit adds was in the tree before.
func (e *Edit) Moves(t *TableMeta) bool {
	return slices.ContainsFunc(e.Removed, func(r RemovedTable) bool { return r.Number == t.Number })
}

// The tags of the fields. They never change their meaning; a new kind of field
// takes a new tag, which older versions refuse by number.
const (
	tagDatabaseID = 1
	tagNextFile   = 2
	tagLastSeq    = 3
	tagOldestWAL  = 4
	tagRemoved    = 5
	tagAdded      = 6
	tagExtended   = 7 // added as well: a table that a description of tag 6 cannot describe
	tagNow        = 8
	tagMerger     = 9
	tagLoaded     = 10
)

// AppendTo appends the encoded edit to dst.
func (e *Edit) AppendTo(dst []byte) []byte {
	dst = appendScalar(dst, tagDatabaseID, e.DatabaseID)
	dst = appendScalar(dst, tagNextFile, e.NextFile)
	dst = appendScalar(dst, tagLastSeq, uint64(e.LastSeq))
	dst = appendScalar(dst, tagOldestWAL, e.OldestWAL)
	var field []byte
	for _, r := range e.Removed {
		field = binary.AppendUvarint(field[:0], uint64(r.Level))
		field = binary.AppendUvarint(field, r.Number)
		dst = appendField(dst, tagRemoved, field)
	}
	for _, tag := range []uint64{tagAdded, tagExtended} {
		for _, a := range e.Added {
			if a.Meta.extended() == (tag == tagExtended) {
				field = binary.AppendUvarint(field[:0], uint64(a.Level))
				field = a.Meta.appendTo(field)
				dst = appendField(dst, tag, field)
			}
		}
	}
	dst = appendScalar(dst, tagNow, uint64(e.Now))
	if e.Merger != "" {
		dst = appendField(dst, tagMerger, []byte(e.Merger))
	}
	for _, l := range e.Loaded {
		field = base.AppendField(binary.AppendUvarint(field[:0], uint64(l.Seq)), l.First)
		dst = appendField(dst, tagLoaded, base.AppendField(field, l.Last))
	}
	return dst
}

func appendScalar(dst []byte, tag, value uint64) []byte {
	if value == 0 {
		return dst
	}
	return appendField(dst, tag, binary.AppendUvarint(nil, value))
}

func appendField(dst []byte, tag uint64, field []byte) []byte {
	return base.AppendField(binary.AppendUvarint(dst, tag), field)
}

func (t *TableMeta) appendTo(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, t.Number)
	dst = binary.AppendUvarint(dst, uint64(t.SizeBytes))
	dst = binary.LittleEndian.AppendUint64(dst, t.Identity)
	dst = base.AppendField(base.AppendField(dst, t.Smallest), t.Largest)
	for _, count := range []uint64{uint64(t.SmallestSeq), uint64(t.LargestSeq), t.Entries, t.Deletes, t.Shadowed} {
		dst = binary.AppendUvarint(dst, count)
	}
	if !t.extended() {
		return dst
	}
	for _, count := range []uint64{t.RangeDeletes, t.Merges, t.Expiring} {
		dst = binary.AppendUvarint(dst, count)
	}
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.EarliestExpiry))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.LatestExpiry))
	dst = binary.AppendUvarint(dst, uint64(t.Placeholder))
	if t.HalfExpiry != 0 {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(t.HalfExpiry))
	}
	return dst
}

// DecodeEdit decodes an edit and checks everything that can be checked without a
// State. The edit shares no memory with p. An unknown tag wraps ErrIncompatible.
func DecodeEdit(p []byte) (*Edit, error) {
	e := &Edit{}
	last, fields := uint64(0), base.Fields{Rest: p}
	for len(fields.Rest) > 0 {
		tag := fields.Uvarint("tag")
		field := base.Fields{Rest: fields.Field("field")}
		if fields.Err != nil {
			return nil, fields.Err
		}
		if tag < last || tag == last && 0 < tag && !repeats(tag) {
			return nil, fmt.Errorf("edit field with tag %d follows one with tag %d", tag, last)
		}
		if err := e.decodeField(tag, &field); err != nil {
			return nil, err
		}
		last = tag
	}
	return e, nil
}

// repeats reports whether a tag may stand more than once in an edit.
func repeats(tag uint64) bool {
	return tag == tagRemoved || tag == tagAdded || tag == tagExtended || tag == tagLoaded
}

// decodeField reads one field, which it must use up.
func (e *Edit) decodeField(tag uint64, r *base.Fields) error {
	switch tag {
	case tagDatabaseID:
		e.DatabaseID = r.Number("database id", 1, math.MaxUint64)
	case tagNextFile:
		e.NextFile = r.Number("next file number", 1, MaxFileNumber)
	case tagLastSeq:
		e.LastSeq = base.Seq(r.Number("last sequence number", 1, uint64(base.MaxSeq)))
	case tagOldestWAL:
		e.OldestWAL = r.Number("oldest WAL number", 1, MaxFileNumber-1)
	case tagRemoved:
		removed := RemovedTable{Level: levelOf(r)}
		removed.Number = r.Number("number of a removed table", 1, MaxFileNumber-1)
		e.Removed = append(e.Removed, removed)
	case tagAdded, tagExtended:
		added := AddedTable{Level: levelOf(r), Meta: tableOf(r, tag)}
		if r.Err == nil {
			r.Err = added.Meta.check()
		}
		e.Added = append(e.Added, added)
	case tagNow:
		e.Now = int64(r.Number("now", 1, math.MaxInt64))
	case tagMerger:
		if len(r.Rest) == 0 || len(r.Rest) > MaxMergerBytes {
			return fmt.Errorf("name of %d bytes for a merge operator", len(r.Rest))
		}
		e.Merger, r.Rest = string(r.Rest), nil
	case tagLoaded:
		e.Loaded = append(e.Loaded, loadedOf(r))
	default:
		return fmt.Errorf("%w: unknown edit field with tag %d", base.ErrIncompatible, tag)
	}
	if r.Err == nil && len(r.Rest) > 0 {
		return fmt.Errorf("edit field with tag %d has %d bytes too many", tag, len(r.Rest))
	}
	return r.Err
}

// loadedOf reads what is known of a load.
func loadedOf(r *base.Fields) Loaded {
	l := Loaded{Seq: base.Seq(r.Number("number of a load", 1, uint64(base.MaxSeq)))}
	l.First, l.Last = bytes.Clone(r.Field("first key of a load")), bytes.Clone(r.Field("last key of a load"))
	if r.Err == nil && (len(l.First) > base.MaxKeyBytes || len(l.Last) > base.MaxKeyBytes || bytes.Compare(l.First, l.Last) > 0) {
		r.Err = fmt.Errorf("load %d has keys from %q to %q", l.Seq, l.First, l.Last)
	}
	return l
}

func levelOf(r *base.Fields) int { return int(r.Number("level", 0, NumLevels-1)) }

// tableOf reads the description of a table.
func tableOf(r *base.Fields, tag uint64) *TableMeta {
	t := &TableMeta{Number: r.Uvarint("table number")}
	t.SizeBytes = int64(r.Uvarint("table size")) // beyond int64 it is negative, which check refuses
	t.Identity = r.Uint64("table identity")
	t.Smallest = base.InternalKey(r.Field("smallest key")).Clone()
	t.Largest = base.InternalKey(r.Field("largest key")).Clone()
	t.SmallestSeq = base.Seq(r.Uvarint("smallest sequence number"))
	t.LargestSeq = base.Seq(r.Uvarint("largest sequence number"))
	t.Entries = r.Uvarint("number of entries")
	t.Deletes = r.Uvarint("number of deletes")
	t.Shadowed = r.Uvarint("number of shadowed entries")
	if tag != tagExtended {
		return t
	}
	t.RangeDeletes = r.Uvarint("number of range deletes")
	t.Merges = r.Uvarint("number of merges")
	t.Expiring = r.Uvarint("number of expiring entries")
	t.EarliestExpiry = int64(r.Uint64("earliest expiry"))
	t.LatestExpiry = int64(r.Uint64("latest expiry"))
	t.Placeholder = base.Seq(r.Uvarint("placeholder"))
	if len(r.Rest) > 0 {
		if t.HalfExpiry = int64(r.Uint64("half expiry")); r.Err == nil && t.HalfExpiry == 0 {
			r.Err = fmt.Errorf("half expiry is there without need")
		}
	}
	if r.Err == nil && !t.extended() {
		r.Err = fmt.Errorf("table %d is described as extended without need", t.Number)
	}
	return t
}
