package flusher

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
	"lsmdb/manifest"
	"lsmdb/memtable"
	"lsmdb/sstable"
)

const dir = "/db"

func newEnvironment(t *testing.T, wrap func(vfs.FS) vfs.FS) (*output.Directory, *vfstest.Disk) {
	t.Helper()
	mem := vfstest.NewDisk()
	if err := errors.Join(mem.MkdirAll(dir), mem.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	opened, err := wrap(mem).OpenDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	return &output.Directory{
		FS: opened, Dir: dir, DatabaseID: 5, Numbers: output.NewFileNumbers(1), Tables: sstable.WriterOptions{FilterBitsPerKey: 10},
	}, mem
}

func direct(fsys vfs.FS) vfs.FS { return fsys }

// fill returns a memtable with n operations on few keys.
func fill(n int) *memtable.Memtable {
	m := memtable.New(1 << 20)
	rng := rand.New(rand.NewPCG(1, 1))
	for seq := base.Seq(1); seq <= base.Seq(n); seq++ {
		key := fmt.Appendf(nil, "key%03d", rng.IntN(100))
		if rng.IntN(4) == 0 {
			m.Insert(key, nil, seq, base.KindDelete)
		} else {
			m.Insert(key, fmt.Appendf(nil, "value %d", seq), seq, base.KindSet)
		}
	}
	return m
}

func flush(ctx context.Context, env *output.Directory, m *memtable.Memtable, snapshots ...base.Seq) ([]*manifest.TableMeta, error) {
	it := m.NewIterator()
	defer it.Close()
	return Run(ctx, env, it, nil, output.Readers{Snapshots: snapshots}, func(_, _ int64) {})
}

func files(t *testing.T, mem *vfstest.Disk) []string {
	t.Helper()
	names, err := mem.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// checkReads compares reads of the table with reads of the memtable.
func checkReads(t *testing.T, mem *vfstest.Disk, meta *manifest.TableMeta, m *memtable.Memtable, readers ...base.Seq) {
	t.Helper()
	path := base.TablePath(dir, meta.Number)
	table, err := sstable.Open(mem, path, sstable.ReaderOptions{Identity: sstable.Identity(5, meta.Number), SizeBytes: meta.SizeBytes})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	for _, at := range readers {
		for i := range 101 {
			key := fmt.Appendf(nil, "key%03d", i)
			value, _, trailer, ok, err := table.Find(base.AppendSearchKey(nil, key, at), base.Hash(key), true)
			wantValue, wantTrailer, wantOK := m.Get(key, base.Hash(key), at)
			if err != nil || ok != wantOK || trailer != wantTrailer || string(value) != string(wantValue) {
				t.Fatalf("%s at %d: %q %v %v %v, want %q %v %v", key, at, value, trailer.Seq(), ok, err, wantValue, wantTrailer.Seq(), wantOK)
			}
		}
	}
}

func TestFlush(t *testing.T) {
	m := fill(1000)
	for _, snapshots := range [][]base.Seq{nil, {500}, {1, 250, 999, 1000}} {
		env, mem := newEnvironment(t, direct)
		metas, err := flush(t.Context(), env, m, snapshots...)
		if err != nil || len(metas) != 1 {
			t.Fatal(metas, err)
		}
		if deletes := metas[0].Deletes; deletes == 0 {
			t.Error("deletes are gone, though older versions may lie in the tree")
		}
		if len(snapshots) == 0 && (metas[0].Entries != 100 || metas[0].Shadowed != 0) {
			t.Errorf("without snapshots: %v", metas[0])
		}
		checkReads(t, mem.CrashClone(nil), metas[0], m, append(snapshots, base.MaxSeq)...)
	}
}

func TestFlushOfNothing(t *testing.T) {
	env, mem := newEnvironment(t, direct)
	metas, err := flush(t.Context(), env, memtable.New(1<<16))
	if err != nil || len(metas) != 0 || len(files(t, mem)) != 0 {
		t.Error(metas, err, files(t, mem))
	}
}

func TestFlushEndsWithItsContext(t *testing.T) {
	cause := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	env, mem := newEnvironment(t, direct)
	if _, err := flush(ctx, env, fill(1000)); !errors.Is(err, cause) || len(files(t, mem)) != 0 {
		t.Error(err, files(t, mem))
	}
}

// cancelling ends a context after some entries.
type cancelling struct {
	base.Iterator
	left   int
	cancel context.CancelCauseFunc
	cause  error
}

func (c *cancelling) Next() bool {
	if c.left--; c.left == 0 {
		c.cancel(c.cause)
	}
	return c.Iterator.Next()
}

func TestFlushIsCancelledMidway(t *testing.T) {
	cause := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	env, mem := newEnvironment(t, direct)
	entries := &cancelling{Iterator: fill(1000).NewIterator(), left: 100, cancel: cancel, cause: cause}
	if _, err := Run(ctx, env, entries, nil, output.Readers{Snapshots: []base.Seq{500}}, func(_, _ int64) {}); !errors.Is(err, cause) || len(files(t, mem)) != 0 {
		t.Error(err, files(t, mem))
	}
	if entries.left < -500 {
		t.Errorf("%d entries were read after the end", -entries.left)
	}
}

// failing is an iterator that ends with an error.
type failing struct {
	base.Iterator
	left int
	err  error
}

func (f *failing) Next() bool {
	f.left--
	return f.left > 0 && f.Iterator.Next()
}

func (f *failing) Err() error { return f.err }

func TestFlushOfABrokenIterator(t *testing.T) {
	broken := errors.New("broken")
	env, mem := newEnvironment(t, direct)
	entries := &failing{Iterator: fill(1000).NewIterator(), left: 50, err: broken}
	if _, err := Run(t.Context(), env, entries, nil, output.Readers{}, func(_, _ int64) {}); !errors.Is(err, broken) || len(files(t, mem)) != 0 {
		t.Error(err, files(t, mem))
	}
}

func TestFaultAtEveryOperation(t *testing.T) {
	broken := errors.New("broken")
	m := fill(1000)
	for at := 0; ; at++ {
		count := 0
		env, mem := newEnvironment(t, func(under vfs.FS) vfs.FS {
			return vfstest.NewFault(under, func(op vfstest.Op) error {
				if op.Kind == vfstest.OpOpenDir {
					return nil
				}
				if count++; count-1 == at {
					return fmt.Errorf("%v: %w", op, broken)
				}
				return nil
			})
		})
		metas, err := flush(t.Context(), env, m)
		if err == nil {
			if count > at || at < 5 {
				t.Errorf("operation %d of %d failed without a word", at, count)
			}
			return
		}
		if !errors.Is(err, broken) || metas != nil || len(files(t, mem)) != 0 {
			t.Errorf("operation %d: %v, %v, files %v", at, metas, err, files(t, mem))
		}
		// The same memtable can be tried again under a new number.
		if metas, err := flush(t.Context(), env, m); err != nil || metas[0].Number != 2 {
			t.Errorf("second try after operation %d: %v, %v", at, metas, err)
		} else {
			checkReads(t, mem, metas[0], m, base.MaxSeq)
		}
	}
}

func TestFlushOnAFullDisk(t *testing.T) {
	env, mem := newEnvironment(t, direct)
	mem.SetLimit(1000)
	m := fill(1000)
	if _, err := flush(t.Context(), env, m); !errors.Is(err, base.ErrDiskFull) || len(files(t, mem)) != 0 {
		t.Fatal(err, files(t, mem))
	}
	mem.SetLimit(1 << 20)
	metas, err := flush(t.Context(), env, m)
	if err != nil || len(metas) != 1 {
		t.Fatal("space returned, but", err)
	}
	checkReads(t, mem, metas[0], m, base.MaxSeq)
}
