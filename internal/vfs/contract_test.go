package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
)

// forEachFS runs a test of what FS promises on every implementation, each with a
// directory of its own.
func forEachFS(t *testing.T, test func(t *testing.T, fsys vfs.FS, dir string)) {
	t.Helper()
	for name, fsys := range map[string]vfs.FS{
		"OS":    vfs.OS,
		"Mem":   vfs.NewMem(),
		"Disk":  vfstest.NewDisk(),
		"Fault": vfstest.NewFault(vfstest.NewDisk(), func(vfstest.Op) error { return nil }),
	} {
		t.Run(name, func(t *testing.T) {
			dir := "/test"
			if fsys == vfs.OS {
				dir = t.TempDir()
			}
			must(t, fsys.MkdirAll(dir))
			test(t, fsys, dir)
		})
	}
}

// forEachDirectory runs a test of what concerns the files of one directory, on every
// implementation by paths and within an open directory.
func forEachDirectory(t *testing.T, test func(t *testing.T, fsys vfs.Files, dir string)) {
	t.Helper()
	forEachFS(t, func(t *testing.T, fsys vfs.FS, dir string) {
		test(t, fsys, dir)
		within := filepath.Join(dir, "within")
		must(t, fsys.MkdirAll(within))
		d, err := fsys.OpenDirectory(within)
		must(t, err)
		t.Run("directory", func(t *testing.T) { test(t, d, within) })
		must(t, d.Close())
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// put makes a file, synced or not, in a directory that is not synced.
func put(t testing.TB, fsys vfs.Files, name, text string, synced bool) {
	t.Helper()
	f, err := fsys.Create(name)
	must(t, err)
	_, err = f.WriteAt([]byte(text), 0)
	must(t, err)
	if synced {
		must(t, f.Sync())
	}
	must(t, f.Close())
}

// get returns a file's text or the error in brackets.
func get(fsys vfs.Files, name string) string {
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "(missing)"
	}
	if err != nil {
		return fmt.Sprintf("(%v)", err)
	}
	defer f.Close()
	return string(content(f))
}

func content(f vfs.File) []byte {
	size, err := f.Size()
	if err != nil {
		return fmt.Appendf(nil, "(%v)", err)
	}
	p := make([]byte, size)
	if n, err := f.ReadAt(p, 0); err != nil && err != io.EOF || n < len(p) {
		return fmt.Appendf(nil, "(%d of %d bytes: %v)", n, size, err)
	}
	return p
}

func TestContents(t *testing.T) {
	forEachDirectory(t, func(t *testing.T, fsys vfs.Files, dir string) {
		f, err := fsys.Create(filepath.Join(dir, "f"))
		must(t, err)
		steps := []struct {
			do   func() error
			want string
		}{
			{func() error { return nil }, ""},
			{func() error { _, err := f.WriteAt([]byte("hello"), 0); return err }, "hello"},
			{func() error { _, err := f.WriteAt([]byte("HE"), 0); return err }, "HEllo"},
			{func() error { _, err := f.WriteAt([]byte("!"), 7); return err }, "HEllo\x00\x00!"},
			{func() error { return f.Truncate(3) }, "HEl"},
			{func() error { return f.Truncate(6) }, "HEl\x00\x00\x00"},
			{f.Sync, "HEl\x00\x00\x00"},
			{func() error { _, err := f.WriteAt(nil, 100); return err }, "HEl\x00\x00\x00"},
			{func() error { _, err := f.WriteAt([]byte("xyz"), 5); return err }, "HEl\x00\x00xyz"},
			{func() error { return f.Truncate(0) }, ""},
		}
		for i, step := range steps {
			must(t, step.do())
			if got := string(content(f)); got != step.want {
				t.Errorf("step %d: %q, want %q", i, got, step.want)
			}
		}
		must(t, f.Close())
	})
}

func TestReadAtEnds(t *testing.T) {
	forEachDirectory(t, func(t *testing.T, fsys vfs.Files, dir string) {
		name := filepath.Join(dir, "f")
		put(t, fsys, name, "0123456789", true)
		f, err := fsys.Open(name)
		must(t, err)
		defer f.Close()
		for _, c := range []struct {
			offset int64
			length int
			want   string
			err    error
		}{
			{0, 10, "0123456789", nil},
			{3, 4, "3456", nil},
			{8, 4, "89", io.EOF},
			{10, 1, "", io.EOF},
			{1 << 40, 1, "", io.EOF},
			{10, 0, "", nil},
			{99, 0, "", nil},
		} {
			p := make([]byte, c.length)
			n, err := f.ReadAt(p, c.offset)
			if string(p[:n]) != c.want || err != c.err {
				t.Errorf("ReadAt %d+%d: %q, %v; want %q, %v", c.offset, c.length, p[:n], err, c.want, c.err)
			}
		}
		if _, err := f.ReadAt(make([]byte, 1), -1); err == nil || err == io.EOF {
			t.Errorf("negative offset: %v", err)
		}
		if n, err := f.WriteAt([]byte("x"), 0); n != 0 || err == nil {
			t.Errorf("write to a file opened for reading: %d, %v", n, err)
		}
		if err := f.Truncate(1); err == nil {
			t.Error("truncated a file opened for reading")
		}
	})
}

func TestClosedFile(t *testing.T) {
	forEachDirectory(t, func(t *testing.T, fsys vfs.Files, dir string) {
		f, err := fsys.Create(filepath.Join(dir, "f"))
		must(t, err)
		must(t, f.Close())
		_, err = f.ReadAt(make([]byte, 1), 0)
		wantErr(t, "ReadAt", err, fs.ErrClosed)
		_, err = f.WriteAt(make([]byte, 1), 0)
		wantErr(t, "WriteAt", err, fs.ErrClosed)
		_, err = f.Size()
		wantErr(t, "Size", err, fs.ErrClosed)
		wantErr(t, "Check", f.Check(), fs.ErrClosed)
		wantErr(t, "Sync", f.Sync(), fs.ErrClosed)
		wantErr(t, "Truncate", f.Truncate(0), fs.ErrClosed)
		wantErr(t, "Close", f.Close(), fs.ErrClosed)
	})
}

func TestNames(t *testing.T) {
	forEachFS(t, func(t *testing.T, fsys vfs.FS, dir string) {
		at := func(name string) string { return filepath.Join(dir, name) }
		must(t, fsys.MkdirAll(at("sub/deep")))
		must(t, fsys.MkdirAll(at("sub/deep"))) // again
		put(t, fsys, at("b"), "B", false)
		put(t, fsys, at("a"), "A", false)
		put(t, fsys, at("sub/c"), "C", false)
		put(t, fsys, at("sub/deep/d"), "D", false)

		_, err := fsys.Create(at("a"))
		wantErr(t, "create twice", err, fs.ErrExist)
		_, err = fsys.Open(at("none"))
		wantErr(t, "open", err, fs.ErrNotExist)
		_, err = fsys.Stat(at("none"))
		wantErr(t, "stat", err, fs.ErrNotExist)
		wantErr(t, "remove", fsys.Remove(at("none")), fs.ErrNotExist)
		wantErr(t, "rename", fsys.Rename(at("none"), at("x")), fs.ErrNotExist)

		must(t, fsys.Rename(at("a"), at("a"))) // onto itself
		must(t, fsys.Rename(at("a"), at("b")))
		if got := get(fsys, at("a")) + get(fsys, at("b")); got != "(missing)A" {
			t.Errorf("old and new name hold %q", got)
		}
		must(t, fsys.Rename(at("b"), at("sub/b")))
		wantNames(t, fsys, at("sub/deep"), "d")
		must(t, fsys.Remove(at("sub/c")))
		must(t, fsys.SyncDir(dir))
		if got := get(fsys, at("sub/b")); got != "A" {
			t.Errorf("renamed file holds %q", got)
		}
		if info, err := fsys.Stat(at("sub/b")); info != (vfs.Info{SizeBytes: 1}) || err != nil {
			t.Errorf("Stat of file: %+v, %v", info, err)
		}
		put(t, fsys, at("sub/c"), "again", false)
		if got := get(fsys, at("sub/c")); got != "again" {
			t.Errorf("file that took a free name holds %q", got)
		}
	})
}

// TestDirectories is not for Mem, which has none.
func TestDirectories(t *testing.T) {
	forEachFS(t, func(t *testing.T, fsys vfs.FS, dir string) {
		if _, none := fsys.(*vfs.Mem); none {
			t.Skip("no directories")
		}
		at := func(name string) string { return filepath.Join(dir, name) }
		must(t, fsys.MkdirAll(at("sub/deep")))
		put(t, fsys, at("a"), "A", false)
		put(t, fsys, at("sub/c"), "C", false)

		wantErr(t, "create", second(fsys.Create(at("none/a"))), fs.ErrNotExist)
		wantErr(t, "open directory", second(fsys.OpenDirectory(at("none"))), fs.ErrNotExist)
		wantErr(t, "list", second(fsys.List(at("none"))), fs.ErrNotExist)
		wantErr(t, "rename away", fsys.Rename(at("a"), at("none/x")), fs.ErrNotExist)
		wantErr(t, "sync of directory", fsys.SyncDir(at("none")), fs.ErrNotExist)
		for what, err := range map[string]error{
			"create over directory": second(fsys.Create(at("sub"))),
			"open below file":       second(fsys.Open(at("a/x"))),
			"remove full directory": fsys.Remove(at("sub")),
			"rename over directory": fsys.Rename(at("a"), at("sub")),
			"mkdir over file":       fsys.MkdirAll(at("a")),
			"mkdir below file":      fsys.MkdirAll(at("a/x")),
			"list file":             second(fsys.List(at("a"))),
			"open file":             second(fsys.OpenDirectory(at("a"))),
		} {
			if err == nil {
				t.Errorf("%s: no error", what)
			}
		}
		wantNames(t, fsys, dir, "a", "sub")
		wantNames(t, fsys, at("sub"), "c", "deep")
		if info, err := fsys.Stat(at("sub")); !info.IsDir || err != nil {
			t.Errorf("Stat of directory: %+v, %v", info, err)
		}
	})
}

// TestRandomContents compares with a slice, at sizes around those of pages.
func TestRandomContents(t *testing.T) {
	forEachDirectory(t, func(t *testing.T, fsys vfs.Files, dir string) {
		rng := rand.New(rand.NewPCG(1, 2))
		f, err := fsys.Create(filepath.Join(dir, "f"))
		must(t, err)
		defer f.Close()
		around := func() int { return max(0, rng.IntN(5)*4096*(1+3*rng.IntN(2))+rng.IntN(3)-1) }
		var want []byte
		for step := range 300 {
			at, length := around(), around()
			p := bytes.Repeat([]byte{byte(step)}, length)
			if rng.IntN(4) == 0 {
				must(t, f.Truncate(int64(at)))
				want, p = want[:min(at, len(want))], nil
			} else if length > 0 {
				must(t, second(f.WriteAt(p, int64(at))))
			} else {
				at = 0
			}
			want = append(want, make([]byte, max(0, at+len(p)-len(want)))...)
			copy(want[at:], p)
			if got := content(f); !bytes.Equal(got, want) {
				t.Fatalf("step %d: contents differ", step)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

func wantNames(t *testing.T, fsys vfs.Files, dir string, want ...string) {
	t.Helper()
	if got, err := fsys.List(dir); !slices.Equal(got, want) || err != nil {
		t.Errorf("List: %q, %v; want %q", got, err, want)
	}
}

// TestParallel is for the race detector: one writer appends, readers see only what
// was there before their Size, others change the directory and lock.
func TestParallel(t *testing.T) {
	forEachFS(t, func(t *testing.T, fsys vfs.FS, dir string) {
		f, err := fsys.Create(filepath.Join(dir, "log"))
		must(t, err)
		defer f.Close()
		var all sync.WaitGroup
		var exclusive sync.Mutex // to see that Lock excludes
		record := bytes.Repeat([]byte("r"), 700)
		all.Go(func() {
			for i := range int64(100) {
				if _, err := f.WriteAt(record, i*700); err != nil {
					t.Error(err)
				}
				if err := f.Sync(); err != nil {
					t.Error(err)
				}
			}
		})
		for worker := range 3 {
			all.Go(func() {
				for i := range 50 {
					if p := content(f); len(bytes.Trim(p, "r")) > 0 {
						t.Errorf("torn: %q", bytes.Trim(p, "r"))
					}
					name := filepath.Join(dir, fmt.Sprint(worker, "-", i))
					put(t, fsys, name, name, true)
					if err := errors.Join(fsys.Rename(name, name+"x"), second(fsys.List(dir)), second(fsys.Stat(name+"x")),
						fsys.SyncDir(dir), fsys.Remove(name+"x")); err != nil {
						t.Error(err)
					}
					d, err := fsys.OpenDirectory(dir)
					if err != nil {
						t.Error(err)
						return
					}
					if err := d.Lock(false); err == nil {
						if !exclusive.TryLock() {
							t.Error("two hold the lock")
							continue
						}
						exclusive.Unlock()
					} else if !errors.Is(err, base.ErrLocked) {
						t.Error(err)
					}
					if err := errors.Join(second(d.List(dir)), d.Check(), d.SyncDir(dir)); err != nil {
						t.Error(err)
					}
					d.Close()
				}
			})
		}
		all.Wait()
		wantNames(t, fsys, dir, "LOCK", "log")
	})
}
