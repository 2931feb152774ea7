// Package faults makes operations on files fail, and fills disks. It consists of tests.
package faults

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// running is a database on a machine, with some keys in tables and some in memory.
func running(t *testing.T) (*fixture.Machine, *db.DB, fixture.View) {
	t.Helper()
	m := fixture.NewMachine(vfstest.NewDisk())
	d := m.OpenDB(t)
	want := m.FillTables(t, d, 100)
	for i := range 5 {
		key := fmt.Sprintf("memory%d", i)
		fixture.Must(t, d.Put([]byte(key), []byte("value")))
		want[key] = "value"
	}
	return m, d, want
}

// mustHaveStopped checks that the database is read-only because of ErrDisk, and that
// reads go on.
func mustHaveStopped(t *testing.T, d *db.DB, want fixture.View) {
	t.Helper()
	for d.Metrics().Failure == "" { // the Flusher answers a moment before it stops the others
		runtime.Gosched()
	}
	stopped := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, db.ErrReadOnly) || !errors.Is(err, fixture.ErrDisk) && !strings.Contains(err.Error(), fixture.ErrDisk.Error()) {
			t.Errorf("%s: %v, want ErrReadOnly because of %v", what, err, fixture.ErrDisk)
		}
	}
	ctx := t.Context()
	for range 3 {
		stopped("Put", d.Put([]byte("late"), nil, db.NoSync))
		stopped("Delete", d.Delete([]byte("memory0")))
	}
	b := d.NewBatch()
	fixture.Must(t, b.Put([]byte("late"), nil))
	stopped("Apply", d.Apply(ctx, b))
	p, err := d.Submit(ctx, b)
	if err == nil {
		err = p.Wait(ctx)
	}
	stopped("Submit", err)
	stopped("Sync", d.Sync(ctx))
	stopped("Flush", d.Flush(ctx))
	stopped("Compact", d.Compact(ctx, nil, nil))
	stopped("Health", d.Health())
	if failure := d.Metrics().Failure; !strings.Contains(failure, fixture.ErrDisk.Error()) {
		t.Errorf("Metrics.Failure is %q", failure)
	}
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
	s, err := d.NewSnapshot()
	fixture.Must(t, err)
	if v, err := s.Get([]byte("memory1")); string(v) != "value" || err != nil {
		t.Errorf("snapshot of a stopped database: %q, %v", v, err)
	}
	fixture.Must(t, s.Close())
}

// mustReopen closes a stopped database, which tells why, and opens it again.
func mustReopen(t *testing.T, m *fixture.Machine, d *db.DB, want fixture.View) {
	t.Helper()
	err := d.Close()
	if err == nil || !strings.Contains(err.Error(), fixture.ErrDisk.Error()) {
		t.Errorf("Close of a stopped database: %v", err)
	}
	if again := d.Close(); again == nil || again.Error() != err.Error() {
		t.Errorf("second Close: %v", again)
	}
	fixture.WantErr(t, "Put after Close", d.Put(nil, nil), db.ErrClosed)
	m.Fail(nil)
	d = m.OpenDB(t)
	if got := fixture.Contents(t, d); got["indeterminate"] != "" {
		want["indeterminate"] = got["indeterminate"]
	}
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
	fixture.Must(t, d.Put([]byte("new"), nil))
	fixture.Must(t, d.Close())
}

