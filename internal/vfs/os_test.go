//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd || windows

package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"lsmdb/internal/base"
)

// wantModes compares the permissions of files; Windows has none.
func wantModes(t *testing.T, want map[string]fs.FileMode) {
	t.Helper()
	if runtime.GOOS == "windows" {
		return
	}
	for name, mode := range want {
		info, err := os.Stat(name)
		must(t, err)
		if info.Mode().Perm() != mode {
			t.Errorf("%s: mode %v, want %v", filepath.Base(name), info.Mode().Perm(), mode)
		}
	}
}

// makeAll uses every operation that makes something.
func makeAll(dir string) error {
	if err := OS.MkdirAll(filepath.Join(dir, "a", "b")); err != nil {
		return err
	}
	f, err := OS.Create(filepath.Join(dir, "a", "b", "file"))
	if err != nil {
		return err
	}
	d, err := OS.OpenDirectory(filepath.Join(dir, "a", "b"))
	if err != nil {
		return err
	}
	inside, err := d.Create(filepath.Join(dir, "a", "b", "inside"))
	if err != nil {
		return err
	}
	return errors.Join(d.Lock(false), d.Close(), f.Close(), inside.Close())
}

func madeModes(dir string) map[string]fs.FileMode {
	return map[string]fs.FileMode{
		filepath.Join(dir, "a"):                0o700,
		filepath.Join(dir, "a", "b"):           0o700,
		filepath.Join(dir, "a", "b", "file"):   0o600,
		filepath.Join(dir, "a", "b", "inside"): 0o600,
		filepath.Join(dir, "a", "b", "LOCK"):   0o600,
	}
}

func TestModes(t *testing.T) {
	dir := t.TempDir()
	must(t, makeAll(dir))
	wantModes(t, madeModes(dir))
}

func TestExistingModesStay(t *testing.T) {
	dir := t.TempDir()
	lock := filepath.Join(dir, "LOCK")
	must(t, os.Chmod(dir, 0o750))
	must(t, os.WriteFile(lock, nil, 0o600))
	must(t, os.Chmod(lock, 0o640))
	must(t, OS.MkdirAll(dir))
	d := mustOpen(t, dir)
	must(t, d.Lock(false))
	must(t, d.Close())
	wantModes(t, map[string]fs.FileMode{dir: 0o750, lock: 0o640})
}

func TestShortage(t *testing.T) {
	if err := Shortage(nil); err != nil {
		t.Error(err)
	}
	other := &fs.PathError{Op: "write", Path: "f", Err: fs.ErrPermission}
	if err := Shortage(other); err != error(other) || base.IsShortage(err) {
		t.Errorf("another error became %v", err)
	}
	for _, cause := range append(slices.Clone(diskFull), scarce...) {
		raw := &fs.PathError{Op: "write", Path: "name", Err: cause}
		if base.IsShortage(raw) || errors.Is(raw, base.ErrDiskFull) {
			t.Errorf("%v promises that it passes, though no step said that it only prepared", raw)
		}
		err := Shortage(fmt.Errorf("preparing: %w", raw))
		wantErr(t, "cause", err, cause)
		if !base.IsShortage(err) || errors.Is(err, base.ErrDiskFull) != slices.Contains(diskFull, cause) || !strings.Contains(err.Error(), "name") {
			t.Errorf("%v: not what it is, or does not name the file", err)
		}
		if again := Shortage(fmt.Errorf("more: %w", err)); strings.Count(again.Error(), "lsmdb:") != 1 {
			t.Errorf("wrapped twice: %v", again)
		}
	}
}
