package command

import (
	"context"

	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/text"
	"lsmdb/db"
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

// rangeDeletion deletes all keys of a range.
type rangeDeletion struct {
	console *console.Console
	form    text.Form
	cmd     *cobra.Command
	noSync  bool
}

func newDeleteRange(c *console.Console) *cobra.Command {
	d := &rangeDeletion{console: c}
	cmd := &cobra.Command{
		Use:   "delete-range DIR START [END] | DIR --prefix PREFIX",
		Short: "Delete all keys of a range at once",
		Long: `Delete all keys from START, which is included, to END, which is not; without END,
to the last one. Or all keys that start with a prefix. That takes one small write,
however many there are. Their space comes back soon after.

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.NoDatabase, exit.InUse, exit.Newer, exit.Interrupted),
		Example: `  lsmdb delete-range mydata log/2029 log/2030
  lsmdb delete-range mydata --prefix log/
  lsmdb delete-range mydata --hex 00ff`,
		Args: console.Arguments(1, 3),
		RunE: c.Interruptible(d.run),
	}
	d.cmd = cmd
	d.form.AddFlags(cmd)
	cmd.Flags().String("prefix", "", "delete the keys that start with this")
	cmd.Flags().BoolVar(&d.noSync, "no-sync", false, "do not wait for the disk; a power failure may undo it")
	return cmd
}

func (d *rangeDeletion) run(ctx context.Context, args []string) (err error) {
	start, end, err := d.bounds(args[1:])
	if err != nil {
		return err
	}
	if err := access.CheckRange(start, end); err != nil {
		return err
	}
	database, err := access.Open(d.console, args[0], access.Writing, nil)
	if err != nil {
		return err
	}
	defer access.Closing(database, &err)
	if err := apply(ctx, database, d.noSync, func(w access.Writer) error { return w.DeleteRange(start, end) }); err != nil {
		return err
	}
	if d.console.JSON {
		object := map[string]any{}
		text.JSONFields(object, "start", start)
		if end != nil {
			text.JSONFields(object, "end", end)
		}
		return d.console.PrintJSON(object)
	}
	return nil
}

// bounds are what the arguments or --prefix say.
func (d *rangeDeletion) bounds(args []string) (start, end []byte, err error) {
	prefix, err := d.form.ParseOptional(d.cmd, "prefix")
	switch {
	case err != nil:
		return nil, nil, err
	case prefix != nil && len(args) > 0:
		return nil, nil, exit.Usagef("START and --prefix: only one of them")
	case prefix != nil:
		start, end = db.PrefixRange(prefix)
		return start, end, nil
	case len(args) == 0:
		return nil, nil, exit.Usagef("which keys? give START and END, START alone, or --prefix")
	}
	if start, err = d.form.Parse("START", args[0]); err != nil || len(args) == 1 {
		return start, nil, err
	}
	end, err = d.form.Parse("END", args[1])
	if err == nil && end == nil {
		end = []byte{}
	}
	return start, end, err
}
