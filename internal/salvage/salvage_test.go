package salvage_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/salvage"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
)

// run salvages from one disk to a new one.
func run(t *testing.T, from vfs.FS) (*salvage.Report, *vfstest.Disk) {
	t.Helper()
	to := vfstest.NewDisk()
	report, err := salvage.Run(t.Context(), salvage.Place{FS: from, Dir: fixture.Dir}, salvage.Place{FS: to, Dir: fixture.Dir}, nil)
	fixture.Must(t, err)
	return report, to
}

// scan shows what a database holds.
func scan(t *testing.T, disk vfs.FS) fixture.View {
	t.Helper()
	d, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{ReadOnly: true}))
	fixture.Must(t, err)
	found, err := fixture.Scan(d)
	fixture.Must(t, errors.Join(err, d.Close()))
	return found
}

// A disk that gives back all but one sector loses what lies there and nothing else, and the
// report says what the system said.
func TestSectorsThatCannotBeRead(t *testing.T) {
	const count = 400
	from, rng := vfstest.NewDisk(), rand.NewChaCha8([32]byte{})
	d, err := db.Open(fixture.Dir, fixture.On(from, db.Options{MemtableBytes: 1 << 20}))
	fixture.Must(t, err)
	for i := range count {
		value := make([]byte, 100)
		rng.Read(value)
		fixture.Must(t, d.Put(fmt.Appendf(nil, "key%03d", i), value, db.NoSync))
		if i == count/2 {
			fixture.Must(t, d.Flush(t.Context()))
		}
	}
	fixture.Must(t, d.Close())
	want, files, harmful := scan(t, from), fixture.FilesOf(t, from, fixture.Dir), 0
	for _, name := range append(files.Named(".sst"), files.Named(".wal")...) {
		for bad := int64(0); bad < int64(len(files[name])); bad += 4096 {
			report, to := run(t, vfstest.NewFault(from, func(op vfstest.Op) error {
				if op.Kind == vfstest.OpRead && filepath.Base(op.Name) == name && op.Offset < bad+4096 && op.Offset+int64(op.Length) > bad {
					return syscall.EIO
				}
				return nil
			}))
			found := scan(t, to)
			for i := range count {
				key := fmt.Sprintf("key%03d", i)
				covered := slices.ContainsFunc(report.Losses, func(l salvage.Loss) bool { return l.Covers([]byte(key), base.Seq(i+1)) })
				if value, there := found[key]; there && value != want[key] || !there && !covered {
					t.Errorf("%s without the sector at %d: %s is there: %v, and no loss has it", name, bad, key, there)
				}
			}
			if lost := count - len(found); lost > 0 {
				harmful++
				if lost > 80 || !strings.Contains(fmt.Sprint(report.Losses), syscall.EIO.Error()) {
					t.Errorf("%s without the sector at %d: %d are lost, %+v", name, bad, lost, report.Losses)
				}
			}
		}
	}
	if harmful < 10 {
		t.Errorf("only %d sectors made a difference", harmful)
	}
}

// Whoever changed the names of tables finds all of them again.
func TestTablesWithOtherNames(t *testing.T) {
	v := fixture.NewFilled(t, db.Sync)
	tables := v.Named(".sst")
	if len(tables) < 2 {
		t.Fatalf("%d tables", len(tables))
	}
	one, other := tables[0], tables[1]
	files := v.With(one, v.Files[other]).With(other, v.Files[one])
	report, to := run(t, files.Disk(t))
	fixture.Must(t, fixture.Differ(v.Want, scan(t, to)))
	if n := len(report.Losses); n != 1 || !report.Losses[0].Doubtful { // the log was not closed
		t.Errorf("%+v", report.Losses)
	}
	report, to = run(t, v.With(one, nil).With("000999.sst", v.Files[one]).Disk(t))
	fixture.Must(t, fixture.Differ(v.Want, scan(t, to)))
	if len(report.Losses) != 1 {
		t.Errorf("%+v", report.Losses)
	}
}

// A log that does not fit into memory is rescued all the same.
func TestLogIsSpilled(t *testing.T) {
	v := fixture.NewFilled(t, db.Sync)
	salvage.LowerMemtableBytes(t, 4<<10)
	report, to := run(t, v.Disk(t))
	fixture.Must(t, fixture.Differ(v.Want, scan(t, to)))
	if report.Entries != uint64(len(v.Want)) {
		t.Errorf("%d entries, want %d", report.Entries, len(v.Want))
	}
	names, err := to.List(fixture.Dir)
	fixture.Must(t, err)
	if tables := slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, ".sst") }); len(tables) != 1 {
		t.Errorf("left: %q", tables)
	}
}

