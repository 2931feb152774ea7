//go:build unix

package db

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

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
			dir, want := killedDirectory(t)
			runtime.GC()
			descriptors := openDescriptors()
			disk := vfstest.NewFault(vfs.OS, func(op vfstest.Op) error {
				if op.Kind == c.kind && strings.Contains(op.Name, c.part) {
					return errDisk
				}
				return nil
			})
			d, err := Open(dir, &Options{MemtableBytes: 1 << 20, fs: disk})
			must(t, err)
			for range 2 {
				if err := d.Put([]byte("late"), nil); !errors.Is(err, ErrReadOnly) || !errors.Is(err, errDisk) {
					t.Errorf("Put: %v", err)
				}
			}
			must(t, differ(want, contents(t, d)))
			if failure := d.Metrics().Failure; !strings.Contains(failure, errDisk.Error()) {
				t.Errorf("Metrics.Failure is %q", failure)
			}
			wantErr(t, "Close", d.Close(), errDisk)
			if n := openDescriptors(); n > descriptors {
				t.Errorf("%d descriptors are open, %d before", n, descriptors)
			}
			d, err = Open(dir, &Options{MemtableBytes: 1 << 20})
			must(t, err)
			must(t, differ(want, contents(t, d)))
			must(t, d.Put([]byte("new"), nil))
			must(t, d.Close())
			if n := openDescriptors(); n > descriptors {
				t.Errorf("%d descriptors are open at last, %d before", n, descriptors)
			}
		})
	}
}

// TestCloseRightAfterOpen: the first Close carries the takeover through, nothing is lost
// or left open, and those after it have nothing to do.
func TestCloseRightAfterOpen(t *testing.T) {
	dir, want := killedDirectory(t)
	descriptors := openDescriptors()
	for range 5 {
		d, err := Open(dir, nil)
		must(t, err)
		must(t, d.Close())
	}
	if n := openDescriptors(); n > descriptors {
		t.Errorf("%d descriptors are open, %d before", n, descriptors)
	}
	d, err := Open(dir, nil)
	must(t, err)
	must(t, differ(want, contents(t, d)))
	if r := d.Metrics().Recovery; !r.CleanClose || r.Operations != 0 {
		t.Errorf("%+v", r)
	}
	must(t, d.Close())
}
