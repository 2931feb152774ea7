package workload

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

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

// Client is one goroutine that works on an engine.
type Client struct {
	ID        int
	rng       *rand.Rand
	key       []byte
	value     []byte
	units     int64 // entries done beyond one per operation
	userBytes int64
	latencies *measure.Latencies
}

// How background work is waited for: until it rests for quietWindow, or for less in
// runs that are too short to say anything but that the engines work.
const (
	settleLimit = 15 * time.Minute
	quietWindow = 250 * time.Millisecond
	leastQuiet  = 50 * time.Millisecond
)

// clients lets n goroutines call op for their share of the numbers below total, or,
// when total is 0, for all numbers of their stripe until time is up. op returns
// whether to go on.
func (r *Run) clients(n int, total int64, op func(c *Client, i int64) (bool, error)) error {
	limit := r.Scale.Cap
	if total == 0 {
		total, limit = math.MaxInt64, r.Scale.Duration
	} else {
		r.total.Store(total)
	}
	team := make([]*Client, n)
	capped := make([]bool, n)
	var group errgroup.Group
	start := time.Now()
	for id := range team {
		c := &Client{ID: id, rng: newRand(id), latencies: measure.NewLatencies()}
		team[id] = c
		group.Go(func() (err error) {
			capped[id], err = r.client(c, n, total, start, limit, op)
			return err
		})
	}
	err := group.Wait()
	r.outcome.elapsed += time.Since(start)
	r.outcome.clients = n
	for id, c := range team {
		r.outcome.operations += c.latencies.Count() + c.units
		r.outcome.userBytes += c.userBytes
		r.outcome.latencies.Merge(c.latencies)
		r.outcome.capped = r.outcome.capped || capped[id] && total != math.MaxInt64
	}
	return err
}

// client is the loop of one goroutine. One reading of the clock per operation ends
// its time and begins that of the next.
func (r *Run) client(c *Client, n int, total int64, start time.Time, limit time.Duration,
	op func(*Client, int64) (bool, error)) (capped bool, err error) {
	last := time.Since(start)
	reported := int64(0)
	for i := int64(c.ID); i < total; i += int64(n) {
		more, err := op(c, i)
		if err != nil {
			return false, fmt.Errorf("client %d, operation %d: %w", c.ID, i, err)
		}
		now := time.Since(start)
		c.latencies.Record(now - last)
		last = now
		if c.latencies.Count()&255 == 0 {
			r.done.Add(c.latencies.Count() + c.units - reported)
			reported = c.latencies.Count() + c.units
		}
		if !more {
			return false, nil
		}
		if now > limit {
			return true, nil
		}
	}
	return false, nil
}

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
	opened, err := r.kind.Open(r.options)
	if err != nil {
		return fmt.Errorf("open %s: %w", r.kind.Name, err)
	}
	r.Engine = opened
	return nil
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

func newRand(id int) *rand.Rand { return rand.New(rand.NewPCG(uint64(id), 7)) }
