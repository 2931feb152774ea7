package wal

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"testing"

	"lsmdb/internal/base"
)

// Every length around every border must come back, at every position in a block.
func TestRoundTripAtBorders(t *testing.T) {
	starts := []int{0, 1, 7, 20}
	for back := range 40 {
		starts = append(starts, 32768-27-8-back)
	}
	lengths := []int{0, 1, 6, 7, 8, 32768 - 27 - 8, 32760, 32761, 32762, 65600, 3 * 32768}
	for _, start := range starts {
		for _, length := range lengths {
			f := &memoryFile{}
			w := mustWriter(t, f)
			want := [][]byte{noise(1, start), noise(2, length), noise(3, 5)}
			for i, record := range want {
				before := w.Offset()
				mustDo(t, w.Append(record))
				if i == 1 {
					mustDo(t, w.Sync())
				}
				if w.Offset() < before+8+int64(len(record)) || w.Offset()+24 > w.ReservedBytes() {
					t.Fatalf("start %d length %d: offset %d after %d, reserved %d", start, length, w.Offset(), before, w.ReservedBytes())
				}
			}
			end := w.Offset()
			o := readLog(f.data)
			if o.err != nil || !slices.EqualFunc(o.records, want, bytes.Equal) || o.end != (End{Offset: end}) {
				t.Fatalf("start %d length %d: %d records, end %+v want %d, error %v", start, length, len(o.records), o.end, end, o.err)
			}
		}
	}
}

func TestPartsAreOneRecord(t *testing.T) {
	f := &memoryFile{}
	w := mustWriter(t, f)
	record := noise(1, 100_000)
	parts := [][]byte{nil, record[:1], record[1:20], {}, record[20:70_000], record[70_000:], nil}
	before := slices.Clone(parts)
	mustDo(t, w.Append(parts...))
	mustDo(t, w.Append())
	if !slices.EqualFunc(parts, before, bytes.Equal) {
		t.Error("Append changed the caller's slice of parts")
	}
	o := readLog(f.data)
	if len(o.records) != 2 || !bytes.Equal(o.records[0], record) || len(o.records[1]) != 0 {
		t.Fatalf("%d records, error %v", len(o.records), o.err)
	}
}

func TestOneWritePerRecord(t *testing.T) {
	f := &memoryFile{}
	w := mustWriter(t, f)
	for _, tt := range []struct{ length, writes int }{{100, 1}, {40_000, 1}, {90_000, 1}, {5 << 20, 41}} {
		mustDo(t, w.Reserve(int64(tt.length)))
		before := f.writes
		mustDo(t, w.Append(noise(1, tt.length)))
		if got := f.writes - before; got != tt.writes {
			t.Errorf("record of %d bytes took %d writes, want %d", tt.length, got, tt.writes)
		}
	}
	if cap(w.buffer) > 256<<10 {
		t.Errorf("the buffer grew to %d bytes", cap(w.buffer))
	}
}

func TestNumbersAndPrevious(t *testing.T) {
	f := &memoryFile{}
	previous := Previous{Segment: 1<<63 + 5, End: 1 << 50}
	w, err := NewWriter(f, testName, 1<<64-1, previous)
	mustDo(t, err)
	if int64(len(f.data)) != w.ReservedBytes() || len(bytes.TrimRight(f.data[27:], "\x00")) != 0 {
		t.Error("preallocated is something else than zeros")
	}
	if w.Segment() != 1<<64-1 || w.Offset() != 27 || w.Durable() != 27 || f.syncs != 2 {
		t.Errorf("segment %d, offset %d, durable %d, syncs %d", w.Segment(), w.Offset(), w.Durable(), f.syncs)
	}
	r, err := Open(f, testName, 1<<64-1)
	mustDo(t, err)
	if r.Previous() != previous || r.Empty() {
		t.Errorf("previous %+v, empty %t", r.Previous(), r.Empty())
	}
}

func TestSyncAdvancesTheMark(t *testing.T) {
	f := &memoryFile{}
	w := mustWriter(t, f)
	for want := range 3 {
		mustDo(t, w.Append([]byte("x")))
		if w.Durable() == w.Offset() {
			t.Fatal("durable before the sync")
		}
		mustDo(t, w.Sync())
		mustDo(t, w.Sync()) // nothing to do
		if w.Durable() != w.Offset() || f.syncs != want+3 {
			t.Fatalf("durable %d of %d after %d syncs", w.Durable(), w.Offset(), f.syncs)
		}
	}
}

