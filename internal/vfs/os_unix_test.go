//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package vfs

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func setUmask(octal string) {
	mask, err := strconv.ParseUint(octal, 8, 16)
	if err != nil {
		panic(err)
	}
	syscall.Umask(int(mask))
}

// TestUmask runs in processes of its own, because the umask is the whole process's.
func TestUmask(t *testing.T) {
	for _, umask := range []string{"000", "022", "077"} {
		dir := t.TempDir()
		if line := startChild(t, "make", dir, umask).line(); line != "made" {
			t.Errorf("umask %s: %s", umask, line)
		}
		wantModes(t, madeModes(dir))
	}
}

// TestFullDevice meets a real ENOSPC.
func TestFullDevice(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no /dev/full")
	}
	device, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	must(t, err)
	defer device.Close()
	n, err := osFile{device}.WriteAt([]byte("x"), 0)
	wantErr(t, "write", err, syscall.ENOSPC)
	wantErr(t, "write", err, syscall.ENOSPC)
	if n != 0 || !strings.Contains(err.Error(), "/dev/full") {
		t.Errorf("%d, %v", n, err)
	}
}

// TestWindowOutlivesTheProcess is the promise of an unsynced write: what stands in a
// window survives kill -9, and every reader sees it.
func TestWindowOutlivesTheProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no windows")
	}
	name := filepath.Join(t.TempDir(), "file")
	writer := startChild(t, "window", name)
	if line := writer.line(); line != "written" {
		t.Fatal(line)
	}
	writer.kill()
	data, err := os.ReadFile(name)
	must(t, err)
	if want := "between\x00" + strings.Repeat("w", 5000); len(data) != 2*WindowAlignBytes || !strings.Contains(string(data), want) {
		t.Errorf("%d bytes, which lack what was written", len(data))
	}
}

// TestLinksAreNotFollowed: neither by opening nor by locking, which writes into the
// file. A named pipe keeps nobody waiting.
func TestLinksAreNotFollowed(t *testing.T) {
	dir := t.TempDir()
	target, link, pipe := filepath.Join(dir, "target"), filepath.Join(dir, "link"), filepath.Join(dir, "pipe")
	must(t, os.WriteFile(target, []byte("text"), 0o600))
	must(t, os.Symlink(target, link))
	must(t, syscall.Mkfifo(pipe, 0o600))
	if f, err := OS.Open(link); err == nil {
		t.Error("Open follows a link", f.Close())
	}
	if f, err := OS.Create(link); err == nil {
		t.Error("Create follows a link", f.Close())
	}
	for _, shared := range []bool{false, true} {
		if lock, err := OS.Lock(link, shared); err == nil {
			t.Error("Lock follows a link", lock.Close())
		}
	}
	if text, err := os.ReadFile(target); string(text) != "text" || err != nil {
		t.Errorf("the file behind the link holds %q, %v", text, err)
	}
	f, err := OS.Open(pipe)
	must(t, err)
	if _, err := f.ReadAt(make([]byte, 1), 0); err == nil {
		t.Error("a pipe was read")
	}
	must(t, f.Close())
	lock, err := OS.Lock(pipe, true)
	must(t, err)
	must(t, lock.Close())
}
