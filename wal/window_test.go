package wal

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
)

// windowed starts a log in a real file, which must offer windows.
func windowed(t *testing.T) (w *Writer, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "log")
	f, err := vfs.OS.Create(path)
	mustDo(t, err)
	if _, ok := f.(vfs.LogFile); !ok {
		mustDo(t, f.Close())
		t.Skip("files of this system offer no windows")
	}
	w = mustWriter(t, f)
	t.Cleanup(func() { _ = w.Close() })
	return w, path
}

// TestWindowsWriteTheSameBytes writes one history through windows and one through
// plain writes.
func TestWindowsWriteTheSameBytes(t *testing.T) {
	t.Run("made by the writer", func(t *testing.T) { writeTheSameBytes(t, func(*Writer) func() { return func() {} }) })
	t.Run("prepared", func(t *testing.T) { writeTheSameBytes(t, preparing(nil)) })
	t.Run("declined", func(t *testing.T) {
		asked := 0
		writeTheSameBytes(t, preparing(func(a *Ahead) bool { asked++; return asked%3 != 0 }))
	})
}

// preparing serves a writer by a goroutine, which prepares what grant allows, until the end.
func preparing(grant func(*Ahead) bool) func(*Writer) func() {
	return func(w *Writer) func() {
		asked, ended := make(chan *Ahead, 1), make(chan struct{})
		w.Ask = func(a *Ahead) { asked <- a }
		go func() {
			defer close(ended)
			for a := range asked {
				if grant == nil || grant(a) {
					a.Prepare()
				} else {
					a.Decline()
				}
			}
		}()
		return func() { close(asked); <-ended }
	}
}

func writeTheSameBytes(t *testing.T, serve func(*Writer) func()) {
	w, path := windowed(t)
	end := serve(w)
	defer end()
	plain := &memoryFile{}
	p := mustWriter(t, plain)
	sawWindow := 0
	for i := range 6000 {
		record := noise(uint64(i), []int{130, 130, 0, 4000, 130, 40_000, 130, 15_000}[i%8])
		mustDo(t, w.Append(record))
		mustDo(t, p.Append(record))
		if w.window != nil {
			sawWindow++
		}
		if i%1000 == 999 {
			mustDo(t, w.Sync())
			mustDo(t, p.Sync())
			if w.syncsAreRare() {
				t.Fatal("a sync did not count")
			}
		}
	}
	if sawWindow < 5000 || w.ReservedBytes() < 2*windowBytes {
		t.Fatalf("a window at %d of 6000 records, %d bytes reserved", sawWindow, w.ReservedBytes())
	}
	for _, w := range []*Writer{w, p} {
		_, err := w.Finish()
		mustDo(t, err)
	}
	data, err := os.ReadFile(path)
	mustDo(t, err)
	if !bytes.Equal(data, plain.data) {
		t.Fatalf("%d bytes through windows, %d without, and they differ", len(data), len(plain.data))
	}
	if o := readLog(data); o.err != nil || len(o.records) != 6000 {
		t.Fatalf("%d records: %v", len(o.records), o.err)
	}
}

// TestOnlyRareSyncsUseWindows: who syncs each record gets zeros that were written.
func TestOnlyRareSyncsUseWindows(t *testing.T) {
	w, _ := windowed(t)
	for range 200 {
		for range rareSyncRecords {
			mustDo(t, w.Append(noise(1, 130)))
		}
		mustDo(t, w.Sync())
	}
	if w.window != nil {
		t.Error("a window although every 16th record was synced")
	}
}

