package recovery

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// operationsOfOpen counts what an Open without interruption does.
func operationsOfOpen(t *testing.T, disk *vfstest.Disk) int {
	t.Helper()
	i, d, err := fixture.OpenUntil(disk, 1<<30, false, nil)
	fixture.Must(t, err)
	i.Machine.Kill(d)
	return i.Seen
}

// survive opens, writes with Sync, takes the power away and opens again.
func survive(t *testing.T, what string, disk *vfstest.Disk, want fixture.View) {
	t.Helper()
	m := fixture.NewMachine(disk)
	d, err := db.Open(fixture.Dir, m.Options())
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if err := fixture.Differ(want, fixture.Contents(t, d)); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	fixture.Must(t, d.Put([]byte("after"), []byte("it")))
	lost := disk.CrashClone(nil)
	m.Kill(d)
	want["after"] = "it"
	defer delete(want, "after")
	d, err = db.Open(fixture.Dir, fixture.On(lost, db.Options{MemtableBytes: 1}))
	if err != nil {
		t.Errorf("%s, power lost after a synced write: %v", what, err)
		return
	}
	if err := fixture.Differ(want, fixture.Contents(t, d)); err != nil {
		t.Errorf("%s, power lost after a synced write: %v", what, err)
	}
	fixture.Must(t, d.Close())
}

// TestInterruptedCreation stops the creation of a database before every operation: a
// killed process, a power failure, a single failure.
func TestInterruptedCreation(t *testing.T) {
	total := operationsOfOpen(t, vfstest.NewDisk())
	for n := 1; n <= total; n++ {
		for _, only := range []bool{false, true} {
			disk := vfstest.NewDisk()
			clones := make(map[string]*vfstest.Disk)
			_, d, err := fixture.OpenUntil(disk, n, only, func() {
				clones["certain"] = disk.CrashClone(nil)
				for seed := range uint64(3) {
					clones[fmt.Sprint("seed ", seed)] = disk.CrashClone(rand.New(rand.NewPCG(seed, uint64(n))))
				}
			})
			switch {
			case err == nil:
				d.Close()
			case !strings.Contains(err.Error(), fixture.ErrDead.Error()):
				t.Errorf("failure of operation %d: %v", n, err)
			}
			survive(t, fmt.Sprintf("creation stopped at operation %d (only: %v)", n, only), disk, fixture.View{})
			for what, clone := range clones {
				survive(t, fmt.Sprintf("power lost at operation %d of the creation (%s)", n, what), clone, fixture.View{})
			}
		}
	}
}

// TestInterruptedRecovery stops a recovery before every operation and repeats it.
func TestInterruptedRecovery(t *testing.T) {
	t.Run("killed", func(t *testing.T) { testInterruptedRecovery(t, fixture.NewFilled(t, db.Sync)) })
	t.Run("closed", func(t *testing.T) { testInterruptedRecovery(t, fixture.NewClosed(t)) })
}

func testInterruptedRecovery(t *testing.T, f fixture.Filled) {
	total := operationsOfOpen(t, f.Disk(t))
	for n := 1; n <= total; n++ {
		for _, only := range []bool{false, true} {
			disk := f.Disk(t)
			var clone *vfstest.Disk
			i, d, err := fixture.OpenUntil(disk, n, only, func() { clone = disk.CrashClone(rand.New(rand.NewPCG(1, uint64(n)))) })
			what := fmt.Sprintf("operation %d of %d (only: %v)", n, total, only)
			switch {
			case err == nil:
				d.Close()
			case !strings.Contains(err.Error(), fixture.ErrDead.Error()):
				t.Errorf("failure of %s: %v", what, err)
			}
			mustBeNew(t, what, i.Created(), f.Files)
			left := fixture.FilesOf(t, disk, fixture.Dir)
			again, d, err := fixture.OpenUntil(disk, 1<<30, false, nil)
			if err != nil {
				t.Errorf("recovery repeated after %s: %v", what, err)
				continue
			}
			mustBeNew(t, "after "+what, again.Created(), left)
			if m := d.Metrics(); m.Sequence != f.Sequence {
				t.Errorf("after %s: sequence %d, want %d", what, m.Sequence, f.Sequence)
			}
			if err := fixture.Differ(f.Want, fixture.Contents(t, d)); err != nil {
				t.Errorf("after %s: %v", what, err)
			}
			again.Machine.Kill(d)
			if !only {
				survive(t, what, disk, f.Want)
			}
			if !only && clone != nil { // compactions are not always as fast
				survive(t, "power lost at "+what, clone, f.Want)
			}
		}
	}
}

