package manifest

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/sstable"
)

// newMeta returns a plausible table with the given bounds and history.
func newMeta(number uint64, lower, upper string, from, to base.Seq) *TableMeta {
	return &TableMeta{Number: number, Summary: sstable.Summary{
		SizeBytes: 1000 + int64(number), Identity: number * 0x9e3779b97f4a7c15,
		Smallest: base.MakeInternalKey([]byte(lower), to, base.KindSet), Largest: base.MakeInternalKey([]byte(upper), from, base.KindSet),
		SmallestSeq: from, LargestSeq: to, Entries: 10, Deletes: 2, Shadowed: 1,
	}}
}

// placed is a table of the model.
type placed struct {
	level int
	meta  *TableMeta
}

// model is a Version without any structure.
type model map[uint64]placed

// apply decides by looking at every pair of tables.
func (m model) apply(e *Edit) (model, bool) {
	next := maps.Clone(m)
	for _, r := range e.Removed {
		if p, ok := next[r.Number]; !ok || p.level != r.Level {
			return nil, false
		}
		delete(next, r.Number)
	}
	for _, a := range e.Added {
		if _, ok := next[a.Meta.Number]; ok {
			return nil, false
		}
		next[a.Meta.Number] = placed{a.Level, a.Meta}
	}
	for _, p := range next {
		for _, q := range next {
			if p.meta.Number < q.meta.Number && p.level == q.level && p.conflicts(q) {
				return nil, false
			}
		}
	}
	return next, true
}

func (p placed) conflicts(q placed) bool {
	apart := before(p.meta, q.meta.Smallest.UserKey()) || before(q.meta, p.meta.Smallest.UserKey())
	ordered := p.meta.LargestSeq < q.meta.SmallestSeq || q.meta.LargestSeq < p.meta.SmallestSeq
	return !apart && !(p.level == 0 && ordered)
}

// before reports whether the table lies before key.
func before(t *TableMeta, key []byte) bool {
	end := string(t.Largest.UserKey())
	return end < string(key) || end == string(key) && t.Largest.Seq() == base.MaxSeq
}

// overlapping lists, by number, what a level holds between two bounds.
func (m model) overlapping(level int, lower, upper []byte) (numbers []uint64) {
	for number, p := range m {
		if p.level == level && (lower == nil || !before(p.meta, lower)) &&
			(upper == nil || bytes.Compare(p.meta.Smallest.UserKey(), upper) <= 0) {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	return numbers
}

func numbersOf(tables []*TableMeta) (numbers []uint64) {
	for _, t := range tables {
		numbers = append(numbers, t.Number)
	}
	slices.Sort(numbers)
	return numbers
}

// modelKey spreads keys over equal prefixes, short keys and the empty key.
func modelKey(i int) string {
	switch {
	case i == 0:
		return ""
	case i < 20:
		return fmt.Sprintf("a%02d", i)
	case i < 40:
		return fmt.Sprintf("common-prefix-%02d", i)
	}
	return fmt.Sprintf("z%02d\x00", i)
}

// randomEdit mostly proposes what may be possible.
func randomEdit(rng *rand.Rand, m model, number *uint64, seq *base.Seq) *Edit {
	e := &Edit{}
	held := slices.Sorted(maps.Keys(m))
	for range rng.IntN(3) {
		if len(held) == 0 {
			break
		}
		p := m[held[rng.IntN(len(held))]]
		level := p.level
		if rng.IntN(30) == 0 {
			level = rng.IntN(NumLevels)
		}
		e.Removed = append(e.Removed, RemovedTable{level, p.meta.Number})
		if rng.IntN(3) == 0 {
			e.Added = append(e.Added, AddedTable{rng.IntN(NumLevels), p.meta})
		}
	}
	for range rng.IntN(3) {
		*number++
		lower := rng.IntN(59)
		upper := min(59, lower+rng.IntN(5))
		from := *seq + 1 - base.Seq(rng.IntN(30)/29)
		*seq = max(*seq, from+base.Seq(rng.IntN(4)))
		meta := newMeta(*number, modelKey(lower), modelKey(upper), max(1, from), *seq)
		if lower < upper && rng.IntN(2) == 0 {
			excluding(meta)
		}
		if rng.IntN(30) == 0 && len(held) > 0 {
			meta.Number = held[0]
		}
		e.Added = append(e.Added, AddedTable{rng.IntN(NumLevels), meta})
	}
	return e
}

// changesMoved reports whether the edit moves a table under another description,
// which the model does not look at.
func changesMoved(m model, e *Edit) bool {
	return slices.ContainsFunc(e.Added, func(a AddedTable) bool {
		p, held := m[a.Meta.Number]
		return held && p.meta != a.Meta
	})
}

func TestApplyAgainstModel(t *testing.T) {
	accepted, refused := 0, 0
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 1))
		m, v, number, seq := model{}, &Version{}, uint64(0), base.Seq(0)
		for range 200 {
			e := randomEdit(rng, m, &number, &seq)
			before := v.Levels
			wanted, possible := m.apply(e)
			possible = possible && !changesMoved(m, e)
			next, err := v.Apply(e)
			if (err == nil) != possible {
				t.Fatalf("seed %d: apply %s: err %v, the model says possible: %v", seed, e, err, possible)
			}
			for level := range before {
				if !slices.Equal(before[level], v.Levels[level]) {
					t.Fatalf("seed %d: apply changed level %d of its receiver", seed, level)
				}
			}
			if err != nil {
				refused++
				continue
			}
			accepted++
			m, v = wanted, next
			compareVersion(t, rng, v, m)
		}
	}
	if accepted < 400 || refused < 400 {
		t.Errorf("%d edits were accepted and %d refused: the test is lopsided", accepted, refused)
	}
}

