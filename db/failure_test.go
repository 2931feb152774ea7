package db

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/vfstest"
)

var errDisk = errors.New("the disk is on fire")

// running is a database on a machine, with some keys in tables and some in memory.
func running(t *testing.T) (*machine, *DB, view) {
	t.Helper()
	m := newMachine(vfstest.NewDisk())
	d := m.open(t)
	want := fillTables(t, d, 100)
	for i := range 5 {
		key := fmt.Sprintf("memory%d", i)
		must(t, d.Put([]byte(key), []byte("value")))
		want[key] = "value"
	}
	return m, d, want
}

// mustHaveStopped checks that the database is read-only because of errDisk, and that
// reads go on.
func mustHaveStopped(t *testing.T, d *DB, want view) {
	t.Helper()
	for d.Metrics().Failure == "" { // the Flusher answers a moment before it stops the others
		runtime.Gosched()
	}
	stopped := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrReadOnly) || !errors.Is(err, errDisk) && !strings.Contains(err.Error(), errDisk.Error()) {
			t.Errorf("%s: %v, want ErrReadOnly because of %v", what, err, errDisk)
		}
	}
	ctx := t.Context()
	for range 3 {
		stopped("Put", d.Put([]byte("late"), nil, NoSync))
		stopped("Delete", d.Delete([]byte("memory0")))
	}
	b := d.NewBatch()
	must(t, b.Put([]byte("late"), nil))
	stopped("Apply", d.Apply(ctx, b))
	p, err := d.Submit(ctx, b)
	if err == nil {
		err = p.Wait(ctx)
	}
	stopped("Submit", err)
	stopped("Sync", d.Sync(ctx))
	stopped("Flush", d.Flush(ctx))
	stopped("Compact", d.Compact(ctx, nil, nil))
	if failure := d.Metrics().Failure; !strings.Contains(failure, errDisk.Error()) {
		t.Errorf("Metrics.Failure is %q", failure)
	}
	must(t, differ(want, contents(t, d)))
	s, err := d.NewSnapshot()
	must(t, err)
	if v, err := s.Get([]byte("memory1")); string(v) != "value" || err != nil {
		t.Errorf("snapshot of a stopped database: %q, %v", v, err)
	}
	must(t, s.Close())
}

// mustReopen closes a stopped database, which tells why, and opens it again.
func mustReopen(t *testing.T, m *machine, d *DB, want view) {
	t.Helper()
	err := d.Close()
	if err == nil || !strings.Contains(err.Error(), errDisk.Error()) {
		t.Errorf("Close of a stopped database: %v", err)
	}
	if again := d.Close(); again == nil || again.Error() != err.Error() {
		t.Errorf("second Close: %v", again)
	}
	wantErr(t, "Put after Close", d.Put(nil, nil), ErrClosed)
	m.fail(nil)
	d = m.open(t)
	if got := contents(t, d); got["indeterminate"] != "" {
		want["indeterminate"] = got["indeterminate"]
	}
	must(t, differ(want, contents(t, d)))
	must(t, d.Put([]byte("new"), nil))
	must(t, d.Close())
}

