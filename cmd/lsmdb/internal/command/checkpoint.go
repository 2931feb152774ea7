package command

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/db"
	"lsmdb/internal/base"
)

// checkpoint copies a database into another directory.
type checkpoint struct{ console *console.Console }

func newCheckpoint(c *console.Console) *cobra.Command {
	k := &checkpoint{console: c}
	return &cobra.Command{
		Use:   "checkpoint DIR COPY",
		Short: "Copy a database into another directory, by links where that works",
		Long: `Make a copy of the database in the directory COPY, which must be empty or not exist.
The copy is a database of its own. On the same file system it shares the tables with
the first one by hard links, so it takes next to no time and room.

What is in the log is written to tables before, so this command writes to DIR. If a
program has the database open, it makes the copy while it goes on, if it calls
attach.Serve. COPY belongs to that program's user then.

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.NoDatabase, exit.InUse, exit.Newer, exit.Interrupted),
		Example: `  lsmdb checkpoint mydata mydata.copy
  lsmdb checkpoint mydata mydata.copy --json`,
		Args: console.Arguments(2, 2),
		RunE: c.Interruptible(k.run),
	}
}

func (k *checkpoint) run(ctx context.Context, args []string) (err error) {
	if err := checkTarget(args[1]); err != nil {
		return err
	}
	dir, err := filepath.Abs(args[1])
	if err != nil {
		return err
	}
	database, err := access.Look(ctx, k.console, args[0], access.Writing)
	if err != nil {
		return err
	}
	defer access.Closing(database, &err)
	start := time.Now()
	made, err := database.Checkpoint(ctx, dir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, base.CurrentName)); err != nil {
		return exit.Failf(exit.Failed, "the process that has the database open made the copy, but not here: its %s is another directory", dir)
	}
	elapsed := time.Since(start)
	if k.console.JSON {
		return k.console.PrintJSON(map[string]any{"sequence": made.Sequence, "files": made.Files, "bytes": made.Bytes, "seconds": elapsed.Seconds()})
	}
	k.console.Printf("copied to %s: %s, %s, as of sequence number %s, in %s\n", args[1], units.Plural(made.Files, "file", "files"),
		units.Size(made.Bytes), units.Count(made.Sequence), units.Span(elapsed))
	return nil
}

func filesOf(c *db.Checkpoint) (count int, sizeBytes int64) {
	for f := range c.Files() {
		count++
		sizeBytes += f.Bytes
	}
	return count, sizeBytes
}

// checkTarget refuses a directory that already holds something, or whose parent is
// missing: names are mistyped.
func checkTarget(dir string) error {
	if dir == "" {
		return exit.Usagef("the name of the directory is empty")
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return access.CheckParent(dir)
	case err != nil:
		return err
	case len(entries) > 0:
		return exit.Failf(exit.NoDatabase, "%s is not empty (it holds %s); wanted is an empty directory, or none", dir, entries[0].Name())
	}
	return nil
}
