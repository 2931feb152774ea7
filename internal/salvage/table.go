package salvage

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/internal/ranges"
	"lsmdb/manifest"
	"lsmdb/sstable"
)

// table is a table that is used.
type table struct {
	number   uint64 // of the table
	file     string // that holds it, mostly of the same number
	identity uint64
	seq      base.Seq            // stands for the placeholder; 0: there is none, or nobody knows it
	meta     *manifest.TableMeta // what the MANIFEST says; nil: it does not know the table
	told     *properties         // what the table says of itself; nil: that is lost
	ending   *ending

	found           []extent // the blocks, where the index is lost; nil: it is not
	suspect         bool     // another table has versions that this one has, too
	entries, merges uint64   // that are rescued
	first, last     base.InternalKey
	deletes         ranges.List
}

// gap is a stretch of a table where data may have been.
type gap struct {
	offset   int64
	detail   string
	from, to base.InternalKey // the neighbors; nil: there is none
}

// readTables decides which tables count, and checks each byte of them.
func (r *rescue) readTables() error {
	missing := r.chooseListed()
	for number, e := range r.survey.files {
		if r.tree.tables[number] == nil && r.counts(number, e, missing) {
			r.chooseOther(number, e)
		}
	}
	slices.SortFunc(r.tables, func(a, b *table) int { return cmp.Compare(a.number, b.number) })
	for _, t := range r.tables {
		if err := r.readTable(t); err != nil {
			return err
		}
	}
	r.tables = slices.DeleteFunc(r.tables, func(t *table) bool { return t.entries == 0 && len(t.deletes) == 0 })
	return nil
}

// chooseListed chooses the tables that the MANIFEST lists, and reports and returns the missing
// ones.
func (r *rescue) chooseListed() (missing []*manifest.TableMeta) {
	for _, meta := range r.tree.tables {
		t := &table{number: meta.Number, identity: meta.Identity, meta: meta}
		if meta.Placeholder != 0 {
			t.seq = meta.LargestSeq
		}
		number := meta.Number
		e := r.survey.files[number]
		if other, ok := r.survey.byIdentity[meta.Identity]; ok && (e == nil || !e.footer || e.identity != meta.Identity) {
			number, e = other, r.survey.files[other] // somebody changed the names of files
		}
		t.file, t.ending = base.TableName(number), e
		if e != nil && e.fault == "" {
			t.told = e.properties
			r.tables = append(r.tables, t)
			continue
		}
		missing = append(missing, meta)
		detail := "missing"
		if e != nil {
			detail = e.fault
		}
		lost := t.loss(-1, fmt.Sprintf("%s; it had %d entries and %d range deletes", detail, meta.Entries, meta.RangeDeletes))
		lost.Doubtful = !r.tree.whole // an edit that is lost may have removed it
		r.miss(lost)
	}
	return missing
}

// counts reports whether a table that the MANIFEST does not list is used all the same. An
// obsolete one would bring deleted keys back. But a MANIFEST without an End may have lost its last
// edits. Then tables are missing that these made obsolete, or operations behind its last number;
// and what is newer than all that it knows, and has that, is in their place. Not so a table that was
// loaded: nobody knows whether the load was carried out.
func (r *rescue) counts(number uint64, e *ending, missing []*manifest.TableMeta) bool {
	switch p := e.properties; {
	case e.fault != "" || r.tree.removed[number] || e.footer && r.isListed(e.identity):
		return false
	case !r.tree.whole:
		return true
	case r.tree.sealed || number < r.tree.nextFile || p == nil:
		return false
	default:
		return p.largestSeq > r.tree.lastSeq && r.log.gaps || slices.ContainsFunc(missing, func(m *manifest.TableMeta) bool {
			return p.smallestSeq <= m.LargestSeq && m.SmallestSeq <= p.largestSeq &&
				bytes.Compare(p.smallest.UserKey(), m.Largest.UserKey()) <= 0 && bytes.Compare(m.Smallest.UserKey(), p.largest.UserKey()) <= 0
		})
	}
}

