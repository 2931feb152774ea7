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
