package compactor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
	"lsmdb/manifest"
	"lsmdb/sstable"
)

const dir = "/db"

// store is a tree of real tables in memory.
type store struct {
	t       testing.TB
	mem     *vfstest.Disk
	fsys    vfs.FS
	policy  Policy
	version *manifest.Version
	files   sstable.OpenFiles
	numbers *output.FileNumbers
	cache   *sstable.Cache
	lastSeq base.Seq
	history []base.InternalKey
}

// newStore makes an empty tree. Its files are reached through wrap.
func newStore(t testing.TB, wrap func(vfs.FS) vfs.FS) *store {
	mem := vfstest.NewDisk()
	if err := errors.Join(mem.MkdirAll(dir), mem.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	s := &store{t: t, mem: mem, fsys: mem, version: &manifest.Version{}, numbers: output.NewFileNumbers(1), policy: NewPolicy(16 << 10), cache: sstable.NewCache(1 << 20)}
	if wrap != nil {
		s.fsys = wrap(mem)
	}
	return s
}

func (s *store) environment() *output.Directory {
	opened, err := s.fsys.OpenDirectory(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	return &output.Directory{
		FS: opened, Dir: dir, DatabaseID: 9, Numbers: s.numbers,
		Tables: sstable.WriterOptions{FilterBitsPerKey: 10, BlockBytes: 512},
	}
}

func testValue(k base.InternalKey) []byte {
	if k.Kind() == base.KindDelete {
		return nil
	}
	return []byte(strings.Repeat(k.String(), 4))
}

// load adds a table with entries of the newest sequence numbers to a level.
func (s *store) load(level int, keys ...string) *manifest.TableMeta {
	s.t.Helper()
	var entries []base.InternalKey
	for _, key := range keys {
		s.lastSeq++
		kind := base.KindSet
		if d, ok := strings.CutPrefix(key, "-"); ok {
			key, kind = d, base.KindDelete
		}
		entries = append(entries, base.MakeInternalKey([]byte(key), s.lastSeq, kind))
	}
	slices.SortFunc(entries, base.Compare)
	s.history = append(s.history, entries...)
	tables := output.NewTables(s.environment(), 0, nil)
	for _, k := range entries {
		if err := tables.Add(k, testValue(k)); err != nil {
			s.t.Fatal(err)
		}
	}
	metas, err := tables.Finish()
	if err != nil {
		s.t.Fatal(err)
	}
	s.apply(&manifest.Edit{Added: []manifest.AddedTable{{Level: level, Meta: metas[0]}}})
	return metas[0]
}

// apply does what the keeper does: it gives new tables their handles.
func (s *store) apply(e *manifest.Edit) {
	s.t.Helper()
	for _, a := range e.Added {
		if a.Meta.Handle == nil {
			options := sstable.ReaderOptions{SizeBytes: a.Meta.SizeBytes, Identity: a.Meta.Identity, Cache: s.cache}
			a.Meta.Handle = sstable.NewHandle(s.fsys, base.TablePath(dir, a.Meta.Number), options, &s.files)
		}
	}
	v, err := s.version.Apply(e)
	if err != nil {
		s.t.Fatal(err)
	}
	s.version = v
}

func (s *store) run(ctx context.Context, job *Job, snapshots ...base.Seq) ([]*manifest.TableMeta, error) {
	return job.Run(ctx, s.environment(), output.Readers{Snapshots: snapshots}, s.version, func(_, _ int64) {})
}

// situation is the tree with nobody reading.
func (s *store) situation(running []*Job) Situation {
	return Situation{Policy: s.policy, Version: s.version, Running: running}
}

// job builds the job over some tables of a level.
func (s *store) job(level, outputLevel int, inputs ...*manifest.TableMeta) *Job {
	job := newPicker(s.situation(nil)).build(level, outputLevel, inputs)
	job.Trivial = false
	checkJob(s.t.(*testing.T), s.version, job)
	return job
}

// contents returns the entries of the tree, level by level.
func (s *store) contents() (entries []string) {
	s.t.Helper()
	for level, tables := range s.version.Levels {
		for _, m := range tables {
			table, err := m.Handle.Table()
			if err != nil {
				s.t.Fatal(err)
			}
			it := table.NewIterator(sstable.IteratorOptions{})
			for ok := it.First(); ok; ok = it.Next() {
				entries = append(entries, fmt.Sprintf("L%d %s", level, it.Key()))
				if !bytes.Equal(it.Value(), testValue(it.Key())) {
					s.t.Fatalf("value of %s is %q", it.Key(), it.Value())
				}
			}
			if err := it.Close(); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	return entries
}

// checkFiles checks that the directory holds the tables of the tree and no other.
func (s *store) checkFiles() {
	s.t.Helper()
	want := make(map[string]bool)
	for _, tables := range s.version.Levels {
		for _, m := range tables {
			want[base.TableName(m.Number)] = true
		}
	}
	names, err := s.mem.List(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	if fmt.Sprint(names) != fmt.Sprint(slices.Sorted(maps.Keys(want))) {
		s.t.Errorf("files %v, the tree lists %v", names, want)
	}
}

// removeUnlisted is what the sweeper does.
func (s *store) removeUnlisted(job *Job) {
	s.t.Helper()
	for _, m := range job.tables() {
		if err := s.mem.Remove(base.TablePath(dir, m.Number)); err != nil {
			s.t.Fatal(err)
		}
	}
}
