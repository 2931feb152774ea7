package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
)

// Restore is interrupted at every operation of the bucket. The second try works.
func TestRestoreKilled(t *testing.T) {
	f, s := newFaulty(t)
	w := newWorld(t, 20)
	w.backedUp(s)
	target := w.at(w.newest().seq - 3)
	for n := 0; ; n += stride(3) {
		fsys := vfs.NewMem()
		f.dieAt(n)
		_, err := restoreOn(t.Context(), fsys, s, "/new", Seq(target.seq))
		f.set(nil)
		if err == nil {
			if n < 8 {
				t.Fatalf("%d operations", n)
			}
			w.check(fsys, "/new", target)
			return
		}
		if names, _ := fsys.List("/new"); len(names) > 0 {
			t.Fatalf("interrupted at %d: %q is left", n, names)
		}
		_, err = restoreOn(t.Context(), fsys, s, "/new", Seq(target.seq))
		fixture.Must(t, err)
		w.check(fsys, "/new", target)
	}
}

// On the operating system's files it is the same.
func TestRestore(t *testing.T) {
	f, s := newFaulty(t)
	w := newWorld(t, 24)
	w.backedUp(s)
	dir := filepath.Join(t.TempDir(), "above", "new")
	f.set(func(o operation) error {
		if strings.HasPrefix(o.name, tablesPrefix) {
			return errBroken
		}
		return nil
	})
	_, err := Restore(t.Context(), s.Bucket, dir, Latest)
	fixture.WantErr(t, "a broken bucket", err, errBroken)
	if names, _ := os.ReadDir(dir); len(names) > 0 {
		t.Errorf("%v is left", names)
	}
	f.set(nil)
	r, err := Restore(t.Context(), s.Bucket, dir, Latest)
	fixture.Must(t, err)
	if r.Seq != w.newest().seq || r.Operations == 0 || r.Tables == 0 {
		t.Errorf("%+v", r)
	}
	w.check(vfs.OS, dir, w.newest())
}

// The file system fails at every operation. What is left is no database, and the second try
// works; so it does where the process was killed there, or the power failed.
func TestRestoreOnBrokenDisk(t *testing.T) {
	_, s := newFaulty(t)
	w := newWorld(t, 21)
	w.backedUp(s)
	target := w.at(w.newest().seq - 3)
	for n := 0; ; n += stride(5) {
		disk := vfstest.NewDisk()
		count := 0
		faults := vfstest.NewFault(disk, func(vfstest.Op) error {
			if count++; count > n {
				return errBroken
			}
			return nil
		})
		_, err := restoreOn(t.Context(), faults, s, "/new", Seq(target.seq))
		if err == nil {
			if n < 30 {
				t.Fatalf("%d operations", n)
			}
			return
		}
		if !errors.Is(err, errBroken) {
			t.Fatalf("operation %d: %v", n, err)
		}
		w.again(s, disk.CrashClone(rand.New(rand.NewPCG(uint64(n), 1))), target, n) // the power failed
		w.again(s, disk.CrashClone(nil), target, n)
	}
}

// again restores once more where a Restore was interrupted.
func (w *world) again(s store, disk *vfstest.Disk, target state, n int) {
	w.t.Helper()
	o := w.options(disk)
	o.MustExist = true
	d, err := db.Open("/new", o)
	if err == nil { // it was through, but for the mark
		found := fixture.Contents(w.t, d)
		fixture.Must(w.t, d.Close())
		if err := fixture.Differ(target.state.At(w.clock.UnixNano()), found); err != nil {
			w.t.Fatalf("interrupted at %d, it opens: %v", n, err)
		}
		return
	}
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, db.ErrCorrupt) {
		w.t.Fatalf("interrupted at %d: %v", n, err)
	}
	if _, err := restoreOn(w.t.Context(), disk, s, "/new", Seq(target.seq)); err != nil {
		names, _ := disk.List("/new")
		w.t.Fatalf("interrupted at %d, and tried again where %q is left: %v", n, names, err)
	}
	d, err = db.Open("/new", o)
	fixture.Must(w.t, err)
	found := fixture.Contents(w.t, d)
	fixture.Must(w.t, d.Close())
	if err := fixture.Differ(target.state.At(w.clock.UnixNano()), found); err != nil {
		w.t.Fatalf("interrupted at %d, second try: %v", n, err)
	}
}

