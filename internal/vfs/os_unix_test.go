//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package vfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"lsmdb/internal/base"
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
	n, err := osFile{File: device}.WriteAt([]byte("x"), 0)
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
// file. A named pipe keeps nobody waiting. The errors say what is there instead.
func TestLinksAreNotFollowed(t *testing.T) {
	dir := t.TempDir()
	d := mustOpen(t, dir)
	for name, fsys := range map[string]Files{"paths": OS, "directory": d} {
		target, link, pipe := filepath.Join(dir, "target"), filepath.Join(dir, "link"), filepath.Join(dir, "pipe")
		must(t, os.WriteFile(target, []byte("text"), 0o600))
		must(t, os.Symlink("target", link)) // inside of the directory, which os.Root follows
		must(t, syscall.Mkfifo(pipe, 0o600))
		for path, want := range map[string]string{link: "symbolic link", pipe: "regular file"} {
			if f, err := fsys.Open(path); err == nil {
				t.Error(name, "opens", path, f.Close())
			} else if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v does not name %s as a %s", name, err, path, want)
			}
			if f, err := fsys.Create(path); err == nil {
				t.Error(name, "creates over", path, f.Close())
			}
		}
		if info, err := d.Stat(link); info.SizeBytes != int64(len("target")) || err != nil {
			t.Errorf("Stat of a link: %+v, %v", info, err)
		}
		if text, err := os.ReadFile(target); string(text) != "text" || err != nil {
			t.Errorf("the file behind the link holds %q, %v", text, err)
		}
		for _, path := range []string{link, pipe, target} {
			must(t, os.Remove(path))
		}
	}
	lock, target := filepath.Join(dir, base.LockName), filepath.Join(dir, "target")
	for name, plant := range map[string]func() error{
		"link":          func() error { return os.Symlink("target", lock) },
		"dangling link": func() error { return os.Symlink("nothing", lock) },
		"pipe":          func() error { return syscall.Mkfifo(lock, 0o600) },
		"directory":     func() error { return os.Mkdir(lock, 0o700) },
	} {
		must(t, os.WriteFile(target, []byte("text"), 0o600))
		must(t, plant())
		for _, shared := range []bool{false, true} {
			if err := d.Lock(shared); err == nil {
				t.Errorf("LOCK was a %s and was locked, shared: %v", name, shared)
			}
		}
		must(t, os.Remove(lock))
		wantFiles(t, dir, map[string]string{"target": "text"})
	}
}

// TestSizeOf: it tells the size of what Open would open, and refuses the rest in the same
// words, within a directory and by path.
func TestSizeOf(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.WriteFile(at("file"), make([]byte, 4321), 0o600))
	must(t, os.WriteFile(at("target"), make([]byte, 4321), 0o600))
	must(t, os.Symlink("target", at("link")))
	must(t, os.Mkdir(at("directory"), 0o700))
	must(t, syscall.Mkfifo(at("pipe"), 0o600))
	directory, err := OS.OpenDirectory(dir)
	must(t, err)
	defer directory.Close()
	if _, ok := directory.(interface{ measure(string) (int64, bool) }); !ok {
		t.Error("the quick way is not taken")
	}
	for _, files := range []Files{OS, directory} {
		if n, err := SizeOf(files, at("file")); n != 4321 || err != nil {
			t.Error(n, err)
		}
		for _, name := range []string{"missing", "link", "directory", "pipe"} {
			_, want := files.Open(at(name))
			if n, err := SizeOf(files, at(name)); n != 0 || err == nil || err.Error() != want.Error() {
				t.Errorf("%s: %d, %v, want %v", name, n, err, want)
			}
		}
	}
}

// TestRemoveInSteps: a file goes piece by piece, and stays whole where it has another name.
func TestRemoveInSteps(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	directory, err := OS.OpenDirectory(dir)
	must(t, err)
	defer directory.Close()
	for _, files := range []Files{OS, directory} {
		content := make([]byte, 3*removalBytes+1)
		for _, name := range []string{"large", "linked"} {
			must(t, os.WriteFile(at(name), content, 0o600))
		}
		must(t, os.WriteFile(at("small"), nil, 0o600))
		must(t, os.Link(at("linked"), at("link")))
		large, err := os.Open(at("large"))
		must(t, err)
		must(t, os.Mkdir(at("directory"), 0o700))
		must(t, syscall.Mkfifo(at("pipe"), 0o600))
		var sizes []int64
		for _, name := range []string{"large", "linked", "small", "directory", "pipe"} {
			must(t, RemoveInSteps(files, at(name), func(took time.Duration) {
				info, err := large.Stat()
				must(t, err)
				sizes = append(sizes, info.Size())
				if _, err := os.Stat(at("large")); name != "large" || !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("a step of %s, which has its name: %v", name, err)
				}
			}))
			if _, err := os.Lstat(at(name)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %v", name, err)
			}
		}
		must(t, large.Close())
		if want := []int64{2*removalBytes + 1, removalBytes + 1, 1}; !slices.Equal(sizes, want) {
			t.Errorf("sizes %d, want %d", sizes, want)
		}
		if info, err := os.Stat(at("link")); err != nil || info.Size() != int64(len(content)) {
			t.Errorf("what has another name: %v", err)
		}
		must(t, os.Remove(at("link")))
		if err := RemoveInSteps(files, at("missing"), nil); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
	_ = RemoveInSteps(OS, at("missing"), nil)
	must(t, os.WriteFile(at("alone"), make([]byte, 2*removalBytes), 0o600))
	must(t, RemoveInSteps(directory, at("alone"), nil)) // without pauses
}
