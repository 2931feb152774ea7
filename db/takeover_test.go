package db

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"lsmdb/internal/vfstest"
)

// changesFiles reports whether an operation writes, syncs, or changes a directory.
func changesFiles(op vfstest.Op) bool {
	switch op.Kind {
	case vfstest.OpRead, vfstest.OpStat, vfstest.OpList, vfstest.OpClose, vfstest.OpOpen, vfstest.OpOpenDir, vfstest.OpCheck, vfstest.OpLock:
		return false
	}
	return true
}

// newSettled makes a database that compaction has nothing to do for, with so many
// keys in its log, of a process that closed it or was killed.
func newSettled(t *testing.T, logged int, closed bool) filled {
	t.Helper()
	m := newMachine(vfstest.NewDisk())
	d := m.open(t)
	f := filled{want: fillTables(t, d, 100), logged: logged}
	must(t, d.Compact(t.Context(), nil, nil))
	for i := range logged {
		key := fmt.Sprintf("log%05d", i)
		must(t, d.Put([]byte(key), []byte("value")))
		f.want[key] = "value"
	}
	f.sequence = d.Metrics().Sequence
	for metrics := d.Metrics(); ; metrics = d.Metrics() { // until the Sweeper is done
		there, err := listDirectory(m.disk, at)
		must(t, err)
		if tables, _ := metrics.Tables(); tables == len(there.tables) && len(there.wals) == 1 {
			break
		}
		runtime.Gosched()
	}
	if closed {
		must(t, d.Close())
	} else {
		m.kill(d)
	}
	f.files = filesOf(t, m.disk, at)
	return f
}

