package stages

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/vfstest"
	"lsmdb/internal/view"
	"lsmdb/manifest"
)

// TestManifestFailureStopsDeletion fails MANIFEST, CURRENT and the directory: the
// database is read-only at once, and nothing is deleted any more.
func TestManifestFailureStopsDeletion(t *testing.T) {
	renaming := func(op vfstest.Op) bool { return op.Kind == vfstest.OpRename }
	for name, matches := range map[string]func(vfstest.Op) bool{
		"write":     on(vfstest.OpWrite, base.FileManifest),
		"sync":      on(vfstest.OpSync, base.FileManifest),
		"rename":    renaming,
		"temporary": on(vfstest.OpSync, base.FileTemporary),
		"directory": func(op vfstest.Op) bool { return op.Kind == vfstest.OpSyncDir },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t)
				r.open()
				r.fill("k", 20)
				must(t, r.p.Flush(context.Background()))
				synctest.Wait()
				r.fill("l", 5)
				r.p.keeper.bound = 1 // the Keeper is idle: the next edit rewrites
				var failed atomic.Bool
				var removed atomic.Int64
				edit, fresh := name == "write" || name == "sync", ""
				r.onDisk(func(op vfstest.Op) error {
					// Temporaries and outputs that no MANIFEST knows may always go. The edit
					// before a rewrite is durable: its segment may go beside the rewrite.
					needed := fileType(op.Name) == base.FileManifest && op.Name != fresh || fileType(op.Name) == base.FileWAL && edit
					if op.Kind == vfstest.OpRemove && failed.Load() && needed {
						removed.Add(1)
					}
					if on(vfstest.OpCreate, base.FileManifest)(op) {
						fresh = op.Name // only the Keeper comes here, and removes it
					}
					// The Writer's own segment is no matter of this test.
					if matches(op) && (name != "directory" || len(r.traced("create 000")) > 1) {
						failed.Store(true)
						return errBroken
					}
					return nil
				})
				r.forget()
				_ = r.p.Flush(context.Background()) // it may have succeeded before the rewrite
				synctest.Wait()
				if err := r.put(set("a", "b")); !errors.Is(err, base.ErrReadOnly) || !errors.Is(err, errBroken) || !failed.Load() {
					t.Errorf("a later write: %v", err)
				}
				r.checkFilled("k", 20)
				r.checkFilled("l", 5)
				r.onDisk(nil)
				if err := r.p.Close(); !errors.Is(err, errBroken) {
					t.Errorf("Close: %v", err)
				}
				r.checkClosed()
				if removed.Load() > 0 {
					t.Errorf("%d files were deleted after the failure", removed.Load())
				}
				if got := recovered(t, r.mem); len(got) != 25 {
					t.Errorf("%d keys", len(got))
				}
			})
		})
	}
}

// workload writes, flushes, compacts and closes; it returns what was acknowledged as
// durable, and the error of Close. Whatever fails, every call must return.
func (r *rig) workload() (durable map[string]string, closed error) {
	durable = make(map[string]string)
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	for i := range 60 {
		key := fmt.Sprintf("k%03d", i%25)
		value := kilobyte(fmt.Sprint(i))
		c := synced(set(key, value))
		if r.put(c) == nil {
			durable[key] = value
		} else {
			delete(durable, key) // indeterminate
		}
		switch i {
		case 20, 40:
			_ = r.p.Flush(ctx)
		case 50:
			_ = r.p.Compact(ctx, nil, nil)
		}
	}
	closed = r.p.Close()
	if ctx.Err() != nil {
		r.t.Error("a caller was not answered within an hour")
	}
	return durable, closed
}

// TestEveryOperationFails fails one operation after the other, in several ways:
// once, or from then on. Everybody is answered; no acknowledged write is lost, not
// even if the power fails at the end; no file and no goroutine stays.
func TestEveryOperationFails(t *testing.T) {
	full := fmt.Errorf("%w: %w", syscall.ENOSPC, errBroken)
	for _, way := range []struct {
		name     string
		injected error
		lasting  bool
		stride   int
	}{
		{"once", errBroken, false, 3},
		{"late", &vfstest.Late{Err: errBroken}, false, 5},
		{"short", &vfstest.ShortWrite{Bytes: 5, Err: errBroken}, false, 5},
		{"for ever", errBroken, true, 5},
		{"full once", full, false, 3},
		{"panic", nil, false, 5},
	} {
		t.Run(way.name, func(t *testing.T) {
			for at, more := 0, true; more; at += way.stride {
				bubble(t, func(t *testing.T) { more = checkFailureAt(t, at, way.injected, way.lasting) })
			}
		})
	}
}

func checkFailureAt(t *testing.T, at int, injected error, lasting bool) (more bool) {
	r := newRig(t, func(e *Environment) { e.Policy.L0Trigger = 2 })
	var count atomic.Int64
	var what atomic.Pointer[vfstest.Op]
	r.onDisk(func(op vfstest.Op) error {
		n := int(count.Add(1)) - 1
		if n < at || n > at && !lasting {
			return nil
		}
		if n == at {
			what.Store(&op)
		}
		if injected == nil && op.Kind != vfstest.OpClose { // the collector closes too
			panic("out of order")
		}
		return injected
	})
	r.open()
	durable, closed := r.workload()
	r.onDisk(nil)
	op := what.Load()
	if op == nil {
		if must(t, closed); len(durable) != 25 {
			t.Errorf("%d keys without a failure", len(durable))
		}
		return false
	}
	_ = r.env.Files.CloseAll()
	name := fmt.Sprintf("operation %d, %v %s, failed (Close: %.60v)", at, op.Kind, filepath.Base(op.Name), closed)
	for key, value := range durable {
		if got, ok := r.getMemory(key); ok && got != value {
			t.Errorf("%s: %s reads as %.9q", name, key, got)
		}
	}
	for _, fsys := range []*vfstest.Disk{r.mem, r.mem.CrashClone(nil)} {
		got := recovered(t, fsys)
		for key, value := range durable {
			if got[key] != value {
				t.Errorf("%s: %s is %.9q, want %.9q", name, key, got[key], value)
			}
		}
	}
	if t.Failed() {
		t.Log(name)
	}
	return !t.Failed()
}

// getMemory reads what lies in memtables only: the tables are closed.
func (r *rig) getMemory(key string) (string, bool) {
	s := r.p.Enter()
	defer s.Leave()
	memory := &view.State{Active: s.Active, Sealed: s.Sealed, Version: &manifest.Version{}}
	value, ok, _ := readAt(memory, r.p.Visible(), key)
	return value, ok
}
