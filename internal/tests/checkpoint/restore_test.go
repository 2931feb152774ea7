package checkpoint

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/iotest"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/door"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// streamFile is one file of a stream.
type streamFile struct {
	name     string
	contents []byte
}

// decode takes a stream apart by the words of docs/format-checkpoint.md.
func decode(t *testing.T, stream []byte) (files []streamFile) {
	t.Helper()
	crc := func(from, to int) {
		t.Helper()
		if got := binary.LittleEndian.Uint32(stream[to:]); got != base.Checksum(0, stream[from:to]) {
			t.Fatalf("the checksum of %d to %d is %08x", from, to, got)
		}
	}
	if string(stream[:8]) != "lsmdbckp" || binary.LittleEndian.Uint32(stream[8:]) != 1 {
		t.Fatalf("the stream begins %x", stream[:12])
	}
	crc(0, 12)
	at := 16
	for stream[at] != 0 {
		nameAt := at + 1
		sizeAt := nameAt + int(stream[at])
		size := int(binary.LittleEndian.Uint64(stream[sizeAt:]))
		files = append(files, streamFile{string(stream[nameAt:sizeAt]), stream[sizeAt+8 : sizeAt+8+size]})
		crc(at, sizeAt+8+size)
		at = sizeAt + 8 + size + 4
	}
	crc(0, at+1)
	if at+5 != len(stream) {
		t.Fatalf("the stream ends at %d, not %d", len(stream), at+5)
	}
	return files
}

// encode makes a stream of any files.
func encode(files ...streamFile) []byte {
	stream := binary.LittleEndian.AppendUint32([]byte("lsmdbckp"), 1)
	seal := func(from int) {
		stream = binary.LittleEndian.AppendUint32(stream, base.Checksum(0, stream[from:]))
	}
	seal(0)
	for _, f := range files {
		at := len(stream)
		stream = append(append(stream, byte(len(f.name))), f.name...)
		stream = append(binary.LittleEndian.AppendUint64(stream, uint64(len(f.contents))), f.contents...)
		seal(at)
	}
	stream = append(stream, 0)
	seal(0)
	return stream
}

// smallStream is that of a database with one table of one key.
func smallStream(t *testing.T) []byte {
	t.Helper()
	d := fixture.NewMachine(vfstest.NewDisk()).OpenDB(t)
	defer d.Close()
	fixture.Must(t, d.Put([]byte("key"), []byte("value")))
	return streamOf(t, d)
}

// mustRefuse fails unless a stream is refused, and nothing of it is left.
func mustRefuse(t *testing.T, what string, disk *vfstest.Disk, stream []byte, want error) {
	t.Helper()
	err := door.Restore(t.Context(), bytes.NewReader(stream), disk, target)
	if !errors.Is(err, want) {
		t.Fatalf("%s: %v", what, err)
	}
	mustBeEmpty(t, what, disk)
}

// TestEveryByte changes, takes away and adds each byte of a stream.
func TestEveryByte(t *testing.T) {
	stream, disk := smallStream(t), vfstest.NewDisk()
	for i := range stream {
		for _, mask := range []byte{0x01, 0x80, 0xff} {
			changed := bytes.Clone(stream)
			changed[i] ^= mask
			mustRefuse(t, fmt.Sprintf("byte %d of %d with %02x", i, len(stream), mask), disk, changed, db.ErrCorrupt)
		}
		mustRefuse(t, fmt.Sprintf("the first %d bytes", i), disk, stream[:i], db.ErrCorrupt)
		mustRefuse(t, fmt.Sprintf("without byte %d", i), disk, slices.Delete(bytes.Clone(stream), i, i+1), db.ErrCorrupt)
		mustRefuse(t, fmt.Sprintf("a zero at %d", i), disk, slices.Insert(bytes.Clone(stream), i, 0), db.ErrCorrupt)
	}
	for _, end := range []string{"\x00", "x", string(stream)} {
		mustRefuse(t, "something behind", disk, append(bytes.Clone(stream), end...), db.ErrCorrupt)
	}
	fixture.Must(t, door.Restore(t.Context(), bytes.NewReader(stream), disk, target))
	found, _ := read(t, disk, target)
	fixture.Must(t, fixture.Differ(fixture.View{"key": "value"}, found))
}

