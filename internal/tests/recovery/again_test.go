package recovery

import (
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

// switching returns the number of the operation that renames CURRENT when a disk is opened.
func switching(t *testing.T, disk *vfstest.Disk) (n int) {
	t.Helper()
	m := fixture.NewMachine(disk)
	var seen atomic.Int64
	m.Fail(func(op vfstest.Op) error {
		if at := seen.Add(1); op.Kind == vfstest.OpRename {
			n = int(at)
		}
		return nil
	})
	d := m.OpenDB(t)
	fixture.Must(t, fixture.TakeOver(d))
	m.Kill(d)
	return n
}

// TestPowerLostAfterKilledRecovery: a recovery was killed, so what it did can be read but
// is not durable. In the next one the power fails, and it may be gone; what had been there
// before is not. Most of what there is to lose goes when CURRENT is switched.
func TestPowerLostAfterKilledRecovery(t *testing.T) {
	f := fixture.NewFilled(t, db.Sync)
	total := switching(t, f.Disk(t))
	step := 1
	if testing.Short() || base.Invariants { // CI takes each step without the race detector
		step = 3
	}
	for first := total - 1; first <= total+3; first++ {
		for second, through := 1, false; !through; second += step {
			for seed := range uint64(2) {
				disk := f.Disk(t)
				if _, d, err := fixture.OpenUntil(disk, first, false, nil); err == nil {
					d.Close()
				}
				var clone *vfstest.Disk
				_, d, err := fixture.OpenUntil(disk, second, false, func() {
					clone = disk.CrashClone(rand.New(rand.NewPCG(seed, uint64(first*1000+second))))
				})
				if err == nil {
					d.Close()
				}
				if through = clone == nil; through {
					break
				}
				again, err := db.Open(fixture.Dir, fixture.On(clone, db.Options{MemtableBytes: 1}))
				if err != nil {
					t.Fatalf("killed at operation %d of %d, power lost at %d of the next open, seed %d: %v", first, total, second, seed, err)
				}
				if err := fixture.Differ(f.Want, fixture.Contents(t, again)); err != nil {
					t.Fatalf("killed at operation %d of %d, power lost at %d of the next open, seed %d: %v", first, total, second, seed, err)
				}
				fixture.Must(t, again.Close())
			}
		}
	}
}

// TestPowerLostAfterKilledChange: a process was killed after it had written a change of
// the tree and before that was durable. In the next recovery the power fails: then the
// tree may be the one before, with all its tables and logs.
func TestPowerLostAfterKilledChange(t *testing.T) {
	died := 0
	for nth := 1; nth <= 6; nth++ {
		for second, through := 1, false; !through; second += 2 {
			m := fixture.NewMachine(vfstest.NewDisk())
			d := m.OpenDB(t)
			want := m.FillTables(t, d, 50)
			var syncs atomic.Int64
			m.Fail(func(op vfstest.Op) error {
				if op.Kind == vfstest.OpSync && strings.Contains(op.Name, "MANIFEST") && syncs.Add(1) == int64(nth) {
					m.Killed.Store(true)
					died++
					return fixture.ErrDead
				}
				return nil
			})
			for i := range 3 {
				key := fmt.Sprintf("log%05d", i)
				if d.Put([]byte(key), []byte("value")) == nil {
					want[key] = "value"
				}
				_ = d.Flush(t.Context())
				_ = d.Compact(t.Context(), nil, nil)
			}
			m.Kill(d)
			var clone *vfstest.Disk
			_, d, err := fixture.OpenUntil(m.Disk, second, false, func() {
				clone = m.Disk.CrashClone(rand.New(rand.NewPCG(uint64(nth), uint64(second))))
			})
			if err == nil {
				d.Close()
			}
			if through = clone == nil; !through {
				fixture.MustHold(t, clone, want)
			}
			if t.Failed() {
				t.Fatalf("killed at sync %d of the MANIFEST, power lost at operation %d of the next open", nth, second)
			}
		}
	}
	if died < 100 {
		t.Errorf("only %d processes were killed", died)
	}
}

// TestKilledAgainAndAgain kills recoveries of one directory at every operation in turn, up
// to the switch. However many there were, they take no more space than one or two, and
// lose nothing.
func TestKilledAgainAndAgain(t *testing.T) {
	for what, f := range map[string]fixture.Filled{"killed": fixture.NewFilled(t, db.Sync), "closed": fixture.NewClosed(t)} {
		disk := f.Disk(t)
		bound, total := 2*disk.UsedBytes()+160<<10, switching(t, f.Disk(t))
		for round := range 7 {
			for n := 1; n <= total; n++ {
				dies := n
				if round%2 == 1 { // backward: each leaves more than the next comes to sweep
					dies = total + 1 - n
				}
				m := fixture.NewMachine(disk)
				var seen atomic.Int64
				m.Fail(func(op vfstest.Op) error {
					if seen.Add(1) >= int64(dies) || op.Kind == vfstest.OpRename {
						m.Killed.Store(true)
						return fixture.ErrDead
					}
					return nil
				})
				d, err := db.Open(fixture.Dir, m.Options())
				if err == nil && fixture.TakeOver(d) == nil {
					t.Fatalf("%s: a process that was killed took the database over", what)
				}
				if used := disk.UsedBytes(); used > bound {
					t.Fatalf("%s: %d bytes are used, %d would be many, after %d rounds and %d more", what, used, bound, round, n)
				}
			}
		}
		fixture.MustHold(t, disk, f.Want)
	}
}
