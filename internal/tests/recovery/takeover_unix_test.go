//go:build unix

package recovery

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
)

// TestTakeoverFails breaks what the takeover needs: the database is read-only and says
// why, reads go on, the next open finds everything, and no descriptor is left.
func TestTakeoverFails(t *testing.T) {
	for _, c := range []struct {
		kind vfstest.OpKind
		part string
	}{
		{vfstest.OpSync, ".sst"}, {vfstest.OpSyncDir, ""}, {vfstest.OpCreate, ".wal"}, {vfstest.OpSync, ".wal"},
		{vfstest.OpWrite, "MANIFEST"}, {vfstest.OpSync, "MANIFEST"}, {vfstest.OpSync, "CURRENT"}, {vfstest.OpRename, "CURRENT"},
	} {
		t.Run(fmt.Sprint(c.kind, c.part), func(t *testing.T) {
			dir, want := fixture.KilledDirectory(t)
			runtime.GC()
			descriptors := fixture.OpenDescriptors()
			disk := vfstest.NewFault(vfs.OS, func(op vfstest.Op) error {
				if op.Kind == c.kind && strings.Contains(op.Name, c.part) {
					return fixture.ErrDisk
				}
				return nil
			})
			d, err := db.Open(dir, fixture.On(disk, db.Options{MemtableBytes: 1 << 20}))
			fixture.Must(t, err)
			for range 2 {
				if err := d.Put([]byte("late"), nil); !errors.Is(err, db.ErrReadOnly) || !errors.Is(err, fixture.ErrDisk) {
					t.Errorf("Put: %v", err)
				}
			}
			fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
			if failure := d.Metrics().Failure; !strings.Contains(failure, fixture.ErrDisk.Error()) {
				t.Errorf("Metrics.Failure is %q", failure)
			}
			fixture.WantErr(t, "Close", d.Close(), fixture.ErrDisk)
			if n := fixture.OpenDescriptors(); n > descriptors {
				t.Errorf("%d descriptors are open, %d before", n, descriptors)
			}
			d, err = db.Open(dir, &db.Options{MemtableBytes: 1 << 20})
			fixture.Must(t, err)
			fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
			fixture.Must(t, d.Put([]byte("new"), nil))
			fixture.Must(t, d.Close())
			if n := fixture.OpenDescriptors(); n > descriptors {
				t.Errorf("%d descriptors are open at last, %d before", n, descriptors)
			}
		})
	}
}

// TestCloseRightAfterOpen: the first Close carries the takeover through, nothing is lost
// or left open, and those after it have nothing to do.
func TestCloseRightAfterOpen(t *testing.T) {
	dir, want := fixture.KilledDirectory(t)
	descriptors := fixture.OpenDescriptors()
	for range 5 {
		d, err := db.Open(dir, nil)
		fixture.Must(t, err)
		fixture.Must(t, d.Close())
	}
	if n := fixture.OpenDescriptors(); n > descriptors {
		t.Errorf("%d descriptors are open, %d before", n, descriptors)
	}
	d, err := db.Open(dir, nil)
	fixture.Must(t, err)
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
	if r := d.Metrics().Recovery; !r.CleanClose || r.Operations != 0 {
		t.Errorf("%+v", r)
	}
	fixture.Must(t, d.Close())
}
