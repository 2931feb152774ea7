package changes

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/salvage"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
	"lsmdb/manifest"
)

// openKeeping opens the database of a machine with tiny memtables.
func openKeeping(t testing.TB, m *fixture.Machine, keep int64) *db.DB {
	t.Helper()
	o := m.Options()
	o.KeepChangesBytes = keep
	d, err := db.Open(fixture.Dir, o)
	fixture.Must(t, err)
	return d
}

// fill writes numbered keys, one after the other, so that some segments come and go.
func fill(t testing.TB, d *db.DB, writes int) {
	t.Helper()
	for n := range writes {
		fixture.Must(t, d.Put(fmt.Appendf(nil, "%d", n), make([]byte, 3<<10), db.NoSync))
	}
	fixture.Must(t, d.Flush(t.Context()))
}

// eventually waits for what other goroutines do.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !done(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%s: that does not come", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// logs returns the segments in the directory and their bytes.
func logs(t testing.TB, m *fixture.Machine) (names []string, sizeBytes int64) {
	t.Helper()
	files := fixture.FilesOf(t, m.Disk, fixture.Dir)
	names = files.Named(".wal")
	for _, name := range names {
		sizeBytes += int64(len(files[name]))
	}
	return names, sizeBytes
}

// oldest returns what a *TrimmedError says.
func oldest(t testing.TB, err error) uint64 {
	t.Helper()
	trimmed, is := errors.AsType[*db.TrimmedError](err)
	if !is || !errors.Is(err, db.ErrTrimmed) {
		t.Fatalf("%v is no TrimmedError", err)
	}
	return trimmed.Oldest
}

// TestNothingIsKept by default, nor where that is asked for: who comes too late is told, and where he
// can go on.
func TestNothingIsKept(t *testing.T) {
	for _, keep := range []int64{0, -1} {
		ctx := guarded(t)
		m := fixture.NewMachine(vfstest.NewDisk())
		d := openKeeping(t, m, keep)
		fill(t, d, 30)
		eventually(t, "old logs go", func() bool { names, _ := logs(t, m); return len(names) == 1 })
		_, err := follow(ctx, d, 0, 1)
		if got := oldest(t, err); got != 30 {
			t.Errorf("the oldest are behind %d", got)
		}
		fixture.Must(t, d.Put([]byte("x"), nil))
		got, err := follow(ctx, d, 30, 1)
		must(t, got, err, "31-31 x=")
		fixture.Must(t, d.Close())
		d = openKeeping(t, m, keep)
		_, err = follow(ctx, d, 30, 1)
		if got := oldest(t, err); got != 31 {
			t.Errorf("after Close and Open the oldest are behind %d", got)
		}
		fixture.Must(t, d.Close())
	}
}

// TestKeptForALoop: while a loop runs, what it has not read yet is kept for it, by default;
// then all of that goes.
func TestKeptForALoop(t *testing.T) {
	ctx := guarded(t)
	m := fixture.NewMachine(vfstest.NewDisk())
	d := openKeeping(t, m, 0)
	defer d.Close()
	fixture.Must(t, d.Put([]byte("first"), nil))
	number := uint64(0)
	for c, err := range d.Changes(ctx, 0) {
		fixture.Must(t, err)
		if number++; c.Seq != number {
			t.Fatalf("change %d instead of %d", c.Seq, number)
		}
		if number == 1 {
			fill(t, d, 60)
			eventually(t, "old logs are kept", func() bool { return d.Metrics().Changes.Segments >= 12 })
			kept := d.Metrics().Changes
			if pins := d.Pins(); kept.Oldest != 0 || kept.Bytes < 50*3<<10 || pins[0].Bytes < kept.Bytes {
				t.Errorf("kept: %+v, pins: %+v", kept, pins)
			}
		}
		if number == 40 {
			eventually(t, "logs that were read go", func() bool { return d.Metrics().Changes.Oldest > 20 })
		}
		if number == 61 {
			break
		}
	}
	eventually(t, "old logs go", func() bool { names, _ := logs(t, m); return len(names) == 1 && d.Metrics().Changes.Segments == 0 })
}

