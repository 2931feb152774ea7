package command

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/display"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/db"
)

// compact merges a database down.
type compact struct {
	console *console.Console
	keys    keyRange

	compression access.Compression
}

func newCompact(c *console.Console) *cobra.Command {
	k := &compact{console: c}
	cmd := &cobra.Command{
		Use:   "compact DIR",
		Short: "Merge all tables, or those of a range, into one level",
		Long: `Merge all tables, or those that hold keys of a range, into one level. Deleted and
overwritten entries leave the disk. A database does this by itself as far as it
pays; by hand it is of use after much was deleted, or before a database is only
read. It can be interrupted: what is merged by then stays so. --compression holds for
the tables that are written; those that only move stay as they are.

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.NoDatabase, exit.InUse, exit.Newer, exit.Interrupted),
		Example: `  lsmdb compact mydata
  lsmdb compact mydata --from fruit/ --to fruit0`,
		Args: console.Arguments(1, 1),
		RunE: c.Interruptible(k.run),
	}
	k.keys.addFlags(cmd)
	k.compression.AddFlag(cmd)
	return cmd
}

func (k *compact) run(ctx context.Context, args []string) (err error) {
	bounds, err := k.keys.query()
	if err != nil {
		return err
	}
	compression, err := k.compression.Option()
	if err != nil {
		return err
	}
	database, err := access.Open(k.console, args[0], access.Writing, func(o *db.Options) { o.Compression = compression })
	if err != nil {
		return err
	}
	defer access.Closing(database, &err)
	before := database.Metrics()
	start := time.Now()
	if err := access.Compact(ctx, k.console.NewDisplay(), database, bounds.Lower, bounds.Upper); err != nil {
		return err
	}
	return k.tell(&before, database.Metrics(), time.Since(start))
}

func (k *compact) tell(before *db.Metrics, after db.Metrics, elapsed time.Duration) error {
	if k.console.JSON {
		return k.console.PrintJSON(map[string]any{"before": before.Levels, "after": after.Levels, "seconds": elapsed.Seconds()})
	}
	tablesBefore, bytesBefore := before.Tables()
	tablesAfter, bytesAfter := after.Tables()
	k.console.Printf("compacted in %s: %s with %s became %s with %s\n\n%s\n", units.Span(elapsed),
		units.Plural(tablesBefore, "table", "tables"), units.Size(bytesBefore), units.Plural(tablesAfter, "table", "tables"), units.Size(bytesAfter),
		display.TreeTable(k.console.OutInk(), &after))
	return nil
}
