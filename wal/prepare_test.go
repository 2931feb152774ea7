package wal

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
)

const preparedDir = "/logs"

// preparedDisk is a directory on a disk of which every operation can be made to fail.
func preparedDisk(t *testing.T, inject func(vfstest.Op) error) (*vfstest.Disk, vfs.Files) {
	t.Helper()
	disk := vfstest.NewDisk()
	mustDo(t, disk.MkdirAll(preparedDir))
	mustDo(t, disk.SyncDir("/"))
	return disk, vfstest.NewFault(disk, inject)
}

func contentsOf(t *testing.T, files vfs.Files, path string) []byte {
	t.Helper()
	f, err := files.Open(path)
	mustDo(t, err)
	defer f.Close()
	size, err := f.Size()
	mustDo(t, err)
	data := make([]byte, size)
	if n, err := f.ReadAt(data, 0); n < len(data) {
		t.Fatal(err)
	}
	return data
}

var preparedPath = filepath.Join(preparedDir, "000009.wal")

// TestPrepareAndPlace: what is prepared is no log before it is placed, and then it is as any
// other, also after a power failure.
func TestPrepareAndPlace(t *testing.T) {
	previous := Previous{Segment: 7, End: 1 << 40}
	for _, length := range []int{12, 13, 100, 32768 - 27 - 8 - 1, 32768 - 27 - 8, 32768 - 27 - 8 + 1, 70_000, 3 << 20} {
		written := 0
		disk, files := preparedDisk(t, func(op vfstest.Op) error {
			if op.Kind == vfstest.OpWrite {
				written += op.Length
			}
			return nil
		})
		record := noise(3, length)
		w, err := Prepare(files, preparedPath, testSegment, nil, make([]byte, 12), record[12:])
		mustDo(t, err)
		if names, err := disk.List(preparedDir); err != nil || !slices.Equal(names, []string{"000009.wal.tmp"}) {
			t.Fatal(names, err)
		}
		if w.Durable() != w.Offset() {
			t.Errorf("%d of %d bytes are durable", w.Durable(), w.Offset())
		}
		written = 0
		mustDo(t, w.Place(files, preparedPath, previous, record[:12]))
		if written > BlockBytes {
			t.Errorf("to place it %d bytes were written", written)
		}
		for _, after := range []vfs.Files{disk, disk.CrashClone(nil)} {
			data := contentsOf(t, after, preparedPath)
			o := readLog(data)
			if o.err != nil || len(o.records) != 1 || !bytes.Equal(o.records[0], record) || o.end != (End{Offset: w.Offset()}) || int64(len(data)) != w.Offset() {
				t.Fatalf("%d bytes: %d records, %+v, %v", length, len(o.records), o.end, o.err)
			}
			f, err := after.Open(preparedPath)
			mustDo(t, err)
			r, err := Open(f, preparedPath, testSegment)
			mustDo(t, err)
			if r.Previous() != previous {
				t.Errorf("it follows %+v", r.Previous())
			}
			mustDo(t, f.Close())
		}
		if !w.Closed() || w.Append(nil) == nil {
			t.Error("it can be written to")
		}
	}
}

// TestPrepareIsInterrupted: whoever prepares asks whether to go on, and leaves nothing.
func TestPrepareIsInterrupted(t *testing.T) {
	enough := errors.New("enough")
	for at := 1; ; at++ {
		disk, files := preparedDisk(t, func(vfstest.Op) error { return nil })
		asked := 0
		w, err := Prepare(files, preparedPath, testSegment, func() error {
			if asked++; asked == at {
				return enough
			}
			return nil
		}, make([]byte, 1<<20))
		if err == nil {
			if at < 5 {
				t.Errorf("it was asked %d times for 1 MiB", at-1)
			}
			mustDo(t, w.Discard(files))
			break
		}
		if !errors.Is(err, enough) || base.IsShortage(err) {
			t.Error(err)
		}
		if names, err := disk.List(preparedDir); err != nil || len(names) > 0 {
			t.Fatal(names, err)
		}
	}
}

// TestPrepareFails lets each operation fail in turn, of shortages and for good. What comes of
// it is that nothing is there, or that it can be tried again.
func TestPrepareFails(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EIO} {
		for at := 1; ; at++ {
			operations := 0
			var failed *vfstest.Op
			disk, files := preparedDisk(t, func(op vfstest.Op) error {
				if op.Kind == vfstest.OpClose || op.Kind == vfstest.OpRemove || op.Kind == vfstest.OpTruncate {
					return nil // which nothing depends on
				}
				if operations++; operations == at {
					failed = &op
					return cause
				}
				return nil
			})
			record := noise(1, 200_000)
			what := func() string { return fmt.Sprintf("%v of %s at %d", failed.Kind, failed.Name, at) }
			w, err := Prepare(files, preparedPath, testSegment, nil, make([]byte, 12), record[12:])
			if err != nil {
				if base.IsShortage(err) != (cause == syscall.ENOSPC) {
					t.Errorf("%s: %v", what(), err)
				}
				if names, err := disk.List(preparedDir); err != nil || len(names) > 0 {
					t.Fatal(what(), names, err)
				}
				continue
			}
			err = w.Place(files, preparedPath, Previous{}, record[:12])
			if err != nil && base.IsShortage(err) != (cause == syscall.ENOSPC && failed.Kind != vfstest.OpSyncDir) {
				t.Errorf("%s: %v", what(), err)
			}
			if base.IsShortage(err) {
				mustDo(t, w.Place(files, preparedPath, Previous{}, record[:12]))
				err = nil
			}
			if err == nil {
				if o := readLog(contentsOf(t, disk.CrashClone(nil), preparedPath)); len(o.records) != 1 || !bytes.Equal(o.records[0], record) {
					t.Errorf("%d records, %v", len(o.records), o.err)
				}
			} else if failed.Kind != vfstest.OpSyncDir {
				mustDo(t, w.Discard(files))
				if names, err := disk.List(preparedDir); err != nil || len(names) > 0 {
					t.Fatal(what(), names, err)
				}
			}
			if failed == nil {
				break
			}
		}
	}
}