// TestNothingForALoop: with a negative bound a loop keeps nothing. It ends when it needs what is gone, and
// what it has got is whole.
func TestNothingForALoop(t *testing.T) {
	ctx := guarded(t)
	m := fixture.NewMachine(vfstest.NewDisk())
	d := openKeeping(t, m, -1)
	defer d.Close()
	fixture.Must(t, d.Put([]byte("first"), nil))
	number := uint64(0)
	for c, err := range d.Changes(ctx, 0) {
		if err != nil {
			if got := oldest(t, err); got != 61 {
				t.Errorf("the oldest are behind %d", got)
			}
			break
		}
		if number++; c.Seq != number {
			t.Fatalf("change %d instead of %d", c.Seq, number)
		}
		if number == 1 {
			fill(t, d, 60)
			eventually(t, "old logs go", func() bool { names, _ := logs(t, m); return len(names) == 1 })
		}
	}
	if number != 1 {
		t.Errorf("%d changes came", number)
	}
}

// TestBoundOfWhatIsKept: never more bytes than that, and nearly as many; whole segments go,
// from the oldest on. Close, the end of the process and Open change nothing of it.
func TestBoundOfWhatIsKept(t *testing.T) {
	ctx := guarded(t)
	m := fixture.NewMachine(vfstest.NewDisk())
	const keep = 100 << 10
	number := uint64(0)
	check := func(d *db.DB) {
		t.Helper()
		kept := d.Metrics().Changes
		if kept.Bytes > keep || kept.Bytes < keep/2 || kept.Segments < 4 {
			t.Errorf("kept: %+v", kept)
		}
		_, err := follow(ctx, d, 0, 1)
		if got := oldest(t, err); got != kept.Oldest {
			t.Errorf("the oldest are behind %d, not %d", got, kept.Oldest)
		}
		if kept.Oldest > 0 {
			_, err = follow(ctx, d, kept.Oldest-1, 1)
			if got := oldest(t, err); got != kept.Oldest {
				t.Errorf("the oldest are behind %d, not %d", got, kept.Oldest)
			}
		}
		f := newFollower()
		f.at = kept.Oldest
		fixture.Must(t, f.through(ctx, d, number))
	}
	for life := range 6 {
		d := openKeeping(t, m, keep)
		if life > 0 {
			fixture.Must(t, fixture.TakeOver(d))
			check(d)
		}
		fill(t, d, 60)
		number += 60
		eventually(t, "old logs go", func() bool { _, sizeBytes := logs(t, m); return sizeBytes <= keep+64<<10 })
		check(d)
		if life%2 == 0 {
			fixture.Must(t, d.Close())
		} else {
			m.Kill(d)
			m = fixture.NewMachine(m.Disk)
		}
	}
	d := openKeeping(t, m, 0)
	fixture.Must(t, fixture.TakeOver(d))
	eventually(t, "old logs go", func() bool { names, _ := logs(t, m); return len(names) == 1 })
	fixture.Must(t, d.Close())
}

// TestDamage in a segment that is kept: who needs it is told where it is, and behind which number he
// can go on; and so is who comes later.
func TestDamage(t *testing.T) {
	for what, harm := range map[string]func(files fixture.Files, name string) fixture.Files{
		"a byte": func(files fixture.Files, name string) fixture.Files { return files.Flipped(name, len(files[name])/2) },
		"cut short": func(files fixture.Files, name string) fixture.Files {
			return files.With(name, files[name][:len(files[name])/2])
		},
		"missing": func(files fixture.Files, name string) fixture.Files { return files.With(name, nil) },
		"header":  func(files fixture.Files, name string) fixture.Files { return files.Flipped(name, 3) },
		"empty":   func(files fixture.Files, name string) fixture.Files { return files.With(name, []byte{}) },
	} {
		t.Run(strings.ReplaceAll(what, " ", "-"), func(t *testing.T) {
			ctx := guarded(t)
			m := fixture.NewMachine(vfstest.NewDisk())
			d := openKeeping(t, m, 1<<30)
			fill(t, d, 60)
			fixture.Must(t, d.Close())
			files := fixture.FilesOf(t, m.Disk, fixture.Dir)
			names := files.Named(".wal")
			harmed := names[len(names)/2]
			m = fixture.NewMachine(harm(files, harmed).Disk(t))
			report, err := fixture.VerifyOn(m.Disk, fixture.Dir)
			fixture.Must(t, err)
			if found := slices.ContainsFunc(report.Problems, func(p db.Problem) bool { return p.File == harmed && !p.Fatal }); found != (what != "missing") {
				t.Errorf("verify: %+v", report.Problems)
			}
			d = openKeeping(t, m, 1<<30)
			defer d.Close()
			at, list := uint64(0), []error{}
			for at < 60 && len(list) < 3 { // each time on behind what is lost
				for c, err := range d.Changes(ctx, at) {
					if err != nil {
						list = append(list, err)
						at = oldest(t, err)
						break
					}
					if at++; c.Seq != at {
						t.Fatalf("change %d instead of %d", c.Seq, at)
					}
					if at == 60 {
						break
					}
				}
			}
			if at != 60 || len(list) != 1 {
				t.Fatalf("came to %d, with %v", at, list)
			}
			if damage, is := errors.AsType[*db.CorruptionError](list[0]); is && filepath.Base(damage.File) != harmed {
				t.Errorf("%v, but %s is damaged", list[0], harmed)
			}
			_, err = follow(ctx, d, 0, 1)
			if got := oldest(t, err); got != oldest(t, list[0]) {
				t.Errorf("later: %v, but before: %v", err, list[0])
			}
			fixture.Must(t, d.Put([]byte("goes on"), nil))
		})
	}
}

