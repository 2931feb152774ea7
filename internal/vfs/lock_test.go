//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd || windows

package vfs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"lsmdb/internal/base"
)

// childVariable makes this test binary act as another process.
const childVariable = "LSMDB_VFS_TEST_CHILD"

func TestMain(m *testing.M) {
	if action := os.Getenv(childVariable); action != "" {
		fmt.Println(childAction(action, os.Args[1:]))
		io.Copy(io.Discard, os.Stdin) // until the parent lets go
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// childAction does what a child is for and says how it went.
func childAction(action string, args []string) string {
	switch action {
	case "idle":
		return "idle"
	case "make":
		setUmask(args[1])
		if err := makeAll(args[0]); err != nil {
			return err.Error()
		}
		return "made"
	case "window":
		if err := writeWindow(args[0]); err != nil {
			return err.Error()
		}
		return "written"
	}
	d, err := OS.OpenDirectory(args[0])
	if err != nil {
		return err.Error()
	}
	if err := d.Lock(action == "shared"); err != nil {
		return err.Error()
	}
	d.NoteHolder()
	return "locked"
}

// writeWindow writes into a file through a window and beside it, and leaves both open.
func writeWindow(name string) error {
	file, err := OS.Create(name)
	if err != nil {
		return err
	}
	f := file.(LogFile)
	if err := f.Allocate(0, 2*WindowAlignBytes); err != nil {
		return err
	}
	w, err := f.Map(WindowAlignBytes, WindowAlignBytes)
	if err != nil {
		return err
	}
	at := int64(WindowAlignBytes + 100)
	if !w.Covers(at, 5000) || w.Covers(at-101, 1) || w.Covers(2*WindowAlignBytes-1, 2) {
		return errors.New("the window shows another part of the file")
	}
	_, err = w.WriteAt(bytes.Repeat([]byte("w"), 5000), at)
	f.StartWriteback(0, 2*WindowAlignBytes)
	_, plainErr := f.WriteAt([]byte("between\x00"), at-8)
	return errors.Join(err, plainErr, f.Sync())
}

// child is such a process.
type child struct {
	t      *testing.T
	cmd    *exec.Cmd
	input  io.Closer
	output *bufio.Reader
}

func startChild(t *testing.T, action string, args ...string) *child {
	t.Helper()
	c := &child{t: t, cmd: exec.Command(os.Args[0], args...)}
	c.cmd.Env = append(os.Environ(), childVariable+"="+action, "GORACE=atexit_sleep_ms=0")
	c.cmd.Stderr = os.Stderr
	input, err := c.cmd.StdinPipe()
	must(t, err)
	output, err := c.cmd.StdoutPipe()
	must(t, err)
	must(t, c.cmd.Start())
	c.input, c.output = input, bufio.NewReader(output)
	t.Cleanup(c.kill)
	return c
}

// line returns the child's answer.
func (c *child) line() string {
	c.t.Helper()
	line, err := c.output.ReadString('\n')
	must(c.t, err)
	return strings.TrimSpace(line)
}

// end lets the child exit; its lock goes without a Close.
func (c *child) end() {
	c.t.Helper()
	must(c.t, c.input.Close())
	must(c.t, c.cmd.Wait())
}

func (c *child) kill() {
	c.cmd.Process.Kill()
	c.cmd.Wait()
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

// mustOpen opens a directory, which is closed at the end.
func mustOpen(t testing.TB, dir string) *osDirectory {
	t.Helper()
	d, err := OS.OpenDirectory(dir)
	must(t, err)
	t.Cleanup(func() { d.Close() }) // again, where the test has closed it
	return d.(*osDirectory)
}

// lockedDir returns a directory with a lock and a note, as Open takes it.
func lockedDir(t testing.TB, dir string, shared bool) *osDirectory {
	t.Helper()
	d := mustOpen(t, dir)
	must(t, d.Lock(shared))
	d.NoteHolder()
	return d
}

// wantFiles compares what is in a directory of regular files.
func wantFiles(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	got := make(map[string]string)
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, entry := range entries {
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		must(t, err)
		got[entry.Name()] = string(text)
	}
	if !maps.Equal(got, want) {
		t.Errorf("%s holds %q, want %q", dir, got, want)
	}
}

func TestLockAcrossProcesses(t *testing.T) {
	for _, c := range []struct {
		child  string
		shared bool
		want   string // what the refusal says; "": none
	}{
		{"exclusive", false, "pid %d, host "},
		{"exclusive", true, "pid %d, host "},
		{"shared", false, "another process; the last for writing: "},
		{"shared", true, ""},
	} {
		for _, end := range []func(*child){(*child).end, (*child).kill} {
			dir := t.TempDir()
			name := filepath.Join(dir, base.LockName)
			// The note of a killed exclusive holder must not mislead.
			must(t, os.WriteFile(name, []byte("pid 1, host stale"+strings.Repeat("!", 100)), 0o600))
			other := startChild(t, c.child, dir)
			if line := other.line(); line != "locked" {
				t.Fatal(line)
			}
			d := mustOpen(t, dir)
			err := d.Lock(c.shared)
			if c.want == "" {
				must(t, err)
			} else {
				wantErr(t, c.child, err, base.ErrLocked)
				want := strings.ReplaceAll(c.want, "%d", fmt.Sprint(other.cmd.Process.Pid))
				stale := c.child == "exclusive" && strings.Contains(err.Error(), "!")
				if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) || stale {
					t.Errorf("%v beside %s: %v; want %q", c.shared, c.child, err, want)
				}
				if !strings.Contains(err.Error(), "never stale, so never delete LOCK") {
					t.Errorf("%v invites to delete LOCK", err)
				}
			}
			must(t, d.Close())
			end(other)
			must(t, lockedDir(t, dir, c.shared).Close()) // no lock is ever stale
		}
	}
}

func TestLockSeenByOtherProcess(t *testing.T) {
	dir := t.TempDir()
	d := lockedDir(t, dir, false)
	for _, action := range []string{"exclusive", "shared"} {
		if line := startChild(t, action, dir).line(); !strings.Contains(line, fmt.Sprintf("pid %d", os.Getpid())) {
			t.Errorf("%s: %s", action, line)
		}
	}
	must(t, d.Close())
	wantFiles(t, dir, map[string]string{base.LockName: ""})

	one, two := lockedDir(t, dir, true), lockedDir(t, dir, true)
	must(t, one.Close()) // the first of two must not unlock the second
	if line := startChild(t, "exclusive", dir).line(); !strings.Contains(line, "another process") {
		t.Error(line)
	}
	shared := startChild(t, "shared", dir)
	if line := shared.line(); line != "locked" {
		t.Error(line)
	}
	shared.end()
	must(t, two.Close())
	if line := startChild(t, "exclusive", dir).line(); line != "locked" {
		t.Error(line)
	}
}

// TestLockNotInherited has a child outlive the lock of its parent.
func TestLockNotInherited(t *testing.T) {
	dir := t.TempDir()
	d := lockedDir(t, dir, false)
	if line := startChild(t, "idle").line(); line != "idle" {
		t.Fatal(line)
	}
	must(t, d.Close())
	if line := startChild(t, "exclusive", dir).line(); line != "locked" {
		t.Error(line)
	}
}

// TestLockByOtherPath opens one directory twice under different paths, and a LOCK that
// is the same file in two directories.
func TestLockByOtherPath(t *testing.T) {
	dir := t.TempDir()
	must(t, OS.MkdirAll(filepath.Join(dir, "db")))
	must(t, OS.MkdirAll(filepath.Join(dir, "other")))
	d := lockedDir(t, filepath.Join(dir, "db"), false)
	t.Chdir(dir)
	paths := []string{"db", "./db/../db/", filepath.Join(dir, "db")}
	if err := os.Symlink("db", "link"); err == nil {
		paths = append(paths, "link", filepath.Join(dir, "link"))
	}
	if err := os.Link("db/LOCK", "other/LOCK"); err == nil {
		paths = append(paths, "other")
	}
	for _, path := range paths {
		for _, shared := range []bool{false, true} {
			err := mustOpen(t, path).Lock(shared)
			wantErr(t, path, err, base.ErrLocked)
			if err != nil && !strings.Contains(err.Error(), "this process") {
				t.Errorf("%s: %v does not come from the registry", path, err)
			}
		}
	}
	must(t, d.Close())
	for _, path := range paths {
		must(t, lockedDir(t, path, false).Close())
	}
}

// TestSecondLockKeepsTheFirst: who asks twice is refused, and has the lock still.
func TestSecondLockKeepsTheFirst(t *testing.T) {
	dir := t.TempDir()
	d := lockedDir(t, dir, false)
	wantErr(t, "second", d.Lock(false), base.ErrLocked)
	if line := startChild(t, "exclusive", dir).line(); !strings.Contains(line, "in use") {
		t.Error(line)
	}
}

// TestSharedLockWritesNothing takes it where writing is impossible, and where there is
// no LOCK.
func TestSharedLockWritesNothing(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, base.LockName)
	d := lockedDir(t, dir, true)
	wantFiles(t, dir, nil)
	if runtime.GOOS != "windows" { // where directories can be locked
		if line := startChild(t, "exclusive", dir).line(); !strings.Contains(line, "in use") {
			t.Errorf("beside a reader without LOCK: %s", line)
		}
		wantFiles(t, dir, nil) // who was refused left nothing
	}
	must(t, d.Close())

	must(t, os.WriteFile(name, []byte("pid 7\n"), 0o400))
	before, err := os.Stat(name)
	must(t, err)
	must(t, lockedDir(t, dir, true).Close())
	after, err := os.Stat(name)
	must(t, err)
	wantFiles(t, dir, map[string]string{base.LockName: "pid 7\n"})
	if !after.ModTime().Equal(before.ModTime()) {
		t.Error("the shared lock changed LOCK")
	}
	must(t, os.Chmod(name, 0o600)) // so that Windows can remove it
}

// TestForeignLockStays: a file of that name that is not ours is locked, and neither
// written to nor cut.
func TestForeignLockStays(t *testing.T) {
	for text, ours := range map[string]bool{"": true, "pid 1, host x": true, "p": false, "apt": false, "\x00pid 1": false} {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, base.LockName), []byte(text), 0o600))
		d := mustOpen(t, dir)
		must(t, d.Lock(false))
		wantFiles(t, dir, map[string]string{base.LockName: text}) // nothing before the note
		d.NoteHolder()
		if note, err := os.ReadFile(filepath.Join(dir, base.LockName)); ours != strings.Contains(string(note), fmt.Sprint(os.Getpid())) || err != nil {
			t.Errorf("%q became %q, %v", text, note, err)
		}
		must(t, d.Close())
		left := text
		if ours {
			left = ""
		}
		wantFiles(t, dir, map[string]string{base.LockName: left})
	}
}

