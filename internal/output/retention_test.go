package output

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
	"lsmdb/internal/ranges"
)

// version is one version of a key.
type version struct {
	key   base.InternalKey
	value string
}

func (v version) String() string {
	if v.key.Kind() == base.KindSetExpiring {
		return fmt.Sprintf("%s=%s until %d", v.key, v.value[base.ExpiryBytes:], base.Until([]byte(v.value)))
	}
	return fmt.Sprintf("%s=%s", v.key, v.value)
}

// versions are some of some keys in internal order, and range deletes.
type versions struct {
	entries []version
	deletes ranges.List
}

// chain is a merge operator that is neither commutative nor idempotent, and shows how
// often something was merged onto nothing.
var chain = &base.Merger{Name: "chain", Merge: func(dst, _, older, newer []byte) ([]byte, error) {
	if older == nil {
		older = []byte("^")
	}
	return append(append(dst, older...), newer...), nil
}}

var errOperator = errors.New("no such operand")

func expiring(until int64, value string) string {
	return string(binary.LittleEndian.AppendUint64(nil, uint64(until))) + value
}

var someKeys = []string{"", "k", "kk", "kkk", "l"} // prefixes of each other

// randomVersions scatters sequence numbers 1 to n over a few keys, so that stripes hold
// none, one and many versions of each.
func randomVersions(rng *rand.Rand, n int, kinds []base.Kind) (h versions) {
	for seq := base.Seq(1); seq <= base.Seq(n); seq++ {
		kind, key := kinds[rng.IntN(len(kinds))], someKeys[rng.IntN(len(someKeys))]
		value := fmt.Sprint(seq, ",")
		switch kind {
		case base.KindRangeDelete:
			end := []byte(someKeys[rng.IntN(len(someKeys))])
			h.deletes = ranges.Merge(h.deletes, ranges.Of([]byte(key), end, seq))
			continue
		case base.KindDelete:
			value = ""
		case base.KindSet:
			value = value[:rng.IntN(len(value)+1)]
		case base.KindSetExpiring:
			value = expiring(int64(rng.IntN(60)), value)
		}
		h.entries = append(h.entries, version{base.MakeInternalKey([]byte(key), seq, kind), value})
	}
	slices.SortFunc(h.entries, func(a, b version) int { return base.Compare(a.key, b.key) })
	return h
}

// see tells what a reader sees of each key. deeper are the versions below.
func (h versions) see(at base.Seq, now int64, deeper versions) map[string]string {
	seen := make(map[string]string)
	deletes := ranges.Merge(h.deletes, deeper.deletes)
	for _, key := range someKeys {
		var operands []string // newest first
		value, found := "", false
		for _, v := range slices.Concat(h.entries, deeper.entries) { // of one key, newest first
			if string(v.key.UserKey()) != key || v.key.Seq() > at {
				continue
			}
			kind := v.key.Kind()
			if kind == base.KindMerge && deletes.Newest([]byte(key), at) < v.key.Seq() {
				operands = append(operands, v.value)
				continue
			}
			if deletes.Newest([]byte(key), at) < v.key.Seq() {
				switch {
				case kind == base.KindSet:
					value, found = v.value, true
				case kind == base.KindSetExpiring && now < base.Until([]byte(v.value)):
					value, found = v.value[base.ExpiryBytes:], true
				}
			}
			break
		}
		if !found && len(operands) > 0 {
			value, found = "^", true
		}
		for _, o := range slices.Backward(operands) {
			value += o
		}
		if found {
			seen[key] = value
		}
	}
	return seen
}

// retain runs a Retention over the versions.
func (h versions) retain(t *testing.T, s Scope) (kept versions) {
	t.Helper()
	s.Ranges = h.deletes
	if elide, asked := s.Elide, []byte(nil); elide != nil {
		s.Elide = func(user []byte) bool {
			if bytes.Compare(user, asked) < 0 {
				t.Fatalf("elide asked about %q after %q", user, asked)
			}
			asked = append(asked[:0], user...)
			return elide(user)
		}
	}
	r := NewRetention(s)
	write := func(key base.InternalKey, value []byte) error {
		if n := len(kept.entries); n > 0 && base.Compare(kept.entries[n-1].key, key) >= 0 {
			t.Fatalf("%s is written after %s", key, kept.entries[n-1])
		}
		kept.entries = append(kept.entries, version{key.Clone(), string(value)})
		return nil
	}
	var key base.InternalKey
	var value []byte
	for _, v := range h.entries {
		key, value = append(key[:0], v.key...), append(value[:0], v.value...) // as an iterator does: one buffer for all
		if err := r.Take(key, value, write); err != nil {
			t.Fatal(err)
		}
		for _, buffer := range [][]byte{key, value} {
			for i := range buffer {
				buffer[i] = 0xee
			}
		}
	}
	if err := r.End(write); err != nil {
		t.Fatal(err)
	}
	kept.deletes = r.Keep()
	return kept
}

