package stages

import (
	"io"
	"slices"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
	"lsmdb/sstable"
	"lsmdb/wal"
)

// recovered reads what the files hold, as the next open would: the tree and, newer,
// the log from the oldest needed segment on.
func recovered(t *testing.T, fsys vfs.FS) map[string]string {
	t.Helper()
	current, err := manifest.ReadCurrent(fsys, testDir)
	must(t, err)
	state, facts, err := manifest.Load(fsys, testDir, current.Manifest)
	must(t, err)
	if c := current.Clean; c != nil && (!facts.End.Sealed || facts.End.Offset != c.ManifestEnd) {
		t.Errorf("the clean mark %+v does not fit MANIFEST's end %+v", c, facts.End)
	}
	if c := current.Clean; c != nil {
		if info, err := fsys.Stat(base.WALPath(testDir, c.WAL)); err != nil || info.SizeBytes != c.WALEnd {
			t.Errorf("the clean mark %+v does not fit the WAL's %d bytes, %v", c, info.SizeBytes, err)
		}
	}
	newest := make(map[string]base.Seq)
	values := make(map[string]string)
	note := func(key, value []byte, seq base.Seq, kind base.Kind) {
		if seq <= newest[string(key)] {
			return
		}
		newest[string(key)] = seq
		delete(values, string(key))
		if kind == base.KindSet {
			values[string(key)] = string(value)
		}
	}
	for _, tables := range state.Version.Levels {
		for _, meta := range tables {
			readTable(t, fsys, meta, note)
		}
	}
	names, err := fsys.List(testDir)
	must(t, err)
	for _, name := range names {
		if kind, number := base.ParseFileName(name); kind == base.FileWAL && number >= state.OldestWAL {
			for _, record := range readSegment(t, fsys, number) {
				noteGroup(t, record, note)
			}
		}
	}
	return values
}

func readTable(t *testing.T, fsys vfs.FS, meta *manifest.TableMeta, note func(key, value []byte, seq base.Seq, kind base.Kind)) {
	t.Helper()
	path := base.TablePath(testDir, meta.Number)
	table, err := sstable.Open(fsys, path, sstable.ReaderOptions{SizeBytes: meta.SizeBytes, Identity: meta.Identity})
	must(t, err)
	defer table.Close()
	it := table.NewIterator(sstable.IteratorOptions{})
	for ok := it.First(); ok; ok = it.Next() {
		note(it.Key().UserKey(), it.Value(), it.Key().Seq(), it.Key().Kind())
	}
	must(t, it.Close())
}

// readSegment returns the records of a WAL segment.
func readSegment(t *testing.T, fsys vfs.FS, number uint64) (records [][]byte) {
	t.Helper()
	path := base.WALPath(testDir, number)
	f, err := fsys.Open(path)
	must(t, err)
	defer f.Close()
	reader, err := wal.Open(f, path, number)
	must(t, err)
	for {
		record, _, err := reader.Next()
		if err == io.EOF {
			return records
		}
		must(t, err)
		records = append(records, slices.Clone(record))
	}
}

func noteGroup(t *testing.T, record []byte, note func(key, value []byte, seq base.Seq, kind base.Kind)) {
	t.Helper()
	header, ops, err := base.DecodeGroup(record)
	must(t, err)
	for i := base.Seq(0); len(ops) > 0; i++ {
		op, rest, err := base.DecodeOp(ops)
		must(t, err)
		note(op.Key, op.Value, header.First+i, op.Kind)
		ops = rest
	}
}