// mustBeNew checks that files got numbers beyond all that were there, each its own.
func mustBeNew(t *testing.T, what string, created []string, before fixture.Files) {
	t.Helper()
	var largest uint64
	for name := range before {
		largest = max(largest, fixture.NumberOf(name))
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

// killedProcess leaves what a killed process wrote, none of which needs to be durable but
// what it synced. end is what the process does last; it dies at the first operation that
// is fatal.
type killedProcess struct {
	name  string
	end   func(t *testing.T, d *db.DB)
	fatal func(op vfstest.Op) bool
}

func syncOfManifest(op vfstest.Op) bool {
	return op.Kind == vfstest.OpSync && strings.Contains(op.Name, "MANIFEST")
}

var killedProcesses = []killedProcess{
	{"while it writes", func(*testing.T, *db.DB) {}, func(vfstest.Op) bool { return false }},
	{"before the edit of a flush is synced", func(t *testing.T, d *db.DB) { _ = d.Flush(t.Context()) }, syncOfManifest},
	{"before the edit of a compaction is synced", func(t *testing.T, d *db.DB) {
		fixture.Must(t, d.Flush(t.Context()))
		_ = d.Compact(t.Context(), nil, nil)
	}, syncOfCompaction()},
}

// syncOfCompaction passes the edit of the flush before it.
func syncOfCompaction() func(vfstest.Op) bool {
	var edits atomic.Int32
	return func(op vfstest.Op) bool { return syncOfManifest(op) && edits.Add(1)%2 == 0 }
}

// leave goes through the life of the process and returns the disk.
func (k *killedProcess) leave(t *testing.T) (disk *vfstest.Disk, synced uint64) {
	m := fixture.NewMachine(vfstest.NewDisk())
	d := m.OpenDB(t)
	m.FillTables(t, d, 50)
	fixture.Must(t, d.Put([]byte("synced"), []byte("value")))
	synced = d.Metrics().Sequence
	for i := range 10 {
		fixture.Must(t, d.Put(fmt.Appendf(nil, "unsynced%d", i), make([]byte, 700), db.NoSync))
	}
	m.Fail(func(op vfstest.Op) error {
		if k.fatal(op) {
			m.Killed.Store(true)
			return fixture.ErrDead
		}
		return nil
	})
	k.end(t, d)
	m.Kill(d)
	return m.Disk, synced
}

// killBeforeSwitchIsDurable has another process take over and die when CURRENT names its
// MANIFEST, but may not tomorrow.
func killBeforeSwitchIsDurable(disk *vfstest.Disk) {
	m := fixture.NewMachine(disk)
	var switched atomic.Bool
	m.Fail(func(op vfstest.Op) error {
		if op.Kind == vfstest.OpRename {
			switched.Store(true)
		} else if op.Kind == vfstest.OpSyncDir && switched.Load() {
			m.Killed.Store(true)
			return fixture.ErrDead
		}
		return nil
	})
	if d, err := db.Open(fixture.Dir, m.Options()); err == nil {
		_ = fixture.TakeOver(d)
		m.Kill(d)
	}
}

// TestPowerLostDuringRecoveryOfKilledProcess: the first process was killed, so all it
// wrote can be read at first. Then the power fails in the middle of the
// recovery, and what was never synced is gone: still a prefix, and no damage. That holds
// for the log, for the last edits of the MANIFEST and for CURRENT.
func TestPowerLostDuringRecoveryOfKilledProcess(t *testing.T) {
	for _, k := range killedProcesses {
		for _, switched := range []bool{false, true} {
			t.Run(fmt.Sprintf("killed %s, again at the switch: %v", k.name, switched), func(t *testing.T) {
				prepare := func() (disk *vfstest.Disk, synced uint64) {
					if disk, synced = k.leave(t); switched {
						killBeforeSwitchIsDurable(disk)
					}
					return disk, synced
				}
				disk, _ := prepare()
				total := operationsOfOpen(t, disk)
				for n := 1; n <= total; n++ {
					for seed := range uint64(4) {
						losePowerInRecovery(t, prepare, n, seed)
					}
				}
			})
		}
	}
}

// losePowerInRecovery takes the power away at operation n of a recovery.
func losePowerInRecovery(t *testing.T, prepare func() (*vfstest.Disk, uint64), n int, seed uint64) {
	t.Helper()
	disk, synced := prepare()
	var clone *vfstest.Disk
	fixture.OpenUntil(disk, n, false, func() {
		clone = disk.CrashClone(nil)
		if seed > 0 {
			clone = disk.CrashClone(rand.New(rand.NewPCG(seed, uint64(n))))
		}
	})
	if clone == nil {
		return // the sweeper is not always as fast
	}
	d, err := db.Open(fixture.Dir, fixture.On(clone, db.Options{MemtableBytes: 1}))
	if err != nil {
		t.Errorf("power lost at operation %d of the recovery, seed %d: %v", n, seed, err)
		return
	}
	m := d.Metrics()
	found := fixture.Contents(t, d)
	if m.Sequence < synced || found["synced"] != "value" || len(found) != 51+int(m.Sequence-synced) {
		t.Errorf("power lost at operation %d, seed %d: sequence %d, synced were %d, %d keys", n, seed, m.Sequence, synced, len(found))
	}
	fixture.Must(t, d.Close())
}

// TestDiskFullDuringOpen lets the disk fill up at any point of a recovery.
func TestDiskFullDuringOpen(t *testing.T) {
	f := fixture.NewFilled(t, db.Sync)
	refused := 0
	for _, free := range []int64{1, 1000, 5000, 20_000, 40_000, 66_000, 100_000, 131_000, 140_000, 180_000, 200_000} {
		disk := f.Disk(t)
		disk.SetLimit(disk.UsedBytes() + free)
		d, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{MemtableBytes: 1}))
		if err == nil {
			fixture.Must(t, fixture.Differ(f.Want, fixture.Contents(t, d)))
			d.Close()
		} else if refused++; !errors.Is(err, db.ErrDiskFull) {
			t.Errorf("%d bytes free: %v", free, err)
		}
		disk.SetLimit(0)
		fixture.MustHold(t, disk, f.Want)
	}
	if refused == 0 || refused == 11 {
		t.Errorf("%d of 11 opens were refused: the sizes miss the point", refused)
	}
}

