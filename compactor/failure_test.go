package compactor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
	"lsmdb/manifest"
)

// twoRuns returns a store with a job of level-0 tables and overlaps.
func twoRuns(t *testing.T, wrap func(vfs.FS) vfs.FS) (*store, *Job) {
	s := newStore(t, wrap)
	s.load(5, sequence("a", 100)...)
	s.load(5, sequence("b", 100)...)
	s.load(0, append(sequence("a", 60), sequence("-b", 60)...)...)
	s.load(0, append(sequence("-a", 40), sequence("b", 40)...)...)
	return s, s.job(0, 5, s.version.Levels[0]...)
}

func TestCancelledRunLeavesNothing(t *testing.T) {
	cause := errors.New("stop")
	s, job := twoRuns(t, nil)
	before := s.contents()
	pauses := 0
	for at := 0; ; at++ {
		ctx, cancel := context.WithCancelCause(t.Context())
		if at == 0 {
			cancel(cause)
		}
		pauses = 0
		_, err := job.Run(ctx, s.environment(), output.Readers{}, s.version, func(_, _ int64) {
			if pauses++; pauses == at {
				cancel(cause)
			}
		})
		cancel(nil)
		if err == nil {
			break
		}
		if !errors.Is(err, cause) || pauses > at {
			t.Errorf("cancelled at pause %d: %v after %d pauses", at, err, pauses)
		}
		s.checkFiles()
	}
	readBytes := int(job.InputBytes())
	const pauseBytes = 1024 // see output.Tables.Copy
	if pauses < readBytes/pauseBytes/2 || pauses > 3*readBytes/pauseBytes {
		t.Errorf("%d pauses for %d bytes", pauses, readBytes)
	}
	if fmt.Sprint(s.contents()) != fmt.Sprint(before) {
		t.Error("the inputs changed")
	}
}

// TestFaultAtEveryOperation fails each operation of a job in turn. Opening or reading a file
// keeps failing, because iterators get over one failure to read ahead, and tables over one to
// read their end at once.
func TestFaultAtEveryOperation(t *testing.T) {
	broken := errors.New("broken")
	for _, late := range []bool{false, true} {
		for at := 0; ; at++ {
			var armed bool
			count := 0
			var failed vfstest.Op
			s, job := twoRuns(t, func(under vfs.FS) vfs.FS {
				return vfstest.NewFault(under, func(op vfstest.Op) error {
					if !armed || op.Kind == vfstest.OpOpenDir {
						return nil
					}
					again := op.Kind == failed.Kind && op.Name == failed.Name && (op.Kind == vfstest.OpRead || op.Kind == vfstest.OpOpen)
					if count++; count-1 != at && !again {
						return nil
					}
					if failed = op; late {
						return &vfstest.Late{Err: broken}
					}
					return broken
				})
			})
			armed = true
			outputs, err := s.run(t.Context(), job)
			armed = false
			if count <= at {
				if err != nil || at < 10 {
					t.Fatalf("%d operations, %v", at, err)
				}
				break
			}
			if !errors.Is(err, broken) || outputs != nil || job.Damaged(err) != nil {
				t.Errorf("late %v: %v failed, result %v, %v", late, failed, outputs, err)
			}
			if errors.Is(err, output.ErrDirectorySync) != (failed.Kind == vfstest.OpSyncDir) {
				t.Errorf("%v gave %v", failed, err)
			}
			s.checkFiles()
			if got := len(s.contents()); got != len(s.history) {
				t.Errorf("%v failed, %d of %d entries are left", failed, got, len(s.history))
			}
			if _, err := s.run(t.Context(), job); err != nil {
				t.Errorf("second try after %v: %v", failed, err)
			}
		}
	}
}

func TestRunOnAFullDisk(t *testing.T) {
	s, job := twoRuns(t, nil)
	used := s.mem.UsedBytes()
	for room := int64(0); ; room += 1500 {
		s.mem.SetLimit(used + room)
		outputs, err := s.run(t.Context(), job)
		if err == nil {
			if len(outputs) == 0 || room == 0 {
				t.Error("a full disk took the outputs")
			}
			return
		}
		if !errors.Is(err, base.ErrDiskFull) || job.Damaged(err) != nil {
			t.Errorf("room for %d bytes: %v", room, err)
		}
		s.checkFiles()
		if room > 1<<20 {
			t.Fatal("never enough room")
		}
	}
}

