// Package slow looks at databases on disks that are slower than who writes to them. It runs
// on the clock of testing/synctest, where only the disk takes time: so it is no matter how
// fast the machine is.
package slow

import (
	"encoding/binary"
	"flag"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
	"lsmdb/stages"
)

var (
	memtableMiB = flag.Int64("memtable", 16, "size of a memtable in MiB")
	diskMiB     = flag.Int64("disk", 20, "speed of the disk in MiB a second")
	memtables   = flag.Int64("memtables", 44, "so many memtables are written")
	level0      = flag.Int("level0", 12, "number of tables that level 0 may have")
)

// TestPutsOnASlowDisk writes random keys as fast as the database takes them. Nobody may wait
// long for one put, and writers are slowed down, not stopped.
//
//	go test ./internal/tests/slow -v -memtable 64 -disk 20 -level0 24 -memtables 100
func TestPutsOnASlowDisk(t *testing.T) {
	if base.Invariants {
		t.Skip("takes minutes with the race detector")
	}
	synctest.Test(t, putSlowly)
}

func putSlowly(t *testing.T) {
	disk := &vfstest.Slow{FS: vfs.NewMem(), BytesPerSecond: *diskMiB << 20}
	tune := func(e *stages.Environment) { e.Workers, e.Policy.L0Limit = 1, *level0 }
	options := db.Options{MemtableBytes: *memtableMiB << 20, Durability: db.NoSync, CacheBytes: -1}
	d, err := db.Open("db", fixture.Tuned(disk, tune, options))
	fixture.Must(t, err)
	const valueBytes = 8000
	values, random := rand.NewChaCha8([32]byte{}), rand.New(rand.NewPCG(1, 2))
	key, value := make([]byte, 8), make([]byte, valueBytes)
	var longest time.Duration
	start := time.Now()
	for n := *memtables * options.MemtableBytes / valueBytes; n > 0; n-- {
		binary.BigEndian.PutUint64(key, uint64(random.Int64N(20*options.MemtableBytes/valueBytes)))
		values.Read(value[:valueBytes/2])
		before := time.Now()
		fixture.Must(t, d.Put(key, value))
		longest = max(longest, time.Since(before))
	}
	m := d.Metrics()
	t.Logf("in %v the longest put took %v; %+v", time.Since(start), longest, m.Stalls)
	if longest > 2*time.Second || m.Stalls.Time > m.Stalls.SlowedTime/20 {
		t.Error("that is too long, or writers were stopped instead of slowed down")
	}
	if m.Stalls.SlowedTime == 0 || m.Stalls.RotationTime == 0 || m.Stalls.FlushSlowedTime == 0 {
		t.Error("the load was too light, or Metrics do not tell what slowed it down")
	}
	fixture.Must(t, d.Close())
}