// TestKilledTakeoversNeedNoMoreSpace: a takeover that is killed at the same place again
// and again first removes what the one before left. Only where CURRENT is switched, and
// that may not be durable yet, the log and the MANIFEST of each stay.
func TestKilledTakeoversNeedNoMoreSpace(t *testing.T) {
	const logAndManifest = 2 * 70 << 10
	f := fixture.NewFilled(t, db.Sync)
	total := operationsOfOpen(t, f.Disk(t))
	for n := 1; n <= total; n++ {
		disk := f.Disk(t)
		var used [2]int64 // at most, in each half
		kept := int64(logAndManifest)
		for i := range 12 {
			before := fixture.FilesOf(t, disk, fixture.Dir)["CURRENT"]
			if j, d, err := fixture.OpenUntil(disk, n, false, nil); err == nil {
				j.Machine.Kill(d)
			}
			used[i/6] = max(used[i/6], disk.UsedBytes())
			// Stages act at the same time: now and then the operation is another one.
			if !bytes.Equal(before, fixture.FilesOf(t, disk, fixture.Dir)["CURRENT"]) {
				kept += logAndManifest
			}
		}
		if used[1] > used[0]+kept {
			t.Errorf("killed at operation %d of %d: %d bytes, later %d", n, total, used[0], used[1])
		}
	}
	disk := f.Disk(t)
	for range 10 {
		before := disk.UsedBytes()
		killBeforeSwitchIsDurable(disk)
		if now := disk.UsedBytes(); now > before+logAndManifest+32<<10 {
			t.Errorf("killed at the switch: %d bytes, before %d", now, before)
		}
	}
	fixture.MustHold(t, disk, f.Want)
	if now, before := disk.UsedBytes(), f.Disk(t).UsedBytes(); now > before {
		t.Errorf("in the end %d bytes are used, at first %d", now, before)
	}
}
