package db

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/vfstest"
)

// interruption stops a machine, or breaks one operation, when its count of
// operations comes to a given number.
type interruption struct {
	machine *machine
	mu      sync.Mutex // stages act at the same time
	seen    int
	names   []string // created files
}

// openUntil opens a database on a disk where operation n and all after it fail, or
// only operation n. crash is called at that moment.
func openUntil(disk *vfstest.Disk, n int, only bool, crash func()) (i *interruption, d *DB, err error) {
	i = &interruption{machine: newMachine(disk)}
	i.machine.fail(func(op vfstest.Op) error {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.seen++
		if op.Kind == vfstest.OpCreate {
			i.names = append(i.names, filepath.Base(op.Name))
		}
		if i.seen < n || only && i.seen > n {
			return nil
		}
		if i.seen == n && crash != nil {
			crash()
		}
		return fmt.Errorf("%s %s: %w", op.Kind, op.Name, errDead)
	})
	d, err = Open(at, i.machine.options())
	if err == nil {
		err = takeOver(d)
	}
	return i, d, err
}

// takeOver waits for what the first write to an open database needs. A database that
// fails at it is closed.
func takeOver(d *DB) error {
	err := d.Sync(context.Background())
	if err != nil {
		d.Close()
	}
	return err
}

// created returns the names of the files that were created so far.
func (i *interruption) created() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.names)
}

// operationsOfOpen counts what an Open without interruption does.
func operationsOfOpen(t *testing.T, disk *vfstest.Disk) int {
	t.Helper()
	i, d, err := openUntil(disk, 1<<30, false, nil)
	must(t, err)
	i.machine.kill(d)
	return i.seen
}

// survive opens, writes with Sync, takes the power away and opens again.
func survive(t *testing.T, what string, disk *vfstest.Disk, want view) {
	t.Helper()
	m := newMachine(disk)
	d, err := Open(at, m.options())
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if err := differ(want, contents(t, d)); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	must(t, d.Put([]byte("after"), []byte("it")))
	lost := disk.CrashClone(nil)
	m.kill(d)
	want["after"] = "it"
	defer delete(want, "after")
	d, err = Open(at, &Options{MemtableBytes: 1, fs: lost})
	if err != nil {
		t.Errorf("%s, power lost after a synced write: %v", what, err)
		return
	}
	if err := differ(want, contents(t, d)); err != nil {
		t.Errorf("%s, power lost after a synced write: %v", what, err)
	}
	must(t, d.Close())
}

// TestInterruptedCreation stops the creation of a database before every operation: a
// killed process, a power failure, a single failure.
func TestInterruptedCreation(t *testing.T) {
	total := operationsOfOpen(t, vfstest.NewDisk())
	for n := 1; n <= total; n++ {
		for _, only := range []bool{false, true} {
			disk := vfstest.NewDisk()
			clones := make(map[string]*vfstest.Disk)
			_, d, err := openUntil(disk, n, only, func() {
				clones["certain"] = disk.CrashClone(nil)
				for seed := range uint64(3) {
					clones[fmt.Sprint("seed ", seed)] = disk.CrashClone(rand.New(rand.NewPCG(seed, uint64(n))))
				}
			})
			switch {
			case err == nil:
				d.Close()
			case !strings.Contains(err.Error(), errDead.Error()):
				t.Errorf("failure of operation %d: %v", n, err)
			}
			survive(t, fmt.Sprintf("creation stopped at operation %d (only: %v)", n, only), disk, view{})
			for what, clone := range clones {
				survive(t, fmt.Sprintf("power lost at operation %d of the creation (%s)", n, what), clone, view{})
			}
		}
	}
}

// TestInterruptedRecovery stops a recovery before every operation and repeats it.
func TestInterruptedRecovery(t *testing.T) {
	t.Run("killed", func(t *testing.T) { testInterruptedRecovery(t, newFilled(t, Sync)) })
	t.Run("closed", func(t *testing.T) { testInterruptedRecovery(t, newClosed(t)) })
}

