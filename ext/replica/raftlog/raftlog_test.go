package raftlog_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"lsmdb/db"
	"lsmdb/db/dbtest"
	"lsmdb/ext/replica/raftlog"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

func storeIn(t testing.TB, d *db.DB, prefix string) *raftlog.Store {
	t.Helper()
	s, err := raftlog.StoreIn(d, []byte(prefix))
	fixture.Must(t, err)
	return s
}

// logs makes entries of an index each, with data of some bytes.
func logs(from, to uint64, dataBytes int) (all []*raft.Log) {
	for index := from; index <= to; index++ {
		all = append(all, &raft.Log{Index: index, Term: 1, Data: bytes.Repeat([]byte{byte(index)}, dataBytes)})
	}
	return all
}

func wantBounds(t testing.TB, s *raftlog.Store, first, last uint64) {
	t.Helper()
	f, err := s.FirstIndex()
	fixture.Must(t, err)
	l, err := s.LastIndex()
	fixture.Must(t, err)
	if f != first || l != last {
		t.Errorf("entries %d to %d, want %d to %d", f, l, first, last)
	}
}

// TestAbsent: what is not there is told as Raft wants it told.
func TestAbsent(t *testing.T) {
	s := storeIn(t, dbtest.Open(t), "")
	wantBounds(t, s, 0, 0)
	l := raft.Log{Index: 7, Data: []byte("as it was")}
	for _, index := range []uint64{0, 1, math.MaxUint64} {
		if err := s.GetLog(index, &l); err != raft.ErrLogNotFound || l.Index != 7 || string(l.Data) != "as it was" {
			t.Errorf("log %d: %v, %+v", index, err, l)
		}
	}
	if value, err := s.Get([]byte("k")); value != nil || err != raftlog.ErrNotFound || err.Error() != "not found" {
		t.Errorf("%q, %v", value, err)
	}
	if n, err := s.GetUint64([]byte("k")); n != 0 || err != raftlog.ErrNotFound {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := s.GetCommitIndex(); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	existing, err := raft.HasExistingState(s, s, raft.NewInmemSnapshotStore())
	if err != nil || existing {
		t.Errorf("a new Store: state %v, %v", existing, err)
	}
	fixture.Must(t, s.StoreLogs(nil))
	fixture.Must(t, s.DeleteRange(1, math.MaxUint64))
	wantBounds(t, s, 0, 0)
}

// TestStableValues: they come back, an empty one as empty, and what is no number is told.
func TestStableValues(t *testing.T) {
	s := storeIn(t, dbtest.Open(t), "x")
	for _, value := range []string{"", "8 bytes.", "more than eight"} {
		fixture.Must(t, s.Set([]byte("k"), []byte(value)))
		if got, err := s.Get([]byte("k")); got == nil || string(got) != value || err != nil {
			t.Errorf("%q, %v, want %q", got, err, value)
		}
		if n, err := s.GetUint64([]byte("k")); (err == nil) != (len(value) == 8) {
			t.Errorf("%q as a number: %d, %v", value, n, err)
		}
	}
	for _, want := range []uint64{0, 1, math.MaxUint64} {
		fixture.Must(t, s.SetUint64([]byte("k"), want))
		if n, err := s.GetUint64([]byte("k")); n != want || err != nil {
			t.Errorf("%d, %v, want %d", n, err, want)
		}
	}
	got, err := s.Get([]byte("k"))
	fixture.Must(t, err)
	got[0] = 0
	if n, err := s.GetUint64([]byte("k")); n != math.MaxUint64 || err != nil {
		t.Errorf("%d, %v: what Get returned is not a copy", n, err)
	}
}

// TestOneSyncEach: each write of a Store is one commit of as many operations as it needs, and
// one sync, whatever the database's own durability is.
func TestOneSyncEach(t *testing.T) {
	for _, durability := range []db.Durability{db.Sync, db.NoSync, db.Queued} {
		d := dbtest.Open(t, &db.Options{Durability: durability})
		s := storeIn(t, d, "x")
		want := func(what string, operations uint64, do func() error) {
			t.Helper()
			before := d.Metrics()
			fixture.Must(t, do())
			after := d.Metrics()
			commits, ops, syncs := after.Writes.Commits-before.Writes.Commits, after.Writes.Operations-before.Writes.Operations, after.WAL.Syncs-before.WAL.Syncs
			if one := min(operations, 1); commits != one || ops != operations || syncs != one {
				t.Errorf("durability %d: %s: %d commits, %d operations, %d syncs, want %d operations", durability, what, commits, ops, syncs, operations)
			}
		}
		fixture.Must(t, s.Set([]byte("first"), nil)) // takes the database over
		want("100 logs", 100, func() error { return s.StoreLogs(logs(1, 100, 50)) })
		want("stage", 0, func() error { return s.StageCommitIndex(60) })
		want("log with commit index", 2, func() error { return s.StoreLog(logs(101, 101, 50)[0]) })
		want("log without news", 1, func() error { return s.StoreLog(logs(102, 102, 50)[0]) })
		want("delete the head", 1, func() error { return s.DeleteRange(1, 50) })
		want("delete nothing", 0, func() error { return s.DeleteRange(1, 50) })
		want("delete the committed end", 2, func() error { return s.DeleteRange(55, 200) })
		want("set", 1, func() error { return s.Set([]byte("k"), nil) })
		want("set a number", 1, func() error { return s.SetUint64([]byte("k"), 5) })
		if n, err := s.GetCommitIndex(); n != 54 || err != nil {
			t.Errorf("commit index %d, %v, want 54", n, err)
		}
	}
}

// slowDisk is a machine whose next sync takes its time.
type slowDisk struct {
	*fixture.Machine
	held, goOn chan struct{}
}

// hold lets the next sync wait until goOn is closed. When it is reached, held is closed.
func (m *slowDisk) hold() {
	m.held, m.goOn = make(chan struct{}), make(chan struct{})
	held, goOn := m.held, m.goOn
	var once sync.Once
	m.Fail(func(op vfstest.Op) error {
		if op.Kind == vfstest.OpSync {
			once.Do(func() {
				close(held)
				<-goOn
			})
		}
		return nil
	})
}

// openSlow opens a database that has been taken over already.
func openSlow(t *testing.T) (*slowDisk, *db.DB) {
	t.Helper()
	m := &slowDisk{Machine: fixture.NewMachine(vfstest.NewDisk())}
	d, err := db.Open(fixture.Dir, fixture.On(m, db.Options{}))
	fixture.Must(t, err)
	t.Cleanup(func() { fixture.Must(t, d.Close()) })
	fixture.Must(t, d.Put([]byte("first"), nil))
	return m, d
}

// TestBoundsWhileWriting: the log is shown to grow when what was added is durable, and to shrink
// before anything is removed, so that what lies between both ends can always be read.
func TestBoundsWhileWriting(t *testing.T) {
	disk, d := openSlow(t)
	s := storeIn(t, d, "x")
	fixture.Must(t, s.StoreLogs(logs(1, 100, 10)))
	for _, step := range []struct {
		write                 func() error
		first, last           uint64 // while it is under way
		firstAfter, lastAfter uint64
	}{
		{func() error { return s.StoreLogs(logs(101, 120, 10)) }, 1, 100, 1, 120},
		{func() error { return s.DeleteRange(1, 50) }, 51, 120, 51, 120},
		{func() error { return s.DeleteRange(111, 120) }, 51, 110, 51, 110},
		{func() error { return s.DeleteRange(0, 500) }, 0, 0, 0, 0},
		{func() error { return s.StoreLogs(logs(7, 9, 10)) }, 0, 0, 7, 9},
	} {
		disk.hold()
		done := make(chan error)
		go func() { done <- step.write() }()
		<-disk.held
		wantBounds(t, s, step.first, step.last)
		close(disk.goOn)
		fixture.Must(t, <-done)
		wantBounds(t, s, step.firstAfter, step.lastAfter)
	}
}

// TestGroupsShareSyncs: what many groups write while a sync is under way takes one more.
func TestGroupsShareSyncs(t *testing.T) {
	const groups = 32
	disk, d := openSlow(t)
	var stores [groups]*raftlog.Store
	for i := range stores {
		stores[i] = storeIn(t, d, fmt.Sprintf("group%02d/", i))
	}
	before := d.Metrics().WAL.Syncs
	disk.hold()
	var all sync.WaitGroup
	store := func(i int) {
		all.Go(func() {
			if err := stores[i].StoreLogs(logs(1, 3, 10)); err != nil {
				t.Error(err)
			}
		})
	}
	store(0)
	<-disk.held
	for i := 1; i < groups; i++ {
		store(i)
	}
	for waiting := 0; waiting < groups-1; {
		for _, stage := range d.Metrics().Stages {
			if stage.Name == "writer" {
				waiting = stage.Depth
			}
		}
		time.Sleep(time.Millisecond)
	}
	close(disk.goOn)
	all.Wait()
	if syncs := d.Metrics().WAL.Syncs - before; syncs != 2 {
		t.Errorf("%d groups took %d syncs, want 2", groups, syncs)
	}
	for _, s := range stores {
		wantBounds(t, s, 1, 3)
	}
}

// TestSpaceComesBack: what was deleted from the log leaves the disk, without being rewritten.
func TestSpaceComesBack(t *testing.T) {
	dir := t.TempDir()
	s, err := raftlog.Open(dir, &db.Options{MemtableBytes: 256 << 10, Compression: db.NoCompression})
	fixture.Must(t, err)
	const batch, entryBytes = 100, 1000
	for from := uint64(1); from < 16000; from += batch {
		fixture.Must(t, s.StoreLogs(logs(from, from+batch-1, entryBytes)))
	}
	fixture.Must(t, s.DeleteRange(1, 15800))
	wantBounds(t, s, 15801, 16000)
	fixture.Must(t, s.Close())

	d, err := db.Open(dir, nil)
	fixture.Must(t, err)
	defer d.Close()
	fixture.Must(t, d.Flush(t.Context()))
	for {
		var tables int64
		m := d.Metrics()
		for _, level := range m.Levels {
			tables += level.Bytes
		}
		if tables < 2<<20 { // of 16 MB
			if m.Compact.Drops == 0 {
				t.Error("no table was dropped unread")
			}
			break
		}
		time.Sleep(time.Millisecond)
	}
	s = storeIn(t, d, "")
	wantBounds(t, s, 15801, 16000)
}

// TestStoresTouchNobodyElse: a log of its whole range removes nothing of its neighbours'.
func TestStoresTouchNobodyElse(t *testing.T) {
	d := dbtest.Open(t)
	prefixes := []string{"a", "b", "c"}
	for i, prefix := range prefixes {
		s := storeIn(t, d, prefix)
		fixture.Must(t, s.StoreLogs(logs(uint64(i), math.MaxUint64>>(60-i), 1)))
		fixture.Must(t, s.StoreLog(&raft.Log{Index: math.MaxUint64}))
		fixture.Must(t, s.SetUint64([]byte("term"), uint64(i)))
	}
	fixture.Must(t, storeIn(t, d, "b").DeleteRange(0, math.MaxUint64))
	for i, prefix := range prefixes {
		s := storeIn(t, d, prefix)
		if prefix == "b" {
			wantBounds(t, s, 0, 0)
		} else {
			wantBounds(t, s, uint64(i), math.MaxUint64)
		}
		if n, err := s.GetUint64([]byte("term")); n != uint64(i) || err != nil {
			t.Errorf("%q: %d, %v", prefix, n, err)
		}
	}
}

// TestRefusedLogs: if one entry of a batch cannot be stored, none is, and the next batch can.
func TestRefusedLogs(t *testing.T) {
	s := storeIn(t, dbtest.Open(t), "x")
	batch := logs(1, 3, 1)
	batch[2].AppendedAt = time.Unix(1, 0).In(time.FixedZone("", 40000*60))
	if err := s.StoreLogs(batch); err == nil {
		t.Fatal("a time that has no encoding was stored")
	}
	wantBounds(t, s, 0, 0)
	fixture.Must(t, s.StoreLogs(batch[1:2]))
	wantBounds(t, s, 2, 2)
}

// TestFailedWrites: what was not stored is not shown, and a full disk passes by.
func TestFailedWrites(t *testing.T) {
	machine := fixture.NewMachine(vfstest.NewDisk())
	d := machine.OpenDB(t)
	defer d.Close()
	s := storeIn(t, d, "x")
	fixture.Must(t, s.StoreLogs(logs(1, 10, 100)))
	machine.Disk.SetLimit(1)
	large := logs(11, 20, 4000)
	fixture.Must(t, s.StageCommitIndex(15))
	fixture.WantErr(t, "full disk", s.StoreLogs(large), db.ErrDiskFull)
	wantBounds(t, s, 1, 10)
	if err := s.GetLog(11, new(raft.Log)); err != raft.ErrLogNotFound {
		t.Error(err)
	}
	machine.Disk.SetLimit(0)
	fixture.Must(t, s.StoreLogs(large))
	wantBounds(t, s, 1, 20)
	if n, err := s.GetCommitIndex(); n != 15 || err != nil {
		t.Errorf("commit index %d, %v, want 15", n, err)
	}
	machine.Failing(vfstest.OpSync, "", fixture.ErrDisk)
	fixture.WantErr(t, "broken disk", s.DeleteRange(1, 5), db.ErrReadOnly)
	fixture.WantErr(t, "broken disk", s.StoreLogs(large), db.ErrReadOnly)
	fixture.WantErr(t, "broken disk", s.Set([]byte("k"), nil), db.ErrReadOnly)
	wantBounds(t, s, 1, 20)
}

// TestStrangeKeys: where the log should be lies something else, which is not taken for entries.
func TestStrangeKeys(t *testing.T) {
	d := dbtest.Open(t)
	fixture.Must(t, d.Put([]byte("alphabet"), nil))
	fixture.Must(t, d.Put([]byte("blog"), nil))
	fixture.Must(t, d.Put([]byte("cc"), []byte("7 bytes")))
	fixture.Must(t, d.Put([]byte("dc"), []byte("\x00\x00\x00\x00\x00\x00\x00\x09")))
	for _, prefix := range []string{"a", "b", "c", "d"} {
		if _, err := raftlog.StoreIn(d, []byte(prefix)); !errors.Is(err, db.ErrCorrupt) {
			t.Errorf("%s: %v", prefix, err)
		}
	}
}

// TestClose: a closed Store says so, whatever it is asked; a database that was given stays open.
func TestClose(t *testing.T) {
	dir := t.TempDir()
	own, err := raftlog.Open(dir, nil)
	fixture.Must(t, err)
	fixture.Must(t, own.StoreLogs(logs(3, 5, 1)))
	if _, err := raftlog.Open(dir, nil); !errors.Is(err, db.ErrLocked) {
		t.Error(err)
	}
	d := dbtest.Open(t)
	given, orphan := storeIn(t, d, "x"), storeIn(t, d, "y")
	fixture.Must(t, given.StoreLogs(logs(3, 5, 1)))
	for _, s := range []*raftlog.Store{own, given} {
		fixture.Must(t, s.Close())
		fixture.Must(t, s.Close())
		wantClosed(t, s)
		if _, err := s.FirstIndex(); err != db.ErrClosed {
			t.Error(err)
		}
		if _, err := s.LastIndex(); err != db.ErrClosed {
			t.Error(err)
		}
	}
	fixture.Must(t, d.Put([]byte("z"), nil))
	fixture.Must(t, orphan.StoreLogs(logs(1, 9, 1)))
	fixture.Must(t, d.Close())
	wantClosed(t, orphan)
	fixture.Must(t, orphan.Close())
	_, err = raftlog.StoreIn(d, nil)
	fixture.WantErr(t, "StoreIn", err, db.ErrClosed)

	own, err = raftlog.Open(dir, &db.Options{ReadOnly: true})
	fixture.Must(t, err)
	wantBounds(t, own, 3, 5)
	fixture.WantErr(t, "StoreLogs", own.StoreLogs(logs(6, 6, 1)), db.ErrReadOnly)
	fixture.Must(t, own.Close())
}

// wantClosed wants db.ErrClosed of all that needs the database.
func wantClosed(t *testing.T, s *raftlog.Store) {
	t.Helper()
	fixture.WantErr(t, "GetLog", s.GetLog(4, new(raft.Log)), db.ErrClosed)
	fixture.WantErr(t, "StoreLog", s.StoreLog(&raft.Log{Index: 6}), db.ErrClosed)
	fixture.WantErr(t, "DeleteRange", s.DeleteRange(4, 4), db.ErrClosed)
	fixture.WantErr(t, "Set", s.Set(nil, nil), db.ErrClosed)
	fixture.WantErr(t, "SetUint64", s.SetUint64(nil, 1), db.ErrClosed)
	_, err := s.Get(nil)
	fixture.WantErr(t, "Get", err, db.ErrClosed)
	_, err = s.GetUint64(nil)
	fixture.WantErr(t, "GetUint64", err, db.ErrClosed)
}

// TestReadersBeside: while one goroutine appends and another trims, as Raft has it, readers see
// no entry that is not whole, and every entry between those that a reader knows to be there.
func TestReadersBeside(t *testing.T) {
	const last, kept = 2000, 100
	s := storeIn(t, dbtest.Open(t, &db.Options{MemtableBytes: 16 << 10}), "x")
	fixture.Must(t, s.StoreLogs(logs(1, kept, 20)))
	var all sync.WaitGroup
	done := make(chan struct{})
	all.Go(func() {
		defer close(done)
		for from := uint64(kept + 1); from <= last; from += 10 {
			if err := s.StoreLogs(logs(from, from+9, 20)); err != nil {
				t.Error(err)
			}
		}
	})
	all.Go(func() {
		for top := uint64(0); top < last; {
			first, _ := s.FirstIndex()
			top, _ = s.LastIndex()
			if first+kept < top {
				if err := s.DeleteRange(first, top-kept); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for range 2 {
		all.Go(func() {
			for index := uint64(1); ; index++ {
				top, _ := s.LastIndex()
				if index > top {
					select {
					case <-done:
						return
					default:
						index = top
					}
				}
				var l raft.Log
				err := s.GetLog(index, &l)
				first, _ := s.FirstIndex()
				if err != nil && (err != raft.ErrLogNotFound || first <= index) || err == nil && (l.Index != index || !bytes.Equal(l.Data, logs(index, index, 20)[0].Data)) {
					t.Errorf("log %d, first %d: %+v, %v", index, first, l, err)
					return
				}
			}
		})
	}
	all.Wait()
	wantBounds(t, s, last-kept+1, last)
}
