package command

import (
	"context"

	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/display"
	"lsmdb/cmd/lsmdb/internal/exit"
)

// stats prints what a database knows of itself.
type stats struct{ console *console.Console }

func newStats(c *console.Console) *cobra.Command {
	s := &stats{console: c}
	return &cobra.Command{
		Use:   "stats DIR",
		Short: "Show the tree, the log and what opening found",
		Long: `Show the tree by level, the write-ahead log and what opening the database found.
Nothing is written to DIR. With --json: all metrics as one object, durations in
nanoseconds, sizes in bytes; counters start at zero with each opening.

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.NoDatabase, exit.InUse, exit.Newer),
		Example: `  lsmdb stats mydata
  lsmdb stats mydata --json`,
		Args: console.Arguments(1, 1),
		RunE: c.Interruptible(s.run),
	}
}

func (s *stats) run(ctx context.Context, args []string) (err error) {
	database, err := access.Look(ctx, s.console, args[0], access.Reading)
	if err != nil {
		return err
	}
	defer access.Closing(database, &err)
	m, err := database.Metrics(ctx)
	if err != nil {
		return err
	}
	if s.console.JSON {
		return s.console.PrintJSON(m)
	}
	i := s.console.OutInk()
	s.console.Printf("%s\n\n%s\n", display.TreeTable(i, &m), display.FactTable(i, &m))
	return nil
}