func TestWALFailure(t *testing.T) {
	for what, inject := range map[string]func(vfstest.Op) error{
		"write":       onWAL(vfstest.OpWrite, errDisk),
		"short write": onWAL(vfstest.OpWrite, &vfstest.ShortWrite{Bytes: 9, Err: errDisk}),
		"late write":  onWAL(vfstest.OpWrite, &vfstest.Late{Err: errDisk}),
		"sync":        onWAL(vfstest.OpSync, errDisk),
		"late sync":   onWAL(vfstest.OpSync, &vfstest.Late{Err: errDisk}),
	} {
		t.Run(what, func(t *testing.T) {
			m, d, want := running(t)
			attempts := 0
			m.fail(func(op vfstest.Op) error {
				err := inject(op)
				if err != nil {
					if attempts++; attempts > 1 { // never retried
						t.Errorf("%s of %s again after a failure", op.Kind, op.Name)
					}
				}
				return err
			})
			err := d.Put([]byte("indeterminate"), []byte("value"))
			if !errors.Is(err, ErrReadOnly) || !errors.Is(err, errDisk) {
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
			m.failing(c.kind, c.part, errDisk)
			if err := d.Flush(t.Context()); !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), errDisk.Error()) {
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
	m.fail(func(op vfstest.Op) error {
		if op.Kind == vfstest.OpSync && strings.HasSuffix(op.Name, ".sst") && failures.Add(1) <= 2 {
			return errDisk
		}
		return nil
	})
	must(t, d.Flush(t.Context()))
	if r := d.Metrics().Flush.Retries; r != 2 {
		t.Errorf("%d retries, want 2", r)
	}
	must(t, differ(want, contents(t, d)))
	must(t, d.Close())
	reader, err := Open(at, &Options{ReadOnly: true, fs: m.disk}) // which merges nothing meanwhile
	must(t, err)
	listed := reader.Metrics()
	must(t, reader.Close())
	if count, _ := listed.Tables(); count != len(filesOf(t, m.disk, at).named(".sst")) {
		t.Errorf("%d tables are listed, the directory holds %v", count, filesOf(t, m.disk, at).named(".sst"))
	}
	mustHold(t, m.disk, want)
}

// TestDiskFullInWAL: writers are refused while there is no room, nothing is torn, and
// writes go on by themselves when there is.
func TestDiskFullInWAL(t *testing.T) {
	m, d, want := running(t)
	m.disk.SetLimit(m.disk.UsedBytes())
	big := []byte(strings.Repeat("big", 100_000))
	for range 3 {
		wantErr(t, "Put on a full disk", d.Put([]byte("big"), big), ErrDiskFull)
		b := d.NewBatch()
		must(t, b.Put([]byte("big"), big))
		p, err := d.Submit(t.Context(), b)
		must(t, err)
		wantErr(t, "Submit on a full disk", p.Wait(t.Context()), ErrDiskFull)
	}
	must(t, differ(want, contents(t, d)))
	m.disk.SetLimit(0)
	must(t, d.Put([]byte("big"), big))
	want["big"] = string(big)
	must(t, differ(want, contents(t, d)))
	if f := d.Metrics().Failure; f != "" {
		t.Errorf("a full disk is no failure: %s", f)
	}
	m.kill(d)
	mustHold(t, m.disk, want)
}

// TestDiskFullInFlush: the flush waits for room; writers feel back-pressure and their
// context lets them go.
func TestDiskFullInFlush(t *testing.T) {
	m, d, want := running(t)
	m.failing(vfstest.OpWrite, ".sst", base.ErrDiskFull)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	wantErr(t, "Flush", d.Flush(ctx), context.DeadlineExceeded)
	b := d.NewBatch()
	value := strings.Repeat("v", 1000)
	var err error
	for i := 0; err == nil; i++ {
		key := fmt.Sprintf("pressed%05d", i)
		b.Reset()
		must(t, b.Put([]byte(key), []byte(value)))
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if err = d.Apply(ctx, b, NoSync); err == nil {
			want[key] = value
		}
		cancel()
	}
	wantErr(t, "Apply under back-pressure", err, context.DeadlineExceeded)
	if s := d.Metrics().Stalls; s.Behind != "flusher" || s.Count == 0 {
		t.Errorf("stalls: %+v", s)
	}
	must(t, differ(want, contents(t, d)))
	b.Reset() // the writer may still look at what was abandoned, but that is not the batch's any more
	must(t, b.Put([]byte("reused"), []byte("batch")))
	want["reused"] = "batch"
	m.fail(nil)
	must(t, d.Apply(t.Context(), b))
	must(t, d.Flush(t.Context()))
	must(t, differ(want, contents(t, d)))
	must(t, d.Close())
	mustHold(t, m.disk, want)
}

// TestCloseOnFullDisk: Close does not wait for room, and the WAL holds everything.
func TestCloseOnFullDisk(t *testing.T) {
	m, d, want := running(t)
	m.failing(vfstest.OpCreate, ".sst", base.ErrDiskFull)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	wantErr(t, "Flush", d.Flush(ctx), context.DeadlineExceeded)
	if err := d.Close(); err != nil {
		wantErr(t, "Close", err, ErrDiskFull)
	}
	mustHold(t, m.disk, want)
}

// TestDeletionFailure: files that cannot be deleted are no failure; the next open
// deletes them.
func TestDeletionFailure(t *testing.T) {
	m, d, want := running(t)
	m.failing(vfstest.OpRemove, "", errDisk)
	must(t, d.Put([]byte("table00000"), nil))
	want["table00000"] = ""
	must(t, d.Compact(t.Context(), nil, nil))
	must(t, d.Put([]byte("more"), nil))
	want["more"] = ""
	must(t, d.Close())
	before := filesOf(t, m.disk, at).named(".sst")
	m.fail(nil)
	metrics := mustHold(t, m.disk, want)
	after := filesOf(t, m.disk, at)
	left := slices.DeleteFunc(slices.Clone(before), func(name string) bool { return after[name] == nil })
	if len(left) == len(before) || metrics.Recovery.FilesRemoved == 0 {
		t.Errorf("of %v %v are left; %+v", before, left, metrics.Recovery)
	}
}

// damagedBlock returns a closed database with damage in the first block of its
// largest table, and that table's name.
func damagedBlock(t *testing.T) (filled, string) {
	t.Helper()
	m := newMachine(vfstest.NewDisk())
	d, err := Open(at, &Options{MemtableBytes: 1 << 20, Compression: NoCompression, fs: m})
	must(t, err)
	f := filled{want: fillTables(t, d, 300)}
	must(t, d.Close())
	f.files = filesOf(t, m.disk, at)
	name := f.named(".sst")[0]
	return filled{files: f.flipped(name, 100), want: f.want}, name
}

func TestDamagedBlockOnRead(t *testing.T) {
	f, name := damagedBlock(t)
	d, err := Open(at, &Options{fs: f.disk(t)})
	must(t, err)
	bad := 0
	for key, value := range f.want {
		got, err := d.Get([]byte(key))
		damage, ok := errors.AsType[*CorruptionError](err)
		switch {
		case ok:
			bad++
			if filepath.Base(damage.File) != name || damage.Offset != 0 || !errors.Is(err, ErrCorrupt) || key >= "table00030" {
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
	must(t, err)
	if it.First() || !errors.Is(it.Err(), ErrCorrupt) {
		t.Errorf("iterator at the damage: %q, %v", it.Key(), it.Err())
	}
	n := 0
	for range it.Backward() {
		n++
	}
	// Whether the last key before the damage has a newer version, it would tell.
	if !errors.Is(it.Err(), ErrCorrupt) || n != 300-bad-1 {
		t.Errorf("iterator towards the damage: %d keys of %d, %d cannot be read, %v", n, len(f.want), bad, it.Err())
	}
	if !it.SeekGE([]byte("table00200")) || it.Err() != nil {
		t.Errorf("iterator beyond the damage: %v", it.Err())
	}
	wantErr(t, "Close of an iterator without damage", it.Close(), nil)
	must(t, d.Put([]byte("table00001"), []byte("written over")))
	if v, err := d.Get([]byte("table00001")); string(v) != "written over" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	must(t, d.Close())
}

// TestDamagedBlockInCompaction: the table stays in the tree, set aside, and compaction
// goes on without it.
func TestDamagedBlockInCompaction(t *testing.T) {
	f, name := damagedBlock(t)
	disk := f.disk(t)
	d, err := Open(at, &Options{MemtableBytes: 16 << 10, fs: disk})
	must(t, err)
	for i := range 200 {
		must(t, d.Put(fmt.Appendf(nil, "table%05d", 100+i), fmt.Appendf(nil, "new %0300d", i), NoSync))
		f.want[fmt.Sprintf("table%05d", 100+i)] = fmt.Sprintf("new %0300d", i)
	}
	err = d.Compact(t.Context(), nil, nil)
	if damage, ok := errors.AsType[*CorruptionError](err); !ok || filepath.Base(damage.File) != name {
		t.Errorf("Compact: %v", err)
	}
	m := d.Metrics()
	if m.Compact.SetAside != 1 || m.Failure != "" {
		t.Errorf("%+v, failure %q", m.Compact, m.Failure)
	}
	if filesOf(t, disk, at)[name] == nil {
		t.Errorf("%s is gone", name)
	}
	for key, value := range f.want {
		if got, err := d.Get([]byte(key)); string(got) != value && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %s, %v", key, short(string(got)), err)
		}
	}
	for i := range 300 { // level 0 may grow beyond its limit, but nobody waits for ever
		must(t, d.Put(fmt.Appendf(nil, "table%05d", i), make([]byte, 3000), NoSync))
	}
	must(t, d.Close())
	report, err := verify(t.Context(), disk, at, nil)
	must(t, err)
	if len(report.Problems) != 1 || report.Problems[0].File != name || report.Problems[0].Fatal {
		t.Errorf("Verify: %+v", report.Problems)
	}
}