// compareVersion checks the content and the order of each level, and the searches.
func compareVersion(t *testing.T, rng *rand.Rand, v *Version, m model) {
	t.Helper()
	for level, tables := range v.Levels {
		if got, want := numbersOf(tables), m.overlapping(level, nil, nil); !slices.Equal(got, want) {
			t.Fatalf("level %d holds %v, want %v", level, got, want)
		}
		if !slices.IsSortedFunc(tables, levelOrder(level)) {
			t.Fatalf("level %d is not in order: %v", level, numbersOf(tables))
		}
		for range 4 {
			lower, upper := []byte(modelKey(rng.IntN(60))), []byte(modelKey(rng.IntN(60)))
			if rng.IntN(4) == 0 {
				lower = nil
			}
			if rng.IntN(4) == 0 {
				upper = nil
			}
			if lower != nil && upper != nil && bytes.Compare(lower, upper) > 0 {
				lower, upper = upper, lower
			}
			want := m.overlapping(level, lower, upper)
			if got := numbersOf(v.Overlapping(level, lower, upper)); !slices.Equal(got, want) {
				t.Fatalf("level %d from %q to %q: %v, want %v", level, lower, upper, got, want)
			}
		}
		compareFind(t, rng, v, m, level)
	}
	for _, p := range m {
		if other := MetaOf(p.meta.Number, sstable.Properties{Summary: p.meta.Summary}); !v.Lists(p.meta) || v.Lists(other) {
			t.Fatalf("%s: listed: %v, and its copy: %v", p.meta, v.Lists(p.meta), v.Lists(other))
		}
	}
}

func compareFind(t *testing.T, rng *rand.Rand, v *Version, m model, level int) {
	t.Helper()
	if level == 0 {
		return
	}
	for range 8 {
		key := []byte(modelKey(rng.IntN(60)))
		want := m.overlapping(level, key, key)
		found := v.Find(level, key)
		if found == nil && len(want) == 0 {
			continue
		}
		if found == nil || len(want) != 1 || found.Number != want[0] {
			t.Fatalf("find %q in level %d: %v, want %v", key, level, found, want)
		}
	}
}

func TestOverlappingInverted(t *testing.T) {
	v := mustApply(t, &Version{}, &Edit{Added: []AddedTable{
		{1, newMeta(1, "a", "c", 1, 2)}, {1, newMeta(2, "e", "g", 1, 2)}, {1, newMeta(3, "i", "k", 1, 2)},
	}})
	if found := v.Overlapping(1, []byte("j"), []byte("b")); len(found) != 0 {
		t.Errorf("inverted bounds gave %v", numbersOf(found))
	}
	if found := append(v.Overlapping(1, nil, []byte("b")), newMeta(9, "x", "y", 1, 1)); len(found) != 2 || v.Levels[1][1].Number != 2 {
		t.Error("appending to a result changed the version")
	}
}

