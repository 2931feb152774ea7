package workload

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/golang/snappy"

	"lsmdb/bench/engine"
)

var smallest = Scale{
	Entries: 5000, ColdEntries: 5000, ValueBytes: 100,
	Duration: 15 * time.Millisecond, Cap: 200 * time.Millisecond, Rate: 2000,
}

// TestSections runs the smallest version of everything on every engine of this
// build. What it proves is correctness: values, counts, order, recovery. A crash is
// only real in a process of its own: see the runner's test.
func TestSections(t *testing.T) {
	for _, kind := range engine.All() {
		for _, section := range slices.Concat(Sections(), GrowthSections()) {
			if !kind.Able(section.Needs) {
				continue
			}
			t.Run(kind.Name+"/"+section.Name, func(t *testing.T) { runSection(t, kind.Name, section) })
		}
	}
}

func runSection(t *testing.T, name string, section Section) {
	dir := t.TempDir()
	scale := smallest
	if section.Axis == ByClients {
		scale.ClientCounts = []int{1, 3}
	}
	for at, act := range section.Acts {
		if act.Crash {
			t.Skip("ends its process")
		}
		var results []Result
		q := Request{Engine: name, Section: section.Name, Act: at, Dir: dir, Scale: scale}
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
			if r.Acknowledged != nil && (r.Acknowledged.Count == 0 || r.Acknowledged.Count > r.Operations/ackEvery+1) {
				t.Errorf("%d acknowledgements of %d writes", r.Acknowledged.Count, r.Operations)
			}
		}
		if section.Axis == ByClients && (len(results) != 2 || results[0].Clients != 1 || results[1].Clients != 3) {
			t.Errorf("results: %+v", results)
		}
	}
}

