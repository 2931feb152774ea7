package command

import (
	"context"

	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/text"
)

// deletion deletes keys.
type deletion struct {
	console *console.Console
	form    text.Form
	noSync  bool
}

func newDelete(c *console.Console) *cobra.Command {
	d := &deletion{console: c}
	cmd := &cobra.Command{
		Use:     "delete DIR KEY...",
		Aliases: []string{"del", "rm", "remove"},
		Short:   "Delete keys",
		Long: `Delete one key or several; all of them or, if it fails, none. Deleting a key that
is not there is no error.

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.NoDatabase, exit.InUse, exit.Newer, exit.Interrupted),
		Example: `  lsmdb delete mydata fruit/apple
  lsmdb delete mydata fruit/apple fruit/plum
  lsmdb delete mydata --escaped 'line one\nline two'`,
		Args: console.Arguments(2, -1),
		RunE: c.Interruptible(d.run),
	}
	d.form.AddFlags(cmd)
	cmd.Flags().BoolVar(&d.noSync, "no-sync", false, "do not wait for the disk; a power failure may undo it")
	return cmd
}

func (d *deletion) run(ctx context.Context, args []string) (err error) {
	keys := make([][]byte, 0, len(args)-1)
	for _, argument := range args[1:] {
		key, err := d.form.Parse("key", argument)
		if err != nil {
			return err
		}
		if err := access.CheckEntry(key, nil); err != nil {
			return err
		}
		keys = append(keys, key)
	}
	database, err := access.Open(d.console, args[0], access.Writing, nil)
	if err != nil {
		return err
	}
	defer access.Closing(database, &err)
	err = apply(ctx, database, d.noSync, func(w access.Writer) error {
		for _, key := range keys {
			if err := w.Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if d.console.JSON {
		return d.console.PrintJSON(map[string]int{"keys": len(keys)})
	}
	return nil
}