// TestRetentionAgainstModel: what is written again shows every reader the same as before,
// whatever lies deeper; and again when it is written again.
func TestRetentionAgainstModel(t *testing.T) {
	plain := []base.Kind{base.KindSet, base.KindSet, base.KindDelete}
	all := append(plain, base.KindRangeDelete, base.KindMerge, base.KindMerge, base.KindMerge, base.KindSetExpiring)
	for seed := range uint64(6000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		n := 1 + rng.IntN(30)
		kinds := all
		if rng.IntN(4) == 0 {
			kinds = plain
		}
		h := randomVersions(rng, n, kinds)
		deeper := versions{}
		if rng.IntN(2) == 0 {
			old := int(rng.IntN(n + 1)) // numbers up to this lie deeper
			above := versions{deletes: h.deletes.Reduce(func(s ranges.Span) []base.Seq { return newerThan(s.Seqs, old) })}
			deeper.deletes = h.deletes.Reduce(func(s ranges.Span) []base.Seq { return s.Seqs[len(newerThan(s.Seqs, old)):] })
			for _, v := range h.entries {
				if v.key.Seq() > base.Seq(old) {
					above.entries = append(above.entries, v)
				} else {
					deeper.entries = append(deeper.entries, v)
				}
			}
			h = above
		}
		checkRetention(t, seed, h, deeper, randomScope(t, rng, n, deeper))
	}
}

func newerThan(seqs []base.Seq, old int) []base.Seq {
	i := slices.IndexFunc(seqs, func(s base.Seq) bool { return s <= base.Seq(old) })
	if i < 0 {
		return seqs
	}
	return seqs[:i]
}

func randomScope(t *testing.T, rng *rand.Rand, n int, deeper versions) (s Scope) {
	for range rng.IntN(5) {
		s.Readers.Snapshots = append(s.Readers.Snapshots, base.Seq(rng.IntN(n+3)))
	}
	slices.Sort(s.Readers.Snapshots)
	s.Readers.Snapshots = slices.Compact(s.Readers.Snapshots)
	if rng.IntN(4) > 0 {
		for range len(s.Readers.Snapshots) + 1 {
			s.Readers.Nows = append(s.Readers.Nows, int64(rng.IntN(60)))
		}
		slices.Sort(s.Readers.Nows)
	}
	if rng.IntN(5) > 0 {
		s.Merger = chain
		s.Failed = func(err error) { t.Errorf("the operator failed: %v", err) }
	}
	if rng.IntN(4) > 0 {
		holds := func(key string) bool {
			return deeper.deletes.Newest([]byte(key), base.MaxSeq) > 0 ||
				slices.ContainsFunc(deeper.entries, func(v version) bool { return string(v.key.UserKey()) == key })
		}
		s.Elide = func(user []byte) bool { return !holds(string(user)) }
		s.ElideRange = func(start, end []byte) bool {
			return !slices.ContainsFunc(someKeys, func(key string) bool {
				return key >= string(start) && (end == nil || key < string(end)) && holds(key)
			})
		}
	}
	return s
}

func checkRetention(t *testing.T, seed uint64, h, deeper versions, s Scope) {
	t.Helper()
	kept := h.retain(t, s)
	again := kept.retain(t, s)
	for i, at := range append(slices.Clone(s.Readers.Snapshots), base.MaxSeq) {
		for _, later := range []int64{0, 1, 10, 100} {
			now := s.Readers.Now(at) + later
			if len(s.Readers.Nows) == 0 {
				now = 10 * later
			}
			if i < len(s.Readers.Snapshots) && later > 0 && len(s.Readers.Nows) > 0 {
				break // a snapshot's clock stands still
			}
			before := fmt.Sprint(h.see(at, now, deeper))
			for _, after := range []versions{kept, again} {
				if now := fmt.Sprint(after.see(at, now, deeper)); before != now {
					t.Fatalf("seed %d: %v %v over %v, %+v: reader %d at %d saw %v, now %v, of %v", seed, h.entries, h.deletes, deeper, s.Readers, i, at, before, now, after)
				}
			}
		}
	}
	checkLean(t, seed, kept, s)
}

