package db_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// TestFailedOpenLeavesNothing: an Open that runs out of space takes back what it
// made, so that the next one needs no more room than the first.
func TestFailedOpenLeavesNothing(t *testing.T) {
	disk := vfstest.NewDisk()
	d, err := db.Open("/d", fixture.On(disk, db.Options{MemtableBytes: 8 << 20}))
	fixture.Must(t, err)
	rng := rand.NewChaCha8([32]byte{})
	value := make([]byte, 10000)
	for i := range 300 {
		rng.Read(value)
		fixture.Must(t, d.Put(fmt.Appendf(nil, "k%04d", i), value, db.NoSync))
	}
	fixture.Must(t, d.Sync(t.Context()))
	killed := disk.CrashClone(nil)
	fixture.Must(t, d.Close())

	before, free := killed.UsedBytes(), int64(2<<20)
	killed.SetLimit(before + free)
	small := fixture.On(killed, db.Options{MemtableBytes: 512 << 10})
	for range 3 {
		if _, err := db.Open("/d", small); !errors.Is(err, db.ErrDiskFull) {
			t.Fatalf("opening with little room: %v", err)
		}
		// Memory of removed files comes back with the directory's sync.
		fixture.Must(t, killed.SyncDir("/d"))
		if left := killed.UsedBytes() - before; left > 1<<10 {
			t.Fatalf("a failed Open left %d bytes", left)
		}
	}
	killed.SetLimit(before + 4<<20)
	d, err = db.Open("/d", small)
	fixture.Must(t, err)
	fixture.Must(t, fixture.TakeOver(d))
	if n := entryCount(d); n != 300 {
		t.Errorf("%d entries", n)
	}
	fixture.Must(t, d.Close())
}

// TestForeignNumber: a file with a number that no database reaches is not ours.
func TestForeignNumber(t *testing.T) {
	dir := t.TempDir()
	names := []string{"9999999999999999999.sst.tmp", "18446744073709551615.wal", "9223372036854775807.sst"}
	for _, name := range names {
		fixture.Must(t, os.WriteFile(filepath.Join(dir, name), []byte("mine"), 0o600))
	}
	for range 2 {
		d, err := db.Open(dir, nil)
		fixture.Must(t, err)
		fixture.Must(t, d.Put([]byte("a"), []byte("b")))
		fixture.Must(t, d.Close())
	}
	for _, name := range names {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != "mine" {
			t.Errorf("%s was touched: %q, %v", name, got, err)
		}
	}
}

// TestRefusedSegmentStaysRefused: a WAL segment that a full disk refused at a sync
// must not come back after a power failure and contradict what was written since.
func TestRefusedSegmentStaysRefused(t *testing.T) {
	for seed := range uint64(20) {
		disk := vfstest.NewDisk()
		var full atomic.Bool
		fs := vfstest.NewFault(disk, func(op vfstest.Op) error {
			if full.Load() && op.Kind == vfstest.OpSync && strings.HasSuffix(op.Name, ".wal") && !strings.HasSuffix(op.Name, "000002.wal") {
				return &vfstest.Late{Err: syscall.ENOSPC}
			}
			return nil
		})
		d, err := db.Open("/d", fixture.On(fs, db.Options{MemtableBytes: 1}))
		fixture.Must(t, err)
		for range 2 {
			fixture.Must(t, d.Put([]byte("a"), make([]byte, 7000)))
		}
		full.Store(true)
		fixture.WantErr(t, "a write that needs a segment", d.Put([]byte("b"), make([]byte, 7000)), db.ErrDiskFull)
		fixture.Must(t, d.Put([]byte("c"), []byte("fits the old segment")))
		clone := disk.CrashClone(rand.New(rand.NewPCG(seed, 0)))
		d.Close()
		d, err = db.Open("/d", fixture.On(clone, db.Options{MemtableBytes: 1}))
		fixture.Must(t, err)
		if got, err := d.Get([]byte("c")); err != nil || string(got) != "fits the old segment" {
			t.Errorf("seed %d: %q, %v", seed, got, err)
		}
		fixture.Must(t, d.Close())
	}
}

