package salvage

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/rs/zerolog"

	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/internal/ranges"
	"lsmdb/internal/recovery"
	"lsmdb/manifest"
	"lsmdb/sstable"
)

const (
	tableBytes       = 64 << 20 // a table of the new database ends when it has so many
	filterBitsPerKey = 10
	openTables       = 64
)

// begin prepares to write into the new directory.
func (r *rescue) begin(dir string) {
	var id [8]byte
	rand.Read(id[:]) // never fails, says its documentation
	r.out = &output.Directory{
		FS: r.target, Dir: dir, DatabaseID: binary.LittleEndian.Uint64(id[:]) | 1,
		Tables: sstable.WriterOptions{Compression: sstable.CompressionSnappy, FilterBitsPerKey: filterBitsPerKey},
		Files:  &sstable.OpenFiles{Limit: openTables}, Numbers: output.NewFileNumbers(1), Logger: zerolog.Nop(),
	}
}

// write merges what was rescued into tables of the new database.
func (r *rescue) write() (err error) {
	deletes := r.rangeDeletes()
	operands, err := r.newOperands(deletes)
	if err != nil {
		return err
	}
	it, _, err := r.merged()
	if err != nil {
		return err
	}
	defer func() {
		if operands.ahead != nil {
			operands.ahead.Close()
		}
		err = errors.Join(err, it.Close())
	}()
	tables := output.NewTables(r.out, manifest.NumLevels-1, func(sizeBytes int64, _ []byte) bool { return sizeBytes >= tableBytes })
	defer func() { err = errors.Join(err, tables.Abort()) }() // harmless behind Finish
	w := writing{rescue: r, operands: operands, tables: tables, retention: r.retention(deletes)}
	for ok := it.First(); ok; ok = it.Next() {
		if err := w.take(it.Key(), it.Value()); err != nil {
			return err
		}
	}
	if err := cmp.Or(it.Err(), w.retention.End(w.add)); err != nil {
		return err
	}
	if r.made, err = tables.Finish(); err == nil {
		r.reportOperands()
	}
	return err
}

// rangeDeletes returns all of them.
func (r *rescue) rangeDeletes() ranges.List {
	lists := r.log.deletes
	for _, t := range r.tables {
		if len(t.deletes) > 0 {
			lists = append(lists, t.deletes)
		}
	}
	return new(output.Readers).Merge(lists...)
}

// retention keeps what a database needs that has no snapshot and nothing else. No operator is
// asked: operands stay operands, for the program that has it. A value has ended if the old
// database has seen that, whatever the clock here shows.
func (r *rescue) retention(deletes ranges.List) *output.Retention {
	s := output.Scope{Ranges: deletes, Elide: func([]byte) bool { return true }, ElideRange: func(_, _ []byte) bool { return true }}
	if r.tree.now != 0 {
		s.Readers.Nows = []int64{r.tree.now}
	}
	return output.NewRetention(s)
}

// writing is the merge in progress.
type writing struct {
	*rescue
	operands  *operands
	tables    *output.Tables
	retention *output.Retention

	last  base.InternalKey // that was taken
	limit base.Seq         // larger operands of its user key are left out
	why   *hole            // because of this; nil: because they are not trusted
	added []byte           // the user key that was written last
	any   bool             // there is one
}

// take is given all versions of all keys in order.
func (w *writing) take(key base.InternalKey, value []byte) error {
	same := len(w.last) > 0 && bytes.Equal(key.UserKey(), w.last.UserKey())
	if same && key.Trailer() == w.last.Trailer() {
		return nil // an obsolete table has it, too
	}
	w.last = append(w.last[:0], key...)
	merges := key.Kind() == base.KindMerge
	if !same {
		w.limit, w.why = base.MaxSeq, nil
		if merges {
			var err error
			if w.limit, w.why, err = w.operands.limit(key.UserKey()); err != nil {
				return err
			}
			if w.distrusts(key.UserKey()) {
				w.limit, w.why = 0, nil
			}
		}
	}
	if merges && key.Seq() > w.limit {
		if w.why != nil {
			w.why.leaveOut(key, w.limit)
		}
		return nil
	}
	return w.retention.Take(key, value, w.add)
}

// add writes what is kept.
func (w *writing) add(key base.InternalKey, value []byte) error {
	if user := key.UserKey(); !w.any || !bytes.Equal(user, w.added) {
		w.added, w.any = append(w.added[:0], user...), true
		if key.Kind() != base.KindSetExpiring || base.Until(value) > w.now {
			w.Entries++
		}
	}
	return w.tables.Add(key, value)
}

// finish makes a database of the tables and verifies it.
func (r *rescue) finish() error {
	target := r.target
	for _, t := range r.made {
		target.Made = append(target.Made, base.TableName(t.Number))
	}
	for _, t := range r.log.spilled {
		if t.Handle != nil {
			_ = t.Handle.Close() // it was only read
		}
		if err := target.Remove(base.TablePath(r.out.Dir, t.Number)); err != nil {
			return err
		}
	}
	number := r.out.Numbers.Next()
	state := manifest.State{DatabaseID: r.out.DatabaseID, Version: &manifest.Version{}}
	edit := &manifest.Edit{NextFile: number + 1, LastSeq: r.lastSeq(), Now: r.tree.now, Merger: r.tree.merger}
	edit.Add(manifest.NumLevels-1, r.made...)
	state, err := state.Apply(edit)
	if err != nil {
		return fmt.Errorf("invariant: salvage made an impossible state: %w", err)
	}
	target.Made = append(target.Made, base.ManifestName(number))
	log, err := manifest.CreateLog(target, r.out.Dir, number, state)
	if err != nil {
		return err
	}
	if err := log.Close(); err != nil {
		return err
	}
	current := manifest.Current{Manifest: number}
	if err := r.verify(current); err != nil {
		return err
	}
	return target.Commit(current)
}

// lastSeq returns the largest number that was ever given out, as far as that is known.
func (r *rescue) lastSeq() base.Seq {
	last := max(r.tree.lastSeq, r.log.next-1)
	for _, t := range r.made {
		last = max(last, t.LargestSeq)
	}
	for _, l := range r.Losses {
		last = max(last, l.LastSeq)
	}
	return last
}

// verify reads the new database back.
func (r *rescue) verify(current manifest.Current) error {
	var problem error
	err := recovery.VerifyWithout(r.ctx, r.target, r.out.Dir, current, recovery.Observer{
		File:     func(string, string, int64, uint64, *manifest.TableMeta) {},
		Progress: func(string, int64, int64) {},
		Problem: func(name string, offset int64, detail string, _ bool) {
			problem = cmp.Or(problem, base.Corruptf(filepath.Join(r.out.Dir, name), offset, "%s", detail))
		},
	})
	return cmp.Or(err, problem)
}