func TestWALFailure(t *testing.T) {
	for what, inject := range map[string]func(vfstest.Op) error{
		"write":       onWAL(vfstest.OpWrite, fixture.ErrDisk),
		"short write": onWAL(vfstest.OpWrite, &vfstest.ShortWrite{Bytes: 9, Err: fixture.ErrDisk}),
		"late write":  onWAL(vfstest.OpWrite, &vfstest.Late{Err: fixture.ErrDisk}),
		"sync":        onWAL(vfstest.OpSync, fixture.ErrDisk),
		"late sync":   onWAL(vfstest.OpSync, &vfstest.Late{Err: fixture.ErrDisk}),
	} {
		t.Run(what, func(t *testing.T) {
			m, d, want := running(t)
			var attempts atomic.Int32
			m.Fail(func(op vfstest.Op) error {
				err := inject(op)
				if err != nil && attempts.Add(1) > 1 { // never retried
					t.Errorf("%s of %s again after a failure", op.Kind, op.Name)
				}
				return err
			})
			err := d.Put([]byte("indeterminate"), []byte("value"))
			if !errors.Is(err, db.ErrReadOnly) || !errors.Is(err, fixture.ErrDisk) {
				t.Errorf("Put: %v", err)
			}
			mustHaveStopped(t, d, want)
			mustReopen(t, m, d, want)
		})
	}
}

func onWAL(kind vfstest.OpKind, err error) func(vfstest.Op) error {
	return func(op vfstest.Op) error {
		if op.Kind == kind && strings.HasSuffix(op.Name, ".wal") {
			return err
		}
		return nil
	}
}

// TestTreeFailure breaks what flushes and the MANIFEST need.
func TestTreeFailure(t *testing.T) {
	for _, c := range []struct {
		kind vfstest.OpKind
		part string
	}{
		{vfstest.OpWrite, "MANIFEST"}, {vfstest.OpSync, "MANIFEST"}, {vfstest.OpSyncDir, ""}, {vfstest.OpCreate, ".wal"},
		{vfstest.OpCreate, ".sst"}, {vfstest.OpWrite, ".sst"}, {vfstest.OpSync, ".sst"}, {vfstest.OpClose, ".sst"},
	} {
		t.Run(fmt.Sprint(c.kind, c.part), func(t *testing.T) {
			m, d, want := running(t)
			m.Failing(c.kind, c.part, fixture.ErrDisk)
			if err := d.Flush(t.Context()); !errors.Is(err, db.ErrReadOnly) || !strings.Contains(err.Error(), fixture.ErrDisk.Error()) {
				t.Errorf("Flush: %v", err)
			}
			if r := d.Metrics().Flush.Retries; r != 0 && c.part != ".sst" {
				t.Errorf("%d retries, but after this failure nobody knows what the disk holds", r)
			}
			mustHaveStopped(t, d, want)
			mustReopen(t, m, d, want)
		})
	}
}

// TestFlushIsTriedAgain lets two attempts of a flush fail.
func TestFlushIsTriedAgain(t *testing.T) {
	m, d, want := running(t)
	var failures atomic.Int32
	m.Fail(func(op vfstest.Op) error {
		if op.Kind == vfstest.OpSync && strings.HasSuffix(op.Name, ".sst") && failures.Add(1) <= 2 {
			return fixture.ErrDisk
		}
		return nil
	})
	fixture.Must(t, d.Flush(t.Context()))
	if r := d.Metrics().Flush.Retries; r != 2 {
		t.Errorf("%d retries, want 2", r)
	}
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
	fixture.Must(t, d.Close())
	reader, err := db.Open(fixture.Dir, fixture.On(m.Disk, db.Options{ReadOnly: true})) // which merges nothing meanwhile
	fixture.Must(t, err)
	listed := reader.Metrics()
	fixture.Must(t, reader.Close())
	if count, _ := listed.Tables(); count != len(fixture.FilesOf(t, m.Disk, fixture.Dir).Named(".sst")) {
		t.Errorf("%d tables are listed, the directory holds %v", count, fixture.FilesOf(t, m.Disk, fixture.Dir).Named(".sst"))
	}
	fixture.MustHold(t, m.Disk, want)
}

