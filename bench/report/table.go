package report

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"lsmdb/bench/engine"
)

// WriteTables prints one table per metric. An asterisk marks a figure of a workload
// that was ended before all was done.
func WriteTables(out io.Writer, rows []Row, kinds []engine.Kind, color bool) {
	for _, m := range Metrics() {
		var ofMetric []Row
		for _, r := range rows {
			if r.Metric == m.Name {
				ofMetric = append(ofMetric, r)
			}
		}
		if len(ofMetric) > 0 {
			writeTable(out, m, ofMetric, kinds, color)
		}
	}
}

func writeTable(out io.Writer, m Metric, rows []Row, kinds []engine.Kind, color bool) {
	t := table.NewWriter()
	t.SetOutputMirror(out)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	direction := "more is better"
	if m.LowerBetter {
		direction = "less is better"
	}
	fmt.Fprintf(out, "%s (%s); ratios: lsmdb is so many times better\n", m.Title, direction)
	header := table.Row{"workload"}
	columns := []table.ColumnConfig{}
	for _, k := range kinds {
		header = append(header, k.Name)
	}
	header = append(header, "best Go LSM", "bbolt", "RocksDB")
	for at := 2; at <= len(header); at++ {
		columns = append(columns, table.ColumnConfig{Number: at, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	t.AppendHeader(header)
	for _, r := range rows {
		line := table.Row{r.Workload}
		for _, k := range kinds {
			line = append(line, cell(r, k.Name, m.Digits))
		}
		line = append(line, ratio(r.Ratios.BestGo, color), ratio(r.Ratios.Bbolt, color), ratio(r.Ratios.RocksDB, color))
		t.AppendRow(line)
	}
	t.Render()
	fmt.Fprintln(out)
}

func cell(r Row, name string, digits int) string {
	value, ok := r.Median[name]
	if !ok {
		return "-"
	}
	mark := ""
	if slices.Contains(r.Capped, name) {
		mark = "*"
	}
	return number(value, digits) + mark
}

// number writes a value with commas between thousands.
func number(value float64, digits int) string {
	whole, fraction, _ := strings.Cut(strconv.FormatFloat(value, 'f', digits, 64), ".")
	for at := len(whole) - 3; at > 0; at -= 3 {
		whole = whole[:at] + "," + whole[at:]
	}
	if fraction != "" {
		return whole + "." + fraction
	}
	return whole
}

func ratio(value float64, color bool) string {
	switch {
	case value == 0:
		return "-"
	case color && value < 1:
		return text.FgRed.Sprintf("%.2f", value)
	case color:
		return text.FgGreen.Sprintf("%.2f", value)
	}
	return fmt.Sprintf("%.2f", value)
}