// Range deletes of a spilled log hit what is older, and operands stay in order.
func TestSpilledVocabulary(t *testing.T) {
	m := fixture.NewMachine(vfstest.NewDisk())
	m.Clock = fixture.NewClock()
	d := m.OpenDB(t)
	state := fixture.State{}
	apply := func(c ...fixture.Operation) {
		fixture.Must(t, d.Apply(t.Context(), fixture.Commit(c).Batch(d)))
		state.Apply(c)
	}
	for i := range 60 {
		apply(fixture.Operation{Key: fmt.Sprintf("key%02d", i%20), Value: strings.Repeat("v", 100)}, fixture.Operation{Key: "sum", Value: fmt.Sprint(i), Merge: true})
		if i%10 == 9 {
			apply(fixture.Operation{Key: fmt.Sprintf("key%02d", i%20), Value: fmt.Sprintf("key%02d", i%20+3), Range: true})
		}
	}
	m.Kill(d)
	salvage.LowerMemtableBytes(t, 2<<10)
	_, to := run(t, m.Disk)
	fixture.Must(t, fixture.Differ(state.At(m.Clock.UnixNano()), scanMerged(t, to, m.Clock)))
}

// The new database is there whole or not at all, whatever fails while it is made; and whenever
// the power fails.
func TestWholeOrNotThere(t *testing.T) {
	v := fixture.NewFilled(t, db.Sync)
	salvage.LowerMemtableBytes(t, 16<<10)
	from := v.Disk(t)
	for n := 1; ; n++ {
		to := vfstest.NewDisk()
		done, failed := 0, vfstest.Op{}
		disks := map[string]*vfstest.Disk{"failure": to}
		failing := vfstest.NewFault(to, func(op vfstest.Op) error {
			if done++; done != n {
				return nil
			}
			failed = op
			disks["power failure"] = to.CrashClone(nil)
			for i := range uint64(4) {
				disks[fmt.Sprint("power failure ", i)] = to.CrashClone(rand.New(rand.NewPCG(uint64(n), i)))
			}
			return fixture.ErrDisk
		})
		_, err := salvage.Run(t.Context(), salvage.Place{FS: from, Dir: fixture.Dir}, salvage.Place{FS: failing, Dir: fixture.Dir}, nil)
		if done < n {
			fixture.Must(t, err)
			t.Logf("%d operations", done)
			return
		}
		for what, disk := range disks {
			d, opened := db.Open(fixture.Dir, fixture.On(disk, db.Options{ReadOnly: true}))
			if opened != nil {
				if !errors.Is(opened, fs.ErrNotExist) && !errors.Is(opened, db.ErrCorrupt) {
					t.Errorf("operation %d, %s: %v", n, what, opened)
				}
				if what == "failure" && err == nil {
					t.Errorf("operation %d: there is no database, and no error", n)
				}
				continue
			}
			found, scanned := fixture.Scan(d)
			if err := errors.Join(scanned, d.Close(), fixture.Differ(v.Want, found)); err != nil {
				t.Errorf("operation %d, %s: %v", n, what, err)
			}
		}
		names, listed := to.List(fixture.Dir)
		left := slices.DeleteFunc(names, func(name string) bool { return name == base.LockName })
		if err != nil && listed == nil && len(left) > 0 && failed.Kind != vfstest.OpRemove {
			t.Errorf("operation %d, %s %s, failed (%v) and left %q", n, failed.Kind, failed.Name, err, left)
		}
	}
}

// Nobody salvages what is open for writing; beside readers it is fine.
func TestInUse(t *testing.T) {
	v := fixture.NewClosed(t)
	disk := v.Disk(t)
	d, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{ReadOnly: true}))
	fixture.Must(t, err)
	report, _ := run(t, disk)
	if !report.OK() {
		t.Errorf("%+v", report.Losses)
	}
	fixture.Must(t, d.Close())
	d, err = db.Open(fixture.Dir, fixture.On(disk, db.Options{}))
	fixture.Must(t, err)
	defer d.Close()
	to := vfstest.NewDisk()
	_, err = salvage.Run(t.Context(), salvage.Place{FS: disk, Dir: fixture.Dir}, salvage.Place{FS: to, Dir: fixture.Dir}, nil)
	fixture.WantErr(t, "beside a writer", err, db.ErrLocked)
	if _, err := to.Stat(fixture.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory was made: %v", err)
	}
}

// A directory that holds something is left alone.
func TestTargetIsNotEmpty(t *testing.T) {
	v := fixture.NewClosed(t)
	_, err := salvage.Run(t.Context(), salvage.Place{FS: v.Disk(t), Dir: fixture.Dir}, salvage.Place{FS: fixture.Files{"letter.txt": nil}.Disk(t), Dir: fixture.Dir}, nil)
	fixture.WantErr(t, "a directory with a letter", err, fs.ErrExist)
}

