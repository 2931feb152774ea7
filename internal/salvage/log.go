package salvage

import (
	"errors"
	"fmt"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/internal/ranges"
	"lsmdb/manifest"
	"lsmdb/memtable"
	"lsmdb/wal"
)

// log is what the log still holds. Sequence numbers are given without gaps, so they tell
// exactly which operations are missing behind a hole.
type log struct {
	next     base.Seq // the number that the next operation should have
	applied  base.Seq // the largest number that an operation had
	flushed  base.Seq // operations up to here are in tables already: logs that are kept would bring back what was deleted
	segments []uint64 // that may hold what is in no table, ascending
	before   map[uint64]wal.Previous
	ends     map[uint64]int64 // of segments that have a successor: where they end
	end      int64            // behind the last record of the last segment
	pending  *Loss            // a hole, until the number behind it is known
	trouble  error            // why some of the last segment cannot be read; nil: all can
	gaps     bool             // operations are missing

	arenaBytes int64                 // of a memtable
	memtable   *memtable.Memtable    // what came last; nil: nothing yet
	spilled    []*manifest.TableMeta // what came before, in tables that are not for the new database
	deletes    []ranges.List
	merges     uint64 // operands
}

// headerEnd is where a segment ends that holds nothing.
const headerEnd = 27

// memtableBytes is how much of the log is in memory at most. Tests lower it.
var memtableBytes int64 = 64 << 20

const (
	leastMemtableBytes = 16 << 10
	mostPerLogByte     = 16 // that a memtable takes, of a delete of a short key
)

// readLogs replays every segment that may hold what is in no table yet, oldest first.
func (r *rescue) readLogs() error {
	l := &r.log
	oldest := r.tree.oldestWAL
	if l.flushed = r.tree.lastSeq; !r.tree.whole {
		l.flushed = max(l.flushed, r.survey.flushed)
	}
	l.next = l.flushed + 1
	for name, sizeBytes := range r.names {
		if kind, number := base.ParseFileName(name); kind == base.FileWAL && number >= oldest {
			l.segments = append(l.segments, number)
			l.arenaBytes += mostPerLogByte * sizeBytes
		}
	}
	slices.Sort(l.segments)
	l.arenaBytes = min(max(l.arenaBytes, leastMemtableBytes), memtableBytes)
	if err := r.linkSegments(); err != nil {
		return err
	}
	if oldest != 0 && r.tree.whole && !slices.Contains(l.segments, oldest) {
		l.suspect(Loss{File: base.WALName(oldest), Offset: -1, Detail: "missing"})
	}
	sealed := len(l.segments) == 0
	for _, number := range l.segments {
		p := l.before[number].Segment
		if p != 0 && p >= oldest && r.tree.whole && !slices.Contains(l.segments, p) {
			l.suspect(Loss{File: base.WALName(p), Offset: -1, Detail: fmt.Sprintf("missing, but %s follows it", base.WALName(number))})
		}
		var err error
		if sealed, err = r.readSegment(number); err != nil {
			return err
		}
	}
	r.endLogs(sealed)
	l.keepDeletes()
	return nil
}

