package report

import (
	"slices"

	"lsmdb/bench/measure"
	"lsmdb/bench/workload"
)

// Metric is one figure of a result.
type Metric struct {
	Name         string // as in JSON
	Title        string // of its table
	Short        string // as the head of a column
	Unit         string // behind a number in pictures
	LowerBetter  bool
	Digits       int     // behind the point
	Floor        float64 // less counts as this much in ratios
	Volume       bool    // grows with the entries stored: capped peers do not compare
	Growth       bool    // shown against the number of entries and of clients
	Of           func(workload.Result) float64
	SkipWorkload func(workload.Step) bool // nil: shown for all
}

func timed(s workload.Step) bool     { return s.Timed }
func untimed(s workload.Step) bool   { return !s.Timed }
func unsettled(s workload.Step) bool { return !s.Settle }
func waiting(s workload.Step) bool   { return !s.Pipelined }
func untold(s workload.Step) bool    { return !s.Tenths }
func unpaced(s workload.Step) bool   { return !s.Paced }

// bound: how fast it goes does not depend on the engine, or is told as a time.
func bound(s workload.Step) bool { return s.Timed || s.Paced }

// noted is a figure of Step.Notes.
func noted(name, title, short, unit string, digits int) Metric {
	return Metric{Name: name, Title: title, Short: short, Unit: unit, LowerBetter: true, Digits: digits, Floor: 0.01,
		Of:           func(r workload.Result) float64 { return r.Extra[name] },
		SkipWorkload: func(s workload.Step) bool { return !slices.Contains(s.Notes, name) },
	}
}

