package replica

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"lsmdb/db"
	"lsmdb/internal/door"
	"lsmdb/internal/vfstest"
)

// model is what a state machine should hold.
type model map[string]string

// apply applies a command as it is documented, and says whether it is accepted.
func (m model) apply(d *decoded) bool {
	for _, e := range d.expectations {
		var value []byte
		if v, ok := m[string(e.key)]; ok {
			value = append([]byte{}, v...)
		}
		if !e.holds(value) {
			return false
		}
	}
	for _, o := range d.operations {
		switch o.kind {
		case kindPut:
			m[string(o.key)] = string(o.value)
		case kindDelete:
			delete(m, string(o.key))
		case kindDeleteRange:
			maps.DeleteFunc(m, func(k, _ string) bool {
				return k >= string(o.key) && (o.value == nil || k < string(o.value))
			})
		}
	}
	return true
}

// randomCommand makes a command over few keys, so that its expectations hold now and then.
func randomCommand(rng *rand.Rand, m model) *Command {
	c := NewCommand()
	some := func() []byte { return key(rng.IntN(8)) }
	for range rng.IntN(2) {
		k := some()
		value, ok := m[string(k)]
		switch {
		case rng.IntN(4) == 0:
			c.Expect(k, few(rng)) // which a later one of the same run may put
		case ok:
			c.Expect(k, []byte(value))
		default:
			c.Expect(k, nil)
		}
	}
	for range rng.IntN(4) {
		switch rng.IntN(8) {
		case 0:
			c.Delete(some())
		case 1:
			c.DeleteRange(some(), some())
		case 2:
			if rng.IntN(10) == 0 {
				c.DeleteRange(some(), nil)
			}
		case 3:
			c.Put(some(), bytes.Repeat([]byte{byte(rng.IntN(256))}, rng.IntN(100)))
		default:
			c.Put(some(), few(rng))
		}
	}
	return c
}

// few is one of few values.
func few(rng *rand.Rand) []byte { return []byte{byte('0' + rng.IntN(3))} }

// TestModel applies commands in batches of all sizes, with expectations on what comes before
// them in the same batch, and compares with a map. In between the state machine is closed, and
// is given entries again.
func TestModel(t *testing.T) {
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 1))
		dir, want, accepted := t.TempDir(), model{}, map[bool]int{}
		f := openFSM(t, dir, small())
		var history []*raft.Log
		for round := range 150 {
			var batch []*raft.Log
			var outcome []bool
			for range 1 + rng.IntN(12) {
				e := entry(uint64(len(history)+1), randomCommand(rng, want))
				d, err := decode(e.Data)
				if err != nil {
					t.Fatal(err)
				}
				outcome = append(outcome, want.apply(d))
				batch, history = append(batch, e), append(history, e)
			}
			for i, r := range f.ApplyBatch(batch) {
				if err, _ := r.(error); (r == nil) != outcome[i] || r != nil && !errors.Is(err, ErrMismatch) {
					t.Fatalf("seed %d, entry %d: %v, and accepted should be %v", seed, batch[i].Index, r, outcome[i])
				}
				accepted[outcome[i]]++
			}
			if round%10 == 0 {
				mustHold(t, f, want)
			}
			if round%40 == 39 {
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				f = openFSM(t, dir, small())
				if f.Applied() != uint64(len(history)) {
					t.Fatalf("after a start, %d of %d entries are there", f.Applied(), len(history))
				}
				for _, r := range f.ApplyBatch(history[len(history)/2:]) { // as Raft does
					if r != nil {
						t.Fatal(r)
					}
				}
				mustHold(t, f, want)
			}
		}
		if accepted[true] < 100 || accepted[false] < 50 {
			t.Fatalf("the test is too one-sided: %v", accepted)
		}
	}
}

// TestOneBatch sees that a run of entries is one write, and that the index is in it.
func TestOneBatch(t *testing.T) {
	f := openFSM(t, t.TempDir(), nil)
	before := f.current.db.Metrics().Writes
	var batch []*raft.Log
	for i := range 64 {
		batch = append(batch, entry(uint64(i+1), NewCommand().Expect(key(i), nil).Put(key(i), []byte("v"))))
	}
	mustApply(t, f, batch...)
	after := f.current.db.Metrics()
	if after.Writes.Commits-before.Commits != 1 || after.Writes.Operations-before.Operations != 65 {
		t.Errorf("64 entries made %d commits with %d operations", after.Writes.Commits-before.Commits, after.Writes.Operations-before.Operations)
	}
	// Entries without a command move the index as well.
	f.ApplyBatch([]*raft.Log{{Index: 65, Type: raft.LogConfiguration}})
	if f.Applied() != 65 {
		t.Errorf("applied is %d after a configuration", f.Applied())
	}
}