func mustApply(t testing.TB, v *Version, e *Edit) *Version {
	t.Helper()
	next, err := v.Apply(e)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// TestApplyRefuses has one case for each invariant. The base version holds table
// 1 (b to d, sequence 1 to 10) in level 2 and tables 2 (11 to 20) and 3 (21 to 30),
// both from a to m, in level 0.
func TestApplyRefuses(t *testing.T) {
	start := mustApply(t, &Version{}, &Edit{Added: []AddedTable{
		{2, newMeta(1, "b", "d", 1, 10)}, {0, newMeta(2, "a", "m", 11, 20)}, {0, newMeta(3, "a", "m", 21, 30)},
	}})
	add := func(level int, change func(t *TableMeta)) *Edit {
		meta := newMeta(9, "p", "q", 40, 50)
		change(meta)
		return &Edit{Added: []AddedTable{{level, meta}}}
	}
	cases := []struct {
		want string
		edit *Edit
	}{
		{"where it is not", &Edit{Removed: []RemovedTable{{2, 7}}}},
		{"where it is not", &Edit{Removed: []RemovedTable{{1, 1}}}},
		{"twice", &Edit{Removed: []RemovedTable{{2, 1}, {1, 1}}}},
		{"twice", &Edit{Removed: []RemovedTable{{2, 1}, {2, 1}}}},
		{"out of range", &Edit{Removed: []RemovedTable{{NumLevels, 1}}}},
		{"out of range", &Edit{Removed: []RemovedTable{{-1, 1}}}},
		{"out of range", add(NumLevels, func(*TableMeta) {})},
		{"out of range", add(-1, func(*TableMeta) {})},
		{"twice", &Edit{Added: []AddedTable{{3, newMeta(9, "a", "b", 1, 2)}, {4, newMeta(9, "a", "b", 1, 2)}}}},
		{"level 2 holds already", add(3, func(t *TableMeta) { t.Number = 1 })},
		{"moves table 1 and changes it", &Edit{Removed: []RemovedTable{{2, 1}}, Added: []AddedTable{{3, newMeta(1, "b", "e", 1, 10)}}}},
		{"overlap in level 2", &Edit{Added: []AddedTable{{2, newMeta(9, "d", "f", 40, 50)}}}},
		{"overlap in level 2", &Edit{Added: []AddedTable{{2, newMeta(9, "a", "b", 40, 50)}}}},
		{"overlap in level 2", &Edit{Added: []AddedTable{{2, newMeta(9, "a", "z", 40, 50)}}}},
		{"overlap in level 5", &Edit{Added: []AddedTable{{5, newMeta(8, "a", "c", 40, 50)}, {5, newMeta(9, "c", "d", 40, 50)}}}},
		{"share keys and sequence numbers", &Edit{Added: []AddedTable{{0, newMeta(9, "m", "n", 20, 25)}}}},
		{"share keys and sequence numbers", &Edit{Added: []AddedTable{{0, newMeta(9, "m", "n", 15, 50)}}}},
		{"share keys and sequence numbers", &Edit{Added: []AddedTable{{0, newMeta(9, "m", "n", 20, 20)}}}},
		{"file number 0", add(3, func(t *TableMeta) { t.Number = 0 })},
		{"file number", add(3, func(t *TableMeta) { t.Number = MaxFileNumber })},
		{"size of 0 bytes", add(3, func(t *TableMeta) { t.SizeBytes = 0 })},
		{"size of -5 bytes", add(3, func(t *TableMeta) { t.SizeBytes = -5 })},
		{"is after the largest", add(3, func(t *TableMeta) { t.Smallest, t.Largest = t.Largest, t.Smallest })},
		{"shorter than its trailer", add(3, func(t *TableMeta) { t.Smallest = t.Smallest[:3] })},
		{"shorter than its trailer", add(3, func(t *TableMeta) { t.Largest = nil })},
		{"unknown operation kind", add(3, func(t *TableMeta) { t.Largest = base.MakeInternalKey([]byte("q"), 40, base.KindSetExpiring+1) })},
		{"exceeds the limit", add(3, func(t *TableMeta) {
			t.Largest = base.MakeInternalKey(bytes.Repeat([]byte("q"), base.MaxKeyBytes+1), 40, base.KindSet)
		})},
		{"exceeds the limit", add(3, func(t *TableMeta) {
			t.RangeDeletes, t.Largest = 1, base.MakeInternalKey(bytes.Repeat([]byte("q"), base.MaxKeyBytes+2), base.MaxSeq, base.KindRangeDelete)
		})},
		{"outside the sequence numbers", add(3, func(t *TableMeta) { t.SmallestSeq = 41 })},
		{"outside the sequence numbers", add(3, func(t *TableMeta) { t.LargestSeq = 49 })},
		{"sequence numbers from 0", add(3, func(t *TableMeta) { t.SmallestSeq = 0 })},
		{"sequence numbers from 40 to", add(3, func(t *TableMeta) { t.LargestSeq = base.MaxSeq + 1 })},
		{"0 entries", add(3, func(t *TableMeta) { t.Entries = 0 })},
		{"11 deletes", add(3, func(t *TableMeta) { t.Deletes = 11 })},
		{"10 shadowed", add(3, func(t *TableMeta) { t.Shadowed = 10 })},
	}
	for _, c := range cases {
		if _, err := start.Apply(c.edit); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("apply %s\ngave %v, want an error with %q", c.edit, err, c.want)
		}
	}
}