// TestNobodyWaitsForWhatIsPrepared: while the next window is not ready, records go to the
// file; whoever needs its end waits for the answer, and an answer that comes late is taken.
func TestNobodyWaitsForWhatIsPrepared(t *testing.T) {
	w, path := windowed(t)
	var asked []*Ahead
	w.Ask = func(a *Ahead) { asked = append(asked, a) }
	n := 0
	write := func() {
		t.Helper()
		mustDo(t, w.Append(noise(uint64(n), 1000)))
		n++
	}
	var shown int64
	for len(asked) == 0 { // until space is allocated that no window shows
		write()
		if _, shown = w.window.Bounds(); len(asked) > 0 && w.ReservedBytes()-shown < 100_000 {
			asked[0].Prepare()
			asked = nil
		}
	}
	for w.Offset() < shown {
		write()
	}
	reserved := w.ReservedBytes()
	for recordLimit(w.Offset(), 1000) <= reserved { // nobody has answered
		write()
	}
	if len(asked) != 1 || w.window.Covers(w.Offset(), 1) {
		t.Fatalf("asked %d times, and there is a window", len(asked))
	}
	asked[0].Prepare()
	write()
	if w.ReservedBytes() <= reserved {
		t.Errorf("%d bytes reserved, as before", reserved)
	}
	for len(asked) == 1 {
		write()
	}
	asked[1].Decline()
	mustDo(t, w.Sync())
	mustDo(t, w.Append(nil))
	mustDo(t, w.Sync()) // closes the windows
	if w.window != nil || w.next != nil || w.ahead != nil {
		t.Error("something is left of the windows")
	}
	_, err := w.Finish()
	mustDo(t, err)
	data, err := os.ReadFile(path)
	mustDo(t, err)
	if o := readLog(data); o.err != nil || len(o.records) != n+1 {
		t.Errorf("%d records of %d: %v", len(o.records), n+1, o.err)
	}
}

// TestWhoChangesTheFileWaits: while something is prepared, nobody else extends, cuts or closes
// the file.
func TestWhoChangesTheFileWaits(t *testing.T) {
	for name, act := range map[string]func(w *Writer) error{
		"extend": func(w *Writer) error { return w.Append(make([]byte, w.ReservedBytes()-w.Offset())) },
		"cut":    func(w *Writer) error { _, err := w.Finish(); return err },
		"close":  (*Writer).Close,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, path := windowed(t)
				var asked *Ahead
				w.Ask = func(a *Ahead) { asked = a }
				for asked == nil {
					mustDo(t, w.Append(noise(1, 130)))
				}
				before, err := os.Stat(path)
				mustDo(t, err)
				done := make(chan error, 1)
				go func() { done <- act(w) }()
				synctest.Wait()
				now, err := os.Stat(path)
				mustDo(t, err)
				if len(done) != 0 || now.Size() != before.Size() {
					t.Errorf("done: %t, %d bytes before and %d now", len(done) != 0, before.Size(), now.Size())
				}
				asked.Prepare()
				mustDo(t, <-done)
			})
		})
	}
}

// TestNothingIsPreparedForLittle: a log that has not used a window up asks for nothing.
func TestNothingIsPreparedForLittle(t *testing.T) {
	w, _ := windowed(t)
	w.Ask = func(*Ahead) { t.Fatal("asked") }
	for w.window == nil || w.window.Covers(w.Offset(), 300) {
		mustDo(t, w.Append(noise(1, 130)))
	}
	mustDo(t, w.Close())
}

// TestPreparingFails: the writer does for itself what could not be prepared, and the file
// ends where it did.
func TestPreparingFails(t *testing.T) {
	f := &refusing{allocateErr: syscall.ENOSPC, memoryFile: memoryFile{data: make([]byte, 100)}}
	answer := make(chan prepared, 1)
	(&Ahead{file: f, start: 0, end: 300, reserved: 100, allocate: 200, answer: answer}).Prepare()
	if p := <-answer; p.window != nil || p.reserved != 100 || len(f.data) != 100 {
		t.Errorf("%+v, and a file of %d bytes", p, len(f.data))
	}
	f.allocateErr = nil
	(&Ahead{file: f, start: 0, end: 300, reserved: 100, allocate: 200, answer: answer}).Prepare()
	if p := <-answer; p.window != nil || p.reserved != 300 || len(f.data) != 300 { // there is no mapping
		t.Errorf("%+v, and a file of %d bytes", p, len(f.data))
	}
}

// watched notes which parts of a file were mapped.
type watched struct {
	vfs.LogFile
	t       *testing.T
	longest int64 // window
}

func (f *watched) Map(offset, length int64) (*vfs.Window, error) {
	size, err := f.Size()
	mustDo(f.t, err)
	if offset+length > size {
		f.t.Errorf("a window from %d to %d on a file of %d bytes", offset, offset+length, size)
	}
	f.longest = max(f.longest, length)
	return f.LogFile.Map(offset, length)
}

