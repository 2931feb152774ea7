package vfstest

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
)

var errInjected = errors.New("injected")

// everything does each operation once, in the order of the list below.
func everything(f *Fault) (errs []error) {
	note := func(err error) { errs = append(errs, err) }
	note(f.MkdirAll("/d"))
	dir, err := f.OpenDirectory("/d")
	note(err)
	note(dir.Lock(false))
	note(dir.Check())
	for _, fsys := range []vfs.Files{f, dir} {
		file, err := fsys.Create("/d/f")
		note(err)
		note(second(file.WriteAt([]byte("hello"), 2)))
		note(second(file.ReadAt(make([]byte, 3), 1)))
		note(file.Truncate(6))
		note(second(file.Size()))
		note(file.Sync())
		note(file.Check())
		note(file.Close())
		note(fsys.Rename("/d/f", "/d/g"))
		note(fsys.SyncDir("/d"))
		note(second(fsys.List("/d")))
		note(second(fsys.Stat("/d/g")))
		file, err = fsys.Open("/d/g")
		note(err)
		note(file.Close())
		note(fsys.Remove("/d/g"))
	}
	dir.NoteHolder()
	note(dir.Close())
	return errs
}

func TestFaultSeesEveryOperation(t *testing.T) {
	var ops, inDirectory []string
	f := NewFault(NewDisk(), func(op Op) error {
		text := fmt.Sprintf("%v %s>%s %d+%d", op.Kind, op.Name, op.NewName, op.Offset, op.Length)
		if op.InDirectory {
			inDirectory = append(inDirectory, text)
		} else {
			ops = append(ops, text)
		}
		return nil
	})
	if err := errors.Join(everything(f)...); err != nil {
		t.Error(err)
	}
	want := `create /d/f> 0+0
write /d/f> 2+5
read /d/f> 1+3
truncate /d/f> 6+0
stat /d/f> 0+0
sync /d/f> 0+0
check /d/f> 0+0
close /d/f> 0+0
rename /d/f>/d/g 0+0
syncdir /d> 0+0
list /d> 0+0
stat /d/g> 0+0
open /d/g> 0+0
close /d/g> 0+0
remove /d/g> 0+0`
	for begin, got := range map[string][]string{"mkdir /d> 0+0\nopendir /d> 0+0\n": ops, "lock /d/LOCK> 0+0\ncheck /d> 0+0\n": inDirectory} {
		if got := strings.Join(got, "\n"); got != begin+want {
			t.Errorf("operations:\n%s\nwant:\n%s", got, begin+want)
		}
	}
}

// failing returns a file system on which one kind of operation gives err, once armed.
func failing(under vfs.FS, kind OpKind, err error) (f *Fault, arm func()) {
	armed := false
	f = NewFault(under, func(op Op) error {
		if armed && op.Kind == kind {
			return err
		}
		return nil
	})
	return f, func() { armed = true }
}

// attempts has every kind of operation, and how to see that it happened.
var attempts = map[OpKind]struct {
	do   func(f *Fault, file vfs.File) error
	done func(d *Disk, file vfs.File) bool
}{
	OpCreate:   {func(f *Fault, _ vfs.File) error { return second(f.Create("/new")) }, exists("/new")},
	OpWrite:    {func(_ *Fault, file vfs.File) error { return second(file.WriteAt([]byte("xyz"), 0)) }, holds("/f", "xyzt")},
	OpSync:     {func(_ *Fault, file vfs.File) error { return file.Sync() }, func(d *Disk, _ vfs.File) bool { return get(d.CrashClone(nil), "/f") == "text" }},
	OpTruncate: {func(_ *Fault, file vfs.File) error { return file.Truncate(1) }, holds("/f", "t")},
	OpRemove:   {func(f *Fault, _ vfs.File) error { return f.Remove("/f") }, holds("/f", "(missing)")},
	OpRename:   {func(f *Fault, _ vfs.File) error { return f.Rename("/f", "/new") }, exists("/new")},
	OpMkdir:    {func(f *Fault, _ vfs.File) error { return f.MkdirAll("/new") }, exists("/new")},
	OpLock:     {lockRoot, exists("/LOCK")},
	OpCheck:    {func(_ *Fault, file vfs.File) error { return file.Check() }, nil},
	OpOpenDir:  {func(f *Fault, _ vfs.File) error { return second(f.OpenDirectory("/")) }, nil},
	OpSyncDir: {func(f *Fault, _ vfs.File) error { return errors.Join(f.under.Remove("/f"), f.SyncDir("/")) },
		func(d *Disk, _ vfs.File) bool { return get(d.CrashClone(nil), "/f") == "(missing)" }},
	OpOpen: {func(f *Fault, _ vfs.File) error { return second(f.Open("/f")) }, nil},
	OpRead: {func(_ *Fault, file vfs.File) error { return second(file.ReadAt(make([]byte, 1), 0)) }, nil},
	OpList: {func(f *Fault, _ vfs.File) error { return second(f.List("/")) }, nil},
	OpStat: {func(f *Fault, file vfs.File) error {
		_, err := f.Stat("/f")
		return errors.Join(err, second(file.Size()))
	}, nil},
	OpClose: {func(_ *Fault, file vfs.File) error { return file.Close() },
		func(_ *Disk, file vfs.File) bool { return file.(*faultFile).under.(*diskFile).closed.Load() }},
}

