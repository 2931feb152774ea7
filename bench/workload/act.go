package workload

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"time"

	"lsmdb/bench/engine"
)

// Request says what a child process is to do; it is sent as JSON.
type Request struct {
	Engine     string `json:"engine"`
	Section    string `json:"section"`
	Act        int    `json:"act"`
	Round      int    `json:"round"`
	Dir        string `json:"dir"`
	ProfileDir string `json:"profile_dir,omitempty"` // write profiles of measured steps; empty: none
	Scale      Scale  `json:"scale"`
}

// Event is what a child process tells; exactly one field is set.
type Event struct {
	Step     string    `json:"step,omitempty"` // begins
	Progress *Progress `json:"progress,omitempty"`
	Result   *Result   `json:"result,omitempty"`
}

// Progress is how far a step has come.
type Progress struct {
	Done  int64 `json:"done"`
	Total int64 `json:"total"` // 0: bounded by time
}

// Sizes that are the same for all engines.
const (
	memtableBytes = 64 << 20
	cacheBytes    = 512 << 20
	coldCache     = 64 << 20
	smallMemtable = 4 << 20
	leastCache    = 1 << 20
	coldFraction  = 32 // of the user's bytes, when that is less than coldCache
	filterBits    = 10
)

// Find returns a section of the table.
func Find(name string) (Section, error) {
	for _, s := range slices.Concat(Sections(), GrowthSections()) {
		if s.Name == name {
			return s, nil
		}
	}
	return Section{}, fmt.Errorf("no section %q", name)
}

// Scaled returns the amount of work of this section.
func (s Section) Scaled(scale Scale) Scale {
	if s.Big {
		scale.Entries = scale.ColdEntries
	}
	if s.ValueBytes > 0 {
		scale.Entries = max(1000, scale.Entries*int64(KeyBytes+scale.ValueBytes)/int64(KeyBytes+s.ValueBytes))
		scale.ValueBytes = s.ValueBytes
	}
	if s.MaxEntries > 0 {
		scale.Entries = min(scale.Entries, s.MaxEntries)
	}
	return scale
}

// EngineOptions returns what every engine is opened with in an act.
func EngineOptions(a Act, scale Scale, dir string) engine.Options {
	o := engine.Options{
		Dir: dir, MemtableBytes: memtableBytes, CacheBytes: cacheBytes, FilterBits: filterBits,
		Sync: a.Sync, Queued: a.Queued, Clients: a.Clients, Small: a.Small, Conflicts: a.Conflicts, Zstd: a.Zstd,
	}
	if n := a.databases(scale); n > 0 {
		o.CacheBytes = max(leastCache, cacheBytes/int64(n))
	}
	if len(scale.ClientCounts) > 0 {
		o.Clients = slices.Max(scale.ClientCounts)
	}
	if a.Small {
		o.MemtableBytes = smallMemtable
	}
	if a.Cold {
		userBytes := scale.Entries * int64(KeyBytes+scale.ValueBytes)
		o.CacheBytes = max(leastCache, min(coldCache, userBytes/coldFraction))
	}
	return o
}

// RunAct does one act in this process and tells about it. After an act that
// crashes, the caller must end the process without more ado.
func RunAct(q Request, tell func(Event)) error {
	kind, err := engine.Find(q.Engine)
	if err != nil {
		return err
	}
	section, err := Find(q.Section)
	if err != nil {
		return err
	}
	act := section.Acts[q.Act]
	scale := section.Scaled(q.Scale)
	r := &Run{
		Data:    NewDataset(scale.Entries, scale.ValueBytes, scale.Counter, section.Text),
		Scale:   scale,
		kind:    kind,
		options: EngineOptions(act, scale, q.Dir),
		many:    act.databases(scale),
	}
	if !act.Closed {
		if err := r.open(); err != nil {
			return err
		}
	}
	defer tellProgress(r, tell)()
	for _, s := range act.Steps {
		if err := r.repeat(s, q, tell); err != nil {
			return errors.Join(fmt.Errorf("%s: %s: %w", q.Engine, s.Name, err), r.close())
		}
	}
	if act.Crash {
		return nil
	}
	return r.close()
}

// repeat runs a step, once for each number of clients if it asks for that.
func (r *Run) repeat(s Step, q Request, tell func(Event)) error {
	if !s.PerCount {
		return r.step(s, q, tell)
	}
	for _, count := range r.Scale.ClientCounts {
		r.count = count
		if err := r.step(s, q, tell); err != nil {
			return fmt.Errorf("%d clients: %w", count, err)
		}
	}
	return nil
}

func (r *Run) step(s Step, q Request, tell func(Event)) error {
	tell(Event{Step: s.Name})
	measured := s.About != ""
	if measured && q.ProfileDir != "" {
		stop, err := profile(q.ProfileDir, fmt.Sprintf("%s-%s-round%d", q.Engine, s.Name, q.Round))
		if err != nil {
			return err
		}
		defer stop()
	}
	result, err := r.measureStep(s)
	if err != nil || !measured {
		return err
	}
	result.Engine, result.Section, result.Round = q.Engine, q.Section, q.Round
	result.Processors = runtime.GOMAXPROCS(0)
	if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
		result.MemoryLimit = limit
	}
	if result.UserBytes > 0 {
		result.Survives = r.kind.Survives(r.options)
	}
	if s.Synced {
		result.Survives = engine.PowerFailure
	}
	tell(Event{Result: &result})
	return nil
}

// tellProgress reports twice a second until the returned function is called.
func tellProgress(r *Run, tell func(Event)) (stop func()) {
	const interval = 500 * time.Millisecond
	// stopping is closed by stop, and finished by the goroutine; neither carries values.
	stopping, finished := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(finished)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-stopping:
				return
			case <-ticker.C:
				tell(Event{Progress: &Progress{Done: r.done.Load(), Total: r.total.Load()}})
			}
		}
	}()
	return func() {
		close(stopping)
		<-finished
	}
}

// profile writes a processor profile until stopped, and then one of the heap.
func profile(dir, name string) (stop func(), err error) {
	f, err := os.Create(filepath.Join(dir, name+".cpu.pprof"))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		f.Close()
		if heap, err := os.Create(filepath.Join(dir, name+".heap.pprof")); err == nil {
			pprof.WriteHeapProfile(heap)
			heap.Close()
		}
	}, nil
}
