//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd || windows

package vfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"lsmdb/internal/base"
)

// house makes a directory with a file in it and opens it exclusively, with another
// file that is open for writing. The parent comes back as well.
func house(t testing.TB) (parent string, d *osDirectory, log File) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("nobody can move or delete here what is open")
	}
	parent = t.TempDir()
	dir := filepath.Join(parent, "db")
	must(t, os.Mkdir(dir, 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "old"), []byte("OLD"), 0o600))
	d = lockedDir(t, dir, false)
	log, err := d.Create(filepath.Join(dir, "log"))
	must(t, err)
	t.Cleanup(func() { log.Close() })
	must(t, d.Check())
	must(t, log.Check())
	return parent, d, log
}

// wantDisplaced wants an error that says so in certain words.
func wantDisplaced(t *testing.T, err error, words string) {
	t.Helper()
	if !errors.Is(err, ErrDisplaced) || !strings.HasSuffix(err.Error(), words) {
		t.Errorf("%v; want %q", err, words)
	}
}

// use does with a directory all that can be done.
func use(d *osDirectory) error {
	at := func(name string) string { return filepath.Join(d.dir, name) }
	f, err := d.Create(at("new"))
	if err != nil {
		return err
	}
	_, writeErr := f.WriteAt([]byte("NEW"), 0)
	old, err := d.Open(at("old"))
	if err != nil {
		return err
	}
	_, statErr := d.Stat(at("old"))
	_, listErr := d.List(d.dir)
	return errors.Join(writeErr, statErr, listErr, f.Sync(), f.Close(), old.Close(),
		d.Rename(at("new"), at("newer")), d.Remove(at("old")), d.SyncDir(d.dir))
}

func TestDirectoryMovedAway(t *testing.T) {
	parent, d, log := house(t)
	moved := filepath.Join(parent, "moved")
	must(t, os.Rename(d.dir, moved))
	wantDisplaced(t, d.Check(), d.dir+" was moved away")
	must(t, log.Check()) // the file is where it was in its directory
	must(t, os.Mkdir(d.dir, 0o700))
	mine := map[string]string{"old": "mine", "new": "mine", "newer": "mine", "log": "mine"}
	for name, text := range mine {
		must(t, os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600))
	}
	wantDisplaced(t, d.Check(), "was moved away, and another one put in its place")
	must(t, use(d))
	must(t, log.Sync())
	wantFiles(t, d.dir, mine)
	stranger := lockedDir(t, d.dir, false) // another database, in the same process
	must(t, stranger.Check())
	if line := startChild(t, "exclusive", moved).line(); !strings.Contains(line, "in use") {
		t.Errorf("the directory that was moved: %s", line)
	}
	must(t, d.Close())
	wantFiles(t, moved, map[string]string{"newer": "NEW", "log": "", base.LockName: ""})
	must(t, stranger.Check())

	must(t, os.Rename(d.dir, filepath.Join(parent, "away"))) // the old one comes home
	must(t, os.Rename(moved, d.dir))
	must(t, lockedDir(t, d.dir, false).Check())
}

func TestDirectoryRemoved(t *testing.T) {
	_, d, log := house(t)
	must(t, os.RemoveAll(d.dir))
	wantDisplaced(t, d.Check(), d.dir+" was deleted")
	wantDisplaced(t, log.Check(), filepath.Join(d.dir, "log")+" was deleted or moved away")
	if err := use(d); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file in a directory that was removed: %v", err)
	}
	must(t, os.Mkdir(d.dir, 0o700))
	wantDisplaced(t, d.Check(), "was deleted, and another one put in its place")
	must(t, d.SyncDir(d.dir))
	must(t, os.Remove(d.dir))
	must(t, os.WriteFile(d.dir, nil, 0o600)) // a file in place of the directory
	wantDisplaced(t, d.Check(), "put in its place")
	must(t, d.Close())

	above := filepath.Join(t.TempDir(), "above") // and a file in place of one above it
	must(t, os.MkdirAll(filepath.Join(above, "db"), 0o700))
	d = mustOpen(t, filepath.Join(above, "db"))
	must(t, os.RemoveAll(above))
	must(t, os.WriteFile(above, nil, 0o600))
	wantDisplaced(t, d.Check(), d.dir+" was moved away")
	wantDisplaced(t, d.Lock(true), d.dir+" was moved away") // before it was locked
}

