package replica

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/raft"

	"lsmdb/db"
	"lsmdb/db/dbtest"
)

// TestSnapshotIsExact sees that a snapshot holds what was applied when it was taken, though it
// is persisted later, and that another machine goes on from there.
func TestSnapshotIsExact(t *testing.T) {
	f := openFSM(t, t.TempDir(), small())
	want := model{}
	put := func(from, to int) {
		for i := from; i < to; i++ {
			want[string(key(i))] = string(key(i * 7))
			mustApply(t, f, entry(uint64(i+1), NewCommand().Put(key(i), key(i*7))))
		}
	}
	put(0, 3000)
	s, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	then := maps.Clone(want)
	put(3000, 6000)
	mustApply(t, f, entry(6001, NewCommand().DeleteRange(nil, key(10))))
	stream := persist(t, s)
	s.Release()

	dir := t.TempDir()
	other := openFSM(t, dir, small())
	mustApply(t, other, entry(1, NewCommand().Put([]byte("of its own"), nil)))
	if err := restore(other, stream); err != nil {
		t.Fatal(err)
	}
	if other.Applied() != 3000 {
		t.Errorf("restored at %d", other.Applied())
	}
	mustHold(t, other, then)
	onlyState(t, dir, 2)
	// The log goes on behind the snapshot.
	for i := 3000; i < 6000; i++ {
		mustApply(t, other, entry(uint64(i+1), NewCommand().Put(key(i), key(i*7))))
	}
	mustHold(t, other, want)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	other = openFSM(t, dir, small())
	if other.Applied() != 6000 {
		t.Errorf("after a start it is at %d", other.Applied())
	}
	mustHold(t, other, want)
}

// TestRestoreOlder sees that a snapshot is restored also where the state is ahead of it: an operator
// may want that.
func TestRestoreOlder(t *testing.T) {
	f := openFSM(t, t.TempDir(), nil)
	mustApply(t, f, entry(1, NewCommand().Put([]byte("k"), []byte("old"))))
	stream := takeSnapshot(t, f)
	mustApply(t, f, entry(2, NewCommand().Put([]byte("k"), []byte("new"))))
	if err := restore(f, stream); err != nil {
		t.Fatal(err)
	}
	mustHold(t, f, model{"k": "old"})
	mustApply(t, f, entry(2, NewCommand().Put([]byte("k"), []byte("again"))))
	mustHold(t, f, model{"k": "again"})
}

// TestRestoreFails gives snapshots that are cut or damaged anywhere, and what is none: state,
// index and directory stay as they were, entries go on, and nothing is applied twice.
func TestRestoreFails(t *testing.T) {
	source := openFSM(t, t.TempDir(), small())
	for i := range 3000 {
		mustApply(t, source, entry(uint64(i+1), NewCommand().Put(key(i), bytes.Repeat(key(i), 10))))
	}
	stream := takeSnapshot(t, source)
	plain := dbtest.Open(t)
	if err := plain.Put([]byte("k"), []byte("v")); err != nil {
		t.Fatal(err)
	}
	checkpoint, err := plain.NewCheckpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var foreign bytes.Buffer
	if _, err := checkpoint.WriteTo(&foreign); err != nil {
		t.Fatal(err)
	}
	if err := checkpoint.Close(); err != nil {
		t.Fatal(err)
	}

	rng := rand.New(rand.NewPCG(1, 1))
	bad := [][]byte{nil, stream[:1], stream[:len(stream)-1], append(slices.Clone(stream), 0), []byte("something else"), foreign.Bytes()}
	for range 20 {
		bad = append(bad, stream[:rng.IntN(len(stream))])
		flipped := slices.Clone(stream)
		flipped[rng.IntN(len(flipped))] ^= 1 << rng.IntN(8)
		bad = append(bad, flipped)
	}
	dir := t.TempDir()
	f := openFSM(t, dir, small())
	want := model{"count": ""}
	mustApply(t, f, entry(1, NewCommand().Put([]byte("count"), nil)))
	for i, b := range bad {
		if err := restore(f, b); err == nil {
			t.Fatalf("snapshot %d of %d bytes is restored", i, len(b))
		}
		onlyState(t, dir, 1)
		if f.Applied() != uint64(i+1) {
			t.Fatalf("after a failed restore, %d is applied", f.Applied())
		}
		mustHold(t, f, want)
		old := want["count"]
		want["count"] += "x"
		mustApply(t, f, entry(uint64(i+2), NewCommand().Expect([]byte("count"), []byte(old)).Put([]byte("count"), []byte(want["count"]))))
	}
	if err := restore(f, stream); err != nil {
		t.Fatal(err)
	}
	mustHold(t, f, contents(t, source))
}

