package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"lsmdb/db"
)

// compact merges a database down.
type compact struct {
	console *console
	form    textForm
	cmd     *cobra.Command
}

func newCompact(c *console) *cobra.Command {
	k := &compact{console: c}
	k.cmd = &cobra.Command{
		Use:   "compact DIR",
		Short: "Merge all tables, or those of a range, into one level",
		Long: `Merge all tables, or those that hold keys of a range, into one level. Deleted and
overwritten entries leave the disk. A database does this by itself as far as it
pays; by hand it is of use after much was deleted, or before a database is only
read. It can be interrupted: what is merged by then stays so.

` + exitHelp(exitOK, exitFailure, exitUsage, exitNoDatabase, exitInUse, exitNewer, exitInterrupted),
		Example: `  lsmdb compact mydata
  lsmdb compact mydata --from fruit/ --to fruit0`,
		Args: arguments(1, 1),
		RunE: c.interruptible(k.run),
	}
	k.form.addFlags(k.cmd)
	k.cmd.Flags().String("from", "", "only keys at or after this one")
	k.cmd.Flags().String("to", "", "only keys before this one")
	return k.cmd
}

func (k *compact) run(ctx context.Context, args []string) (err error) {
	lower, err := k.form.parseOptional(k.cmd, "from")
	if err != nil {
		return err
	}
	upper, err := k.form.parseOptional(k.cmd, "to")
	if err != nil {
		return err
	}
	database, err := k.console.open(args[0], writing, nil)
	if err != nil {
		return err
	}
	defer closing(database, &err)
	before := database.Metrics()
	start := time.Now()
	if err := compacting(ctx, k.console.newDisplay(), database, lower, upper); err != nil {
		return err
	}
	return k.tell(&before, database.Metrics(), time.Since(start))
}

// compacting compacts with the pipeline and the tree in view.
func compacting(ctx context.Context, d *display, database *db.DB, lower, upper []byte) error {
	start := time.Now()
	paint := func() []string {
		m := database.Metrics()
		line := fmt.Sprintf("  %s  %s read, %s written, %s so far", d.ink.bold("compacting"),
			size(m.Compact.BytesRead), size(m.Compact.BytesWritten), span(time.Since(start).Round(100*time.Millisecond)))
		if !d.terminal {
			return []string{line}
		}
		return append([]string{line}, pipelineLines(d.ink, &m)...)
	}
	return d.during(ctx, paint, func(ctx context.Context) error { return database.Compact(ctx, lower, upper) })
}

func (k *compact) tell(before *db.Metrics, after db.Metrics, elapsed time.Duration) error {
	if k.console.json {
		return k.console.printJSON(map[string]any{"before": before.Levels, "after": after.Levels, "seconds": elapsed.Seconds()})
	}
	tablesBefore, bytesBefore := before.Tables()
	tablesAfter, bytesAfter := after.Tables()
	k.console.printf("compacted in %s: %s with %s became %s with %s\n\n%s\n", span(elapsed),
		plural(tablesBefore, "table", "tables"), size(bytesBefore), plural(tablesAfter, "table", "tables"), size(bytesAfter),
		treeTable(k.console.outInk(), &after))
	return nil
}