// TestPreallocationGrowsInSteps: a log takes about as much again as it holds, and not
// much more than that where it is long.
func TestPreallocationGrowsInSteps(t *testing.T) {
	for _, c := range []struct {
		unsynced int // before each step
		want     []int64
	}{
		{0, []int64{32, 64, 128, 256, 512, 1024, 1536, 2048}},
		{rareSyncRecords, []int64{32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 24576}},
	} {
		w := mustWriter(t, &refusing{})
		var sizes []int64
		for len(sizes) < len(c.want) {
			sizes = append(sizes, w.ReservedBytes()>>10)
			w.unsynced = c.unsynced
			mustDo(t, w.Reserve(w.ReservedBytes()-w.Offset()))
			w.offset = w.reserved - endRoomBytes // as if records had filled it
		}
		if !slices.Equal(sizes, c.want) {
			t.Errorf("%d records without a sync: preallocated %d KiB, want %d", c.unsynced, sizes, c.want)
		}
	}
}

func TestReserveCoversTheRecord(t *testing.T) {
	for _, start := range []int{0, 5000, 32768 - 27 - 8 - 17, 32768 - 27 - 8 - 16} {
		for _, length := range []int{0, 100, 32768, 65519, 1 << 20, 3<<20 + 11} {
			f := &memoryFile{}
			w := mustWriter(t, f)
			mustDo(t, w.Append(noise(1, start)))
			mustDo(t, w.Reserve(int64(length)))
			reserved := w.ReservedBytes()
			f.limitBytes = reserved // the disk is full from here on
			mustDo(t, w.Append(noise(2, length)))
			if w.ReservedBytes() != reserved {
				t.Fatalf("start %d length %d: append reserved more", start, length)
			}
			end, err := w.Finish()
			mustDo(t, err)
			if o := readLog(f.data); len(o.records) != 2 || o.end != (End{Offset: end, Sealed: true}) {
				t.Fatalf("start %d length %d: %d records, %+v, %v", start, length, len(o.records), o.end, o.err)
			}
		}
	}
}

// A full disk tears nothing, and writing goes on when there is room again. Meanwhile
// the log keeps no room but what its next record needs.
func TestDiskFullWhilePreallocating(t *testing.T) {
	f := &memoryFile{limitBytes: 100_000}
	w := mustWriter(t, f)
	mustDo(t, w.Append(noise(1, 40_000)))
	// The step does not fit, the record does.
	mustDo(t, w.Append(noise(2, 30_000)))
	offset, size := w.Offset(), int64(len(f.data))
	if spare := size - offset; spare > 100 || size != w.ReservedBytes() {
		t.Errorf("%d bytes are kept behind the last record, %d of %d reserved", spare, w.ReservedBytes(), size)
	}
	for range 3 {
		err := w.Append(noise(3, 50_000))
		if !errors.Is(err, base.ErrDiskFull) || w.Offset() != offset {
			t.Fatalf("error %v, offset %d want %d", err, w.Offset(), offset)
		}
		if int64(len(f.data)) != size || w.ReservedBytes() != size {
			t.Fatalf("a refused record left %d bytes, %d reserved, there were %d", len(f.data), w.ReservedBytes(), size)
		}
		if o := readLog(f.data); len(o.records) != 2 || o.end != (End{Offset: offset}) {
			t.Fatalf("%d records, end %+v, error %v", len(o.records), o.end, o.err)
		}
	}
	mustDo(t, w.Append(noise(4, 100)))
	if spare := w.ReservedBytes() - w.Offset(); spare > 4<<10 {
		t.Errorf("%d bytes are kept on a disk that was full", spare)
	}
	before := len(f.journal)
	for range 100 { // not each of them fills what is left of the disk with zeros
		mustDo(t, w.Append(noise(5, 100)))
	}
	written := 0
	for _, c := range f.journal[before:] {
		written += len(c.data)
	}
	if written > 100_000 {
		t.Errorf("%d bytes were written for 100 records of 100 bytes", written)
	}
	f.limitBytes = 0
	mustDo(t, w.Append(noise(3, 50_000)))
	if o := readLog(f.data); len(o.records) != 104 || o.err != nil {
		t.Fatalf("%d records, error %v", len(o.records), o.err)
	}
}

// TestGivingBackMayFail: where the file cannot be cut, zeros stay, and nothing else.
func TestGivingBackMayFail(t *testing.T) {
	f := &memoryFile{limitBytes: 100_000, cutErr: errBroken}
	w := mustWriter(t, f)
	for i := range 3 {
		mustDo(t, w.Append(noise(uint64(i), 30_000)))
	}
	if err := w.Append(noise(4, 30_000)); !errors.Is(err, base.ErrDiskFull) {
		t.Fatalf("error %v", err)
	}
	f.limitBytes = 0
	for i := range 3 {
		mustDo(t, w.Append(noise(uint64(i), 30_000)))
	}
	mustDo(t, w.Sync())
	end := w.Offset()
	mustDo(t, w.Close())
	if o := readLog(f.data); len(o.records) != 6 || o.err != nil || o.end != (End{Offset: end}) || int64(len(f.data)) <= end {
		t.Errorf("%d records, end %+v of %d, error %v", len(o.records), o.end, end, o.err)
	}
}