// resultsOf runs the only act of a section to its end.
func resultsOf(t *testing.T, name, section string, entries int64) (results []Result) {
	t.Helper()
	q := Request{Engine: name, Section: section, Dir: t.TempDir(), Scale: smallest}
	q.Scale.Entries, q.Scale.Cap = entries, time.Minute
	err := RunAct(q, func(e Event) {
		if e.Result != nil {
			results = append(results, *e.Result)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// TestQueueTellsItsTenths drains a queue on the two engines whose figures are compared.
func TestQueueTellsItsTenths(t *testing.T) {
	for _, name := range []string{"lsmdb", "pebble"} {
		results := resultsOf(t, name, "queue", 2000)
		if len(results) != 1 || results[0].Operations != 2000 || results[0].Capped {
			t.Fatalf("%s: results: %+v", name, results)
		}
		if extra := results[0].Extra; extra[FirstTenth] <= 0 || extra[LastTenth] <= 0 {
			t.Errorf("%s: tenths: %v", name, extra)
		}
	}
}

// TestEndsAreInsistedOn shows what a wrong engine would: values that end too late, too
// early, or in another order.
func TestEndsAreInsistedOn(t *testing.T) {
	kind, err := engine.Find("lsmdb")
	if err != nil {
		t.Fatal(err)
	}
	day := func(hours ...int) (ends []time.Time) {
		for _, h := range hours {
			ends = append(ends, time.Now().Add(time.Duration(h)*time.Hour))
		}
		return ends
	}
	for name, c := range map[string]struct {
		stored, told []time.Time
		wrong        bool
	}{
		"right":         {day(-1, 1, 1), day(-1, 1, 1), false},
		"none left":     {day(-1, -1, -1), day(-1, -1, -1), false},
		"too late":      {day(1, 1, 1), day(-1, 1, 1), true},
		"too early":     {day(-1, 1, 1), day(1, 1, 1), true},
		"all too early": {day(-1, -1, -1), day(-1, -1, 1), true},
		"not the last":  {day(-1, 1, -1), day(-1, 1, 1), true},
		"a hole":        {day(1, -1, 1), day(1, 1, 1), true},
	} {
		r := &Run{Data: NewDataset(3*loadBatch, 100, false, false), Scale: smallest, kind: kind, options: EngineOptions(Act{}, smallest, t.TempDir())}
		if err := r.open(); err != nil {
			t.Fatal(err)
		}
		batch := r.Engine.NewBatch().(engine.ExpiringBatch)
		for at, until := range c.stored {
			if err := r.putExpiring(&Client{}, batch, int64(at)*loadBatch, until); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.checkEnds(c.told); (err != nil) != c.wrong {
			t.Errorf("%s: %v", name, err)
		}
		if err := r.close(); err != nil {
			t.Error(err)
		}
	}
}

func TestTenthsOfLaps(t *testing.T) {
	var l laps
	for at, moment := 0, time.Duration(0); at <= 20; at++ { // twice as slow in the second half
		l = append(l, moment)
		moment += time.Second
		if at >= 10 {
			moment += time.Second
		}
	}
	if first, last := l.rates(); first != lapOperations || last != lapOperations/2 {
		t.Errorf("%v and %v operations per second", first, last)
	}
	if first, last := l[:1].rates(); first != 0 || last != 0 {
		t.Errorf("of nothing: %v and %v", first, last)
	}
}

func TestFirstSeeksAreBounded(t *testing.T) {
	for _, name := range []string{"first-seeks", "first-seeks-each"} {
		results := resultsOf(t, "lsmdb", name, 2000)
		if len(results) != 1 || results[0].Operations != 2000 || results[0].Settled {
			t.Errorf("%s: results: %+v", name, results)
		}
	}
}

func TestValuesShrinkToHalf(t *testing.T) {
	for _, size := range []int{100, 1024} {
		d := NewDataset(1000, size, false, false)
		var values []byte
		for i := range int64(4096 / size) {
			values = append(values, d.Value(i, 0)...)
		}
		if share := float64(len(snappy.Encode(nil, values))) / float64(len(values)); share < 0.45 || share > 0.6 {
			t.Errorf("values of %d bytes shrink to %.2f", size, share)
		}
	}
}

func TestTextShrinksFurtherWithEntropyCoding(t *testing.T) {
	d := NewDataset(1000, 100, false, true)
	if share := float64(len(snappy.Encode(nil, d.pool))) / float64(len(d.pool)); share < 0.3 || share > 0.8 {
		t.Errorf("text shrinks to %.2f", share)
	}
}

func TestScalesOfGrowth(t *testing.T) {
	sizes, counts := []int64{1000, 3000}, []int{1, 4, 16}
	for _, section := range GrowthSections() {
		scales := section.Scales(smallest, sizes, counts)
		switch {
		case section.Axis == ByEntries && (len(scales) != 2 || scales[1].Entries != 3000):
			t.Errorf("%s: %+v", section.Name, scales)
		case section.Shared && (len(scales) != 1 || len(scales[0].ClientCounts) != 3):
			t.Errorf("%s: %+v", section.Name, scales)
		case section.Axis == ByClients && !section.Shared && (len(scales) != 3 || scales[2].ClientCounts[0] != 16):
			t.Errorf("%s: %+v", section.Name, scales)
		}
		if got := section.Scales(smallest, nil, nil); len(got) != 0 {
			t.Errorf("%s without points: %+v", section.Name, got)
		}
	}
}

func TestDatasetKeysAreOrderedAndFoundAgain(t *testing.T) {
	for _, counter := range []bool{false, true} {
		d := NewDataset(1000, 100, counter, false)
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
		d := NewDataset(n, 100, false, false)
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
	d := NewDataset(100, 100, false, false)
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

func TestSpaceComesBack(t *testing.T) {
	for _, r := range resultsOf(t, "lsmdb", "delete-range", 20_000) {
		if r.Workload == "space-back" && (r.Capped || r.Latency.Mean <= 0) {
			t.Errorf("results: %+v", r)
		}
	}
}