// TestApplyAccepts has the edges next to what is refused.
func TestApplyAccepts(t *testing.T) {
	table := newMeta(1, "b", "d", 1, 10)
	start := mustApply(t, &Version{}, &Edit{Added: []AddedTable{{2, table}, {0, newMeta(2, "a", "m", 11, 20)}}})
	for name, e := range map[string]*Edit{
		"nothing":                          {},
		"move":                             {Removed: []RemovedTable{{2, 1}}, Added: []AddedTable{{3, table}}},
		"neighbours":                       {Added: []AddedTable{{2, newMeta(8, "a", "a\xff", 1, 2)}, {2, newMeta(9, "d\x00", "e", 1, 2)}}},
		"replace":                          {Removed: []RemovedTable{{2, 1}}, Added: []AddedTable{{2, newMeta(9, "b", "d", 1, 10)}}},
		"older run in level 0":             {Added: []AddedTable{{0, newMeta(9, "a", "m", 1, 10)}}},
		"same history, keys apart":         {Added: []AddedTable{{0, newMeta(9, "n", "z", 11, 20)}}},
		"one key, one entry, empty key":    {Added: []AddedTable{{1, &TableMeta{Number: 9, Summary: sstable.Summary{SizeBytes: 1, Smallest: base.MakeInternalKey(nil, 1, base.KindSet), Largest: base.MakeInternalKey(nil, 1, base.KindSet), SmallestSeq: 1, LargestSeq: 1, Entries: 1}}}}},
		"largest key and sequence numbers": {Added: []AddedTable{{1, newMeta(MaxFileNumber-1, "a", strings.Repeat("x", base.MaxKeyBytes), 1, base.MaxSeq)}}},
		"successor of the largest key":     {Added: []AddedTable{{1, excluding(newMeta(9, "a", strings.Repeat("x", base.MaxKeyBytes)+"\x00", 1, 2))}}},
		"ends where the next one starts":   {Added: []AddedTable{{2, excluding(newMeta(8, "a", "b", 1, 2))}, {0, excluding(newMeta(9, "A", "a", 11, 20))}}},
		"starts where an end is excluded":  {Added: []AddedTable{{1, excluding(newMeta(8, "a", "b", 1, 2))}, {1, newMeta(9, "b", "c", 1, 2)}}},
	} {
		if _, err := start.Apply(e); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	moved := mustApply(t, start, &Edit{Removed: []RemovedTable{{2, 1}}, Added: []AddedTable{{3, table}}})
	if moved.Find(3, []byte("c")) != table || moved.Find(2, []byte("c")) != nil {
		t.Error("a moved table is not where it belongs, or lost its description")
	}
}

func TestLevelZeroOrder(t *testing.T) {
	v := mustApply(t, &Version{}, &Edit{Added: []AddedTable{
		{0, newMeta(5, "a", "b", 10, 20)}, {0, newMeta(4, "a", "b", 30, 40)}, {0, newMeta(6, "c", "d", 15, 20)}, {0, newMeta(7, "e", "f", 15, 20)},
	}})
	v = mustApply(t, v, &Edit{Added: []AddedTable{{0, newMeta(3, "a", "z", 21, 29)}}})
	var got []uint64
	for _, table := range v.Levels[0] {
		got = append(got, table.Number)
	}
	if want := []uint64{4, 3, 7, 6, 5}; !slices.Equal(got, want) {
		t.Errorf("level 0 holds %v, want %v, newest first", got, want)
	}
}

func benchmarkVersion(b *testing.B, tables int) *Version {
	e := &Edit{}
	for i := range tables {
		e.Added = append(e.Added, AddedTable{3, newMeta(uint64(i+1), fmt.Sprintf("%08d-a", i), fmt.Sprintf("%08d-y", i), 1, 2)})
	}
	return mustApply(b, &Version{}, e)
}

func BenchmarkFind(b *testing.B) {
	v := benchmarkVersion(b, 1000)
	keys := make([][]byte, 256)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "%08d-m", i*997%1000)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if v.Find(3, keys[i%len(keys)]) == nil {
			b.Fatal("not found")
		}
	}
}

