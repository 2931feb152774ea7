package db

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"lsmdb/internal/base"
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
	for kind, f := range map[string]filled{"closed": newClosed(t), "killed": newFilled(t, Sync)} {
		manifest, logs := f.manifest(t), f.named(".wal")
		last := logs[len(logs)-1]
		for _, version := range []uint32{1, 2, 1 << 31} {
			for _, c := range []struct {
				file string
				data []byte
			}{
				{"CURRENT", newerCurrent(f.files["CURRENT"], version)},
				{manifest, newerLog(f.files[manifest], numberOf(manifest), version)},
				{last, newerLog(f.files[last], numberOf(last), version)},
			} {
				if version == 1 {
					if !bytes.Equal(c.data, f.files[c.file]) {
						t.Errorf("%s of the %s database is not rebuilt as it was", c.file, kind)
					}
					continue
				}
				changed := f.with(c.file, c.data)
				mustRefuse(t, kind, changed, ErrIncompatible, c.file)
				_, err := Open(at, &Options{ReadOnly: true, fs: changed.disk(t)})
				if err == nil || !strings.Contains(err.Error(), fmt.Sprint("version ", version)) || errors.Is(err, ErrCorrupt) {
					t.Errorf("%s of the %s database: %v, want version %d", c.file, kind, err, version)
				}
			}
		}
	}
}

// TestNewerTable: tables are opened when they are read. Reads of the newer one fail,
// compaction leaves it as it is, Verify tells.
func TestNewerTable(t *testing.T) {
	f := newClosed(t)
	name := f.named(".sst")[0]
	if !bytes.Equal(newerTable(f.files[name], 1), f.files[name]) {
		t.Fatal("the footer is not rebuilt as it was")
	}
	changed := f.with(name, newerTable(f.files[name], 2))
	disk := changed.disk(t)
	d, err := Open(at, &Options{MemtableBytes: 1, fs: disk})
	must(t, err)
	politely := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrIncompatible) || errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "version 2") {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused := 0
	for key, value := range f.want {
		got, err := d.Get([]byte(key))
		if err != nil {
			politely("Get", err)
			refused++
		} else if string(got) != value {
			t.Errorf("%s: %s", key, short(string(got)))
		}
	}
	if refused == 0 {
		t.Error("nobody read the newer table")
	}
	it, err := d.NewIterator(nil)
	must(t, err)
	for range it.All() {
	}
	politely("scan", it.Close())
	must(t, d.Put([]byte("table00000"), []byte("new")))
	politely("Compact", d.Compact(t.Context(), nil, nil))
	d.Close()
	if !bytes.Equal(filesOf(t, disk, at)[name], changed[name]) {
		t.Error("the newer table is gone or changed")
	}
	report, err := verify(t.Context(), changed.disk(t), at, nil)
	must(t, err)
	if len(report.Problems) != 1 || report.Problems[0].File != name || !strings.Contains(report.Problems[0].Detail, "version 2") {
		t.Errorf("Verify: %+v", report.Problems)
	}
}
