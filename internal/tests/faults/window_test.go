package faults

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
)

// TestWindowFaults breaks what the log does where syncs are rare, on files of the
// operating system: reserving space, mapping it, storing into what was mapped, and what
// comes between. Acknowledged writes are there after a new open, the failed one may be.
func TestWindowFaults(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("files of this system offer no windows")
	}
	kinds := make(map[vfstest.OpKind]int)
	ahead := 0                                          // syncs beside the Writer that failed
	for tries := 0; ahead == 0 && tries < 40; tries++ { // on a busy machine the Writer may mostly come first
		ahead += breakWindows(t, kinds)
	}
	if kinds[vfstest.OpAllocate] == 0 || kinds[vfstest.OpMap] == 0 || ahead == 0 {
		t.Errorf("the history uses no windows, or syncs nothing ahead: %v, %d", kinds, ahead)
	}
	t.Logf("faults %v, %d of syncs ahead", kinds, ahead)
}

// breakWindows breaks each operation of a history, counts what it has broken by kind, and
// returns how many of that were syncs beside the Writer.
func breakWindows(t *testing.T, kinds map[vfstest.OpKind]int) (ahead int) {
	t.Helper()
	var ops []vfstest.Op
	windowRun(t, "no fault", func(op vfstest.Op) error { ops = append(ops, op); return nil })
	for n, broken := range ops {
		faults := []error{errFault}
		switch broken.Kind {
		case vfstest.OpAllocate:
			faults = append(faults, syscall.ENOSPC, errors.ErrUnsupported)
		case vfstest.OpMap:
			faults = append(faults, vfstest.Gone)
		case vfstest.OpSync, vfstest.OpTruncate:
		default:
			continue
		}
		if !strings.HasSuffix(broken.Name, ".wal") {
			continue
		}
		for _, fault := range faults {
			for _, sticky := range []bool{false, true}[:min(2, len(faults))] { // what is not of windows TestFaultSweep does too
				seen, fired := 0, 0
				what := fmt.Sprintf("%v at operation %d, %s %s, sticky: %v", fault, n, broken.Kind, base.WALName(fixture.NumberOf(broken.Name[strings.LastIndex(broken.Name, "/")+1:])), sticky)
				windowRun(t, what, func(op vfstest.Op) error {
					if seen++; seen <= n || op.Kind != broken.Kind || !strings.HasSuffix(op.Name, ".wal") || fired > 0 && !sticky {
						return nil
					}
					fired++
					if op.Kind == vfstest.OpSync && strings.Contains(string(debug.Stack()), ".Prepare(") {
						ahead++
					}
					return fault
				})
				if fired > 0 {
					kinds[broken.Kind]++
				}
			}
		}
	}
	return ahead
}

// windowRun writes rarely synced commits while something fails, opens again and compares.
func windowRun(t *testing.T, what string, inject func(vfstest.Op) error) {
	t.Helper()
	dir := t.TempDir()
	var mu sync.Mutex // stages act at the same time
	disk := vfstest.NewFault(vfs.OS, func(op vfstest.Op) error {
		mu.Lock()
		defer mu.Unlock()
		return inject(op)
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	want, maybe := fixture.View{}, fixture.View{}
	d, err := db.Open(dir, fixture.On(disk, db.Options{MemtableBytes: 256 << 10, Durability: db.NoSync}))
	for i := 0; err == nil && i < 400; i++ {
		key, value := fmt.Sprintf("key%03d", i), fmt.Sprintf("%0900d", i)
		b := d.NewBatch()
		fixture.Must(t, b.Put([]byte(key), []byte(value)))
		switch err := d.Apply(ctx, b); {
		case err == nil:
			want[key] = value
		case errors.Is(err, db.ErrReadOnly) && len(maybe) == 0:
			maybe[key] = value
		case !errors.Is(err, db.ErrReadOnly) && !errors.Is(err, db.ErrDiskFull):
			t.Errorf("%s: Apply: %v", what, err)
		}
		if i == 200 {
			_ = d.Sync(ctx)
		}
	}
	if err == nil {
		if err := fixture.Differ(want, fixture.Contents(t, d)); err != nil {
			t.Errorf("%s: before Close: %v", what, err)
		}
		_ = d.Close() // the fault, if it comes late
	}
	if n := disk.OpenFiles(); n != 0 {
		t.Errorf("%s: %d files are open after Close", what, n)
	}
	if ctx.Err() != nil {
		t.Errorf("%s: took too long", what)
	}
	d, err = db.Open(dir, nil)
	if err != nil {
		t.Errorf("%s: open again: %v", what, err)
		return
	}
	found := fixture.Contents(t, d)
	with := maps.Clone(want)
	maps.Copy(with, maybe)
	if err := fixture.Differ(want, found); err != nil && fixture.Differ(with, found) != nil {
		t.Errorf("%s: after a new open: %v", what, err)
	}
	fixture.Must(t, d.Close())
}

// TestPreparerPanics: the database fails as after any panic of a stage. Nobody waits for ever
// for what was to be prepared, and nothing is lost.
func TestPreparerPanics(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("files of this system offer no windows")
	}
	dir, panics := t.TempDir(), 0
	disk := vfstest.NewFault(vfs.OS, func(op vfstest.Op) error {
		if op.Kind == vfstest.OpMap && strings.Contains(string(debug.Stack()), ".Prepare(") {
			panics++
			panic("out of order")
		}
		return nil
	})
	want, maybe := fixture.View{}, fixture.View{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	d, err := db.Open(dir, fixture.On(disk, db.Options{Durability: db.NoSync}))
	fixture.Must(t, err)
	for i := 0; len(maybe) == 0; i++ {
		key, value := fmt.Sprintf("key%05d", i), fmt.Sprintf("%0900d", i)
		b := d.NewBatch()
		fixture.Must(t, b.Put([]byte(key), []byte(value)))
		if err = d.Apply(ctx, b); err == nil {
			want[key] = value
		} else {
			maybe[key] = value
		}
	}
	if ctx.Err() != nil {
		t.Fatal("the Writer waits for what nobody prepares")
	}
	if !errors.Is(err, db.ErrReadOnly) || !strings.Contains(err.Error(), "panic in stage preparer") {
		t.Errorf("Apply: %v", err)
	}
	if err := d.Close(); err == nil {
		t.Error("Close says nothing")
	}
	if panics != 1 || disk.OpenFiles() != 0 {
		t.Errorf("%d panics, %d files are open after Close", panics, disk.OpenFiles())
	}
	d, err = db.Open(dir, nil)
	fixture.Must(t, err)
	found := fixture.Contents(t, d)
	with := maps.Clone(want)
	maps.Copy(with, maybe)
	if err := fixture.Differ(want, found); err != nil && fixture.Differ(with, found) != nil {
		t.Error(err)
	}
	fixture.Must(t, d.Close())
}
