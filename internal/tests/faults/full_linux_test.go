package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// smallTmpfs mounts a file system in memory.
func smallTmpfs(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("lsmdb-test", dir, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		t.Skipf("a file system of its own needs the right to mount one: %v", err)
	}
	unmountAtEnd(t, dir)
	return dir
}

// smallExt4 mounts a file system with a journal, and space that is given out late.
func smallExt4(t *testing.T) string {
	t.Helper()
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	fixture.Must(t, os.WriteFile(image, nil, 0o600))
	fixture.Must(t, os.Truncate(image, 8<<20))
	for _, command := range [][]string{{"mkfs.ext4", "-q", image}, {"mount", "-o", "loop", image, dir}} {
		if output, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Skipf("a file system of its own needs the right to mount one and a loop device: %s: %v %s", command[0], err, output)
		}
	}
	unmountAtEnd(t, dir)
	return dir
}

func unmountAtEnd(t *testing.T, dir string) {
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
}

// TestRealDiskFull fills a real file system up. Writes are refused or wait, nothing
// that was acknowledged is lost, reads go on; when there is room, writes go on by
// themselves. Then it is filled again and closed while full.
func TestRealDiskFull(t *testing.T) {
	t.Run("tmpfs", func(t *testing.T) { fillDisk(t, smallTmpfs(t, "4m")) })
	t.Run("ext4", func(t *testing.T) { fillDisk(t, smallExt4(t)) })
}

// TestSmallDisk overwrites a mebibyte of values again and again on a disk of 16 MiB, and
// nobody collects garbage: it is never full, nor after a kill.
func TestSmallDisk(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(1 << 30))
	dir := filepath.Join(smallTmpfs(t, "16m"), "db")
	d, err := db.Open(dir, &db.Options{MemtableBytes: 256 << 10, Durability: db.NoSync})
	fixture.Must(t, err)
	value := make([]byte, 1000)
	rand.NewChaCha8([32]byte{}).Read(value)
	for i := range 100_000 {
		fixture.Must(t, d.Put(fmt.Appendf(nil, "key%04d", i*7919%1000), value))
	}
	if m := d.Metrics(); m.Flush.Jobs < 100 || m.Flush.Retries+m.Compact.Retries > 0 {
		t.Errorf("flushes %+v, compactions %+v", m.Flush, m.Compact)
	}
	fixture.Must(t, d.Close())
	d, err = db.Open(dir, nil)
	fixture.Must(t, err)
	fixture.Must(t, d.Put([]byte("more"), nil))
	fixture.Must(t, d.Close())
}

func fillDisk(t *testing.T, disk string) {
	dir, ballast := filepath.Join(disk, "db"), filepath.Join(disk, "ballast")
	fixture.Must(t, os.WriteFile(ballast, make([]byte, 1<<20), 0o600))
	d, err := db.Open(dir, &db.Options{MemtableBytes: 64 << 10, Compression: db.NoCompression})
	fixture.Must(t, err)
	want := fixture.View{}
	value := bytes.Repeat([]byte("v"), 3000)
	written := 0
	put := func(ctx context.Context) error {
		key := fmt.Sprintf("key%06d", written)
		b := d.NewBatch()
		fixture.Must(t, b.Put([]byte(key), value))
		err := d.Apply(ctx, b, db.Durability(min(written%8, 1)))
		if written++; err == nil {
			want[key] = string(value)
		}
		return err
	}
	fill := func() {
		ctx, done := untilFull(t, d)
		defer done()
		for {
			if err := put(ctx); errors.Is(err, db.ErrDiskFull) || errors.Is(err, context.Canceled) {
				t.Logf("full after %d writes: %v", len(want), err)
				return
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	fill()
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
	fixture.Must(t, os.Remove(ballast))
	for err := put(t.Context()); err != nil; err = put(t.Context()) { // flushes are tried again after a pause
		fixture.WantErr(t, "Apply before there is room", err, db.ErrDiskFull)
	}
	for range 50 { // more than the log had room for
		fixture.Must(t, put(t.Context()))
	}
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
	fill()
	if err := d.Close(); err != nil {
		t.Logf("Close on the full disk: %v", err)
	}
	d, err = db.Open(dir, &db.Options{ReadOnly: true})
	fixture.Must(t, err)
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
	fixture.Must(t, d.Close())
	report, err := db.Verify(t.Context(), dir, nil)
	fixture.Must(t, err)
	if !report.OK() {
		t.Errorf("Verify: %+v", report.Problems)
	}
}
