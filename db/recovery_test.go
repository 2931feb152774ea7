package db

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
	"lsmdb/manifest"
	"lsmdb/wal"
)

func TestRecoveryFindsEverything(t *testing.T) {
	f := newFilled(t, Sync)
	m := mustHold(t, f.disk(t), f.want)
	r := m.Recovery
	if m.Sequence != f.sequence || r.Segments != 3 || r.Operations != uint64(f.logged)+1 || r.CleanClose || r.Created || r.TornBytes != 0 || r.TablesWritten == 0 || r.FilesRemoved == 0 {
		t.Errorf("sequence %d, want %d; %+v", m.Sequence, f.sequence, r)
	}
}

func TestDataWithoutCurrent(t *testing.T) {
	text := []byte("somebody's data")
	mustRefuse(t, "table", files{"000007.sst": text}, ErrCorrupt, "CURRENT")
	mustRefuse(t, "WAL", files{"000007.wal": text}, ErrCorrupt, "CURRENT")
	mustRefuse(t, "MANIFEST", files{"MANIFEST-000002": text}, ErrCorrupt, "CURRENT")
	mustRefuse(t, "first MANIFEST and WAL", files{"MANIFEST-000001": text, "000002.wal": text}, ErrCorrupt, "CURRENT")
	full := newClosed(t)
	mustRefuse(t, "everything else", full.with("CURRENT", nil), ErrCorrupt, "CURRENT")
}

func TestForeignFilesStay(t *testing.T) {
	foreign := files{"notes.txt": []byte("mine"), "7.sst": []byte("mine"), "0000000007.wal": []byte("mine"), "x.tmp": nil, "MANIFEST-1": []byte("mine"), "CURRENT.old": []byte("mine")}
	foreign["x.tmp"] = []byte("mine")
	disk := foreign.with("CURRENT.tmp", []byte("half a CURR")).with("MANIFEST-000001", []byte("half a MANIFEST")).disk(t)
	d, err := Open(at, &Options{MemtableBytes: 1, fs: disk})
	must(t, err)
	must(t, d.Put([]byte("k"), []byte("v")))
	must(t, d.Close())
	mustHold(t, disk, view{"k": "v"})
	left := filesOf(t, disk, at)
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
	f := newClosed(t)
	for _, name := range f.named(".sst") {
		mustRefuse(t, "missing table", f.with(name, nil), ErrCorrupt, name)
		mustRefuse(t, "shorter table", f.with(name, f.files[name][:len(f.files[name])-1]), ErrCorrupt, name)
		mustRefuse(t, "longer table", f.with(name, append(slices.Clone(f.files[name]), 0)), ErrCorrupt, name)
	}
}

func TestUnlistedFilesGoLast(t *testing.T) {
	f := newFilled(t, Sync)
	leftovers := files{"000900.sst": []byte("x"), "000901.wal": nil, "MANIFEST-000902": []byte("x"), "CURRENT.tmp": []byte("x"), "000903.sst.tmp": []byte("x")}
	leftovers["000901.wal"] = make([]byte, 64<<10) // prepared, never used
	all := f.files
	for name, data := range leftovers {
		all = all.with(name, data)
	}
	name := f.manifest(t)
	mustRefuse(t, "bad MANIFEST", all.flipped(name, 40), ErrCorrupt, name)
	disk := all.disk(t)
	m := mustHold(t, disk, f.want)
	left := filesOf(t, disk, at)
	for name := range leftovers {
		if left[name] != nil {
			t.Errorf("%s is still there", name)
		}
	}
	if wals := left.named(".wal"); len(wals) != 1 || numberOf(wals[0]) <= 903 || m.Sequence != f.sequence {
		t.Errorf("segments %v, but 903 was taken; sequence %d, want %d", wals, m.Sequence, f.sequence)
	}
}

// TestEveryCutAfterCleanClose cuts and removes every file: what was closed properly is
// there whole or not opened at all.
func TestEveryCutAfterCleanClose(t *testing.T) {
	f := newClosed(t)
	for name, data := range f.files {
		if name == "LOCK" {
			continue
		}
		mustRefuse(t, "removed "+name, f.with(name, nil), ErrCorrupt, name)
		for n := len(data) - 1; n >= 0; n -= 1 + n/10 {
			mustRefuse(t, fmt.Sprintf("%s cut to %d of %d", name, n, len(data)), f.with(name, data[:n:n]), ErrCorrupt, name)
		}
	}
	m := mustHold(t, f.with("LOCK", nil).disk(t), f.want)
	if !m.Recovery.CleanClose {
		t.Error("the clean close was not noticed")
	}
}

