package view

import (
	"bytes"
	"cmp"
	"iter"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/internal/ranges"
	"lsmdb/manifest"
	"lsmdb/memtable"
	"lsmdb/sstable"
)

// Changed looks whether anything of what a transaction has read was changed behind a
// sequence number, by any write that is visible when Changed is called. It returns the
// first such key with its newest change, nil if there is none.
//
// That can be told however long ago it was, if a snapshot at that number or an older one
// is registered: then the newest version of every key stays, also if it is a delete. Every
// write to a key is a change, also the delete of one that had no value. (Of a range delete
// without an end, this holds as far as there are keys.)
//
// It may find a change that is not visible yet. That one precedes the transaction's own
// commit, too.
func (p *Published) Changed(reads *Reads, after base.Seq) (*base.ConflictError, error) {
	r := p.Enter()
	l := look{State: r.State, memtables: r.Memtables(), after: after}
	l.hold()
	defer p.release(l.State)
	r.Leave()
	var err error
	if lost := l.guarded(func() { err = l.all(reads) }); lost != nil || err != nil {
		return nil, cmp.Or(lost, err)
	}
	return l.found, nil
}

// look is one search for changes behind a sequence number.
type look struct {
	*State
	memtables []*memtable.Memtable
	levels    []int // with tables that hold something newer
	after     base.Seq
	search    base.InternalKey
	found     *base.ConflictError
}

// all looks for changes of all that was read.
func (l *look) all(reads *Reads) error {
	for level, tables := range l.Version.Levels {
		if slices.ContainsFunc(tables, l.newer) {
			l.levels = append(l.levels, level)
		}
	}
	for _, key := range reads.keys {
		if err := l.key(key); err != nil {
			return err
		}
	}
	for _, s := range reads.spans {
		if err := l.span(s); err != nil {
			return err
		}
	}
	return nil
}

// meet notes a change of a key.
func (l *look) meet(key []byte, seq base.Seq) {
	if seq > l.after {
		l.found = first(l.found, key, seq)
	}
}

// first returns the conflict that is known already, nil if none is, or another one if that
// is of a smaller key, or of the same and newer.
func first(known *base.ConflictError, key []byte, seq base.Seq) *base.ConflictError {
	if known != nil {
		if c := bytes.Compare(known.Key, key); c < 0 || c == 0 && known.Seq >= uint64(seq) {
			return known
		}
	}
	return &base.ConflictError{Key: bytes.Clone(key), Seq: uint64(seq)}
}

// key looks for a change of one key. Its newest version tells, and range deletes that come
// before that.
func (l *look) key(key []byte) error {
	hash := base.Hash(key)
	for _, m := range l.memtables {
		l.meet(key, m.RangeDeletes.Newest(key, base.MaxSeq))
		if _, t, ok := m.Get(key, hash, base.MaxSeq); ok {
			l.meet(key, t.Seq())
			return nil
		}
	}
	l.search = base.AppendSearchKey(l.search[:0], key, base.MaxSeq)
	for t := range l.tables(span{from: key, to: key}) {
		table, err := t.Handle.Table()
		if err != nil {
			return err
		}
		l.meet(key, table.Ranges().Newest(key, base.MaxSeq))
		_, _, trailer, found, err := table.Find(l.search, hash, false)
		if found {
			l.meet(key, trailer.Seq())
		}
		if found || err != nil {
			return err
		}
	}
	return nil
}

// span looks for the first key of a range that was changed.
func (l *look) span(s span) error {
	for _, m := range l.memtables {
		if err := l.walk(s, m.NewIterator(), m.RangeDeletes.Lists()...); err != nil {
			return err
		}
	}
	for t := range l.tables(s) {
		table, err := t.Handle.Table()
		if err != nil {
			return err
		}
		entries := table.NewIterator(sstable.IteratorOptions{NoCacheFill: true, ReadAheadBytes: ReadAheadBytes})
		if err := l.walk(s, entries, table.Ranges()); err != nil {
			return err
		}
	}
	return nil
}

// walk looks for it in one sorted run, no further than to what is known already.
func (l *look) walk(s span, entries base.Iterator, deletes ...ranges.List) error {
	for _, list := range deletes {
		for _, d := range list.Clip(s.from, s.to) {
			l.meet(d.Start, d.Seqs[0])
		}
	}
	l.search = base.AppendSearchKey(l.search[:0], s.from, base.MaxSeq)
	for ok := entries.SeekGE(l.search); ok; ok = entries.Next() {
		key := entries.Key()
		if !s.holds(key.UserKey()) || l.found != nil && bytes.Compare(key.UserKey(), l.found.Key) > 0 {
			break
		}
		if key.Seq() > l.after {
			l.meet(key.UserKey(), key.Seq())
			break
		}
	}
	return entries.Close()
}

// tables walks those that may hold newer entries of a range, its end included, newest
// first. Mostly there are none.
func (l *look) tables(s span) iter.Seq[*manifest.TableMeta] {
	return func(yield func(*manifest.TableMeta) bool) {
		for _, level := range l.levels {
			for _, t := range l.Version.Overlapping(level, s.from, s.to) {
				if l.newer(t) && !yield(t) {
					return
				}
			}
		}
	}
}

func (l *look) newer(t *manifest.TableMeta) bool { return t.LargestSeq > l.after }
