package workload

import (
	"fmt"
	"math"
	"runtime"
	"sync/atomic"
	"time"

	"lsmdb/bench/engine"
	"lsmdb/bench/measure"
)

// Scale is how much work is done.
type Scale struct {
	Entries     int64         `json:"entries"`
	ColdEntries int64         `json:"cold_entries"` // of cold reads and sustained load
	ValueBytes  int           `json:"value_bytes"`
	Duration    time.Duration `json:"duration_ns"` // of workloads without a fixed number of operations
	Cap         time.Duration `json:"cap_ns"`      // at most, of those with one
	Counter     bool          `json:"counter"`     // see NewDataset
	Rate        int64         `json:"rate"`        // operations per second of steps at a fixed rate; of synced ones a tenth
	// ClientCounts are those of steps that are repeated for each (Step.PerCount).
	ClientCounts []int `json:"client_counts,omitempty"`
}

// Result is what one workload cost one engine in one round.
type Result struct {
	Engine   string `json:"engine"`
	Section  string `json:"section"`
	Workload string `json:"workload"`
	Round    int    `json:"round"`
	Entries  int64  `json:"entries"` // of the database
	Clients  int    `json:"clients"` // goroutines that were measured
	// Processors is GOMAXPROCS, MemoryLimit GOMEMLIMIT in bytes (0: none).
	Processors  int   `json:"processors"`
	MemoryLimit int64 `json:"memory_limit_bytes,omitempty"`
	// Survives says what the newest writes of the workload do; empty: it wrote nothing.
	Survives engine.Survival `json:"survives,omitempty"`

	Operations    int64              `json:"operations"` // entries written or read
	Seconds       float64            `json:"seconds"`
	OpsPerSecond  float64            `json:"ops_per_second"`
	Capped        bool               `json:"capped"` // ended by Scale.Cap before all was done
	Latency       measure.Summary    `json:"latency"`
	Acknowledged  *measure.Summary   `json:"acknowledged_latency,omitempty"` // of a sample of pipelined writes
	CPUNanos      float64            `json:"cpu_ns_per_op"`
	Allocations   float64            `json:"allocations_per_op"` // Go heap only
	AllocBytes    float64            `json:"allocated_bytes_per_op"`
	UserBytes     int64              `json:"user_bytes"`
	WrittenBytes  uint64             `json:"written_bytes"` // until settled, where Settled
	ReadBytes     uint64             `json:"read_bytes"`    // likewise
	DeviceReads   uint64             `json:"device_read_bytes"`
	DiskBytes     uint64             `json:"disk_bytes"`
	PeakMemory    uint64             `json:"peak_memory_bytes"`
	Settled       bool               `json:"settled"` // background work was waited for before disk and written bytes were read
	SettleSeconds float64            `json:"settle_seconds"`
	Extra         map[string]float64 `json:"extra,omitempty"`
}

// Run is one act under way: what its steps need. The driver's goroutine owns it;
// clients read it.
type Run struct {
	Data    *Dataset
	Scale   Scale
	Engine  engine.Engine // nil while closed
	kind    engine.Kind
	options engine.Options
	many    int             // databases to open; 0: one, in the directory itself
	count   int             // of clients, in a step that is repeated for several counts
	zipf    *zipf           // of all entries; made at first use
	flips   []atomic.Uint32 // by entry; see countFlips
	copyDir string          // of a checkpoint

	done    atomic.Int64 // operations of the current step, for the progress display
	total   atomic.Int64 // expected; 0: bounded by time
	extra   map[string]float64
	outcome outcome
}

// outcome is what the clients of one step did together.
type outcome struct {
	operations int64
	clients    int
	userBytes  int64
	elapsed    time.Duration
	latencies  *measure.Latencies
	acks       *measure.Latencies // nil: the answer is the acknowledgement
	capped     bool
}

// How background work is waited for: until it rests for quietWindow, or for less in
// runs that are too short to say anything but that the engines work.
const (
	settleLimit = 15 * time.Minute
	quietWindow = 250 * time.Millisecond
	leastQuiet  = 50 * time.Millisecond
)

// measureStep runs one step and returns what it cost.
func (r *Run) measureStep(s Step) (Result, error) {
	r.outcome = outcome{latencies: measure.NewLatencies()}
	r.extra = nil
	r.done.Store(0)
	r.total.Store(0)
	runtime.GC()
	measure.ResetPeakMemory()
	before := measure.Now()
	start := time.Now()
	if err := s.Do(r); err != nil {
		return Result{}, err
	}
	if r.outcome.elapsed == 0 {
		r.outcome.elapsed = time.Since(start)
	}
	used := measure.Now().Sub(before)
	o := r.outcome
	operations := float64(max(o.operations, 1))
	result := Result{
		Workload: s.Name, Entries: r.Data.Entries, Clients: max(1, o.clients), Operations: o.operations, Seconds: o.elapsed.Seconds(),
		OpsPerSecond: float64(o.operations) / o.elapsed.Seconds(), Capped: o.capped,
		Latency: o.latencies.Summary(), CPUNanos: float64(used.CPU) / operations,
		Allocations: float64(used.Allocations) / operations, AllocBytes: float64(used.AllocBytes) / operations,
		UserBytes: o.userBytes, WrittenBytes: used.WrittenBytes, ReadBytes: used.ReadBytes, DeviceReads: used.DeviceReads, Extra: r.extra,
	}
	if o.acks != nil {
		summary := o.acks.Summary()
		result.Acknowledged = &summary
	}
	if s.Settle {
		settleStart := time.Now()
		if err := r.settle(); err != nil {
			return Result{}, err
		}
		result.Settled, result.SettleSeconds = true, time.Since(settleStart).Seconds()
		used := measure.Now().Sub(before)
		result.WrittenBytes, result.ReadBytes, result.DeviceReads = used.WrittenBytes, used.ReadBytes, used.DeviceReads
	}
	result.PeakMemory = measure.PeakMemory()
	var err error
	result.DiskBytes, err = measure.DirectoryBytes(r.options.Dir)
	return result, err
}

// settle flushes and waits until the engine has nothing left to do.
func (r *Run) settle() error {
	if err := r.Engine.Flush(); err != nil {
		return err
	}
	window := min(quietWindow, max(2*r.Scale.Duration, leastQuiet))
	return measure.Quiet(window, settleLimit)
}

// note adds a figure of the step's own to its result.
func (r *Run) note(name string, value float64) {
	if r.extra == nil {
		r.extra = map[string]float64{}
	}
	r.extra[name] = value
}

func (r *Run) open() error {
	opened, err := r.openAll()
	if err != nil {
		return fmt.Errorf("open %s: %w", r.kind.Name, err)
	}
	r.Engine = opened
	return nil
}

func (r *Run) openAll() (engine.Engine, error) {
	if r.many > 0 {
		return engine.OpenMany(r.kind, r.options, r.many)
	}
	return r.kind.Open(r.options)
}

func (r *Run) close() error {
	if r.Engine == nil {
		return nil
	}
	err := r.Engine.Close()
	r.Engine = nil
	return err
}

// uncapped lets what follows finish however long it takes, until the returned
// function is called.
func (r *Run) uncapped() (restore func()) {
	limit := r.Scale.Cap
	r.Scale.Cap = math.MaxInt64
	return func() { r.Scale.Cap = limit }
}

// zipfian returns the skewed distribution over all entries.
func (r *Run) zipfian() *zipf {
	if r.zipf == nil {
		r.zipf = newZipf(r.Data.Entries)
	}
	return r.zipf
}