// Metrics returns what is reported, in order.
func Metrics() []Metric {
	return []Metric{
		{Name: "ops_per_second", Title: "operations per second", Short: "speed", Unit: "/s", Growth: true, SkipWorkload: bound,
			Of: func(r workload.Result) float64 { return r.OpsPerSecond }},
		{Name: workload.FirstTenth, Title: "operations per second in the first tenth", Short: "first tenth", Unit: "/s", SkipWorkload: untold,
			Of: func(r workload.Result) float64 { return r.Extra[workload.FirstTenth] }},
		{Name: workload.LastTenth, Title: "operations per second in the last tenth", Short: "last tenth", Unit: "/s", SkipWorkload: untold,
			Of: func(r workload.Result) float64 { return r.Extra[workload.LastTenth] }},
		{Name: "last_to_first_tenth", Title: "rate of the last tenth, as a share of the first", Short: "last to first tenth", Digits: 2, SkipWorkload: untold,
			Of: func(r workload.Result) float64 {
				return quotient(r.Extra[workload.LastTenth], r.Extra[workload.FirstTenth])
			}},
		{Name: "milliseconds", Title: "milliseconds", Short: "time", Unit: " ms", LowerBetter: true, Digits: 2, SkipWorkload: untimed,
			Of: func(r workload.Result) float64 { return r.Latency.Mean / 1e6 }},
		{Name: "mean_us", Title: "mean latency, µs", Short: "mean latency", Unit: " µs", LowerBetter: true, Digits: 2, SkipWorkload: timed,
			Of: func(r workload.Result) float64 { return r.Latency.Mean / 1e3 }},
		{Name: "p50_us", Title: "median latency at a fixed rate, µs", Short: "median", Unit: " µs", LowerBetter: true, Digits: 1, SkipWorkload: unpaced,
			Of: func(r workload.Result) float64 { return float64(r.Latency.P50) / 1e3 }},
		{Name: "p99_us", Title: "99th percentile latency at a fixed rate, µs", Short: "99th percentile", Unit: " µs", LowerBetter: true, Digits: 1, SkipWorkload: unpaced,
			Of: func(r workload.Result) float64 { return float64(r.Latency.P99) / 1e3 }},
		{Name: "p99_9_us", Title: "99.9th percentile latency, µs", Short: "99.9th percentile", Unit: " µs", LowerBetter: true, Digits: 1, Growth: true, SkipWorkload: timed,
			Of: func(r workload.Result) float64 { return float64(r.Latency.P999) / 1e3 }},
		{Name: "max_us", Title: "longest latency at a fixed rate, µs", Short: "longest", Unit: " µs", LowerBetter: true, Digits: 1, SkipWorkload: unpaced,
			Of: func(r workload.Result) float64 { return float64(r.Latency.Max) / 1e3 }},
		{Name: "acknowledged_mean_us", Title: "mean time until a write is acknowledged, µs", Short: "mean to acknowledgement", Unit: " µs", LowerBetter: true, Digits: 1, SkipWorkload: waiting,
			Of: func(r workload.Result) float64 { return acknowledged(r).Mean / 1e3 }},
		{Name: "acknowledged_p99_9_us", Title: "99.9th percentile until a write is acknowledged, µs", Short: "99.9th percentile to acknowledgement", Unit: " µs", LowerBetter: true, Digits: 1, SkipWorkload: waiting,
			Of: func(r workload.Result) float64 { return float64(acknowledged(r).P999) / 1e3 }},
		noted(workload.LongestPut, "longest put meanwhile, ms", "longest put", " ms", 2),
		noted(workload.EndDisk, "disk at the end of the day, MB", "disk at the end", " MB", 1),
		noted(workload.LargestDisk, "largest disk of the day, MB", "largest disk", " MB", 1),
		noted(workload.EndWritten, "bytes written per user byte, during the day", "bytes written in the day", "", 2),
		noted(workload.EndRead, "bytes read per user byte written, during the day", "bytes read in the day", "", 2),
		noted(workload.ResidentEach, "resident memory per database, KB", "resident each", " KB", 0),
		noted(workload.CollectedEach, "resident memory per database, after a collection that returns memory, KB", "resident each, collected", " KB", 0),
		noted(workload.DiskEach, "disk per database, KB", "disk each", " KB", 0),
		noted(workload.Collector, "the collector's share of the processor time, %", "collector", " %", 1),
		{Name: "cpu_us_per_op", Title: "processor time per operation, µs", Short: "processor time", Unit: " µs", LowerBetter: true, Digits: 2, SkipWorkload: timed,
			Of: func(r workload.Result) float64 { return r.CPUNanos / 1e3 }},
		{Name: "written_per_user_byte", Title: "bytes written per user byte, settled", Short: "bytes written", LowerBetter: true, Digits: 2, Growth: true, SkipWorkload: unsettled,
			Of: func(r workload.Result) float64 { return float64(r.WrittenBytes) / float64(max(r.UserBytes, 1)) }},
		{Name: "read_per_user_byte", Title: "bytes read per user byte written, settled", Short: "bytes read", LowerBetter: true, Digits: 2, Floor: 0.01, SkipWorkload: unsettled,
			Of: func(r workload.Result) float64 { return float64(r.ReadBytes) / float64(max(r.UserBytes, 1)) }},
		{Name: "disk_mb", Title: "disk after settling, MB", Short: "disk", Unit: " MB", LowerBetter: true, Digits: 1, Volume: true, SkipWorkload: unsettled,
			Of: func(r workload.Result) float64 { return float64(r.DiskBytes) / 1e6 }},
		{Name: "peak_memory_mb", Title: "peak memory, MB", Short: "peak memory", Unit: " MB", LowerBetter: true, Volume: true, Growth: true,
			Of: func(r workload.Result) float64 { return float64(r.PeakMemory) / 1e6 }},
		{Name: "allocations_per_op", Title: "allocations per operation (Go heap)", Short: "allocations", LowerBetter: true, Digits: 2, Floor: 0.01, SkipWorkload: timed,
			Of: func(r workload.Result) float64 { return r.Allocations }},
	}
}

// acknowledged are the latencies until a write counts; an engine that cannot send
// without waiting answers when it does.
func acknowledged(r workload.Result) measure.Summary {
	if r.Acknowledged != nil {
		return *r.Acknowledged
	}
	return r.Latency
}
