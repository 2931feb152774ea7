package metamorphic

import (
	"reflect"
	"strings"
	"testing"
)

// TestScript writes histories and reads them again; they must have every operation.
func TestScript(t *testing.T) {
	seen := make(map[Kind]bool)
	for seed := range uint64(3) {
		h := GenerateWhole(seed, 2500, 50)
		for _, o := range h {
			seen[o.Kind] = true
		}
		again, err := Parse("# a comment\n\n" + h.String())
		if err != nil {
			t.Fatal(err)
		}
		if len(again) != len(h) {
			t.Fatalf("%d operations became %d", len(h), len(again))
		}
		for i := range h {
			if !reflect.DeepEqual(h[i], again[i]) {
				t.Fatalf("%#v became %#v through %s", h[i], again[i], h[i])
			}
		}
		if other := GenerateWhole(seed, 2500, 50); other.String() != h.String() {
			t.Fatal("one seed, two histories")
		}
	}
	for _, kind := range []Kind{
		Put, Delete, Batch, Submit, Get, Has, Scan, Sync, Flush, Compact, NewSnapshot, NewIterator,
		First, Last, Next, Prev, SeekGE, SeekLT, Close, Restart,
		DeleteRange, Merge, PutUntil, Size, Load, Checkpoint, SetClock, Begin, Commit,
	} {
		if !seen[kind] {
			t.Errorf("no history has %s", kind)
		}
	}
}

func TestScriptErrors(t *testing.T) {
	for script, want := range map[string]string{
		"put \"k\" 7x60 nosync\nfrobnicate": "line 2",
		"put k 7x60 sync":                   "not a key",
		`put "k" 7y60 sync`:                 "not a value",
		`put "k" 7x-1 sync`:                 "not a value",
		`put "k" 7x60`:                      "missing",
		`put "k" 7x60 later`:                "none of",
		`delete "k" sync sync`:              "too much",
		`delete "k"*x sync`:                 "not a key",
		`batch sync get "k"`:                "put and delete",
		"restart rudely":                    "none of",
		"clock x":                           "not a number",
		`merge on t1 "k" 7x60 nosync`:       "too much",
		`deleterange "k" nosync`:            "not a key",
		`put in k "k" 7x60 nosync`:          "not a key",
	} {
		if _, err := Parse(script); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", script, err, want)
		}
	}
}
