package vfs_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
)

func open(t testing.TB, fsys vfs.FS, dir string) vfs.Directory {
	t.Helper()
	d, err := fsys.OpenDirectory(dir)
	must(t, err)
	t.Cleanup(func() { d.Close() }) // again, where the test has closed it
	return d
}

func TestNamesInDirectory(t *testing.T) {
	forEachFS(t, func(t *testing.T, fsys vfs.FS, dir string) {
		d := open(t, fsys, dir)
		at := func(name string) string { return filepath.Join(dir, name) }
		put(t, d, at("a"), "A", true)
		put(t, fsys, at("b"), "B", false)
		for _, files := range []vfs.Files{d, fsys, open(t, fsys, dir)} {
			wantNames(t, files, dir, "a", "b")
			wantNames(t, files, dir, "a", "b") // from the beginning again
			if got := get(files, at("a")) + get(files, at("b")); got != "AB" {
				t.Errorf("a and b hold %q", got)
			}
		}
		wantErr(t, "create twice", second(d.Create(at("b"))), fs.ErrExist)
		wantErr(t, "open", second(d.Open(at("none"))), fs.ErrNotExist)
		wantErr(t, "stat", second(d.Stat(at("none"))), fs.ErrNotExist)
		wantErr(t, "remove", d.Remove(at("none")), fs.ErrNotExist)
		wantErr(t, "rename", d.Rename(at("none"), at("x")), fs.ErrNotExist)
		must(t, d.Rename(at("a"), at("a")))
		must(t, d.Rename(at("a"), at("b")))
		must(t, d.SyncDir(dir))
		if info, err := d.Stat(at("b")); info != (vfs.Info{SizeBytes: 1}) || err != nil || get(fsys, at("b")) != "A" {
			t.Errorf("after the rename: %+v, %v, %q", info, err, get(fsys, at("b")))
		}
		if info, err := d.Stat(dir); !info.IsDir || err != nil {
			t.Errorf("Stat of the directory: %+v, %v", info, err)
		}
		must(t, d.Remove(at("b")))
		wantNames(t, d, dir)
		must(t, d.Check())
	})
}

// TestNamesOutside: a name of another directory is a bug, whatever is asked.
func TestNamesOutside(t *testing.T) {
	forEachFS(t, func(t *testing.T, fsys vfs.FS, dir string) {
		d := open(t, fsys, dir)
		put(t, d, filepath.Join(dir, "f"), "text", true)
		elsewhere := filepath.Join(dir, "sub")
		for _, name := range []string{"f", filepath.Join(elsewhere, "f"), filepath.Join(dir+"x", "f"), filepath.Dir(dir)} {
			for what, do := range map[string]func(){
				"create":      func() { d.Create(name) },
				"open":        func() { d.Open(name) },
				"remove":      func() { d.Remove(name) },
				"rename from": func() { d.Rename(name, filepath.Join(dir, "f")) },
				"rename to":   func() { d.Rename(filepath.Join(dir, "f"), name) },
				"stat":        func() { d.Stat(name) },
				"list":        func() { d.List(name) },
				"sync":        func() { d.SyncDir(name) },
			} {
				if text := panicOf(do); !strings.HasPrefix(text, "invariant: ") {
					t.Errorf("%s of %s: %q", what, name, text)
				}
			}
		}
		wantNames(t, fsys, dir, "f")
	})
}

func panicOf(do func()) (text string) {
	defer func() { text, _ = recover().(string) }()
	do()
	return ""
}

func TestLockRules(t *testing.T) {
	forEachFS(t, func(t *testing.T, fsys vfs.FS, dir string) {
		directory := func() vfs.Directory { return open(t, fsys, dir) }
		unlisted := directory()
		must(t, unlisted.Lock(true)) // a copy that nobody wrote to
		wantNames(t, fsys, dir)
		wantErr(t, "exclusive beside shared", directory().Lock(false), base.ErrLocked)
		wantNames(t, fsys, dir)
		must(t, unlisted.Close())

		exclusive := directory()
		must(t, exclusive.Lock(false))
		exclusive.NoteHolder()
		wantErr(t, "exclusive beside exclusive", directory().Lock(false), base.ErrLocked)
		wantErr(t, "shared beside exclusive", directory().Lock(true), base.ErrLocked)
		wantErr(t, "once more", exclusive.Lock(true), base.ErrLocked)
		must(t, exclusive.Check())
		must(t, exclusive.Close())
		wantErr(t, "second Close", exclusive.Close(), fs.ErrClosed)

		one, two := directory(), directory()
		must(t, one.Lock(true))
		must(t, two.Lock(true))
		for _, d := range []vfs.Directory{one, two} {
			wantErr(t, "exclusive beside shared", directory().Lock(false), base.ErrLocked)
			d.NoteHolder()
			must(t, d.Check())
			must(t, d.Close())
			wantErr(t, "second Close", d.Close(), fs.ErrClosed)
		}
		wantNames(t, fsys, dir, "LOCK")
		again := directory()
		must(t, again.Lock(false))
		other := filepath.Join(dir, "other")
		must(t, fsys.MkdirAll(other))
		must(t, open(t, fsys, other).Lock(false)) // is nobody's concern
		must(t, again.Close())
	})
}

