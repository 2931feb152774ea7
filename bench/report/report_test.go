package report

import (
	"testing"

	"lsmdb/bench/engine"
	"lsmdb/bench/workload"
)

func TestRatiosCompareWithTheBestPeer(t *testing.T) {
	kinds := []engine.Kind{
		{Name: "lsmdb", Go: true, LSM: true}, {Name: "pebble", Go: true, LSM: true},
		{Name: "goleveldb", Go: true, LSM: true}, {Name: "bbolt", Go: true}, {Name: "rocksdb", LSM: true},
	}
	medians := map[string]float64{"lsmdb": 100, "pebble": 50, "goleveldb": 20, "bbolt": 400, "rocksdb": 80}
	more := ratios(Metric{}, medians, kinds)
	if want := (Ratios{BestGo: 2, Bbolt: 0.25, RocksDB: 1.25, Peer: "pebble"}); more != want {
		t.Errorf("more is better: %+v, want %+v", more, want)
	}
	less := ratios(Metric{LowerBetter: true}, medians, kinds)
	if want := (Ratios{BestGo: 0.2, Bbolt: 4, RocksDB: 0.8, Peer: "goleveldb"}); less != want {
		t.Errorf("less is better: %+v, want %+v", less, want)
	}
}

func TestRowsTakeMediansAndMarkWhatWasCapped(t *testing.T) {
	var results []workload.Result
	for round, ops := range []float64{10, 1000, 30} {
		results = append(results, workload.Result{Engine: "lsmdb", Workload: "fillseq", Round: round, OpsPerSecond: ops, Capped: round == 1})
	}
	rows := Rows(results, []engine.Kind{{Name: "lsmdb"}})
	if len(rows) == 0 || rows[0].Median["lsmdb"] != 30 || len(rows[0].Capped) != 1 {
		t.Fatalf("rows: %+v", rows)
	}
	if got := median([]float64{1, 9, 3, 5}); got != 4 {
		t.Errorf("median of four: %v", got)
	}
}

func TestNumber(t *testing.T) {
	for value, want := range map[float64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := number(value, 0); got != want {
			t.Errorf("%v: %s, want %s", value, got, want)
		}
	}
	if got := number(1234.567, 2); got != "1,234.57" {
		t.Error(got)
	}
}
