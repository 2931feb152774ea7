package db_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
	"lsmdb/memtable"
)

// TestIteratorsAtRest opens iterators while memtables fill, and lets them rest. Beyond one
// memtable, what they keep goes to the disk, into files without a name. They show what they
// would have shown, and what they showed stays readable when all of it is gone.
func TestIteratorsAtRest(t *testing.T) {
	dir := t.TempDir()
	d, resting := rest(t, vfs.OS, dir)
	if names, err := filepath.Glob(filepath.Join(dir, "*.tmp")); err != nil || len(names) > 0 {
		t.Errorf("%v, %v", names, err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var shown [][2][]byte
	for count, it := range resting {
		i := rng.IntN(8000)
		for ok := it.SeekGE(countedKey(i)); ok && i < 8000; ok = it.Next() {
			got, err := countOf(i, it.Value())
			if fixture.Must(t, err); got != uint64(count) || string(it.Key()) != string(countedKey(i)) {
				t.Fatalf("iterator %d shows %s of round %d", count, it.Key(), got)
			}
			i++
		}
		fixture.Must(t, it.Err())
		if it.Last(); count%2 == 0 {
			it.SeekGE(countedKey(0))
		}
		shown = append(shown, [2][]byte{it.Key(), it.Value()})
		fixture.Must(t, it.Close())
	}
	if m := d.Metrics().Iterator; m.FileBytes != 0 || m.MemtableBytes != 0 {
		t.Errorf("when all are closed: %+v", m)
	}
	fixture.Must(t, d.Close())
	for count, s := range shown {
		i := 7999 * (count % 2)
		if got, err := countOf(i, s[1]); err != nil || got != uint64(count) || string(s[0]) != string(countedKey(i)) {
			t.Errorf("shown %d: %s, %v", count, s[0], err)
		}
	}
}

// rest opens a database and iterators, which have begun, in 30 rounds, and returns when most
// of what they keep lies on the disk.
func rest(t *testing.T, fsys vfs.FS, dir string) (d *db.DB, resting []*db.Iterator) {
	t.Helper()
	if base.Invariants || runtime.GOOS == "windows" {
		t.Skip("arenas lie on Go's heap here")
	}
	const memtableBytes = 2 << 20
	d, err := db.Open(dir, fixture.On(fsys, db.Options{MemtableBytes: memtableBytes, Durability: db.NoSync}))
	fixture.Must(t, err)
	t.Cleanup(func() { d.Close() })
	for count := range uint64(30) {
		for i := range 8000 {
			fixture.Must(t, d.Put(countedKey(i), counted(i, count)))
		}
		it, err := d.NewIterator(nil)
		fixture.Must(t, err)
		if it.First(); count%2 == 0 { // some walk on, some seek first
			fixture.Must(t, it.Err())
		}
		resting = append(resting, it)
	}
	fixture.Must(t, d.Flush(t.Context()))
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		m := d.Metrics().Iterator
		if m.MemtableBytes <= memtableBytes && m.FileBytes >= 5*memtableBytes {
			return d, resting
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", m)
		}
	}
}

// TestMemtableLostOnDisk: when the disk does not give back what was moved there, an
// iterator that comes to it says so, whatever it does. The process goes on, and so do those
// who look at something else.
func TestMemtableLostOnDisk(t *testing.T) {
	disk := &losing{FS: vfs.OS}
	d, resting := rest(t, disk, t.TempDir())
	lost := 0
	disk.mu.Lock()
	for _, f := range disk.moved {
		defer f.Close()
		fixture.Must(t, f.Truncate(0))
	}
	disk.mu.Unlock()
	for n, it := range resting {
		failed := false
		for _, move := range []func() bool{
			it.Valid, it.Next, it.Prev, it.First, it.Last, func() bool { return it.SeekGE(countedKey(n)) }, func() bool { return it.SeekLT(countedKey(n + 7)) },
		} {
			stands := move()
			key, value := it.Key(), it.Value()
			if err := it.Err(); err != nil {
				if failed = true; stands && it.Valid() || !strings.Contains(err.Error(), "does not give back") {
					t.Fatalf("iterator %d: %v", n, err)
				}
			} else if stands {
				var i int
				_, err := fmt.Sscanf(string(key), "key%d", &i)
				fixture.Must(t, err)
				if count, err := countOf(i, value); err != nil || count != uint64(n) {
					t.Fatalf("iterator %d shows %s of round %d, %v", n, key, count, err)
				}
			}
		}
		if failed {
			lost++
		}
		if err := it.Close(); (err != nil) != (it.Err() != nil) {
			t.Errorf("iterator %d: %v when closed", n, err)
		}
	}
	if lost < len(resting)/3 {
		t.Errorf("%d of %d iterators came to what was lost", lost, len(resting))
	}
	got, err := d.Get(countedKey(5))
	fixture.Must(t, err)
	if count, err := countOf(5, got); err != nil || count != 29 {
		t.Errorf("round %d, %v", count, err)
	}
}

// losing is a file system that keeps the files open which have no name any more.
type losing struct {
	vfs.FS
	mu    sync.Mutex
	moved []vfs.File
}

func (l *losing) OpenDirectory(dir string) (vfs.Directory, error) {
	d, err := l.FS.OpenDirectory(dir)
	return &losingDirectory{d, l}, err
}

type losingDirectory struct {
	vfs.Directory
	all *losing
}

func (d *losingDirectory) Create(name string) (vfs.File, error) {
	f, err := d.Directory.Create(name)
	if err == nil && filepath.Base(name) == base.TableName(0)+".tmp" {
		d.all.mu.Lock()
		defer d.all.mu.Unlock()
		d.all.moved = append(d.all.moved, f)
		f = losingFile{f, f.(memtable.MappableFile)}
	}
	return f, err
}

type losingFile struct {
	vfs.File
	mappable memtable.MappableFile
}

func (f losingFile) MapOver(memory []byte) error { return f.mappable.MapOver(memory) }

func (f losingFile) Close() error { return nil }

// TestKilledWhileMoving: what a kill leaves of a memtable on its way to the disk goes when
// the next open takes the database over.
func TestKilledWhileMoving(t *testing.T) {
	live := t.TempDir()
	d, err := db.Open(live, nil)
	fixture.Must(t, err)
	defer d.Close()
	fixture.Must(t, d.Put([]byte("key"), []byte("value")))
	dir := filepath.Join(t.TempDir(), "killed")
	fixture.Must(t, os.CopyFS(dir, os.DirFS(live)))
	name := filepath.Join(dir, base.TableName(0)+".tmp")
	fixture.Must(t, os.WriteFile(name, []byte("entries"), 0o600))
	killed, err := db.Open(dir, nil)
	fixture.Must(t, err)
	fixture.Must(t, killed.Put([]byte("key"), []byte("value")))
	fixture.Must(t, killed.Close())
	if _, err := os.Stat(name); !os.IsNotExist(err) {
		t.Errorf("%v", err)
	}
}

// TestTakeoverHoldsNothing: neither what was replayed nor the tables that Open found
// are kept alive by the open database.
func TestTakeoverHoldsNothing(t *testing.T) {
	f := fixture.NewFilled(t, db.Sync)
	looked := make(chan struct{}) // the takeover waits before it switches CURRENT
	fault := vfstest.NewFault(f.Disk(t), func(op vfstest.Op) error {
		if op.Kind == vfstest.OpRename {
			<-looked
		}
		return nil
	})
	d, err := db.Open(fixture.Dir, fixture.On(fault, db.Options{MemtableBytes: 1 << 20}))
	fixture.Must(t, err)
	released := make(chan struct{})
	runtime.AddCleanup(d.FirstSealed(), func(struct{}) { close(released) }, struct{}{})
	close(looked)
	fixture.Must(t, fixture.Differ(f.Want, fixture.Contents(t, d))) // opens all tables
	fixture.Must(t, fixture.TakeOver(d))
	for key := range f.Want {
		fixture.Must(t, d.Put([]byte(key), []byte("new"), db.NoSync))
	}
	fixture.Must(t, d.Compact(t.Context(), nil, nil))
	for deadline := time.Now().Add(time.Minute); deadTables(d) > 0; time.Sleep(time.Millisecond) { // the Sweeper closes them in its own time
		if time.Now().After(deadline) {
			t.Fatalf("%d tables are open that are not in the tree", deadTables(d))
		}
	}
	for gone := false; !gone; {
		runtime.GC()
		select {
		case <-released:
			gone = true
		case <-time.After(time.Millisecond):
		}
	}
	fixture.Must(t, d.Close())
}

// TestReadersOutliveMemtables: who reads, in whatever way, while memtables come and go, and
// while the database is closed, finds what was written or ErrClosed.
func TestReadersOutliveMemtables(t *testing.T) {
	for round := range uint64(3) {
		d, err := db.Open(t.TempDir(), &db.Options{MemtableBytes: 1 << 20, Durability: db.NoSync, Merger: appending})
		fixture.Must(t, err)
		var wg sync.WaitGroup
		for i, do := range []func(*user) error{
			(*user).write, (*user).write, (*user).get, (*user).walkAll, (*user).walkAll, (*user).walkSnapshot,
			(*user).transact, (*user).transact, (*user).look,
		} {
			u := &user{d, rand.New(rand.NewPCG(round, uint64(i)))}
			wg.Go(func() {
				var err error
				for err == nil || errors.Is(err, db.ErrNotFound) || errors.Is(err, db.ErrConflict) {
					err = do(u)
				}
				if !errors.Is(err, db.ErrClosed) {
					t.Error(err)
				}
			})
		}
		var held []*db.Iterator
		for range 10 {
			time.Sleep(40 * time.Millisecond)
			it, err := d.NewIterator(nil)
			fixture.Must(t, err)
			it.First()
			held = append(held, it)
		}
		fixture.Must(t, d.Close())
		wg.Wait()
		for _, it := range held {
			key, value := it.Key(), it.Value()
			_ = it.Close() // that of Value, where the table is closed
			if value != nil {
				fixture.Must(t, checkRepeated(key, value))
			}
		}
	}
}

var appending = &db.Merger{Name: "append", Merge: func(dst, _, older, newer []byte) ([]byte, error) {
	return append(append(dst, older...), newer...), nil
}}

// user is a goroutine that uses a database. Every value is its key, some times.
type user struct {
	*db.DB
	rng *rand.Rand
}

func (u *user) key() []byte { return fmt.Appendf(nil, "k%04d", u.rng.IntN(2000)) }

func (u *user) value(key []byte) []byte {
	times := 1 + u.rng.IntN(60)
	if u.rng.IntN(50) == 0 {
		times = 800 // it lies in a block of its own
	}
	return bytes.Repeat(key, times)
}

func checkRepeated(key, value []byte) error {
	if len(key) == 0 || len(value)%len(key) != 0 || !bytes.Equal(value, bytes.Repeat(key, len(value)/len(key))) {
		return fmt.Errorf("key %q has %.100q", key, value)
	}
	return nil
}

func (u *user) write() error {
	key := u.key()
	switch n := u.rng.IntN(320); {
	case n < 24:
		return u.Delete(key)
	case n < 48:
		return u.Merge(key, key)
	case n < 64:
		return u.PutUntil(key, u.value(key), time.Now().Add(time.Duration(u.rng.IntN(20))*time.Millisecond))
	case n == 64:
		return u.DeleteRange(key, append(key[:4:4], 0xff))
	}
	return u.Put(key, u.value(key))
}

func (u *user) get() error {
	key := u.key()
	value, err := u.Get(key)
	if err == nil {
		err = checkRepeated(key, value)
	}
	return err
}

func (u *user) walkAll() error {
	it, err := u.NewIterator(&db.IterOptions{NoCacheFill: u.rng.IntN(4) == 0})
	if err != nil {
		return err
	}
	return u.walk(it)
}

func (u *user) walkSnapshot() error {
	s, err := u.NewSnapshot()
	if err != nil {
		return err
	}
	it, err := s.NewIterator(nil)
	s.Close()
	if err != nil {
		return err
	}
	return u.walk(it)
}

// walk makes some moves, and looks at what was shown last when the iterator is closed.
func (u *user) walk(it *db.Iterator) error {
	defer it.Close()
	seeks := []func() bool{
		it.First, it.Last, func() bool { return it.SeekGE(u.key()) }, func() bool { return it.SeekLT(u.key()) },
	}
	for range 1 + u.rng.IntN(5) {
		ok := seeks[u.rng.IntN(len(seeks))]()
		for n := u.rng.IntN(100); n > 0 && it.Valid(); n-- {
			key, value := it.Key(), it.Value()
			if !it.Valid() {
				break
			}
			if err := checkRepeated(key, value); err != nil {
				return err
			}
			if u.rng.IntN(3) == 0 {
				ok = it.Prev()
			} else {
				ok = it.Next()
			}
		}
		if !ok && it.Err() != nil {
			return it.Err()
		}
	}
	key, value := it.Key(), it.Value()
	shown := it.Valid()
	if err := it.Close(); err != nil || !shown {
		return err
	}
	return checkRepeated(key, value)
}

// transact reads and writes, now and then so much that it takes large memtables.
func (u *user) transact() error {
	return u.Update(context.Background(), func(tx *db.Tx) error {
		for range u.rng.IntN(6) {
			key := u.key()
			value, err := tx.Get(key)
			if err == nil {
				err = checkRepeated(key, value)
			}
			if err != nil && !errors.Is(err, db.ErrNotFound) {
				return err
			}
			writes := 1
			if u.rng.IntN(40) == 0 {
				writes = 3000
			}
			for range writes {
				key := u.key()
				if err := tx.Put(key, u.value(key)); err != nil {
					return err
				}
			}
		}
		it, err := tx.NewIterator(nil)
		if err != nil {
			return err
		}
		return u.walk(it)
	})
}

// look looks at the figures, and flushes now and then.
func (u *user) look() error {
	u.Metrics()
	time.Sleep(time.Millisecond)
	if u.rng.IntN(30) == 0 {
		return u.Flush(context.Background())
	}
	_, err := u.Has(u.key())
	return err
}