// mustBeAsBefore checks that a directory holds exactly these files.
func mustBeAsBefore(t *testing.T, what string, disk *vfstest.Disk, before files) {
	t.Helper()
	after := filesOf(t, disk, at)
	delete(after, "LOCK")
	before = before.with("LOCK", nil)
	if !maps.EqualFunc(before, after, bytes.Equal) {
		t.Errorf("%s: %v before, %v after", what, slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
	}
}

// TestReadingChangesNothing: who opens what was closed properly and only reads writes
// and syncs nothing; the mark of the clean close holds on, and what is then written
// survives like any other write.
func TestReadingChangesNothing(t *testing.T) {
	f := newSettled(t, 0, true)
	m := newMachine(f.disk(t))
	m.fail(func(op vfstest.Op) error {
		if !changesFiles(op) {
			return nil
		}
		t.Errorf("%s %s", op.Kind, op.Name)
		return errDisk
	})
	for range 2 {
		d, err := Open(at, &Options{fs: m})
		must(t, err)
		must(t, differ(f.want, contents(t, d)))
		it, err := d.NewIterator(nil)
		must(t, err)
		must(t, newModelIterator(it, f.want, nil).scan())
		must(t, it.Close())
		for key, value := range f.want {
			if got, err := d.Get([]byte(key)); string(got) != value || err != nil {
				t.Errorf("%s: %q, %v", key, got, err)
			}
		}
		s, err := d.NewSnapshot()
		must(t, err)
		if ok, err := s.Has([]byte("table00001")); !ok || err != nil {
			t.Errorf("snapshot: %v, %v", ok, err)
		}
		must(t, s.Close())
		metrics := d.Metrics()
		if metrics.WAL != (WALMetrics{}) || !metrics.Recovery.CleanClose || metrics.Sequence != f.sequence {
			t.Errorf("%+v, %+v, sequence %d of %d", metrics.WAL, metrics.Recovery, metrics.Sequence, f.sequence)
		}
		must(t, d.Close())
	}
	m.fail(nil)
	if !maps.EqualFunc(f.files, filesOf(t, m.disk, at), bytes.Equal) {
		t.Error("the files are not what they were")
	}
	survive(t, "after opens that only read", m.disk, f.want)
}

// TestUnwrittenDatabase creates a database and never writes to it, or only then.
func TestUnwrittenDatabase(t *testing.T) {
	disk := vfstest.NewDisk()
	d, err := Open(at, &Options{fs: disk})
	must(t, err)
	must(t, d.Put([]byte("k"), nil))
	must(t, d.Close())
	if left := filesOf(t, disk, at); left["MANIFEST-000001"] != nil || len(left) != 4 {
		t.Errorf("%v", slices.Sorted(maps.Keys(left)))
	}
	disk = vfstest.NewDisk()
	for range 3 {
		d, err := Open(at, &Options{fs: disk})
		must(t, err)
		if n := len(contents(t, d)); n != 0 {
			t.Errorf("%d keys", n)
		}
		must(t, d.Close())
		disk = disk.CrashClone(nil)
	}
	d, err = Open(at, &Options{fs: disk, ReadOnly: true})
	must(t, err)
	must(t, d.Close())
	survive(t, "nothing was ever written", disk, view{})
}

// heldTakeover opens what a killed process left, on a disk where what matches waits
// until release is called.
func heldTakeover(t *testing.T, disk *vfstest.Disk, matches func(vfstest.Op) bool) (m *machine, d *DB, release func()) {
	t.Helper()
	m = newMachine(disk)
	gate := make(chan struct{})
	reached := make(chan struct{}, 1)
	m.fail(func(op vfstest.Op) error {
		if matches(op) {
			select {
			case reached <- struct{}{}:
			default:
			}
			<-gate
		}
		return nil
	})
	d, err := Open(at, &Options{MemtableBytes: 1 << 20, fs: m})
	must(t, err)
	<-reached
	return m, d, func() { close(gate) }
}

func creating(part string) func(vfstest.Op) bool {
	return func(op vfstest.Op) bool { return op.Kind == vfstest.OpCreate && strings.Contains(op.Name, part) }
}

// TestReadsDuringRecovery: while what the log held is taken over in the background,
// everything can be read, the first write waits, and its context may end the wait.
func TestReadsDuringRecovery(t *testing.T) {
	f := newFilled(t, Sync)
	for _, part := range []string{".sst", ".wal", "MANIFEST", "CURRENT"} {
		m, d, release := heldTakeover(t, f.disk(t), creating(part))
		must(t, differ(f.want, contents(t, d)))
		s, err := d.NewSnapshot()
		must(t, err)
		if got, err := s.Get([]byte("log00001")); string(got) != f.want["log00001"] || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		if metrics := d.Metrics(); metrics.Sequence != f.sequence || metrics.Memtable.SealedCount != int64(f.logged)+1 || metrics.WAL.Segment != 0 {
			t.Errorf("%+v", metrics)
		}
		b := d.NewBatch()
		must(t, b.Put([]byte("impatient"), nil))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		wantErr(t, "a write with a deadline", d.Apply(ctx, b), context.DeadlineExceeded)
		cancel()
		written := make(chan error, 1)
		go func() { written <- d.Put([]byte("patient"), []byte("v")) }()
		time.Sleep(time.Millisecond)
		if len(written) > 0 {
			t.Errorf("a write did not wait for %s", part)
		}
		must(t, differ(f.want, contents(t, d)))
		release()
		must(t, <-written)
		want := maps.Clone(f.want)
		want["patient"] = "v"
		must(t, differ(want, contents(t, d)))
		if got, err := s.Get([]byte("log00001")); string(got) != f.want["log00001"] || err != nil {
			t.Errorf("after the takeover: %q, %v", got, err)
		}
		must(t, s.Close())
		metrics := d.Metrics()
		if r := metrics.Recovery; r.TablesWritten != 1 || r.FilesRemoved < 4 || r.Operations != uint64(f.logged)+1 || metrics.Memtable.Sealed != 0 {
			t.Errorf("%+v, %+v", r, metrics.Memtable)
		}
		lost := m.disk.CrashClone(nil)
		must(t, d.Close())
		mustHold(t, lost, want)
		if !mustHold(t, m.disk, want).Recovery.CleanClose {
			t.Error("no clean close")
		}
	}
}

// TestPowerLostDuringTakeover cuts the power before every change that the takeover
// makes to the disk, after Open has returned. Before the switch of CURRENT the
// directory holds all that Open found.
func TestPowerLostDuringTakeover(t *testing.T) {
	for what, f := range map[string]filled{"killed": newSettled(t, 10, false), "closed": newSettled(t, 10, true), "no log": newSettled(t, 0, true)} {
		for n, more := 1, true; more; n++ {
			m := newMachine(f.disk(t))
			seen, switched := 0, false
			var clones []*vfstest.Disk
			m.fail(func(op vfstest.Op) error { // only the Keeper comes here
				if !changesFiles(op) {
					return nil
				}
				if seen++; seen == n {
					clones = append(clones, m.disk.CrashClone(nil), m.disk.CrashClone(rand.New(rand.NewPCG(1, uint64(n)))))
				}
				switched = switched || op.Kind == vfstest.OpRename && seen < n
				return nil
			})
			d, err := Open(at, &Options{MemtableBytes: 1 << 20, fs: m})
			must(t, err)
			must(t, takeOver(d))
			must(t, differ(f.want, contents(t, d)))
			m.kill(d)
			if more = len(clones) > 0; !more && (seen < 10 || !switched) {
				t.Errorf("%s: the takeover made %d changes", what, seen)
			}
			for i, clone := range clones {
				what := fmt.Sprintf("%s, power lost before change %d of the takeover (%d)", what, n, i)
				left := filesOf(t, clone, at)
				for name, data := range f.files {
					if !switched && name != "LOCK" && !bytes.Equal(left[name], data) {
						t.Errorf("%s: %s is gone or changed", what, name)
					}
				}
				survive(t, what, clone, f.want)
			}
		}
	}
}

// TestFailedTakeoverLeavesNothing: where there is room to read the log, but not to
// take it over, reads go on, writes are refused until there is room, and Close takes
// back what was made.
func TestFailedTakeoverLeavesNothing(t *testing.T) {
	f := newFilled(t, Sync)
	refused := 0
	for free := int64(1); free < 400_000; free += 7001 {
		what := fmt.Sprintf("%d bytes free", free)
		disk := f.disk(t)
		disk.SetLimit(disk.UsedBytes() + free)
		d, err := Open(at, &Options{MemtableBytes: 1 << 20, fs: disk})
		must(t, err)
		must(t, differ(f.want, contents(t, d)))
		err = d.Put([]byte("k"), nil)
		if err == nil {
			must(t, d.Close())
			continue
		}
		refused++
		for range 3 {
			if err := errors.Join(d.Put([]byte("k"), nil), d.Sync(t.Context())); !errors.Is(err, ErrDiskFull) || errors.Is(err, ErrReadOnly) {
				t.Errorf("%s: %v", what, err)
			}
		}
		must(t, differ(f.want, contents(t, d)))
		if free%2 == 0 {
			disk.SetLimit(0)
			must(t, d.Put([]byte("k"), nil))
			must(t, d.Close())
			want := maps.Clone(f.want)
			want["k"] = ""
			mustHold(t, disk, want)
			continue
		}
		wantErr(t, what+": Close", d.Close(), ErrDiskFull)
		mustBeAsBefore(t, what, disk, f.files)
		disk.SetLimit(0)
		mustHold(t, disk, f.want)
	}
	if refused == 0 {
		t.Error("there was always room")
	}
	m := newMachine(f.disk(t))
	m.failing(vfstest.OpCreate, "CURRENT", ErrDiskFull)
	d, err := Open(at, &Options{MemtableBytes: 1 << 20, fs: m})
	must(t, err)
	wantErr(t, "Close without room for CURRENT", d.Close(), ErrDiskFull)
	mustBeAsBefore(t, "no room for CURRENT", m.disk, f.files)
}

// TestDiskFullOnce has each operation of a takeover find the disk full once, one after
// the other: the next write carries it through, and nothing is left of the attempt.
func TestDiskFullOnce(t *testing.T) {
	f := newSettled(t, 10, true)
	refused := 0
	for n, more := 1, true; more; n++ {
		m := newMachine(f.disk(t))
		seen := 0
		m.fail(func(op vfstest.Op) error { // only the Keeper comes here
			if op.Kind == vfstest.OpCreate || op.Kind == vfstest.OpWrite || op.Kind == vfstest.OpSync {
				if seen++; seen == n {
					return fmt.Errorf("%s %s: %w", op.Kind, op.Name, ErrDiskFull)
				}
			}
			return nil
		})
		d, err := Open(at, &Options{MemtableBytes: 1 << 20, fs: m})
		must(t, err)
		err = d.Sync(t.Context())
		if errors.Is(err, ErrDiskFull) {
			err = d.Sync(t.Context())
		}
		m.fail(nil)
		what := fmt.Sprintf("disk full at operation %d", n)
		must(t, differ(f.want, contents(t, d)))
		if more = seen >= n; err != nil {
			refused++
			wantErr(t, what, err, ErrReadOnly) // where a full disk should not show any more
			if err := d.Close(); err == nil {
				t.Errorf("%s: Close knows nothing of it", what)
			}
		} else {
			must(t, d.Close())
			left := filesOf(t, m.disk, at)
			metrics := d.Metrics()
			if tables, _ := metrics.Tables(); tables != len(left.named(".sst")) || len(left.named(".wal")) != 1 || len(left) != tables+4 {
				t.Errorf("%s: %d tables, and there are %v", what, tables, slices.Sorted(maps.Keys(left)))
			}
		}
		survive(t, what, m.disk, f.want)
	}
	if refused == 0 || refused > 8 {
		t.Errorf("%d failures were final", refused)
	}
}

// TestTakeoverFailsForGood: a directory sync that failed is not tried again, even if the
// disk is too full to remove the table whose name it was for.
func TestTakeoverFailsForGood(t *testing.T) {
	m := newMachine(newSettled(t, 10, false).disk(t))
	failed := false
	m.fail(func(op vfstest.Op) error { // only the Keeper comes here
		switch {
		case op.Kind == vfstest.OpSyncDir && !failed:
			failed = true
			return errDisk
		case op.Kind == vfstest.OpRemove:
			return ErrDiskFull
		}
		return nil
	})
	d := m.open(t)
	wantErr(t, "a write", d.Put([]byte("k"), nil), ErrReadOnly)
	wantErr(t, "Close", d.Close(), errDisk)
}

// TestCloseDuringTakeover closes while the takeover is under way, at each of its steps:
// Close waits for it, and nothing is lost.
func TestCloseDuringTakeover(t *testing.T) {
	f := newFilled(t, Sync)
	for _, part := range []string{".sst", ".wal", "MANIFEST", "CURRENT"} {
		m, d, release := heldTakeover(t, f.disk(t), creating(part))
		closed := make(chan error, 1)
		go func() { closed <- d.Close() }()
		time.Sleep(time.Millisecond)
		if len(closed) > 0 {
			t.Errorf("Close did not wait for %s", part)
		}
		release()
		must(t, <-closed)
		if !mustHold(t, m.disk, f.want).Recovery.CleanClose {
			t.Errorf("%s: no clean close", part)
		}
	}
}

// TestTakeoverHoldsNothing: neither what was replayed nor the tables that Open found
// are kept alive by the open database.
func TestTakeoverHoldsNothing(t *testing.T) {
	f := newFilled(t, Sync)
	d, err := Open(at, &Options{MemtableBytes: 1 << 20, fs: f.disk(t)})
	must(t, err)
	released := make(chan struct{})
	runtime.AddCleanup(d.published.State().Sealed[0], func(struct{}) { close(released) }, struct{}{})
	must(t, differ(f.want, contents(t, d))) // opens all tables
	must(t, takeOver(d))
	for key := range f.want {
		must(t, d.Put([]byte(key), []byte("new"), NoSync))
	}
	must(t, d.Compact(t.Context(), nil, nil))
	metrics := d.Metrics()
	live, _ := metrics.Tables()
	for try := 0; d.Metrics().Files.OpenTables > live; try++ {
		if runtime.GC(); try > 100 {
			t.Fatalf("%d tables are open, %d are in the tree", d.Metrics().Files.OpenTables, live)
		}
		time.Sleep(time.Millisecond)
	}
	<-released
	must(t, d.Close())
}

// TestCloseMarksWhatWasKilled: who opens a database that was killed and closes it
// again leaves the mark of a clean close, even if the log held nothing.
func TestCloseMarksWhatWasKilled(t *testing.T) {
	f := newSettled(t, 0, false)
	disk := f.disk(t)
	for _, clean := range []bool{false, true, true} {
		d, err := Open(at, &Options{fs: disk})
		must(t, err)
		if r := d.Metrics().Recovery; r.CleanClose != clean || r.Operations != 0 {
			t.Errorf("clean close: %t, want %t; %d operations replayed", r.CleanClose, clean, r.Operations)
		}
		must(t, d.Close())
	}
	mustHold(t, disk, f.want)
}

// TestPanicBehindTheSwitch: when CURRENT may name the new MANIFEST, Close must not
// take the takeover back.
func TestPanicBehindTheSwitch(t *testing.T) {
	f := newSettled(t, 50, true)
	disk := f.disk(t)
	renamed := false
	fs := vfstest.NewFault(disk, func(op vfstest.Op) error {
		if op.Kind == vfstest.OpRename {
			renamed = true
		} else if renamed && op.Kind == vfstest.OpSyncDir {
			renamed = false
			panic("our own bug")
		}
		return nil
	})
	d, err := Open(at, &Options{fs: fs})
	must(t, err)
	if d.Put([]byte("k"), []byte("v")) == nil {
		t.Error("a write after the panic")
	}
	_ = d.Close()
	mustHold(t, disk, f.want)
}