// chooseOther chooses a table that the MANIFEST does not list.
func (r *rescue) chooseOther(number uint64, e *ending) {
	t := &table{number: number, file: base.TableName(number), ending: e, told: e.properties, identity: e.identity}
	if !e.footer && r.survey.databaseID != 0 {
		t.identity = sstable.Identity(r.survey.databaseID, number)
	}
	if e.properties != nil && e.properties.placeholder {
		lost := t.loss(-1, "only the MANIFEST knew which sequence number these entries have: they count as the oldest")
		lost.Doubtful = true
		r.lose(lost)
	}
	if r.tree.whole {
		r.note("%s is used, although %s does not list it: the changes that came last in there seem to be lost", t.file, r.tree.name)
	}
	r.guessed = true
	r.tables = append(r.tables, t)
}

// isListed reports whether the MANIFEST lists a table with that identity.
func (r *rescue) isListed(identity uint64) bool {
	for _, meta := range r.tree.tables {
		if meta.Identity == identity {
			return true
		}
	}
	return false
}

// bounds returns what is known of all keys and numbers in the table.
func (t *table) bounds() (smallest, largest base.InternalKey, smallestSeq, largestSeq base.Seq) {
	if m := t.meta; m != nil {
		return m.Smallest, m.Largest, m.SmallestSeq, m.LargestSeq
	}
	if p := t.told; p != nil {
		if p.placeholder {
			return p.smallest, p.largest, 0, 0
		}
		return p.smallest, p.largest, p.smallestSeq, p.largestSeq
	}
	return nil, nil, 0, 0
}

// loss is that of everything in the table.
func (t *table) loss(offset int64, detail string) Loss {
	smallest, largest, first, last := t.bounds()
	return Loss{File: t.file, Offset: offset, Detail: detail, From: user(smallest), To: user(largest), FirstSeq: first, LastSeq: last}
}

// user returns the user key of an internal key; nil stays nil.
func user(k base.InternalKey) []byte {
	if len(k) < base.TrailerBytes {
		return nil
	}
	return append([]byte{}, k.UserKey()...)
}

// expected returns how many entries and range deletes the table had.
func (t *table) expected() (entries, deletes uint64, known bool) {
	switch {
	case t.meta != nil:
		return t.meta.Entries, t.meta.RangeDeletes, true
	case t.told != nil:
		return t.told.entries, t.told.rangeDeletes, true
	}
	return 0, 0, false
}

// indexed returns the extents of the data blocks, if the index verifies.
func (t *table) indexed(f *source) (blocks []extent, ok bool) {
	p := t.ending.properties
	if p == nil || t.ending.identity != t.identity {
		return nil, false
	}
	e := extent{t.ending.offset - p.indexBytes, p.indexBytes}
	b, err := readBlock(f, t.identity, e)
	if err != nil || b.kind != sstable.BlockIndex {
		return nil, false
	}
	blocks, err = decodeIndex(b.payload, e.offset-p.filterBytes-p.rangesBytes)
	return blocks, err == nil
}

// readTable checks every block of a table and reports what is lost.
func (r *rescue) readTable(t *table) error {
	if t.ending.newer != 0 {
		r.miss(t.loss(-1, fmt.Sprintf("a table of version %d, which is not known here", t.ending.newer)))
		return nil
	}
	f, err := r.open(t.file)
	if err != nil {
		r.miss(t.loss(-1, err.Error()))
		return nil
	}
	defer f.Close()
	s := &scan{rescue: r, table: t, file: f}
	if blocks, ok := t.indexed(f); ok {
		err = s.byIndex(blocks)
	} else {
		t.found = []extent{}
		err = s.byChecksums()
	}
	if err != nil {
		return err
	}
	s.report()
	return nil
}

// scan is the check of one table.
type scan struct {
	*rescue
	*table
	file *source
	gaps []gap
	open bool // the last gap has no neighbor behind it yet
	over bool // a block was found that stands behind all data
}

// byIndex checks the blocks that the index tells of, and the range deletes.
func (s *scan) byIndex(blocks []extent) error {
	for _, e := range blocks {
		b, err := readBlock(s.file, s.identity, e)
		if err == nil && b.kind != sstable.BlockData {
			err = fmt.Errorf("a %s block in place of data", b.kind)
		}
		if err == nil {
			err = s.data(b.payload)
		}
		if err != nil {
			s.gap(e.offset, err.Error())
		}
		if err := s.progress(s.table.file, e.length); err != nil {
			return err
		}
	}
	p := s.ending.properties
	if p.rangesBytes > 0 {
		b, err := readBlock(s.file, s.identity, extent{s.ending.offset - p.indexBytes - p.rangesBytes, p.rangesBytes})
		if err == nil && b.kind == sstable.BlockRangeDelete {
			s.ranges(b.payload)
		}
	}
	return s.progress(s.table.file, s.file.sizeBytes-s.ending.offset)
}