// checkLean: no more is kept than the readers can need.
func checkLean(t *testing.T, seed uint64, kept versions, s Scope) {
	t.Helper()
	for i, v := range kept.entries {
		user, kind, stripe := v.key.UserKey(), v.key.Kind(), s.Readers.stripe(v.key.Seq())
		elidable := stripe == 0 && s.Elide != nil && s.ElideRange([]byte(user), append(bytes.Clone(user), 0))
		wrong := ""
		switch {
		case kept.deletes.Newest(user, s.Readers.End(v.key.Seq())) > v.key.Seq():
			wrong = "covered"
		case elidable && kind == base.KindDelete:
			wrong = "a delete at the bottom"
		case kind == base.KindSetExpiring && base.Until([]byte(v.value)) <= s.Readers.Now(v.key.Seq()):
			wrong = "ended"
		case elidable && kind == base.KindMerge && s.Merger != nil && (i+1 == len(kept.entries) || !bytes.Equal(kept.entries[i+1].key.UserKey(), user)):
			wrong = "an operand at the bottom"
		}
		if i > 0 && bytes.Equal(kept.entries[i-1].key.UserKey(), user) && s.Readers.stripe(kept.entries[i-1].key.Seq()) == stripe {
			above := kept.entries[i-1].key.Kind()
			if above != base.KindMerge || s.Merger != nil && kind != base.KindSetExpiring {
				wrong = "shadowed"
			}
		}
		if wrong != "" {
			t.Fatalf("seed %d: kept %v, %v: %s is %s", seed, kept, s.Readers, v, wrong)
		}
	}
	for _, span := range kept.deletes {
		for i, seq := range span.Seqs {
			stripe := s.Readers.stripe(seq)
			if i > 0 && stripe == s.Readers.stripe(span.Seqs[i-1]) || stripe == 0 && s.ElideRange != nil && s.ElideRange(span.Start, span.End) {
				t.Fatalf("seed %d: kept range delete %d of %v", seed, seq, span)
			}
		}
	}
}