// TestRestoreInterrupted sees that what a killed process left of a restore does not count, until
// the file that names the state says so.
func TestRestoreInterrupted(t *testing.T) {
	source := openFSM(t, t.TempDir(), nil)
	mustApply(t, source, entry(50, NewCommand().Put([]byte("k"), []byte("snapshot"))))
	stream := takeSnapshot(t, source)
	dir := t.TempDir()
	f := openFSM(t, dir, nil)
	mustApply(t, f, entry(1, NewCommand().Put([]byte("k"), []byte("own"))))
	next, err := f.unpack(bytes.NewReader(stream), 2)
	if err != nil {
		t.Fatal(err)
	}
	// Killed here: all of it is unpacked, verified and even opened.
	if err := errors.Join(next.db.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	f = openFSM(t, dir, nil)
	if f.Applied() != 1 {
		t.Fatalf("an index was adopted without its state: %d", f.Applied())
	}
	mustHold(t, f, model{"k": "own"})
	onlyState(t, dir, 1)

	// Killed while it unpacks, and restored again in the same life.
	if err := os.MkdirAll(filepath.Join(dir, "state-000002", "junk"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := restore(f, stream); err != nil {
		t.Fatal(err)
	}
	mustHold(t, f, model{"k": "snapshot"})
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	// Killed between the switch and the removal of the old state.
	if err := os.MkdirAll(filepath.Join(dir, "state-000001"), 0o700); err != nil {
		t.Fatal(err)
	}
	f = openFSM(t, dir, nil)
	mustHold(t, f, model{"k": "snapshot"})
	onlyState(t, dir, 2)
}

// TestViewsAcrossRestore sees that a View keeps what it sees while the state is replaced, that
// snapshots do, and that the old state goes with the last of them.
func TestViewsAcrossRestore(t *testing.T) {
	dir := t.TempDir()
	f := openFSM(t, dir, nil)
	mustApply(t, f, entry(1, NewCommand().Put([]byte("k"), []byte("1"))))
	stream := takeSnapshot(t, f)
	mustApply(t, f, entry(2, NewCommand().Put([]byte("k"), []byte("2"))))
	held, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	err = f.View(func(s *db.Snapshot) error {
		if err := restore(f, stream); err != nil {
			return err
		}
		value, err := s.Get([]byte("k"))
		if string(value) != "2" {
			t.Errorf("a View that began before a restore sees %q", value)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	mustHold(t, f, model{"k": "1"})
	if err := restore(f, persist(t, held)); err != nil {
		t.Fatal(err)
	}
	held.Release()
	mustHold(t, f, model{"k": "2"})
	onlyState(t, dir, 3)
}

// TestPersistFails sees that a sink that fails is canceled.
func TestPersistFails(t *testing.T) {
	f := openFSM(t, t.TempDir(), nil)
	mustApply(t, f, entry(1, NewCommand().Put([]byte("k"), make([]byte, 100_000))))
	s, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	to := sink{room: 100}
	if err := s.Persist(&to); !errors.Is(err, errSinkFull) || !to.canceled || to.closed {
		t.Errorf("persist: %v, canceled %v, closed %v", err, to.canceled, to.closed)
	}
}

// TestGrownState restores what is many times larger than memory tables and a batch: what can be
// written as a snapshot can be read back.
func TestGrownState(t *testing.T) {
	f := openFSM(t, t.TempDir(), small())
	value := make([]byte, 100<<10)
	rng := rand.NewChaCha8([32]byte{1})
	var batch []*raft.Log
	for i := range 400 {
		_, _ = rng.Read(value)
		batch = append(batch, entry(uint64(i+1), NewCommand().Put(key(i), value)))
	}
	mustApply(t, f, batch...)
	stream := takeSnapshot(t, f)
	if len(stream) < 400*len(value) {
		t.Fatalf("the snapshot has %d bytes", len(stream))
	}
	other := openFSM(t, t.TempDir(), small())
	if err := restore(other, stream); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(contents(t, f), contents(t, other)) {
		t.Error("the two differ")
	}
}
