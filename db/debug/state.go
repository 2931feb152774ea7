package debug

import (
	"errors"
	"math"
	"time"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/inside"
	"lsmdb/stages"
)

// sample is what was read of the database at one moment.
type sample struct {
	at      time.Time
	metrics db.Metrics
	inside  inside.Picture
	health  error
	pins    pinsSeen // of now, or of some time ago
}

// state is what viewers see of one moment. Rates are per second, since the sample before.
type state struct {
	TimeMs   int64   `json:"time_ms"`
	Uptime   float64 `json:"uptime_s"`
	Headline string  `json:"headline"`
	Why      string  `json:"why"`
	Tone     tone    `json:"tone"`
	Health   string  `json:"health,omitempty"` // what DB.Health says
	ReadOnly bool    `json:"read_only,omitempty"`

	Commits float64 `json:"commits"` // a second
	Waiting float64 `json:"waiting"` // share of the time that writers were held back or slowed down
	Behind  string  `json:"behind,omitempty"`

	Stages   []stageState  `json:"stages"`
	Memtable memtableState `json:"memtable"`
	Level0   level0State   `json:"level0"`
	Workers  workersState  `json:"workers"`
	Jobs     []jobState    `json:"jobs"`
	Memory   []owner       `json:"memory"`
	Limit    int64         `json:"memory_limit"`
	Pins     pinsState     `json:"pins"`
	Tree     treeState     `json:"tree"`
	Facts    []fact        `json:"facts"`
	Recovery recoveryState `json:"recovery"`
	Marks    *marks        `json:"marks,omitempty"`
	reads    readState     // for the headline
}

// stageState is a stage with its mailbox. Waiting is the stage that it waits for; Held
// says how many senders waited for room in its mailbox, on average.
type stageState struct {
	Name     string  `json:"name"`
	Doing    doing   `json:"doing"`
	WaitsFor string  `json:"waits_for,omitempty"`
	Depth    int     `json:"depth"`
	Capacity int     `json:"capacity"`
	Rate     float64 `json:"rate"` // messages a second
	Busy     float64 `json:"busy"` // share of the time
	Held     float64 `json:"held"`
}

// doing is what a stage does, in a word.
type doing string

const (
	rests doing = "rests" // there is nothing to do
	works doing = "works"
	waits doing = "waits" // for the stage below
)

type memtableState struct {
	Bytes       int64 `json:"bytes"`
	Limit       int64 `json:"limit"`
	Entries     int64 `json:"entries"`
	Sealed      int   `json:"sealed"`
	SealedBytes int64 `json:"sealed_bytes"`
}

type level0State struct {
	Runs    int `json:"runs"`
	Trigger int `json:"trigger"` // their merge is due
	Limit   int `json:"limit"`   // flushes wait
}

type workersState struct {
	Running int `json:"running"`
	Limit   int `json:"limit"`
}

// jobState is a flush or a merge at work.
type jobState struct {
	Kind    string  `json:"kind"` // flush, merge
	From    int     `json:"from"` // level; -1: memory
	To      int     `json:"to"`
	Tables  int     `json:"tables"` // that it merges
	Bytes   int64   `json:"bytes"`  // of these
	Share   float64 `json:"share"`  // of the entries that were read
	Seconds float64 `json:"seconds"`
	Reason  string  `json:"reason,omitempty"`
}

// owner is what memory is taken for.
type owner struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// pinsState are the pins, the oldest first, at most shownPins of them.
type pinsState struct {
	AsOfMs int64    `json:"as_of_ms"` // when they were looked for; 0: nobody has yet
	Count  int      `json:"count"`
	Shown  []db.Pin `json:"shown"`
}

const shownPins = 20

type treeState struct {
	ID      int64  `json:"id"` // of the tree that Marks belong to
	Tables  int    `json:"tables"`
	Bytes   int64  `json:"bytes"`
	Entries uint64 `json:"entries"`
}

// fact is a figure with its name, for people.
type fact struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

type readState struct{ cached, fromFiles float64 } // blocks a second

// roles are the stages in the order of the page. A database that is open for reading has
// none, but the page shows what there would be.
var roles = []string{"writer", "flusher", "keeper", "compactor", "sweeper", "preparer"}

