package recovery

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/internal/changes"
	"lsmdb/internal/vfs"
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
	*Opening
	discard bool // check everything, keep nothing

	segments  []*segment           // those that the MANIFEST may need, ascending
	reading   uint64               // the segment in hand
	lastSeq   base.Seq             // of the newest operation seen
	memtables []*memtable.Memtable // oldest first; the last one is being filled
	flushing  error                // why a full one could not be written to a table
	kept      []changes.Part       // segments that stay for those who follow the changes
}

// segment is one WAL segment.
type segment struct {
	number     uint64
	path       string
	file       vfs.File // nil until it was opened
	reader     *wal.Reader
	first      base.Seq // number of the first operation in it
	operations uint64   // replayed from it
	stray      bool     // holds nothing, and nothing was begun after it
}

// newReplay prepares to read the WAL that belongs to the tree.
func (o *Opening) newReplay() *replay {
	r := &replay{Opening: o, lastSeq: o.state.LastSeq}
	for _, name := range o.files.all {
		if t, number := base.ParseFileName(name); t == base.FileWAL && number >= o.state.OldestWAL {
			r.segments = append(r.segments, &segment{number: number, path: base.WALPath(o.directory.Dir, number)})
		}
	}
	slices.SortFunc(r.segments, func(a, b *segment) int { return cmp.Compare(a.number, b.number) })
	return r
}

// run replays the segments that the MANIFEST needs, in order.
func (r *replay) run() error {
	for _, s := range r.segments {
		err := r.open(s)
		if s.file != nil {
			defer s.file.Close()
		}
		if err != nil {
			return err
		}
	}
	chain, err := r.chain()
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
	if err := r.strays(chain); err != nil {
		return err
	}
	if !r.discard && r.options.KeepChangesBytes > 0 {
		r.keep(chain)
		slices.Reverse(r.kept)
	}
	return r.checkClean(chain)
}

// needs reports whether a segment may hold what is in no table yet.
func (r *replay) needs(number uint64) bool {
	return slices.ContainsFunc(r.segments, func(s *segment) bool { return s.number == number && !s.stray })
}

func (r *replay) open(s *segment) (err error) {
	r.reading = s.number
	if s.file, err = r.directory.FS.Open(s.path); err != nil {
		return fmt.Errorf("lsmdb: open %s: %w", s.path, err)
	}
	s.reader, err = wal.Open(s.file, s.path, s.number)
	return err
}

// chain returns the segments to replay, oldest first: the newest one that was
// begun and its predecessors down to the oldest that the MANIFEST needs. A newer one
// without a predecessor was begun by a recovery that did not finish.
func (r *replay) chain() (chain []*segment, err error) {
	oldest, wanted := r.state.OldestWAL, uint64(0)
	for _, s := range slices.Backward(r.segments) {
		previous := s.reader.Previous().Segment
		unfinished := previous == 0 && oldest != 0 && s.number != oldest
		if s.reader.Empty() || len(chain) == 0 && unfinished || len(chain) > 0 && s.number != wanted {
			continue
		}
		chain = append(chain, s)
		if s.number == oldest || previous == 0 && oldest == 0 {
			slices.Reverse(chain)
			return chain, nil
		}
		wanted = previous
	}
	path := base.WALPath(r.directory.Dir, max(wanted, oldest))
	switch n := len(chain); {
	case n == 0 && oldest == 0:
		return nil, nil
	case n == 0:
		return nil, base.Corruptf(path, -1, "missing or empty, but the MANIFEST needs it")
	case wanted >= chain[n-1].number:
		return nil, base.Corruptf(chain[n-1].path, 0, "claims to follow segment %d", wanted)
	default:
		return nil, base.Corruptf(path, -1, "missing or empty, but %s follows it and the MANIFEST needs segment %d",
			base.WALName(chain[n-1].number), oldest)
	}
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
	r.options.MemtableBytes = min(r.options.MemtableBytes, max(leastMemtableBytes, mostPerLogByte*logBytes))
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
	records := 0
	r.reading, s.first = s.number, r.lastSeq+1
	for {
		payload, offset, err := s.reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := r.record(s, payload); err != nil {
			return cmp.Or(r.flushing, base.DamageAt(s.path, offset, err))
		}
		records++
	}
	end := s.reader.End()
	r.facts.TornBytes = end.TornBytes // of the last segment: the others must end exactly
	if records > 0 {
		r.facts.Segments++
		r.facts.Bytes += end.Offset
	}
	return nil
}

// record replays one commit group.
func (r *replay) record(s *segment, payload []byte) error {
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
	s.operations += uint64(header.Count)
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
	if n := len(r.memtables); n > 0 {
		if r.memtables[n-1].Fits(footprint) {
			return r.memtables[n-1], nil
		}
		if !r.options.ReadOnly {
			if r.flushing = r.flushReplayed(); r.flushing != nil {
				return nil, r.flushing
			}
		}
	}
	m := memtable.New(max(r.options.MemtableBytes, footprint))
	r.memtables = append(r.memtables, m)
	return m, nil
}

// strays checks that segments outside the chain hold nothing: they were prepared,
// or begun by a recovery that did not finish, and never used.
func (r *replay) strays(chain []*segment) error {
	for _, s := range r.segments {
		if slices.Contains(chain, s) {
			continue
		}
		r.reading = s.number
		switch _, offset, err := s.reader.Next(); {
		case err == nil:
			return base.Corruptf(s.path, offset, "holds a commit, but no later segment follows it")
		case err != io.EOF:
			return err
		}
		s.stray = true
	}
	return nil
}

// checkClean compares the end of the log with the mark of a clean close.
func (r *replay) checkClean(chain []*segment) error {
	clean, n := r.current.Clean, len(chain)
	if clean == nil {
		return nil
	}
	path := base.WALPath(r.directory.Dir, clean.WAL)
	if n == 0 || chain[n-1].number != clean.WAL {
		return base.Corruptf(path, -1, "missing or empty, but a clean close left it")
	}
	if end := chain[n-1].reader.End(); !end.Sealed || end.Offset != clean.WALEnd {
		return base.Corruptf(path, end.Offset, "ends here, but a clean close left it at %d", clean.WALEnd)
	}
	return nil
}
