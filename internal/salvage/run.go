package salvage

import (
	"bytes"
	"fmt"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/internal/merge"
	"lsmdb/sstable"
)

// run walks tables that share no user key, one after the other, as far as their blocks verify.
// It is a base.Iterator that goes forward only.
type run struct {
	rescue *rescue
	tables []*table // ascending

	behind  []*table // that follow the current one
	current *table
	file    *source
	blocks  []extent // of the current table, that follow the current one
	entries entries  // of the current block
	shown   uint64   // entries of the current table
	last    base.InternalKey
	valid   bool
	err     error
}

var _ base.Iterator = (*run)(nil)

// runs divides the tables into as few runs as there are tables that share keys.
func (r *rescue) runs() (runs []*run) {
	tables := slices.DeleteFunc(slices.Clone(r.tables), func(t *table) bool { return t.entries == 0 })
	slices.SortFunc(tables, func(a, b *table) int { return base.Compare(a.first, b.first) })
	for _, t := range tables {
		i := slices.IndexFunc(runs, func(u *run) bool {
			return bytes.Compare(u.tables[len(u.tables)-1].last.UserKey(), t.first.UserKey()) < 0
		})
		if i < 0 {
			i, runs = len(runs), append(runs, &run{rescue: r})
		}
		runs[i].tables = append(runs[i].tables, t)
	}
	return runs
}

// merged returns all that was rescued as one walk: logs first, then tables. Runs are its children,
// nil for those of the log.
func (r *rescue) merged() (it *merge.Iterator, runs []*run, err error) {
	var all []merge.Run
	if m := r.log.memtable; m != nil {
		all = append(all, merge.Run{Iterator: m.NewIterator()})
	}
	for _, meta := range r.log.spilled {
		r.out.Attach(meta)
		t, err := meta.Handle.Table()
		if err != nil {
			return nil, nil, err
		}
		it := t.NewIterator(sstable.IteratorOptions{NoCacheFill: true, ReadAheadBytes: aheadBytes})
		all = append(all, merge.Run{Iterator: it, Table: it})
	}
	runs = append(make([]*run, len(all)), r.runs()...)
	for _, u := range runs[len(all):] {
		all = append(all, merge.Run{Iterator: u})
	}
	return merge.New(all...), runs, nil
}

// First implements base.Iterator.
func (u *run) First() bool {
	u.closeFile()
	u.behind, u.current, u.blocks, u.err = u.tables, nil, nil, nil
	u.entries.reset(noEntries)
	return u.Next()
}

// noEntries is a block that has no restart point.
var noEntries = make([]byte, 4)

// Next implements base.Iterator.
func (u *run) Next() bool {
	for u.err == nil {
		if u.entries.next() {
			u.shown++
			u.valid = true
			return true
		}
		if u.entries.err != nil { // it was examined
			panic("invariant: " + u.entries.err.Error())
		}
		if !u.nextBlock() && !u.nextTable() {
			break
		}
	}
	u.valid = false
	return false
}

// nextBlock goes to the next block of the table that verifies.
func (u *run) nextBlock() bool {
	for len(u.blocks) > 0 {
		e := u.blocks[0]
		u.blocks = u.blocks[1:]
		b, err := readBlock(u.file, u.current.identity, e)
		if err != nil || b.kind != sstable.BlockData {
			continue // it was reported when the table was checked
		}
		c, err := examine(b.payload, u.current.seq, u.last)
		if err != nil {
			continue
		}
		u.last = c.last
		u.entries.seq = u.current.seq
		u.entries.reset(b.payload)
		u.err = u.rescue.progress(u.current.file, e.length)
		return true
	}
	return false
}

// nextTable goes to the next table, if the one before has given what it had when it was checked.
func (u *run) nextTable() bool {
	if t := u.current; t != nil && u.shown != t.entries {
		u.err = fmt.Errorf("%s gave %d entries, and then %d: it was changed meanwhile, or its disk fails; try again with a copy",
			t.file, t.entries, u.shown)
		return false
	}
	u.closeFile()
	if len(u.behind) == 0 {
		u.current = nil
		return false
	}
	u.current, u.behind = u.behind[0], u.behind[1:]
	u.shown, u.last = 0, nil
	if u.file, u.err = u.rescue.open(u.current.file); u.err != nil {
		return false
	}
	if u.blocks = u.current.found; u.blocks == nil {
		u.blocks, _ = u.current.indexed(u.file) // without them the number of entries shows it
	}
	return true
}

func (u *run) closeFile() {
	if u.file != nil {
		_ = u.file.Close() // it was only read
		u.file = nil
	}
}

// Valid implements base.Iterator.
func (u *run) Valid() bool { return u.valid }

// Key implements base.Iterator.
func (u *run) Key() base.InternalKey { return u.entries.key }

// Value implements base.Iterator.
func (u *run) Value() []byte { return u.entries.value }

// Err implements base.Iterator.
func (u *run) Err() error { return u.err }

// Close implements base.Iterator.
func (u *run) Close() error {
	u.closeFile()
	u.valid = false
	return u.err
}

// Last, SeekGE, SeekLT and Prev are nobody's.
func (u *run) Last() bool { return u.never() }

// SeekGE implements base.Iterator.
func (u *run) SeekGE(base.InternalKey) bool { return u.never() }

// SeekLT implements base.Iterator.
func (u *run) SeekLT(base.InternalKey) bool { return u.never() }

// Prev implements base.Iterator.
func (u *run) Prev() bool { return u.never() }

func (u *run) never() bool { panic("invariant: what is rescued is walked from first to last") }