// newState works out what happened between two samples. Without a sample before, nothing did.
func newState(before *sample, now *sample) *state {
	m := &now.metrics
	elapsed := 0.0
	if before == nil {
		before = now
	} else {
		elapsed = now.at.Sub(before.at).Seconds()
	}
	s := &state{
		TimeMs: now.at.UnixMilli(), Uptime: m.Uptime.Seconds(), ReadOnly: now.inside.ReadOnly,
		Memtable: memtableState{m.Memtable.ActiveBytes, now.inside.MemtableBytes, m.Memtable.ActiveCount, m.Memtable.Sealed, m.Memtable.SealedBytes},
		Level0:   level0State{m.Levels[0].Tables, now.inside.Policy.L0Trigger, now.inside.Policy.L0Limit},
		Limit:    m.Memory.Limit, Memory: owners(&m.Memory), Jobs: []jobState{}, Pins: shorten(now.pins), Facts: facts(m), Recovery: recovered(&m.Recovery),
	}
	r := ratesOf(before, now, elapsed)
	s.Commits, s.Waiting, s.reads = r.commits, r.waiting, readState{r.cached, r.fromFiles}
	s.Behind = behind(&before.metrics, m, s)
	// That writers are held up is told by Behind, and better.
	if err := now.health; err != nil && (s.Behind == "" || base.IsShortage(err) || errors.Is(err, db.ErrReadOnly)) {
		s.Health = err.Error()
	}
	for _, j := range now.inside.Running {
		s.Jobs = append(s.Jobs, jobOf(j, now.at))
	}
	s.Workers.Limit = now.inside.Workers
	for _, j := range s.Jobs {
		if j.Kind == "merge" {
			s.Workers.Running++
		}
	}
	s.Tree.Tables, s.Tree.Bytes = m.Tables()
	for _, l := range m.Levels {
		s.Tree.Entries += l.Entries
	}
	s.Stages = stagesOf(before, now, s, elapsed)
	s.Headline, s.Tone = headline(s, m.Failure)
	s.Why = why(s)
	return s
}

// behind is the stage that writers wait for, also if they do not at this very moment.
func behind(before, m *db.Metrics, s *state) string {
	switch {
	case s.Waiting < noticeable:
		return ""
	case m.Stalls.Behind != "":
		return m.Stalls.Behind
	case m.Stalls.FlushSlowedTime > before.Stalls.FlushSlowedTime || s.Level0.Runs >= s.Level0.Limit*3/4:
		return "compactor"
	}
	return "flusher"
}

// noticeable is the share of the time from which on a wait is told.
const noticeable = 0.02

// stagesOf says what each stage did and does.
func stagesOf(before, now *sample, s *state, elapsed float64) []stageState {
	list := make([]stageState, len(roles))
	for i, name := range roles {
		list[i] = stageState{Name: name, Doing: rests}
		if i >= len(now.metrics.Stages) || i >= len(before.metrics.Stages) {
			continue
		}
		m, was := now.metrics.Stages[i], before.metrics.Stages[i]
		stage := &list[i]
		stage.Depth, stage.Capacity = m.Depth, m.Capacity
		if elapsed > 0 {
			stage.Rate = float64(m.Messages-was.Messages) / elapsed
			stage.Busy = min((m.Busy-was.Busy).Seconds()/elapsed, 1)
			stage.Held = (m.Blocked - was.Blocked).Seconds() / elapsed
		}
		if stage.Rate > 0 || stage.Depth > 0 || stage.Busy >= noticeable {
			stage.Doing = works
		}
	}
	writer, flusher, compactor := &list[0], &list[1], &list[3]
	if s.Workers.Running > 0 {
		compactor.Doing = works
	}
	for _, j := range s.Jobs {
		if j.Kind == "flush" {
			flusher.Doing = works
		}
	}
	if s.Behind != "" {
		writer.Doing, writer.WaitsFor = waits, "flusher"
	}
	if s.Behind == "compactor" {
		flusher.Doing, flusher.WaitsFor = waits, "compactor"
	}
	return list
}

