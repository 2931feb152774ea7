//go:build unix

package db_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
	"lsmdb/sstable"
)

// TestReadOnly: it writes nothing at all, serves the WAL, several may share it, a
// writer may not.
func TestReadOnly(t *testing.T) {
	dir, want := fixture.KilledDirectory(t)
	before := fixture.Picture(t, dir)
	one, err := db.Open(dir, &db.Options{ReadOnly: true})
	fixture.Must(t, err)
	two, err := db.Open(dir, &db.Options{ReadOnly: true})
	fixture.Must(t, err)
	_, err = db.Open(dir, nil)
	fixture.WantErr(t, "writer beside readers", err, db.ErrLocked)
	var all sync.WaitGroup
	for _, d := range []*db.DB{one, two} {
		all.Go(func() {
			if err := fixture.Differ(want, fixture.Contents(t, d)); err != nil {
				t.Error(err)
			}
			for key, value := range want {
				if v, err := d.Get([]byte(key)); string(v) != value || err != nil {
					t.Errorf("%s: %s, %v", key, fixture.Short(string(v)), err)
				}
			}
		})
	}
	all.Wait()
	d, ctx := one, t.Context()
	b := d.NewBatch()
	fixture.Must(t, b.Put([]byte("k"), nil))
	_, submit := d.Submit(ctx, b)
	for what, err := range map[string]error{
		"Put": d.Put(nil, nil), "Delete": d.Delete(nil), "Apply": d.Apply(ctx, b), "Submit": submit, "Sync": d.Sync(ctx),
		"Flush": d.Flush(ctx), "Compact": d.Compact(ctx, nil, nil),
	} {
		fixture.WantErr(t, what+" on a read-only database", err, db.ErrReadOnly)
	}
	s, err := d.NewSnapshot()
	fixture.Must(t, err)
	if ok, err := s.Has([]byte("log00001")); !ok || err != nil {
		t.Errorf("snapshot: %v, %v", ok, err)
	}
	fixture.Must(t, s.Close())
	if m := d.Metrics(); m.Recovery.Operations == 0 || m.Failure != "" {
		t.Errorf("%+v", m.Recovery)
	}
	fixture.Must(t, errors.Join(one.Close(), two.Close()))
	everyCallIsRefused(t, one)
	report, err := db.Verify(ctx, dir, nil)
	fixture.Must(t, err)
	if !report.OK() || len(report.Files) < 5 {
		t.Errorf("%+v", report)
	}
	if after := fixture.Picture(t, dir); after != before {
		t.Errorf("reading changed the directory\n%s\n%s", before, after)
	}
}

// TestReadOnlyDirectory reads a database that nobody may write to, without LOCK too.
func TestReadOnlyDirectory(t *testing.T) {
	dir, want := fixture.KilledDirectory(t)
	fixture.Must(t, os.Remove(filepath.Join(dir, "LOCK")))
	fixture.Must(t, os.Chmod(dir, 0o500))
	defer os.Chmod(dir, 0o700)
	before := fixture.Picture(t, dir)
	d, err := db.Open(dir, &db.Options{ReadOnly: true})
	fixture.Must(t, err)
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
	fixture.Must(t, d.Close())
	if after := fixture.Picture(t, dir); after != before {
		t.Errorf("reading changed the directory\n%s\n%s", before, after)
	}
}

func TestInMemoryTouchesNoDirectory(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, name := range []string{"", "somewhere", filepath.Join(dir, "absolute")} {
		d, err := db.Open(name, &db.Options{InMemory: true, MemtableBytes: 16 << 10})
		fixture.Must(t, err)
		want := fixture.FillTables(t, d, 200)
		fixture.Must(t, d.Compact(t.Context(), nil, nil))
		fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
		fixture.Must(t, d.Close())
	}
	entries, err := os.ReadDir(dir)
	fixture.Must(t, err)
	if len(entries) != 0 {
		t.Errorf("%v was made", entries)
	}
}

func TestLocked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "er")
	d, err := db.Open(dir, nil)
	fixture.Must(t, err)
	link := filepath.Join(t.TempDir(), "link")
	fixture.Must(t, os.Symlink(dir, link))
	before := fixture.Picture(t, dir)
	for _, path := range []string{dir, link, dir + "/../er/"} {
		for _, o := range []*db.Options{nil, {ReadOnly: true}, {MustExist: true}} {
			_, err := db.Open(path, o)
			fixture.WantErr(t, path, err, db.ErrLocked)
			if err != nil && !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
				t.Errorf("%v does not name the holder", err)
			}
		}
		_, err := db.Verify(t.Context(), path, nil)
		fixture.WantErr(t, "Verify", err, db.ErrLocked)
	}
	if after := fixture.Picture(t, dir); after != before {
		t.Error("opens that were refused changed the directory")
	}
	fixture.Must(t, d.Put([]byte("k"), nil))
	fixture.Must(t, d.Close())
	d, err = db.Open(link, nil)
	fixture.Must(t, err)
	fixture.Must(t, d.Close())
}

