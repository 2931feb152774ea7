package wal

import (
	"bytes"
	"io"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
)

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
