package recovery

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
	"syscall"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
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
func newSettled(t *testing.T, logged int, closed bool) fixture.Filled {
	t.Helper()
	m := fixture.NewMachine(vfstest.NewDisk())
	d := m.OpenDB(t)
	f := fixture.Filled{Want: m.FillTables(t, d, 100), Logged: logged}
	fixture.Must(t, d.Compact(t.Context(), nil, nil))
	for i := range logged {
		key := fmt.Sprintf("log%05d", i)
		fixture.Must(t, d.Put([]byte(key), []byte("value")))
		f.Want[key] = "value"
	}
	f.Sequence = d.Metrics().Sequence
	for metrics := d.Metrics(); ; metrics = d.Metrics() { // until the Sweeper is done
		if tables, _ := metrics.Tables(); fixture.IsSwept(t, m.Disk, fixture.Dir, tables) {
			break
		}
		runtime.Gosched()
	}
	if closed {
		fixture.Must(t, d.Close())
	} else {
		m.Kill(d)
	}
	f.Files = fixture.FilesOf(t, m.Disk, fixture.Dir)
	return f
}

// mustBeAsBefore checks that a directory holds exactly these files.
func mustBeAsBefore(t *testing.T, what string, disk *vfstest.Disk, before fixture.Files) {
	t.Helper()
	after := fixture.FilesOf(t, disk, fixture.Dir)
	delete(after, "LOCK")
	before = before.With("LOCK", nil)
	if !maps.EqualFunc(before, after, bytes.Equal) {
		t.Errorf("%s: %v before, %v after", what, slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
	}
}

// TestReadingChangesNothing: who opens what was closed properly and only reads writes
// and syncs nothing; the mark of the clean close holds on, and what is then written
// survives like any other write.
func TestReadingChangesNothing(t *testing.T) {
	f := newSettled(t, 0, true)
	m := fixture.NewMachine(f.Disk(t))
	m.Fail(func(op vfstest.Op) error {
		if !changesFiles(op) {
			return nil
		}
		t.Errorf("%s %s", op.Kind, op.Name)
		return fixture.ErrDisk
	})
	for range 2 {
		d, err := db.Open(fixture.Dir, fixture.On(m, db.Options{}))
		fixture.Must(t, err)
		fixture.Must(t, fixture.Differ(f.Want, fixture.Contents(t, d)))
		it, err := d.NewIterator(nil)
		fixture.Must(t, err)
		fixture.Must(t, fixture.NewModelIterator(it, f.Want, nil).Scan())
		fixture.Must(t, it.Close())
		for key, value := range f.Want {
			if got, err := d.Get([]byte(key)); string(got) != value || err != nil {
				t.Errorf("%s: %q, %v", key, got, err)
			}
		}
		s, err := d.NewSnapshot()
		fixture.Must(t, err)
		if ok, err := s.Has([]byte("table00001")); !ok || err != nil {
			t.Errorf("snapshot: %v, %v", ok, err)
		}
		fixture.Must(t, s.Close())
		metrics := d.Metrics()
		if metrics.WAL != (db.WALMetrics{}) || !metrics.Recovery.CleanClose || metrics.Sequence != f.Sequence {
			t.Errorf("%+v, %+v, sequence %d of %d", metrics.WAL, metrics.Recovery, metrics.Sequence, f.Sequence)
		}
		fixture.Must(t, d.Close())
	}
	m.Fail(nil)
	if !maps.EqualFunc(f.Files, fixture.FilesOf(t, m.Disk, fixture.Dir), bytes.Equal) {
		t.Error("the files are not what they were")
	}
	survive(t, "after opens that only read", m.Disk, f.Want)
}

// TestUnwrittenDatabase creates a database and never writes to it, or only then.
func TestUnwrittenDatabase(t *testing.T) {
	disk := vfstest.NewDisk()
	d, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{}))
	fixture.Must(t, err)
	fixture.Must(t, d.Put([]byte("k"), nil))
	fixture.Must(t, d.Close())
	if left := fixture.FilesOf(t, disk, fixture.Dir); left["MANIFEST-000001"] != nil || len(left) != 4 {
		t.Errorf("%v", slices.Sorted(maps.Keys(left)))
	}
	disk = vfstest.NewDisk()
	for range 3 {
		d, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{}))
		fixture.Must(t, err)
		if n := len(fixture.Contents(t, d)); n != 0 {
			t.Errorf("%d keys", n)
		}
		fixture.Must(t, d.Close())
		disk = disk.CrashClone(nil)
	}
	d, err = db.Open(fixture.Dir, fixture.On(disk, db.Options{ReadOnly: true}))
	fixture.Must(t, err)
	fixture.Must(t, d.Close())
	survive(t, "nothing was ever written", disk, fixture.View{})
}

