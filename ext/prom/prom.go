// Package prom shows the metrics of lsmdb databases to Prometheus.
//
//	registry.MustRegister(prom.NewCollector(d, prometheus.Labels{"database": "orders"}))
//
// Nothing is registered anywhere by itself, and nothing is counted twice: a scrape asks
// DB.Metrics once and passes on what it says. Names begin with lsmdb_, counters end with _total,
// sizes are in bytes and times in seconds.
package prom

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lsmdb/db"
)

// NewCollector returns a collector of the metrics of d. The labels, which may be nil, go to each
// metric. Collectors of several databases may be registered side by side if their labels
// have the same names and different values. What Describe says does not depend on the moment.
//
// The collector does not keep d open. After d.Close it shows the last figures; unregister
// it before, or let it be scraped: both are safe, from any goroutine.
func NewCollector(d *db.DB, labels prometheus.Labels) prometheus.Collector {
	return newCollector(d.Metrics, labels)
}

func newCollector(metrics func() db.Metrics, labels prometheus.Labels) *collector {
	c := &collector{metrics: metrics}
	for _, s := range series() {
		c.described = append(c.described, described{s, prometheus.NewDesc("lsmdb_"+s.name, s.help, s.labels, labels)})
	}
	return c
}

type collector struct {
	metrics   func() db.Metrics
	described []described
}

type described struct {
	oneSeries
	desc *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(descs chan<- *prometheus.Desc) {
	for _, s := range c.described {
		descs <- s.desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	m := c.metrics()
	for _, s := range c.described {
		s.show(&m, func(value float64, labels ...string) {
			metrics <- prometheus.MustNewConstMetric(s.desc, s.kind, value, labels...)
		})
	}
}

// oneSeries is one metric, or one for each value of its labels.
type oneSeries struct {
	name, help string
	kind       prometheus.ValueType
	labels     []string
	show       func(m *db.Metrics, add func(value float64, labels ...string))
}

type number interface {
	~int | ~int64 | ~uint64
}

// counter is a metric that only grows while the database is open.
func counter[N number](name, help string, of func(m *db.Metrics) N) oneSeries {
	return oneSeries{name: name, help: help, kind: prometheus.CounterValue, show: func(m *db.Metrics, add func(float64, ...string)) { add(float64(of(m))) }}
}

// gauge is a metric that comes and goes.
func gauge[N number](name, help string, of func(m *db.Metrics) N) oneSeries {
	s := counter(name, help, of)
	s.kind = prometheus.GaugeValue
	return s
}

// seconds is a counter of time.
func seconds(name, help string, of func(m *db.Metrics) time.Duration) oneSeries {
	return oneSeries{name: name, help: help, kind: prometheus.CounterValue, show: func(m *db.Metrics, add func(float64, ...string)) { add(of(m).Seconds()) }}
}

// ofLevels is a metric of each level.
func ofLevels[N number](name, help string, kind prometheus.ValueType, of func(l *db.LevelMetrics) N) oneSeries {
	return oneSeries{name: name, help: help, kind: kind, labels: []string{"level"}, show: func(m *db.Metrics, add func(float64, ...string)) {
		for i := range m.Levels {
			add(float64(of(&m.Levels[i])), strconv.Itoa(m.Levels[i].Level))
		}
	}}
}

// ofStages is a metric of each stage of the pipeline.
func ofStages(name, help string, kind prometheus.ValueType, of func(s *db.StageMetrics) float64) oneSeries {
	return oneSeries{name: name, help: help, kind: kind, labels: []string{"stage"}, show: func(m *db.Metrics, add func(float64, ...string)) {
		for i := range m.Stages {
			add(of(&m.Stages[i]), m.Stages[i].Name)
		}
	}}
}

// ofJobs is a metric of flushes and one of compactions.
func ofJobs[N number](name, help string, kind prometheus.ValueType, of func(j *db.JobMetrics) N) oneSeries {
	return oneSeries{name: name, help: help, kind: kind, labels: []string{"job"}, show: func(m *db.Metrics, add func(float64, ...string)) {
		add(float64(of(&m.Flush)), "flush")
		add(float64(of(&m.Compact)), "compaction")
	}}
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}