// TestDamageOfTheNewest segment is damage and nothing else: nothing lies behind it.
func TestDamageOfTheNewest(t *testing.T) {
	ctx := guarded(t)
	dir := t.TempDir()
	d, err := db.Open(dir, nil)
	fixture.Must(t, err)
	defer d.Close()
	for range 3 {
		fixture.Must(t, d.Put([]byte("a"), make([]byte, 100)))
	}
	path := filepath.Join(dir, "000002.wal")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	fixture.Must(t, err)
	_, err = f.WriteAt([]byte{1, 2, 3}, 200)
	fixture.Must(t, errors.Join(err, f.Close()))
	got, err := follow(ctx, d, 0, 3)
	if damage, is := errors.AsType[*db.CorruptionError](err); !is || errors.Is(err, db.ErrTrimmed) || damage.File != path || len(got) != 1 {
		t.Errorf("%d changes, then %v", len(got), err)
	}
}

// TestCopiesHoldNoLogs: a checkpoint of a database that keeps logs has none, and nothing to tell of loads.
func TestCopiesHoldNoLogs(t *testing.T) {
	ctx := guarded(t)
	m := fixture.NewMachine(vfstest.NewDisk())
	d := openKeeping(t, m, 1<<30)
	defer d.Close()
	fill(t, d, 30)
	fixture.Must(t, fixture.Commit{{Key: "a"}, {Key: "b"}}.Load(ctx, d))
	c, err := d.NewCheckpoint(ctx)
	fixture.Must(t, err)
	fixture.Must(t, errors.Join(c.Link("/base/copy"), c.Close()))
	o := m.Options()
	o.KeepChangesBytes = 1 << 30
	other, err := db.Open("/base/copy", o)
	fixture.Must(t, err)
	defer other.Close()
	_, err = follow(ctx, other, 0, 1)
	if got := oldest(t, err); got != 31 {
		t.Errorf("the oldest are behind %d", got)
	}
}

// TestManifestForgetsLoads of which nobody can be told any more, and a database that keeps nothing
// has none that an older program could not read.
func TestManifestForgetsLoads(t *testing.T) {
	ctx := guarded(t)
	m := fixture.NewMachine(vfstest.NewDisk())
	recorded := func() int {
		files := fixture.FilesOf(t, m.Disk, fixture.Dir)
		state, _, err := manifest.Load(m.Disk, fixture.Dir, fixture.NumberOf(files.Manifest(t)))
		fixture.Must(t, err)
		return len(state.Loaded)
	}
	const keep = 64 << 10 // some ten loads
	for life := range 3 {
		d := openKeeping(t, m, keep)
		for n := range 40 {
			fixture.Must(t, d.Put(fmt.Appendf(nil, "put%d", n), make([]byte, 1000)))
			fixture.Must(t, fixture.Commit{{Key: fmt.Sprintf("load%d", n), Value: "v"}}.Load(ctx, d))
		}
		if got := d.Metrics().Changes; got.Bytes > keep || got.Segments < 4 {
			t.Errorf("kept: %+v", got)
		}
		fixture.Must(t, d.Close())
		if got := recorded(); life > 0 && got > 40+15 {
			t.Errorf("the MANIFEST names %d loads", got)
		}
	}
	for _, keep := range []int64{keep, 0} {
		d := openKeeping(t, m, keep)
		fixture.Must(t, fixture.TakeOver(d))
		fixture.Must(t, d.Close())
		if got := recorded(); got > 15 || (keep == 0) != (got == 0) {
			t.Errorf("with a bound of %d the MANIFEST names %d loads", keep, got)
		}
	}
	d := openKeeping(t, m, 0)
	fixture.Must(t, fixture.Commit{{Key: "load", Value: "v"}}.Load(ctx, d))
	fixture.Must(t, d.Close())
	if got := recorded(); got != 0 {
		t.Errorf("%d loads are named though nothing is kept", got)
	}
}

