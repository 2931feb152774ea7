package display

import (
	"fmt"
	"strings"
	"time"

	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/db"
)

// The pipeline and the tree as pictures: a few lines that are redrawn while a
// command works, and tables for its end.

// stageRole says in a few words what a stage is for.
func stageRole(m *db.Metrics, s db.StageMetrics) string {
	switch strings.ToLower(s.Name) {
	case "writer":
		return "logs, fills the memtable"
	case "preparer":
		return "prepares room in the log"
	case "flusher":
		return "writes memtables as tables"
	case "keeper":
		return "records changes of the tree"
	case "compactor":
		if busyTime(m, s) > m.Uptime { // says how it can be busy for more than all the time
			return "merges, several at a time"
		}
		return "merges tables downwards"
	case "sweeper":
		return "deletes unneeded files"
	}
	return ""
}

// PipelineLines draws the stages with their mailboxes, then the tree.
func PipelineLines(i Ink, m *db.Metrics) []string {
	lines := []string{"", i.Faint(fmt.Sprintf("  %-9s %-13s %9s %5s %7s", "stage", "mailbox", "messages", "busy", "held up"))}
	for _, s := range m.Stages {
		depth := fmt.Sprintf("%d/%d", s.Depth, s.Capacity)
		box := i.Bar(units.Fraction(int64(s.Depth), int64(s.Capacity)), 6)
		if s.Capacity > 0 && s.Depth >= s.Capacity {
			box = i.Warm(strings.Repeat("█", 6))
		}
		lines = append(lines, fmt.Sprintf("  %-9s %s %6s %9s %5s %7s  %s", strings.ToLower(s.Name), box, depth,
			units.Count(s.Messages), busyShare(busyTime(m, s), m.Uptime), units.Span(s.Blocked), i.Faint(stageRole(m, s))))
	}
	return append(append(lines, ""), treeLines(i, m)...)
}

// busyTime is how long a stage worked. The compactor's loop only hands out jobs:
// its workers' time, which may exceed the clock's, is its own.
func busyTime(m *db.Metrics, s db.StageMetrics) time.Duration {
	if strings.EqualFold(s.Name, "compactor") {
		return s.Busy + m.Compact.Time
	}
	return s.Busy
}

func busyShare(busy, uptime time.Duration) string {
	if uptime <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f %%", 100*busy.Seconds()/uptime.Seconds())
}

// treeLines draws the memtables, level 0 and the levels from the first populated
// one down as bars, all to one scale.
func treeLines(i Ink, m *db.Metrics) []string {
	largest := m.Memtable.ActiveBytes + m.Memtable.SealedBytes
	for _, l := range m.Levels {
		largest = max(largest, l.Bytes)
	}
	line := func(name string, sizeBytes int64, detail string) string {
		share := 0.0
		if largest > 0 {
			share = float64(sizeBytes) / float64(largest)
		}
		return fmt.Sprintf("  %-10s %s %9s  %s", name, i.Bar(share, 24), units.Size(sizeBytes), i.Faint(detail))
	}
	lines := []string{line("memtables", m.Memtable.ActiveBytes+m.Memtable.SealedBytes, memtableDetail(m))}
	populated := false
	for _, l := range m.Levels {
		populated = populated || l.Level > 0 && l.Tables > 0
		if l.Level > 0 && !populated {
			continue
		}
		detail := ""
		if l.Tables > 0 {
			detail = fmt.Sprintf("%s, %s", units.Plural(l.Tables, "table", "tables"), units.Plural(l.Entries, "entry", "entries"))
		}
		lines = append(lines, line(fmt.Sprintf("level %d", l.Level), l.Bytes, detail))
	}
	return lines
}

func memtableDetail(m *db.Metrics) string {
	detail := units.Plural(m.Memtable.ActiveCount, "entry", "entries")
	if m.Memtable.Sealed > 0 {
		detail += fmt.Sprintf(", %d sealed", m.Memtable.Sealed)
	}
	return detail
}
