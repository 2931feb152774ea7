package output

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"lsmdb/internal/base"
)

// history is some versions of some keys, in internal order.
type history []base.InternalKey

// randomHistory scatters sequence numbers 1 to n over a few keys, so that stripes
// hold none, one and many versions of each.
func randomHistory(rng *rand.Rand, n int) history {
	var h history
	for seq := base.Seq(1); seq <= base.Seq(n); seq++ {
		kind := base.KindSet
		if rng.IntN(3) == 0 {
			kind = base.KindDelete
		}
		key := []byte(strings.Repeat("k", rng.IntN(5))) // keys that are prefixes of each other, the empty key too
		h = append(h, base.MakeInternalKey(key, seq, kind))
	}
	slices.SortFunc(h, base.Compare)
	return h
}

// view tells for each user key which version a reader at seq sees: the internal
// key, or nothing. Where the history has nothing, a deeper version is seen.
func (h history) view(at base.Seq, deeper map[string]bool) map[string]string {
	seen := make(map[string]string)
	for key := range deeper {
		if deeper[key] {
			seen[key] = "deeper version"
		}
	}
	for _, k := range slices.Backward(h) {
		if k.Seq() > at {
			continue
		}
		if delete(seen, string(k.UserKey())); k.Kind() == base.KindSet {
			seen[string(k.UserKey())] = k.String()
		}
	}
	return seen
}

// retain runs Keep over the history.
func (h history) retain(snapshots []base.Seq, elide func([]byte) bool) history {
	r := NewRetention(snapshots, elide)
	var kept history
	scratch := make(base.InternalKey, 0, 16)
	for _, k := range h {
		scratch = append(scratch[:0], k...) // as an iterator does: one buffer for all keys
		if r.Keep(scratch) {
			kept = append(kept, k)
		}
		for i := range scratch {
			scratch[i] = 0xee
		}
	}
	return kept
}

// wanted is the definition of what is kept: some reader sees this version, and it
// is not a delete that has nothing to hide from anybody.
func (h history) wanted(k base.InternalKey, readers []base.Seq, elidable bool) bool {
	if k.Kind() == base.KindDelete && elidable && k.Seq() <= readers[0] {
		return false
	}
	return slices.ContainsFunc(readers, func(at base.Seq) bool {
		if k.Seq() > at {
			return false
		}
		return !slices.ContainsFunc(h, func(o base.InternalKey) bool {
			return bytes.Equal(o.UserKey(), k.UserKey()) && o.Seq() > k.Seq() && o.Seq() <= at
		})
	})
}

func TestRetentionAgainstModel(t *testing.T) {
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 1))
		n := 1 + rng.IntN(30)
		h := randomHistory(rng, n)
		var snapshots []base.Seq
		for range rng.IntN(5) {
			snapshots = append(snapshots, base.Seq(rng.IntN(n+3)))
		}
		slices.Sort(snapshots)
		deeper := make(map[string]bool)
		for range rng.IntN(4) {
			deeper[strings.Repeat("k", rng.IntN(6))] = true
		}
		asked := []byte(nil)
		elide := func(user []byte) bool {
			if bytes.Compare(user, asked) < 0 {
				t.Fatalf("seed %d: elide asked about %q after %q", seed, user, asked)
			}
			asked = append(asked[:0], user...)
			return !deeper[string(user)]
		}
		if rng.IntN(4) == 0 {
			elide = nil
		}
		checkRetention(t, seed, h, snapshots, elide, deeper)
	}
}

func checkRetention(t *testing.T, seed uint64, h history, snapshots []base.Seq, elide func([]byte) bool, deeper map[string]bool) {
	t.Helper()
	kept := h.retain(snapshots, elide)
	readers := append(slices.Clone(snapshots), base.MaxSeq)
	for _, at := range readers {
		before, after := h.view(at, deeper), kept.view(at, deeper)
		if fmt.Sprint(before) != fmt.Sprint(after) {
			t.Fatalf("seed %d: history %v, snapshots %v: reader at %d saw %v, now %v", seed, h, snapshots, at, before, after)
		}
	}
	var want history
	for _, k := range h {
		if h.wanted(k, readers, elide != nil && !deeper[string(k.UserKey())]) {
			want = append(want, k)
		}
	}
	if fmt.Sprint(kept) != fmt.Sprint(want) {
		t.Fatalf("seed %d: history %v, snapshots %v, deeper %v:\nkept %v\nwant %v", seed, h, snapshots, deeper, kept, want)
	}
}

func TestRetentionCases(t *testing.T) {
	always := func([]byte) bool { return true }
	cases := []struct {
		name      string
		versions  string // newest first: sequence number and s or d
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
		{"equal snapshots", "9s 5s 1s", []base.Seq{5, 5}, nil, "9s 5s"},
		{"a delete hides what is deeper", "9d 5s", nil, nil, "9d"},
		{"a delete at the bottom goes, with what it deletes", "9d 5s", nil, always, ""},
		{"a delete stays for an older snapshot", "9d 5s", []base.Seq{5}, always, "9d 5s"},
		{"a delete goes below a snapshot that sees it", "9d 5s", []base.Seq{9}, always, ""},
		{"an older delete goes alone", "9s 5d 1s", []base.Seq{5}, always, "9s"},
		{"a set after a delete", "9s 5d", nil, always, "9s"},
	}
	for _, c := range cases {
		var h history
		for field := range strings.FieldsSeq(c.versions) {
			h = append(h, parseVersion(t, field))
		}
		var got []string
		for _, k := range h.retain(c.snapshots, c.elide) {
			got = append(got, fmt.Sprintf("%d%s", k.Seq(), k.Kind().String()[:1]))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: kept %q, want %q", c.name, s, c.want)
		}
	}
}

func parseVersion(t *testing.T, field string) base.InternalKey {
	var seq base.Seq
	var kind byte
	if _, err := fmt.Sscanf(field, "%d%c", &seq, &kind); err != nil {
		t.Fatal(err)
	}
	if kind == 'd' {
		return base.MakeInternalKey([]byte("key"), seq, base.KindDelete)
	}
	return base.MakeInternalKey([]byte("key"), seq, base.KindSet)
}

func TestRetentionRefusesUnsortedSnapshots(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("snapshots in the wrong order were accepted")
		}
	}()
	NewRetention([]base.Seq{5, 3}, nil)
}

func TestRetentionDoesNotAllocate(t *testing.T) {
	r := NewRetention([]base.Seq{3, 7}, func([]byte) bool { return true })
	keys := randomHistory(rand.New(rand.NewPCG(1, 1)), 20)
	if n := testing.AllocsPerRun(100, func() {
		for _, k := range keys {
			r.Keep(k)
		}
	}); n > 0 {
		t.Errorf("%v allocations per pass", n)
	}
}

func BenchmarkRetention(b *testing.B) {
	var h history
	for i := range 1000 {
		h = append(h, base.MakeInternalKey(fmt.Appendf(nil, "key%013d", i), base.Seq(i+1), base.KindSet))
	}
	r := NewRetention([]base.Seq{100, 500}, nil)
	for i := 0; b.Loop(); i = (i + 1) % len(h) {
		r.Keep(h[i])
	}
}
