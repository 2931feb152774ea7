package merge

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"lsmdb/internal/base"
)

// pair is one entry of a child or of the model.
type pair struct {
	key   base.InternalKey
	value []byte
}

var errChild = errors.New("child failed")

// sliceIterator is a child over a sorted slice. It fails when budget moves have
// been made, keeps to the rule that a spent iterator only seeks, and hands out a
// key buffer that its next move overwrites, as tables do.
type sliceIterator struct {
	pairs  []pair
	at     int // -1: not on an entry
	budget int // moves until it fails; negative: never
	err    error
	key    []byte
	closed int
}

func newSlice(pairs []pair) *sliceIterator { return &sliceIterator{pairs: pairs, at: -1, budget: -1} }

func (s *sliceIterator) stand(at int) bool {
	for i := range s.key {
		s.key[i] = 0xee
	}
	s.err = nil
	if s.budget == 0 {
		s.at, s.err = -1, errChild
		return false
	}
	s.budget--
	if at < 0 || at >= len(s.pairs) {
		s.at = -1
		return false
	}
	s.at = at
	s.key = append(s.key[:0], s.pairs[at].key...)
	return true
}

func (s *sliceIterator) find(key base.InternalKey) int {
	at, _ := slices.BinarySearchFunc(s.pairs, key, func(p pair, k base.InternalKey) int { return base.Compare(p.key, k) })
	return at
}

func (s *sliceIterator) First() bool                      { return s.stand(0) }
func (s *sliceIterator) Last() bool                       { return s.stand(len(s.pairs) - 1) }
func (s *sliceIterator) SeekGE(key base.InternalKey) bool { return s.stand(s.find(key)) }
func (s *sliceIterator) SeekLT(key base.InternalKey) bool { return s.stand(s.find(key) - 1) }
func (s *sliceIterator) Next() bool                       { return s.at >= 0 && s.stand(s.at+1) }
func (s *sliceIterator) Prev() bool                       { return s.at >= 0 && s.stand(s.at-1) }
func (s *sliceIterator) Valid() bool                      { return s.at >= 0 }
func (s *sliceIterator) Key() base.InternalKey            { return s.key }
func (s *sliceIterator) Value() []byte                    { return s.pairs[s.at].value }
func (s *sliceIterator) Err() error                       { return s.err }
func (s *sliceIterator) Close() error {
	s.closed++
	return s.err
}

// model is what a merge must equal: one sorted slice and a position.
type model struct {
	pairs []pair
	at    int
}

func (m *model) stand(at int) bool {
	m.at = -1
	if at >= 0 && at < len(m.pairs) {
		m.at = at
	}
	return m.at >= 0
}

func (m *model) find(key base.InternalKey) int {
	for i, p := range m.pairs {
		if base.Compare(p.key, key) >= 0 {
			return i
		}
	}
	return len(m.pairs)
}

// randomKey draws from few user keys of many lengths that share prefixes, zero
// bytes among them, so that ranks tie and pad.
func randomKey(rng *rand.Rand) base.InternalKey {
	user := bytes.Repeat([]byte{'a'}, rng.IntN(11))
	for i := range user {
		if rng.IntN(8) == 0 {
			user[i] = "\x00b\xff"[rng.IntN(3)]
		}
	}
	kind := base.KindSet
	if rng.IntN(4) == 0 {
		kind = base.KindDelete
	}
	return base.MakeInternalKey(user, base.Seq(1+rng.IntN(6)), kind)
}

// randomChildren deals entries to n children; some keys go to several. The model
// holds them by key, then by child.
func randomChildren(rng *rand.Rand, n int) ([]*sliceIterator, *model) {
	children, all := make([]*sliceIterator, n), &model{at: -1}
	for i := range children {
		seen := map[string]bool{}
		var own []pair
		for range rng.IntN(1 + 40/(1+rng.IntN(5))) {
			key := randomKey(rng)
			if len(all.pairs) > 0 && rng.IntN(6) == 0 {
				key = all.pairs[rng.IntN(len(all.pairs))].key
			}
			if !seen[string(key)] {
				seen[string(key)] = true
				own = append(own, pair{key, fmt.Appendf(nil, "%d:%s", i, key)})
			}
		}
		slices.SortFunc(own, func(a, b pair) int { return base.Compare(a.key, b.key) })
		children[i] = newSlice(own)
		all.pairs = append(all.pairs, own...)
	}
	slices.SortStableFunc(all.pairs, func(a, b pair) int { return base.Compare(a.key, b.key) })
	return children, all
}

func runs(children []*sliceIterator) []Run {
	var out []Run
	for _, c := range children {
		out = append(out, Run{Iterator: c})
	}
	return out
}