// heldTakeover opens what a killed process left, on a disk where what matches waits
// until release is called.
func heldTakeover(t *testing.T, disk *vfstest.Disk, matches func(vfstest.Op) bool) (m *fixture.Machine, d *db.DB, release func()) {
	t.Helper()
	m = fixture.NewMachine(disk)
	gate := make(chan struct{})
	reached := make(chan struct{}, 1)
	m.Fail(func(op vfstest.Op) error {
		if matches(op) {
			select {
			case reached <- struct{}{}:
			default:
			}
			<-gate
		}
		return nil
	})
	d, err := db.Open(fixture.Dir, fixture.On(m, db.Options{MemtableBytes: 1 << 20}))
	fixture.Must(t, err)
	<-reached
	return m, d, func() { close(gate) }
}

func creating(part string) func(vfstest.Op) bool {
	return func(op vfstest.Op) bool { return op.Kind == vfstest.OpCreate && strings.Contains(op.Name, part) }
}

// TestReadsDuringRecovery: while what the log held is taken over in the background,
// everything can be read, the first write waits, and its context may end the wait.
func TestReadsDuringRecovery(t *testing.T) {
	f := fixture.NewFilled(t, db.Sync)
	for _, part := range []string{".sst", ".wal", "MANIFEST", "CURRENT"} {
		m, d, release := heldTakeover(t, f.Disk(t), creating(part))
		fixture.Must(t, fixture.Differ(f.Want, fixture.Contents(t, d)))
		s, err := d.NewSnapshot()
		fixture.Must(t, err)
		if got, err := s.Get([]byte("log00001")); string(got) != f.Want["log00001"] || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		if metrics := d.Metrics(); metrics.Sequence != f.Sequence || metrics.Memtable.SealedCount != int64(f.Logged)+1 || metrics.WAL.Segment != 0 {
			t.Errorf("%+v", metrics)
		}
		b := d.NewBatch()
		fixture.Must(t, b.Put([]byte("impatient"), nil))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		fixture.WantErr(t, "a write with a deadline", d.Apply(ctx, b), context.DeadlineExceeded)
		cancel()
		written := make(chan error, 1)
		go func() { written <- d.Put([]byte("patient"), []byte("v")) }()
		time.Sleep(time.Millisecond)
		if len(written) > 0 {
			t.Errorf("a write did not wait for %s", part)
		}
		fixture.Must(t, fixture.Differ(f.Want, fixture.Contents(t, d)))
		release()
		fixture.Must(t, <-written)
		want := maps.Clone(f.Want)
		want["patient"] = "v"
		fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
		if got, err := s.Get([]byte("log00001")); string(got) != f.Want["log00001"] || err != nil {
			t.Errorf("after the takeover: %q, %v", got, err)
		}
		fixture.Must(t, s.Close())
		metrics := d.Metrics()
		if r := metrics.Recovery; r.TablesWritten != 1 || r.FilesRemoved < 4 || r.Operations != uint64(f.Logged)+1 || metrics.Memtable.Sealed != 0 {
			t.Errorf("%+v, %+v", r, metrics.Memtable)
		}
		lost := m.Disk.CrashClone(nil)
		fixture.Must(t, d.Close())
		fixture.MustHold(t, lost, want)
		if !fixture.MustHold(t, m.Disk, want).Recovery.CleanClose {
			t.Error("no clean close")
		}
	}
}

