package view

import (
	"slices"
	"time"

	"lsmdb/internal/base"
	"lsmdb/manifest"
	"lsmdb/sstable"
)

// Explanation tells how a Get came to its answer.
type Explanation struct {
	Found     bool
	DecidedBy string // put, delete, range-delete, expiry, merge, nothing; empty after an error
	Level     int    // of the table that holds what decided; -1: a memtable does, or nothing decided
	Table     uint64 // 0 likewise
	Steps     []Step
	Time      time.Duration
}

// Step is a memtable or a table that was asked.
type Step struct {
	Place  string // memtable, sealed memtable, table
	Level  int    // -1: it is no table
	Table  uint64
	Filter string // absent, maybe; empty: no filter was asked
	Read   bool   // a block was read from the file
	Cached bool   // a block was in the cache
	Time   time.Duration
}

// Explain is a Get that notes what it does.
func (r Reading) Explain(at At, key []byte) (Explanation, error) {
	start := time.Now()
	t := trace{began: start}
	l := lookup{at: at, key: key, hash: base.Hash(key), trace: &t}
	r.find(&l)
	t.end(&l)
	x := Explanation{Found: l.found, DecidedBy: l.decision(), Level: -1, Steps: t.steps, Time: t.began.Sub(start)}
	decisive := len(t.steps)
	switch x.DecidedBy {
	case "", "nothing":
		return x, l.err
	case "merge":
		decisive = t.operand
	}
	x.Level, x.Table = t.steps[decisive-1].Level, t.steps[decisive-1].Table
	return x, l.err
}

// decision says what decided a search that is over.
func (l *lookup) decision() string {
	switch {
	case l.err != nil:
		return ""
	case len(l.operands) > 0:
		return "merge"
	case l.found:
		return "put"
	case l.kind == base.KindDelete:
		return "delete"
	case l.kind == base.KindSetExpiring:
		return "expiry"
	case l.cover > 0: // nothing newer was met
		return "range-delete"
	}
	return "nothing"
}

// trace notes the steps of a lookup.
type trace struct {
	steps   []Step
	began   time.Time // of the last one
	operand int       // how many steps it took to meet the newest operand; 0: none was met
}

// memtable begins the step of a memtable.
func (t *trace) memtable(l *lookup, active bool) {
	t.end(l)
	place := "sealed memtable"
	if active {
		place = "memtable"
	}
	t.steps = append(t.steps, Step{Place: place, Level: -1})
}

// table begins the step of a table.
func (t *trace) table(l *lookup, v *manifest.Version, m *manifest.TableMeta) {
	level := slices.IndexFunc(v.Levels[:], func(tables []*manifest.TableMeta) bool { return slices.Contains(tables, m) })
	t.end(l)
	t.steps = append(t.steps, Step{Place: "table", Level: level, Table: m.Number})
}

// search notes what the search of a table is about to do.
func (t *trace) search(l *lookup, table *sstable.Table, search base.InternalKey) {
	s, foresight := &t.steps[len(t.steps)-1], table.Foresee(search, l.hash)
	switch {
	case foresight.Absent:
		s.Filter = "absent"
	case foresight.Filtered:
		s.Filter = "maybe"
	}
	s.Read, s.Cached = s.Read || foresight.Read, s.Cached || foresight.Cached
}

// end ends the last step.
func (t *trace) end(l *lookup) {
	if n := len(t.steps); n > 0 {
		t.steps[n-1].Time = time.Since(t.began)
		if t.operand == 0 && len(l.operands) > 0 {
			t.operand = n
		}
	}
	t.began = time.Now()
}
