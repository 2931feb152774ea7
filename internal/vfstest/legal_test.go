package vfstest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
)

// legalNow collects what a power failure may leave where the trace ends.
func legalNow(l *Legal, e Effort) map[uint64]*Disk {
	for l.Step() != nil {
	}
	states := make(map[uint64]*Disk)
	l.States(e, rand.New(rand.NewPCG(1, 1)), func(s *State) bool {
		states[s.Hash] = s.Disk()
		return true
	})
	return states
}

// texts writes what some files hold in each state, sorted.
func texts(states map[uint64]*Disk, names ...string) string {
	var all []string
	for _, d := range states {
		line := ""
		for _, name := range names {
			line += get(d, name) + " "
		}
		all = append(all, strings.TrimSpace(line))
	}
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(all))), "\n")
}

func TestLegalNames(t *testing.T) {
	d := NewDisk()
	trace := d.Record("")
	put(t, d, "/a", "A", true)
	must(t, d.SyncDir("/"))
	put(t, d, "/b", "B", true)
	must(t, d.Rename("/b", "/a")) // with the creation lost, b was never there
	got := texts(legalNow(trace.Legal(), Effort{}), "/a", "/b")
	if want := "A (missing)\nA B\nB (missing)"; got != want {
		t.Errorf("states:\n%s\nwant:\n%s", got, want)
	}
	must(t, d.Remove("/a"))
	must(t, d.SyncDir("/"))
	if got := texts(legalNow(trace.Legal(), Effort{}), "/a", "/b"); got != "(missing) (missing)" {
		t.Errorf("after SyncDir:\n%s", got)
	}
	l := trace.Legal()
	l.Ignore = func(e *Event) bool { return e.Kind == OpSyncDir }
	if got := texts(legalNow(l, Effort{}), "/a", "/b"); !strings.Contains(got, "A (missing)") || !strings.Contains(got, "(missing) B") {
		t.Errorf("without SyncDir:\n%s", got)
	}
}

func TestLegalNeedsDirectories(t *testing.T) {
	d := NewDisk()
	trace := d.Record("")
	must(t, d.MkdirAll("/x/y"))
	put(t, d, "/x/y/f", "F", true)
	must(t, d.SyncDir("/x/y"))
	must(t, d.SyncDir("/x"))
	if got := texts(legalNow(trace.Legal(), Effort{}), "/x/y/f"); got != "(missing)\nF" {
		t.Errorf("states:\n%s", got)
	}
}

// describe writes the sectors of a file as letters: z of zeros, g of garbage.
func describe(d *Disk, name string) string {
	text, line := get(d, name), ""
	for len(text) > 0 {
		sector := text[:min(sectorBytes, len(text))]
		text = text[len(sector):]
		switch {
		case sector == string(garbage[:len(sector)]):
			line += "g"
		case sector[0] == 0:
			line += "z"
		default:
			line += sector[:1]
		}
	}
	return line
}

func TestLegalTears(t *testing.T) {
	d := NewDisk()
	trace := d.Record("")
	f, err := d.Create("/f")
	must(t, err)
	must(t, second(f.WriteAt([]byte(strings.Repeat("-", 100)), 0)))
	must(t, f.Sync())
	must(t, d.SyncDir("/"))
	text := strings.Repeat("a", 412) + strings.Repeat("b", 512) + strings.Repeat("c", 512)
	must(t, second(f.WriteAt([]byte(text), 100)))
	seen := make(map[string]bool)
	for _, state := range legalNow(trace.Legal(), Effort{Tears: 60}) {
		if got := get(state, "/f"); !strings.HasPrefix(got, strings.Repeat("-", 100)) {
			t.Errorf("a durable byte is lost: %.120q", got)
		}
		seen[describe(state, "/f")+" "+fmt.Sprint(strings.Contains(get(state, "/f"), "-a"))] = true
	}
	// Nothing; whole; the size alone; the beginning; the end; any sector.
	for _, want := range []string{"- false", "-bc true", "-zz false", "-b true", "-bc false", "-zc true", "-gg false", "-gc true", "-bg true"} {
		if !seen[want] {
			t.Errorf("never %q, but %q", want, slices.Sorted(maps.Keys(seen)))
		}
	}
	must(t, f.Sync())
	if got := legalNow(trace.Legal(), Effort{Tears: 60}); len(got) != 1 {
		t.Errorf("%d states after a sync", len(got))
	}
}

func TestStaleBlocksOnDemand(t *testing.T) {
	d := NewDisk()
	trace := d.Record("")
	f, err := d.Create("/f")
	must(t, err)
	must(t, second(f.WriteAt(make([]byte, 1024), 0)))
	for _, stale := range []bool{false, true} {
		found := false
		for _, state := range legalNow(trace.Legal(), Effort{Tears: 9, StaleBlocks: stale}) {
			found = found || describe(state, "/f") == "gg"
		}
		if found != stale {
			t.Errorf("garbage where zeros were written: %v, want %v", found, stale)
		}
	}
}

// TestLegalAgreesWithDisk does random things to a disk, which keeps its own account of
// what is durable.
func TestLegalAgreesWithDisk(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 5))
		d := NewDisk()
		put(t, d, "/old", "old text", true)
		must(t, d.MkdirAll("/dir"))
		must(t, d.SyncDir("/"))
		trace := d.Record("")
		for range 40 {
			randomChange(d, rng)
		}
		l := trace.Legal()
		states := legalNow(l, Effort{Subsets: 20, Tears: 5})
		certain, everything := l.state(&choice{}).Disk(), l.Draw(nil).Disk()
		if !certain.Equal(d.CrashClone(nil)) || !everything.Equal(certain) {
			t.Errorf("seed %d: another state is certain", seed)
		}
		whole := false
		for hash, state := range states {
			whole = whole || state.Equal(d)
			for other, different := range states {
				if hash != other && state.Equal(different) {
					t.Errorf("seed %d: one state has two hashes", seed)
				}
			}
		}
		if !whole {
			t.Errorf("seed %d: nothing lost is none of the states", seed)
		}
	}
}

// randomChange does something; that may fail.
func randomChange(d *Disk, rng *rand.Rand) {
	name := func() string { return []string{"/old", "/a", "/dir/b", "/dir/c"}[rng.IntN(4)] }
	switch rng.IntN(6) {
	case 0:
		if from, to := name(), name(); path.Dir(from) == path.Dir(to) { // else one SyncDir may settle half of a history
			_ = d.Rename(from, to)
		}
	case 1:
		_ = d.Remove(name())
	case 2:
		_ = d.SyncDir([]string{"/", "/dir"}[rng.IntN(2)])
	default:
		f, err := d.Create(name())
		if err != nil {
			return
		}
		for range rng.IntN(4) {
			p := make([]byte, rng.IntN(2000))
			for i := range p {
				p[i] = byte(rng.Uint32())
			}
			_, _ = f.WriteAt(p, rng.Int64N(9000))
			if rng.IntN(3) == 0 {
				_ = f.Sync()
			}
			if rng.IntN(4) == 0 {
				_ = f.Truncate(rng.Int64N(9000))
			}
		}
	}
}
