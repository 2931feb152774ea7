//go:build unix

package attach_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"lsmdb/db"
	"lsmdb/db/attach"
	"lsmdb/internal/beside"
	"lsmdb/internal/tests/fixture"
)

// The socket is for its user alone, whatever the umask is.
func TestMode(t *testing.T) {
	before := syscall.Umask(0)
	defer syscall.Umask(before)
	for _, umask := range []int{0, 0o022, 0o777} {
		syscall.Umask(0)
		dir := t.TempDir()
		d := open(t, dir, nil)
		syscall.Umask(umask)
		s, err := attach.Serve(d)
		fixture.Must(t, err)
		info, err := os.Lstat(filepath.Join(dir, beside.SocketName))
		if err != nil || info.Mode() != fs.ModeSocket|0o600 {
			t.Errorf("umask %o: %v, %v", umask, info.Mode(), err)
		}
		dial(t, dir)
		fixture.Must(t, s.Close())
		fixture.Must(t, d.Close())
	}
}

// Nobody ever sees the socket with another mode.
func TestModeFromTheBeginning(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("elsewhere it has its mode when it listens")
	}
	defer syscall.Umask(syscall.Umask(0))
	dir := t.TempDir()
	d := open(t, dir, nil)
	path := filepath.Join(dir, beside.SocketName)
	var watching sync.WaitGroup
	var ended atomic.Bool
	watching.Go(func() {
		for !ended.Load() {
			if info, err := os.Lstat(path); err == nil && info.Mode() != fs.ModeSocket|0o600 {
				t.Errorf("mode %v", info.Mode())
				return
			}
		}
	})
	for range 300 {
		s, err := attach.Serve(d)
		fixture.Must(t, err)
		fixture.Must(t, s.Close())
	}
	ended.Store(true)
	watching.Wait()
}

// A path that is too long for a socket works, or is refused in words.
func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100), strings.Repeat("e", 100))
	d := open(t, dir, nil)
	fixture.Must(t, d.Put([]byte("a"), []byte("1")))
	descriptors := fixture.OpenDescriptors()
	s, err := attach.Serve(d)
	if runtime.GOOS != "linux" {
		if err == nil || !strings.Contains(err.Error(), "too long") {
			t.Errorf("served: %v", err)
		}
		return
	}
	fixture.Must(t, err)
	if e, err := dial(t, dir).Get(t.Context(), []byte("a")); err != nil || string(e.Value) != "1" {
		t.Errorf("got %q, %v", e.Value, err)
	}
	fixture.Must(t, s.Close())
	if listens(dir) {
		t.Error("the socket is still there")
	}
	eventually(t, "all descriptors were closed", func() bool { return fixture.OpenDescriptors() <= descriptors })
}

// The socket is made in the directory of the database, and taken away there, although that
// was moved and another one put in its place.
func TestMovedDirectory(t *testing.T) {
	parent := t.TempDir()
	dir, moved := filepath.Join(parent, "db"), filepath.Join(parent, "moved")
	d := open(t, dir, &db.Options{Durability: db.NoSync})
	s := serve(t, d, forever)
	fixture.Must(t, os.Rename(dir, moved))
	fixture.Must(t, os.Mkdir(dir, 0o700))
	fixture.Must(t, os.WriteFile(filepath.Join(dir, beside.SocketName), []byte("mine"), 0o600))
	fixture.Must(t, s.Close())
	if !listens(dir) || listens(moved) {
		t.Errorf("there: %v, moved: %v", listens(dir), listens(moved))
	}
}
