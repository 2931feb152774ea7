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
	"lsmdb/bench/workload"
)

// block is what goes into one table: one metric of all workloads, or of one workload
// that grows.
type block struct {
	metric Metric
	title  string
	head   string // of the first column
	rows   []Row
}

// blocks groups rows for tables: first the comparison, then growth, workload by
// workload.
func blocks(rows []Row) []block {
	var compared, grown []block
	for _, m := range Metrics() {
		var ofMetric []Row
		for _, r := range rows {
			if r.Metric == m.Name && r.Axis == "" {
				ofMetric = append(ofMetric, r)
			}
		}
		if len(ofMetric) > 0 {
			compared = append(compared, block{metric: m, title: m.Title, head: "workload", rows: ofMetric})
		}
	}
	for _, section := range workload.GrowthSections() {
		for _, step := range measured(section) {
			for _, m := range Metrics() {
				b := block{metric: m, head: string(section.Axis)}
				b.title = fmt.Sprintf("%s by number of %s: %s", step.Name, section.Axis, m.Title)
				for _, r := range rows {
					if r.Metric == m.Name && r.Section == section.Name && r.Workload == step.Name {
						b.rows = append(b.rows, r)
					}
				}
				if len(b.rows) > 0 {
					grown = append(grown, b)
				}
			}
		}
	}
	return append(compared, grown...)
}

// WriteTables prints one table per metric. An asterisk marks a figure of a workload
// that was ended before all was done.
func WriteTables(out io.Writer, rows []Row, kinds []engine.Kind, color bool) {
	for _, b := range blocks(rows) {
		fmt.Fprintf(out, "%s (%s); ratios: lsmdb is so many times better\n", b.title, b.metric.direction())
		t := b.table(kinds, color)
		t.SetStyle(table.StyleLight)
		t.Style().Format.Header = text.FormatDefault
		fmt.Fprintf(out, "%s\n\n", t.Render())
	}
}

func (m Metric) direction() string {
	if m.LowerBetter {
		return "less is better"
	}
	return "more is better"
}

// peer is a column of ratios.
type peer struct {
	name string
	of   func(Ratios) float64
}

// peers returns those that take part.
func peers(kinds []engine.Kind) []peer {
	var present []peer
	if slices.ContainsFunc(kinds, func(k engine.Kind) bool { return k.Go && k.LSM && k.Name != "lsmdb" }) {
		present = append(present, peer{"best Go LSM store", func(r Ratios) float64 { return r.BestGo }})
	}
	for _, k := range kinds {
		switch k.Name {
		case "bbolt":
			present = append(present, peer{"bbolt", func(r Ratios) float64 { return r.Bbolt }})
		case "rocksdb":
			present = append(present, peer{"RocksDB", func(r Ratios) float64 { return r.RocksDB }})
		}
	}
	return present
}

func (b block) table(kinds []engine.Kind, color bool) table.Writer {
	header := table.Row{b.head}
	for _, k := range kinds {
		header = append(header, k.Name)
	}
	for _, p := range peers(kinds) {
		header = append(header, "vs "+p.name)
	}
	t := newTable(header)
	for _, r := range b.rows {
		line := table.Row{r.label()}
		for _, k := range kinds {
			line = append(line, cell(r, k.Name, b.metric.Digits))
		}
		for _, p := range peers(kinds) {
			line = append(line, ratio(p.of(r.Ratios), color))
		}
		t.AppendRow(line)
	}
	return t
}

// newTable aligns all columns but the first to the right.
func newTable(header table.Row) table.Writer {
	t := table.NewWriter()
	var columns []table.ColumnConfig
	for at := 2; at <= len(header); at++ {
		columns = append(columns, table.ColumnConfig{Number: at, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	t.AppendHeader(header)
	return t
}

func (r Row) label() string {
	label := r.Workload
	if r.Axis != "" {
		label = number(float64(r.Point), 0)
	}
	if r.Processors > 0 {
		label += fmt.Sprintf(" cpu=%d", r.Processors)
	}
	return label
}

// marks say what the newest writes of a figure survive.
var marks = map[engine.Survival]string{engine.Nothing: "†", engine.PowerFailure: "‡"}

// MarksLine explains the marks.
const MarksLine = "† a killed process may lose the newest of these writes; ‡ they survive a power failure; " +
	"writes without a mark survive a killed process, and a power failure may take the newest"

// largeSpread is the spread of rounds that a table mentions.
const largeSpread = 0.2

func cell(r Row, name string, digits int) string {
	value, ok := r.Median[name]
	if !ok {
		return "-"
	}
	mark := marks[r.Survives[name]]
	if slices.Contains(r.Capped, name) {
		mark += "*"
	}
	text := number(value, digits)
	if spread := r.Spread(name); spread > largeSpread && strings.ContainsAny(text, "123456789") {
		mark += fmt.Sprintf(" ±%.0f%%", spread/2*100)
	}
	return text + mark
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
		return text.FgRed.Sprint(times(value))
	case color:
		return text.FgGreen.Sprint(times(value))
	}
	return times(value)
}

// times writes a ratio with three digits, or all that stand before the point.
func times(value float64) string {
	switch {
	case value >= 99.95:
		return number(value, 0)
	case value >= 9.995:
		return number(value, 1)
	}
	return number(value, 2)
}