// TestSmallLogsTakeLittle: the file and the windows grow with what was written, and
// what is spare goes back when the log is closed.
func TestSmallLogsTakeLittle(t *testing.T) {
	w, path := windowed(t)
	f := &watched{LogFile: w.log, t: t}
	w.log = f
	for written := 0; written < 20<<20; written += 1000 {
		mustDo(t, w.Append(noise(1, 1000)))
		holds := w.Offset()
		if most := max(firstStepBytes, min(2*holds, holds+lastAllocationBytes)) + 2000; w.ReservedBytes() > most || f.longest > most {
			t.Fatalf("%d bytes reserved and %d in a window for %d written", w.ReservedBytes(), f.longest, holds)
		}
	}
	if f.longest != windowBytes {
		t.Errorf("the longest window has %d bytes", f.longest)
	}
	end := w.Offset()
	mustDo(t, w.Sync())
	mustDo(t, w.Close())
	data, err := os.ReadFile(path)
	mustDo(t, err)
	if o := readLog(data); int64(len(data)) != end || o.end != (End{Offset: end}) || o.err != nil {
		t.Errorf("%d bytes of %d, %+v, %v", len(data), end, o.end, o.err)
	}
}

// TestSyncsCloseTheWindow: it takes no memory once every few records are synced.
func TestSyncsCloseTheWindow(t *testing.T) {
	w, _ := windowed(t)
	for range 2 * rareSyncRecords {
		mustDo(t, w.Append(noise(1, 130)))
	}
	mustDo(t, w.Sync())
	if !w.window.Covers(w.Offset(), 1) {
		t.Error("the window was closed by the first sync after many records")
	}
	mustDo(t, w.Append(noise(1, 130)))
	mustDo(t, w.Sync())
	if w.window.Covers(w.Offset(), 1) {
		t.Error("the window is open although syncs are frequent")
	}
	for range 2 * rareSyncRecords {
		mustDo(t, w.Append(noise(1, 130)))
	}
	if !w.window.Covers(w.Offset(), 1) {
		t.Error("no window was opened again")
	}
}

// TestCutUnderAWindow takes the file away from under the mapped memory: that must be
// an error like that of a write, not the end of the process.
func TestCutUnderAWindow(t *testing.T) {
	w, path := windowed(t)
	for range 2 * rareSyncRecords {
		mustDo(t, w.Append(noise(1, 130)))
	}
	mustDo(t, os.Truncate(path, 0))
	err := w.Append(noise(1, 130))
	if err == nil {
		t.Fatal("a record was written into nothing")
	}
	for _, again := range []error{w.Append(nil), w.Sync(), w.Reserve(1)} {
		if again != err {
			t.Errorf("after %v: %v", err, again)
		}
	}
}

// refusing offers windows and grants what it is told to.
type refusing struct {
	memoryFile
	allocateErr error
	awaitErr    error
	asked       int
}

func (f *refusing) Allocate(offset, length int64) error {
	f.asked++
	if f.allocateErr != nil { // as on ext4, which keeps what there was room for
		f.data = append(f.data[:offset], make([]byte, length-1)...)
		return f.allocateErr
	}
	f.data = append(f.data[:offset], make([]byte, length)...)
	return nil
}

func (f *refusing) Map(int64, int64) (*vfs.Window, error) { return nil, errors.ErrUnsupported }
func (f *refusing) StartWriteback(int64, int64)           {}
func (f *refusing) AwaitWriteback(int64, int64) error     { return f.awaitErr }

// TestWithoutWindows writes to files that promise windows and do not keep it.
func TestWithoutWindows(t *testing.T) {
	for _, c := range []struct {
		name        string
		allocateErr error
		limitBytes  int64
		wantErr     error
	}{
		{name: "no mapping"},
		{name: "no allocation", allocateErr: errors.ErrUnsupported},
		{name: "no room for a long step", allocateErr: syscall.ENOSPC},
		{name: "no room", allocateErr: syscall.ENOSPC, limitBytes: 256 << 10, wantErr: base.ErrDiskFull},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &refusing{allocateErr: c.allocateErr, memoryFile: memoryFile{limitBytes: c.limitBytes}}
			w := mustWriter(t, f)
			w.unsynced = rareSyncRecords // the first write tries a window
			var err error
			n := 0
			for ; n < 10_000 && err == nil; n++ {
				if c.allocateErr != nil {
					w.log = f // what Map refused does not end the asking
				}
				err = w.Append(noise(1, 130))
			}
			if !errors.Is(err, c.wantErr) {
				t.Fatalf("record %d: %v, want %v", n, err, c.wantErr)
			}
			if c.allocateErr != nil && f.asked < 3 {
				t.Errorf("asked for space %d times", f.asked)
			}
			if err == nil {
				mustDo(t, w.Sync())
			}
			if int64(len(f.data)) != w.ReservedBytes() {
				t.Errorf("a file of %d bytes, %d reserved", len(f.data), w.ReservedBytes())
			}
			if o := readLog(f.data); o.err != nil || len(o.records) < 1000 {
				t.Errorf("%d records: %v", len(o.records), o.err)
			}
		})
	}
}

