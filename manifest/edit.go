package manifest

import (
	"encoding/binary"
	"fmt"
	"math"

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
	return dst
}

func appendScalar(dst []byte, tag, value uint64) []byte {
	if value == 0 {
		return dst
	}
	return appendField(dst, tag, binary.AppendUvarint(nil, value))
}

func appendField(dst []byte, tag uint64, field []byte) []byte {
	dst = binary.AppendUvarint(dst, tag)
	dst = binary.AppendUvarint(dst, uint64(len(field)))
	return append(dst, field...)
}

func (t *TableMeta) appendTo(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, t.Number)
	dst = binary.AppendUvarint(dst, uint64(t.SizeBytes))
	dst = binary.LittleEndian.AppendUint64(dst, t.Identity)
	for _, key := range []base.InternalKey{t.Smallest, t.Largest} {
		dst = binary.AppendUvarint(dst, uint64(len(key)))
		dst = append(dst, key...)
	}
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
	for last := uint64(0); len(p) > 0; {
		r := fieldReader{rest: p}
		tag := r.uvarint("tag")
		length := r.uvarint("field length")
		field := fieldReader{rest: r.take("field", length)}
		if r.err != nil {
			return nil, r.err
		}
		if tag < last || tag == last && 0 < tag && tag != tagRemoved && tag != tagAdded && tag != tagExtended {
			return nil, fmt.Errorf("edit field with tag %d follows one with tag %d", tag, last)
		}
		if err := e.decodeField(tag, &field); err != nil {
			return nil, err
		}
		p, last = r.rest, tag
	}
	return e, nil
}

// decodeField reads one field, which it must use up.
func (e *Edit) decodeField(tag uint64, r *fieldReader) error {
	switch tag {
	case tagDatabaseID:
		e.DatabaseID = r.scalar("database id", math.MaxUint64)
	case tagNextFile:
		e.NextFile = r.scalar("next file number", MaxFileNumber)
	case tagLastSeq:
		e.LastSeq = base.Seq(r.scalar("last sequence number", uint64(base.MaxSeq)))
	case tagOldestWAL:
		e.OldestWAL = r.scalar("oldest WAL number", MaxFileNumber-1)
	case tagRemoved:
		removed := RemovedTable{Level: r.level()}
		removed.Number = r.scalar("number of a removed table", MaxFileNumber-1)
		e.Removed = append(e.Removed, removed)
	case tagAdded, tagExtended:
		added := AddedTable{Level: r.level(), Meta: r.table(tag)}
		if r.err == nil {
			r.err = added.Meta.check()
		}
		e.Added = append(e.Added, added)
	case tagNow:
		e.Now = int64(r.scalar("now", math.MaxInt64))
	case tagMerger:
		if len(r.rest) == 0 || len(r.rest) > MaxMergerBytes {
			return fmt.Errorf("name of %d bytes for a merge operator", len(r.rest))
		}
		e.Merger, r.rest = string(r.rest), nil
	default:
		return fmt.Errorf("%w: unknown edit field with tag %d", base.ErrIncompatible, tag)
	}
	if r.err == nil && len(r.rest) > 0 {
		return fmt.Errorf("edit field with tag %d has %d bytes too many", tag, len(r.rest))
	}
	return r.err
}

// fieldReader takes a field apart. After the first error everything it returns is
// zero.
type fieldReader struct {
	rest []byte
	err  error
}

// uvarint reads a number in its shortest form, the only one allowed.
func (r *fieldReader) uvarint(what string) uint64 {
	if r.err != nil {
		return 0
	}
	value, width := binary.Uvarint(r.rest)
	if width <= 0 || width > 1 && r.rest[width-1] == 0 {
		r.err = fmt.Errorf("%s is malformed", what)
		return 0
	}
	r.rest = r.rest[width:]
	return value
}

// scalar reads a number from 1 to limit.
func (r *fieldReader) scalar(what string, limit uint64) uint64 { return r.number(what, 1, limit) }

func (r *fieldReader) level() int { return int(r.number("level", 0, NumLevels-1)) }

func (r *fieldReader) number(what string, least, limit uint64) uint64 {
	value := r.uvarint(what)
	if r.err == nil && (value < least || value > limit) {
		r.err = fmt.Errorf("%s %d is out of range", what, value)
	}
	return value
}

// take returns the next length bytes, shared with the source.
func (r *fieldReader) take(what string, length uint64) []byte {
	if r.err == nil && length > uint64(len(r.rest)) {
		r.err = fmt.Errorf("%s of %d bytes exceeds what remains (%d)", what, length, len(r.rest))
	}
	if r.err != nil {
		return nil
	}
	taken := r.rest[:length:length]
	r.rest = r.rest[length:]
	return taken
}

func (r *fieldReader) table(tag uint64) *TableMeta {
	t := &TableMeta{Number: r.uvarint("table number")}
	t.SizeBytes = int64(r.uvarint("table size")) // beyond int64 it is negative, which check refuses
	if identity := r.take("table identity", 8); r.err == nil {
		t.Identity = binary.LittleEndian.Uint64(identity)
	}
	t.Smallest = base.InternalKey(r.take("smallest key", r.uvarint("length of the smallest key"))).Clone()
	t.Largest = base.InternalKey(r.take("largest key", r.uvarint("length of the largest key"))).Clone()
	t.SmallestSeq = base.Seq(r.uvarint("smallest sequence number"))
	t.LargestSeq = base.Seq(r.uvarint("largest sequence number"))
	t.Entries = r.uvarint("number of entries")
	t.Deletes = r.uvarint("number of deletes")
	t.Shadowed = r.uvarint("number of shadowed entries")
	if tag != tagExtended {
		return t
	}
	t.RangeDeletes = r.uvarint("number of range deletes")
	t.Merges = r.uvarint("number of merges")
	t.Expiring = r.uvarint("number of expiring entries")
	if expiries := r.take("expiries", 16); r.err == nil {
		t.EarliestExpiry = int64(binary.LittleEndian.Uint64(expiries))
		t.LatestExpiry = int64(binary.LittleEndian.Uint64(expiries[8:]))
	}
	t.Placeholder = base.Seq(r.uvarint("placeholder"))
	if len(r.rest) > 0 {
		if half := r.take("half expiry", 8); r.err == nil {
			t.HalfExpiry = int64(binary.LittleEndian.Uint64(half))
		}
		if r.err == nil && t.HalfExpiry == 0 {
			r.err = fmt.Errorf("half expiry is there without need")
		}
	}
	if r.err == nil && !t.extended() {
		r.err = fmt.Errorf("table %d is described as extended without need", t.Number)
	}
	return t
}
