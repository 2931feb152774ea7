package workload

import (
	"fmt"
	"testing"
	"time"

	"lsmdb/bench/engine"
)

var smallest = Scale{
	Entries: 5000, ColdEntries: 5000, ValueBytes: 100,
	Duration: 15 * time.Millisecond, Cap: 200 * time.Millisecond,
}

// TestSections runs the smallest version of everything on every engine of this
// build. What it proves is correctness: values, counts, order, recovery. A crash is
// only real in a process of its own: see the runner's test.
func TestSections(t *testing.T) {
	for _, kind := range engine.All() {
		for _, section := range Sections() {
			t.Run(kind.Name+"/"+section.Name, func(t *testing.T) { runSection(t, kind.Name, section) })
		}
	}
}

func runSection(t *testing.T, name string, section Section) {
	dir := t.TempDir()
	for at, act := range section.Acts {
		if act.Crash {
			t.Skip("ends its process")
		}
		var results []Result
		q := Request{Engine: name, Section: section.Name, Act: at, Dir: dir, Scale: smallest}
		err := RunAct(q, func(e Event) {
			if e.Result != nil {
				results = append(results, *e.Result)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			if r.Operations == 0 || r.OpsPerSecond <= 0 {
				t.Errorf("%s did nothing: %+v", r.Workload, r)
			}
		}
	}
}

func TestDatasetKeysAreOrderedAndFoundAgain(t *testing.T) {
	for _, counter := range []bool{false, true} {
		d := NewDataset(1000, 100, counter)
		last := ""
		for i := range d.Entries {
			key := d.Key(nil, i)
			next := []string{string(key), string(d.InsertedKey(nil, i)), string(d.MissingKey(nil, i))}
			for _, k := range next {
				if len(k) != KeyBytes || k <= last {
					t.Fatalf("counter %v: key %q of entry %d after %q", counter, k, i, last)
				}
				last = k
			}
			if at, err := d.Entry(key); err != nil || at != i {
				t.Fatalf("entry of %q: %d, %v", key, at, err)
			}
		}
	}
}

func TestPermuteVisitsEverythingOnce(t *testing.T) {
	for _, n := range []int64{1, 2, 3, 7, 64, 1000, 4097} {
		d := NewDataset(n, 100, false)
		seen := map[int64]bool{}
		for i := range n {
			at := d.Permute(i, 5)
			if at < 0 || at >= n || seen[at] {
				t.Fatalf("n %d: %d comes out of range or twice", n, at)
			}
			seen[at] = true
		}
	}
}

func TestCheckFindsWrongValues(t *testing.T) {
	d := NewDataset(100, 100, false)
	for version := range uint64(versions) {
		if err := d.Check(7, d.Value(7, version)); err != nil {
			t.Error(err)
		}
	}
	for name, value := range map[string][]byte{"another entry's": d.Value(8, 0), "cut": d.Value(7, 0)[:99], "none": nil} {
		if d.Check(7, value) == nil {
			t.Errorf("accepted: %s", name)
		}
	}
}

func TestZipfIsSkewedAndInRange(t *testing.T) {
	z := newZipf(1000)
	c := &Client{rng: newRand(1)}
	counts := make([]int, z.n)
	for range 100_000 {
		counts[z.rank(c.rng)]++
	}
	// The most frequent of 1,000 has a share of 1/zeta(1000, 0.99) = 12.9 %.
	if got := fmt.Sprintf("%.2f", float64(counts[0])/100_000); got != "0.13" {
		t.Errorf("share of the most frequent rank: %s", got)
	}
	if counts[1] <= counts[10] || counts[10] <= counts[900] {
		t.Errorf("not falling: %d %d %d", counts[1], counts[10], counts[900])
	}
}