func BenchmarkAppendToFile(b *testing.B) {
	f, err := vfs.OS.Create(filepath.Join(b.TempDir(), "log"))
	mustDo(b, err)
	w := mustWriter(b, f)
	header, ops := make([]byte, 12), make([]byte, 130)
	b.SetBytes(int64(len(header) + len(ops)))
	b.ReportAllocs()
	for b.Loop() {
		mustDo(b, w.Append(header, ops))
	}
	mustDo(b, w.Close())
}

// A log in the file system that can be crashed: whatever survives, the log opens
// with a prefix of its records and with all that were synced.
func TestCrashedFileSystem(t *testing.T) {
	seeds := uint64(60)
	if base.Invariants {
		seeds = 15
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 3))
		mem := vfstest.NewDisk()
		file, err := mem.Create("log")
		mustDo(t, err)
		w := mustWriter(t, file)
		mustDo(t, mem.SyncDir("."))
		var records [][]byte
		synced := 0
		for range 1 + rng.IntN(12) {
			record := noise(rng.Uint64(), rng.IntN(1<<rng.IntN(17)))
			mustDo(t, w.Append(record))
			records = append(records, record)
			if rng.IntN(3) == 0 {
				mustDo(t, w.Sync())
				synced = len(records)
			}
		}
		for range 10 {
			checkSurvivors(t, mem.CrashClone(rng), records, synced)
		}
		checkSurvivors(t, mem.CrashClone(nil), records, synced)
	}
}

func checkSurvivors(t *testing.T, crashed *vfstest.Disk, records [][]byte, synced int) {
	t.Helper()
	file, err := crashed.Open("log")
	mustDo(t, err)
	defer file.Close()
	r, err := Open(file, "log", testSegment)
	mustDo(t, err)
	count := 0
	for {
		payload, _, err := r.Next()
		if err == io.EOF {
			break
		}
		mustDo(t, err)
		if !bytes.Equal(payload, records[count]) {
			t.Fatalf("record %d is not what was written", count)
		}
		count++
	}
	if count < synced {
		t.Fatalf("%d records survived, %d were synced", count, synced)
	}
}

func TestLogOnDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	file, err := vfs.OS.Create(path)
	mustDo(t, err)
	w, err := NewWriter(file, path, testSegment, Previous{Segment: 3, End: 99})
	mustDo(t, err)
	record := noise(1, 200_000)
	mustDo(t, w.Append(record[:50], record[50:]))
	end, err := w.Finish()
	mustDo(t, err)
	file, err = vfs.OS.Open(path)
	mustDo(t, err)
	defer file.Close()
	r, err := Open(file, path, testSegment)
	mustDo(t, err)
	payload, offset, err := r.Next()
	if err != nil || offset != 27 || !bytes.Equal(payload, record) {
		t.Fatalf("%d bytes at %d, error %v", len(payload), offset, err)
	}
	if _, _, err := r.Next(); err != io.EOF || r.End() != (End{Offset: end, Sealed: true}) {
		t.Errorf("error %v, end %+v, want %d", err, r.End(), end)
	}
}

func BenchmarkAppendOnDisk(b *testing.B) {
	path := filepath.Join(b.TempDir(), "log")
	file, err := vfs.OS.Create(path)
	mustDo(b, err)
	w := mustWriter(b, file)
	record := noise(1, 140)
	for b.Loop() {
		if w.Append(record) != nil {
			b.Fatal("append failed")
		}
	}
	mustDo(b, w.Close())
}

// TestWritebackFails: the error of a mebibyte that did not reach the disk is final like that
// of a sync, as the sync may not tell it again.
func TestWritebackFails(t *testing.T) {
	f := &refusing{awaitErr: errors.New("the disk is broken")}
	w, err := NewWriter(f, "log", 1, Previous{})
	mustDo(t, err)
	for w.Offset() < 4*aheadBytes && err == nil {
		err = w.Append(noise(1, 100<<10))
	}
	if !errors.Is(err, f.awaitErr) || w.Offset() < aheadBytes {
		t.Fatalf("at offset %d: %v", w.Offset(), err)
	}
	for _, again := range []error{w.Append(nil), w.Sync(), w.Reserve(1)} {
		if again != err {
			t.Errorf("after %v: %v", err, again)
		}
	}
}
