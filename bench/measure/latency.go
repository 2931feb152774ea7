package measure

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latencies collects durations of operations of one client. Three digits are kept,
// from a nanosecond to a minute.
type Latencies struct {
	h     *hdrhistogram.Histogram
	count int64
}

// NewLatencies returns an empty collection.
func NewLatencies() *Latencies {
	return &Latencies{h: hdrhistogram.New(1, int64(time.Minute), 3)}
}

// Record adds one operation. Longer ones than a minute count as a minute.
func (l *Latencies) Record(d time.Duration) {
	l.count++
	if l.h.RecordValue(int64(d)) != nil {
		_ = l.h.RecordValue(int64(time.Minute))
	}
}

// Merge adds what other holds.
func (l *Latencies) Merge(other *Latencies) {
	l.h.Merge(other.h)
	l.count += other.count
}

// Summary are the latencies of a workload in nanoseconds.
type Summary struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean_ns"`
	P50   int64   `json:"p50_ns"`
	P90   int64   `json:"p90_ns"`
	P99   int64   `json:"p99_ns"`
	P999  int64   `json:"p99_9_ns"`
	P9999 int64   `json:"p99_99_ns"`
	Max   int64   `json:"max_ns"`
}

// Summary returns the percentiles.
func (l *Latencies) Summary() Summary {
	at := l.h.ValueAtQuantile
	return Summary{
		Count: l.h.TotalCount(), Mean: l.h.Mean(),
		P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), P9999: at(99.99), Max: l.h.Max(),
	}
}

// Count returns the number of operations recorded.
func (l *Latencies) Count() int64 { return l.count }
