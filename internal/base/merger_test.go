package base

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// TestFold: operands are merged oldest first, each once, and onto nil once where there is
// no value; memory of others is never written to, whatever a Merger returns.
func TestFold(t *testing.T) {
	calls := 0
	joining := &Merger{Name: "joining", Merge: func(dst, key, older, newer []byte) ([]byte, error) {
		if calls++; older == nil {
			dst = append(dst, "nil"...)
		}
		return append(append(append(dst, older...), '+'), newer...), nil
	}}
	var f Fold
	for _, c := range []struct {
		older    []byte
		operands string // newest first
		want     string
	}{
		{nil, "a", "nil+a"}, {[]byte{}, "a", "+a"}, {[]byte("v"), "cba", "v+a+b+c"}, {nil, "ba", "nil+a+b"},
		{nil, strings.Repeat("x", 200), "nil" + strings.Repeat("+x", 200)},
	} {
		calls = 0
		got, err := f.Onto(joining, []byte("k"), c.older, bytes.Split([]byte(c.operands), nil))
		if err != nil || string(got) != c.want || calls != len(c.operands) {
			t.Errorf("%q onto %q: %q, %v in %d calls", c.operands, c.older, got, err, calls)
		}
	}
	older, newer := append(make([]byte, 0, 8), "old"...), append(make([]byte, 0, 8), "new"...)
	for _, merge := range []func(dst, key, older, newer []byte) ([]byte, error){
		func(_, _, older, _ []byte) ([]byte, error) { return older, nil },
		func(_, _, _, newer []byte) ([]byte, error) { return newer, nil },
		func(_, _, older, newer []byte) ([]byte, error) { return append(older, newer...), nil },
	} {
		for range 3 {
			if _, err := f.Onto(&Merger{Merge: merge}, nil, older, [][]byte{newer, newer}); err != nil {
				t.Fatal(err)
			}
			_, _ = f.Onto(joining, nil, []byte("xxxx"), [][]byte{[]byte("yyyy"), []byte("zzzz")})
		}
		if old, new := string(older[:8]), string(newer[:8]); old != "old\x00\x00\x00\x00\x00" || new != "new\x00\x00\x00\x00\x00" {
			t.Errorf("somebody else's memory was changed: %q, %q", old, new)
		}
	}
	empty := &Merger{Merge: func(_, _, _, _ []byte) ([]byte, error) { return nil, nil }}
	if got, err := new(Fold).Onto(empty, nil, nil, [][]byte{nil}); got == nil || err != nil {
		t.Errorf("an empty result is %v, %v", got, err)
	}
	broken := errors.New("broken")
	failing := &Merger{Name: "it", Merge: func(_, _, _, _ []byte) ([]byte, error) { return []byte("x"), broken }}
	if got, err := f.Onto(failing, []byte("k"), nil, [][]byte{nil}); got != nil || !errors.Is(err, broken) || !strings.Contains(err.Error(), `"it"`) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := f.Onto(nil, []byte("k"), nil, [][]byte{nil}); !errors.Is(err, ErrNoMerger) {
		t.Error(err)
	}
	if _, err := f.Onto(&Merger{Merge: func(_, _, _, _ []byte) ([]byte, error) { return make([]byte, MaxValueBytes+1), nil }}, nil, nil, [][]byte{nil}); !errors.Is(err, ErrValueTooLarge) {
		t.Error(err)
	}
}
