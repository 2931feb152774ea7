//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd || windows

package vfs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
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
	if _, err := OS.Lock(args[0], action == "shared"); err != nil {
		return err.Error()
	}
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
			name := filepath.Join(t.TempDir(), "LOCK")
			// The note of a killed exclusive holder must not mislead.
			must(t, os.WriteFile(name, []byte("pid 1, host stale"+strings.Repeat("!", 100)), 0o600))
			other := startChild(t, c.child, name)
			if line := other.line(); line != "locked" {
				t.Fatal(line)
			}
			lock, err := OS.Lock(name, c.shared)
			if c.want == "" {
				must(t, err)
				must(t, lock.Close())
			} else {
				wantErr(t, c.child, err, base.ErrLocked)
				want := strings.ReplaceAll(c.want, "%d", fmt.Sprint(other.cmd.Process.Pid))
				stale := c.child == "exclusive" && strings.Contains(err.Error(), "!")
				if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) || stale {
					t.Errorf("%v beside %s: %v; want %q", c.shared, c.child, err, want)
				}
			}
			end(other)
			lock, err = OS.Lock(name, c.shared) // no lock is ever stale
			must(t, err)
			must(t, lock.Close())
		}
	}
}

func TestLockSeenByOtherProcess(t *testing.T) {
	name := filepath.Join(t.TempDir(), "LOCK")
	lock, err := OS.Lock(name, false)
	must(t, err)
	for _, action := range []string{"exclusive", "shared"} {
		if line := startChild(t, action, name).line(); !strings.Contains(line, fmt.Sprintf("pid %d", os.Getpid())) {
			t.Errorf("%s: %s", action, line)
		}
	}
	must(t, lock.Close())
	if text, err := os.ReadFile(name); len(text) > 0 || err != nil {
		t.Errorf("left behind: %q, %v", text, err)
	}

	one, err := OS.Lock(name, true)
	must(t, err)
	two, err := OS.Lock(name, true)
	must(t, err)
	must(t, one.Close()) // the first of two must not unlock the second
	if line := startChild(t, "exclusive", name).line(); !strings.Contains(line, "another process") {
		t.Error(line)
	}
	shared := startChild(t, "shared", name)
	if line := shared.line(); line != "locked" {
		t.Error(line)
	}
	shared.end()
	must(t, two.Close())
	if line := startChild(t, "exclusive", name).line(); line != "locked" {
		t.Error(line)
	}
}

// TestLockNotInherited has a child outlive the lock of its parent.
func TestLockNotInherited(t *testing.T) {
	name := filepath.Join(t.TempDir(), "LOCK")
	lock, err := OS.Lock(name, false)
	must(t, err)
	if line := startChild(t, "idle").line(); line != "idle" {
		t.Fatal(line)
	}
	must(t, lock.Close())
	if line := startChild(t, "exclusive", name).line(); line != "locked" {
		t.Error(line)
	}
}

// TestLockByOtherPath opens one directory twice under different paths.
func TestLockByOtherPath(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "db", "LOCK")
	must(t, OS.MkdirAll(filepath.Dir(name)))
	lock, err := OS.Lock(name, false) // makes the file: no other path resolved to it before
	must(t, err)
	t.Chdir(dir)
	paths := []string{"db/LOCK", "./db/../db//LOCK"}
	if err := os.Symlink("db", "link"); err == nil {
		paths = append(paths, "link/LOCK", filepath.Join(dir, "link", "LOCK"))
	}
	if err := os.Link(name, "hard-link"); err == nil {
		paths = append(paths, "hard-link")
	}
	for _, path := range paths {
		for _, shared := range []bool{false, true} {
			_, err := OS.Lock(path, shared)
			wantErr(t, path, err, base.ErrLocked)
			if err != nil && !strings.Contains(err.Error(), "this process") {
				t.Errorf("%s: %v does not come from the registry", path, err)
			}
		}
	}
	must(t, lock.Close())
	for _, path := range paths {
		again, err := OS.Lock(path, false)
		must(t, err)
		must(t, again.Close())
	}
}

// TestSharedLockWritesNothing takes it where writing is impossible.
func TestSharedLockWritesNothing(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "LOCK")
	must(t, os.WriteFile(name, []byte("pid 7\n"), 0o400))
	before, err := os.Stat(name)
	must(t, err)
	lock, err := OS.Lock(name, true)
	must(t, err)
	must(t, lock.Close())
	after, err := os.Stat(name)
	must(t, err)
	text, err := os.ReadFile(name)
	if string(text) != "pid 7\n" || !after.ModTime().Equal(before.ModTime()) || err != nil {
		t.Errorf("changed: %q, %v", text, err)
	}
	must(t, os.Chmod(name, 0o600)) // so that Windows can remove it
}

func TestReadHolder(t *testing.T) {
	dir := t.TempDir()
	for i, c := range []struct{ text, want string }{
		{"pid 12, host h, since 2020\n", `"pid 12, host h, since 2020"`},
		{"", ""},
		{"\x00\xff\x1b[31m", `"\x00\xff\x1b[31m"`}, // nothing that a terminal would obey
		{strings.Repeat("9", 1000), `"` + strings.Repeat("9", 256) + `"`},
	} {
		name := filepath.Join(dir, fmt.Sprint(i))
		must(t, os.WriteFile(name, []byte(c.text), 0o600))
		f, err := os.Open(name)
		must(t, err)
		want := "another process"
		if c.want != "" {
			want += "; the last for writing: " + c.want
		}
		if got := readHolder(f); got != want {
			t.Errorf("%q: %s, want %s", c.text, got, want)
		}
		f.Close()
	}
}