// An interruption is noticed at every block.
func TestInterrupted(t *testing.T) {
	v := fixture.NewFilled(t, db.Sync)
	steps := 0
	for stop := 1; ; stop++ {
		ctx, cancel := context.WithCancel(t.Context())
		to := vfstest.NewDisk()
		steps = 0
		_, err := salvage.Run(ctx, salvage.Place{FS: v.Disk(t), Dir: fixture.Dir}, salvage.Place{FS: to, Dir: fixture.Dir}, func(string, int64, int64) {
			if steps++; steps == stop {
				cancel()
			}
		})
		cancel()
		if steps < stop {
			fixture.Must(t, err)
			break
		}
		fixture.WantErr(t, fmt.Sprintf("interrupted at %d", stop), err, context.Canceled)
		if names, err := to.List(fixture.Dir); err == nil && len(names) > 0 {
			t.Fatalf("interrupted at %d, left %q", stop, names)
		}
	}
	if steps < 20 {
		t.Errorf("only %d steps", steps)
	}
}

// An obsolete table or log brings nothing back. Where no MANIFEST says which tables count, it may
// bring back what was deleted, but no operand is merged twice.
func TestObsoleteFiles(t *testing.T) {
	m := fixture.NewMachine(vfstest.NewDisk())
	m.Clock = fixture.NewClock()
	d := m.OpenDB(t)
	state, before := fixture.State{}, fixture.Files{}
	look := func() {
		for name, data := range fixture.FilesOf(t, m.Disk, fixture.Dir) {
			if strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".wal") {
				before[name] = data
			}
		}
	}
	for i := range 4 {
		c := fixture.Commit{{Key: "sum", Value: fmt.Sprint(i), Merge: true}, {Key: "plain", Value: fmt.Sprint(i)}, {Key: fmt.Sprint("own", i), Value: "o", Merge: true}}
		c = append(c, fixture.Operation{Key: "gone", Value: "back", Delete: i > 0})
		fixture.Must(t, d.Apply(t.Context(), c.Batch(d)))
		state.Apply(c)
		look()
		fixture.Must(t, d.Flush(t.Context()))
		look()
	}
	fixture.Must(t, errors.Join(d.Compact(t.Context(), nil, nil), d.Close()))
	d = m.OpenDB(t) // with another MANIFEST, which does not say what was removed
	fixture.Must(t, errors.Join(fixture.TakeOver(d), d.Close()))
	now, tried := fixture.FilesOf(t, m.Disk, fixture.Dir), 0
	want := state.At(m.Clock.UnixNano())
	for obsolete := range before {
		if now[obsolete] != nil {
			continue
		}
		tried++
		files := now.With(obsolete, before[obsolete])
		report, to := run(t, files.Disk(t))
		if found := scanMerged(t, to, m.Clock); !report.OK() || fixture.Differ(want, found) != nil {
			t.Errorf("%s, with a MANIFEST: %v, %+v", obsolete, fixture.Differ(want, found), report)
		}
		report, to = run(t, files.With(now.Manifest(t), nil).Disk(t))
		found := scanMerged(t, to, m.Clock)
		delete(found, "gone")
		if report.OK() || fixture.Differ(want, found) != nil {
			t.Errorf("%s, without a MANIFEST: %v, %+v", obsolete, fixture.Differ(want, found), report)
		}
	}
	if tried < 8 {
		t.Errorf("only %d files were obsolete", tried)
	}
}

// What was loaded is as old as the MANIFEST says, and range deletes of tables hit what is in others.
func TestLoadsAndRangeDeletes(t *testing.T) {
	m := fixture.NewMachine(vfstest.NewDisk())
	m.Clock = fixture.NewClock()
	d := m.OpenDB(t)
	state := fixture.State{}
	apply := func(c ...fixture.Operation) {
		fixture.Must(t, d.Apply(t.Context(), fixture.Commit(c).Batch(d)))
		state.Apply(c)
		fixture.Must(t, d.Flush(t.Context()))
	}
	var old fixture.Commit
	for _, key := range []string{"a", "b", "c", "d", "e"} {
		old = append(old, fixture.Operation{Key: key, Value: "old"})
	}
	apply(old...)
	loaded := fixture.Commit{{Key: "b", Value: "loaded"}, {Key: "c", Value: "loaded"}, {Key: "f", Value: "loaded"}}.Sorted()
	fixture.Must(t, loaded.Load(t.Context(), d))
	state.Apply(loaded)
	apply(fixture.Operation{Key: "c", Value: "new"})
	apply(fixture.Operation{Key: "d", Value: "f", Range: true})
	fixture.Must(t, d.Close())
	report, to := run(t, m.Disk)
	if found := scanMerged(t, to, m.Clock); !report.OK() || fixture.Differ(state.At(m.Clock.UnixNano()), found) != nil {
		t.Errorf("%v, %+v", found, report)
	}
}

// scanMerged is scan for a database with operands.
func scanMerged(t *testing.T, disk vfs.FS, clock *fixture.Clock) fixture.View {
	t.Helper()
	d, err := db.Open(fixture.Dir, fixture.On(disk, fixture.Speaking(db.Options{ReadOnly: true}, clock)))
	fixture.Must(t, err)
	found, err := fixture.Scan(d)
	fixture.Must(t, errors.Join(err, d.Close()))
	return found
}