func BenchmarkApply(b *testing.B) {
	v := benchmarkVersion(b, 1000)
	moved := v.Levels[3][500]
	e := &Edit{Removed: []RemovedTable{{3, moved.Number}}, Added: []AddedTable{{4, moved}}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Apply(e); err != nil {
			b.Fatal(err)
		}
	}
}

func TestFindDoesNotAllocate(t *testing.T) {
	v := mustApply(t, &Version{}, &Edit{Added: []AddedTable{{1, newMeta(1, "b", "d", 1, 10)}}})
	key := []byte("c")
	if n := testing.AllocsPerRun(100, func() { v.Find(1, key) }); n != 0 {
		t.Errorf("Find allocates %v times", n)
	}
}

func TestDetoursPayForTheMerge(t *testing.T) {
	a, b, c := newMeta(1, "a", "m", 1, 10), newMeta(2, "b", "n", 11, 20), newMeta(3, "a", "z", 21, 30)
	a.SizeBytes, b.SizeBytes, c.SizeBytes = 1000, 200, 40
	v := mustApply(t, &Version{}, &Edit{Added: []AddedTable{{5, a}, {0, b}}}) // to merge: 1200
	if v.Detour(1199) || v.DetoursPay() {
		t.Error("paid too early")
	}
	deeper := newMeta(4, "x", "y", 1, 1)
	v = mustApply(t, v, &Edit{Added: []AddedTable{{6, deeper}}})
	if !v.Detour(1) || !v.DetoursPay() {
		t.Error("what was paid is forgotten although level 0 did not change")
	}
	if v.Detour(5000) {
		t.Error("reported twice")
	}
	v = mustApply(t, v, &Edit{Added: []AddedTable{{0, c}}})
	if v.DetoursPay() || v.Detour(1239) || !v.Detour(1) {
		t.Error("another level 0 has another price")
	}
	if (&Version{}).DetoursPay() {
		t.Error("an empty tree needs no merge")
	}
}

func TestSharesKeys(t *testing.T) {
	first, excluded, second := newMeta(1, "a", "m", 1, 2), excluding(newMeta(2, "a", "m", 1, 2)), newMeta(3, "m", "z", 1, 2)
	for _, c := range []struct {
		a, b *TableMeta
		want bool
	}{{first, second, true}, {excluded, second, false}, {first, excluded, true}, {excluded, excluding(newMeta(4, "l", "z", 1, 2)), true}} {
		if c.a.SharesKeys(c.b) != c.want || c.b.SharesKeys(c.a) != c.want {
			t.Errorf("%s and %s: %v and %v, want %v", c.a, c.b, c.a.SharesKeys(c.b), c.b.SharesKeys(c.a), c.want)
		}
	}
}