func lockRoot(f *Fault, _ vfs.File) error {
	d, err := f.OpenDirectory("/")
	return errors.Join(err, d.Lock(false), d.Close())
}

func exists(name string) func(*Disk, vfs.File) bool {
	return func(d *Disk, _ vfs.File) bool { return get(d, name) != "(missing)" }
}

func holds(name, text string) func(*Disk, vfs.File) bool {
	return func(d *Disk, _ vfs.File) bool { return get(d, name) == text }
}

func TestFaultOfEachKind(t *testing.T) {
	for kind, attempt := range attempts {
		for _, late := range []bool{false, true} {
			d := NewDisk()
			var err error = errInjected
			if late {
				err = &Late{errInjected}
			}
			f, arm := failing(d, kind, err)
			file, err := f.Create("/f")
			must(t, err)
			must(t, second(file.WriteAt([]byte("text"), 0)))
			must(t, d.SyncDir("/"))
			arm()
			wantErr(t, kind.String(), attempt.do(f, file), errInjected)
			if attempt.done == nil {
				continue
			}
			if want := late || kind == OpClose; attempt.done(d, file) != want {
				t.Errorf("%v, late %v: happened is %v", kind, late, !want)
			}
		}
	}
}

// TestLateLeavesNothingOpen: who got an error closes nothing.
func TestLateLeavesNothingOpen(t *testing.T) {
	d := NewDisk()
	f := NewFault(d, func(op Op) error {
		if op.Kind == OpClose || op.Kind == OpOpenDir && op.Name == "/" {
			return nil
		}
		return &Late{errInjected}
	})
	wantErr(t, "create", second(f.Create("/f")), errInjected)
	wantErr(t, "open", second(f.Open("/f")), errInjected)
	wantErr(t, "lock", lockRoot(f, nil), errInjected)
	if uses, locks := d.entries["/f"].uses, slices.Concat(d.entries["/"].locks, d.entries["/LOCK"].locks); uses != 1 || len(locks) != 0 {
		t.Errorf("%d handles, %d locks are left", uses-1, len(locks))
	}
	wantErr(t, "late error of its own", second(f.Create("/none/f")), errInjected)
}

func TestShortWrite(t *testing.T) {
	for _, c := range []struct {
		bytes int
		want  string
	}{{0, ""}, {2, "he"}, {5, "hello"}, {99, "hello"}} {
		d := NewDisk()
		f, arm := failing(d, OpWrite, &ShortWrite{Bytes: c.bytes, Err: syscall.ENOSPC})
		file, err := f.Create("/f")
		must(t, err)
		arm()
		n, err := file.WriteAt([]byte("hello"), 0)
		if got := get(d, "/f"); n != len(c.want) || got != c.want {
			t.Errorf("%d bytes: %d, %q", c.bytes, n, got)
		}
		wantErr(t, "short write", err, syscall.ENOSPC)
	}
}

func TestFaultPassesErrorsOn(t *testing.T) {
	d := NewDisk()
	f := NewFault(d, func(Op) error { return nil })
	dir := must2(f.OpenDirectory("/"))
	must(t, dir.Lock(false))
	wantErr(t, "lock", must2(f.OpenDirectory("/")).Lock(true), base.ErrLocked)
	must(t, d.Remove("/LOCK"))
	wantErr(t, "check", dir.Check(), vfs.ErrDisplaced)
	must(t, dir.Close())
	put(t, f, "/f", "x", true)
	file, err := f.Open("/f")
	must(t, err)
	wantErr(t, "read", second(file.ReadAt(make([]byte, 2), 0)), io.EOF)
	d.SetLimit(1)
	wantErr(t, "write", second(must2(f.Create("/g")).WriteAt([]byte("y"), 0)), syscall.ENOSPC)
}

func must2[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func TestFaultTexts(t *testing.T) {
	for _, err := range []error{&Late{errInjected}, &ShortWrite{3, errInjected}} {
		if !strings.Contains(err.Error(), "injected") {
			t.Error(err)
		}
	}
}
