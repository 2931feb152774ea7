package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/door"
	"lsmdb/internal/inside"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
)

var errDisk = fmt.Errorf("injected: %w", syscall.EIO)

// making is one way to make a copy of a database, on a file system of the test.
type making struct {
	name string
	make func(t *testing.T, m *fixture.Machine, d *db.DB, stream []byte) error
}

var makings = []making{
	{"link", func(t *testing.T, _ *fixture.Machine, d *db.DB, _ []byte) error {
		c, err := d.NewCheckpoint(t.Context())
		fixture.Must(t, err)
		defer c.Close()
		return c.Link(target)
	}},
	{"restore", func(t *testing.T, m *fixture.Machine, _ *db.DB, stream []byte) error {
		return door.Restore(t.Context(), bytes.NewReader(stream), m, target)
	}},
}

// prepared returns a database with some tables, nothing in memory, and its stream.
func prepared(t *testing.T) (*fixture.Machine, *db.DB, fixture.View, []byte) {
	t.Helper()
	m := fixture.NewMachine(vfstest.NewDisk())
	d := m.OpenDB(t)
	want := m.FillTables(t, d, 150)
	return m, d, want, streamOf(t, d)
}

// atEach makes a copy as often as it takes operations on the copy's directory and those
// above, and calls act in the place of one of them, then check with the outcome.
func atEach(t *testing.T, way making, act func(op vfstest.Op, disk *vfstest.Disk) error, check func(where string, m *fixture.Machine, want fixture.View, err error)) {
	m, d, want, stream := prepared(t)
	defer d.Close()
	for n := 1; !t.Failed(); n++ {
		var mu sync.Mutex
		count, where := 0, ""
		m.Fail(func(op vfstest.Op) error {
			inCopy := strings.HasPrefix(op.Name, "/base/copies") || strings.HasPrefix(op.NewName, "/base/copies")
			mu.Lock()
			defer mu.Unlock()
			if !inCopy && op.Kind != vfstest.OpSyncDir {
				return nil
			}
			if count++; count != n {
				return nil
			}
			where = fmt.Sprintf("%s, operation %d, %s %s", way.name, n, op.Kind, op.Name)
			return act(op, m.Disk)
		})
		err := way.make(t, m, d, stream)
		m.Fail(nil)
		if where == "" {
			fixture.Must(t, err)
			if n < 20 {
				t.Errorf("%s: only %d operations were seen", way.name, n-1)
			}
			return
		}
		check(where, m, want, err)
		if err != nil {
			if again := makings[1].make(t, m, d, stream); again != nil {
				t.Errorf("%s, again: %v", where, again)
			}
		}
		found, _ := read(t, m.Disk, target)
		if err := fixture.Differ(want, found); err != nil {
			t.Errorf("%s: %v", where, err)
		}
		fixture.Must(t, m.Disk.RemoveDirectory(filepath.Dir(target)))
	}
}

// TestFaults lets each operation fail once, without effect or after it. Then the copy is
// there whole, or its directory is absent or empty and the same works again.
func TestFaults(t *testing.T) {
	for _, way := range makings {
		failed := map[bool]int{}
		for _, fault := range []error{errDisk, &vfstest.Late{Err: errDisk}, fmt.Errorf("injected: %w", syscall.ENOSPC)} {
			act := func(vfstest.Op, *vfstest.Disk) error { return fault }
			atEach(t, way, act, func(where string, m *fixture.Machine, want fixture.View, err error) {
				failed[err != nil]++
				if err == nil {
					return
				}
				if full := errors.Is(fault, syscall.ENOSPC); errors.Is(err, syscall.ENOSPC) != full || errors.Is(err, db.ErrDiskFull) != full {
					t.Errorf("%s: %v", where, err)
				}
				mustBeEmpty(t, where, m.Disk)
			})
		}
		if failed[true] < 20 || failed[false] < 3 {
			t.Errorf("%s: %d faults made it fail, %d did not", way.name, failed[true], failed[false])
		}
	}
}

// mustBeEmpty fails unless the copy's directory is absent or empty and nothing lies beside.
func mustBeEmpty(t *testing.T, where string, fsys vfs.FS) {
	t.Helper()
	if names, err := fsys.List(target); err == nil && len(names) > 0 {
		t.Errorf("%s: %q was left", where, names)
	}
	if names, err := fsys.List(filepath.Dir(target)); err == nil && len(names) > 1 {
		t.Errorf("%s: %q lie beside the copy", where, names)
	}
}