// TestLockRemoved: whoever deletes LOCK lets nobody in, in this process or another, and
// whoever is refused leaves nothing.
func TestLockRemoved(t *testing.T) {
	_, d, log := house(t)
	lock := filepath.Join(d.dir, base.LockName)
	must(t, os.Remove(lock))
	wantDisplaced(t, d.Check(), lock+" was deleted or moved away")
	must(t, log.Check())
	for _, action := range []string{"exclusive", "shared"} {
		wantErr(t, action, mustOpen(t, d.dir).Lock(action == "shared"), base.ErrLocked)
		if line := startChild(t, action, d.dir).line(); !strings.Contains(line, "in use") {
			t.Errorf("%s: %s", action, line)
		}
	}
	wantFiles(t, d.dir, map[string]string{"old": "OLD", "log": ""})
	must(t, os.WriteFile(lock, []byte("mine"), 0o600))
	wantDisplaced(t, d.Check(), lock+" was replaced by another file")
	must(t, d.Close())
	wantFiles(t, d.dir, map[string]string{"old": "OLD", "log": "", base.LockName: "mine"})
}

// TestLogRemoved: a file that lost its name, though somebody else has it still.
func TestLogRemoved(t *testing.T) {
	parent, d, log := house(t)
	name := filepath.Join(d.dir, "log")
	must(t, os.Rename(name, filepath.Join(parent, "log")))
	wantDisplaced(t, log.Check(), name+" was deleted or moved away")
	must(t, d.Check())
	must(t, os.WriteFile(name, nil, 0o600))
	wantDisplaced(t, log.Check(), name+" was replaced by another file")
	must(t, log.Close())
	wantErr(t, "closed", log.Check(), fs.ErrClosed)
}

// TestRelativeDirectory: another working directory changes nothing.
func TestRelativeDirectory(t *testing.T) {
	parent := t.TempDir()
	for _, dir := range []string{"db", "./db/", "../" + filepath.Base(parent) + "/db", "."} {
		t.Chdir(parent)
		must(t, os.MkdirAll("db", 0o700))
		must(t, os.WriteFile(filepath.Join(dir, "old"), []byte("OLD"), 0o600))
		d := lockedDir(t, dir, false)
		t.Chdir(t.TempDir())
		must(t, use(d))
		must(t, d.Check())
		must(t, d.Close())
		wantFiles(t, ".", nil)
		must(t, os.RemoveAll(filepath.Join(parent, "db")))
	}
}

// TestWholePathsInErrors, although the system was asked for less.
func TestWholePathsInErrors(t *testing.T) {
	d := mustOpen(t, t.TempDir())
	name := filepath.Join(d.dir, "none")
	_, openErr := d.Open(name)
	_, statErr := d.Stat(name)
	must(t, os.WriteFile(filepath.Join(d.dir, "there"), nil, 0o600))
	_, createErr := d.Create(filepath.Join(d.dir, "there"))
	for what, err := range map[string]error{
		"open": openErr, "stat": statErr, "remove": d.Remove(name), "rename": d.Rename(name, name+"r"), "create": createErr,
	} {
		if err == nil || !strings.Contains(err.Error(), d.dir+string(filepath.Separator)) {
			t.Errorf("%s: %v", what, err)
		}
	}
	must(t, d.Close())
	for what, err := range map[string]error{"sync": d.SyncDir(d.dir), "list": second(d.List(d.dir)), "open": second(d.Open(name))} {
		wantErr(t, what, err, fs.ErrClosed)
	}
}

func second[T any](_ T, err error) error { return err }

// BenchmarkCheck is what a sync pays to know that everything is in its place.
func BenchmarkCheck(b *testing.B) {
	_, d, log := house(b)
	b.Run("directory", func(b *testing.B) {
		for b.Loop() {
			must(b, d.Check())
		}
	})
	b.Run("file", func(b *testing.B) {
		for b.Loop() {
			must(b, log.Check())
		}
	})
}