// TestSyncBesideRefusedWrites: a Sync needs no room, whatever its neighbours in the
// group need.
func TestSyncBesideRefusedWrites(t *testing.T) {
	disk := vfstest.NewDisk()
	d, err := db.Open("/d", fixture.On(disk, db.Options{MemtableBytes: 1 << 20}))
	fixture.Must(t, err)
	fixture.Must(t, d.Put([]byte("a"), []byte("b"), db.NoSync))
	disk.SetLimit(disk.UsedBytes())
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 200 {
				fixture.WantErr(t, "put", d.Put([]byte("big"), make([]byte, 100000), db.NoSync), db.ErrDiskFull)
			}
		})
		all.Go(func() {
			for range 200 {
				fixture.Must(t, d.Sync(context.Background()))
			}
		})
	}
	all.Wait()
	disk.SetLimit(0)
	fixture.Must(t, d.Close())
}

// TestNextAfterError: after an error an iterator waits for a seek; it does not start
// over.
func TestNextAfterError(t *testing.T) {
	var broken atomic.Bool
	fs := vfstest.NewFault(vfstest.NewDisk(), func(op vfstest.Op) error {
		if broken.Load() && op.Kind == vfstest.OpRead {
			return syscall.EIO
		}
		return nil
	})
	d, err := db.Open("/d", fixture.On(fs, db.Options{CacheBytes: -1, Durability: db.NoSync}))
	fixture.Must(t, err)
	for i := range 1000 {
		fixture.Must(t, d.Put(fmt.Appendf(nil, "k%04d", i), make([]byte, 100)))
	}
	fixture.Must(t, d.Flush(t.Context()))
	for name, move := range map[string]func(*db.Iterator) bool{"Next": (*db.Iterator).Next, "Prev": (*db.Iterator).Prev} {
		it, err := d.NewIterator(nil)
		fixture.Must(t, err)
		it.SeekGE([]byte("k0500"))
		broken.Store(true)
		for move(it) {
		}
		fixture.WantErr(t, name, it.Err(), syscall.EIO)
		broken.Store(false)
		if move(it) || it.Valid() || !errors.Is(it.Err(), syscall.EIO) {
			t.Errorf("%s after an error stands on %q, %v", name, it.Key(), it.Err())
		}
		if !it.SeekGE([]byte("k0500")) || it.Err() != nil {
			t.Errorf("a seek after an error: %v", it.Err())
		}
		fixture.Must(t, it.Close())
	}
	fixture.Must(t, d.Close())
}

// TestFailedCloseSyncsTheWAL: a failure elsewhere is no reason to leave what was
// acknowledged in a sound WAL to the mercy of the next power failure.
func TestFailedCloseSyncsTheWAL(t *testing.T) {
	disk := vfstest.NewDisk()
	gate := make(chan struct{})
	var broken atomic.Bool
	fs := vfstest.NewFault(disk, func(op vfstest.Op) error {
		if broken.Load() && op.Kind == vfstest.OpCreate && strings.HasSuffix(op.Name, ".sst") {
			<-gate
			return syscall.EIO
		}
		return nil
	})
	d, err := db.Open("/d", fixture.On(fs, db.Options{MemtableBytes: 64 << 10}))
	fixture.Must(t, err)
	broken.Store(true)
	for i := range 120 {
		fixture.Must(t, d.Put(fmt.Appendf(nil, "a%03d", i), make([]byte, 700), db.NoSync))
	}
	fixture.Must(t, d.Put([]byte("acknowledged"), []byte("yes"), db.NoSync))
	close(gate)
	fixture.WantErr(t, "flush", d.Flush(t.Context()), db.ErrReadOnly)
	fixture.WantErr(t, "close", d.Close(), syscall.EIO)
	d, err = db.Open("/d", fixture.On(disk.CrashClone(nil), db.Options{MemtableBytes: 64 << 10}))
	fixture.Must(t, err)
	if ok, err := d.Has([]byte("acknowledged")); !ok {
		t.Errorf("Close did not sync the WAL: %v", err)
	}
	fixture.Must(t, d.Close())
}

