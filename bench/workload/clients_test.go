package workload

import (
	"testing"
	"time"

	"lsmdb/bench/measure"
)

// follow runs 40 operations at 1,000 per second by one client, of which the first one takes
// that long.
func follow(t *testing.T, first, limit time.Duration) outcome {
	t.Helper()
	r := &Run{outcome: outcome{latencies: measure.NewLatencies()}}
	err := r.follow(plan{clients: 1, total: 40, rate: 1000, limit: limit}, func(_ *Client, i int64) (bool, error) {
		if i == 0 {
			time.Sleep(first) // what is slow, not what is waited for
		}
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return r.outcome
}

// TestSlowOperationDelaysThoseBehindIt is what coordinated omission would hide: operations
// that were due meanwhile. All bounds are lower ones, which a slow machine cannot break.
func TestSlowOperationDelaysThoseBehindIt(t *testing.T) {
	o := follow(t, 60*time.Millisecond, time.Hour)
	if o.latencies.Count() != 40 || o.operations != 40 || o.capped {
		t.Fatalf("%d latencies: %+v", o.latencies.Count(), o)
	}
	// The last operation was due after 39 ms, so even that one waited for more than 20.
	if s := o.latencies.Summary(); s.P50 < int64(39*time.Millisecond) || s.Max < int64(59*time.Millisecond) {
		t.Errorf("summary: %+v", s)
	}
}

func TestNoOperationBeginsBeforeItIsDue(t *testing.T) {
	if o := follow(t, 0, time.Hour); o.elapsed < 39*time.Millisecond {
		t.Errorf("40 operations at 1,000 per second took %v", o.elapsed)
	}
}

func TestWhoFallsBehindIsStopped(t *testing.T) {
	if o := follow(t, 10*time.Millisecond, 9*time.Millisecond); !o.capped || o.operations != 1 {
		t.Errorf("capped %v after %d operations", o.capped, o.operations)
	}
}

// TestPaceIsThatOfTheScale does as many operations as are due in the time.
func TestPaceIsThatOfTheScale(t *testing.T) {
	r := &Run{outcome: outcome{latencies: measure.NewLatencies()}}
	if err := r.paced(2, 100, 50*time.Millisecond, func(*Client, int64) (bool, error) { return true, nil }); err != nil {
		t.Fatal(err)
	}
	if total := r.total.Load(); total != 5 {
		t.Errorf("%d operations are due in 50 ms at 100 per second", total)
	}
}

func TestDueTimesAreEven(t *testing.T) {
	p := plan{rate: 3}
	for i, want := range []time.Duration{0, 333_333_333, 666_666_666, time.Second} {
		if got := p.due(int64(i)); got != want {
			t.Errorf("operation %d is due after %v, want %v", i, got, want)
		}
	}
}