// TestPowerLostDuringTakeover cuts the power before every change that the takeover
// makes to the disk, after Open has returned. Before the switch of CURRENT the
// directory holds all that Open found.
func TestPowerLostDuringTakeover(t *testing.T) {
	for what, f := range map[string]fixture.Filled{"killed": newSettled(t, 10, false), "closed": newSettled(t, 10, true), "no log": newSettled(t, 0, true)} {
		for n, more := 1, true; more; n++ {
			m := fixture.NewMachine(f.Disk(t))
			seen, switched := 0, false
			var clones []*vfstest.Disk
			m.Fail(func(op vfstest.Op) error { // only the Keeper comes here
				if !changesFiles(op) {
					return nil
				}
				if seen++; seen == n {
					clones = append(clones, m.Disk.CrashClone(nil), m.Disk.CrashClone(rand.New(rand.NewPCG(1, uint64(n)))))
				}
				switched = switched || op.Kind == vfstest.OpRename && seen < n
				return nil
			})
			d, err := db.Open(fixture.Dir, fixture.On(m, db.Options{MemtableBytes: 1 << 20}))
			fixture.Must(t, err)
			fixture.Must(t, fixture.TakeOver(d))
			fixture.Must(t, fixture.Differ(f.Want, fixture.Contents(t, d)))
			m.Kill(d)
			if more = len(clones) > 0; !more && (seen < 10 || !switched) {
				t.Errorf("%s: the takeover made %d changes", what, seen)
			}
			for i, clone := range clones {
				what := fmt.Sprintf("%s, power lost before change %d of the takeover (%d)", what, n, i)
				left := fixture.FilesOf(t, clone, fixture.Dir)
				for name, data := range f.Files {
					if !switched && name != "LOCK" && !bytes.Equal(left[name], data) {
						t.Errorf("%s: %s is gone or changed", what, name)
					}
				}
				survive(t, what, clone, f.Want)
			}
		}
	}
}

// TestFailedTakeoverLeavesNothing: where there is room to read the log, but not to
// take it over, reads go on, writes are refused until there is room, and Close takes
// back what was made.
func TestFailedTakeoverLeavesNothing(t *testing.T) {
	f := fixture.NewFilled(t, db.Sync)
	refused := 0
	for free := int64(1); free < 400_000; free += 7001 {
		what := fmt.Sprintf("%d bytes free", free)
		disk := f.Disk(t)
		disk.SetLimit(disk.UsedBytes() + free)
		d, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{MemtableBytes: 1 << 20}))
		fixture.Must(t, err)
		fixture.Must(t, fixture.Differ(f.Want, fixture.Contents(t, d)))
		err = d.Put([]byte("k"), nil)
		if err == nil {
			fixture.Must(t, d.Close())
			continue
		}
		refused++
		for range 3 {
			if err := errors.Join(d.Put([]byte("k"), nil), d.Sync(t.Context())); !errors.Is(err, db.ErrDiskFull) || errors.Is(err, db.ErrReadOnly) {
				t.Errorf("%s: %v", what, err)
			}
		}
		fixture.Must(t, fixture.Differ(f.Want, fixture.Contents(t, d)))
		if free%2 == 0 {
			disk.SetLimit(0)
			fixture.Must(t, d.Put([]byte("k"), nil))
			fixture.Must(t, d.Close())
			want := maps.Clone(f.Want)
			want["k"] = ""
			fixture.MustHold(t, disk, want)
			continue
		}
		fixture.Must(t, d.Close()) // the log holds everything
		mustBeAsBefore(t, what, disk, f.Files)
		disk.SetLimit(0)
		fixture.MustHold(t, disk, f.Want)
	}
	if refused == 0 {
		t.Error("there was always room")
	}
	m := fixture.NewMachine(f.Disk(t))
	m.Failing(vfstest.OpCreate, "CURRENT", syscall.ENOSPC)
	d, err := db.Open(fixture.Dir, fixture.On(m, db.Options{MemtableBytes: 1 << 20}))
	fixture.Must(t, err)
	fixture.Must(t, d.Close())
	mustBeAsBefore(t, "no room for CURRENT", m.Disk, f.Files)
}

