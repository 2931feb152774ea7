package db

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
)

// at is the directory of databases in a vfstest.Disk.
const at = "/base/db"

// files is what lies in a database directory. Tests take one apart, damage it and
// put it on a fresh disk.
type files map[string][]byte

// filesOf reads a directory, without what is removed meanwhile.
func filesOf(t testing.TB, fsys vfs.FS, dir string) files {
	t.Helper()
	names, err := fsys.List(dir)
	must(t, err)
	all := files{}
	for _, name := range names {
		f, err := fsys.Open(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		must(t, err)
		size, err := f.Size()
		must(t, err)
		data := make([]byte, size)
		if _, err := f.ReadAt(data, 0); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		must(t, f.Close())
		all[name] = data
	}
	return all
}

// disk puts the files on a new disk, all of it durable.
func (f files) disk(t testing.TB) *vfstest.Disk {
	t.Helper()
	m := vfstest.NewDisk()
	must(t, m.MkdirAll(at))
	for name, data := range f {
		file, err := m.Create(filepath.Join(at, name))
		must(t, err)
		_, err = file.WriteAt(data, 0)
		must(t, errors.Join(err, file.Sync(), file.Close()))
	}
	must(t, errors.Join(m.SyncDir("/"), m.SyncDir("/base"), m.SyncDir(at)))
	return m
}

// with returns a copy in which one file is replaced; nil: removed.
func (f files) with(name string, data []byte) files {
	c := maps.Clone(f)
	if c[name] = data; data == nil {
		delete(c, name)
	}
	return c
}

// flipped returns a copy with one bit turned over.
func (f files) flipped(name string, offset int) files {
	data := bytes.Clone(f[name])
	data[offset] ^= 1 << (offset % 8)
	return f.with(name, data)
}

// named lists the files whose name ends so, sorted.
func (f files) named(suffix string) []string {
	var names []string
	for name := range f {
		if strings.HasSuffix(name, suffix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (f files) manifest(t testing.TB) string {
	t.Helper()
	for name := range f {
		if strings.HasPrefix(name, "MANIFEST-") && strings.Contains(string(f["CURRENT"]), fmt.Sprintf("manifest %d\n", numberOf(name))) {
			return name
		}
	}
	t.Fatalf("no MANIFEST for %q", f["CURRENT"])
	return ""
}

func numberOf(name string) uint64 {
	_, number := base.ParseFileName(name)
	return number
}

// machine is a computer whose processes can be killed, with a disk that can fail.
type machine struct {
	*vfstest.Fault
	disk   *vfstest.Disk
	killed atomic.Bool                            // nothing is done any more
	inject atomic.Pointer[func(vfstest.Op) error] // asked before every operation; nil: nothing fails
}

func newMachine(disk *vfstest.Disk) *machine {
	m := &machine{disk: disk}
	m.Fault = vfstest.NewFault(disk, func(op vfstest.Op) error {
		if m.killed.Load() {
			return errDead
		}
		if inject := m.inject.Load(); inject != nil {
			return (*inject)(op)
		}
		return nil
	})
	return m
}

// fail makes operations fail as inject says; nil: no longer.
func (m *machine) fail(inject func(vfstest.Op) error) {
	if inject == nil {
		m.inject.Store(nil)
		return
	}
	m.inject.Store(&inject)
}

// failing makes every operation of a kind fail on files whose name contains part.
func (m *machine) failing(kind vfstest.OpKind, part string, err error) {
	m.fail(func(op vfstest.Op) error {
		if op.Kind == kind && strings.Contains(op.Name, part) {
			return err
		}
		return nil
	})
}

// open opens the database with tiny memtables.
func (m *machine) open(t testing.TB) *DB {
	t.Helper()
	d, err := Open(at, m.options())
	must(t, err)
	return d
}

func (m *machine) options() *Options { return &Options{MemtableBytes: 16 << 10, fs: m} }

// kill ends the process that has d open, in the middle of whatever it does.
func (m *machine) kill(d *DB) {
	m.killed.Store(true)
	d.Close()
}

// filled is a database of known contents as a process left it that was killed: some
// tables, and several WAL segments because flushes stopped at some time.
type filled struct {
	files
	want     view
	sequence uint64
	logged   int // keys log00000, ... were never flushed
}

// fillTables writes n keys with values of about 200 bytes and makes tables of them.
func fillTables(t testing.TB, d *DB, n int) view {
	t.Helper()
	want := view{}
	for i := range n {
		key, value := fmt.Sprintf("table%05d", i), fmt.Sprintf("%d %0200d", i, i)
		must(t, d.Put([]byte(key), []byte(value), NoSync))
		want[key] = value
	}
	must(t, d.Flush(t.Context()))
	for { // until the sweeper is done with the segments
		if files, err := listDirectory(d.env.FS, d.dir); err == nil && len(files.wals) == 1 {
			break
		}
		runtime.Gosched()
	}
	return want
}

// newFilled makes one whose writes were durable as d says.
func newFilled(t testing.TB, durable Durability) filled {
	t.Helper()
	m := newMachine(vfstest.NewDisk())
	d := m.open(t)
	f := filled{want: fillTables(t, d, 300)}
	must(t, d.Delete([]byte("table00007")))
	delete(f.want, "table00007")
	m.failing(vfstest.OpCreate, ".sst", syscall.ENOSPC)
	sealed := d.Metrics().WAL.Rotations
	for i := 0; i < f.logged+10; i++ {
		if d.Metrics().WAL.Rotations < sealed+2 { // one is being flushed, one waits
			f.logged = i
		}
		key, value := fmt.Sprintf("log%05d", i), fmt.Sprintf("%d %0500d", i, i)
		must(t, d.Put([]byte(key), []byte(value), durable))
		f.want[key] = value
	}
	f.logged += 10
	f.sequence = d.Metrics().Sequence
	m.kill(d)
	f.files = filesOf(t, m.disk, at)
	if n := len(f.named(".wal")); n != 3 {
		t.Fatalf("%d WAL segments, this test needs 3: %v", n, slices.Sorted(maps.Keys(f.files)))
	}
	return f
}

// newClosed makes a database that was closed properly: tables, and a WAL that holds
// something.
func newClosed(t testing.TB) filled {
	t.Helper()
	m := newMachine(vfstest.NewDisk())
	d := m.open(t)
	f := filled{want: fillTables(t, d, 300)}
	for i := range 10 {
		key := fmt.Sprintf("log%05d", i)
		must(t, d.Put([]byte(key), []byte("value")))
		f.want[key] = "value"
	}
	f.sequence = d.Metrics().Sequence
	must(t, d.Close())
	f.files = filesOf(t, m.disk, at)
	return f
}

// mustHold opens what lies on a disk, reads everything and closes it again.
func mustHold(t testing.TB, fsys vfs.FS, want view) Metrics {
	t.Helper()
	d, err := Open(at, &Options{MemtableBytes: 16 << 10, fs: fsys})
	must(t, err)
	must(t, differ(want, contents(t, d)))
	must(t, takeOver(d))
	must(t, differ(want, contents(t, d)))
	m := d.Metrics()
	must(t, d.Close())
	return m
}

// mustRefuse checks that opening fails with want, read-only as well, that the error
// names the file (empty: any), and that nothing on the disk changes.
func mustRefuse(t testing.TB, what string, f files, want error, file string) {
	t.Helper()
	disk := f.disk(t)
	for _, readOnly := range []bool{true, false} {
		d, err := Open(at, &Options{MemtableBytes: 16 << 10, ReadOnly: readOnly, fs: disk})
		if err == nil {
			d.Close()
		}
		if !errors.Is(err, want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s (read-only: %v): %v, want %v in %s", what, readOnly, err, want, file)
		}
		var damage *CorruptionError
		if want == ErrCorrupt && (!errors.As(err, &damage) || filepath.Base(damage.File) != file && file != "") {
			t.Errorf("%s: %#v does not name %s", what, err, file)
		}
	}
	for name, data := range f {
		if now := filesOf(t, disk, at)[name]; name != "LOCK" && !bytes.Equal(now, data) {
			t.Errorf("%s: the open that failed changed %s", what, name)
		}
	}
}
