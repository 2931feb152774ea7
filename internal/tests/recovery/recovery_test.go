// Package recovery opens what killed and closed processes left, and interrupts that in
// every place. It consists of tests.
package recovery

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
	"lsmdb/manifest"
	"lsmdb/wal"
)

func TestRecoveryFindsEverything(t *testing.T) {
	f := fixture.NewFilled(t, db.Sync)
	m := fixture.MustHold(t, f.Disk(t), f.Want)
	r := m.Recovery
	if m.Sequence != f.Sequence || r.Segments != 3 || r.Operations != uint64(f.Logged)+1 || r.CleanClose || r.Created || r.TornBytes != 0 || r.TablesWritten == 0 || r.FilesRemoved == 0 {
		t.Errorf("sequence %d, want %d; %+v", m.Sequence, f.Sequence, r)
	}
}

func TestDataWithoutCurrent(t *testing.T) {
	text := []byte("somebody's data")
	fixture.MustRefuse(t, "table", fixture.Files{"000007.sst": text}, db.ErrCorrupt, "CURRENT")
	fixture.MustRefuse(t, "WAL", fixture.Files{"000007.wal": text}, db.ErrCorrupt, "CURRENT")
	fixture.MustRefuse(t, "MANIFEST", fixture.Files{"MANIFEST-000002": text}, db.ErrCorrupt, "CURRENT")
	fixture.MustRefuse(t, "first MANIFEST and WAL", fixture.Files{"MANIFEST-000001": text, "000002.wal": text}, db.ErrCorrupt, "CURRENT")
	full := fixture.NewClosed(t)
	fixture.MustRefuse(t, "everything else", full.With("CURRENT", nil), db.ErrCorrupt, "CURRENT")
}

func TestForeignFilesStay(t *testing.T) {
	foreign := fixture.Files{"notes.txt": []byte("mine"), "7.sst": []byte("mine"), "0000000007.wal": []byte("mine"), "x.tmp": nil, "MANIFEST-1": []byte("mine"), "CURRENT.old": []byte("mine")}
	foreign["x.tmp"] = []byte("mine")
	disk := foreign.With("CURRENT.tmp", []byte("half a CURR")).With("MANIFEST-000001", []byte("half a MANIFEST")).Disk(t)
	d, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{MemtableBytes: 1}))
	fixture.Must(t, err)
	fixture.Must(t, d.Put([]byte("k"), []byte("v")))
	fixture.Must(t, d.Close())
	fixture.MustHold(t, disk, fixture.View{"k": "v"})
	left := fixture.FilesOf(t, disk, fixture.Dir)
	for name, data := range foreign {
		if !bytes.Equal(left[name], data) {
			t.Errorf("%s was touched: %q", name, left[name])
		}
	}
	if left["CURRENT.tmp"] != nil {
		t.Error("our own temporary file was left")
	}
}

func TestTablesMustBeThere(t *testing.T) {
	f := fixture.NewClosed(t)
	for _, name := range f.Named(".sst") {
		fixture.MustRefuse(t, "missing table", f.With(name, nil), db.ErrCorrupt, name)
		fixture.MustRefuse(t, "shorter table", f.With(name, f.Files[name][:len(f.Files[name])-1]), db.ErrCorrupt, name)
		fixture.MustRefuse(t, "longer table", f.With(name, append(slices.Clone(f.Files[name]), 0)), db.ErrCorrupt, name)
	}
}

func TestUnlistedFilesGoLast(t *testing.T) {
	f := fixture.NewFilled(t, db.Sync)
	leftovers := fixture.Files{"000900.sst": []byte("x"), "000901.wal": nil, "MANIFEST-000902": []byte("x"), "CURRENT.tmp": []byte("x"), "000903.sst.tmp": []byte("x")}
	leftovers["000901.wal"] = make([]byte, 64<<10) // prepared, never used
	all := f.Files
	for name, data := range leftovers {
		all = all.With(name, data)
	}
	name := f.Manifest(t)
	fixture.MustRefuse(t, "bad MANIFEST", all.Flipped(name, 40), db.ErrCorrupt, name)
	disk := all.Disk(t)
	m := fixture.MustHold(t, disk, f.Want)
	left := fixture.FilesOf(t, disk, fixture.Dir)
	for name := range leftovers {
		if left[name] != nil {
			t.Errorf("%s is still there", name)
		}
	}
	if wals := left.Named(".wal"); len(wals) != 1 || fixture.NumberOf(wals[0]) <= 903 || m.Sequence != f.Sequence {
		t.Errorf("segments %v, but 903 was taken; sequence %d, want %d", wals, m.Sequence, f.Sequence)
	}
}