// TestCorruptInput damages one byte of each input in turn, in a data block.
func TestCorruptInput(t *testing.T) {
	for i := range 4 {
		var damaged atomic.Uint64
		s, job := twoRuns(t, func(under vfs.FS) vfs.FS { return &flipping{FS: under, number: &damaged} })
		target := job.tables()[i]
		damaged.Store(target.Number)
		outputs, err := s.run(t.Context(), job)
		var corruption *base.CorruptionError
		if outputs != nil || !errors.As(err, &corruption) || corruption.File != base.TablePath(dir, target.Number) {
			t.Errorf("table %d damaged: %v", target.Number, err)
			continue
		}
		if got := job.Damaged(err); fmt.Sprint(got) != fmt.Sprint([]uint64{target.Number}) {
			t.Errorf("table %d damaged, to be set aside: %v", target.Number, got)
		}
		s.checkFiles()
	}
}

// flipping flips a bit near the start of one table, whenever it is read.
type flipping struct {
	vfs.FS
	number *atomic.Uint64
}

func (f *flipping) OpenDirectory(dir string) (vfs.Directory, error) {
	opened, err := f.FS.OpenDirectory(dir)
	return &flippingDirectory{opened, f.number}, err
}

func (f *flipping) Open(name string) (vfs.File, error) { return openFlipping(f.FS, name, f.number) }

type flippingDirectory struct {
	vfs.Directory
	number *atomic.Uint64
}

func (d *flippingDirectory) Open(name string) (vfs.File, error) {
	return openFlipping(d.Directory, name, d.number)
}

func openFlipping(files vfs.Files, name string, number *atomic.Uint64) (vfs.File, error) {
	file, err := files.Open(name)
	if err == nil && name == base.TablePath(dir, number.Load()) {
		return &flippingFile{file}, nil
	}
	return file, err
}

type flippingFile struct{ vfs.File }

func (f *flippingFile) ReadAt(p []byte, offset int64) (int, error) {
	const at = 700
	n, err := f.File.ReadAt(p, offset)
	if offset <= at && offset+int64(n) > at {
		p[at-offset] ^= 4
	}
	return n, err
}

func TestDamaged(t *testing.T) {
	job := &Job{Inputs: []*manifest.TableMeta{{Number: 3}, {Number: 4}}, Overlaps: []*manifest.TableMeta{{Number: 7}}}
	cases := []struct {
		err  error
		want []uint64
	}{
		{nil, nil},
		{errors.New("broken"), nil},
		{syscall.ENOSPC, nil},
		{fmt.Errorf("merge: %w", base.Corruptf("/db/000007.sst", 5, "bad")), []uint64{7}},
		{errors.Join(errors.New("other"), base.Corruptf("000003.sst", 5, "bad")), []uint64{3}},
		{base.Corruptf("/db/000009.sst", 5, "a stranger"), []uint64{3, 4, 7}},
		{fmt.Errorf("no place: %w", base.ErrIncompatible), []uint64{3, 4, 7}},
	}
	for _, c := range cases {
		if got := job.Damaged(c.err); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
}

func TestCollides(t *testing.T) {
	job := func(output int, lower, upper string) *Job {
		return &Job{Level: 3, OutputLevel: output, Lower: []byte(lower), Upper: []byte(upper)}
	}
	cases := []struct {
		a, b *Job
		want bool
	}{
		{job(5, "a", "c"), job(5, "c", "d"), true},
		{job(5, "a", "z"), job(5, "c", "d"), true},
		{job(5, "a", "b"), job(5, "c", "d"), false},
		{job(5, "a", "z"), job(4, "a", "z"), false},
	}
	for _, c := range cases {
		if c.a.Collides(c.b) != c.want || c.b.Collides(c.a) != c.want {
			t.Errorf("L%d %s-%s and L%d %s-%s: want %v", c.a.OutputLevel, c.a.Lower, c.a.Upper, c.b.OutputLevel, c.b.Lower, c.b.Upper, c.want)
		}
	}
}

// TestShortInput: a table that holds fewer entries than the manifest says is not
// taken for the whole.
func TestShortInput(t *testing.T) {
	s, job := twoRuns(t, nil)
	job.Inputs[0].Entries++
	_, err := s.run(t.Context(), job)
	if !errors.Is(err, base.ErrCorrupt) || len(job.Damaged(err)) != 4 {
		t.Error(err)
	}
	s.checkFiles()
}

func TestMissingAndClosedInput(t *testing.T) {
	s, job := twoRuns(t, nil)
	if err := s.files.CloseAll(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.run(t.Context(), job); !errors.Is(err, base.ErrClosed) {
		t.Error(err)
	}
	s.checkFiles()
}
