package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
	"lsmdb/wal"
)

// history is a MANIFEST under construction: the states after each record.
type history struct {
	log    *Log
	states []State
	ends   []int64 // size of the log after each record
}

// newHistory creates MANIFEST-7 with a snapshot of a small state.
func newHistory(t testing.TB, fsys vfs.FS) *history {
	t.Helper()
	start := State{DatabaseID: 0xd1ce, Version: mustApply(t, &Version{}, &Edit{Added: []AddedTable{{1, newMeta(3, "b", "d", 1, 10)}}}),
		NextFile: 8, LastSeq: 10, OldestWAL: 4}
	log, err := CreateLog(fsys, testDir, 7, start)
	if err != nil {
		t.Fatal(err)
	}
	return &history{log: log, states: []State{start}, ends: []int64{log.Offset()}}
}

// next returns an edit that adds one table, with bounds of keyBytes, to level 0.
func (h *history) next(keyBytes int) *Edit {
	s := h.states[len(h.states)-1]
	key := strings.Repeat("k", keyBytes)
	return &Edit{Added: []AddedTable{{0, newMeta(s.NextFile, key, key+"z", s.LastSeq+1, s.LastSeq+5)}}, NextFile: s.NextFile + 1, OldestWAL: s.OldestWAL + 1}
}

func (h *history) append(t testing.TB, e *Edit) {
	t.Helper()
	if err := h.log.Append(e); err != nil {
		t.Fatal(err)
	}
	h.note(t, e)
}

func (h *history) note(t testing.TB, e *Edit) {
	t.Helper()
	next, err := h.states[len(h.states)-1].Apply(e)
	if err != nil {
		t.Fatal(err)
	}
	h.states, h.ends = append(h.states, next), append(h.ends, h.log.Offset())
}

// same compares what a MANIFEST records.
func same(a, b State) bool { return reflect.DeepEqual(a.Snapshot(), b.Snapshot()) }

func TestLogRoundTrip(t *testing.T) {
	mem := newDir(t)
	h := newHistory(t, mem)
	for i := range 60 {
		h.append(t, h.next(i*200)) // records of several chunks among them
		state, facts, err := Load(mem.CrashClone(nil), testDir, 7)
		if err != nil || !same(state, h.states[i+1]) {
			t.Fatalf("after %d edits and a crash: %v\n%s\nwant\n%s", i+1, err, state.Snapshot(), h.states[i+1].Snapshot())
		}
		want := Facts{Edits: i + 2, End: wal.End{Offset: h.log.Offset()}}
		if facts != want {
			t.Fatalf("facts %+v, want %+v", facts, want)
		}
	}
	end, err := h.log.Finish()
	if err != nil {
		t.Fatal(err)
	}
	state, facts, err := Load(mem.CrashClone(nil), testDir, 7)
	if err != nil || !same(state, h.states[60]) || !facts.End.Sealed || facts.End.Offset != end || h.log.Segment() != 7 {
		t.Fatalf("after Finish at %d: %+v, %v", end, facts, err)
	}
	if size := int64(len(get(t, mem, base.ManifestName(7)))); size != end {
		t.Errorf("file of %d bytes, Finish said %d", size, end)
	}
}

// TestLoadRaisesNextFile: the MANIFEST's own number is never given out again.
func TestLoadRaisesNextFile(t *testing.T) {
	mem := newDir(t)
	log, err := CreateLog(mem, testDir, 41, State{})
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	state, facts, err := Load(mem, testDir, 41)
	if err != nil || state.NextFile != 42 || state.Version == nil || facts.Edits != 1 {
		t.Errorf("%+v, %+v, %v", state, facts, err)
	}
}

// TestLoadCutAnywhere: a log cut at any length, the rest missing or zero, gives the
// state after the records that are whole, or is refused when the snapshot is not.
func TestLoadCutAnywhere(t *testing.T) {
	mem := newDir(t)
	h := newHistory(t, mem)
	for range 4 {
		h.append(t, h.next(5))
	}
	whole := get(t, mem, base.ManifestName(7))
	for length := range h.log.Offset() {
		for _, damaged := range [][]byte{whole[:length], append(bytes.Clone(whole[:length]), make([]byte, 500)...)} {
			put(t, mem, base.ManifestName(7), damaged)
			state, facts, err := Load(mem, testDir, 7)
			if length < h.ends[0] {
				if !errors.Is(err, base.ErrCorrupt) {
					t.Fatalf("cut at %d, inside the snapshot: %v", length, err)
				}
				continue
			}
			records := 0
			for records < len(h.ends) && h.ends[records] <= length {
				records++
			}
			if err != nil || !same(state, h.states[records-1]) || facts.Edits != records || facts.End.Offset != h.ends[records-1] {
				t.Fatalf("cut at %d: %+v, %v", length, facts, err)
			}
		}
	}
}

