package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"lsmdb/db"
)

// The pipeline and the tree as pictures: a few lines that are redrawn while a
// command works, and tables for its end.

// stageRole says in a few words what a stage is for.
func stageRole(name string) string {
	switch strings.ToLower(name) {
	case "writer":
		return "logs, fills the memtable"
	case "flusher":
		return "writes memtables as tables"
	case "keeper":
		return "records changes of the tree"
	case "compactor":
		return "merges tables downwards"
	case "sweeper":
		return "deletes unneeded files"
	}
	return ""
}

// pipelineLines draws the stages with their mailboxes, then the tree.
func pipelineLines(i ink, m *db.Metrics) []string {
	lines := []string{"", i.faint(fmt.Sprintf("  %-9s %-13s %9s %5s %7s", "stage", "mailbox", "messages", "busy", "held up"))}
	for _, s := range m.Stages {
		depth := fmt.Sprintf("%d/%d", s.Depth, s.Capacity)
		box := i.bar(fraction(int64(s.Depth), int64(s.Capacity)), 6)
		if s.Capacity > 0 && s.Depth >= s.Capacity {
			box = i.warm(strings.Repeat("█", 6))
		}
		lines = append(lines, fmt.Sprintf("  %-9s %s %6s %9s %5s %7s  %s", strings.ToLower(s.Name), box, depth,
			count(s.Messages), busyShare(busyTime(m, s), m.Uptime), span(s.Blocked), i.faint(stageRole(s.Name))))
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
func treeLines(i ink, m *db.Metrics) []string {
	largest := m.Memtable.ActiveBytes + m.Memtable.SealedBytes
	for _, l := range m.Levels {
		largest = max(largest, l.Bytes)
	}
	line := func(name string, sizeBytes int64, detail string) string {
		share := 0.0
		if largest > 0 {
			share = float64(sizeBytes) / float64(largest)
		}
		return fmt.Sprintf("  %-10s %s %9s  %s", name, i.bar(share, 24), size(sizeBytes), i.faint(detail))
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
			detail = fmt.Sprintf("%s, %s", plural(l.Tables, "table", "tables"), plural(l.Entries, "entry", "entries"))
		}
		lines = append(lines, line(fmt.Sprintf("level %d", l.Level), l.Bytes, detail))
	}
	return lines
}

func memtableDetail(m *db.Metrics) string {
	detail := plural(m.Memtable.ActiveCount, "entry", "entries")
	if m.Memtable.Sealed > 0 {
		detail += fmt.Sprintf(", %d sealed", m.Memtable.Sealed)
	}
	return detail
}

// newTable starts a table in the command's style: light, without a frame.
func (i ink) newTable(title string, header ...any) table.Writer {
	t := table.NewWriter()
	style := table.StyleLight
	style.Options.DrawBorder = false
	style.Options.SeparateColumns = false
	style.Format.Header = text.FormatDefault
	style.Format.Footer = text.FormatDefault
	style.Box.PaddingLeft, style.Box.PaddingRight = "  ", ""
	if i.on {
		style.Color.Header = text.Colors{text.Faint}
		style.Color.Separator = text.Colors{text.Faint}
	}
	t.SetStyle(style)
	if title != "" {
		t.SetTitle("  " + i.bold(title))
		t.Style().Title.Align = text.AlignLeft
	}
	if len(header) > 0 {
		t.AppendHeader(header)
	}
	return t
}

// render returns the table without the blanks that fill its last column.
func render(t table.Writer) string {
	lines := strings.Split(t.Render(), "\n")
	for n, line := range lines {
		lines[n] = strings.TrimRight(line, " ")
	}
	return strings.Join(lines, "\n")
}

// alignRight aligns columns, counted from 1, to the right.
func alignRight(t table.Writer, columns ...int) {
	var configs []table.ColumnConfig
	for _, n := range columns {
		configs = append(configs, table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight, AlignFooter: text.AlignRight})
	}
	t.SetColumnConfigs(configs)
}

// treeTable lists the populated levels.
func treeTable(i ink, m *db.Metrics) string {
	t := i.newTable("The tree, by level", "level", "", "tables", "size", "entries", "deletes", "written", "jobs", "moves")
	alignRight(t, 3, 4, 5, 6, 7, 8, 9)
	largest := int64(0)
	for _, l := range m.Levels {
		largest = max(largest, l.Bytes)
	}
	var sum db.LevelMetrics
	for _, l := range m.Levels {
		if l.Tables == 0 && l.Jobs == 0 && l.Moves == 0 {
			continue
		}
		t.AppendRow(table.Row{fmt.Sprintf("L%d", l.Level), i.bar(float64(l.Bytes)/float64(max(largest, 1)), 10), count(l.Tables), size(l.Bytes),
			count(l.Entries), count(l.Deletes), size(l.BytesWritten), count(l.Jobs), count(l.Moves)})
		sum.Tables += l.Tables
		sum.Bytes += l.Bytes
		sum.Entries += l.Entries
		sum.Deletes += l.Deletes
		sum.BytesWritten += l.BytesWritten
		sum.Jobs += l.Jobs
		sum.Moves += l.Moves
	}
	t.AppendFooter(table.Row{"all", "", count(sum.Tables), size(sum.Bytes), count(sum.Entries), count(sum.Deletes),
		size(sum.BytesWritten), count(sum.Jobs), count(sum.Moves)})
	return render(t)
}

// stageTable lists the stages in the order of the pipeline.
func stageTable(i ink, m *db.Metrics) string {
	t := i.newTable("The stages and their mailboxes", "stage", "messages", "mailbox", "busy", "held up", "")
	alignRight(t, 2, 3, 4, 5)
	for _, s := range m.Stages {
		t.AppendRow(table.Row{strings.ToLower(s.Name), count(s.Messages), fmt.Sprintf("%d/%d", s.Depth, s.Capacity),
			busyShare(busyTime(m, s), m.Uptime), span(s.Blocked), i.faint(stageRole(s.Name))})
	}
	return render(t)
}
