package recovery

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
	"lsmdb/memtable"
	"lsmdb/wal"
)

// replay reads the write-ahead log of a database that is not running into
// memtables. It changes nothing on disk.
//
// Each segment's header names its predecessor and where that ended, and a segment
// is synced before its successor exists. So the segments form a chain that is
// followed backward from the newest; any damage before its last segment, any
// missing link and any gap in the sequence numbers is proof of corruption. Only the
// end of the last segment may be torn, where package wal finds no proof that
// it was durable.
type replay struct {
	fs            vfs.Files
	dir           string
	state         manifest.State
	clean         *manifest.CleanMark // not nil: exactly this must be found
	segments      []uint64            // numbers of all segments in the directory, ascending
	memtableBytes int64
	full          func(*memtable.Memtable) error // takes memtables that are full; nil: they are collected
	discard       bool                           // check everything, keep nothing

	lastSeq    base.Seq // of the newest operation seen
	last       wal.Previous
	reading    uint64               // the segment in hand
	operations map[uint64]uint64    // found in each segment
	replayed   []uint64             // the chain, once all of it was read
	memtables  []*memtable.Memtable // oldest first; the last one is being filled
	facts      *Facts               // what is found
}

// run replays the segments that the MANIFEST needs, in order.
func (r *replay) run() error {
	open := make(map[uint64]*segment)
	r.operations = make(map[uint64]uint64)
	defer func() {
		for _, s := range open {
			s.file.Close()
		}
	}()
	for _, number := range r.segments {
		if number < r.state.OldestWAL {
			continue
		}
		s, err := r.open(number)
		if err != nil {
			return err
		}
		open[number] = s
	}
	chain, err := r.chain(open)
	if err != nil {
		return err
	}
	r.sizeMemtables(chain)
	for i, s := range chain {
		if err := r.segment(s); err != nil {
			return err
		}
		if i+1 < len(chain) {
			if err := s.mustEndAt(chain[i+1].reader.Previous()); err != nil {
				return err
			}
		}
	}
	if err := r.strays(open, chain); err != nil {
		return err
	}
	r.replayed = []uint64{}
	for _, s := range chain {
		r.replayed = append(r.replayed, s.number)
	}
	return r.checkClean(chain)
}

// needs reports whether a segment may hold what is in no table yet.
func (r *replay) needs(number uint64) bool {
	return number >= r.state.OldestWAL && (r.replayed == nil || slices.Contains(r.replayed, number))
}

// segment is one open WAL segment.
type segment struct {
	number uint64
	path   string
	file   vfs.File
	reader *wal.Reader
}

func (r *replay) open(number uint64) (*segment, error) {
	r.reading = number
	s := &segment{number: number, path: base.WALPath(r.dir, number)}
	var err error
	if s.file, err = r.fs.Open(s.path); err != nil {
		return nil, fmt.Errorf("lsmdb: open %s: %w", s.path, err)
	}
	if s.reader, err = wal.Open(s.file, s.path, number); err != nil {
		return nil, errors.Join(err, s.file.Close())
	}
	return s, nil
}

// chain returns the segments to replay, oldest first: the newest one that was
// begun and its predecessors down to the oldest that the MANIFEST needs. A newer one
// without a predecessor was begun by a recovery that did not finish.
func (r *replay) chain(open map[uint64]*segment) ([]*segment, error) {
	var chain []*segment
	oldest := r.state.OldestWAL
	for _, number := range slices.Backward(r.segments) {
		s := open[number]
		if s == nil || s.reader.Empty() || (s.reader.Previous().Segment == 0 && oldest != 0 && number != oldest) {
			continue
		}
		chain = append(chain, s)
		break
	}
	if len(chain) == 0 {
		if oldest != 0 {
			return nil, base.Corruptf(base.WALPath(r.dir, oldest), -1, "missing or empty, but the MANIFEST needs it")
		}
		return nil, nil
	}
	for s := chain[0]; s.number != oldest; {
		previous := s.reader.Previous().Segment
		if previous == 0 && oldest == 0 {
			break
		}
		before := open[previous]
		if before == nil || before.reader.Empty() {
			return nil, base.Corruptf(base.WALPath(r.dir, max(previous, oldest)), -1,
				"missing or empty, but %s follows it and the MANIFEST needs segment %d", base.WALName(s.number), oldest)
		}
		if before.number >= s.number {
			return nil, base.Corruptf(s.path, 0, "claims to follow segment %d", previous)
		}
		chain = append(chain, before)
		s = before
	}
	slices.Reverse(chain)
	return chain, nil
}

// sizeMemtables makes memtables no larger than the log can fill: a short log is
// replayed without clearing a large piece of memory for it.
func (r *replay) sizeMemtables(chain []*segment) {
	var logBytes int64
	for _, s := range chain {
		logBytes += s.reader.SizeBytes()
	}
	const leastMemtableBytes = 16 << 10
	const mostPerLogByte = 16 // of a delete of a short key: 40 bytes for 3
	r.memtableBytes = min(r.memtableBytes, max(leastMemtableBytes, mostPerLogByte*logBytes))
}

