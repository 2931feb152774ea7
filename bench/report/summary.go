// Package report turns results into medians, ratios, tables and JSON.
package report

import (
	"maps"
	"math"
	"slices"

	"lsmdb/bench/engine"
	"lsmdb/bench/workload"
)

// Metric is one figure of a result.
type Metric struct {
	Name         string // as in JSON
	Title        string // of its table
	LowerBetter  bool
	Digits       int     // behind the point
	Floor        float64 // less counts as this much in ratios
	Volume       bool    // grows with the entries stored: capped peers do not compare
	SettledOnly  bool    // shown for workloads that wait for background work
	Of           func(workload.Result) float64
	SkipWorkload func(workload.Step) bool // nil: shown for all
}

func timed(s workload.Step) bool   { return s.Timed }
func untimed(s workload.Step) bool { return !s.Timed }

// Metrics returns what is reported, in order.
func Metrics() []Metric {
	return []Metric{
		{Name: "ops_per_second", Title: "operations per second", SkipWorkload: timed,
			Of: func(r workload.Result) float64 { return r.OpsPerSecond }},
		{Name: "milliseconds", Title: "milliseconds", LowerBetter: true, Digits: 2, SkipWorkload: untimed,
			Of: func(r workload.Result) float64 { return r.Latency.Mean / 1e6 }},
		{Name: "mean_us", Title: "mean latency, µs", LowerBetter: true, Digits: 2, SkipWorkload: timed,
			Of: func(r workload.Result) float64 { return r.Latency.Mean / 1e3 }},
		{Name: "p99_9_us", Title: "99.9th percentile latency, µs", LowerBetter: true, Digits: 1, SkipWorkload: timed,
			Of: func(r workload.Result) float64 { return float64(r.Latency.P999) / 1e3 }},
		{Name: "cpu_us_per_op", Title: "processor time per operation, µs", LowerBetter: true, Digits: 2, SkipWorkload: timed,
			Of: func(r workload.Result) float64 { return r.CPUNanos / 1e3 }},
		{Name: "written_per_user_byte", Title: "bytes written per user byte, settled", LowerBetter: true, Digits: 2, SettledOnly: true,
			Of: func(r workload.Result) float64 { return float64(r.WrittenBytes) / float64(max(r.UserBytes, 1)) }},
		{Name: "disk_mb", Title: "disk after settling, MB", LowerBetter: true, Digits: 1, Volume: true, SettledOnly: true,
			Of: func(r workload.Result) float64 { return float64(r.DiskBytes) / 1e6 }},
		{Name: "peak_memory_mb", Title: "peak memory, MB", LowerBetter: true, Volume: true,
			Of: func(r workload.Result) float64 { return float64(r.PeakMemory) / 1e6 }},
		{Name: "allocations_per_op", Title: "allocations per operation (Go heap)", LowerBetter: true, Digits: 2, Floor: 0.01, SkipWorkload: timed,
			Of: func(r workload.Result) float64 { return r.Allocations }},
	}
}

// Ratios compare lsmdb with its peers so that more than 1 means that lsmdb is
// better; 0 stands for no such peer.
type Ratios struct {
	BestGo  float64 `json:"best_go_lsm"` // the best of the log-structured ones in Go
	Bbolt   float64 `json:"bbolt"`
	RocksDB float64 `json:"rocksdb"`
	Peer    string  `json:"best_go_lsm_name,omitempty"`
}

// Row is one metric of one workload.
type Row struct {
	Metric   string             `json:"metric"`
	Workload string             `json:"workload"`
	About    string             `json:"about"`
	Median   map[string]float64 `json:"median"` // by engine
	Capped   []string           `json:"capped,omitempty"`
	Ratios   Ratios             `json:"ratios"`
}

// Rows computes every metric of every workload that has results.
func Rows(results []workload.Result, kinds []engine.Kind) []Row {
	var rows []Row
	for _, m := range Metrics() {
		for _, step := range steps() {
			if m.SkipWorkload != nil && m.SkipWorkload(step) || m.SettledOnly && !step.Settle {
				continue
			}
			if row, ok := newRow(m, step, results, kinds); ok {
				rows = append(rows, row)
			}
		}
	}
	return rows
}

// steps returns the measured steps of the table of workloads, in order.
func steps() []workload.Step {
	var measured []workload.Step
	for _, section := range workload.Sections() {
		for _, act := range section.Acts {
			for _, step := range act.Steps {
				if step.About != "" {
					measured = append(measured, step)
				}
			}
		}
	}
	return measured
}

func newRow(m Metric, step workload.Step, results []workload.Result, kinds []engine.Kind) (Row, bool) {
	values := map[string][]float64{}
	capped := map[string]bool{}
	for _, r := range results {
		if r.Workload == step.Name {
			values[r.Engine] = append(values[r.Engine], m.Of(r))
			capped[r.Engine] = capped[r.Engine] || r.Capped
		}
	}
	row := Row{Metric: m.Name, Workload: step.Name, About: step.About, Median: map[string]float64{}}
	for name, v := range values {
		row.Median[name] = median(v)
	}
	for _, name := range slices.Sorted(maps.Keys(capped)) {
		if capped[name] {
			row.Capped = append(row.Capped, name)
		}
	}
	comparable := row.Median
	if m.Volume {
		comparable = maps.Clone(row.Median)
		maps.DeleteFunc(comparable, func(name string, _ float64) bool { return capped[name] })
	}
	row.Ratios = ratios(m, comparable, kinds)
	return row, len(values) > 0
}

// median returns the middle value, or the mean of the two in the middle.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

func ratios(m Metric, medians map[string]float64, kinds []engine.Kind) (r Ratios) {
	own, ok := medians["lsmdb"]
	if !ok {
		return r
	}
	for _, k := range kinds {
		peer, ok := medians[k.Name]
		if !ok || k.Name == "lsmdb" {
			continue
		}
		ratio := quotient(max(own, m.Floor), max(peer, m.Floor))
		if m.LowerBetter {
			ratio = quotient(max(peer, m.Floor), max(own, m.Floor))
		}
		switch {
		case k.Name == "bbolt":
			r.Bbolt = ratio
		case k.Name == "rocksdb":
			r.RocksDB = ratio
		case k.Go && k.LSM && (r.Peer == "" || ratio < r.BestGo):
			r.BestGo, r.Peer = ratio, k.Name
		}
	}
	return r
}

// quotient is a/b, and 0 where that says nothing.
func quotient(a, b float64) float64 {
	q := a / b
	if math.IsNaN(q) || math.IsInf(q, 0) {
		return 0
	}
	return q
}