// byChecksums finds the blocks one by one.
func (s *scan) byChecksums() error {
	limit := s.file.sizeBytes
	if s.ending.footer {
		limit -= footerBytes
	}
	f := newFinder(s.file, s.identity, limit)
	for at := int64(0); at < limit; {
		e, ok := f.next(at)
		if !ok {
			e.offset = limit
		}
		if e.offset > at && !s.over {
			s.gap(at, "nothing verifies here")
		}
		if ok {
			b, err := readBlock(s.file, s.identity, e)
			if err != nil {
				return fmt.Errorf("%s changed while it was read: %w", s.table.file, err)
			}
			switch b.kind {
			case sstable.BlockData:
				if err := s.data(b.payload); err != nil {
					s.gap(e.offset, err.Error())
				} else {
					s.found = append(s.found, e)
				}
			case sstable.BlockRangeDelete:
				s.ranges(b.payload)
				s.over = true
			default:
				s.over = true
			}
		}
		if err := s.progress(s.table.file, e.end()-at); err != nil {
			return err
		}
		at = e.end()
	}
	return nil
}

// data takes a data block, unless its keys are not where they belong.
func (s *scan) data(payload []byte) error {
	c, err := examine(payload, s.seq, s.last)
	if err != nil {
		return err
	}
	if s.open {
		s.gaps[len(s.gaps)-1].to, s.open = c.first, false
	}
	if s.entries == 0 {
		s.first = c.first
	}
	s.last = c.last
	s.entries += c.entries
	s.merges += c.merges
	return nil
}

// gap notes a stretch without sound data. One that follows another is part of it.
func (s *scan) gap(offset int64, detail string) {
	if s.open {
		return
	}
	g := gap{offset: offset, detail: detail}
	if s.entries > 0 {
		g.from = s.last
	}
	s.gaps, s.open = append(s.gaps, g), true
}

// ranges takes the range deletes.
func (s *scan) ranges(payload []byte) {
	l, err := ranges.Decode(bytes.Clone(payload))
	if err != nil {
		return
	}
	if s.seq != 0 {
		l = l.Reduce(func(ranges.Span) []base.Seq { return []base.Seq{s.seq} })
	}
	s.deletes = l
}

// report says what of the table is lost. What is known of its entries decides: where all are
// there, a gap was no data.
func (s *scan) report() {
	entries, deletes, known := s.expected()
	if !known {
		s.reportUnknown()
		return
	}
	if lost := int64(entries) - int64(s.entries); lost > 0 {
		if len(s.gaps) == 0 {
			s.gap(s.file.sizeBytes, "the file ends here")
		}
		where := ""
		if len(s.gaps) > 1 {
			where = fmt.Sprintf(" in %d such places", len(s.gaps))
		}
		for _, g := range s.gaps {
			l := s.loss(g.offset, s.file.why(fmt.Sprintf("%s; %d of the table's %d entries are lost%s", g.detail, lost, entries, where)))
			if g.from != nil {
				l.From = user(g.from)
			}
			if g.to != nil {
				l.To = user(g.to)
			}
			s.miss(l)
		}
	}
	if found := s.deletes.Count(); found < deletes {
		s.miss(s.loss(-1, s.file.why(fmt.Sprintf("%d of %d range deletes are lost", deletes-found, deletes))))
	}
}

// reportUnknown is report where nobody knows what the table had. What is missing between two
// blocks was there; whether anything was behind the last one is open, as the table may never have
// been finished.
func (s *scan) reportUnknown() {
	if !s.open {
		s.gap(s.file.sizeBytes, "the end of the table is lost")
	}
	for i, g := range s.gaps {
		l := Loss{File: s.table.file, Offset: g.offset, Detail: s.file.why(g.detail), From: user(g.from), To: user(g.to)}
		if i+1 < len(s.gaps) {
			s.miss(l)
			continue
		}
		l.From, l.To, l.Doubtful = nil, nil, true // it may have been range deletes, too
		s.lose(l)
	}
}