// TestReadOnlyTells what there is, and takes nothing away.
func TestReadOnlyTells(t *testing.T) {
	m := fixture.NewMachine(vfstest.NewDisk())
	d := openKeeping(t, m, 1<<30)
	fill(t, d, 30)
	fixture.Must(t, d.Put([]byte("x"), nil))
	eventually(t, "all logs are kept", func() bool { return d.Metrics().Changes.Segments >= 6 })
	want := d.Metrics().Changes
	fixture.Must(t, d.Close())
	names, _ := logs(t, m)
	o := m.Options()
	o.ReadOnly = true
	d, err := db.Open(fixture.Dir, o)
	fixture.Must(t, err)
	if got := d.Metrics().Changes; got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	fixture.Must(t, d.Close())
	if left, _ := logs(t, m); !slices.Equal(left, names) {
		t.Errorf("logs %q, before %q", left, names)
	}
}

// TestSalvageTakesNothingOld: where the MANIFEST is gone, logs that are kept bring nothing back that was
// deleted, also when what deleted it cannot be read.
func TestSalvageTakesNothingOld(t *testing.T) {
	ctx := guarded(t)
	m := fixture.NewMachine(vfstest.NewDisk())
	m.Clock = fixture.NewClock() // and so an operator
	d := openKeeping(t, m, 1<<30)
	fixture.Must(t, d.Put([]byte("deleted"), []byte("old")))
	fixture.Must(t, d.Merge([]byte("merged"), []byte("1")))
	fixture.Must(t, d.Flush(ctx))
	fixture.Must(t, d.Delete([]byte("deleted")))
	fixture.Must(t, d.Flush(ctx))
	fixture.Must(t, d.Put([]byte("newest"), nil))
	fixture.Must(t, d.Compact(ctx, nil, nil))
	want := fixture.Contents(t, d)
	fixture.Must(t, d.Close())
	files := fixture.FilesOf(t, m.Disk, fixture.Dir)
	names := files.Named(".wal")
	if len(names) < 3 {
		t.Fatalf("kept: %q", names)
	}
	for what, harmed := range map[string]fixture.Files{
		"whole":                      files,
		"without MANIFEST":           files.With(files.Manifest(t), nil).With("CURRENT", nil),
		"without MANIFEST and a log": files.With(files.Manifest(t), nil).With("CURRENT", nil).With(names[1], nil),
	} {
		disk := harmed.Disk(t)
		_, err := salvage.Run(ctx, salvage.Place{FS: disk, Dir: fixture.Dir}, salvage.Place{FS: disk, Dir: "/base/rescued"}, nil)
		fixture.Must(t, err)
		o := m.Options()
		rescued, err := db.Open("/base/rescued", fixture.On(disk, *o))
		fixture.Must(t, err)
		if err := fixture.Differ(want, fixture.Contents(t, rescued)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		fixture.Must(t, rescued.Close())
	}
}

// TestOnFiles of the operating system: of what a killed process has left, with a log that was written
// through windows, everything is told.
func TestOnFiles(t *testing.T) {
	ctx := guarded(t)
	dir := t.TempDir()
	var killed atomic.Bool
	files := vfstest.NewFault(vfs.OS, func(vfstest.Op) error {
		if killed.Load() {
			return fixture.ErrDead
		}
		return nil
	})
	o := db.Options{MemtableBytes: 64 << 10, KeepChangesBytes: 1 << 30, Durability: db.NoSync}
	d, err := db.Open(dir, fixture.On(files, o))
	fixture.Must(t, err)
	fill(t, d, 100)
	for range 40 {
		fixture.Must(t, d.Put([]byte("not synced"), make([]byte, 100)))
	}
	killed.Store(true)
	d.Close()
	d, err = db.Open(dir, &o)
	fixture.Must(t, err)
	defer d.Close()
	f := newFollower()
	fixture.Must(t, f.through(ctx, d, 140))
	if err := fixture.Differ(f.state.At(0), fixture.Contents(t, d)); err != nil {
		t.Error(err)
	}
}
