package stages

import (
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
	"lsmdb/wal"
)

// isMark reports whether a WAL record is a mark behind the operation before next.
func isMark(t *testing.T, record []byte, next base.Seq) bool {
	t.Helper()
	header, ops, err := base.DecodeGroup(record)
	must(t, err)
	return header == base.GroupHeader{First: next} && len(ops) == 0
}

// wholeFile returns what a file holds, as a process that is killed leaves it.
func wholeFile(t *testing.T, fsys vfs.FS, path string) []byte {
	t.Helper()
	f, err := fsys.Open(path)
	must(t, err)
	defer f.Close()
	size, err := f.Size()
	must(t, err)
	data := make([]byte, size)
	if _, err := f.ReadAt(data, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return data
}

// replayOf returns the offsets of the records of a segment, and how it ends.
func replayOf(t *testing.T, data []byte, number uint64) (offsets []int64, err error) {
	t.Helper()
	disk := vfstest.NewDisk()
	f, err := disk.Create("log")
	must(t, err)
	defer f.Close()
	_, err = f.WriteAt(data, 0)
	must(t, err)
	reader, err := wal.Open(f, "log", number)
	for err == nil {
		var offset int64
		if _, offset, err = reader.Next(); err == nil {
			offsets = append(offsets, offset)
		}
	}
	return offsets, err
}

// Damage to the last group that was synced is no torn tail, if the process had a moment
// to leave its mark.
func TestMarkProvesTheLastSyncedGroup(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).open()
		must(t, r.put(set("a", "1")))
		must(t, r.put(synced(set("b", "2", "c", "3"))))
		synctest.Wait()
		number := r.p.Metrics().Writer.Segment
		if records := readSegment(t, r.mem, number); len(records) != 3 || !isMark(t, records[2], 4) {
			t.Fatalf("the log holds %q", records)
		}
		data := wholeFile(t, r.mem, base.WALPath(testDir, number))
		offsets, _ := replayOf(t, data, number)
		for at := offsets[1]; at < offsets[2]; at++ {
			for bit := range 8 {
				data[at] ^= 1 << bit
				if _, err := replayOf(t, data, number); !errors.Is(err, base.ErrCorrupt) {
					t.Fatalf("bit %d of byte %d of the last group is turned over: %v", bit, at-offsets[1], err)
				}
				data[at] ^= 1 << bit
			}
		}
		for at := offsets[2]; data[at:][0] != 0 || slices.Max(data[at:]) != 0; at++ {
			data[at] ^= 1
			if got, err := replayOf(t, data, number); err != io.EOF || len(got) < 2 {
				t.Fatalf("the mark is damaged at byte %d: %d records, %v", at-offsets[2], len(got), err)
			}
			data[at] ^= 1
		}
		r.close()
	})
}

// A mark is no group, and asks for nothing: neither for another one nor for a sync.
func TestMarkCostsNothingLater(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).open()
		must(t, r.put(synced(set("a", "1"))))
		synctest.Wait()
		before := r.p.Metrics().Writer
		for range 3 {
			must(t, r.put(synced(NewCommit())))
			synctest.Wait()
		}
		after := r.p.Metrics().Writer
		if after.Syncs != before.Syncs || after.Operations != 1 || after.Commits != 4 || after.Groups != 4 {
			t.Errorf("before %+v, after three syncs of nothing %+v", before, after)
		}
		must(t, r.put(set("b", "2")))
		synctest.Wait()
		if records := readSegment(t, r.mem, after.Segment); len(records) != 3 || !isMark(t, records[1], 2) {
			t.Errorf("the log holds %q", records)
		}
		must(t, r.put(synced(NewCommit())))
		synctest.Wait()
		if records := readSegment(t, r.mem, after.Segment); len(records) != 4 || !isMark(t, records[3], 3) {
			t.Errorf("after a sync the log holds %q", records)
		}
		if s := r.p.Metrics().Writer; s.Syncs != before.Syncs+1 {
			t.Errorf("%d syncs, want %d", s.Syncs, before.Syncs+1)
		}
		r.close()
	})
}

// What was synced survives a power failure that comes between a mark and whatever makes
// it durable: the next sync, a rotation, the end.
func TestPowerFailureAroundAMark(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).open()
		want := 0
		crash := func(seeds uint64) {
			for seed := range seeds {
				clone := r.mem.CrashClone(rand.New(rand.NewPCG(seed, seeds)))
				if got := recovered(t, clone); len(got) != want {
					t.Errorf("seed %d: %d of %d keys", seed, len(got), want)
				}
				checkChain(t, clone)
			}
		}
		check := func() { synctest.Wait(); crash(100) }
		for _, key := range []string{"a", "b", "c"} {
			must(t, r.put(synced(set(key, "1"))))
			want++
			check()
		}
		r.onDisk(func(op vfstest.Op) error { // the rotation's way, step by step
			if op.Kind == vfstest.OpSync || op.Kind == vfstest.OpCreate {
				crash(20)
			}
			return nil
		})
		must(t, r.p.Flush(t.Context()))
		r.onDisk(nil)
		check()
		r.close()
	})
}

// checkChain checks that each segment ends where the one behind it was begun.
func checkChain(t *testing.T, fsys vfs.FS) {
	t.Helper()
	names, err := fsys.List(testDir)
	must(t, err)
	ends := make(map[uint64]int64)
	for _, name := range names { // in order
		kind, number := base.ParseFileName(name)
		if kind != base.FileWAL {
			continue
		}
		f, err := fsys.Open(base.WALPath(testDir, number))
		must(t, err)
		reader, err := wal.Open(f, name, number)
		must(t, err)
		for err == nil {
			_, _, err = reader.Next()
		}
		must(t, f.Close())
		p := reader.Previous()
		if end, found := ends[p.Segment]; found && end != p.End && !reader.Empty() {
			t.Errorf("%s was begun when segment %d ended at %d, and it ends at %d", name, p.Segment, p.End, end)
		}
		ends[number] = reader.End().Offset
	}
}

// The mark of a group after which the end comes at once would be for nothing.
func TestNoMarkBeforeTheEnd(t *testing.T) {
	r := newRig(t)
	w := r.newWriter()
	must(t, runWriter(w, synced(set("a", "1"))))
	if records := readSegment(t, r.mem, w.closed.WAL); len(records) != 1 {
		t.Errorf("the log holds %q", records)
	}
}

// A mark never asks the file system for room.
func TestNoMarkWithoutRoom(t *testing.T) {
	r := newRig(t)
	w := r.newWriter()
	for w.log.ReservedBytes()-w.log.Offset() >= maxMarkBytes {
		must(t, w.log.Append(base.GroupHeader{First: 1}.AppendTo(nil)))
	}
	must(t, w.log.Sync())
	reserved, offset := w.log.ReservedBytes(), w.log.Offset()
	must(t, w.mark())
	if w.log.ReservedBytes() != reserved || w.log.Offset() != offset || !w.unproven() {
		t.Errorf("the log ended at %d of %d, and ends at %d of %d", offset, reserved, w.log.Offset(), w.log.ReservedBytes())
	}
}
