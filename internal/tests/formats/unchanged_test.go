//go:build unix

package formats

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
	"lsmdb/sstable"
	"lsmdb/wal"
)

// TestWrittenAsBefore writes again what lies in the databases of the first version. They use
// nothing that came later, so not one byte may be another.
func TestWrittenAsBefore(t *testing.T) {
	tables, edits, groups := 0, 0, 0
	for _, g := range golden {
		dir := filepath.Join(goldenDir, g.name)
		names, err := vfs.OS.List(dir)
		fixture.Must(t, err)
		for _, name := range names {
			path := filepath.Join(dir, name)
			switch kind, number := base.ParseFileName(name); kind {
			case base.FileTable:
				tables++
				tableAsBefore(t, path)
			case base.FileManifest:
				edits += manifestAsBefore(t, path, number)
			case base.FileWAL:
				groups += groupsAsBefore(t, path, number)
			}
		}
	}
	if tables < 10 || edits < 10 || groups < 20 {
		t.Errorf("%d tables, %d edits, %d groups", tables, edits, groups)
	}
}

func tableAsBefore(t *testing.T, path string) {
	t.Helper()
	table, err := sstable.Open(vfs.OS, path, sstable.ReaderOptions{})
	fixture.Must(t, err)
	defer table.Close()
	mem := vfs.NewMem()
	file, err := mem.Create("again")
	fixture.Must(t, err)
	w := sstable.NewWriter(file, "again", sstable.WriterOptions{FilterBitsPerKey: 10, Compression: sstable.CompressionSnappy, Identity: table.Properties().Identity})
	it := table.NewIterator(sstable.IteratorOptions{})
	for ok := it.First(); ok; ok = it.Next() {
		fixture.Must(t, w.Add(it.Key(), it.Value()))
	}
	fixture.Must(t, it.Err())
	_, err = w.Finish()
	fixture.Must(t, err)
	mustEqual(t, path, contents(t, mem, "again"))
}

func manifestAsBefore(t *testing.T, path string, number uint64) (edits int) {
	t.Helper()
	file, err := vfs.OS.Open(path)
	fixture.Must(t, err)
	defer file.Close()
	r, err := wal.Open(file, path, number)
	fixture.Must(t, err)
	mem := vfs.NewMem()
	var log *manifest.Log
	for ; ; edits++ {
		record, _, err := r.Next()
		if err == io.EOF {
			break
		}
		fixture.Must(t, err)
		e, err := manifest.DecodeEdit(record)
		fixture.Must(t, err)
		if log == nil {
			state, err := manifest.State{}.Apply(e)
			fixture.Must(t, err)
			log, err = manifest.CreateLog(mem, "", number, state)
			fixture.Must(t, err)
			continue
		}
		fixture.Must(t, log.Append(e))
	}
	again := contents(t, mem, base.ManifestName(number))[:log.Offset()]
	before, err := os.ReadFile(path)
	fixture.Must(t, err)
	if !bytes.HasPrefix(before, again) {
		t.Errorf("%s: %d edits are written in another way", path, edits)
	}
	return edits
}

func groupsAsBefore(t *testing.T, path string, number uint64) (groups int) {
	t.Helper()
	file, err := vfs.OS.Open(path)
	fixture.Must(t, err)
	defer file.Close()
	r, err := wal.Open(file, path, number)
	fixture.Must(t, err)
	for ; ; groups++ {
		payload, _, err := r.Next()
		if err == io.EOF {
			return groups
		}
		fixture.Must(t, err)
		header, ops, err := base.DecodeGroup(payload)
		fixture.Must(t, err)
		again := header.AppendTo(nil)
		for len(ops) > 0 {
			var op base.Op
			op, ops, err = base.DecodeOp(ops)
			fixture.Must(t, err)
			again = base.AppendOp(again, op.Kind, op.Key, op.Value, 0)
		}
		if !bytes.Equal(again, payload) {
			t.Errorf("%s: group %d is written in another way", path, groups)
		}
	}
}

func contents(t *testing.T, fsys vfs.Files, name string) []byte {
	t.Helper()
	f, err := fsys.Open(name)
	fixture.Must(t, err)
	defer f.Close()
	size, err := f.Size()
	fixture.Must(t, err)
	data := make([]byte, size)
	if _, err := f.ReadAt(data, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return data
}

func mustEqual(t *testing.T, path string, again []byte) {
	t.Helper()
	before, err := os.ReadFile(path)
	fixture.Must(t, err)
	if !bytes.Equal(before, again) {
		t.Errorf("%s: %d bytes, written again %d", path, len(before), len(again))
	}
}