// TestReadOnlyIsNotDiskFull: ErrDiskFull promises that writes resume; a database
// that a full disk stopped for good must not say so.
func TestReadOnlyIsNotDiskFull(t *testing.T) {
	var full atomic.Bool
	fs := vfstest.NewFault(vfstest.NewDisk(), func(op vfstest.Op) error {
		if full.Load() && op.Kind == vfstest.OpSyncDir {
			return syscall.ENOSPC
		}
		return nil
	})
	d, err := db.Open("/d", fixture.On(fs, db.Options{}))
	fixture.Must(t, err)
	fixture.Must(t, d.Put([]byte("a"), []byte("b")))
	full.Store(true)
	for _, err := range []error{d.Flush(t.Context()), d.Put([]byte("a"), []byte("b")), d.Close()} {
		if err == nil || errors.Is(err, db.ErrDiskFull) {
			t.Errorf("got %v", err)
		}
	}
}

// TestRelativeDirectory: a program may change its working directory.
func TestRelativeDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	d, err := db.Open("data", &db.Options{MemtableBytes: 1})
	fixture.Must(t, err)
	home, err := os.Getwd()
	fixture.Must(t, err)
	t.Chdir(t.TempDir())
	view := fixture.FillTables(t, d, 500)
	fixture.Must(t, d.Close())
	if names, _ := os.ReadDir("."); len(names) > 0 {
		t.Errorf("files followed the working directory: %v", names)
	}
	d, err = db.Open(filepath.Join(home, "data"), nil)
	fixture.Must(t, err)
	it, err := d.NewIterator(nil)
	fixture.Must(t, err)
	fixture.Must(t, fixture.NewModelIterator(it, view, nil).Scan())
	fixture.Must(t, it.Close())
	fixture.Must(t, d.Close())
}

// TestDescriptorsAreGivenBack: tables that nobody reads any more are closed, also in
// a program that hardly ever collects garbage.
func TestDescriptorsAreGivenBack(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	d := openMemory(t)
	const bound = 200 // what the Sweeper has not come to
	for i := range 50_000 {
		fixture.Must(t, d.Put(fmt.Appendf(nil, "k%03d", i%500), make([]byte, 300), db.NoSync))
		if i%100 > 0 {
			continue
		}
		// On a busy machine the Sweeper may come late, but it comes.
		for deadline := time.Now().Add(time.Minute); deadTables(d) > bound; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d dead tables are open after %d puts", deadTables(d), i)
			}
		}
	}
	if deleted := d.Metrics().Files.ObsoleteDeleted; deleted < 5*bound {
		t.Errorf("%d files were deleted", deleted)
	}
}

// deadTables is how many tables are open that are not in the tree any more.
func deadTables(d *db.DB) int {
	m := d.Metrics()
	live, _ := m.Tables()
	return m.Files.OpenTables - live
}

// TestBoundEndsAScan: an iterator of an older instant stops at its bound, whatever
// newer entries lie behind it that it cannot see.
func TestBoundEndsAScan(t *testing.T) {
	d, err := db.Open("/d", fixture.On(vfstest.NewDisk(), db.Options{CacheBytes: -1, Durability: db.NoSync}))
	fixture.Must(t, err)
	for i := range 10 {
		fixture.Must(t, d.Put(fmt.Appendf(nil, "m%d", i), nil))
	}
	s, err := d.NewSnapshot()
	fixture.Must(t, err)
	for i := range 20_000 {
		fixture.Must(t, d.Put(fmt.Appendf(nil, "a%07d", i), nil))
		fixture.Must(t, d.Put(fmt.Appendf(nil, "z%07d", i), nil))
	}
	fixture.Must(t, d.Flush(t.Context()))
	it, err := s.NewIterator(&db.IterOptions{Prefix: []byte("m")})
	fixture.Must(t, err)
	before, shown := d.Metrics().Reads.BlocksRead, 0
	for range it.All() {
		shown++
	}
	for range it.Backward() {
		shown++
	}
	if read := d.Metrics().Reads.BlocksRead - before; shown != 20 || read > 10 {
		t.Errorf("showed %d of 20 keys and read %d blocks", shown, read)
	}
	fixture.Must(t, it.Close())
	fixture.Must(t, s.Close())
	fixture.Must(t, d.Close())
}