// TestEveryCutAfterCleanClose cuts and removes every file: what was closed properly is
// there whole or not opened at all.
func TestEveryCutAfterCleanClose(t *testing.T) {
	f := fixture.NewClosed(t)
	for name, data := range f.Files {
		if name == "LOCK" {
			continue
		}
		fixture.MustRefuse(t, "removed "+name, f.With(name, nil), db.ErrCorrupt, name)
		for n := len(data) - 1; n >= 0; n -= 1 + n/10 {
			fixture.MustRefuse(t, fmt.Sprintf("%s cut to %d of %d", name, n, len(data)), f.With(name, data[:n:n]), db.ErrCorrupt, name)
		}
	}
	m := fixture.MustHold(t, f.With("LOCK", nil).Disk(t), f.Want)
	if !m.Recovery.CleanClose {
		t.Error("the clean close was not noticed")
	}
}

// TestEveryFlip turns bits over: an open or a read must notice, or everything is
// right all the same.
func TestEveryFlip(t *testing.T) {
	for what, f := range map[string]fixture.Filled{"closed": fixture.NewClosed(t), "killed": fixture.NewFilled(t, db.Sync)} {
		step := max(1, totalBytes(f.Files)/300)
		for name, data := range f.Files {
			if name == "LOCK" {
				continue
			}
			for i := 0; i < len(data); i += step {
				if name == f.Named(".wal")[0] || len(data) < 4<<10 {
					i -= step * 3 / 4 // closer together
				}
				if i < 0 {
					i = 0
				}
				if last := f.Named(".wal"); what == "killed" && name == last[len(last)-1] && i < used(data) && i > used(data)-700 {
					continue // nothing proves that the last record was ever durable
				}
				mustNotice(t, fmt.Sprintf("%s, bit in byte %d of %s", what, i, name), f, f.Flipped(name, i), name)
			}
		}
	}
}

// used returns where the zeros begin that a segment was prepared with.
func used(segment []byte) int { return len(bytes.TrimRight(segment, "\x00")) }

func totalBytes(f fixture.Files) (sum int) {
	for _, data := range f {
		sum += len(data)
	}
	return sum
}

// mustNotice opens and reads a damaged database, which may fail with an error that
// names the file, but must not show anything wrong.
func mustNotice(t *testing.T, what string, f fixture.Filled, damaged fixture.Files, file string) {
	t.Helper()
	d, err := db.Open(fixture.Dir, fixture.On(damaged.Disk(t), db.Options{MemtableBytes: 1, ReadOnly: true}))
	if err == nil {
		defer d.Close()
		var it *db.Iterator
		if it, err = d.NewIterator(nil); err == nil {
			found := fixture.View{}
			for key, value := range it.All() {
				found[string(key)] = string(value)
			}
			if err = it.Close(); err == nil {
				if err := fixture.Differ(f.Want, found); err != nil {
					t.Errorf("%s: not noticed: %v (%+v)", what, err, d.Metrics().Recovery)
				}
				return
			}
		}
	}
	// A MANIFEST without its last edit needs files that were deleted after it: one
	// of them is what is missed.
	named := strings.Contains(err.Error(), file) || strings.HasPrefix(file, "MANIFEST")
	if !errors.Is(err, db.ErrCorrupt) && !errors.Is(err, db.ErrIncompatible) || !named {
		t.Errorf("%s: %v", what, err)
	}
}

// TestTornTail cuts the last segment of a killed process anywhere: what comes back
// is a prefix, and the metrics tell what was cut off.
func TestTornTail(t *testing.T) {
	f := fixture.NewFilled(t, db.NoSync)
	wals := f.Named(".wal")
	last := wals[len(wals)-1]
	data := f.Files[last]
	end := used(data)
	for _, cut := range []int{end, end - 1, end - 300, end * 3 / 4, end / 2, end / 4, 100, 40} {
		for _, zeros := range []bool{false, true} { // shorter, or not written as far
			torn := slices.Clone(data[:cut])
			if zeros {
				torn = append(torn, make([]byte, len(data)-cut)...)
			}
			disk := f.With(last, torn).Disk(t)
			for _, readOnly := range []bool{true, false} {
				d, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{MemtableBytes: 1, ReadOnly: readOnly}))
				fixture.Must(t, err)
				m := d.Metrics()
				found := fixture.Contents(t, d)
				fixture.Must(t, d.Close())
				for i := range f.Logged {
					key := fmt.Sprintf("log%05d", i)
					_, ok := found[key]
					if gone := uint64(f.Logged-i) <= f.Sequence-m.Sequence; gone == ok {
						t.Fatalf("cut at %d of %d: sequence %d of %d, but %s there: %v", cut, end, m.Sequence, f.Sequence, key, ok)
					}
				}
				if cut == end && (m.Recovery.TornBytes != 0 || m.Sequence != f.Sequence) || cut == end-1 && m.Recovery.TornBytes < 500 {
					t.Errorf("cut at %d of %d: %+v", cut, end, m.Recovery)
				}
			}
		}
	}
}