// TestCrashes looks before each operation at what a power failure would leave: a whole
// database, or something that cannot pass for one. When all is done it is the database.
func TestCrashes(t *testing.T) {
	seeds := uint64(4)
	if base.Invariants {
		seeds = 2
	}
	for _, way := range makings {
		whole, states := 0, 0
		look := func(where string, want fixture.View, disk *vfstest.Disk) {
			states++
			names, _ := disk.List(target)
			if slices.Contains(names, base.CurrentName) {
				whole++
				found, _ := read(t, disk, target)
				if err := fixture.Differ(want, found); err != nil {
					t.Errorf("%s: %v", where, err)
				}
				return
			}
			if slices.ContainsFunc(names, func(name string) bool { return name != base.LockName && name != base.CurrentName+".tmp" }) {
				if d, err := db.Open(target, fixture.On(disk, db.Options{})); !errors.Is(err, db.ErrCorrupt) {
					t.Errorf("%s: %q could be opened: %v", where, names, err)
					d.Close()
				}
			}
		}
		var clones []*vfstest.Disk
		act := func(op vfstest.Op, disk *vfstest.Disk) error {
			clones = []*vfstest.Disk{disk.CrashClone(nil)}
			more := uint64(1)
			if op.Kind == vfstest.OpSyncDir && op.InDirectory { // names may be lost in any order
				more = 30
			}
			for seed := range seeds * more {
				clones = append(clones, disk.CrashClone(rand.New(rand.NewPCG(seed, 1))))
			}
			return nil
		}
		atEach(t, way, act, func(where string, m *fixture.Machine, want fixture.View, err error) {
			fixture.Must(t, err)
			for _, c := range append(clones, m.Disk.CrashClone(nil)) {
				look(where, want, c)
			}
			if names, err := m.Disk.CrashClone(nil).List(target); err != nil || !slices.Contains(names, base.CurrentName) {
				t.Errorf("%s: the copy is not durable: %q, %v", where, names, err)
			}
		})
		t.Logf("%s: %d states, %d of them the whole database", way.name, states, whole)
	}
}

// TestNoLinks: where the file system has no links, tables are copied, and synced.
func TestNoLinks(t *testing.T) {
	m, d, want, _ := prepared(t)
	var synced atomic.Int64
	m.Fail(func(op vfstest.Op) error {
		if op.Kind == vfstest.OpSync && strings.HasSuffix(op.Name, ".sst") && strings.HasPrefix(op.Name, target) {
			synced.Add(1)
		}
		if op.Kind == vfstest.OpLink {
			return errors.ErrUnsupported
		}
		return nil
	})
	fixture.Must(t, makings[0].make(t, m, d, nil))
	m.Fail(nil)
	disk := m.Disk.CrashClone(nil)
	tables := len(fixture.FilesOf(t, disk, target).Named(".sst"))
	if tables == 0 || synced.Load() != int64(tables) {
		t.Errorf("%d tables were copied, and %d synced", tables, synced.Load())
	}
	found, _ := read(t, disk, target)
	fixture.Must(t, errors.Join(fixture.Differ(want, found), d.Close()))
}

// TestNobodyOpens: while a copy is made, its directory is locked for everybody else.
func TestNobodyOpens(t *testing.T) {
	for _, way := range makings {
		m, d, _, stream := prepared(t)
		tried := 0
		m.Fail(func(op vfstest.Op) error {
			name := op.Name
			if op.Kind == vfstest.OpLink {
				name = op.NewName
			}
			if strings.HasPrefix(name, target+"/") && op.Kind != vfstest.OpLock && op.Kind != vfstest.OpRemove {
				tried++
				_, err := db.Open(target, fixture.On(m.Disk, db.Options{}))
				fixture.WantErr(t, fmt.Sprintf("Open before %s %s", op.Kind, name), err, db.ErrLocked)
				err = door.Restore(t.Context(), bytes.NewReader(stream), m.Disk, target)
				if !errors.Is(err, db.ErrLocked) && !errors.Is(err, fs.ErrExist) {
					t.Errorf("Restore before %s %s: %v", op.Kind, name, err)
				}
			}
			return nil
		})
		fixture.Must(t, way.make(t, m, d, stream))
		m.Fail(nil)
		if tried < 5 {
			t.Errorf("%s: %d tries", way.name, tried)
		}
		read(t, m.Disk, target)
		fixture.Must(t, d.Close())
	}
}

// TestDirectoryOfOthers: an empty directory that somebody made and did not sync is made
// durable with the copy in it.
func TestDirectoryOfOthers(t *testing.T) {
	for _, way := range makings {
		m, d, want, stream := prepared(t)
		fixture.Must(t, m.Disk.MkdirAll(target))
		fixture.Must(t, way.make(t, m, d, stream))
		found, _ := read(t, m.Disk.CrashClone(nil), target)
		fixture.Must(t, errors.Join(fixture.Differ(want, found), d.Close()))
	}
}

// TestLeaving ends the context of a copy at each of its operations, with hard links and without.
// Then the copy is there whole, or its directory is absent or empty.
func TestLeaving(t *testing.T) {
	for _, links := range []bool{true, false} {
		var leave context.CancelFunc
		way := making{fmt.Sprintf("link (%v)", links), func(t *testing.T, m *fixture.Machine, d *db.DB, _ []byte) error {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			leave = cancel
			inject := *m.Inject.Load()
			m.Fail(func(op vfstest.Op) error {
				if ctx.Err() != nil && op.Kind == vfstest.OpLink {
					t.Errorf("%s was begun although nobody wants the copy any more", op.NewName)
				}
				if err := inject(op); op.Kind != vfstest.OpLink || links {
					return err
				}
				return syscall.EXDEV
			})
			c, err := d.NewCheckpoint(t.Context())
			fixture.Must(t, err)
			defer c.Close()
			return inside.Link(ctx, c, target)
		}}
		outcomes := map[bool]int{}
		atEach(t, way, func(vfstest.Op, *vfstest.Disk) error { leave(); return nil }, func(where string, m *fixture.Machine, _ fixture.View, err error) {
			outcomes[err == nil]++
			if err != nil {
				fixture.WantErr(t, where, err, context.Canceled)
				mustBeEmpty(t, where, m.Disk)
			}
		})
		if outcomes[true] < 3 || outcomes[false] < 15 {
			t.Errorf("%s: %d copies were given up, %d were made", way.name, outcomes[false], outcomes[true])
		}
	}
}
