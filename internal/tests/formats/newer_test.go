// Package formats opens files that this version did not write: those of the first
// version and of the future, crafted, planted and random ones. It consists of tests.
package formats

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
)

// sealChunk gives the chunk at offset of a log a checksum that holds again.
func sealChunk(log []byte, segment uint64, offset int) {
	length := int(binary.LittleEndian.Uint16(log[offset+4:]))
	place := binary.LittleEndian.AppendUint64(nil, segment)
	place = binary.LittleEndian.AppendUint64(place, uint64(offset))
	sum := base.Checksum(base.Checksum(0, place), log[offset+4:offset+7+length])
	binary.LittleEndian.PutUint32(log[offset:], sum)
}

// newerLog returns a log whose header has a version of the future.
func newerLog(log []byte, segment uint64, version uint32) []byte {
	log = bytes.Clone(log)
	binary.LittleEndian.PutUint32(log[7:], version)
	sealChunk(log, segment, 0)
	return log
}

// newerTable returns a table whose footer has a version of the future.
func newerTable(table []byte, version uint32) []byte {
	table = bytes.Clone(table)
	at := len(table) - 32
	footer := table[at:]
	binary.LittleEndian.PutUint32(footer[16:], version)
	place := binary.LittleEndian.AppendUint64(nil, binary.LittleEndian.Uint64(footer[8:]))
	place = binary.LittleEndian.AppendUint64(place, uint64(at))
	binary.LittleEndian.PutUint32(footer[20:], base.Checksum(base.Checksum(0, place), footer[:20]))
	return table
}

// newerCurrent returns a CURRENT with a version of the future.
func newerCurrent(current []byte, version uint32) []byte {
	text, _, _ := strings.Cut(string(current), "checksum ")
	text = strings.Replace(text, "lsmdb-current 1\n", fmt.Sprintf("lsmdb-current %d\n", version), 1)
	return fmt.Appendf(nil, "%schecksum %08x\n", text, base.Checksum(0, []byte(text)))
}

// TestNewerVersions puts a version of the future into each kind of file: what needs
// the file is refused, by the file's name and the number, as a matter of version and
// not of damage, and nothing is touched. The same bytes with this version's number
// open, so it is the number alone that is refused.
func TestNewerVersions(t *testing.T) {
	for kind, f := range map[string]fixture.Filled{"closed": fixture.NewClosed(t), "killed": fixture.NewFilled(t, db.Sync)} {
		manifest, logs := f.Manifest(t), f.Named(".wal")
		last := logs[len(logs)-1]
		for _, version := range []uint32{1, 2, 1 << 31} {
			for _, c := range []struct {
				file string
				data []byte
			}{
				{"CURRENT", newerCurrent(f.Files["CURRENT"], version)},
				{manifest, newerLog(f.Files[manifest], fixture.NumberOf(manifest), version)},
				{last, newerLog(f.Files[last], fixture.NumberOf(last), version)},
			} {
				if version == 1 {
					if !bytes.Equal(c.data, f.Files[c.file]) {
						t.Errorf("%s of the %s database is not rebuilt as it was", c.file, kind)
					}
					continue
				}
				changed := f.With(c.file, c.data)
				fixture.MustRefuse(t, kind, changed, db.ErrIncompatible, c.file)
				_, err := db.Open(fixture.Dir, fixture.On(changed.Disk(t), db.Options{ReadOnly: true}))
				if err == nil || !strings.Contains(err.Error(), fmt.Sprint("version ", version)) || errors.Is(err, db.ErrCorrupt) {
					t.Errorf("%s of the %s database: %v, want version %d", c.file, kind, err, version)
				}
			}
		}
	}
}

// TestNewerTable: tables are opened when they are read. Reads of the newer one fail,
// compaction leaves it as it is, Verify tells.
func TestNewerTable(t *testing.T) {
	f := fixture.NewClosed(t)
	name := f.Named(".sst")[0]
	if !bytes.Equal(newerTable(f.Files[name], 1), f.Files[name]) {
		t.Fatal("the footer is not rebuilt as it was")
	}
	changed := f.With(name, newerTable(f.Files[name], 2))
	disk := changed.Disk(t)
	d, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{MemtableBytes: 1}))
	fixture.Must(t, err)
	politely := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, db.ErrIncompatible) || errors.Is(err, db.ErrCorrupt) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "version 2") {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused := 0
	for key, value := range f.Want {
		got, err := d.Get([]byte(key))
		if err != nil {
			politely("Get", err)
			refused++
		} else if string(got) != value {
			t.Errorf("%s: %s", key, fixture.Short(string(got)))
		}
	}
	if refused == 0 {
		t.Error("nobody read the newer table")
	}
	it, err := d.NewIterator(nil)
	fixture.Must(t, err)
	for range it.All() {
	}
	politely("scan", it.Close())
	fixture.Must(t, d.Put([]byte("table00000"), []byte("new")))
	politely("Compact", d.Compact(t.Context(), nil, nil))
	d.Close()
	if !bytes.Equal(fixture.FilesOf(t, disk, fixture.Dir)[name], changed[name]) {
		t.Error("the newer table is gone or changed")
	}
	report, err := fixture.VerifyOn(changed.Disk(t), fixture.Dir)
	fixture.Must(t, err)
	if len(report.Problems) != 1 || report.Problems[0].File != name || !strings.Contains(report.Problems[0].Detail, "version 2") {
		t.Errorf("Verify: %+v", report.Problems)
	}
}