// TestLoadFlippedBits: every flip before the last record is found, because the
// records after it prove that it was durable. One inside the last record drops it.
func TestLoadFlippedBits(t *testing.T) {
	mem := newDir(t)
	h := newHistory(t, mem)
	h.append(t, h.next(5))
	h.append(t, h.next(5))
	whole := get(t, mem, base.ManifestName(7))[:h.log.Offset()]
	for bit := range len(whole) * 8 {
		at := int64(bit / 8)
		damaged := bytes.Clone(whole)
		damaged[at] ^= 1 << (bit % 8)
		put(t, mem, base.ManifestName(7), damaged)
		state, facts, err := Load(mem, testDir, 7)
		if at < h.ends[1] {
			damage, ok := errors.AsType[*base.CorruptionError](err)
			if !ok || damage.Offset > at || damage.File != filepath.Join(testDir, base.ManifestName(7)) {
				t.Fatalf("bit %d, byte %d of %d: %+v, %v", bit, at, len(whole), facts, err)
			}
			continue
		}
		if err != nil || !same(state, h.states[1]) || facts.End.TornBytes == 0 {
			t.Fatalf("bit %d in the last record, byte %d: %+v, %v", bit, at, facts, err)
		}
	}
}

// TestLoadFlippedBitsSealed: after a clean close no flip passes, except that the
// end mark's own loss shows in Facts, where CURRENT's clean mark says otherwise.
func TestLoadFlippedBitsSealed(t *testing.T) {
	mem := newDir(t)
	h := newHistory(t, mem)
	h.append(t, h.next(5))
	end, err := h.log.Finish()
	if err != nil {
		t.Fatal(err)
	}
	whole := get(t, mem, base.ManifestName(7))
	for bit := range len(whole) * 8 {
		damaged := bytes.Clone(whole)
		damaged[bit/8] ^= 1 << (bit % 8)
		put(t, mem, base.ManifestName(7), damaged)
		_, facts, err := Load(mem, testDir, 7)
		if errors.Is(err, base.ErrCorrupt) != (int64(bit/8) < h.ends[1]) || err == nil && (facts.End.Sealed || facts.End.Offset == end) {
			t.Fatalf("bit %d, byte %d of %d: %+v, %v", bit, bit/8, len(whole), facts, err)
		}
	}
}

// TestLoadRefuses has records that verify and still make no sense.
func TestLoadRefuses(t *testing.T) {
	snapshot := (&Edit{NextFile: 9, Added: []AddedTable{{1, newMeta(3, "b", "d", 1, 10)}}}).AppendTo(nil)
	for _, c := range []struct {
		want    string
		records [][]byte
	}{
		{"no snapshot", nil},
		{"edit 1: edit removes table 4", [][]byte{snapshot, (&Edit{Removed: []RemovedTable{{1, 4}}}).AppendTo(nil)}},
		{"edit 1: tables 3 and 4 overlap", [][]byte{snapshot, (&Edit{Added: []AddedTable{{1, newMeta(4, "d", "e", 1, 10)}}}).AppendTo(nil)}},
		{"edit 1: next file number goes back", [][]byte{snapshot, (&Edit{NextFile: 8}).AppendTo(nil)}},
		{"level 9 is out of range", [][]byte{snapshot, field(tagRemoved, 9, 3)}},
		{"incompatible format: unknown edit field with tag 33", [][]byte{snapshot, field(33, 1)}},
	} {
		mem := newDir(t)
		file, err := mem.Create(filepath.Join(testDir, base.ManifestName(7)))
		if err != nil {
			t.Fatal(err)
		}
		w, err := wal.NewWriter(file, "test", 7, wal.Previous{})
		if err != nil {
			t.Fatal(err)
		}
		offset := w.Offset()
		for _, record := range c.records {
			offset = w.Offset()
			if err := w.Append(record); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(w.Sync(), w.Close()); err != nil {
			t.Fatal(err)
		}
		_, _, err = Load(mem, testDir, 7)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		} else if damage, ok := errors.AsType[*base.CorruptionError](err); ok && len(c.records) > 0 && damage.Offset != offset {
			t.Errorf("%v: offset %d, want %d", err, damage.Offset, offset)
		} else if !ok && !errors.Is(err, base.ErrIncompatible) {
			t.Errorf("wrong sort of error: %v", err)
		}
	}
}

