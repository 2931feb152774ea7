package report

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"lsmdb/bench/engine"
)

// WriteMarkdown stores the run at path for readers: where and how it was measured,
// ratios in short, then every table.
func (f *File) WriteMarkdown(path string, kinds []engine.Kind) error {
	var out strings.Builder
	f.Describe(&out, path, line{"amount", f.Sizes}, line{"all engines", f.Common})
	f.describeEngines(&out)
	f.summaries(&out, kinds)
	for _, b := range blocks(f.Rows) {
		fmt.Fprintf(&out, "## %s\n\n", capital(b.title))
		fmt.Fprintf(&out, "%s. The last columns say how many times better lsmdb is.\n\n%s\n\n",
			capital(b.metric.direction()), b.table(kinds, false).RenderMarkdown())
	}
	return os.WriteFile(path, []byte(strings.TrimRight(out.String(), "\n")+"\n"), 0o644)
}

// describeEngines says what was measured, and what the figures are.
func (f *File) describeEngines(out io.Writer) {
	t := table.NewWriter()
	t.AppendHeader(table.Row{"engine", "version", "settings"})
	for _, e := range f.Engines {
		t.AppendRow(table.Row{e.Name, e.Version, strings.Join(e.Settings, "; ")})
	}
	fmt.Fprintf(out, "%s\n\n", t.RenderMarkdown())
	fmt.Fprintf(out, "Figures are medians of %d rounds; ± is half the distance between the extremes of the rounds, "+
		"given where that distance exceeds %.0f %%; \\* marks what was ended before all was done.\n\n%s.\n\n", f.Rounds, largeSpread*100, MarksLine)
}

// summaries write one table of ratios per peer: workloads down, metrics across.
func (f *File) summaries(out io.Writer, kinds []engine.Kind) {
	var workloads []string
	ratios := map[[2]string]Ratios{} // by label and metric
	for _, r := range f.Rows {
		if r.Axis != "" {
			continue
		}
		if !slices.Contains(workloads, r.label()) {
			workloads = append(workloads, r.label())
		}
		ratios[[2]string{r.label(), r.Metric}] = r.Ratios
	}
	if len(workloads) == 0 {
		return
	}
	for _, p := range peers(kinds) {
		fmt.Fprintf(out, "## Ratios to %s\n\n", withArticle(p.name))
		fmt.Fprintf(out, "How many times better lsmdb is; below 1 it is worse.\n\n")
		header := table.Row{"workload"}
		for _, m := range Metrics() {
			header = append(header, m.Short)
		}
		t := newTable(header)
		for _, name := range workloads {
			line := table.Row{name}
			for _, m := range Metrics() {
				line = append(line, ratioOrNothing(p.of(ratios[[2]string{name, m.Name}])))
			}
			t.AppendRow(line)
		}
		t.SuppressEmptyColumns()
		fmt.Fprintf(out, "%s\n\n", t.RenderMarkdown())
	}
}

// ratioOrNothing leaves cells empty, so that a column without any is suppressed.
func ratioOrNothing(value float64) string {
	if value == 0 {
		return ""
	}
	return ratio(value, false)
}

func withArticle(peer string) string {
	if strings.HasPrefix(peer, "best") {
		return "the " + peer + ", metric by metric"
	}
	return peer
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
