// Package report turns results into medians, ratios, tables, pictures and files.
package report

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"lsmdb/bench/engine"
	"lsmdb/bench/workload"
)

// Ratios compare lsmdb with its peers so that more than 1 means that lsmdb is
// better; 0 stands for no such peer.
type Ratios struct {
	BestGo  float64 `json:"best_go_lsm"` // the best of the log-structured ones in Go
	Bbolt   float64 `json:"bbolt"`
	RocksDB float64 `json:"rocksdb"`
	Peer    string  `json:"best_go_lsm_name,omitempty"`
}

// Row is one metric of one workload, at one point where cost is followed as it grows.
type Row struct {
	Metric   string        `json:"metric"`
	Section  string        `json:"section"`
	Workload string        `json:"workload"`
	About    string        `json:"about"`
	Group    string        `json:"group"`
	Axis     workload.Axis `json:"axis,omitempty"`  // empty: a comparison at one point
	Point    int64         `json:"point,omitempty"` // on the axis
	// Processors is GOMAXPROCS, where results of several values are compared.
	Processors int `json:"processors,omitempty"`
	// Survives says, by engine, what its newest writes do; empty for one that only read.
	Survives map[string]engine.Survival `json:"survives,omitempty"`
	Median   map[string]float64         `json:"median"` // by engine
	Least    map[string]float64         `json:"least"`  // of the rounds
	Most     map[string]float64         `json:"most"`   // of the rounds
	Capped   []string                   `json:"capped,omitempty"`
	Ratios   Ratios                     `json:"ratios"`
}

// Spread is the distance between the extremes of the rounds, as a share of the median.
func (r Row) Spread(name string) float64 {
	return quotient(r.Most[name]-r.Least[name], r.Median[name])
}

// Rows computes every metric of every workload that has results.
func Rows(results []workload.Result, kinds []engine.Kind) []Row {
	var rows []Row
	for _, m := range Metrics() {
		for _, section := range slices.Concat(workload.Sections(), workload.GrowthSections()) {
			if section.Axis != "" && !m.Growth {
				continue
			}
			for _, step := range measured(section) {
				if m.SkipWorkload == nil || !m.SkipWorkload(step) {
					rows = append(rows, rowsOf(m, section, step, results, kinds)...)
				}
			}
		}
	}
	return rows
}

// measured returns the steps of a section that are reported, in order.
func measured(section workload.Section) []workload.Step {
	var steps []workload.Step
	for _, act := range section.Acts {
		for _, step := range act.Steps {
			if step.About != "" {
				steps = append(steps, step)
			}
		}
	}
	return steps
}

// place is where a result lies: on the axis, and with how many processors.
type place struct {
	point      int64
	processors int
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.point, q.point), cmp.Compare(p.processors, q.processors))
}

// rowsOf returns a row for each place that has results.
func rowsOf(m Metric, section workload.Section, step workload.Step, results []workload.Result, kinds []engine.Kind) []Row {
	places := map[place][]workload.Result{}
	for _, r := range results {
		if r.Section == section.Name && r.Workload == step.Name {
			at := place{section.Axis.Point(r), r.Processors}
			places[at] = append(places[at], r)
		}
	}
	var rows []Row
	for _, at := range slices.SortedFunc(maps.Keys(places), place.compare) {
		row := Row{
			Metric: m.Name, Section: section.Name, Workload: step.Name, About: step.About,
			Group: section.Group, Axis: section.Axis, Point: at.point,
		}
		if severalProcessors(results) {
			row.Processors = at.processors
		}
		row.take(m, places[at], kinds)
		rows = append(rows, row)
	}
	return rows
}

func severalProcessors(results []workload.Result) bool {
	return slices.ContainsFunc(results, func(r workload.Result) bool { return r.Processors != results[0].Processors })
}

// take fills in the figures of one point.
func (row *Row) take(m Metric, results []workload.Result, kinds []engine.Kind) {
	values := map[string][]float64{}
	capped := map[string]bool{}
	row.Survives = map[string]engine.Survival{}
	for _, r := range results {
		values[r.Engine] = append(values[r.Engine], m.Of(r))
		row.Survives[r.Engine] = r.Survives
		capped[r.Engine] = capped[r.Engine] || r.Capped
	}
	row.Median, row.Least, row.Most = map[string]float64{}, map[string]float64{}, map[string]float64{}
	for name, v := range values {
		row.Median[name], row.Least[name], row.Most[name] = median(v), slices.Min(v), slices.Max(v)
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
