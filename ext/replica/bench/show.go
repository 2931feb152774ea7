package main

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// write writes what was measured as Markdown.
func write(out io.Writer, rounds int, stores, groups []figures) error {
	if len(stores)+len(groups) == 0 {
		return fmt.Errorf("no row of that name")
	}
	versions := newTable(table.Row{"store", "version", "settings"})
	for _, k := range kinds {
		versions.AppendRow(table.Row{k.name, k.version(), k.settings})
	}
	fmt.Fprintf(out, "%s\n\n", versions.RenderMarkdown())
	fmt.Fprintf(out, "Figures are medians of %d rounds, in which the stores took turns; ± is half the distance between the "+
		"extremes, given where that distance exceeds 20 %%. A dash: the store refuses what the row does: raft-wal stores no index "+
		"0, with which raft's StoreLog begins, and no gaps, which its DeleteRange leaves.\n", rounds)
	if len(stores) > 0 {
		fmt.Fprintf(out, "\n## Time of an operation\n\nLess is better. The last columns say how many times faster lsmdb is.\n\n")
		header := table.Row{"row"}
		for _, k := range kinds {
			header = append(header, k.name)
		}
		for _, k := range kinds[1:] {
			header = append(header, "vs "+k.name)
		}
		t := newTable(header)
		for _, f := range stores {
			line := table.Row{f.row.name}
			for i := range f.kinds {
				line = append(line, f.cell(i))
			}
			for i := range f.kinds[1:] {
				line = append(line, f.ratio(i+1))
			}
			t.AppendRow(line)
		}
		fmt.Fprintf(out, "%s\n", t.RenderMarkdown())
	}
	for _, f := range groups {
		fmt.Fprintf(out, "\n## %d groups\n\nAll groups of a process append at the same time, each one entry after the other.\n\n", manyGroups)
		t := newTable(table.Row{"store", "commits per second", "so many times more has lsmdb with one database"})
		for i, k := range f.kinds {
			commits := "–"
			if len(f.nanoseconds[i]) > 0 {
				commits = fmt.Sprintf("%.0f", 1e9/median(f.nanoseconds[i])) + spread(f.nanoseconds[i])
			}
			t.AppendRow(table.Row{k.name, commits, f.ratio(i)})
		}
		fmt.Fprintf(out, "%s\n", t.RenderMarkdown())
	}
	return nil
}

func newTable(header table.Row) table.Writer {
	t := table.NewWriter()
	t.AppendHeader(header)
	var columns []table.ColumnConfig
	for n := range header[1:] {
		columns = append(columns, table.ColumnConfig{Number: n + 2, Align: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	return t
}

// cell shows what one store took.
func (f figures) cell(i int) string {
	all := f.nanoseconds[i]
	if len(all) == 0 {
		return "–"
	}
	took := time.Duration(median(all))
	switch {
	case took < time.Microsecond:
		return fmt.Sprintf("%.1f ns%s", median(all), spread(all))
	case took < time.Millisecond:
		return fmt.Sprintf("%.1f µs%s", median(all)/1e3, spread(all))
	default:
		return fmt.Sprintf("%.1f ms%s", median(all)/1e6, spread(all))
	}
}

// ratio says how many times faster the first store is.
func (f figures) ratio(i int) string {
	if len(f.nanoseconds[0]) == 0 || len(f.nanoseconds[i]) == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", median(f.nanoseconds[i])/median(f.nanoseconds[0]))
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	half := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[half-1] + sorted[half]) / 2
	}
	return sorted[half]
}

// spread says how far the rounds lie apart, if that is much.
func spread(all []float64) string {
	apart := (slices.Max(all) - slices.Min(all)) / median(all)
	if apart <= 0.2 {
		return ""
	}
	return fmt.Sprintf(" ± %.0f %%", apart/2*100)
}