// TestForgedStreams: checksums that fit are not enough.
func TestForgedStreams(t *testing.T) {
	files, disk := decode(t, smallStream(t)), vfstest.NewDisk()
	if len(files) != 3 || files[2].name != "CURRENT" {
		t.Fatalf("the files are %q", files)
	}
	table, manifest, current := files[0], files[1], files[2]
	damaged := streamFile{table.name, bytes.Clone(table.contents)}
	damaged.contents[len(damaged.contents)/2] ^= 1
	for what, f := range map[string][]streamFile{
		"no file":              {},
		"no table":             {manifest, current},
		"no MANIFEST":          {table, current},
		"no CURRENT":           {table, manifest},
		"a damaged table":      {damaged, manifest, current},
		"a short table":        {{table.name, table.contents[1:]}, manifest, current},
		"a table too many":     {table, {"000099.sst", table.contents}, manifest, current},
		"a MANIFEST too many":  {table, manifest, {"MANIFEST-000099", manifest.contents}, current},
		"CURRENT twice":        {table, manifest, current, current},
		"a damaged CURRENT":    {table, manifest, {"CURRENT", []byte("lsmdb-current 1\n")}},
		"a log":                {table, manifest, {"000099.wal", nil}, current},
		"a strange file":       {table, manifest, {"notes.txt", nil}, current},
		"a file outside":       {table, manifest, {"../000099.sst", nil}, current},
		"a table in a subtree": {{"x/" + table.name, table.contents}, manifest, current},
		"LOCK":                 {table, manifest, {"LOCK", nil}, current},
	} {
		mustRefuse(t, what, disk, encode(f...), db.ErrCorrupt)
	}
	mustRefuse(t, "a table twice", disk, encode(table, table, manifest, current), fs.ErrExist)
	newer := bytes.Clone(encode(files...))
	newer[8] = 2
	binary.LittleEndian.PutUint32(newer[12:], base.Checksum(0, newer[:12]))
	mustRefuse(t, "a newer version", disk, newer, db.ErrIncompatible)
	fixture.Must(t, door.Restore(t.Context(), bytes.NewReader(encode(files...)), disk, target))
}

// endless is a reader that never comes to an end, and ends the context after a while.
type endless struct {
	io.Reader
	cancel context.CancelFunc
	reads  int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.reads++; e.reads == 20 {
		e.cancel()
	}
	return e.Reader.Read(p)
}

// TestRestoreEnds: by the end of the context or of the reader.
func TestRestoreEnds(t *testing.T) {
	stream, disk := smallStream(t), vfstest.NewDisk()
	ctx, cancel := context.WithCancel(t.Context())
	slow := &endless{iotest.OneByteReader(bytes.NewReader(stream)), cancel, 0}
	err := door.Restore(ctx, slow, disk, target)
	fixture.WantErr(t, "the context ended", err, context.Canceled)
	if slow.reads > 50 {
		t.Errorf("the context ended at read 20 of %d", slow.reads)
	}
	mustBeEmpty(t, "the context ended", disk)
	err = door.Restore(t.Context(), io.MultiReader(bytes.NewReader(stream[:len(stream)-3]), iotest.ErrReader(errDisk)), disk, target)
	fixture.WantErr(t, "the reader failed", err, errDisk)
	err = door.Restore(t.Context(), io.MultiReader(bytes.NewReader(stream), iotest.ErrReader(errDisk)), disk, target)
	fixture.WantErr(t, "the reader failed at the end", err, errDisk)
	mustBeEmpty(t, "the reader failed", disk)
	fixture.Must(t, door.Restore(t.Context(), iotest.OneByteReader(bytes.NewReader(stream)), disk, target))
}

// TestPlaces: a copy goes where nothing is, or an empty directory; anything else is left
// as it is.
func TestPlaces(t *testing.T) {
	root := t.TempDir()
	d, err := db.Open(filepath.Join(root, "db"), nil)
	fixture.Must(t, err)
	defer d.Close()
	fixture.Must(t, d.Put([]byte("key"), []byte("value")))
	c, err := d.NewCheckpoint(t.Context())
	fixture.Must(t, err)
	defer c.Close()
	var stream bytes.Buffer
	_, err = c.WriteTo(&stream)
	fixture.Must(t, err)
	for name, make := range map[string]func(dir string) error{
		"link":    c.Link,
		"restore": func(dir string) error { return db.Restore(t.Context(), bytes.NewReader(stream.Bytes()), dir) },
	} {
		dir := filepath.Join(root, name)
		fixture.Must(t, os.MkdirAll(filepath.Join(dir, "empty"), 0o700))
		for _, place := range []string{"empty", "absent", "some/new/parents"} {
			fixture.Must(t, make(filepath.Join(dir, place)))
			mustHoldKey(t, filepath.Join(dir, place))
		}
		fixture.Must(t, os.MkdirAll(filepath.Join(dir, "full", "directory"), 0o700))
		fixture.Must(t, os.WriteFile(filepath.Join(dir, "file"), []byte("text"), 0o600))
		before := fixture.Picture(t, dir)
		for _, place := range []string{"full", "absent", "file", "file/under"} {
			if err := make(filepath.Join(dir, place)); err == nil {
				t.Errorf("%s into %s went well", name, place)
			}
		}
		fixture.WantErr(t, "a directory that is not empty", make(filepath.Join(dir, "full")), fs.ErrExist)
		fixture.WantErr(t, "the database itself", make(filepath.Join(root, "db")), fs.ErrExist)
		if err := make(""); err == nil {
			t.Errorf("%s into no directory went well", name)
		}
		if after := fixture.Picture(t, dir); after != before {
			t.Errorf("%s changed what was there:\n%s\nbefore:\n%s", name, after, before)
		}
	}
}

