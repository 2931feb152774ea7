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

// merge merges an operand onto a value.
type merge struct {
	console *console.Console
	form    text.Form
	merger  string
	noSync  bool
}

func newMerge(c *console.Console) *cobra.Command {
	m := &merge{console: c}
	cmd := &cobra.Command{
		Use:   "merge DIR KEY OPERAND",
		Short: "Merge an operand onto a value: add, keep the largest, append",
		Long: `Merge an operand onto the value of a key, whatever that is, without reading it. The
database keeps how it merges; the first merge says it by --merger:

  sum     the value is a number of 64 bits, and the operand is added. It is given
          as a number, like 5 or -3; "lsmdb get --number" prints the value so.
  max     the value is the largest operand, compared byte for byte
  append  the operand is put behind the value

The database is created if DIR does not exist.

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.NoDatabase, exit.InUse, exit.Newer, exit.Interrupted),
		Example: `  lsmdb merge mydata visits 1 --merger sum
  lsmdb merge mydata visits -- -1
  lsmdb get mydata visits --number`,
		Args: console.Arguments(3, 3),
		RunE: c.Interruptible(m.run),
	}
	m.form.AddFlags(cmd)
	cmd.Flags().StringVar(&m.merger, "merger", "", access.MergerHelp)
	cmd.Flags().BoolVar(&m.noSync, "no-sync", false, "do not wait for the disk; a power failure may undo it")
	return cmd
}

func (m *merge) run(ctx context.Context, args []string) (err error) {
	key, err := m.form.Parse("key", args[1])
	if err != nil {
		return err
	}
	operand, err := m.form.Parse("operand", args[2])
	if err != nil {
		return err
	}
	merger, err := access.CheckMerger(m.merger)
	if err != nil {
		return err
	}
	if err := access.CheckEntry(key, operand); err != nil {
		return err
	}
	if merger != nil { // before a database is created for it
		if _, err := access.ParseOperand("", merger, operand); err != nil {
			return err
		}
	}
	how := access.Creating
	if merger == nil {
		how = access.Writing // a new one would not know how
	}
	database, err := access.Open(m.console, args[0], how, func(o *db.Options) { o.Merger = merger })
	if err != nil {
		return err
	}
	defer access.Closing(database, &err)
	recorded := ""
	if merger == nil {
		recorded, merger = access.RecordedMerger(args[0])
	}
	if operand, err = access.ParseOperand(recorded, merger, operand); err != nil {
		return err
	}
	if err := apply(ctx, database, m.noSync, func(w access.Writer) error { return w.Merge(key, operand) }); err != nil {
		return err
	}
	if m.console.JSON {
		m.console.Printf("%s,\"operand_bytes\":%d}\n", text.AppendJSONField([]byte{'{'}, "key", key), len(operand))
	}
	return nil
}