// TestDiskFullInWAL: writers are refused while there is no room, nothing is torn, and
// writes go on by themselves when there is.
func TestDiskFullInWAL(t *testing.T) {
	m, d, want := running(t)
	m.Disk.SetLimit(m.Disk.UsedBytes())
	big := []byte(strings.Repeat("big", 100_000))
	for range 3 {
		fixture.WantErr(t, "Put on a full disk", d.Put([]byte("big"), big), db.ErrDiskFull)
		b := d.NewBatch()
		fixture.Must(t, b.Put([]byte("big"), big))
		_, err := d.Submit(t.Context(), b) // which prepares it
		fixture.WantErr(t, "Submit on a full disk", err, db.ErrDiskFull)
		for range 5 {
			fixture.WantErr(t, "Health on a full disk", d.Health(), db.ErrDiskFull)
			fixture.Must(t, d.Sync(t.Context())) // behind what Health has asked for
		}
	}
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
	m.Disk.SetLimit(0)
	for d.Health() != nil { // nobody writes
		fixture.Must(t, d.Sync(t.Context()))
	}
	fixture.Must(t, d.Put([]byte("big"), big))
	fixture.Must(t, d.Health())
	want["big"] = string(big)
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
	if f := d.Metrics().Failure; f != "" {
		t.Errorf("a full disk is no failure: %s", f)
	}
	m.Kill(d)
	fixture.MustHold(t, m.Disk, want)
}

// TestDiskFullInFlush: the flush waits for room; writers feel back-pressure and their
// context lets them go.
func TestDiskFullInFlush(t *testing.T) {
	m, d, want := running(t)
	m.Failing(vfstest.OpWrite, ".sst", syscall.ENOSPC)
	flushUntilFull(t, d)
	fixture.WantErr(t, "Health", d.Health(), db.ErrDiskFull)
	b := d.NewBatch()
	press(t, d, b, want)
	if s := d.Metrics().Stalls; s.Behind != "flusher" || s.Count == 0 {
		t.Errorf("stalls: %+v", s)
	}
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
	b.Reset() // the writer may still look at what was abandoned, but that is not the batch's any more
	fixture.Must(t, b.Put([]byte("reused"), []byte("batch")))
	want["reused"] = "batch"
	m.Fail(nil)
	fixture.Must(t, d.Apply(t.Context(), b))
	fixture.Must(t, d.Flush(t.Context()))
	fixture.Must(t, d.Health())
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
	fixture.Must(t, d.Close())
	fixture.WantErr(t, "Health of a closed database", d.Health(), db.ErrClosed)
	fixture.MustHold(t, m.Disk, want)
}

// TestHealthBehindACompactionThatWasGivenUp: a full disk is told only while somebody waits for room.
func TestHealthBehindACompactionThatWasGivenUp(t *testing.T) {
	m, d, _ := running(t)
	fixture.Must(t, d.Flush(t.Context()))
	m.Failing(vfstest.OpWrite, ".sst", syscall.ENOSPC)
	ctx, cancel := context.WithCancel(t.Context())
	compacted := make(chan error)
	go func() { compacted <- d.Compact(ctx, nil, nil) }()
	for d.Health() == nil {
		runtime.Gosched()
	}
	fixture.WantErr(t, "Health", d.Health(), db.ErrDiskFull)
	cancel()
	fixture.WantErr(t, "Compact", <-compacted, context.Canceled)
	m.Fail(nil)
	for d.Health() != nil {
		fixture.Must(t, d.Put([]byte("busy"), nil)) // so nothing is merged that need not be
		time.Sleep(50 * time.Millisecond)
	}
	fixture.Must(t, d.Close())
}

// TestHealthBehindALargeCommit: there was room for it, and none for a log behind it, without which
// every write is refused.
func TestHealthBehindALargeCommit(t *testing.T) {
	m, d, _ := running(t)
	b := d.NewBatch()
	fixture.Must(t, b.Put([]byte("large"), []byte(strings.Repeat("x", 40_000))))
	m.Fail(onWAL(vfstest.OpCreate, syscall.ENOSPC))
	fixture.Must(t, d.Apply(t.Context(), b))
	fixture.Must(t, d.Sync(t.Context())) // the commit is acknowledged before the Writer meets the shortage
	for range 3 {
		fixture.WantErr(t, "Health", d.Health(), db.ErrDiskFull)
		fixture.Must(t, d.Sync(t.Context())) // behind what Health has asked for
	}
	fixture.WantErr(t, "Put", d.Put([]byte("k"), []byte("v")), db.ErrDiskFull)
	m.Fail(nil)
	for d.Health() != nil { // nobody writes
		runtime.Gosched()
	}
	fixture.Must(t, d.Put([]byte("k"), []byte("v")))
	fixture.Must(t, d.Close())
}