// TestRefused sees that what no node can apply is refused by all, and takes nothing with it.
func TestRefused(t *testing.T) {
	f := openFSM(t, t.TempDir(), nil)
	long := make([]byte, db.MaxKeyBytes)
	good := NewCommand().Put([]byte("k"), []byte("v")).Encode()
	data := [][]byte{
		nil, {commandVersion}, {99, 0, 0, 0, 0, 0, 0, 0, 0, 0}, good[:len(good)-1], append(good[:len(good):len(good)], 'x'),
		NewCommand().Put([]byte("other"), nil).Put(long, nil).Encode(), NewCommand().Put([]byte("other"), nil).DeleteRange(nil, long).Encode(),
	}
	batch := []*raft.Log{entry(1, NewCommand().Put([]byte("a"), []byte("1")))}
	for i, d := range data {
		batch = append(batch, &raft.Log{Index: uint64(i + 2), Type: raft.LogCommand, Data: d})
	}
	batch = append(batch, entry(uint64(len(batch)+1), NewCommand().Put([]byte("b"), []byte("2"))))
	for i, r := range f.ApplyBatch(batch) {
		if accepted := i == 0 || i == len(batch)-1; (r == nil) != accepted {
			t.Errorf("entry %d: %v", i+1, r)
		}
	}
	mustHold(t, f, model{"a": "1", "b": "2"})
	if r, _ := f.Apply(entry(20, NewCommand().Put(long, nil))).(error); !errors.Is(r, db.ErrKeyTooLarge) {
		t.Errorf("a long key is %v", r)
	}
	longest := long[:maxKeyBytes]
	mustApply(t, f, entry(21, NewCommand().Put(longest, []byte("at the limit")).Delete([]byte("a")).Delete([]byte("b"))))
	mustHold(t, f, model{string(longest): "at the limit"})
	if f.Err() != nil {
		t.Error(f.Err())
	}
}

// TestLargeRuns sees that what is too large for one batch is written in several, and that
// expectations see what was written before them.
func TestLargeRuns(t *testing.T) {
	f := openFSM(t, t.TempDir(), nil)
	value := bytes.Repeat([]byte("v"), maxBatchBytes/4)
	var batch []*raft.Log
	want := model{}
	for i := range 10 {
		c := NewCommand().Put(key(i), value)
		if i > 0 {
			c.Expect(key(i-1), value)
		}
		batch = append(batch, entry(uint64(i+1), c))
		want[string(key(i))] = string(value)
	}
	mustApply(t, f, batch...)
	mustHold(t, f, want)
	batch = nil
	for i := range 3 * maxOverlayRanges { // each looks through the ranges before it
		batch = append(batch, entry(uint64(i+11), NewCommand().Expect(key(0), value).DeleteRange(key(1), key(10)).Expect([]byte("gone"), nil)))
	}
	mustApply(t, f, batch...)
	mustHold(t, f, model{string(key(0)): string(value)})
}

// TestPowerFailure takes the power at random moments and lets Raft's log bring the rest: the
// state must be that of a machine that never failed, whatever the failure took.
func TestPowerFailure(t *testing.T) {
	lost := 0
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 2))
		disk := vfstest.NewDisk()
		dir := t.TempDir()
		open := func() *FSM {
			o := small()
			door.Set(o, disk, nil)
			return openFSM(t, dir, o)
		}
		f, want := open(), model{}
		var history []*raft.Log
		for range 4 {
			for range rng.IntN(20) {
				run := len(history)
				for range 1 + rng.IntN(20) {
					e := entry(uint64(len(history)+1), randomCommand(rng, want))
					d, _ := decode(e.Data)
					want.apply(d)
					history = append(history, e)
				}
				f.ApplyBatch(history[run:])
			}
			if rng.IntN(3) == 0 {
				takeSnapshot(t, f)
			}
			disk = disk.CrashClone(rng)
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			f = open()
			lost += len(history) - int(f.Applied())
			f.ApplyBatch(history)
			mustHold(t, f, want)
		}
	}
	if lost == 0 {
		t.Error("no power failure took anything: the test shows nothing")
	}
}

