package corruption

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"lsmdb/bench/report"
)

// Row counts what became of the mutants of one kind of file.
type Row struct {
	Engine   string             `json:"engine"`
	Left     string             `json:"left"` // how the victim was left: closed or killed
	File     string             `json:"file"`
	Mutants  int                `json:"mutants"`
	Verdicts map[Verdict]int    `json:"verdicts"`
	Examples map[Verdict]string `json:"examples,omitempty"` // the first of each verdict that is bad
}

// Add counts one finding.
func (r *Row) Add(m Mutant, f Finding) {
	if r.Verdicts == nil {
		r.Verdicts, r.Examples = make(map[Verdict]int), make(map[Verdict]string)
	}
	r.Mutants++
	r.Verdicts[f.Verdict]++
	if _, there := r.Examples[f.Verdict]; !there && f.Verdict != Harmless {
		r.Examples[f.Verdict] = fmt.Sprintf("%v: %.600s", m, f.Detail)
	}
}

// Report is the JSON form of a run.
type Report struct {
	report.Origin
	Amounts Amounts           `json:"amounts"`
	Engines map[string]string `json:"engines"` // versions
	Rows    []Row             `json:"rows"`
}

// Table shows all rows, and the sum of each engine.
func (r *Report) Table() table.Writer {
	t := table.NewWriter()
	header := table.Row{"engine", "left", "file", "mutants"}
	for _, v := range Verdicts {
		header = append(header, string(v))
	}
	t.AppendHeader(header)
	var sum Row
	line := func(row Row) {
		cells := table.Row{row.Engine, row.Left, row.File, row.Mutants}
		for _, v := range Verdicts {
			if n := row.Verdicts[v]; n > 0 {
				cells = append(cells, n)
			} else {
				cells = append(cells, "")
			}
		}
		t.AppendRow(cells)
	}
	for i, row := range r.Rows {
		line(row)
		if sum.Engine != row.Engine {
			sum = Row{Engine: row.Engine, File: "all", Verdicts: make(map[Verdict]int)}
		}
		sum.Mutants += row.Mutants
		for v, n := range row.Verdicts {
			sum.Verdicts[v] += n
		}
		if i+1 == len(r.Rows) || r.Rows[i+1].Engine != row.Engine {
			line(sum)
			t.AppendSeparator()
		}
	}
	return t
}

// WriteJSON stores the report; an empty path means nowhere.
func (r *Report) WriteJSON(path string) error {
	if path == "" {
		return nil
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// WriteMarkdown stores the table with what the reader must know; an empty path means nowhere.
func (r *Report) WriteMarkdown(path string) error {
	if path == "" {
		return nil
	}
	var out strings.Builder
	r.Describe(&out, path)
	for _, row := range r.Rows {
		if version := r.Engines[row.Engine]; version != "" && !strings.Contains(out.String(), row.Engine+" "+version) {
			fmt.Fprintf(&out, "- %s %s\n", row.Engine, version)
		}
	}
	fmt.Fprintf(&out, "\n%s\n", r.Table().RenderMarkdown())
	return os.WriteFile(path, []byte(out.String()), 0o644)
}
