//go:build unix

package db

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"lsmdb/internal/base"
)

// TestUmask: whatever the umask lets through, nobody else may read the database.
func TestUmask(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o077, 0o777} {
		t.Run(fmt.Sprintf("%03o", umask), func(t *testing.T) {
			if umask == 0o777 && os.Geteuid() != 0 {
				t.Skip("only root can use what it may not read")
			}
			above := t.TempDir()
			before := syscall.Umask(umask)
			defer syscall.Umask(before)
			dir := filepath.Join(above, "new", "db")
			d, err := Open(dir, &Options{MemtableBytes: 16 << 10})
			must(t, err)
			fillTables(t, d, 300)
			must(t, d.Put([]byte("logged"), nil))
			seen := modes(t, filepath.Join(above, "new"), umask)
			must(t, d.Close())
			if again := modes(t, filepath.Join(above, "new"), umask); seen < 7 || again < 7 {
				t.Errorf("only %d and %d files were there to look at", seen, again)
			}
		})
	}
}

// modes checks the permissions of everything below a directory and counts it.
func modes(t *testing.T, root string, umask int) (count int) {
	t.Helper()
	must(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		must(t, err)
		info, err := entry.Info()
		must(t, err)
		want := fs.FileMode(0o600 &^ umask)
		if entry.IsDir() {
			want = fs.FileMode(0o700 &^ umask)
		}
		if count++; info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
		}
		return nil
	}))
	return count
}

// TestPlantedFiles puts something else in the place of each file of a database: a link
// to a file elsewhere, a link to nothing, a named pipe, a directory. Nothing is written
// or made elsewhere, and nothing keeps an Open waiting.
func TestPlantedFiles(t *testing.T) {
	f := newClosed(t)
	f.files["LOCK"] = []byte{}
	plants := map[string]func(path, outside string) error{
		"link":           func(path, outside string) error { return os.Symlink(outside, path) },
		"relative link":  func(path, _ string) error { return os.Symlink("../outside", path) },
		"dangling link":  func(path, outside string) error { return os.Symlink(outside+"-nothing", path) },
		"link to a pipe": func(path, outside string) error { return os.Symlink(outside+"-pipe", path) },
		"pipe":           func(path, _ string) error { return syscall.Mkfifo(path, 0o600) },
		"directory":      func(path, _ string) error { return os.Mkdir(path, 0o700) },
	}
	for _, name := range []string{"LOCK", "CURRENT", f.manifest(t), f.named(".wal")[0], f.named(".sst")[0]} {
		for what, plant := range plants {
			above := t.TempDir()
			dir, outside := filepath.Join(above, "db"), filepath.Join(above, "outside")
			must(t, errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(outside, f.files[name], 0o600), syscall.Mkfifo(outside+"-pipe", 0o600)))
			if name == "LOCK" {
				must(t, os.WriteFile(outside, []byte("somebody's text"), 0o600))
			}
			for other, data := range f.files {
				if other != name {
					must(t, os.WriteFile(filepath.Join(dir, other), data, 0o600))
				}
			}
			must(t, plant(filepath.Join(dir, name), outside))
			before, err := os.ReadFile(outside)
			must(t, err)
			for _, readOnly := range []bool{true, false} {
				promptly(t, what+" as "+name, func() { useDatabase(t, dir, readOnly) })
			}
			promptly(t, "Verify", func() { Verify(t.Context(), dir, nil) })
			after, err := os.ReadFile(outside)
			if err != nil || string(after) != string(before) {
				t.Errorf("%s as %s: the file outside now holds %q, %v", what, name, after, err)
			}
			entries, err := os.ReadDir(above)
			must(t, err)
			if len(entries) != 3 {
				t.Errorf("%s as %s: there is more beside the database now: %v", what, name, entries)
			}
		}
	}
}

// useDatabase opens a database whatever comes of it and uses it if it opens. It
// returns the error of Open.
func useDatabase(t *testing.T, dir string, readOnly bool) error {
	d, err := Open(dir, &Options{MemtableBytes: 16 << 10, ReadOnly: readOnly})
	if err != nil {
		return err
	}
	_ = scanBoth(t, d)
	if !readOnly {
		_ = d.Put([]byte("written"), []byte("value"))
		_ = d.Compact(t.Context(), nil, nil)
	}
	d.Close()
	return nil
}

// TestLinksAreNotFollowed: a link is refused even if it leads to the right bytes.
func TestLinksAreNotFollowed(t *testing.T) {
	f := newClosed(t)
	for name := range f.files {
		above := t.TempDir()
		dir := filepath.Join(above, "db")
		must(t, os.Mkdir(dir, 0o700))
		for other, data := range f.files {
			must(t, os.WriteFile(filepath.Join(dir, other), data, 0o600))
		}
		must(t, os.Rename(filepath.Join(dir, name), filepath.Join(above, name)))
		must(t, os.Symlink(filepath.Join(above, name), filepath.Join(dir, name)))
		d, err := Open(dir, &Options{ReadOnly: true})
		if err == nil {
			err = scanBoth(t, d)
			d.Close()
		}
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("a link as %s: %v", name, err)
		}
	}
}

// TestCurrentNamesNoPath: CURRENT holds a number, so it cannot lead elsewhere.
func TestCurrentNamesNoPath(t *testing.T) {
	f := newClosed(t)
	for _, named := range []string{
		"../1", "/etc/1", "1/../../1", "-1", "+1", "0x1", "1e0", "MANIFEST-000001", "../../MANIFEST-000001", "\x001", "1\x00", "", " 1", "18446744073709551615", "4611686018427387904",
	} {
		for _, form := range []string{"lsmdb-current 1\nmanifest %s\n", "lsmdb-current 1\nmanifest 1\nmanifest %s\n", "lsmdb-current 1\nmanifest 1\nclean %s 1 1\n", "lsmdb-current %s\n"} {
			text := fmt.Sprintf(form, named)
			text += fmt.Sprintf("checksum %08x\n", base.Checksum(0, []byte(text)))
			disk := f.with("CURRENT", []byte(text)).disk(t)
			if _, err := Open(at, &Options{fs: disk}); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrIncompatible) || !strings.Contains(fmt.Sprint(err), " "+at+"/") {
				t.Errorf("%q: %v", text, err)
			}
		}
	}
}