// mustEndAt checks that a segment ends where its successor was begun. (What lies
// behind that in the file is what an earlier recovery already cut off.)
func (s *segment) mustEndAt(p wal.Previous) error {
	if end := s.reader.End().Offset; end != p.End {
		return base.Corruptf(s.path, min(end, p.End), "ends at %d, but its successor was begun when it ended at %d", end, p.End)
	}
	return nil
}

// segment replays one segment.
func (r *replay) segment(s *segment) error {
	records, before := 0, r.facts.Operations
	r.reading = s.number
	defer func() { r.operations[s.number] = r.facts.Operations - before }()
	for {
		payload, offset, err := s.reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := r.record(payload); err != nil {
			if other := (handOverError{}); errors.As(err, &other) {
				return other.error
			}
			return base.DamageAt(s.path, offset, err)
		}
		records++
	}
	end := s.reader.End()
	r.last = wal.Previous{Segment: s.number, End: end.Offset}
	r.facts.TornBytes = end.TornBytes // of the last segment: the others must end exactly
	if records > 0 {
		r.facts.Segments++
		r.facts.Bytes += end.Offset
	}
	return nil
}

// record replays one commit group.
func (r *replay) record(payload []byte) error {
	header, ops, err := base.DecodeGroup(payload)
	if err != nil {
		return err
	}
	if header.First != r.lastSeq+1 {
		return fmt.Errorf("the commit starts at sequence number %d, %d was expected", header.First, r.lastSeq+1)
	}
	m, err := r.room(header, int64(len(ops)))
	if err != nil {
		return err
	}
	for range header.Count {
		var op base.Op
		if op, ops, err = base.DecodeOp(ops); err != nil {
			return err
		}
		r.lastSeq++
		if m != nil {
			m.Apply(op, r.lastSeq)
		}
	}
	if len(ops) > 0 {
		return fmt.Errorf("%d bytes follow the last operation of the commit", len(ops))
	}
	if header.Count > 0 { // otherwise it is a mark of the Writer
		r.facts.Commits++
	}
	r.facts.Operations += uint64(header.Count)
	return nil
}

// room returns a memtable that the group fits into. A group claims at most as many
// operations as it has bytes for, so a false count cannot ask for much memory.
func (r *replay) room(header base.GroupHeader, opsBytes int64) (*memtable.Memtable, error) {
	const smallestOpBytes = 2
	if int64(header.Count) > opsBytes/smallestOpBytes {
		return nil, fmt.Errorf("the commit claims %d operations in %d bytes", header.Count, opsBytes)
	}
	if r.discard {
		return nil, nil
	}
	footprint := memtable.FootprintBytes(int64(header.Count), opsBytes)
	if footprint > memtable.MaxArenaBytes() {
		return nil, fmt.Errorf("the commit needs %d bytes of memory, this platform addresses %d", footprint, memtable.MaxArenaBytes())
	}
	if n := len(r.memtables); n > 0 && r.memtables[n-1].Fits(footprint) {
		return r.memtables[n-1], nil
	}
	if err := r.handOver(); err != nil {
		return nil, err
	}
	m := memtable.New(max(r.memtableBytes, footprint))
	r.memtables = append(r.memtables, m)
	return m, nil
}

// handOver gives the memtable that was being filled away, if somebody takes it.
func (r *replay) handOver() error {
	if r.full == nil || len(r.memtables) == 0 {
		return nil
	}
	m := r.memtables[0]
	r.memtables = r.memtables[:0]
	if err := r.full(m); err != nil {
		return handOverError{err}
	}
	return nil
}

// handOverError carries an error that says nothing about the WAL past the code
// that gives errors their place in it.
type handOverError struct{ error }

func (e handOverError) Unwrap() error { return e.error }

// strays checks that segments outside the chain hold nothing: they were prepared,
// or begun by a recovery that did not finish, and never used.
func (r *replay) strays(open map[uint64]*segment, chain []*segment) error {
	for _, number := range r.segments {
		s := open[number]
		if s == nil || s.reader.Empty() || slices.Contains(chain, s) {
			continue
		}
		r.reading = number
		if _, offset, err := s.reader.Next(); !errors.Is(err, io.EOF) {
			if err != nil {
				return err
			}
			return base.Corruptf(s.path, offset, "holds a commit, but no later segment follows it")
		}
	}
	return nil
}

// checkClean compares the end of the log with the mark of a clean close.
func (r *replay) checkClean(chain []*segment) error {
	if r.clean == nil {
		return nil
	}
	path := base.WALPath(r.dir, r.clean.WAL)
	if len(chain) == 0 || chain[len(chain)-1].number != r.clean.WAL {
		return base.Corruptf(path, -1, "missing or empty, but a clean close left it")
	}
	if end := chain[len(chain)-1].reader.End(); !end.Sealed || end.Offset != r.clean.WALEnd {
		return base.Corruptf(path, end.Offset, "ends here, but a clean close left it at %d", r.clean.WALEnd)
	}
	return nil
}