// step makes one random move of both and describes it.
func step(rng *rand.Rand, it *Iterator, m *model) (name string, got, want bool) {
	key := randomKey(rng)
	if len(m.pairs) > 0 && rng.IntN(2) == 0 {
		key = m.pairs[rng.IntN(len(m.pairs))].key
	}
	if rng.IntN(3) == 0 {
		key = base.AppendSearchKey(nil, key.UserKey(), base.Seq(rng.IntN(8)))
	}
	switch draw := rng.IntN(40); {
	case draw == 0:
		return "first", it.First(), m.stand(0)
	case draw == 1:
		return "last", it.Last(), m.stand(len(m.pairs) - 1)
	case draw < 5:
		return "seek-ge " + key.String(), it.SeekGE(key), m.stand(m.find(key))
	case draw < 8:
		return "seek-lt " + key.String(), it.SeekLT(key), m.stand(m.find(key) - 1)
	case draw < 24:
		return "next", it.Next(), m.at >= 0 && m.stand(m.at+1)
	default:
		return "prev", it.Prev(), m.at >= 0 && m.stand(m.at-1)
	}
}

// agree fails the test unless the merge stands where the model does.
func agree(t *testing.T, it *Iterator, m *model, trail []string) {
	t.Helper()
	if it.Err() != nil || it.Valid() != (m.at >= 0) {
		t.Fatalf("%s: valid %v, err %v; model valid %v", strings.Join(trail, ", "), it.Valid(), it.Err(), m.at >= 0)
	}
	if m.at < 0 {
		return
	}
	if p := m.pairs[m.at]; !bytes.Equal(it.Key(), p.key) || !bytes.Equal(it.Value(), p.value) {
		t.Fatalf("%s: at %s = %s, want %s = %s", strings.Join(trail, ", "), it.Key(), it.Value(), p.key, p.value)
	}
}

func TestAgainstModel(t *testing.T) {
	it := New()
	for n := range 10 {
		for seed := range uint64(60) {
			rng := rand.New(rand.NewPCG(seed, uint64(n)))
			children, m := randomChildren(rng, n)
			it.Reset(runs(children))
			trail := []string{fmt.Sprintf("%d children, seed %d: ", n, seed)}
			if it.Valid() || it.Next() || it.Prev() {
				t.Fatalf("%s: stands on an entry before the first move", trail)
			}
			for range 250 {
				name, got, want := step(rng, it, m)
				trail = append(trail, name)
				if got != want {
					t.Fatalf("%s: returned %v, want %v", strings.Join(trail, ", "), got, want)
				}
				agree(t, it, m, trail)
			}
		}
	}
}

func TestFullWalks(t *testing.T) {
	for n := range 10 {
		rng := rand.New(rand.NewPCG(7, uint64(n)))
		children, m := randomChildren(rng, n)
		it := New(runs(children)...)
		count := 0
		for ok := it.First(); ok; ok = it.Next() {
			m.stand(count)
			agree(t, it, m, []string{"forward"})
			count++
		}
		if count != len(m.pairs) {
			t.Fatalf("%d children: forward walk of %d entries, want %d", n, count, len(m.pairs))
		}
		for ok := it.Last(); ok; ok = it.Prev() {
			count--
			m.stand(count)
			agree(t, it, m, []string{"backward"})
		}
		if count != 0 {
			t.Fatalf("%d children: backward walk left out %d entries", n, count)
		}
	}
}

// TestChildErrors makes each child fail after each number of moves. The merge
// must never show an entry that the model does not, must report the error, must
// stay put afterwards, and must recover at the next seek.
func TestChildErrors(t *testing.T) {
	for n := 1; n <= 4; n++ {
		for seed := range uint64(40) {
			for failing := range n {
				runWithError(t, n, seed, failing)
			}
		}
	}
}

func runWithError(t *testing.T, n int, seed uint64, failing int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, uint64(100*n+failing)))
	children, m := randomChildren(rng, n)
	it := New(runs(children)...)
	budget := rng.IntN(12)
	children[failing].budget = budget
	trail := []string{fmt.Sprintf("%d children, seed %d, child %d fails after %d moves: ", n, seed, failing, budget)}
	for range 200 {
		name, got, want := step(rng, it, m)
		trail = append(trail, name)
		if it.Err() == nil {
			if got != want {
				t.Fatalf("%s: returned %v, want %v", strings.Join(trail, ", "), got, want)
			}
			agree(t, it, m, trail)
			continue
		}
		if !errors.Is(it.Err(), errChild) || got || it.Valid() || it.Next() || it.Prev() {
			t.Fatalf("%s: got %v, valid %v, err %v after a child failed", strings.Join(trail, ", "), got, it.Valid(), it.Err())
		}
		children[failing].budget = -1
		if got, want := it.First(), m.stand(0); got != want {
			t.Fatalf("%s: first after the error: %v, want %v", strings.Join(trail, ", "), got, want)
		}
		agree(t, it, m, append(trail, "first after the error"))
	}
	if err := it.Close(); err != nil {
		t.Fatalf("close after recovery: %v", err)
	}
}

