//go:build unix

package db

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// picture describes a directory so that any change of it shows.
func picture(t *testing.T, dir string) string {
	t.Helper()
	var text strings.Builder
	must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		var sum [32]byte
		if !entry.IsDir() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum = sha256.Sum256(data)
		}
		fmt.Fprintf(&text, "%s %v %d %v %x\n", path, info.Mode(), info.Size(), info.ModTime(), sum)
		return nil
	}))
	return text.String()
}

// killedDirectory is a database of a killed process in a real directory, with commits
// in its WAL.
func killedDirectory(t *testing.T) (string, view) {
	t.Helper()
	f := newFilled(t, Sync)
	dir := t.TempDir()
	for name, data := range f.files {
		must(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	return dir, f.want
}

// TestReadOnly: it writes nothing at all, serves the WAL, several may share it, a
// writer may not.
func TestReadOnly(t *testing.T) {
	dir, want := killedDirectory(t)
	before := picture(t, dir)
	one, err := Open(dir, &Options{ReadOnly: true})
	must(t, err)
	two, err := Open(dir, &Options{ReadOnly: true})
	must(t, err)
	_, err = Open(dir, nil)
	wantErr(t, "writer beside readers", err, ErrLocked)
	var all sync.WaitGroup
	for _, d := range []*DB{one, two} {
		all.Go(func() {
			if err := differ(want, contents(t, d)); err != nil {
				t.Error(err)
			}
			for key, value := range want {
				if v, err := d.Get([]byte(key)); string(v) != value || err != nil {
					t.Errorf("%s: %s, %v", key, short(string(v)), err)
				}
			}
		})
	}
	all.Wait()
	d, ctx := one, t.Context()
	b := d.NewBatch()
	must(t, b.Put([]byte("k"), nil))
	_, submit := d.Submit(ctx, b)
	for what, err := range map[string]error{
		"Put": d.Put(nil, nil), "Delete": d.Delete(nil), "Apply": d.Apply(ctx, b), "Submit": submit, "Sync": d.Sync(ctx),
		"Flush": d.Flush(ctx), "Compact": d.Compact(ctx, nil, nil),
	} {
		wantErr(t, what+" on a read-only database", err, ErrReadOnly)
	}
	s, err := d.NewSnapshot()
	must(t, err)
	if ok, err := s.Has([]byte("log00001")); !ok || err != nil {
		t.Errorf("snapshot: %v, %v", ok, err)
	}
	must(t, s.Close())
	if m := d.Metrics(); m.Recovery.Operations == 0 || m.Failure != "" {
		t.Errorf("%+v", m.Recovery)
	}
	must(t, errors.Join(one.Close(), two.Close()))
	everyCallIsRefused(t, one)
	report, err := Verify(ctx, dir, nil)
	must(t, err)
	if !report.OK() || len(report.Files) < 5 {
		t.Errorf("%+v", report)
	}
	if after := picture(t, dir); after != before {
		t.Errorf("reading changed the directory\n%s\n%s", before, after)
	}
}

// TestReadOnlyDirectory reads a database that nobody may write to, without LOCK too.
func TestReadOnlyDirectory(t *testing.T) {
	dir, want := killedDirectory(t)
	must(t, os.Remove(filepath.Join(dir, "LOCK")))
	must(t, os.Chmod(dir, 0o500))
	defer os.Chmod(dir, 0o700)
	before := picture(t, dir)
	d, err := Open(dir, &Options{ReadOnly: true})
	must(t, err)
	must(t, differ(want, contents(t, d)))
	must(t, d.Close())
	if after := picture(t, dir); after != before {
		t.Errorf("reading changed the directory\n%s\n%s", before, after)
	}
}

func TestInMemoryTouchesNoDirectory(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, name := range []string{"", "somewhere", filepath.Join(dir, "absolute")} {
		d, err := Open(name, &Options{InMemory: true, MemtableBytes: 16 << 10})
		must(t, err)
		want := fillTables(t, d, 200)
		must(t, d.Compact(t.Context(), nil, nil))
		must(t, differ(want, contents(t, d)))
		must(t, d.Close())
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) != 0 {
		t.Errorf("%v was made", entries)
	}
}

func TestLocked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "er")
	d, err := Open(dir, nil)
	must(t, err)
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(dir, link))
	before := picture(t, dir)
	for _, path := range []string{dir, link, dir + "/../er/"} {
		for _, o := range []*Options{nil, {ReadOnly: true}, {MustExist: true}} {
			_, err := Open(path, o)
			wantErr(t, path, err, ErrLocked)
			if err != nil && !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
				t.Errorf("%v does not name the holder", err)
			}
		}
		_, err := Verify(t.Context(), path, nil)
		wantErr(t, "Verify", err, ErrLocked)
	}
	if after := picture(t, dir); after != before {
		t.Error("opens that were refused changed the directory")
	}
	must(t, d.Put([]byte("k"), nil))
	must(t, d.Close())
	d, err = Open(link, nil)
	must(t, err)
	must(t, d.Close())
}

func TestPermissions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	d, err := Open(dir, &Options{MemtableBytes: 16 << 10})
	must(t, err)
	fillTables(t, d, 100)
	must(t, d.Close())
	must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		must(t, err)
		info, err := entry.Info()
		must(t, err)
		want := fs.FileMode(0o600)
		if entry.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return nil
	}))
}

func TestOpenElsewhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, []byte("text"), 0o600))
	for _, o := range []*Options{nil, {ReadOnly: true}} {
		if _, err := Open(file, o); err == nil {
			t.Error("a file was opened as a database")
		}
		if _, err := Open(filepath.Join(file, "below"), o); err == nil {
			t.Error("a database was opened below a file")
		}
	}
	if data, _ := os.ReadFile(file); string(data) != "text" {
		t.Error("the file was changed")
	}
}

// TestVerifyFindsFlips turns bits over in every file: Verify names the file and says
// whether the database opens.
func TestVerifyFindsFlips(t *testing.T) {
	f := newClosed(t)
	for name, data := range f.files {
		if name == "LOCK" {
			continue
		}
		for i := 0; i < len(data); i += 1 + len(data)/25 {
			disk := f.flipped(name, i).disk(t)
			report, err := verify(t.Context(), disk, at, nil)
			if err != nil || report.OK() || report.Problems[0].File != name {
				t.Errorf("bit in byte %d of %d of %s: %+v, %v", i, len(data), name, report, err)
				continue
			}
			d, err := Open(at, &Options{ReadOnly: true, MemtableBytes: 1, fs: disk})
			if fatal := err != nil; fatal != report.Problems[0].Fatal {
				t.Errorf("bit in byte %d of %s: Open says %v, Verify %+v", i, name, err, report.Problems)
			}
			if err == nil {
				must(t, d.Close())
			}
		}
	}
}