func testInterruptedRecovery(t *testing.T, f filled) {
	total := operationsOfOpen(t, f.disk(t))
	for n := 1; n <= total; n++ {
		for _, only := range []bool{false, true} {
			disk := f.disk(t)
			var clone *vfstest.Disk
			i, d, err := openUntil(disk, n, only, func() { clone = disk.CrashClone(rand.New(rand.NewPCG(1, uint64(n)))) })
			what := fmt.Sprintf("operation %d of %d (only: %v)", n, total, only)
			switch {
			case err == nil:
				d.Close()
			case !strings.Contains(err.Error(), errDead.Error()):
				t.Errorf("failure of %s: %v", what, err)
			}
			mustBeNew(t, what, i.created(), f.files)
			left := filesOf(t, disk, at)
			again, d, err := openUntil(disk, 1<<30, false, nil)
			if err != nil {
				t.Errorf("recovery repeated after %s: %v", what, err)
				continue
			}
			mustBeNew(t, "after "+what, again.created(), left)
			if m := d.Metrics(); m.Sequence != f.sequence {
				t.Errorf("after %s: sequence %d, want %d", what, m.Sequence, f.sequence)
			}
			if err := differ(f.want, contents(t, d)); err != nil {
				t.Errorf("after %s: %v", what, err)
			}
			again.machine.kill(d)
			if !only {
				survive(t, what, disk, f.want)
			}
			if !only && clone != nil { // compactions are not always as fast
				survive(t, "power lost at "+what, clone, f.want)
			}
		}
	}
}

// mustBeNew checks that files got numbers beyond all that were there, each its own.
func mustBeNew(t *testing.T, what string, created []string, before files) {
	t.Helper()
	var largest uint64
	for name := range before {
		largest = max(largest, numberOf(name))
	}
	taken := make(map[uint64]bool)
	for _, name := range created {
		kind, number := base.ParseFileName(name)
		if kind != base.FileTemporary && (number <= largest || taken[number]) {
			t.Errorf("%s: created %s, but %d or the same number was taken", what, name, largest)
		}
		taken[number] = true
	}
}

// TestPowerLostDuringRecoveryOfKilledProcess: the first process was killed, so all it
// wrote can be read at first. Then the power fails in the middle of the
// recovery, and what was never synced is gone: still a prefix, and no damage.
func TestPowerLostDuringRecoveryOfKilledProcess(t *testing.T) {
	prepare := func() (disk *vfstest.Disk, synced uint64) {
		m := newMachine(vfstest.NewDisk())
		d := m.open(t)
		fillTables(t, d, 50)
		must(t, d.Put([]byte("synced"), []byte("value")))
		synced = d.Metrics().Sequence
		for i := range 10 {
			must(t, d.Put(fmt.Appendf(nil, "unsynced%d", i), make([]byte, 700), NoSync))
		}
		m.kill(d)
		return m.disk, synced
	}
	disk, synced := prepare()
	total := operationsOfOpen(t, disk)
	for n := 1; n <= total; n++ {
		for seed := range uint64(3) {
			disk, _ := prepare()
			var clone *vfstest.Disk
			openUntil(disk, n, false, func() {
				clone = disk.CrashClone(nil)
				if seed > 0 {
					clone = disk.CrashClone(rand.New(rand.NewPCG(seed, uint64(n))))
				}
			})
			if clone == nil {
				continue // the sweeper is not always as fast
			}
			d, err := Open(at, &Options{MemtableBytes: 1, fs: clone})
			if err != nil {
				t.Errorf("power lost at operation %d of %d of the recovery, seed %d: %v", n, total, seed, err)
				continue
			}
			m := d.Metrics()
			found := contents(t, d)
			if m.Sequence < synced || found["synced"] != "value" || len(found) != 51+int(m.Sequence-synced) {
				t.Errorf("power lost at operation %d of %d, seed %d: sequence %d, synced were %d, %d keys", n, total, seed, m.Sequence, synced, len(found))
			}
			must(t, d.Close())
		}
	}
}

// TestDiskFullDuringOpen lets the disk fill up at any point of a recovery.
func TestDiskFullDuringOpen(t *testing.T) {
	f := newFilled(t, Sync)
	refused := 0
	for _, free := range []int64{1, 1000, 5000, 20_000, 40_000, 66_000, 100_000, 131_000, 140_000, 180_000, 200_000} {
		disk := f.disk(t)
		disk.SetLimit(disk.UsedBytes() + free)
		d, err := Open(at, &Options{MemtableBytes: 1, fs: disk})
		if err == nil {
			must(t, differ(f.want, contents(t, d)))
			d.Close()
		} else if refused++; !errors.Is(err, ErrDiskFull) {
			t.Errorf("%d bytes free: %v", free, err)
		}
		disk.SetLimit(0)
		mustHold(t, disk, f.want)
	}
	if refused == 0 || refused == 11 {
		t.Errorf("%d of 11 opens were refused: the sizes miss the point", refused)
	}
}