func TestErrorReachesClose(t *testing.T) {
	children, _ := randomChildren(rand.New(rand.NewPCG(1, 1)), 3)
	children[1].budget = 0
	it := New(runs(children)...)
	if it.First() || !errors.Is(it.Err(), errChild) {
		t.Fatalf("first: err %v", it.Err())
	}
	err := it.Close()
	if !errors.Is(err, errChild) {
		t.Fatalf("close returned %v", err)
	}
	if again := it.Close(); again == nil || again.Error() != err.Error() {
		t.Fatalf("second close returned %v, first %v", again, err)
	}
	for i, c := range children {
		if c.closed != 1 {
			t.Errorf("child %d was closed %d times", i, c.closed)
		}
	}
	if it.Valid() || it.First() || it.Next() {
		t.Error("a closed merge moved")
	}
}

// TestGrowingChild turns round after a child, as a memtable does, gained entries
// on both sides of the current one and beyond the end.
func TestGrowingChild(t *testing.T) {
	at := func(s string) pair { return pair{base.MakeInternalKey([]byte(s), 1, base.KindSet), []byte(s)} }
	fixed := newSlice([]pair{at("b"), at("f")})
	growing := newSlice([]pair{at("d")})
	it := New(Run{Iterator: fixed}, Run{Iterator: growing})
	it.SeekGE(at("e").key)
	if string(it.Key().UserKey()) != "f" {
		t.Fatalf("stands on %s", it.Key())
	}
	growing.pairs = []pair{at("a"), at("d"), at("e"), at("g"), at("h")}
	var got []string
	for ok := it.Prev(); ok; ok = it.Prev() {
		got = append(got, string(it.Value()))
	}
	if want := "e d b a"; strings.Join(got, " ") != want {
		t.Fatalf("backward: %v, want %s", got, want)
	}
}

// TestOutOfOrderChildPanics shows that the order check of invariant builds works.
func TestOutOfOrderChildPanics(t *testing.T) {
	if !base.Invariants {
		t.Log("the check runs in builds with the race detector only")
		return
	}
	wrong := newSlice([]pair{{key: base.MakeInternalKey([]byte("b"), 1, base.KindSet)}, {key: base.MakeInternalKey([]byte("a"), 1, base.KindSet)}})
	it := New(Run{Iterator: wrong})
	it.First()
	defer func() {
		if r := recover(); r == nil || !strings.HasPrefix(fmt.Sprint(r), "invariant: ") {
			t.Fatalf("recovered %v", r)
		}
	}()
	it.Next()
}

func TestMovesDoNotAllocate(t *testing.T) {
	children := benchmarkChildren(8, 400, 1)
	it := New(runs(children)...)
	seek := base.AppendSearchKey(nil, children[0].pairs[30].key.UserKey(), base.MaxSeq)
	it.First()
	it.SeekGE(seek)
	moves := testing.AllocsPerRun(50, func() {
		it.SeekGE(seek)
		it.Next()
		it.Prev()
		it.SeekLT(seek)
		it.First()
		it.Next()
	})
	again := runs(children)
	resets := testing.AllocsPerRun(50, func() {
		it.Reset(again)
		it.First()
	})
	if moves != 0 || resets != 0 {
		t.Errorf("moves allocate %v times, Reset %v times", moves, resets)
	}
}

// benchmarkChildren deals 16-byte keys to n children in runs of the given length.
func benchmarkChildren(n, entries, run int) []*sliceIterator {
	children := make([]*sliceIterator, n)
	for i := range children {
		children[i] = newSlice(nil)
	}
	for i := range entries {
		user := binary.BigEndian.AppendUint64(make([]byte, 0, 16), uint64(i)*0x9e3779b9)
		user = binary.BigEndian.AppendUint64(user, uint64(i))
		c := children[i/run%n]
		c.pairs = append(c.pairs, pair{base.MakeInternalKey(user, base.Seq(i+1), base.KindSet), user})
	}
	return children
}

func BenchmarkNext(b *testing.B) {
	for _, n := range []int{1, 2, 8} {
		for _, run := range []int{1, 64} {
			b.Run(fmt.Sprintf("children=%d/run=%d", n, run), func(b *testing.B) {
				it := New(runs(benchmarkChildren(n, 4096, run))...)
				b.ReportAllocs()
				for b.Loop() {
					if !it.Next() && !it.First() {
						b.Fatal(it.Err())
					}
				}
			})
		}
	}
}

func BenchmarkSeekGE(b *testing.B) {
	children := benchmarkChildren(8, 4096, 1)
	it := New(runs(children)...)
	key := children[3].pairs[77].key
	b.ReportAllocs()
	for b.Loop() {
		it.SeekGE(key)
	}
}