func TestLoadWithoutFile(t *testing.T) {
	mem := newDir(t)
	for _, number := range []uint64{0, 7, MaxFileNumber, 1<<64 - 1} {
		if _, _, err := Load(mem, testDir, number); !errors.Is(err, base.ErrCorrupt) {
			t.Errorf("MANIFEST %d: %v", number, err)
		}
	}
	put(t, mem, base.ManifestName(8), nil)
	if _, _, err := Load(mem, testDir, 8); !errors.Is(err, base.ErrCorrupt) {
		t.Errorf("empty file: %v", err)
	}
	newHistory(t, mem)
	put(t, mem, base.ManifestName(9), get(t, mem, base.ManifestName(7)))
	if _, _, err := Load(mem, testDir, 9); !errors.Is(err, base.ErrCorrupt) {
		t.Errorf("MANIFEST-7 under the name of another: %v", err)
	}
}

// TestReaderGoesOn: inspecting reads past an edit that does not decode.
func TestReaderGoesOn(t *testing.T) {
	mem := newDir(t)
	h := newHistory(t, mem)
	if err := errors.Join(h.log.Writer.Append(field(33, 1)), h.log.Append(h.next(1))); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(testDir, base.ManifestName(7))
	file, err := mem.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := wal.Open(file, path, 7)
	if err != nil {
		t.Fatal(err)
	}
	var trail []string
	for {
		record, _, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, err := DecodeEdit(record); err == nil {
			trail = append(trail, fmt.Sprint(len(e.Added), " added"))
		} else {
			trail = append(trail, fmt.Sprint("incompatible ", errors.Is(err, base.ErrIncompatible)))
		}
	}
	if got, want := strings.Join(trail, ", "), "1 added, incompatible true, 1 added"; got != want || r.End().Offset != h.log.Offset() {
		t.Errorf("read %s, want %s; end %+v", got, want, r.End())
	}
	if err := file.Close(); err != nil {
		t.Error(err)
	}
}

// TestAppendDiskFull: a full disk leaves the log usable and unchanged, and the edit
// goes in once there is room.
func TestAppendDiskFull(t *testing.T) {
	mem := newDir(t)
	h := newHistory(t, mem)
	mem.SetLimit(mem.UsedBytes())
	full := 0
	for i := range 200 {
		e := h.next(3000)
		size := h.log.Offset()
		err := h.log.Append(e)
		if errors.Is(err, base.ErrDiskFull) {
			full++
			if h.log.Offset() != size {
				t.Fatalf("edit %d: %v, and the log grew from %d to %d", i, err, size, h.log.Offset())
			}
			state, _, err := Load(mem.CrashClone(nil), testDir, 7)
			if err != nil || !same(state, h.states[i]) {
				t.Fatalf("edit %d: after a full disk and a crash: %v", i, err)
			}
			mem.SetLimit(mem.UsedBytes() + 100<<10)
			err = h.log.Append(e)
			if err != nil {
				t.Fatalf("edit %d: with room again: %v", i, err)
			}
			mem.SetLimit(mem.UsedBytes())
		} else if err != nil {
			t.Fatal(err)
		}
		h.note(t, e)
	}
	if full < 3 {
		t.Errorf("the disk was full %d times only", full)
	}
	mem.SetLimit(mem.UsedBytes())
	if _, err := h.log.Finish(); err != nil {
		t.Errorf("clean close of a full disk: %v", err)
	}
	if state, facts, err := Load(mem, testDir, 7); err != nil || !same(state, h.states[200]) || !facts.End.Sealed {
		t.Errorf("%+v, %v", facts, err)
	}
}

// TestAppendFaults fails each operation of an append in turn. Only a full disk
// while preparing may be tried again; all else is final and does not look like a
// full disk. Whatever happens, a crash leaves the state before or after the edit.
func TestAppendFaults(t *testing.T) {
	for _, cause := range []error{errors.New("injected"), syscall.ENOSPC} {
		for _, large := range []int{10, 60000} {
			for failing := 0; appendWithFault(t, cause, large, failing); failing++ {
			}
		}
	}
}

