// Package checkpoint tests checkpoints and Restore from outside: what a copy holds, and
// what is left when something goes wrong in the middle.
package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/door"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
)

const target = "/base/copies/copy"

// streamOf is what a checkpoint of the database as it is now writes.
func streamOf(t testing.TB, d *db.DB) []byte {
	t.Helper()
	c, err := d.NewCheckpoint(t.Context())
	fixture.Must(t, err)
	var stream bytes.Buffer
	n, err := c.WriteTo(&stream)
	fixture.Must(t, errors.Join(err, c.Close()))
	if n != int64(stream.Len()) {
		t.Errorf("WriteTo says %d bytes, and wrote %d", n, stream.Len())
	}
	return stream.Bytes()
}

// read opens a copy and returns what it holds, and its number.
func read(t testing.TB, fsys vfs.FS, dir string) (fixture.View, uint64) {
	t.Helper()
	report, err := fixture.VerifyOn(fsys, dir)
	fixture.Must(t, err)
	if !report.OK() {
		t.Fatalf("the copy does not verify: %+v", report.Problems)
	}
	d, err := db.Open(dir, fixture.On(fsys, db.Options{MemtableBytes: 16 << 10, MustExist: true}))
	fixture.Must(t, err)
	view, sequence := fixture.Contents(t, d), d.Metrics().Sequence
	fixture.Must(t, errors.Join(d.Put([]byte("goes on"), nil), d.Flush(t.Context()), d.Close()))
	return view, sequence
}