// TestEveryFlip turns bits over: an open or a read must notice, or everything is
// right all the same.
func TestEveryFlip(t *testing.T) {
	for what, f := range map[string]filled{"closed": newClosed(t), "killed": newFilled(t, Sync)} {
		step := max(1, totalBytes(f.files)/300)
		for name, data := range f.files {
			if name == "LOCK" {
				continue
			}
			for i := 0; i < len(data); i += step {
				if name == f.named(".wal")[0] || len(data) < 4<<10 {
					i -= step * 3 / 4 // closer together
				}
				if i < 0 {
					i = 0
				}
				if last := f.named(".wal"); what == "killed" && name == last[len(last)-1] && i < used(data) && i > used(data)-700 {
					continue // nothing proves that the last record was ever durable
				}
				mustNotice(t, fmt.Sprintf("%s, bit in byte %d of %s", what, i, name), f, f.flipped(name, i), name)
			}
		}
	}
}

// used returns where the zeros begin that a segment was prepared with.
func used(segment []byte) int { return len(bytes.TrimRight(segment, "\x00")) }

func totalBytes(f files) (sum int) {
	for _, data := range f {
		sum += len(data)
	}
	return sum
}

// mustNotice opens and reads a damaged database, which may fail with an error that
// names the file, but must not show anything wrong.
func mustNotice(t *testing.T, what string, f filled, damaged files, file string) {
	t.Helper()
	d, err := Open(at, &Options{MemtableBytes: 1, ReadOnly: true, fs: damaged.disk(t)})
	if err == nil {
		defer d.Close()
		var it *Iterator
		if it, err = d.NewIterator(nil); err == nil {
			found := view{}
			for key, value := range it.All() {
				found[string(key)] = string(value)
			}
			if err = it.Close(); err == nil {
				if err := differ(f.want, found); err != nil {
					t.Errorf("%s: not noticed: %v (%+v)", what, err, d.Metrics().Recovery)
				}
				return
			}
		}
	}
	// A MANIFEST without its last edit needs files that were deleted after it: one
	// of them is what is missed.
	named := strings.Contains(err.Error(), file) || strings.HasPrefix(file, "MANIFEST")
	if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrIncompatible) || !named {
		t.Errorf("%s: %v", what, err)
	}
}

// TestTornTail cuts the last segment of a killed process anywhere: what comes back
// is a prefix, and the metrics tell what was cut off.
func TestTornTail(t *testing.T) {
	f := newFilled(t, NoSync)
	wals := f.named(".wal")
	last := wals[len(wals)-1]
	data := f.files[last]
	end := used(data)
	for _, cut := range []int{end, end - 1, end - 300, end * 3 / 4, end / 2, end / 4, 100, 40} {
		for _, zeros := range []bool{false, true} { // shorter, or not written as far
			torn := slices.Clone(data[:cut])
			if zeros {
				torn = append(torn, make([]byte, len(data)-cut)...)
			}
			disk := f.with(last, torn).disk(t)
			for _, readOnly := range []bool{true, false} {
				d, err := Open(at, &Options{MemtableBytes: 1, ReadOnly: readOnly, fs: disk})
				must(t, err)
				m := d.Metrics()
				found := contents(t, d)
				must(t, d.Close())
				for i := range f.logged {
					key := fmt.Sprintf("log%05d", i)
					_, ok := found[key]
					if gone := uint64(f.logged-i) <= f.sequence-m.Sequence; gone == ok {
						t.Fatalf("cut at %d of %d: sequence %d of %d, but %s there: %v", cut, end, m.Sequence, f.sequence, key, ok)
					}
				}
				if cut == end && (m.Recovery.TornBytes != 0 || m.Sequence != f.sequence) || cut == end-1 && m.Recovery.TornBytes < 500 {
					t.Errorf("cut at %d of %d: %+v", cut, end, m.Recovery)
				}
			}
		}
	}
}

