package command

import (
	"context"
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/display"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/db"
)

// verify reads every byte of a database and says what is wrong.
type verify struct {
	console *console.Console
	files   bool
}

func newVerify(c *console.Console) *cobra.Command {
	v := &verify{console: c}
	cmd := &cobra.Command{
		Use:   "verify DIR",
		Short: "Read every byte and say what is wrong, and where",
		Long: `Read every byte of every file of a database, check all checksums, the order of the
keys, filters, sizes and what the files say about each other, and print each
problem with its file and offset. Nothing is written, and the database need not
be one that opens. "lsmdb inspect" shows what a damaged file still holds.

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.NoDatabase, exit.InUse, exit.Interrupted),
		Example: `  lsmdb verify mydata
  lsmdb verify mydata --files
  lsmdb verify mydata --json`,
		Args: console.Arguments(1, 1),
		RunE: c.Interruptible(v.run),
	}
	cmd.Flags().BoolVar(&v.files, "files", false, "list the files that were read")
	return cmd
}

func (v *verify) run(ctx context.Context, args []string) error {
	if err := access.CheckDirectory(args[0], access.Reading); err != nil {
		return err
	}
	start := time.Now()
	report, err := access.Verify(ctx, v.console.NewDisplay(), args[0])
	if err != nil {
		return access.ExplainOpen(args[0], err)
	}
	return v.tell(args[0], report, time.Since(start))
}

func (v *verify) tell(dir string, report *db.VerifyReport, elapsed time.Duration) error {
	if v.console.JSON {
		if report.Problems == nil {
			report.Problems = []db.Problem{} // [] in JSON, not null
		}
		err := v.console.PrintJSON(struct {
			OK bool `json:"ok"`
			*db.VerifyReport
			Seconds float64 `json:"seconds"`
		}{report.OK(), report, elapsed.Seconds()})
		if err == nil && !report.OK() {
			err = exit.ErrShown
		}
		return err
	}
	i := v.console.OutInk()
	if v.files {
		v.console.Printf("%s\n\n", fileTable(i, report.Files))
	}
	var bytes int64
	var sum db.VerifiedFile
	for _, f := range report.Files {
		bytes += f.Bytes
		sum.RangeDeletes += f.RangeDeletes
		sum.Merges += f.Merges
		sum.Expiring += f.Expiring
	}
	with := ""
	if text := display.Vocabulary(sum.RangeDeletes, sum.Merges, sum.Expiring); text != "" {
		with = " (with " + text + ")"
	}
	read := fmt.Sprintf("read %s, %s, in %s", units.Plural(len(report.Files), "file", "files"), units.Size(bytes), units.Span(elapsed))
	if report.OK() {
		v.console.Printf("%s: %s%s; no problem found\n", i.Good("sound"), read, with)
		return nil
	}
	for _, p := range report.Problems {
		v.console.Printf("%s\n", access.ProblemLine(i, p))
	}
	v.console.Printf("\n%s: %s in %s\n", i.Bad("damaged"), units.Plural(len(report.Problems), "problem", "problems"), dir)
	return exit.ErrShown
}

func fileTable(i display.Ink, files []db.VerifiedFile) string {
	t := i.NewTable("", "file", "kind", "size", "entries", "")
	display.AlignRight(t, 3, 4)
	for _, f := range files {
		t.AppendRow(table.Row{f.Name, f.Type, units.Size(f.Bytes), units.Count(f.Entries), i.Faint(display.Vocabulary(f.RangeDeletes, f.Merges, f.Expiring))})
	}
	return display.Render(t)
}