// TestDamageBelowTheDurableMark damages records that later ones prove to have been
// synced, and segments that have a successor.
func TestDamageBelowTheDurableMark(t *testing.T) {
	f := fixture.NewFilled(t, db.Sync)
	for i, name := range f.Named(".wal") {
		data := f.Files[name]
		end := used(data)
		limit := end
		if i == 2 {
			limit = end - 700 // nothing proves that the last record was durable
		}
		for _, offset := range []int{30, 500, limit / 2, limit - 1} {
			damaged := f.Flipped(name, offset)
			what := fmt.Sprintf("damage at %d of %d in %s", offset, end, name)
			fixture.MustRefuse(t, what, damaged, db.ErrCorrupt, name)
			_, err := db.Open(fixture.Dir, fixture.On(damaged.Disk(t), db.Options{MemtableBytes: 1, ReadOnly: true}))
			damage, ok := errors.AsType[*db.CorruptionError](err)
			if !ok || damage.Offset < 0 || damage.Offset > int64(offset) || damage.Offset < int64(offset)-600 {
				t.Errorf("%s: %v", what, err)
			}
			zeroed := slices.Clone(data)
			clear(zeroed[offset:min(offset+100, end)])
			fixture.MustRefuse(t, "zeros: "+what, f.With(name, zeroed), db.ErrCorrupt, name)
		}
		if i < 2 {
			fixture.MustRefuse(t, "missing segment", f.With(name, nil), db.ErrCorrupt, name)
			fixture.MustRefuse(t, "empty segment", f.With(name, []byte{}), db.ErrCorrupt, name)
			fixture.MustRefuse(t, "segment that was cut", f.With(name, data[:end/2]), db.ErrCorrupt, name)
		}
	}
}

// TestSegmentsOutOfPlace puts segments where they do not belong.
func TestSegmentsOutOfPlace(t *testing.T) {
	f := fixture.NewFilled(t, db.Sync)
	wals := f.Named(".wal")
	a, b := f.Files[wals[0]], f.Files[wals[1]]
	fixture.MustRefuse(t, "swapped segments", f.With(wals[0], b).With(wals[1], a), db.ErrCorrupt, ".wal"[:0])
	fixture.MustRefuse(t, "segment under a later number", f.With("000777.wal", a), db.ErrCorrupt, "000777.wal")
	tables := f.Named(".sst")
	if a, b := f.Files[tables[0]], f.Files[tables[1]]; len(a) == len(b) {
		mustNotice(t, "swapped tables", f, f.With(tables[0], b).With(tables[1], a), ".sst")
	}
}

func TestFormatsOfTheFuture(t *testing.T) {
	f := fixture.NewFilled(t, db.Sync)
	text := fmt.Sprintf("lsmdb-current 2\nmanifest %d\nnews\n", fixture.NumberOf(f.Manifest(t)))
	text += fmt.Sprintf("checksum %08x\n", base.Checksum(0, []byte(text)))
	fixture.MustRefuse(t, "CURRENT", f.With("CURRENT", []byte(text)), db.ErrIncompatible, "CURRENT")

	name := f.Manifest(t)
	edit := (&manifest.Edit{}).AppendTo(nil)
	fixture.MustRefuse(t, "MANIFEST", f.With(name, logFile(t, name, wal.Previous{}, append(edit, 0x7f, 0x01, 0x00))), db.ErrIncompatible, name)

	m := fixture.NewMachine(f.Disk(t))
	d := m.OpenDB(t)
	fixture.Must(t, d.Put([]byte("k"), []byte("v")))
	end := wal.Previous{Segment: d.Metrics().WAL.Segment}
	m.Kill(d)
	_, end.End = fixture.LastRecord(t, m.Disk, base.WALName(end.Segment)) // with or without a mark
	record := base.GroupHeader{First: base.Seq(f.Sequence) + 2, Count: 1}.AppendTo(nil)
	record = append(record, byte(base.KindSetExpiring)+1, 1, 'a', 1, 'b')
	fixture.MustRefuse(t, "operation", fixture.FilesOf(t, m.Disk, fixture.Dir).With("009999.wal", logFile(t, "009999.wal", end, record)), db.ErrIncompatible, "009999.wal")
}

// logFile writes a log of one record.
func logFile(t *testing.T, name string, previous wal.Previous, record []byte) []byte {
	t.Helper()
	m := vfstest.NewDisk()
	f, err := m.Create("/" + name)
	fixture.Must(t, err)
	w, err := wal.NewWriter(f, name, fixture.NumberOf(name), previous)
	fixture.Must(t, err)
	fixture.Must(t, errors.Join(w.Append(record), w.Sync(), w.Close()))
	return fixture.FilesOf(t, m, "/")[name]
}
