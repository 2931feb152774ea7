package faults

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// displacements are what others do to the directory of an open database.
var displacements = []struct {
	name string
	do   func(disk *vfstest.Disk) error
}{
	{"moved", func(disk *vfstest.Disk) error { return disk.MoveDirectory(fixture.Dir, elsewhere) }},
	{"removed", func(disk *vfstest.Disk) error { return disk.RemoveDirectory(fixture.Dir) }},
	{"LOCK removed", func(disk *vfstest.Disk) error { return disk.Remove(fixture.Dir + "/" + base.LockName) }},
	{"replaced", func(disk *vfstest.Disk) error {
		return errors.Join(disk.MoveDirectory(fixture.Dir, elsewhere), disk.MoveDirectory(otherDir, fixture.Dir))
	}},
}

const (
	elsewhere = "/base/elsewhere"
	otherDir  = "/base/other"
)

// displacedSteps are what is done meanwhile: as in faultRun.step, and S is Sync, X Close.
const displacedSteps = "nsnnSsnSffnSC.nnnnnnnnSnfSdnssCX"

// TestDisplacedSweep moves, removes and replaces the directory of a running database, or
// removes its LOCK, at each operation. What begins later is never acknowledged as durable,
// no file of a database in its place is touched, and wherever the files have gone, all
// that was acknowledged is there.
func TestDisplacedSweep(t *testing.T) {
	total := newDisplacedRun("nothing happens", 1<<30, nil).run(t)
	stride := max(1, faultStride()/8)
	for _, change := range displacements {
		t.Run(change.name, func(t *testing.T) {
			noticed := 0
			for n := 0; n < total; n += stride {
				r := newDisplacedRun(fmt.Sprintf("%s at operation %d of %d", change.name, n, total), n, change.do)
				r.run(t)
				if r.failed {
					noticed++
				}
			}
			for k := range displacedSteps {
				r := newDisplacedRun(fmt.Sprintf("%s before step %d", change.name, k), 1<<30, change.do)
				r.before = k
				r.run(t)
			}
			if noticed < total/stride/2 {
				t.Errorf("noticed in %d of %d runs", noticed, total/stride)
			}
			t.Logf("%d operations, noticed in %d runs", total, noticed)
		})
	}
}

// displacedRun is one history with one change of the directory.
type displacedRun struct {
	faultRun     // what was acknowledged
	at       int // operations before the change
	before   int // or the step; -1: none
	change   func(*vfstest.Disk) error

	mu      sync.Mutex // stages act at the same time
	seen    int
	changed bool

	failed bool          // the database said that it was displaced
	other  fixture.Files // of the database that may come in its place
}

func newDisplacedRun(what string, at int, change func(*vfstest.Disk) error) *displacedRun {
	return &displacedRun{faultRun: faultRun{what: what}, at: at, before: -1, change: change}
}

// run returns how many operations there were.
func (r *displacedRun) run(t *testing.T) int {
	synctest.Test(t, func(t *testing.T) {
		r.t = t
		disk := vfstest.NewDisk()
		r.prepareOther(disk)
		r.machine = fixture.NewMachine(disk)
		d := r.machine.OpenDB(t)
		want := r.machine.FillTables(t, d, 20)
		r.h = fixture.History{Now: fixture.StateOf(want), Start: fixture.StateOf(want), StartAt: d.Metrics().Sequence}
		r.machine.Fail(r.inject)
		for i, step := range displacedSteps {
			if i == r.before {
				r.changed = true // and nothing was under way
				synctest.Wait()
				fixture.Must(t, r.change(disk))
			}
			r.step(d, step)
		}
		r.machine.Fail(nil)
		r.lookAround(disk)
	})
	return r.seen
}

// prepareOther makes another database, which one change puts in the place of this one.
func (r *displacedRun) prepareOther(disk *vfstest.Disk) {
	d, err := db.Open(otherDir, fixture.On(disk, db.Options{MemtableBytes: 16 << 10}))
	fixture.Must(r.t, err)
	fixture.Must(r.t, d.Put([]byte("other"), []byte("database")))
	fixture.Must(r.t, d.Close())
	r.other = fixture.FilesOf(r.t, disk, otherDir)
}

func (r *displacedRun) inject(vfstest.Op) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen++; r.seen == r.at+1 && !r.changed {
		r.changed = true
		return r.change(r.machine.Disk)
	}
	return nil
}

func (r *displacedRun) isChanged() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// step does what a letter stands for. Only what began after the change must be refused.
func (r *displacedRun) step(d *db.DB, letter rune) {
	ctx, before := r.t.Context(), r.isChanged()
	var err error
	promises := true // that all is durable
	switch letter {
	case 'n':
		c := r.commit(6, 0)
		if err, promises = d.Apply(ctx, c.Batch(d), db.NoSync), false; err == nil {
			r.h.Add(c, db.NoSync)
		}
	case 'd', 's':
		c := fixture.Commit{{Key: "key03", Delete: true}}
		if letter == 's' {
			c = r.commit(1, 0)
		}
		if err = d.Apply(ctx, c.Batch(d), db.Sync); err == nil {
			r.h.Add(c, db.Sync)
		} else if r.maybe == nil {
			r.maybe = []fixture.Commit{c}
		}
	case 'S':
		err = d.Sync(ctx)
	case 'f':
		err = d.Flush(ctx)
	case 'C':
		err = d.Compact(ctx, nil, nil)
	case '.':
		synctest.Wait()
		promises = false
	case 'X':
		err = d.Close()
	}
	switch {
	case err == nil && before && promises:
		r.t.Errorf("%s: step %c was acknowledged as durable", r.what, letter)
	case err != nil && !r.isChanged():
		r.t.Errorf("%s: step %c before anything happened: %v", r.what, letter, err)
	case err != nil && !errors.Is(err, db.ErrDisplaced) && !strings.Contains(err.Error(), fs.ErrNotExist.Error()):
		r.t.Errorf("%s: step %c: %v", r.what, letter, err)
	case err != nil:
		r.failed = true
	}
}

// lookAround looks at what is at the path now, and at what was moved away.
func (r *displacedRun) lookAround(disk *vfstest.Disk) {
	if n := r.machine.OpenFiles(); n != 0 {
		r.t.Errorf("%s: %d files are open after Close", r.what, n)
	}
	there := func(dir string) bool { _, err := disk.Stat(dir); return err == nil }
	for _, dir := range []string{otherDir, fixture.Dir} {
		if !there(dir) || dir == fixture.Dir && there(otherDir) {
			continue // it was removed, or is this one's own
		}
		now := fixture.FilesOf(r.t, disk, dir)
		for name, data := range now {
			if before, ok := r.other[name]; !ok || !bytes.Equal(before, data) {
				r.t.Errorf("%s: %s of the other database was changed", r.what, name)
			}
		}
		if len(now) != len(r.other) {
			r.t.Errorf("%s: the other database has %d files instead of %d", r.what, len(now), len(r.other))
		}
	}
	dirs := slices.DeleteFunc([]string{elsewhere, fixture.Dir}, func(dir string) bool {
		return !there(dir) || dir == fixture.Dir && !there(otherDir)
	})
	for _, dir := range dirs {
		d, err := db.Open(dir, fixture.On(disk, db.Options{MemtableBytes: 16 << 10}))
		if err != nil {
			r.t.Errorf("%s: open in %s: %v", r.what, dir, err)
			continue
		}
		found, err := fixture.Scan(d)
		fixture.Must(r.t, err)
		r.reopened(len(r.h.Commits), d, found)
		fixture.Must(r.t, d.Close())
	}
}
