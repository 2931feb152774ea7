package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"lsmdb/db"
)

// verify reads every byte of a database and says what is wrong.
type verify struct {
	console *console
	files   bool
}

func newVerify(c *console) *cobra.Command {
	v := &verify{console: c}
	cmd := &cobra.Command{
		Use:   "verify DIR",
		Short: "Read every byte and say what is wrong, and where",
		Long: `Read every byte of every file of a database, check all checksums, the order of the
keys, filters, sizes and what the files say about each other, and print each
problem with its file and offset. Nothing is written, and the database need not
be one that opens. "lsmdb inspect" shows what a damaged file still holds.

` + exitHelp(exitOK, exitFailure, exitUsage, exitNoDatabase, exitInUse, exitInterrupted),
		Example: `  lsmdb verify mydata
  lsmdb verify mydata --files
  lsmdb verify mydata --json`,
		Args: arguments(1, 1),
		RunE: c.interruptible(v.run),
	}
	cmd.Flags().BoolVar(&v.files, "files", false, "list the files that were read")
	return cmd
}

func (v *verify) run(ctx context.Context, args []string) error {
	if err := checkDirectory(args[0], reading); err != nil {
		return err
	}
	start := time.Now()
	report, err := verifying(ctx, v.console.newDisplay(), args[0])
	if err != nil {
		return explainOpen(args[0], err)
	}
	return v.tell(args[0], report, time.Since(start))
}

// verifying verifies with its progress in view.
func verifying(ctx context.Context, d *display, dir string) (*db.VerifyReport, error) {
	start := time.Now()
	defer d.clear()
	return db.Verify(ctx, dir, func(p db.VerifyProgress) {
		d.update(func() []string {
			return []string{d.progressLine(progress{verb: "verifying", done: p.DoneBytes, total: p.TotalBytes, detail: p.File, since: start})}
		})
	})
}

func (v *verify) tell(dir string, report *db.VerifyReport, elapsed time.Duration) error {
	if v.console.json {
		if report.Problems == nil {
			report.Problems = []db.Problem{} // [] in JSON, not null
		}
		err := v.console.printJSON(struct {
			OK bool `json:"ok"`
			*db.VerifyReport
			Seconds float64 `json:"seconds"`
		}{report.OK(), report, elapsed.Seconds()})
		if err == nil && !report.OK() {
			err = errShown
		}
		return err
	}
	i := v.console.outInk()
	if v.files {
		v.console.printf("%s\n\n", fileTable(i, report.Files))
	}
	var bytes int64
	for _, f := range report.Files {
		bytes += f.Bytes
	}
	read := fmt.Sprintf("read %s, %s, in %s", plural(len(report.Files), "file", "files"), size(bytes), span(elapsed))
	if report.OK() {
		v.console.printf("%s: %s; no problem found\n", i.good("sound"), read)
		return nil
	}
	for _, p := range report.Problems {
		v.console.printf("%s\n", problemLine(i, p))
	}
	v.console.printf("\n%s: %s in %s\n", i.bad("damaged"), plural(len(report.Problems), "problem", "problems"), dir)
	return errShown
}

func problemLine(i ink, p db.Problem) string {
	consequence := ""
	if p.Fatal {
		consequence = i.faint(" (the database does not open)")
	}
	return fmt.Sprintf("%s: %s%s", i.bad(place(p.File, p.Offset)), p.Detail, consequence)
}

func fileTable(i ink, files []db.VerifiedFile) string {
	t := i.newTable("", "file", "kind", "size", "entries")
	alignRight(t, 3, 4)
	for _, f := range files {
		t.AppendRow(table.Row{f.Name, f.Type, size(f.Bytes), count(f.Entries)})
	}
	return render(t)
}