// TestHealthWhileWritersWait: whatever the Writer waits for, Health tells it after a second, and
// leaves its inbox to others.
func TestHealthWhileWritersWait(t *testing.T) {
	m, d, _ := running(t)
	hang := make(chan struct{})
	m.Fail(func(op vfstest.Op) error {
		if op.Kind == vfstest.OpSync && strings.HasSuffix(op.Name, ".wal") {
			<-hang
		}
		return nil
	})
	put := make(chan error)
	go func() { put <- d.Put([]byte("k"), []byte("v"), db.Sync) }()
	for d.Health() == nil {
		time.Sleep(time.Millisecond)
	}
	if err := d.Health(); !strings.Contains(err.Error(), "waiting for the disk since") {
		t.Errorf("Health while the disk does not answer: %v", err)
	}
	close(hang)
	fixture.Must(t, <-put)
	fixture.Must(t, d.Sync(t.Context()))
	fixture.Must(t, d.Health())

	m.Failing(vfstest.OpWrite, ".sst", syscall.ENOSPC)
	press(t, d, d.NewBatch(), fixture.View{})
	waiting := d.Metrics().Stages[0].Depth
	for range 200 {
		fixture.WantErr(t, "Health", d.Health(), db.ErrDiskFull)
	}
	if now := d.Metrics().Stages[0].Depth; now > waiting+1 {
		t.Errorf("%d messages wait for the Writer, %d before Health was asked", now, waiting)
	}
	m.Fail(nil)
	fixture.Must(t, d.Close())
}

// TestCloseOnFullDisk: Close does not wait for room, and the WAL holds everything.
func TestCloseOnFullDisk(t *testing.T) {
	m, d, want := running(t)
	m.Failing(vfstest.OpCreate, ".sst", syscall.ENOSPC)
	flushUntilFull(t, d)
	fixture.Must(t, d.Close())
	fixture.MustHold(t, m.Disk, want)
}

// TestDeletionFailure: files that cannot be deleted are no failure; the next open
// deletes them.
func TestDeletionFailure(t *testing.T) {
	m, d, want := running(t)
	m.Failing(vfstest.OpRemove, "", fixture.ErrDisk)
	fixture.Must(t, d.Put([]byte("table00000"), nil))
	want["table00000"] = ""
	fixture.Must(t, d.Compact(t.Context(), nil, nil))
	fixture.Must(t, d.Put([]byte("more"), nil))
	want["more"] = ""
	fixture.Must(t, d.Close())
	before := fixture.FilesOf(t, m.Disk, fixture.Dir).Named(".sst")
	m.Fail(nil)
	metrics := fixture.MustHold(t, m.Disk, want)
	after := fixture.FilesOf(t, m.Disk, fixture.Dir)
	left := slices.DeleteFunc(slices.Clone(before), func(name string) bool { return after[name] == nil })
	if len(left) == len(before) || metrics.Recovery.FilesRemoved == 0 {
		t.Errorf("of %v %v are left; %+v", before, left, metrics.Recovery)
	}
}

// damagedBlock returns a closed database with damage in the first block of its
// largest table, and that table's name.
func damagedBlock(t *testing.T) (fixture.Filled, string) {
	t.Helper()
	m := fixture.NewMachine(vfstest.NewDisk())
	d, err := db.Open(fixture.Dir, fixture.On(m, db.Options{MemtableBytes: 1 << 20, Compression: db.NoCompression}))
	fixture.Must(t, err)
	f := fixture.Filled{Want: m.FillTables(t, d, 300)}
	fixture.Must(t, d.Close())
	f.Files = fixture.FilesOf(t, m.Disk, fixture.Dir)
	name := f.Named(".sst")[0]
	return fixture.Filled{Files: f.Flipped(name, 100), Want: f.Want}, name
}

