package raftlog_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"lsmdb/db"
	"lsmdb/db/dbtest"
	"lsmdb/ext/replica/raftlog"
	"lsmdb/internal/tests/fixture"
)

// model is what a Store must show.
type model struct {
	logs   map[uint64]raft.Log
	stable map[string]string
	commit uint64
	staged uint64 // not a part of what is stored
}

func newModel() *model {
	return &model{logs: make(map[uint64]raft.Log), stable: make(map[string]string)}
}

func (m *model) clone() *model {
	return &model{maps.Clone(m.logs), maps.Clone(m.stable), m.commit, m.staged}
}

// bounds returns the first and the last index, 0 without entries.
func (m *model) bounds() (first, last uint64) {
	if len(m.logs) == 0 {
		return 0, 0
	}
	indexes := slices.Collect(maps.Keys(m.logs))
	return slices.Min(indexes), slices.Max(indexes)
}

func (m *model) store(logs []*raft.Log) {
	for _, l := range logs {
		m.logs[l.Index] = *l
	}
	if _, last := m.bounds(); len(logs) > 0 {
		m.commit = min(m.staged, last)
	}
}

func (m *model) delete(from, to uint64) {
	_, before := m.bounds()
	maps.DeleteFunc(m.logs, func(index uint64, _ raft.Log) bool { return from <= index && index <= to })
	if _, last := m.bounds(); last < before {
		m.commit, m.staged = min(m.commit, last), min(m.staged, last)
	}
}

// forget is what the end of a process takes.
func (m *model) forget() { m.staged = m.commit }

// differ says in what a Store is not what the model is; nil: in nothing.
func (m *model) differ(s *raftlog.Store) error {
	wantFirst, wantLast := m.bounds()
	first, err := s.FirstIndex()
	if err != nil || first != wantFirst {
		return fmt.Errorf("first index %d, %v, want %d", first, err, wantFirst)
	}
	last, err := s.LastIndex()
	if err != nil || last != wantLast {
		return fmt.Errorf("last index %d, %v, want %d", last, err, wantLast)
	}
	commit, err := s.GetCommitIndex()
	if err != nil || commit != m.commit {
		return fmt.Errorf("commit index %d, %v, want %d", commit, err, m.commit)
	}
	asked := map[uint64]bool{0: true, 1: true, first - 1: true, last + 1: true, math.MaxUint64: true}
	for index := range m.logs {
		asked[index-1], asked[index], asked[index+1] = true, true, true
	}
	for index := range asked {
		want, ok := m.logs[index]
		var l raft.Log
		switch err := s.GetLog(index, &l); {
		case !ok && err != raft.ErrLogNotFound: // Raft compares them so
			return fmt.Errorf("log %d: %v, want none", index, err)
		case ok && err != nil:
			return fmt.Errorf("log %d: %w", index, err)
		case ok && !reflect.DeepEqual(l, want):
			return fmt.Errorf("log %d: %+v, want %+v", index, l, want)
		}
	}
	for _, name := range stableNames {
		want, ok := m.stable[name]
		switch value, err := s.Get([]byte(name)); {
		case !ok && !errors.Is(err, raftlog.ErrNotFound):
			return fmt.Errorf("stable value %q: %v, want none", name, err)
		case ok && (err != nil || string(value) != want):
			return fmt.Errorf("stable value %q: %q, %v, want %q", name, value, err, want)
		}
	}
	return nil
}

// stableNames are keys that would lie between entries, or be the commit index, if all lay in one space.
var stableNames = []string{"", "c", "l", "l\x00\x00\x00\x00\x00\x00\x00\x05", "\x00\x00\x00\x00\x00\x00\x00\x05", "CurrentTerm", "\xff\xff\xff\xff\xff\xff\xff\xff\xff"}

// actor changes a Store and its model alike.
type actor struct {
	rng   *rand.Rand
	model *model
}

// entries makes n entries from an index on, stride apart.
func (a *actor) entries(from uint64, n int, stride uint64) (logs []*raft.Log) {
	for i := range uint64(n) {
		l := &raft.Log{Index: from + i*stride, Term: a.rng.Uint64N(300), Type: raft.LogType(a.rng.IntN(6))}
		if a.rng.IntN(8) > 0 {
			l.Data = bytes.Repeat([]byte{byte(l.Index)}, a.rng.IntN(200))
		}
		if a.rng.IntN(3) == 0 {
			l.Extensions = fmt.Append(nil, "extension", l.Index)
		}
		if a.rng.IntN(3) > 0 {
			l.AppendedAt = time.Unix(int64(a.rng.Uint32()), int64(a.rng.IntN(1e9)))
		}
		logs = append(logs, l)
	}
	return logs
}