func TestDiskFullFromTheStart(t *testing.T) {
	f := &memoryFile{limitBytes: 10}
	if _, err := NewWriter(f, testName, testSegment, Previous{}); !errors.Is(err, base.ErrDiskFull) {
		t.Fatalf("error %v", err)
	}
	if o := readLog(f.data); !o.empty || o.err != nil || o.end != (End{}) {
		t.Fatalf("%+v", o)
	}
}

var errBroken = errors.New("broken disk")

func TestFailedWriteIsFinal(t *testing.T) {
	for _, written := range []int{0, 1, 6, 7, 20} {
		f := &memoryFile{}
		w := mustWriter(t, f)
		mustDo(t, w.Append([]byte("before")))
		offset := w.Offset()
		f.onWrite = func(int64, int) (int, error) { return written, errBroken }
		first := w.Append(noise(1, 100))
		f.onWrite = nil
		_, finish := w.Finish()
		for _, err := range []error{first, w.Append(nil), w.Sync(), w.Reserve(1), finish} {
			if !errors.Is(err, errBroken) {
				t.Errorf("error %v, want that of the first failure", err)
			}
		}
		if w.Offset() != offset || f.syncs != 2 || !f.closed {
			t.Errorf("offset %d want %d, syncs %d, closed %t", w.Offset(), offset, f.syncs, f.closed)
		}
		if o := readLog(f.data); len(o.records) != 1 || o.end != (End{Offset: offset, TornBytes: o.end.TornBytes}) {
			t.Errorf("%d bytes written: %d records, %+v, %v", written, len(o.records), o.end, o.err)
		}
	}
}

// A long record that fails half way leaves a torn record and an unchanged end.
func TestFailedLongWrite(t *testing.T) {
	f := &memoryFile{}
	w := mustWriter(t, f)
	mustDo(t, w.Append([]byte("before")))
	mustDo(t, w.Reserve(4<<20))
	offset, writes := w.Offset(), 0
	f.onWrite = func(_ int64, n int) (int, error) {
		if writes++; writes == 3 {
			return n / 2, errBroken
		}
		return n, nil
	}
	if err := w.Append(noise(1, 4<<20)); !errors.Is(err, errBroken) || w.Offset() != offset {
		t.Fatalf("error %v, offset %d want %d", err, w.Offset(), offset)
	}
	if o := readLog(f.data); len(o.records) != 1 || o.end.Offset != offset || o.end.TornBytes < 2*maxWriteBytes || o.err != nil {
		t.Fatalf("%d records, %+v, %v", len(o.records), o.end, o.err)
	}
}

func TestFailedSyncIsNotRetried(t *testing.T) {
	f := &memoryFile{}
	w := mustWriter(t, f)
	mustDo(t, w.Append([]byte("x")))
	f.syncErr = errBroken
	first := w.Sync()
	f.syncErr = nil
	syncs := f.syncs
	if !errors.Is(first, errBroken) || !errors.Is(w.Sync(), errBroken) || !errors.Is(w.Append(nil), errBroken) {
		t.Error("a failed sync was forgotten")
	}
	if _, err := w.Finish(); !errors.Is(err, errBroken) || f.syncs != syncs || w.Durable() != 27 {
		t.Errorf("Finish: %v; %d syncs after the failure, durable %d", err, f.syncs-syncs, w.Durable())
	}
	if o := readLog(f.data); o.end.Sealed {
		t.Error("sealed after a failed sync")
	}
}

func TestFinish(t *testing.T) {
	f := &memoryFile{}
	w := mustWriter(t, f)
	mustDo(t, w.Append([]byte("x")))
	offset := w.Offset()
	end, err := w.Finish()
	mustDo(t, err)
	if end != offset+7 || int64(len(f.data)) != end || !f.closed || f.syncs != 4 {
		t.Errorf("end %d, %d bytes, closed %t, %d syncs", end, len(f.data), f.closed, f.syncs)
	}
	_, again := w.Finish()
	for _, err := range []error{again, w.Append(nil), w.Sync(), w.Reserve(1)} {
		if !errors.Is(err, base.ErrClosed) {
			t.Errorf("after Finish: %v, want ErrClosed", err)
		}
	}
	mustDo(t, w.Close())
}