// TestFailure sees that a state machine whose database has failed applies nothing any more, takes
// no snapshot, and says so, and that the next start goes on where it was.
func TestFailure(t *testing.T) {
	dir, disk := t.TempDir(), vfstest.NewDisk()
	var broken sync.Map
	o := small()
	door.Set(o, vfstest.NewFault(disk, func(op vfstest.Op) error {
		if _, on := broken.Load("writes"); on && op.Kind == vfstest.OpWrite {
			return syscall.EIO
		}
		return nil
	}), nil)
	f := openFSM(t, dir, o)
	mustApply(t, f, entry(1, NewCommand().Put(key(1), []byte("1"))))
	broken.Store("writes", true)
	for index := uint64(2); f.Err() == nil; index++ { // the log may have been prepared for some more
		f.Apply(entry(index, NewCommand().Put(key(2), make([]byte, 64<<10))))
	}
	<-f.Failed()
	stopped := f.Applied()
	broken.Delete("writes")
	if r, _ := f.Apply(entry(1000, NewCommand().Put(key(3), nil))).(error); r == nil || f.Applied() != stopped {
		t.Errorf("after a failure an entry is applied: %v", r)
	}
	if _, err := f.Snapshot(); err == nil {
		t.Error("after a failure a snapshot is taken")
	}
	if err := restore(f, nil); err == nil {
		t.Error("after a failure a snapshot is restored")
	}
	_ = f.Close()
	again := small()
	door.Set(again, disk, nil)
	f = openFSM(t, dir, again)
	if got := f.Applied(); got < stopped {
		t.Errorf("the next start finds entry %d, but %d was applied", got, stopped)
	}
	mustApply(t, f, entry(2000, NewCommand().Put(key(3), nil)))
}

// TestFullDisk sees that a full disk is waited out, and that Close ends the waiting.
func TestFullDisk(t *testing.T) {
	disk := vfstest.NewDisk()
	o := small()
	door.Set(o, disk, nil)
	f := openFSM(t, t.TempDir(), o)
	mustApply(t, f, entry(1, NewCommand().Put(key(1), []byte("1"))))
	disk.SetLimit(disk.UsedBytes())
	applied := make(chan any)
	apply := func(index uint64) {
		go func() { applied <- f.Apply(entry(index, NewCommand().Put(key(2), make([]byte, 4<<20)))) }()
	}
	apply(2)
	for f.current.db.Health() == nil { // it says that there is no room
		time.Sleep(time.Millisecond)
	}
	select {
	case r := <-applied:
		t.Fatalf("without room: %v", r)
	default:
	}
	disk.SetLimit(0)
	if r := <-applied; r != nil || f.Applied() != 2 {
		t.Fatalf("with room: %v", r)
	}
	disk.SetLimit(disk.UsedBytes())
	apply(3)
	for f.current.db.Health() == nil {
		time.Sleep(time.Millisecond)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if r, _ := (<-applied).(error); r == nil {
		t.Error("an entry was applied without room")
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	for _, o := range []*db.Options{{InMemory: true}, {ReadOnly: true}} {
		if _, err := Open(dir, o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
	if _, err := Open(dir, &db.Options{MustExist: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("where nothing is: %v", err)
	}
	f := openFSM(t, dir, nil)
	if _, err := Open(dir, nil); !errors.Is(err, db.ErrLocked) {
		t.Errorf("a second Open: %v", err)
	}
	mustApply(t, f, entry(7, NewCommand().Put([]byte("k"), []byte("v"))))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.View(func(*db.Snapshot) error { return nil }); !errors.Is(err, db.ErrClosed) {
		t.Errorf("View when closed: %v", err)
	}
	if r, _ := f.Apply(entry(8, NewCommand())).(error); !errors.Is(r, db.ErrClosed) {
		t.Errorf("Apply when closed: %v", r)
	}
	f = openFSM(t, dir, &db.Options{MustExist: true})
	if f.Applied() != 7 {
		t.Errorf("applied is %d", f.Applied())
	}
	_ = f.Close()
	for _, content := range []string{"", "state-1\n", "state-000001", "../elsewhere\n", "state-000002\n"} {
		if err := os.WriteFile(filepath.Join(dir, currentFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if f, err := Open(dir, nil); err == nil {
			t.Errorf("CURRENT is %q, and it opens", content)
			f.Close()
		}
	}
}

// TestUnfinishedCreation sees that a process that was killed while it made the directory left
// nothing that keeps the next from making it.
func TestUnfinishedCreation(t *testing.T) {
	dir := t.TempDir()
	f := openFSM(t, dir, nil)
	_ = f.Close()
	if err := os.Remove(filepath.Join(dir, currentFile)); err != nil {
		t.Fatal(err)
	}
	f = openFSM(t, dir, nil)
	mustApply(t, f, entry(1, NewCommand().Put([]byte("k"), nil)))
	onlyState(t, dir, 1)
}

func TestWaitApplied(t *testing.T) {
	f := openFSM(t, t.TempDir(), nil)
	var waiting sync.WaitGroup
	for i := range 8 {
		waiting.Go(func() {
			if err := f.waitApplied(t.Context(), uint64(i)); err != nil || f.Applied() < uint64(i) {
				t.Errorf("waiting for %d: %v", i, err)
			}
		})
	}
	for i := range 8 {
		mustApply(t, f, entry(uint64(i+1), NewCommand()))
	}
	waiting.Wait()
	waiting.Go(func() {
		if err := f.waitApplied(t.Context(), 100); !errors.Is(err, db.ErrClosed) {
			t.Errorf("waiting when it is closed: %v", err)
		}
	})
	_ = f.Close()
	waiting.Wait()
}