// action is a change of the model, and of a Store. An action on which a Store is not to be asked
// about its own is one that a restart takes back.
type action struct {
	name string
	do   func(s *raftlog.Store) error
}

// next chooses an action and lets it happen to the model.
func (a *actor) next() action {
	first, last := a.model.bounds()
	span := last - first + 1
	remove := func(from, to uint64) action {
		a.model.delete(from, to)
		return action{fmt.Sprintf("delete %d to %d", from, to), func(s *raftlog.Store) error { return s.DeleteRange(from, to) }}
	}
	store := func(from uint64, n int, stride uint64) action {
		logs := a.entries(from, n, stride)
		a.model.store(logs)
		return action{fmt.Sprintf("store %d from %d", n, from), func(s *raftlog.Store) error {
			err := s.StoreLogs(logs)
			for _, l := range logs { // it is not to keep what is the caller's
				*l = raft.Log{}
			}
			return err
		}}
	}
	switch a.rng.IntN(16) {
	default:
		return store(last+1, 1+a.rng.IntN(8), 1)
	case 0:
		return store(last+1+a.rng.Uint64N(20), 1+a.rng.IntN(4), 1+a.rng.Uint64N(3)) // with gaps
	case 1:
		return store(first+a.rng.Uint64N(span), 1+a.rng.IntN(6), 1) // over others
	case 2:
		return store(a.rng.Uint64N(first+1), 1, 1) // below, or at 0
	case 3:
		return store(last, 0, 1)
	case 4, 5:
		return remove(first, first+a.rng.Uint64N(span)) // as when a snapshot was taken
	case 6:
		return remove(first+a.rng.Uint64N(span), last) // as on a conflict
	case 7:
		from := first + a.rng.Uint64N(span)
		return remove(from, from+a.rng.Uint64N(4)) // from within
	case 8:
		choice := [][2]uint64{{first, last}, {0, math.MaxUint64}, {last + 1, math.MaxUint64}, {5, 4}, {0, first / 2}}[a.rng.IntN(5)]
		return remove(choice[0], choice[1])
	case 9, 10:
		index := a.rng.Uint64N(last + 10)
		a.model.staged = index
		return action{fmt.Sprintf("stage %d", index), func(s *raftlog.Store) error { return s.StageCommitIndex(index) }}
	case 11:
		name, value := stableNames[a.rng.IntN(len(stableNames))], bytes.Repeat([]byte("v"), a.rng.IntN(20))
		a.model.stable[name] = string(value)
		return action{"set " + name, func(s *raftlog.Store) error { return s.Set([]byte(name), value) }}
	}
}

// TestAgainstModel: two Stores in one database, beside keys of somebody else, show what a map
// would, whatever happens to them, also when they were opened again.
func TestAgainstModel(t *testing.T) {
	seeds, actions := 12, 400
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			d := dbtest.Open(t, &db.Options{MemtableBytes: 16 << 10, Durability: db.Queued})
			strangers := []string{"a1l", "a1", "a1m", "a2", "a2k", "a3"}
			for _, key := range strangers {
				fixture.Must(t, d.Put([]byte(key), []byte("not the log's")))
			}
			rng := rand.New(rand.NewPCG(seed, 3))
			prefixes := []string{"a1/", "a2/"}
			actors := []*actor{{rng, newModel()}, {rng, newModel()}}
			stores := make([]*raftlog.Store, len(actors))
			open := func(i int) {
				var err error
				stores[i], err = raftlog.StoreIn(d, []byte(prefixes[i]))
				fixture.Must(t, err)
			}
			open(0)
			open(1)
			for n := range actions {
				i := rng.IntN(len(actors))
				a := actors[i].next()
				fixture.Must(t, a.do(stores[i]))
				switch rng.IntN(20) {
				case 0:
					a.name += ", opened again"
					fixture.Must(t, stores[i].Close())
					actors[i].model.forget()
					open(i)
				case 1:
					fixture.Must(t, d.Flush(t.Context()))
				case 2:
					fixture.Must(t, d.Compact(t.Context(), nil, nil))
				}
				for j, s := range stores {
					if err := actors[j].model.differ(s); err != nil {
						t.Fatalf("action %d: %s of store %d: store %d: %v", n, a.name, i, j, err)
					}
				}
			}
			for _, key := range strangers {
				if _, err := d.Get([]byte(key)); err != nil {
					t.Errorf("%s: %v", key, err)
				}
			}
		})
	}
}