// mustHoldKey fails unless a database of the system holds the key of TestPlaces.
func mustHoldKey(t *testing.T, dir string) {
	t.Helper()
	report, err := db.Verify(t.Context(), dir, nil)
	fixture.Must(t, err)
	d, err := db.Open(dir, &db.Options{MustExist: true})
	fixture.Must(t, err)
	if value, err := d.Get([]byte("key")); string(value) != "value" || !report.OK() {
		t.Errorf("%s: %q, %v, %+v", dir, value, err, report.Problems)
	}
	fixture.Must(t, d.Close())
}

// TestSharedFiles: on one file system the copy has the database's own tables, also when the
// directory was moved since; then they are copied, since no path leads to them.
func TestSharedFiles(t *testing.T) {
	root := t.TempDir()
	house, elsewhere := filepath.Join(root, "db"), filepath.Join(root, "moved")
	d, err := db.Open(house, nil)
	fixture.Must(t, err)
	defer d.Close()
	fixture.Must(t, d.Put([]byte("key"), []byte("value")))
	c, err := d.NewCheckpoint(t.Context())
	fixture.Must(t, err)
	defer c.Close()
	var table string
	for f := range c.Files() {
		if filepath.Ext(f.Name) == ".sst" {
			table = f.Name
		}
	}
	shared := func(dir string) bool {
		a, err := os.Stat(filepath.Join(elsewhere, table))
		fixture.Must(t, err)
		b, err := os.Stat(filepath.Join(dir, table))
		fixture.Must(t, err)
		return os.SameFile(a, b)
	}
	first, second := filepath.Join(root, "first"), filepath.Join(root, "second")
	fixture.Must(t, c.Link(first))
	fixture.Must(t, os.Rename(house, elsewhere))
	fixture.Must(t, os.Mkdir(house, 0o700))
	fixture.Must(t, os.WriteFile(filepath.Join(house, table), []byte("another file"), 0o600))
	fixture.Must(t, c.Link(second))
	if !shared(first) || shared(second) {
		t.Errorf("shared with the database: first %v, second %v", shared(first), shared(second))
	}
	mustHoldKey(t, first)
	mustHoldKey(t, second)
}

// TestInMemory: a database in memory is copied into a real directory.
func TestInMemory(t *testing.T) {
	d, err := db.Open("", &db.Options{InMemory: true})
	fixture.Must(t, err)
	fixture.Must(t, d.Put([]byte("key"), []byte("value")))
	c, err := d.NewCheckpoint(t.Context())
	fixture.Must(t, err)
	linked, restored := filepath.Join(t.TempDir(), "a", "b"), t.TempDir()
	fixture.Must(t, c.Link(linked))
	fixture.Must(t, db.Restore(t.Context(), bytes.NewReader(streamOf(t, d)), restored))
	fixture.Must(t, errors.Join(c.Close(), d.Close()))
	mustHoldKey(t, linked)
	mustHoldKey(t, restored)
}

// FuzzRestore: whatever comes, Restore makes a database that verifies, or leaves nothing. The
// checksums are made to fit, so that what lies behind them is met.
func FuzzRestore(f *testing.F) {
	d, err := db.Open("", &db.Options{InMemory: true})
	fixture.Must(f, err)
	fixture.Must(f, errors.Join(d.Put([]byte("key"), []byte("value")), d.Flush(f.Context())))
	stream := streamOf(f, d)
	fixture.Must(f, d.Close())
	f.Add(stream[16:len(stream)-5], true)
	f.Add(stream, false)
	f.Fuzz(func(t *testing.T, data []byte, framed bool) {
		if framed {
			var files []streamFile
			for len(data) > 10 && int(data[0])+9 <= len(data) {
				name, rest := string(data[1:1+data[0]]), data[1+int(data[0]):]
				size := min(binary.LittleEndian.Uint64(rest), uint64(len(rest)-8))
				files = append(files, streamFile{name, rest[8 : 8+size]})
				data = rest[8+size:]
				data = data[min(4, len(data)):] // its checksum
			}
			data = encode(files...)
		}
		disk := vfstest.NewDisk()
		if err := door.Restore(t.Context(), bytes.NewReader(data), disk, target); err != nil {
			mustBeEmpty(t, "a fuzzed stream", disk)
			return
		}
		if report, err := fixture.VerifyOn(disk, target); err != nil || !report.OK() {
			t.Errorf("restored, and then %+v, %v", report, err)
		}
	})
}

// TestRestorePanics: a panic of the reader passes through, and the directory is empty, and
// free.
func TestRestorePanics(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	stream := smallStream(t)
	func() {
		defer func() {
			if r := recover(); r != "the reader's" {
				t.Errorf("recovered %v", r)
			}
		}()
		_ = db.Restore(t.Context(), io.MultiReader(bytes.NewReader(stream[:len(stream)/2]), panicking{}), dir)
	}()
	if names, err := os.ReadDir(dir); err == nil && len(names) > 0 {
		t.Errorf("left over: %v", names)
	}
	fixture.Must(t, db.Restore(t.Context(), bytes.NewReader(stream), dir))
}

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("the reader's") }