// TestLockDeleted: it lets nobody in, the holder notices, and who is refused leaves
// nothing.
func TestLockDeleted(t *testing.T) {
	forEachFS(t, func(t *testing.T, fsys vfs.FS, dir string) {
		lock := filepath.Join(dir, base.LockName)
		for _, shared := range []bool{false, true} {
			put(t, fsys, lock, "", true)
			d := open(t, fsys, dir)
			must(t, d.Lock(shared))
			must(t, d.Check())
			must(t, fsys.Remove(lock))
			wantErr(t, "check", d.Check(), vfs.ErrDisplaced)
			wantErr(t, "exclusive", open(t, fsys, dir).Lock(false), base.ErrLocked)
			wantNames(t, fsys, dir)
			put(t, fsys, lock, "", true)
			wantErr(t, "check", d.Check(), vfs.ErrDisplaced)
			must(t, d.Close())
			must(t, fsys.Remove(lock))
		}
	})
}

// TestFileLosesItsName, and so nothing in it is found again.
func TestFileLosesItsName(t *testing.T) {
	forEachDirectory(t, func(t *testing.T, fsys vfs.Files, dir string) {
		name, other := filepath.Join(dir, "f"), filepath.Join(dir, "g")
		for what, lose := range map[string]func() error{
			"removed":  func() error { return fsys.Remove(name) },
			"moved":    func() error { return fsys.Rename(name, other) },
			"replaced": func() error { put(t, fsys, other, "", true); return fsys.Rename(other, name) },
		} {
			f, err := fsys.Create(name)
			must(t, err)
			must(t, f.Check())
			must(t, lose())
			wantErr(t, what, f.Check(), vfs.ErrDisplaced)
			must(t, f.Sync()) // which tells nothing
			must(t, f.Close())
			names, err := fsys.List(dir)
			must(t, err)
			for _, left := range []string{"f", "g"} {
				if slices.Contains(names, left) {
					must(t, fsys.Remove(filepath.Join(dir, left)))
				}
			}
		}
	})
}

// TestLink: a link is another name of the same file, which stays when the first is removed.
func TestLink(t *testing.T) {
	forEachFS(t, func(t *testing.T, fsys vfs.FS, dir string) {
		d := open(t, fsys, dir)
		elsewhere := filepath.Join(dir, "elsewhere")
		must(t, fsys.MkdirAll(elsewhere))
		from, to := filepath.Join(dir, "a"), filepath.Join(elsewhere, "b")
		put(t, d, from, "text", true)
		if err := d.Link(from, to); errors.Is(err, errors.ErrUnsupported) {
			wantErr(t, "open after a refusal", second(fsys.Open(to)), fs.ErrNotExist)
			return
		} else if err != nil {
			t.Fatal(err)
		}
		wantErr(t, "link to a name that is taken", d.Link(from, to), fs.ErrExist)
		wantErr(t, "link of nothing", d.Link(filepath.Join(dir, "none"), to+"2"), fs.ErrNotExist)
		wantErr(t, "link into nothing", d.Link(from, filepath.Join(dir, "none", "b")), fs.ErrNotExist)
		wantNames(t, fsys, elsewhere, "b")
		must(t, d.Remove(from))
		if got := get(fsys, to); got != "text" {
			t.Errorf("the link holds %q", got)
		}
	})
}

// TestLinkElsewhere: where the directory was moved, its path leads to another file, which
// gets no link.
func TestLinkElsewhere(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no open directory is moved here")
	}
	root := t.TempDir()
	dir, moved := filepath.Join(root, "dir"), filepath.Join(root, "moved")
	must(t, vfs.OS.MkdirAll(dir))
	d := open(t, vfs.OS, dir)
	put(t, d, filepath.Join(dir, "a"), "text", true)
	must(t, os.Rename(dir, moved))
	must(t, vfs.OS.MkdirAll(dir))
	put(t, vfs.OS, filepath.Join(dir, "a"), "another", true)
	wantErr(t, "link", d.Link(filepath.Join(dir, "a"), filepath.Join(root, "b")), vfs.ErrDisplaced)
	wantNames(t, vfs.OS, root, "dir", "moved")
}

// TestSyncFile makes durable what somebody else wrote; what that means, the disk of package
// vfstest tells.
func TestSyncFile(t *testing.T) {
	forEachFS(t, func(t *testing.T, fsys vfs.FS, dir string) {
		d := open(t, fsys, dir)
		name := filepath.Join(dir, "a")
		put(t, fsys, name, "text", false)
		must(t, d.SyncFile(name))
		if got := get(fsys, name); got != "text" {
			t.Errorf("the file holds %q", got)
		}
		wantErr(t, "sync of nothing", d.SyncFile(filepath.Join(dir, "none")), fs.ErrNotExist)
	})
}