func TestReadHolder(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, base.LockName)
	d := mustOpen(t, dir)
	for _, c := range []struct{ text, want string }{
		{"pid 12, host h, since 2020\n", `"pid 12, host h, since 2020"`},
		{"", ""},
		{"\x00\xff\x1b[31m", `"\x00\xff\x1b[31m"`}, // nothing that a terminal would obey
		{strings.Repeat("9", 1000), `"` + strings.Repeat("9", 256) + `"`},
	} {
		must(t, os.WriteFile(name, []byte(c.text), 0o600))
		want := "another process"
		if c.want != "" {
			want += "; the last for writing: " + c.want
		}
		if got := d.readHolder(name); got != want {
			t.Errorf("%q: %s, want %s", c.text, got, want)
		}
	}
	must(t, os.Remove(name))
	if got := d.readHolder(name); got != "another process" {
		t.Error(got)
	}
}

// TestNoLocksHere plays file systems that cannot lock: directories, or anything.
func TestNoLocksHere(t *testing.T) {
	dir := t.TempDir()
	original := lockDirectory
	defer func() { lockDirectory = original }()
	for _, errno := range noLocks {
		lockDirectory = func(*os.File, bool) error { return errno }
		d := lockedDir(t, dir, false) // LOCK alone is enough
		wantErr(t, "in this process", mustOpen(t, dir).Lock(true), base.ErrLocked)
		lockDirectory = original
		if line := startChild(t, "exclusive", dir).line(); !strings.Contains(line, "in use") {
			t.Errorf("%v: %s", errno, line)
		}
		must(t, d.Close())
		err := d.refused("LOCK", pathError("lock", "LOCK", errno))
		wantErr(t, "cause", err, errno)
		if !strings.Contains(err.Error(), dir+" has no file locks") || !strings.Contains(err.Error(), "keep it on a file system that has them") {
			t.Error(err)
		}
	}
	broken := errors.New("broken")
	lockDirectory = func(*os.File, bool) error { return broken }
	wantErr(t, "any other error", mustOpen(t, dir).Lock(false), broken)
}