// appendWithFault reports false when the append had no operation of that index.
func appendWithFault(t *testing.T, cause error, keyBytes, failing int) (reached bool) {
	t.Helper()
	mem := newDir(t)
	armed, count := false, 0
	var failed vfstest.Op
	h := newHistory(t, vfstest.NewFault(mem, func(op vfstest.Op) error {
		if armed && op.Kind != vfstest.OpCheck { // no answer is no bad news
			count++
			if count-1 == failing {
				failed = op
				if op.Kind == vfstest.OpWrite && failing%2 == 1 {
					return &vfstest.ShortWrite{Bytes: op.Length / 2, Err: cause}
				}
				return cause
			}
		}
		return nil
	}))
	e := h.next(keyBytes)
	reserved := h.log.ReservedBytes()
	armed = true
	err := h.log.Append(e)
	if count <= failing {
		if err != nil {
			t.Fatal(err)
		}
		return false
	}
	preparing := failed.Kind == vfstest.OpWrite && failed.Offset >= reserved
	retry := h.log.Append(e)
	switch {
	case err == nil && preparing: // the step was longer than it had to be
		return true
	case preparing && cause == syscall.ENOSPC:
		if !errors.Is(err, base.ErrDiskFull) || retry != nil {
			t.Fatalf("%v failed: %v, retry %v", failed, err, retry)
		}
	case err == nil || errors.Is(err, base.ErrDiskFull) || retry == nil || retry.Error() != err.Error():
		t.Fatalf("%v failed: %v, retry %v", failed, err, retry)
	default:
		if _, finishErr := h.log.Finish(); finishErr == nil || finishErr.Error() != err.Error() {
			t.Fatalf("%v failed: Finish says %v", failed, finishErr)
		}
	}
	after, applyErr := h.states[0].Apply(e)
	if applyErr != nil {
		t.Fatal(applyErr)
	}
	for seed := range uint64(4) {
		state, _, err := Load(mem.CrashClone(rand.New(rand.NewPCG(seed, 5))), testDir, 7)
		if err != nil || !same(state, h.states[0]) && !same(state, after) {
			t.Fatalf("%v failed, then a crash: %v", failed, err)
		}
	}
	return true
}

// TestReadFaults fails each operation of reading in turn: the error comes through,
// and never passes for damage, a torn tail or a missing file.
func TestReadFaults(t *testing.T) {
	mem := newDir(t)
	h := newHistory(t, mem)
	h.append(t, h.next(60000))
	if err := WriteCurrent(mem, testDir, Current{Manifest: 7}); err != nil {
		t.Fatal(err)
	}
	injected := errors.New("injected")
	for name, read := range map[string]func(vfs.FS) error{
		"CURRENT":  func(fsys vfs.FS) error { _, err := ReadCurrent(fsys, testDir); return err },
		"MANIFEST": func(fsys vfs.FS) error { _, _, err := Load(fsys, testDir, 7); return err },
	} {
		reached := true
		for failing := 0; reached; failing++ {
			count := 0
			err := read(vfstest.NewFault(mem, func(op vfstest.Op) error {
				if op.Kind == vfstest.OpClose {
					return nil // a file that was read loses nothing
				}
				count++
				if count-1 == failing {
					return injected
				}
				return nil
			}))
			reached = count > failing
			if errors.Is(err, injected) != reached || errors.Is(err, base.ErrCorrupt) || !reached && (err != nil || failing < 2) {
				t.Fatalf("%s, operation %d of %d failed: %v", name, failing, count, err)
			}
		}
	}
}

func TestAppendNonsensePanics(t *testing.T) {
	h := newHistory(t, newDir(t))
	defer func() {
		if r := recover(); r == nil || !strings.HasPrefix(fmt.Sprint(r), "invariant: ") {
			t.Errorf("recovered %v", r)
		}
	}()
	_ = h.log.Append(&Edit{Added: []AddedTable{{NumLevels, newMeta(9, "a", "b", 1, 2)}}})
}

func BenchmarkLoad(b *testing.B) {
	mem := newDir(b)
	h := newHistory(b, mem)
	for i := range 2000 {
		s := h.states[len(h.states)-1]
		key := fmt.Sprintf("%08d", i)
		h.append(b, &Edit{Added: []AddedTable{{2, newMeta(s.NextFile, key, key+"z", 1, 5)}}})
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Load(mem, testDir, 7); err != nil {
			b.Fatal(err)
		}
	}
}
