package memtable

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"lsmdb/internal/base"
)

// model is what a memtable should hold: entries in internal order.
type model struct {
	entries []modelEntry
	payload int64
}

type modelEntry struct {
	key   base.InternalKey
	value []byte
}

// find returns the index of the first entry at or after key.
func (m *model) find(key base.InternalKey) int {
	at, _ := slices.BinarySearchFunc(m.entries, key, func(e modelEntry, k base.InternalKey) int {
		return base.Compare(e.key, k)
	})
	return at
}

func (m *model) insert(user, value []byte, seq base.Seq, kind base.Kind) {
	key := base.MakeInternalKey(user, seq, kind)
	m.entries = slices.Insert(m.entries, m.find(key), modelEntry{key, bytes.Clone(value)})
	m.payload += int64(len(user) + len(value))
}

func (m *model) get(user []byte, seq base.Seq) (modelEntry, bool) {
	at := m.find(base.AppendSearchKey(nil, user, seq))
	if at == len(m.entries) || !bytes.Equal(m.entries[at].key.UserKey(), user) {
		return modelEntry{}, false
	}
	return m.entries[at], true
}

// keyShapes draw user keys that are hard in different ways: many versions of a
// few keys; keys that differ only behind a long common prefix; keys that padding
// with zeros makes equal; keys around the eight inlined bytes.
var keyShapes = map[string]func(r *rand.Rand) []byte{
	"few":      func(r *rand.Rand) []byte { return fmt.Appendf(nil, "%d", r.IntN(20)) },
	"random":   func(r *rand.Rand) []byte { return fmt.Appendf(nil, "%016x", r.Uint64()) },
	"prefixed": func(r *rand.Rand) []byte { return fmt.Appendf(nil, "a long common prefix/%04d", r.IntN(2000)) },
	"zeros": func(r *rand.Rand) []byte {
		return append([]byte("ab")[:r.IntN(3)], make([]byte, r.IntN(12))...)
	},
	"tiny alphabet": func(r *rand.Rand) []byte {
		key := make([]byte, r.IntN(12))
		for i := range key {
			key[i] = "\x00\x01\xff"[r.IntN(3)]
		}
		return key
	},
}

// forEachShape runs a test on a table and a model that hold the same random
// entries, of every key shape.
func forEachShape(t *testing.T, count int, test func(t *testing.T, r *rand.Rand, m *Memtable, want *model, draw func() []byte)) {
	for name, shape := range keyShapes {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(len(name)), 7))
			m, want := New(1<<20), &model{}
			for i := range count {
				key, value, kind := shape(r), make([]byte, r.IntN(40)), base.KindSet
				for j := range value {
					value[j] = byte(i + j)
				}
				if r.IntN(4) == 0 {
					value, kind = nil, base.KindDelete
				}
				m.Insert(key, value, base.Seq(i+1), kind)
				want.insert(key, value, base.Seq(i+1), kind)
				clear(key) // Insert copied it
				clear(value)
			}
			test(t, r, m, want, func() []byte { return shape(r) })
		})
	}
}

func TestGetAgainstModel(t *testing.T) {
	const count = 3000
	forEachShape(t, count, func(t *testing.T, r *rand.Rand, m *Memtable, want *model, draw func() []byte) {
		for range 2 * count {
			key, seq := draw(), base.Seq(r.IntN(count+10))
			if r.IntN(3) > 0 {
				key = want.entries[r.IntN(count)].key.UserKey()
			}
			value, trailer, ok := m.Get(key, base.Hash(key), seq)
			entry, exists := want.get(key, seq)
			if ok != exists || ok && (trailer != entry.key.Trailer() || !bytes.Equal(value, entry.value)) {
				t.Fatalf("Get(%q, %d) = %x, %x, %v; want %v, %v", key, seq, value, trailer, ok, entry, exists)
			}
			if cap(value) != len(value) {
				t.Fatal("appending to a value would overwrite the arena")
			}
		}
	})
}

func TestCounts(t *testing.T) {
	m := New(1000)
	if !m.Empty() || m.Len() != 0 || m.UsedBytes() != 0 || m.CapacityBytes() != 1000 {
		t.Fatal("a new table is not empty")
	}
	m.Insert([]byte("k"), nil, 1, base.KindSet)
	m.Insert([]byte("k"), nil, 2, base.KindDelete)
	if m.Empty() || m.Len() != 2 || m.UsedBytes() <= 0 || m.UsedBytes() > FootprintBytes(2, 2) {
		t.Fatalf("Len %d, UsedBytes %d after two entries", m.Len(), m.UsedBytes())
	}
}

func TestEmptyTable(t *testing.T) {
	m := New(0)
	if _, _, ok := m.Get(nil, base.Hash(nil), base.MaxSeq); ok || m.Fits(FootprintBytes(1, 0)) || !m.Fits(0) {
		t.Fatal("an empty table without memory holds or takes an entry")
	}
	it := m.NewIterator()
	search := base.AppendSearchKey(nil, nil, base.MaxSeq)
	if it.First() || it.Last() || it.SeekGE(search) || it.SeekLT(search) || it.Next() || it.Prev() || it.Valid() {
		t.Fatal("the iterator of an empty table stands on an entry")
	}
}

func TestEmptyKeyAndEmptyValue(t *testing.T) {
	m := New(1000)
	m.Insert(nil, nil, 5, base.KindSet)
	value, trailer, ok := m.Get([]byte{}, base.Hash(nil), 5)
	if !ok || value == nil || len(value) != 0 || trailer != base.MakeTrailer(5, base.KindSet) {
		t.Fatalf("Get of the empty key = %v, %x, %v", value, trailer, ok)
	}
	if _, _, ok := m.Get([]byte{0}, base.Hash([]byte{0}), 5); ok {
		t.Fatal("a key of one zero byte equals the empty key")
	}
	if _, _, ok := m.Get(nil, base.Hash(nil), 4); ok {
		t.Fatal("a version is visible before its sequence number")
	}
}