func TestPermissions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	d, err := db.Open(dir, &db.Options{MemtableBytes: 16 << 10})
	fixture.Must(t, err)
	fixture.FillTables(t, d, 100)
	fixture.Must(t, d.Close())
	fixture.Must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		fixture.Must(t, err)
		info, err := entry.Info()
		fixture.Must(t, err)
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
	fixture.Must(t, os.WriteFile(file, []byte("text"), 0o600))
	for _, o := range []*db.Options{nil, {ReadOnly: true}} {
		if _, err := db.Open(file, o); err == nil {
			t.Error("a file was opened as a database")
		}
		if _, err := db.Open(filepath.Join(file, "below"), o); err == nil {
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
	f := fixture.NewClosed(t)
	for name, data := range f.Files {
		if name == "LOCK" {
			continue
		}
		for i := 0; i < len(data); i += 1 + len(data)/25 {
			disk := f.Flipped(name, i).Disk(t)
			report, err := fixture.VerifyOn(disk, fixture.Dir)
			if err != nil || report.OK() || report.Problems[0].File != name {
				t.Errorf("bit in byte %d of %d of %s: %+v, %v", i, len(data), name, report, err)
				continue
			}
			d, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{ReadOnly: true, MemtableBytes: 1}))
			if fatal := err != nil; fatal != report.Problems[0].Fatal {
				t.Errorf("bit in byte %d of %s: Open says %v, Verify %+v", i, name, err, report.Problems)
			}
			if err == nil {
				fixture.Must(t, d.Close())
			}
		}
	}
}

// TestZstdBelowLevelOne: what was flushed is stored by Snappy, what was compacted into the
// deepest level by Zstandard, and a database without it reads both.
func TestZstdBelowLevelOne(t *testing.T) {
	dir := t.TempDir()
	options := &db.Options{Compression: db.Zstd, MemtableBytes: 64 << 10}
	d, err := db.Open(dir, options)
	fixture.Must(t, err)
	for _, want := range []sstable.Compression{sstable.CompressionSnappy, sstable.CompressionZstd} {
		for i := range 100 {
			fixture.Must(t, d.Put(fmt.Appendf(nil, "key%d", i), bytes.Repeat([]byte("compressible "), i), db.NoSync))
		}
		fixture.Must(t, d.Flush(t.Context()))
		if want == sstable.CompressionZstd {
			fixture.Must(t, d.Compact(t.Context(), nil, nil))
		}
		fixture.Must(t, d.Close())
		stored := map[sstable.Compression]int{}
		names, err := filepath.Glob(filepath.Join(dir, "*.sst"))
		fixture.Must(t, err)
		for _, name := range names {
			table, err := sstable.Open(vfs.OS, name, sstable.ReaderOptions{})
			fixture.Must(t, err)
			for info, err := range table.Blocks() {
				fixture.Must(t, err)
				if info.Type == sstable.BlockData {
					stored[info.Compression]++
				}
			}
			fixture.Must(t, table.Close())
		}
		if stored[want] < 10 || stored[sstable.CompressionSnappy+sstable.CompressionZstd-want] > 0 {
			t.Errorf("blocks by compression: %v, want %s", stored, want)
		}
		d, err = db.Open(dir, &db.Options{})
		fixture.Must(t, err)
		for i := range 100 {
			if value, err := d.Get(fmt.Appendf(nil, "key%d", i)); err != nil || len(value) != 13*i {
				t.Fatalf("key%d: %d bytes, %v", i, len(value), err)
			}
		}
		fixture.Must(t, d.Close())
		d, err = db.Open(dir, options)
		fixture.Must(t, err)
	}
	fixture.Must(t, d.Close())
}

// TestPinsOpensFewTables: what a snapshot keeps of many tables is told from samples.
func TestPinsOpensFewTables(t *testing.T) {
	d, err := db.Open(t.TempDir(), &db.Options{MemtableBytes: 8 << 10, Durability: db.NoSync, Compression: db.NoCompression})
	fixture.Must(t, err)
	defer d.Close()
	const keys = 12_000
	write := func(step int) {
		b := d.NewBatch()
		for i := 0; i < keys; i += step {
			fixture.Must(t, b.Put(fmt.Appendf(nil, "%08d", i), make([]byte, 1000)))
		}
		fixture.Must(t, d.Apply(t.Context(), b))
		fixture.Must(t, d.Compact(t.Context(), nil, nil))
	}
	write(1)
	s, err := d.NewSnapshot()
	fixture.Must(t, err)
	defer s.Close()
	write(4)
	m := d.Metrics()
	tables, _ := m.Tables()
	before := m.Files.OpenTables
	kept := d.Pins()[0].Bytes
	opened := d.Metrics().Files.OpenTables - before
	if opened == 0 || opened > tables/2 {
		t.Errorf("Pins has opened %d of %d tables", opened, tables)
	}
	if truth := int64(keys / 4 * 1020); kept < truth/2 || kept > 2*truth {
		t.Errorf("the snapshot is said to keep %d bytes, about %d are right", kept, truth)
	}
}