// linkSegments reads the headers. Each says what was before the segment, and where that ended.
func (r *rescue) linkSegments() error {
	l := &r.log
	l.before, l.ends = make(map[uint64]wal.Previous), make(map[uint64]int64)
	for _, number := range l.segments {
		name := base.WALName(number)
		f, err := r.open(name)
		if err != nil {
			continue // readSegment tells
		}
		for c, damage := range wal.Chunks(f, name, number) {
			if h := decodeHeader(c.Payload); damage == nil && c.Type == wal.TypeHeader && h.there && h.previous.Segment < number {
				l.before[number] = h.previous
				l.ends[h.previous.Segment] = h.previous.End
			}
			break
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// readSegment replays one segment, and reports whether an End chunk stands behind it.
func (r *rescue) readSegment(number uint64) (sealed bool, err error) {
	l, name := &r.log, base.WALName(number)
	l.end = 0
	f, err := r.open(name)
	if err != nil {
		l.suspect(Loss{File: name, Offset: -1, Detail: err.Error()})
		return false, nil
	}
	defer f.Close()
	end, succeeded := l.ends[number]
	read := int64(0)
	_, sealed, err = walkLog(f, name, number, func(p piece) (err error) {
		if succeeded && p.offset >= end {
			return nil // it was cut off before its successor was begun
		}
		if p.record != nil {
			if p.fault, err = r.replay(name, p); err != nil {
				return err
			}
		}
		if p.fault == "" {
			l.end = p.end
		} else {
			l.suspect(Loss{File: name, Offset: p.offset, Detail: p.fault})
		}
		err = r.progress(name, p.end-read)
		read = p.end
		return err
	})
	if err != nil {
		return false, err
	}
	if succeeded && l.end < end && end > headerEnd {
		l.suspect(Loss{File: name, Offset: l.end, Detail: fmt.Sprintf("ends here, but its successor was begun when it ended at %d", end)})
	}
	l.trouble = f.trouble
	return sealed, r.progress(name, f.sizeBytes-read)
}

// suspect notes a hole. Whether anything was in it, the next record tells.
func (l *log) suspect(hole Loss) {
	if l.pending == nil {
		l.pending = &hole
	}
}

// replay applies a record, whole or not at all; fault says why not.
func (r *rescue) replay(name string, p piece) (fault string, err error) {
	l := &r.log
	header, ops, damage := base.DecodeGroup(p.record)
	if damage != nil {
		return damage.Error(), nil
	}
	count, _, damage := base.CountOps(ops)
	if damage == nil && count != header.Count {
		damage = fmt.Errorf("a commit of %d operations holds %d", header.Count, count)
	}
	if damage != nil {
		return damage.Error(), nil
	}
	if header.First > l.next {
		r.missNumbers(name, p.offset, header.First-1)
	}
	l.pending, l.next = nil, max(l.next, header.First+base.Seq(count))
	for i := range base.Seq(count) {
		op, rest, damage := base.DecodeOp(ops)
		if damage != nil {
			return "", fmt.Errorf("invariant: an operation that was counted: %w", damage)
		}
		if err := r.apply(op, header.First+i); err != nil {
			return "", err
		}
		ops = rest
	}
	return "", nil
}

// missNumbers reports that the operations from next to last are missing before an offset.
func (r *rescue) missNumbers(name string, offset int64, last base.Seq) {
	l := &r.log
	if l.pending == nil {
		l.pending = &Loss{File: name, Offset: offset, Detail: "operations are missing before this place"}
	}
	lost := *l.pending
	lost.FirstSeq, lost.LastSeq = l.next, last
	if count := last - l.next + 1; count == 1 {
		lost.Detail += "; 1 operation is lost"
	} else {
		lost.Detail += fmt.Sprintf("; %d operations are lost", count)
	}
	r.miss(lost)
	l.gaps = true
}

// apply puts an operation into the memtable, of which the last is kept in memory.
func (r *rescue) apply(op base.Op, seq base.Seq) error {
	l := &r.log
	if seq <= max(l.applied, l.flushed) {
		return nil // an older segment had it; or the tables, where it may be merged, or gone with what deleted it
	}
	l.applied = seq
	if op.Kind == base.KindMerge {
		l.merges++
	}
	footprint := memtable.FootprintBytes(1, int64(len(op.Key)+len(op.Value)))
	if l.memtable != nil && !l.memtable.Fits(footprint) {
		if err := r.spill(); err != nil {
			return err
		}
	}
	if l.memtable == nil {
		l.memtable = memtable.New(max(l.arenaBytes, footprint))
	}
	l.memtable.Apply(op, seq)
	return nil
}

// spill writes the memtable to a table, so that there is memory for more.
func (r *rescue) spill() error {
	l := &r.log
	tables := output.NewTables(r.out, 0, nil)
	if _, err := tables.Copy(r.ctx, l.memtable.NewIterator(), output.NewRetention(output.Scope{}), func(_, _ int64) {}); err != nil {
		return errors.Join(err, tables.Abort())
	}
	made, err := tables.Finish()
	if err != nil {
		return err
	}
	for _, t := range made {
		r.target.Made = append(r.target.Made, base.TableName(t.Number)) // to be removed in any case
	}
	l.spilled = append(l.spilled, made...)
	l.keepDeletes()
	l.memtable = nil
	return nil
}

// keepDeletes takes the range deletes out of the memtable.
func (l *log) keepDeletes() {
	if l.memtable != nil {
		l.deletes = []ranges.List{new(output.Readers).Merge(append(l.deletes, l.memtable.RangeDeletes.Lists()...)...)}
	}
}

// endLogs says what the end of the log leaves open. sealed: an End chunk stands there.
func (r *rescue) endLogs(sealed bool) {
	l := &r.log
	last := base.Seq(0)
	if l.next > 0 {
		last = l.next - 1
	}
	if clean := r.tree.clean; clean != nil && clean.WAL != 0 && r.tree.whole && !slices.Contains(l.segments, clean.WAL) {
		l.suspect(Loss{File: base.WALName(clean.WAL), Offset: -1, Detail: "missing, but a clean close left it"})
	}
	if l.pending != nil && (sealed || l.pending.Offset < 0) {
		lost := *l.pending
		lost.FirstSeq, lost.Doubtful = l.next, true
		lost.Detail += "; nothing behind it tells how many operations that concerns"
		r.lose(lost)
		l.gaps = true
	}
	if sealed {
		return
	}
	unended := Loss{File: base.WALName(l.segments[len(l.segments)-1]), Offset: l.end, FirstSeq: last, Doubtful: true,
		Detail: fmt.Sprintf("the log was not closed: what was written behind sequence number %d is not here", last)}
	if l.pending != nil {
		unended.Detail += fmt.Sprintf(" (%s at offset %d: %s)", l.pending.File, l.pending.Offset, l.pending.Detail)
	}
	if l.trouble != nil {
		unended.Detail += fmt.Sprintf(" (%v)", l.trouble)
	}
	r.lose(unended)
}