func TestDamagedBlockOnRead(t *testing.T) {
	f, name := damagedBlock(t)
	d, err := db.Open(fixture.Dir, fixture.On(f.Disk(t), db.Options{}))
	fixture.Must(t, err)
	bad := 0
	for key, value := range f.Want {
		got, err := d.Get([]byte(key))
		damage, ok := errors.AsType[*db.CorruptionError](err)
		switch {
		case ok:
			bad++
			if filepath.Base(damage.File) != name || damage.Offset != 0 || !errors.Is(err, db.ErrCorrupt) || key >= "table00030" {
				t.Errorf("%s: %v", key, err)
			}
		case err != nil || string(got) != value:
			t.Errorf("%s: %q, %v", key, got, err)
		}
	}
	if bad == 0 || bad > 25 {
		t.Errorf("%d keys cannot be read, one block of them was damaged", bad)
	}
	it, err := d.NewIterator(nil)
	fixture.Must(t, err)
	if it.First() || !errors.Is(it.Err(), db.ErrCorrupt) {
		t.Errorf("iterator at the damage: %q, %v", it.Key(), it.Err())
	}
	n := 0
	for range it.Backward() {
		n++
	}
	// Whether the last key before the damage has a newer version, it would tell.
	if !errors.Is(it.Err(), db.ErrCorrupt) || n != 300-bad-1 {
		t.Errorf("iterator towards the damage: %d keys of %d, %d cannot be read, %v", n, len(f.Want), bad, it.Err())
	}
	if !it.SeekGE([]byte("table00200")) || it.Err() != nil {
		t.Errorf("iterator beyond the damage: %v", it.Err())
	}
	fixture.WantErr(t, "Close of an iterator without damage", it.Close(), nil)
	fixture.Must(t, d.Put([]byte("table00001"), []byte("written over")))
	if v, err := d.Get([]byte("table00001")); string(v) != "written over" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	fixture.Must(t, d.Close())
}

// TestDamagedBlockInCompaction: the table stays in the tree, set aside, and compaction
// goes on without it.
func TestDamagedBlockInCompaction(t *testing.T) {
	f, name := damagedBlock(t)
	disk := f.Disk(t)
	d, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{MemtableBytes: 16 << 10}))
	fixture.Must(t, err)
	for i := range 200 {
		fixture.Must(t, d.Put(fmt.Appendf(nil, "table%05d", 100+i), fmt.Appendf(nil, "new %0300d", i), db.NoSync))
		f.Want[fmt.Sprintf("table%05d", 100+i)] = fmt.Sprintf("new %0300d", i)
	}
	err = d.Compact(t.Context(), nil, nil)
	if damage, ok := errors.AsType[*db.CorruptionError](err); !ok || filepath.Base(damage.File) != name {
		t.Errorf("Compact: %v", err)
	}
	m := d.Metrics()
	if m.Compact.SetAside != 1 || m.Failure != "" {
		t.Errorf("%+v, failure %q", m.Compact, m.Failure)
	}
	if fixture.FilesOf(t, disk, fixture.Dir)[name] == nil {
		t.Errorf("%s is gone", name)
	}
	for key, value := range f.Want {
		if got, err := d.Get([]byte(key)); string(got) != value && !errors.Is(err, db.ErrCorrupt) {
			t.Errorf("%s: %s, %v", key, fixture.Short(string(got)), err)
		}
	}
	for i := range 300 { // level 0 may grow beyond its limit, but nobody waits for ever
		fixture.Must(t, d.Put(fmt.Appendf(nil, "table%05d", i), make([]byte, 3000), db.NoSync))
	}
	fixture.Must(t, d.Close())
	report, err := fixture.VerifyOn(disk, fixture.Dir)
	fixture.Must(t, err)
	if len(report.Problems) != 1 || report.Problems[0].File != name || report.Problems[0].Fatal {
		t.Errorf("Verify: %+v", report.Problems)
	}
}
