//go:build unix

package formats

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
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
			d, err := db.Open(dir, &db.Options{MemtableBytes: 16 << 10})
			fixture.Must(t, err)
			fixture.FillTables(t, d, 300)
			fixture.Must(t, d.Put([]byte("logged"), nil))
			seen := modes(t, filepath.Join(above, "new"), umask)
			fixture.Must(t, d.Close())
			if again := modes(t, filepath.Join(above, "new"), umask); seen < 7 || again < 7 {
				t.Errorf("only %d and %d files were there to look at", seen, again)
			}
		})
	}
}

// modes checks the permissions of everything below a directory and counts it.
func modes(t *testing.T, root string, umask int) (count int) {
	t.Helper()
	fixture.Must(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		fixture.Must(t, err)
		info, err := entry.Info()
		fixture.Must(t, err)
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
	f := fixture.NewClosed(t)
	f.Files["LOCK"] = []byte{}
	plants := map[string]func(path, outside string) error{
		"link":           func(path, outside string) error { return os.Symlink(outside, path) },
		"relative link":  func(path, _ string) error { return os.Symlink("../outside", path) },
		"dangling link":  func(path, outside string) error { return os.Symlink(outside+"-nothing", path) },
		"link to a pipe": func(path, outside string) error { return os.Symlink(outside+"-pipe", path) },
		"pipe":           func(path, _ string) error { return syscall.Mkfifo(path, 0o600) },
		"directory":      func(path, _ string) error { return os.Mkdir(path, 0o700) },
	}
	for _, name := range []string{"LOCK", "CURRENT", f.Manifest(t), f.Named(".wal")[0], f.Named(".sst")[0]} {
		for what, plant := range plants {
			above := t.TempDir()
			dir, outside := filepath.Join(above, "db"), filepath.Join(above, "outside")
			fixture.Must(t, errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(outside, f.Files[name], 0o600), syscall.Mkfifo(outside+"-pipe", 0o600)))
			if name == "LOCK" {
				fixture.Must(t, os.WriteFile(outside, []byte("somebody's text"), 0o600))
			}
			for other, data := range f.Files {
				if other != name {
					fixture.Must(t, os.WriteFile(filepath.Join(dir, other), data, 0o600))
				}
			}
			fixture.Must(t, plant(filepath.Join(dir, name), outside))
			before, err := os.ReadFile(outside)
			fixture.Must(t, err)
			for _, readOnly := range []bool{true, false} {
				promptly(t, what+" as "+name, func() { useDatabase(t, dir, readOnly) })
			}
			promptly(t, "Verify", func() { db.Verify(t.Context(), dir, nil) })
			after, err := os.ReadFile(outside)
			if err != nil || string(after) != string(before) {
				t.Errorf("%s as %s: the file outside now holds %q, %v", what, name, after, err)
			}
			entries, err := os.ReadDir(above)
			fixture.Must(t, err)
			if len(entries) != 3 {
				t.Errorf("%s as %s: there is more beside the database now: %v", what, name, entries)
			}
		}
	}
}

// useDatabase opens a database whatever comes of it and uses it if it opens. It
// returns the error of Open.
func useDatabase(t *testing.T, dir string, readOnly bool) error {
	d, err := db.Open(dir, &db.Options{MemtableBytes: 16 << 10, ReadOnly: readOnly})
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
	f := fixture.NewClosed(t)
	for name := range f.Files {
		above := t.TempDir()
		dir := filepath.Join(above, "db")
		fixture.Must(t, os.Mkdir(dir, 0o700))
		for other, data := range f.Files {
			fixture.Must(t, os.WriteFile(filepath.Join(dir, other), data, 0o600))
		}
		fixture.Must(t, os.Rename(filepath.Join(dir, name), filepath.Join(above, name)))
		fixture.Must(t, os.Symlink(filepath.Join(above, name), filepath.Join(dir, name)))
		d, err := db.Open(dir, &db.Options{ReadOnly: true})
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
	f := fixture.NewClosed(t)
	for _, named := range []string{
		"../1", "/etc/1", "1/../../1", "-1", "+1", "0x1", "1e0", "MANIFEST-000001", "../../MANIFEST-000001", "\x001", "1\x00", "", " 1", "18446744073709551615", "4611686018427387904",
	} {
		for _, form := range []string{"lsmdb-current 1\nmanifest %s\n", "lsmdb-current 1\nmanifest 1\nmanifest %s\n", "lsmdb-current 1\nmanifest 1\nclean %s 1 1\n", "lsmdb-current %s\n"} {
			text := fmt.Sprintf(form, named)
			text += fmt.Sprintf("checksum %08x\n", base.Checksum(0, []byte(text)))
			disk := f.With("CURRENT", []byte(text)).Disk(t)
			if _, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{})); !errors.Is(err, db.ErrCorrupt) && !errors.Is(err, db.ErrIncompatible) || !strings.Contains(fmt.Sprint(err), " "+fixture.Dir+"/") {
				t.Errorf("%q: %v", text, err)
			}
		}
	}
}