// What is not ours stays, and a database is not restored over.
func TestRestoreRefuses(t *testing.T) {
	_, s := newFaulty(t)
	w := newWorld(t, 22)
	w.backedUp(s)
	for name, files := range map[string][]string{
		"a database":           {base.CurrentName, restoringName},
		"somebody's file":      {"letter.txt"},
		"ours and somebody's":  {restoringName, "letter.txt"},
		"tables without ours":  {"000003.sst", "000004.sst"},
		"one table":            {"000003.sst"},
		"a lone MANIFEST":      {"MANIFEST-000001"},
		"a log without a mark": {"000003.wal", base.LockName},
	} {
		dir := t.TempDir()
		for _, file := range files {
			fixture.Must(t, os.WriteFile(filepath.Join(dir, file), []byte("x"), 0o600))
		}
		_, err := Restore(t.Context(), s.Bucket, dir, Latest)
		fixture.WantErr(t, name, err, fs.ErrExist)
		for _, file := range files {
			if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
				t.Errorf("%s: %s is gone", name, file)
			}
		}
	}
	dir := t.TempDir() // what a killed Restore leaves first
	fixture.Must(t, os.WriteFile(filepath.Join(dir, base.LockName), nil, 0o600))
	_, err := Restore(t.Context(), s.Bucket, dir, Latest)
	fixture.Must(t, err)
	w.check(vfs.OS, dir, w.newest())
}

// Every object is changed in every way that matters, or taken away: it is noticed, or what is
// restored is right all the same. Verify names the object.
func TestDamagedObjects(t *testing.T) {
	f, s := newFaulty(t)
	w := newWorld(t, 23)
	w.backedUp(s)
	objects, err := s.list(t.Context(), "")
	fixture.Must(t, err)
	for _, o := range objects {
		data, err := s.read(t.Context(), o.name)
		fixture.Must(t, err)
		put := func(data []byte) { fixture.Must(t, f.inner.WriteAll(t.Context(), o.name, data, nil)) }
		step := 1 + len(data)*stride(4)/12
		for at := 0; at < len(data); at += step {
			changed := append([]byte(nil), data...)
			changed[at] ^= 0x10
			put(changed)
			w.noticed(s, o.name, fmt.Sprintf("byte %d of %d changed", at, len(data)))
			put(data[:at])
			w.noticed(s, o.name, fmt.Sprintf("cut to %d of %d bytes", at, len(data)))
		}
		put(append(append([]byte(nil), data...), 0))
		w.noticed(s, o.name, "a byte appended")
		fixture.Must(t, f.inner.Delete(t.Context(), o.name))
		w.lost(s, o.name)
		put(data)
	}
	_, err = Verify(t.Context(), s.Bucket)
	fixture.Must(t, err)
}

// noticed checks that damage of an object is found, and that nothing wrong is restored.
func (w *world) noticed(s store, name, what string) {
	w.t.Helper()
	if strings.HasSuffix(name, "/00000000000000000000") { // a claim is looked at, but what it says changes no state
		w.neverWrong(s, name+": "+what)
		return
	}
	_, err := Verify(w.t.Context(), s.Bucket)
	if err == nil || !strings.Contains(err.Error(), name) {
		w.t.Errorf("%s: %s: Verify says %v", name, what, err)
	}
	w.neverWrong(s, name+": "+what)
}

// lost checks that nothing wrong is restored where an object is lost.
func (w *world) lost(s store, name string) {
	w.t.Helper()
	w.neverWrong(s, name+" lost")
	_, err := Verify(w.t.Context(), s.Bucket)
	if strings.HasPrefix(name, tablesPrefix) && (err == nil || !strings.Contains(err.Error(), name)) {
		w.t.Errorf("%s lost: Verify says %v", name, err)
	}
}

// neverWrong restores some states. Each is right, or there is an error.
func (w *world) neverWrong(s store, what string) {
	w.t.Helper()
	for _, n := range []uint64{w.newest().seq, w.newest().seq / 2, 3} {
		fsys := vfs.NewMem()
		if _, err := restoreOn(w.t.Context(), fsys, s, "/new", Seq(n)); err == nil {
			want := w.at(n)
			d, err := db.Open("/new", w.options(fsys))
			fixture.Must(w.t, err)
			found := fixture.Contents(w.t, d)
			at := d.Metrics().Sequence
			fixture.Must(w.t, d.Close())
			if err := fixture.Differ(want.state.At(w.clock.UnixNano()), found); err != nil || at != want.seq {
				w.t.Errorf("%s: restored at %d (%d): %v", what, n, at, err)
			}
		}
	}
}
