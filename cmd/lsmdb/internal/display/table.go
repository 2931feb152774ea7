package display

import (
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/db"
)

// NewTable starts a table in the command's style: light, without a frame.
func (i Ink) NewTable(title string, header ...any) table.Writer {
	t := table.NewWriter()
	style := table.StyleLight
	style.Options.DrawBorder = false
	style.Options.SeparateColumns = false
	style.Format.Header = text.FormatDefault
	style.Format.Footer = text.FormatDefault
	style.Box.PaddingLeft, style.Box.PaddingRight = "  ", ""
	if i.On {
		style.Color.Header = text.Colors{text.Faint}
		style.Color.Separator = text.Colors{text.Faint}
	}
	t.SetStyle(style)
	if title != "" {
		t.SetTitle("  " + i.Bold(title))
		t.Style().Title.Align = text.AlignLeft
	}
	if len(header) > 0 {
		t.AppendHeader(header)
	}
	return t
}

// Render returns the table without the blanks that fill its last column.
func Render(t table.Writer) string {
	lines := strings.Split(t.Render(), "\n")
	for n, line := range lines {
		lines[n] = strings.TrimRight(line, " ")
	}
	return strings.Join(lines, "\n")
}

// AlignRight aligns columns, counted from 1, to the right.
func AlignRight(t table.Writer, columns ...int) {
	var configs []table.ColumnConfig
	for _, n := range columns {
		configs = append(configs, table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight, AlignFooter: text.AlignRight})
	}
	t.SetColumnConfigs(configs)
}

// TreeTable lists the populated levels.
func TreeTable(i Ink, m *db.Metrics) string {
	t := i.NewTable("The tree, by level", "level", "", "tables", "size", "entries", "deletes", "written", "jobs", "moves")
	AlignRight(t, 3, 4, 5, 6, 7, 8, 9)
	largest := int64(0)
	for _, l := range m.Levels {
		largest = max(largest, l.Bytes)
	}
	var sum db.LevelMetrics
	for _, l := range m.Levels {
		if l.Tables == 0 && l.Jobs == 0 && l.Moves == 0 {
			continue
		}
		t.AppendRow(table.Row{fmt.Sprintf("L%d", l.Level), i.Bar(float64(l.Bytes)/float64(max(largest, 1)), 10), units.Count(l.Tables), units.Size(l.Bytes),
			units.Count(l.Entries), units.Count(l.Deletes), units.Size(l.BytesWritten), units.Count(l.Jobs), units.Count(l.Moves)})
		sum.Tables += l.Tables
		sum.Bytes += l.Bytes
		sum.Entries += l.Entries
		sum.Deletes += l.Deletes
		sum.BytesWritten += l.BytesWritten
		sum.Jobs += l.Jobs
		sum.Moves += l.Moves
	}
	t.AppendFooter(table.Row{"all", "", units.Count(sum.Tables), units.Size(sum.Bytes), units.Count(sum.Entries), units.Count(sum.Deletes),
		units.Size(sum.BytesWritten), units.Count(sum.Jobs), units.Count(sum.Moves)})
	return Render(t)
}

// StageTable lists the stages in the order of the pipeline.
func StageTable(i Ink, m *db.Metrics) string {
	t := i.NewTable("The stages and their mailboxes", "stage", "messages", "mailbox", "busy", "held up", "")
	AlignRight(t, 2, 3, 4, 5)
	for _, s := range m.Stages {
		t.AppendRow(table.Row{strings.ToLower(s.Name), units.Count(s.Messages), fmt.Sprintf("%d/%d", s.Depth, s.Capacity),
			busyShare(busyTime(m, s), m.Uptime), units.Span(s.Blocked), i.Faint(stageRole(m, s))})
	}
	return Render(t)
}