func TestLargestKeyAndValue(t *testing.T) {
	keyBytes, valueBytes := base.MaxKeyBytes, base.MaxValueBytes
	if base.Invariants || testing.Short() {
		valueBytes = 9 << 20 // the race detector shadows memory several times over
	}
	key := bytes.Repeat([]byte{0xff}, keyBytes)
	value := make([]byte, valueBytes)
	value[0], value[valueBytes-1] = 1, 2
	footprint := FootprintBytes(3, int64(2*keyBytes+valueBytes))
	m := New(footprint)
	if !m.Fits(footprint) {
		t.Fatal("a table made for its entries does not fit them")
	}
	m.Insert(key, value, 1, base.KindSet)
	m.Insert(key[1:], nil, 2, base.KindSet)
	m.Insert(nil, nil, 3, base.KindDelete)
	got, _, ok := m.Get(key, base.Hash(key), 9)
	if !ok || len(got) != valueBytes || got[0] != 1 || got[valueBytes-1] != 2 {
		t.Fatalf("largest value came back as %d bytes, %v", len(got), ok)
	}
	it := m.NewIterator()
	if !it.Last() || !bytes.Equal(it.Key().UserKey(), key) || !it.Prev() || len(it.Key().UserKey()) != keyBytes-1 {
		t.Fatal("the largest keys are out of order")
	}
}

func TestMisusePanics(t *testing.T) {
	cases := map[string]func(){
		"negative arena": func() { New(-1) },
		"huge arena":     func() { New(MaxArenaBytes() + 1) },
		"huge key":       func() { New(1<<20).Insert(make([]byte, base.MaxKeyBytes+1), nil, 1, base.KindSet) },
		"huge sequence":  func() { New(100).Insert(nil, nil, base.MaxSeq+1, base.KindSet) },
		"full arena":     func() { New(20).Insert([]byte("key"), []byte("value"), 1, base.KindSet) },
	}
	if base.Invariants {
		cases["same entry twice"] = func() {
			m := New(1000)
			m.Insert(nil, nil, 1, base.KindSet)
			m.Insert(nil, nil, 1, base.KindSet)
		}
	}
	for name, misuse := range cases {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if text, _ := recover().(string); !strings.HasPrefix(text, "invariant: ") {
					t.Fatalf("recovered %q, want an invariant", text)
				}
			}()
			misuse()
		})
	}
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	m := New(1 << 20)
	key, value, seq := []byte("some key or other"), []byte("value"), base.Seq(0)
	it := m.NewIterator()
	search := base.AppendSearchKey(nil, key, base.MaxSeq)
	allocations := testing.AllocsPerRun(100, func() {
		seq++
		m.Insert(key, value, seq, base.KindSet)
		m.Get(key, base.Hash(key), seq)
		it.SeekGE(search)
		it.Key()
		it.Value()
		it.Next()
		it.Last()
		it.Prev()
		it.Prev()
	})
	if allocations != 0 {
		t.Fatalf("%v allocations per round", allocations)
	}
}

// TestRangesAreCharged: range deletes take room, and whoever asks sees them.
func TestRangesAreCharged(t *testing.T) {
	m := New(4 << 10)
	start, end := []byte("b"), []byte("d")
	m.Apply(base.Op{Kind: base.KindRangeDelete, Key: start, Value: end}, 7)
	start[0], end[0] = 'x', 'x'
	if m.Empty() || m.Len() != 1 || m.UsedBytes() < FootprintBytes(1, 2) || m.NewIterator().First() {
		t.Errorf("%d operations, %d bytes", m.Len(), m.UsedBytes())
	}
	m.Apply(base.Op{Kind: base.KindRangeDelete, Key: []byte("k")}, 8)
	var newest base.Seq
	for _, l := range m.RangeDeletes.Lists() {
		newest = max(newest, l.Newest([]byte("c"), base.MaxSeq))
		if l.Newest([]byte("z"), base.MaxSeq) == 8 {
			newest += 100
		}
	}
	if newest != 107 {
		t.Errorf("c and z are covered by %d", newest)
	}
	for i := base.Seq(9); m.Fits(FootprintBytes(1, 2)); i++ {
		m.Apply(base.Op{Kind: base.KindRangeDelete, Key: []byte("a"), Value: []byte("b")}, i)
		if i > 1000 {
			t.Fatal("range deletes cost nothing")
		}
	}
	if m.Fits(FootprintBytes(1, 100)) {
		t.Error("what is full has room for more")
	}
}

// TestNestedRangesAreCharged: of range deletes that lie in each other each takes the more
// the more there are, until the memtable is full: the last one may be a large step.
func TestNestedRangesAreCharged(t *testing.T) {
	m := New(1 << 20)
	for seq := base.Seq(1); m.Fits(FootprintBytes(1, 5)); seq++ {
		m.Apply(base.Op{Kind: base.KindRangeDelete, Value: fmt.Appendf(nil, "%05d", seq)}, seq)
	}
	numbers := int64(0)
	for _, l := range m.RangeDeletes.Lists() {
		numbers += int64(l.Count())
	}
	if m.Len() < 100 || numbers*numberBytes > m.CapacityBytes()*3/2 {
		t.Errorf("%d range deletes are %d numbers, in a memtable of %d bytes", m.Len(), numbers, m.CapacityBytes())
	}
}
