package replica

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"lsmdb/db"
)

// entry is a log entry with a command.
func entry(index uint64, c *Command) *raft.Log {
	return &raft.Log{Index: index, Term: 1, Type: raft.LogCommand, Data: c.Encode()}
}

// entryAt is an entry whose leader's clock showed a time.
func entryAt(index uint64, c *Command, now time.Time) *raft.Log {
	return &raft.Log{Index: index, Term: 1, Type: raft.LogCommand, Data: c.encode(now)}
}

func key(i int) []byte { return fmt.Appendf(nil, "key-%04d", i) }

func openFSM(t testing.TB, dir string, o *db.Options) *FSM {
	t.Helper()
	f, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil && f.Err() == nil {
			t.Error(err)
		}
	})
	return f
}

// mustApply applies entries, all of which must be accepted.
func mustApply(t testing.TB, f *FSM, entries ...*raft.Log) {
	t.Helper()
	for i, r := range f.ApplyBatch(entries) {
		if r != nil {
			t.Fatalf("entry %d: %v", entries[i].Index, r)
		}
	}
}

// contents is all that a state machine shows.
func contents(t testing.TB, f *FSM) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := f.View(func(s *db.Snapshot) error {
		it, err := s.NewIterator(nil)
		if err != nil {
			return err
		}
		defer it.Close()
		for k, v := range it.All() {
			all[string(k)] = string(v)
		}
		return it.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func mustHold(t testing.TB, f *FSM, want map[string]string) {
	t.Helper()
	got := contents(t, f)
	if maps.Equal(got, want) {
		return
	}
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if v, ok := got[k]; !ok || v != want[k] {
			t.Errorf("%q has %.40q, there: %v, and should have %.40q", k, v, ok, want[k])
		}
	}
	for k, v := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("%q has %.40q, and should not be there", k, v)
		}
	}
	t.FailNow()
}

// sink takes a snapshot in memory.
type sink struct {
	bytes.Buffer
	closed, canceled bool
	room             int // bytes after which it fails; 0: never
}

var errSinkFull = errors.New("the sink is full")

func (s *sink) Write(p []byte) (int, error) {
	if s.room > 0 && s.Len()+len(p) > s.room {
		return 0, errSinkFull
	}
	return s.Buffer.Write(p)
}
func (s *sink) ID() string    { return "test" }
func (s *sink) Close() error  { s.closed = true; return nil }
func (s *sink) Cancel() error { s.canceled = true; return nil }

// takeSnapshot takes and persists a snapshot.
func takeSnapshot(t testing.TB, f *FSM) []byte {
	t.Helper()
	s, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	return persist(t, s)
}

func persist(t testing.TB, s raft.FSMSnapshot) []byte {
	t.Helper()
	var to sink
	if err := s.Persist(&to); err != nil || !to.closed || to.canceled {
		t.Fatalf("persist: %v, closed %v, canceled %v", err, to.closed, to.canceled)
	}
	return to.Bytes()
}

func restore(f *FSM, stream []byte) error {
	return f.Restore(io.NopCloser(bytes.NewReader(stream)))
}

// states are the names in the directory of a state machine.
func states(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// onlyState fails if more than one state lies in the directory.
func onlyState(t testing.TB, dir string, number uint64) {
	t.Helper()
	want := []string{currentFile, filepath.Base(statePath(dir, number))}
	if got := states(t, dir); !slices.Equal(got, want) {
		t.Fatalf("the directory holds %s instead of %s", strings.Join(got, " "), strings.Join(want, " "))
	}
}

// small makes memtables so small that tables come about.
func small() *db.Options { return &db.Options{MemtableBytes: 64 << 10} }

// copySnapshot copies a snapshot from the directory of one node to that of another.
func copySnapshot(t testing.TB, from, to, id string) {
	t.Helper()
	if err := os.CopyFS(filepath.Join(to, "snapshots", id), os.DirFS(filepath.Join(from, "snapshots", id))); err != nil {
		t.Fatal(err)
	}
}