// TestUnderLoad takes checkpoints while several goroutines write and others compact. Each
// holds, of every writer, all that was acknowledged before and nothing that was begun
// after; and since every write has a key of its own, as many keys as it has numbers.
func TestUnderLoad(t *testing.T) {
	const writers = 4
	disk := vfstest.NewDisk()
	d := fixture.NewMachine(disk).OpenDB(t)
	var begun, acknowledged [writers]atomic.Int64
	var stop atomic.Bool
	var running sync.WaitGroup
	value := []byte(strings.Repeat("v", 300))
	for w := range writers {
		running.Go(func() {
			for i := int64(1); !stop.Load(); i++ {
				begun[w].Store(i)
				durability := db.Durability(w % 3)
				if err := d.Put(fmt.Appendf(nil, "%d-%08d", w, i), value, durability); err != nil {
					t.Error(err)
					return
				}
				acknowledged[w].Store(i)
			}
		})
	}
	running.Go(func() {
		for !stop.Load() {
			if err := d.Compact(t.Context(), nil, nil); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for round := range 12 {
		var before, after [writers]int64
		for w := range writers {
			before[w] = acknowledged[w].Load()
		}
		c, err := d.NewCheckpoint(t.Context())
		fixture.Must(t, err)
		for w := range writers {
			after[w] = begun[w].Load()
		}
		dir := fmt.Sprintf("/base/copies/%d", round)
		if round%3 == 2 { // by a stream
			var stream bytes.Buffer
			_, err = c.WriteTo(&stream)
			fixture.Must(t, err)
			fixture.Must(t, door.Restore(t.Context(), &stream, disk, dir))
		} else {
			fixture.Must(t, c.Link(dir))
		}
		fixture.Must(t, c.Close())
		found, sequence := read(t, disk, dir)
		if sequence != c.Seq() || uint64(len(found)) != sequence {
			t.Errorf("checkpoint %d at %d: the copy is at %d and holds %d keys", round, c.Seq(), sequence, len(found))
		}
		total := 0
		for w := range writers {
			n := int64(0)
			for found[fmt.Sprintf("%d-%08d", w, n+1)] != "" {
				n++
			}
			total += int(n)
			if n < before[w] || n > after[w] {
				t.Errorf("checkpoint %d holds %d writes of writer %d; %d were acknowledged before, %d begun after", round, n, w, before[w], after[w])
			}
		}
		if total != len(found) {
			t.Errorf("checkpoint %d has a gap: %d of %d keys follow each other", round, total, len(found))
		}
	}
	stop.Store(true)
	running.Wait()
	fixture.Must(t, d.Close())
}

// TestSeveralMemtables: a checkpoint waits for all memtables that were sealed before, in
// which a flush is stuck at first.
func TestSeveralMemtables(t *testing.T) {
	m := fixture.NewMachine(vfstest.NewDisk())
	d := m.OpenDB(t)
	defer d.Close()
	m.Failing(vfstest.OpCreate, ".sst", syscall.ENOSPC) // which is waited out
	want := fixture.View{}
	for i := 0; d.Metrics().WAL.Rotations < 2; i++ {
		key := fmt.Sprintf("k%05d", i)
		want[key] = strings.Repeat("v", 500)
		fixture.Must(t, d.Put([]byte(key), []byte(want[key])))
	}
	stuck, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error)
	commits := d.Metrics().Writes.Commits
	go func() {
		_, err := d.NewCheckpoint(stuck)
		gaveUp <- err
	}()
	for d.Metrics().Writes.Commits == commits {
		runtime.Gosched() // until the Writer has the seal, and nobody can take it back
	}
	cancel()
	fixture.WantErr(t, "a checkpoint whose context ends", <-gaveUp, context.Canceled)
	m.Fail(nil)
	c, err := d.NewCheckpoint(t.Context()) // behind the other
	fixture.Must(t, err)
	if open := d.Metrics().Checkpoint.Open; open != 1 {
		t.Errorf("%d checkpoints are open; the one whose context ended should not be", open)
	}
	fixture.Must(t, c.Link(target))
	fixture.Must(t, c.Close())
	found, _ := read(t, m.Disk, target)
	fixture.Must(t, fixture.Differ(want, found))
}

// TestRightAfterOpen: what a killed process left in the log is in the checkpoint, though
// nobody has taken the database over yet; and a database just created has an empty one.
func TestRightAfterOpen(t *testing.T) {
	killed := fixture.NewFilled(t, db.Sync)
	for name, files := range map[string]struct {
		disk *vfstest.Disk
		want fixture.View
	}{"killed": {killed.Disk(t), killed.Want}, "created": {vfstest.NewDisk(), fixture.View{}}} {
		d := fixture.NewMachine(files.disk).OpenDB(t)
		c, err := d.NewCheckpoint(t.Context())
		fixture.Must(t, err)
		fixture.Must(t, errors.Join(c.Link(target), c.Close()))
		fixture.Must(t, d.Put([]byte("later"), []byte("value")))
		found, sequence := read(t, files.disk, target)
		if err := fixture.Differ(files.want, found); err != nil || sequence != c.Seq() {
			t.Errorf("%s: %v; the copy is at %d, the checkpoint at %d", name, err, sequence, c.Seq())
		}
		fixture.Must(t, d.Close())
	}
}

// TestPin: what the database drops stays for a checkpoint that is open, and is shown; when
// the last one is closed it goes.
func TestPin(t *testing.T) {
	m := fixture.NewMachine(vfstest.NewDisk())
	d := m.OpenDB(t)
	defer d.Close()
	want := m.FillTables(t, d, 300)
	fixture.Must(t, d.Compact(t.Context(), nil, nil)) // or a merge might change the tree meanwhile
	first, err := d.NewCheckpoint(t.Context())
	fixture.Must(t, err)
	second, err := d.NewCheckpoint(t.Context())
	fixture.Must(t, err)
	if got := d.Metrics().Checkpoint; got.Open != 2 || got.TableBytes != 0 {
		t.Errorf("two new checkpoints: %+v", got)
	}
	var bytes int64
	for f := range first.Files() {
		if strings.HasSuffix(f.Name, ".sst") {
			bytes += f.Bytes
		}
	}
	for key := range want {
		fixture.Must(t, d.Delete([]byte(key), db.NoSync))
	}
	fixture.Must(t, d.Compact(t.Context(), nil, nil))
	for name, c := range map[string]*db.Checkpoint{"first": first, "second": second} {
		if got := d.Metrics().Checkpoint.TableBytes; got != bytes { // each table counts once
			t.Errorf("checkpoints keep %d bytes, and not %d", got, bytes)
		}
		fixture.Must(t, c.Link("/base/"+name))
		fixture.Must(t, errors.Join(c.Close(), c.Close()))
		found, _ := read(t, m.Disk, "/base/"+name)
		fixture.Must(t, fixture.Differ(want, found))
		fixture.WantErr(t, "a closed checkpoint", c.Link("/base/none"), db.ErrClosed)
	}
	if first.Seq() != 300 || second.Seq() != 300 {
		t.Errorf("after 300 writes the checkpoints are at %d and %d", first.Seq(), second.Seq())
	}
	for !fixture.IsSwept(t, m.Disk, fixture.Dir, 0) {
		runtime.Gosched()
	}
	empty, err := d.NewCheckpoint(t.Context())
	fixture.Must(t, err)
	fixture.Must(t, errors.Join(empty.Link("/base/empty"), empty.Close()))
	if found, sequence := read(t, m.Disk, "/base/empty"); len(found) > 0 || sequence != 600 {
		t.Errorf("%d keys are left at %d, though all were deleted", len(found), sequence)
	}
	if got := d.Metrics().Checkpoint; got != (db.CheckpointMetrics{}) {
		t.Errorf("no checkpoint is open, and the metrics say %+v", got)
	}
}

// TestIdentity: the copy is the same database, so that its tables are known by the same
// identities, and counts on behind what the checkpoint holds.
func TestIdentity(t *testing.T) {
	m := fixture.NewMachine(vfstest.NewDisk())
	d := m.OpenDB(t)
	m.FillTables(t, d, 10)
	c, err := d.NewCheckpoint(t.Context())
	fixture.Must(t, err)
	fixture.Must(t, c.Link(target))
	original, copied := fixture.FilesOf(t, m.Disk, fixture.Dir), fixture.FilesOf(t, m.Disk, target)
	count := 0
	for f := range c.Files() {
		count++
		if int64(len(copied[f.Name])) != f.Bytes {
			t.Errorf("%s has %d bytes in the copy, %d in Files", f.Name, len(copied[f.Name]), f.Bytes)
		}
		if filepath.Ext(f.Name) == ".sst" && !bytes.Equal(copied[f.Name], original[f.Name]) {
			t.Errorf("%s differs", f.Name)
		}
	}
	if count != len(copied) {
		t.Errorf("Files has %d files, the copy %d", count, len(copied))
	}
	fixture.Must(t, errors.Join(c.Close(), d.Close()))
}

// TestDamagedSource: no stream is made of a database whose tables are damaged.
func TestDamagedSource(t *testing.T) {
	f := fixture.NewClosed(t)
	name := f.Named(".sst")[0]
	disk := f.Flipped(name, len(f.Files[name])/2).Disk(t)
	d := fixture.NewMachine(disk).OpenDB(t)
	defer d.Close()
	c, err := d.NewCheckpoint(t.Context())
	fixture.Must(t, err)
	defer c.Close()
	_, err = c.WriteTo(new(bytes.Buffer))
	fixture.WantErr(t, "a stream of a damaged database", err, db.ErrCorrupt)
	fixture.Must(t, c.Link(target)) // reads no table
	path := filepath.Join(fixture.Dir, name)
	fixture.Must(t, disk.Remove(path))
	file, err := disk.Create(path)
	fixture.Must(t, errors.Join(err, file.Close()))
	fixture.WantErr(t, "a link to a table of another size", c.Link("/base/other"), db.ErrCorrupt)
}
