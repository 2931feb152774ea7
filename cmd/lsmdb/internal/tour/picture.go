package tour

import (
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"lsmdb/cmd/lsmdb/internal/display"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/db"
)

// tourResult is what the tour found, also in the form for machines.
type tourResult struct {
	Source       string             `json:"source"`
	Files        int                `json:"files"`
	FileBytes    int64              `json:"file_bytes"`
	Acknowledged int                `json:"acknowledged"` // files, before the kill
	LoadSeconds  float64            `json:"load_seconds"` // until the kill
	Recovery     db.RecoveryMetrics `json:"recovery"`
	Entries      int                `json:"entries"` // at the end
	RawBytes     int64              `json:"raw_bytes"`
	StoredBytes  int64              `json:"stored_bytes"`
	ScanSeconds  float64            `json:"scan_seconds"` // one pass over everything
	Timings      []*timings         `json:"timings"`
	More         moreResult         `json:"more"`
	Metrics      db.Metrics         `json:"metrics"` // of the second process, at the end
	Seconds      float64            `json:"seconds"`
}

// picture prints the end of the tour.
func (t *tour) picture() error {
	r := &t.result
	r.Source, r.Files, r.FileBytes, r.Acknowledged = t.tree.root, len(t.tree.files), t.tree.totalBytes, t.ackedFiles
	r.Seconds = time.Since(t.start).Seconds()
	if t.console.JSON {
		return t.console.PrintJSON(r)
	}
	i := t.ink
	both := r.Metrics
	both.Stages = addStages(t.childMetrics.Stages, r.Metrics.Stages)
	both.Uptime += t.childMetrics.Uptime
	both.Compact.Time += t.childMetrics.Compact.Time
	parts := []string{
		display.TreeTable(i, &r.Metrics),
		display.StageTable(i, &both) + "\n\n" + i.Faint("  both processes together; held up: how long senders waited, the back-pressure"),
		t.sizeTable(),
		timingTable(i, r.Timings),
	}
	t.sayf("\n%s\n\n%s\n", strings.Join(parts, "\n\n"), i.Good("Every file was checked, and every one is as it should be.")+
		"  "+i.Faint(units.Span(time.Since(t.start))+" in all"))
	return nil
}

// addStages adds what the stages did in two processes.
func addStages(a, b []db.StageMetrics) []db.StageMetrics {
	sum := slices.Clone(b)
	for _, s := range a {
		if at := slices.IndexFunc(sum, func(x db.StageMetrics) bool { return x.Name == s.Name }); at >= 0 {
			sum[at].Messages += s.Messages
			sum[at].Blocked += s.Blocked
			sum[at].Busy += s.Busy
		}
	}
	return sum
}

func (t *tour) sizeTable() string {
	r, i := &t.result, t.ink
	w := i.NewTable("Bytes")
	display.AlignRight(w, 2)
	_, tableBytes := r.Metrics.Tables()
	largest := float64(max(r.RawBytes, r.StoredBytes, 1))
	w.AppendRow(table.Row{"keys and values, raw", units.Size(r.RawBytes), i.Bar(float64(r.RawBytes)/largest, 30)})
	w.AppendRow(table.Row{"tables, compressed", units.Size(tableBytes), i.Bar(float64(tableBytes)/largest, 30)})
	w.AppendRow(table.Row{"all files on disk", units.Size(r.StoredBytes), i.Bar(float64(r.StoredBytes)/largest, 30)})
	written := r.Metrics.WAL.BytesWritten + r.Metrics.Flush.BytesWritten + r.Metrics.Compact.BytesWritten +
		t.childMetrics.WAL.BytesWritten + t.childMetrics.Flush.BytesWritten + t.childMetrics.Compact.BytesWritten
	put := r.Metrics.Writes.UserBytes + t.childMetrics.Writes.UserBytes
	w.AppendRow(table.Row{"put in all", units.Size(put), ""})
	w.AppendRow(table.Row{"written for it", units.Size(written), i.Faint("log and tables: " + units.Significant(float64(written)/float64(max(put, 1))) + " bytes for each byte put")})
	return display.Render(w)
}

func timingTable(i display.Ink, all []*timings) string {
	w := i.NewTable("Times", "operation", "times", "median", "p99", "slowest", "bytes", "throughput")
	display.AlignRight(w, 2, 3, 4, 5, 6, 7)
	for _, t := range all {
		if len(t.spans) == 0 {
			continue
		}
		bytes, throughput := "", ""
		if t.bytes > 0 {
			bytes, throughput = units.Size(t.bytes), units.Rate(t.bytes, t.total())
		}
		w.AppendRow(table.Row{t.name, units.Count(len(t.spans)), units.Span(t.quantile(0.5)), units.Span(t.quantile(0.99)), units.Span(t.quantile(1)), bytes, throughput})
	}
	return display.Render(w)
}