func TestFinishReportsEachFailure(t *testing.T) {
	for name, sabotage := range map[string]func(*memoryFile){
		"sync":  func(f *memoryFile) { f.syncErr = errBroken },
		"write": func(f *memoryFile) { f.onWrite = func(int64, int) (int, error) { return 3, errBroken } },
		"cut":   func(f *memoryFile) { f.cutErr = errBroken },
	} {
		f := &memoryFile{}
		w := mustWriter(t, f)
		mustDo(t, w.Append([]byte("x")))
		sabotage(f)
		if _, err := w.Finish(); !errors.Is(err, errBroken) || !f.closed {
			t.Errorf("%s fails: error %v, closed %t", name, err, f.closed)
		}
		if o := readLog(f.data); o.err != nil || len(o.records) != 1 {
			t.Errorf("%s fails: %d records, error %v", name, len(o.records), o.err)
		}
	}
}

// TestClose: what was preallocated goes back, whatever is durable.
func TestClose(t *testing.T) {
	for _, sync := range []bool{false, true} {
		f := &memoryFile{}
		w := mustWriter(t, f)
		mustDo(t, w.Append(noise(1, 100_000)))
		if sync {
			mustDo(t, w.Sync())
		}
		end, syncs := w.Offset(), f.syncs
		mustDo(t, w.Close())
		mustDo(t, w.Close())
		if err := w.Append(nil); !errors.Is(err, base.ErrClosed) || f.syncs != syncs || int64(len(f.data)) != end {
			t.Errorf("after Close: %v, %d syncs, %d bytes of %d", err, f.syncs-syncs, len(f.data), end)
		}
		if o := readLog(f.data); len(o.records) != 1 || o.end != (End{Offset: end}) || o.err != nil {
			t.Errorf("%d records, %+v, %v", len(o.records), o.end, o.err)
		}
	}
	f := &memoryFile{}
	w := mustWriter(t, f)
	f.closed = true
	if err := w.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("an error of closing the file was lost: %v", err)
	}
}

// TestCloseLeavesAFailedLog: nobody knows what is in it, so nothing is done to it.
func TestCloseLeavesAFailedLog(t *testing.T) {
	f := &memoryFile{}
	w := mustWriter(t, f)
	f.onWrite = func(int64, int) (int, error) { return 3, errBroken }
	if err := w.Append([]byte("x")); !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	before := len(f.journal)
	mustDo(t, w.Close())
	if len(f.journal) != before || int64(len(f.data)) != w.ReservedBytes() {
		t.Errorf("closing did %v", f.journal[before:])
	}
}

// TestCutAtEveryLength: a log may end in its file at any place, also in the last bytes of
// a block, where no chunk would begin.
func TestCutAtEveryLength(t *testing.T) {
	for length := 32768 - 27 - 8 - 40; length < 32768-27+40; length++ {
		f := &memoryFile{}
		w := mustWriter(t, f)
		mustDo(t, w.Append(noise(1, length)))
		mustDo(t, w.Sync())
		end := w.Offset()
		mustDo(t, w.Close())
		if o := readLog(f.data); int64(len(f.data)) != end || len(o.records) != 1 || o.end != (End{Offset: end}) || o.err != nil {
			t.Fatalf("%d bytes of %d: %d records, %+v, %v", len(f.data), end, len(o.records), o.end, o.err)
		}
	}
}

func TestMisusePanics(t *testing.T) {
	for name, misuse := range map[string]func(){
		"file not empty":  func() { _, _ = NewWriter(&memoryFile{data: []byte{1}}, testName, 1, Previous{}) },
		"negative length": func() { _ = mustWriter(t, &memoryFile{}).Reserve(-1) },
		"write backwards": func() { _ = mustWriter(t, &memoryFile{}).write([]byte{1}, 26) },
		"write beyond":    func() { _ = mustWriter(t, &memoryFile{}).write([]byte{1}, 1<<40) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			misuse()
		}()
	}
}

// nowhere takes writes and keeps nothing, so that only the Writer is measured.
type nowhere struct{ memoryFile }

func (*nowhere) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (*nowhere) Sync() error                            { return nil }

func TestAppendDoesNotAllocate(t *testing.T) {
	w := mustWriter(t, &nowhere{})
	header, ops, long := make([]byte, 12), make([]byte, 130), make([]byte, 100_000)
	mustDo(t, w.Append(long))
	if n := testing.AllocsPerRun(1000, func() {
		_ = w.Append(header, ops)
		_ = w.Append(long)
		_ = w.Sync()
	}); n != 0 {
		t.Errorf("%v allocations per append", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	for name, length := range map[string]int{"130B": 130, "4KiB": 4096, "1MiB": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			w := mustWriter(b, &nowhere{})
			header, ops := make([]byte, 12), make([]byte, length)
			b.SetBytes(int64(length + 12))
			b.ReportAllocs()
			for b.Loop() {
				if err := w.Append(header, ops); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