// TestDamageBelowTheDurableMark damages records that later ones prove to have been
// synced, and segments that have a successor.
func TestDamageBelowTheDurableMark(t *testing.T) {
	f := newFilled(t, Sync)
	for i, name := range f.named(".wal") {
		data := f.files[name]
		end := used(data)
		limit := end
		if i == 2 {
			limit = end - 700 // nothing proves that the last record was durable
		}
		for _, offset := range []int{30, 500, limit / 2, limit - 1} {
			damaged := f.flipped(name, offset)
			what := fmt.Sprintf("damage at %d of %d in %s", offset, end, name)
			mustRefuse(t, what, damaged, ErrCorrupt, name)
			_, err := Open(at, &Options{MemtableBytes: 1, ReadOnly: true, fs: damaged.disk(t)})
			damage, ok := errors.AsType[*CorruptionError](err)
			if !ok || damage.Offset < 0 || damage.Offset > int64(offset) || damage.Offset < int64(offset)-600 {
				t.Errorf("%s: %v", what, err)
			}
			zeroed := slices.Clone(data)
			clear(zeroed[offset:min(offset+100, end)])
			mustRefuse(t, "zeros: "+what, f.with(name, zeroed), ErrCorrupt, name)
		}
		if i < 2 {
			mustRefuse(t, "missing segment", f.with(name, nil), ErrCorrupt, name)
			mustRefuse(t, "empty segment", f.with(name, []byte{}), ErrCorrupt, name)
			mustRefuse(t, "segment that was cut", f.with(name, data[:end/2]), ErrCorrupt, name)
		}
	}
}

// TestSegmentsOutOfPlace puts segments where they do not belong.
func TestSegmentsOutOfPlace(t *testing.T) {
	f := newFilled(t, Sync)
	wals := f.named(".wal")
	a, b := f.files[wals[0]], f.files[wals[1]]
	mustRefuse(t, "swapped segments", f.with(wals[0], b).with(wals[1], a), ErrCorrupt, ".wal"[:0])
	mustRefuse(t, "segment under a later number", f.with("000777.wal", a), ErrCorrupt, "000777.wal")
	tables := f.named(".sst")
	if a, b := f.files[tables[0]], f.files[tables[1]]; len(a) == len(b) {
		mustNotice(t, "swapped tables", f, f.with(tables[0], b).with(tables[1], a), ".sst")
	}
}

func TestFormatsOfTheFuture(t *testing.T) {
	f := newFilled(t, Sync)
	text := fmt.Sprintf("lsmdb-current 2\nmanifest %d\nnews\n", numberOf(f.manifest(t)))
	text += fmt.Sprintf("checksum %08x\n", base.Checksum(0, []byte(text)))
	mustRefuse(t, "CURRENT", f.with("CURRENT", []byte(text)), ErrIncompatible, "CURRENT")

	name := f.manifest(t)
	edit := (&manifest.Edit{}).AppendTo(nil)
	mustRefuse(t, "MANIFEST", f.with(name, logFile(t, name, wal.Previous{}, append(edit, 0x7f, 0x01, 0x00))), ErrIncompatible, name)

	m := newMachine(f.disk(t))
	d := m.open(t)
	must(t, d.Put([]byte("k"), []byte("v")))
	end := wal.Previous{Segment: d.Metrics().WAL.Segment}
	m.kill(d)
	_, end.End = lastRecord(t, m.disk, base.WALName(end.Segment)) // with or without a mark
	record := base.GroupHeader{First: base.Seq(f.sequence) + 2, Count: 1}.AppendTo(nil)
	record = append(record, byte(base.KindRangeDelete), 1, 'a', 1, 'b')
	mustRefuse(t, "operation", filesOf(t, m.disk, at).with("009999.wal", logFile(t, "009999.wal", end, record)), ErrIncompatible, "009999.wal")
}

// lastRecord returns the last record of a log that may be written to, and the end of the log.
func lastRecord(t testing.TB, fsys vfs.FS, name string) (record []byte, end int64) {
	t.Helper()
	f, err := fsys.Open(filepath.Join(at, name))
	must(t, err)
	defer f.Close()
	reader, err := wal.Open(f, name, numberOf(name))
	must(t, err)
	for {
		payload, _, err := reader.Next()
		if err == io.EOF {
			return record, reader.End().Offset
		}
		must(t, err)
		record = slices.Clone(payload)
	}
}

// leaveMark waits until the Writer has left the mark that proves the last group.
func (m *machine) leaveMark(t testing.TB) {
	t.Helper()
	for {
		logs := filesOf(t, m.disk, at).named(".wal")
		record, _ := lastRecord(t, m.disk, logs[len(logs)-1])
		if header, _, err := base.DecodeGroup(record); err == nil && header.Count == 0 {
			return
		}
		runtime.Gosched()
	}
}

// logFile writes a log of one record.
func logFile(t *testing.T, name string, previous wal.Previous, record []byte) []byte {
	t.Helper()
	m := vfstest.NewDisk()
	f, err := m.Create("/" + name)
	must(t, err)
	w, err := wal.NewWriter(f, name, numberOf(name), previous)
	must(t, err)
	must(t, errors.Join(w.Append(record), w.Sync(), w.Close()))
	return filesOf(t, m, "/")[name]
}
