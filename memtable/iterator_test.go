package memtable

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"lsmdb/internal/base"
)

// modelIterator is the iterator of a model: an index, or -1 for no entry.
type modelIterator struct {
	entries []modelEntry
	at      int
}

func (it *modelIterator) moveTo(at int) bool {
	it.at = at
	if at < 0 || at >= len(it.entries) {
		it.at = -1
	}
	return it.at >= 0
}

// checkSame compares an iterator with its model after a move.
func checkSame(t *testing.T, move string, got bool, it *Iterator, want *modelIterator) {
	t.Helper()
	if got != it.Valid() || got != (want.at >= 0) {
		t.Fatalf("%s returned %v, Valid %v, want index %d", move, got, it.Valid(), want.at)
	}
	if !got {
		return
	}
	entry := want.entries[want.at]
	if !bytes.Equal(it.Key(), entry.key) || !bytes.Equal(it.Value(), entry.value) {
		t.Fatalf("%s stands on %v, want %v", move, it.Key(), entry.key)
	}
}

func TestIteratorAgainstModel(t *testing.T) {
	const count = 1500
	forEachShape(t, count, func(t *testing.T, r *rand.Rand, m *Memtable, model *model, draw func() []byte) {
		it, want := m.NewIterator(), &modelIterator{model.entries, -1}
		steps := func(direction int) { // runs in one direction, to the end at times
			for range 1 + r.IntN(1<<r.IntN(12)) {
				expected := -1
				if want.at >= 0 {
					expected = want.at + direction
				}
				want.moveTo(expected)
				if direction > 0 {
					checkSame(t, "Next", it.Next(), it, want)
				} else {
					checkSame(t, "Prev", it.Prev(), it, want)
				}
			}
		}
		for range 500 {
			key := base.AppendSearchKey(nil, draw(), base.Seq(r.IntN(count)))
			if r.IntN(2) == 0 {
				key = model.entries[r.IntN(count)].key
			}
			switch r.IntN(8) {
			case 0:
				want.moveTo(0)
				checkSame(t, "First", it.First(), it, want)
			case 1:
				want.moveTo(count - 1)
				checkSame(t, "Last", it.Last(), it, want)
			case 2, 3:
				want.moveTo(model.find(key))
				checkSame(t, "SeekGE", it.SeekGE(key), it, want)
			case 4, 5:
				want.moveTo(model.find(key) - 1)
				checkSame(t, "SeekLT", it.SeekLT(key), it, want)
			case 6:
				steps(+1)
			case 7:
				steps(-1)
			}
			steps([]int{+1, -1}[r.IntN(2)])
		}
	})
}

// TestIteratorSnapshots reads the table as it was at each of many sequence
// numbers, in both directions.
func TestIteratorSnapshots(t *testing.T) {
	const count = 300
	r := rand.New(rand.NewPCG(1, 1))
	m, latest := New(1<<20), map[string]string{}
	var history []map[string]string
	for i := range count {
		key := fmt.Sprintf("key %d", r.IntN(40))
		latest[key] = fmt.Sprint(i)
		kind := base.KindSet
		if r.IntN(3) == 0 {
			delete(latest, key)
			kind = base.KindDelete
		}
		m.Insert([]byte(key), fmt.Append(nil, i), base.Seq(i+1), kind)
		state := map[string]string{}
		for k, v := range latest {
			state[k] = v
		}
		history = append(history, state)
	}
	for i, state := range history {
		forward, backward := visible(m, base.Seq(i+1)), visibleBackward(m, base.Seq(i+1))
		slices.Reverse(backward)
		if len(forward) != len(state) || !slices.Equal(forward, backward) {
			t.Fatalf("at %d: forward %v, backward %v, want %v", i+1, forward, backward, state)
		}
		for _, entry := range forward {
			if state[entry[0]] != entry[1] {
				t.Fatalf("at %d: %v, want %q", i+1, entry, state[entry[0]])
			}
		}
	}
}

// visible returns the pairs that a reader at seq sees: of each key the first
// version that is old enough, unless it is a delete.
func visible(m *Memtable, seq base.Seq) (pairs [][2]string) {
	it, previous := m.NewIterator(), "none"
	for ok := it.First(); ok; ok = it.Next() {
		user := string(it.Key().UserKey())
		if it.Key().Seq() > seq || user == previous {
			continue
		}
		previous = user
		if it.Key().Kind() == base.KindSet {
			pairs = append(pairs, [2]string{user, string(it.Value())})
		}
	}
	return pairs
}

// visibleBackward is visible from the end: of each key the last version met that
// is old enough counts.
func visibleBackward(m *Memtable, seq base.Seq) (pairs [][2]string) {
	it, user, candidate := m.NewIterator(), "none", (*string)(nil)
	flush := func() {
		if candidate != nil {
			pairs = append(pairs, [2]string{user, *candidate})
		}
		candidate = nil
	}
	for ok := it.Last(); ok; ok = it.Prev() {
		if string(it.Key().UserKey()) != user {
			flush()
			user = string(it.Key().UserKey())
		}
		if it.Key().Seq() <= seq {
			value := string(it.Value())
			candidate = &value
			if it.Key().Kind() == base.KindDelete {
				candidate = nil
			}
		}
	}
	flush()
	return pairs
}

func TestIteratorClose(t *testing.T) {
	m := New(1000)
	m.Insert([]byte("a"), []byte("1"), 1, base.KindSet)
	it := m.NewIterator()
	it.First()
	key, value := it.Key(), it.Value()
	if errors.Join(it.Close(), it.Close()) != nil || it.Err() != nil || it.Valid() || it.Next() || it.Prev() {
		t.Fatal("a closed iterator moves or fails")
	}
	if string(key.UserKey()) != "a" || string(value) != "1" {
		t.Fatal("what an iterator returned did not outlive it")
	}
}