// TestDiskFullOnce has each operation of a takeover find the disk full once, one after
// the other: the next write carries it through, and nothing is left of the attempt.
func TestDiskFullOnce(t *testing.T) {
	f := newSettled(t, 10, true)
	refused := 0
	for n, more := 1, true; more; n++ {
		m := fixture.NewMachine(f.Disk(t))
		seen := 0
		m.Fail(func(op vfstest.Op) error { // only the Keeper comes here
			if op.Kind == vfstest.OpCreate || op.Kind == vfstest.OpWrite || op.Kind == vfstest.OpSync {
				if seen++; seen == n {
					return fmt.Errorf("%s %s: %w", op.Kind, op.Name, syscall.ENOSPC)
				}
			}
			return nil
		})
		d, err := db.Open(fixture.Dir, fixture.On(m, db.Options{MemtableBytes: 1 << 20}))
		fixture.Must(t, err)
		err = d.Sync(t.Context())
		if errors.Is(err, db.ErrDiskFull) {
			err = d.Sync(t.Context())
		}
		m.Fail(nil)
		what := fmt.Sprintf("disk full at operation %d", n)
		fixture.Must(t, fixture.Differ(f.Want, fixture.Contents(t, d)))
		if more = seen >= n; err != nil {
			refused++
			fixture.WantErr(t, what, err, db.ErrReadOnly) // where a full disk should not show any more
			if err := d.Close(); err == nil {
				t.Errorf("%s: Close knows nothing of it", what)
			}
		} else {
			fixture.Must(t, d.Close())
			left := fixture.FilesOf(t, m.Disk, fixture.Dir)
			metrics := d.Metrics()
			if tables, _ := metrics.Tables(); tables != len(left.Named(".sst")) || len(left.Named(".wal")) != 1 || len(left) != tables+4 {
				t.Errorf("%s: %d tables, and there are %v", what, tables, slices.Sorted(maps.Keys(left)))
			}
		}
		survive(t, what, m.Disk, f.Want)
	}
	if refused == 0 || refused > 8 {
		t.Errorf("%d failures were final", refused)
	}
}

// TestTakeoverFailsForGood: a directory sync that failed is not tried again, even if the
// disk is too full to remove the table whose name it was for.
func TestTakeoverFailsForGood(t *testing.T) {
	m := fixture.NewMachine(newSettled(t, 10, false).Disk(t))
	failed := false
	m.Fail(func(op vfstest.Op) error { // only the Keeper comes here
		switch {
		case op.Kind == vfstest.OpSyncDir && !failed:
			failed = true
			return fixture.ErrDisk
		case op.Kind == vfstest.OpRemove:
			return syscall.ENOSPC
		}
		return nil
	})
	d := m.OpenDB(t)
	fixture.WantErr(t, "a write", d.Put([]byte("k"), nil), db.ErrReadOnly)
	fixture.WantErr(t, "Close", d.Close(), fixture.ErrDisk)
}

// TestCloseDuringTakeover closes while the takeover is under way, at each of its steps:
// Close waits for it, and nothing is lost.
func TestCloseDuringTakeover(t *testing.T) {
	f := fixture.NewFilled(t, db.Sync)
	for _, part := range []string{".sst", ".wal", "MANIFEST", "CURRENT"} {
		m, d, release := heldTakeover(t, f.Disk(t), creating(part))
		closed := make(chan error, 1)
		go func() { closed <- d.Close() }()
		time.Sleep(time.Millisecond)
		if len(closed) > 0 {
			t.Errorf("Close did not wait for %s", part)
		}
		release()
		fixture.Must(t, <-closed)
		if !fixture.MustHold(t, m.Disk, f.Want).Recovery.CleanClose {
			t.Errorf("%s: no clean close", part)
		}
	}
}

// TestCloseMarksWhatWasKilled: who opens a database that was killed and closes it
// again leaves the mark of a clean close, even if the log held nothing.
func TestCloseMarksWhatWasKilled(t *testing.T) {
	f := newSettled(t, 0, false)
	disk := f.Disk(t)
	for _, clean := range []bool{false, true, true} {
		d, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{}))
		fixture.Must(t, err)
		if r := d.Metrics().Recovery; r.CleanClose != clean || r.Operations != 0 {
			t.Errorf("clean close: %t, want %t; %d operations replayed", r.CleanClose, clean, r.Operations)
		}
		fixture.Must(t, d.Close())
	}
	fixture.MustHold(t, disk, f.Want)
}

// TestPanicBehindTheSwitch: when CURRENT may name the new MANIFEST, Close must not
// take the takeover back.
func TestPanicBehindTheSwitch(t *testing.T) {
	f := newSettled(t, 50, true)
	disk := f.Disk(t)
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
	d, err := db.Open(fixture.Dir, fixture.On(fs, db.Options{}))
	fixture.Must(t, err)
	if d.Put([]byte("k"), []byte("v")) == nil {
		t.Error("a write after the panic")
	}
	_ = d.Close()
	fixture.MustHold(t, disk, f.Want)
}