// TestRetentionCases spells rules out. A version is its number and s, d, m or e, an expiring
// value that ends at 20; r is a range delete. The clock shows 10 to snapshots and 30 to
// whoever comes later.
func TestRetentionCases(t *testing.T) {
	always := func([]byte) bool { return true }
	cases := []struct {
		name      string
		versions  string // newest first
		snapshots []base.Seq
		elide     func([]byte) bool
		want      string
	}{
		{"no snapshot keeps the newest", "9s 5s 1s", nil, nil, "9s"},
		{"a snapshot keeps what it sees", "9s 5s 1s", []base.Seq{5}, nil, "9s 5s"},
		{"a snapshot between versions", "9s 5s 1s", []base.Seq{4}, nil, "9s 1s"},
		{"a snapshot before everything", "9s 5s", []base.Seq{0}, nil, "9s"},
		{"a snapshot after everything", "9s 5s", []base.Seq{9}, nil, "9s"},
		{"two snapshots in one gap", "9s 5s 1s", []base.Seq{6, 7}, nil, "9s 5s"},
		{"a delete hides what is deeper", "9d 5s", nil, nil, "9d"},
		{"a delete at the bottom goes, with what it deletes", "9d 5s", nil, always, ""},
		{"a delete stays for an older snapshot", "9d 5s", []base.Seq{5}, always, "9d 5s"},
		{"a delete goes below a snapshot that sees it", "9d 5s", []base.Seq{9}, always, ""},
		{"an older delete goes alone", "9s 5d 1s", []base.Seq{5}, always, "9s"},
		{"a set after a delete", "9s 5d", nil, always, "9s"},
		{"a range delete covers what is older", "9s 7r 5s", nil, nil, "9s 7r"},
		{"a range delete hides what is deeper", "7r 5s", nil, nil, "7r"},
		{"a range delete at the bottom goes, with what it deletes", "7r 5s", nil, always, ""},
		{"a range delete covers nothing of an older snapshot", "7r 5s", []base.Seq{6}, always, "5s 7r"},
		{"the newest range delete of a stripe", "9r 8r 7r 6r 5s", []base.Seq{7}, nil, "9r 7r"},
		{"operands onto a set", "9m 8m 5s 3s", nil, nil, "9s=5.8.9."},
		{"operands onto each other", "9m 8m", nil, nil, "9m=8.9."},
		{"operands onto nothing", "9m 8m", nil, always, "9s=^8.9."},
		{"one operand onto nothing", "9m", nil, always, "9s=^9."},
		{"operands onto a delete", "9m 8d 5s", nil, nil, "9s=^9."},
		{"operands onto a range delete", "9m 8r 5m 3s", nil, nil, "9s=^9. 8r"},
		{"operands onto a range delete that has nothing below", "9m 8r", nil, nil, "9s=^9. 8r"},
		{"Put, DeleteRange, Merge (rocksdb 5392)", "9m 8r 5s", nil, always, "9s=^9."},
		{"no operand crosses a snapshot (slatedb 1054)", "9m 8m 5m 3s", []base.Seq{5}, always, "9m=8.9. 5s=3.5."},
		{"a range delete of another stripe is nothing to lie on", "9m 5r 3s", []base.Seq{6}, nil, "9m 5r"},
		{"what has ended is a delete", "9e 5s", nil, nil, "9d"},
		{"what has ended goes at the bottom", "9e 5s", nil, always, ""},
		{"what has ended, but not for a snapshot", "9e 5s", []base.Seq{9}, always, "9e"},
		{"what has ended, above a snapshot", "9e 5e", []base.Seq{5}, always, "9d 5e"},
		{"operands outlive what has ended (slatedb 1060)", "9m 8e 5m 3s", nil, nil, "9s=^9."},
		{"no operand onto what will end", "9m 8m 5e 3s", []base.Seq{9}, always, "9m=8.9. 5e"},
	}
	for _, c := range cases {
		var h versions
		for field := range strings.FieldsSeq(c.versions) {
			h.add(t, field)
		}
		s := Scope{Readers: Readers{Snapshots: c.snapshots}, Elide: c.elide, Merger: chain}
		for range c.snapshots {
			s.Readers.Nows = append(s.Readers.Nows, 10)
		}
		s.Readers.Nows = append(s.Readers.Nows, 30)
		if c.elide != nil {
			s.ElideRange = func(_, _ []byte) bool { return true }
		}
		kept := h.retain(t, s)
		var got []string
		for _, v := range kept.entries {
			text := fmt.Sprintf("%d%s", v.key.Seq(), v.key.Kind().String()[:1])
			if v.key.Kind() == base.KindSetExpiring {
				text = fmt.Sprintf("%de", v.key.Seq())
			}
			if own := fmt.Sprintf("%d.", v.key.Seq()); v.value != own && v.value != expiring(20, own) && v.value != "" {
				text += "=" + v.value
			}
			got = append(got, text)
		}
		for _, span := range kept.deletes {
			for _, seq := range span.Seqs {
				got = append(got, fmt.Sprintf("%dr", seq))
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: kept %q, want %q", c.name, s, c.want)
		}
	}
}

func (h *versions) add(t *testing.T, field string) {
	var seq base.Seq
	var kind byte
	if _, err := fmt.Sscanf(field, "%d%c", &seq, &kind); err != nil {
		t.Fatal(err)
	}
	value := fmt.Sprintf("%d.", seq)
	switch kind {
	case 'r':
		h.deletes = ranges.Merge(h.deletes, ranges.Of([]byte("k"), []byte("l"), seq))
	case 'd':
		h.entries = append(h.entries, version{base.MakeInternalKey([]byte("key"), seq, base.KindDelete), ""})
	case 'e':
		h.entries = append(h.entries, version{base.MakeInternalKey([]byte("key"), seq, base.KindSetExpiring), expiring(20, value)})
	case 'm':
		h.entries = append(h.entries, version{base.MakeInternalKey([]byte("key"), seq, base.KindMerge), value})
	default:
		h.entries = append(h.entries, version{base.MakeInternalKey([]byte("key"), seq, base.KindSet), value})
	}
}

// TestFailingMerger: the operands of a key stay as they are, in whatever way it fails, and
// those of other keys are merged.
func TestFailingMerger(t *testing.T) {
	for name, fail := range map[string]func() ([]byte, error){
		"error":     func() ([]byte, error) { return nil, errOperator },
		"panic":     func() ([]byte, error) { panic("no such operand") },
		"too large": func() ([]byte, error) { return make([]byte, base.MaxValueBytes+1), nil },
	} {
		merger := &base.Merger{Name: "failing", Merge: func(dst, key, older, newer []byte) ([]byte, error) {
			if string(key) == "k" && strings.Contains(string(newer), "5") {
				return fail()
			}
			return chain.Merge(dst, key, older, newer)
		}}
		var h versions
		for _, key := range []string{"j", "k", "l"} {
			for seq := base.Seq(9); seq > 3; seq-- {
				h.entries = append(h.entries, version{base.MakeInternalKey([]byte(key), seq, base.KindMerge), fmt.Sprint(seq)})
			}
			h.entries = append(h.entries, version{base.MakeInternalKey([]byte(key), 3, base.KindSet), "3"})
		}
		var failures []error
		kept := h.retain(t, Scope{Merger: merger, Failed: func(err error) { failures = append(failures, err) }})
		if got := fmt.Sprint(kept.entries[0], kept.entries[len(kept.entries)-1]); got != `"j"#9,set=3456789 "l"#9,set=3456789` {
			t.Errorf("%s: %v", name, got)
		}
		if len(kept.entries) != 9 || fmt.Sprint(kept.entries[1:8]) != fmt.Sprint(h.entries[7:14]) || len(failures) != 1 || !strings.Contains(failures[0].Error(), `"k"`) {
			t.Errorf("%s: kept %v, %v", name, kept.entries, failures)
		}
	}
}

// TestManyOperands: they are merged before they take much memory, and without copying a
// long value for each.
func TestManyOperands(t *testing.T) {
	var copied int64
	counting := &base.Merger{Name: "counting", Merge: func(dst, key, older, newer []byte) ([]byte, error) {
		copied += int64(len(older) + len(newer))
		return chain.Merge(dst, key, older, newer)
	}}
	const count, operandBytes = 20_000, 300
	r := NewRetention(Scope{Merger: counting, Elide: func([]byte) bool { return true }})
	var got []byte
	write := func(key base.InternalKey, value []byte) error {
		got = bytes.Clone(value)
		return nil
	}
	most := 0
	want := []byte("^")
	for seq := range count {
		want = append(want, fmt.Appendf(nil, "%*d", operandBytes, seq)...)
	}
	for seq := count - 1; seq >= 0; seq-- {
		if err := r.Take(base.MakeInternalKey([]byte("k"), base.Seq(seq+1), base.KindMerge), fmt.Appendf(nil, "%*d", operandBytes, seq), write); err != nil {
			t.Fatal(err)
		}
		most = max(most, len(r.operands))
	}
	if err := r.End(write); err != nil || !bytes.Equal(got, want) {
		t.Fatal(err, len(got))
	}
	if copied > 30*count*operandBytes || most > 2*count/3 {
		t.Errorf("%d bytes were copied for %d, %d operands waited", copied, count*operandBytes, most)
	}
}

func TestReadersAreChecked(t *testing.T) {
	for _, r := range []Readers{
		{Snapshots: []base.Seq{5, 3}}, {Nows: []int64{5, 3}, Snapshots: []base.Seq{1}}, {Nows: []int64{3}, Snapshots: []base.Seq{1}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v was accepted", r)
				}
			}()
			NewRetention(Scope{Readers: r})
		}()
	}
}

func TestRetentionDoesNotAllocate(t *testing.T) {
	r := NewRetention(Scope{Readers: Readers{Snapshots: []base.Seq{3, 7}}, Elide: func([]byte) bool { return true }})
	h := randomVersions(rand.New(rand.NewPCG(1, 1)), 20, []base.Kind{base.KindSet, base.KindDelete})
	write := func(base.InternalKey, []byte) error { return nil }
	if n := testing.AllocsPerRun(100, func() {
		for _, v := range h.entries {
			_ = r.Take(v.key, nil, write)
		}
	}); n > 0 {
		t.Errorf("%v allocations per pass", n)
	}
}

func BenchmarkRetention(b *testing.B) {
	var h []base.InternalKey
	for i := range 1000 {
		h = append(h, base.MakeInternalKey(fmt.Appendf(nil, "key%013d", i), base.Seq(i+1), base.KindSet))
	}
	r := NewRetention(Scope{Readers: Readers{Snapshots: []base.Seq{100, 500}}})
	write := func(base.InternalKey, []byte) error { return nil }
	for i := 0; b.Loop(); i = (i + 1) % len(h) {
		_ = r.Take(h[i], nil, write)
	}
}