// jobOf describes a job at work.
func jobOf(r stages.Running, now time.Time) jobState {
	j := jobState{Kind: "flush", From: -1, Tables: 1, Seconds: max(0, now.Sub(r.Since).Seconds())}
	if r.Entries > 0 {
		j.Share = float64(r.Read) / float64(r.Entries)
	}
	if c := r.Compaction; c != nil {
		j.Kind, j.From, j.To, j.Reason = "merge", c.Level, c.OutputLevel, c.Reason
		j.Tables, j.Bytes = len(c.Inputs)+len(c.Overlaps), c.InputBytes()
	}
	return j
}

// owners lists what memory is taken for, also what takes none, so that the list keeps its order.
func owners(m *db.MemoryMetrics) []owner {
	return []owner{
		{"memtables being filled", m.Memtables}, {"full memtables", m.Sealed}, {"cached blocks", m.Cache},
		{"indexes and filters", m.Tables}, {"flushes and merges", m.Jobs}, {"read ahead", m.ReadAhead}, {"room for Go's collector", m.Collector},
	}
}

func shorten(pins pinsSeen) pinsState {
	s := pinsState{Count: len(pins.list), Shown: append([]db.Pin{}, pins.list[:min(len(pins.list), shownPins)]...)}
	if !pins.at.IsZero() {
		s.AsOfMs = pins.at.UnixMilli()
	}
	return s
}

// rates are what curves show. Each is a column of a row.
type rates struct {
	commits, operations, userBytes, logBytes, tableBytes float64 // a second
	waiting                                              float64 // share of the time that writers waited
	syncMicros, groupMicros                              float64 // of one sync, and of one group at the Writer, on average
	cached, fromFiles                                    float64 // blocks a second
}

func ratesOf(before, now *sample, elapsed float64) (r rates) {
	if elapsed <= 0 {
		return r
	}
	m, was := &now.metrics, &before.metrics
	per := func(after, before uint64) float64 { return float64(after-before) / elapsed }
	r.commits, r.operations = per(m.Writes.Commits, was.Writes.Commits), per(m.Writes.Operations, was.Writes.Operations)
	r.userBytes, r.logBytes = per(m.Writes.UserBytes, was.Writes.UserBytes), per(m.WAL.BytesWritten, was.WAL.BytesWritten)
	r.tableBytes = per(m.Flush.BytesWritten+m.Compact.BytesWritten, was.Flush.BytesWritten+was.Compact.BytesWritten)
	r.cached, r.fromFiles = per(m.Cache.Hits, was.Cache.Hits), per(m.Reads.BlocksRead, was.Reads.BlocksRead)
	waited := m.Stalls.Time + m.Stalls.SlowedTime - was.Stalls.Time - was.Stalls.SlowedTime
	r.waiting = min(waited.Seconds()/elapsed, 1)
	if m.Stalls.Behind != "" && waited == 0 { // a wait counts when it ends
		r.waiting = 1
	}
	if n := m.WAL.Syncs - was.WAL.Syncs; n > 0 {
		r.syncMicros = float64((m.WAL.SyncTime - was.WAL.SyncTime).Microseconds()) / float64(n)
	}
	if n := m.Writes.Groups - was.Writes.Groups; n > 0 && len(m.Stages) > 0 {
		busy := m.Stages[0].Busy - was.Stages[0].Busy - waited
		r.groupMicros = max(0, float64(busy.Microseconds())/float64(n))
	}
	return r
}

// columns name what a row holds.
var columns = []string{"time_ms", "seconds", "operations", "user_bytes", "log_bytes", "table_bytes", "waiting_percent",
	"sync_us", "group_us", "cached", "from_files", "level0", "memory"}

// newRow is the part of the curves that lies between two samples.
func newRow(before, now *sample) []int64 {
	elapsed := 0.0
	if before != nil {
		elapsed = now.at.Sub(before.at).Seconds()
	} else {
		before = now
	}
	r := ratesOf(before, now, elapsed)
	row := []int64{now.at.UnixMilli()}
	for _, v := range []float64{elapsed, r.operations, r.userBytes, r.logBytes, r.tableBytes, 100 * r.waiting, r.syncMicros, r.groupMicros, r.cached, r.fromFiles} {
		row = append(row, int64(math.Round(v)))
	}
	return append(row, int64(now.metrics.Levels[0].Tables), now.metrics.Memory.Used)
}
