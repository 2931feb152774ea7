package main

import (
	"flag"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"lsmdb/internal/tests/fixture"
)

// TestRows: each row runs on each store, and none refuses but raft-wal, where indexes have gaps
// or begin at 0.
func TestRows(t *testing.T) {
	benchtime := flag.Lookup("test.benchtime").Value.String()
	defer func() { fixture.Must(t, flag.Set("test.benchtime", benchtime)) }()
	m := &measurement{ctx: t.Context(), dir: t.TempDir(), rounds: 1, each: time.Nanosecond, told: io.Discard}
	for _, r := range rows {
		if r.prepare != nil {
			r.prepare = func(s store) error { return fill(s, 1, readEntries/1000, noise(entryBytes)) }
			r.run = func(b *testing.B, s store) {
				read(b, s, func() uint64 { return 1 })
				read(b, s, func() uint64 { return readEntries / 1000 })
			}
		}
		if r.benchtime != "" {
			r.benchtime = "2x"
		}
		f, err := m.measure(r, kinds)
		fixture.Must(t, err)
		for i, k := range kinds {
			if refused := len(f.nanoseconds[i]) == 0; refused != (k.name == "raft-wal" && (r.name == "DeleteRange" || r.name == "StoreLog")) {
				t.Errorf("%s on %s: refused %v", r.name, k.name, refused)
			}
		}
	}
	f, err := m.measure(groupsRow, groupsKinds())
	fixture.Must(t, err)
	var out strings.Builder
	fixture.Must(t, write(&out, 1, nil, []figures{f}))
	if text := out.String(); strings.Contains(text, "| – |") || strings.Count(text, "one each") != len(kinds) {
		t.Error(text)
	}
}

// TestStoresAgree: the stores that are compared do the same.
func TestStoresAgree(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			s, err := k.open(t.TempDir())
			fixture.Must(t, err)
			defer func() { fixture.Must(t, s.Close()) }()
			want := func(first, last uint64) {
				t.Helper()
				f, err := s.FirstIndex()
				fixture.Must(t, err)
				l, err := s.LastIndex()
				fixture.Must(t, err)
				if f != first || l != last {
					t.Errorf("%d to %d, want %d to %d", f, l, first, last)
				}
			}
			want(0, 0)
			fixture.Must(t, fill(s, 1, 100, []byte("data")))
			want(1, 100)
			fixture.Must(t, s.DeleteRange(1, 40))
			fixture.Must(t, s.DeleteRange(91, 100))
			want(41, 90)
			var l raft.Log
			for index, there := range map[uint64]bool{40: false, 41: true, 90: true, 91: false, math.MaxUint64 - 1: false} {
				if err := s.GetLog(index, &l); (err == nil) != there || there && (l.Index != index || string(l.Data) != "data") {
					t.Errorf("%d: %+v, %v", index, l, err)
				}
			}
			fixture.Must(t, s.SetUint64([]byte("n"), 7))
			fixture.Must(t, s.Set([]byte("k"), []byte("v")))
			n, err := s.GetUint64([]byte("n"))
			fixture.Must(t, err)
			v, err := s.Get([]byte("k"))
			fixture.Must(t, err)
			if n != 7 || string(v) != "v" {
				t.Errorf("%d, %q", n, v)
			}
		})
	}
}

// TestFigures: medians, ratios and spreads are those of the rounds.
func TestFigures(t *testing.T) {
	f := figures{kinds: kinds[:2], nanoseconds: [][]float64{{100, 110, 90}, {2200, 1800, 3000, 2000}}}
	for got, want := range map[string]string{f.cell(0): "100.0 ns", f.cell(1): "2.1 µs ± 29 %", f.ratio(1): "21.00"} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
