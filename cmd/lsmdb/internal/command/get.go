package command

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/text"
	"lsmdb/db"
)

// get prints one value.
type get struct {
	console *console.Console
	form    text.Form
	raw     bool
}

func newGet(c *console.Console) *cobra.Command {
	g := &get{console: c}
	cmd := &cobra.Command{
		Use:   "get DIR KEY",
		Short: "Print the value of a key",
		Long: `Print the value of a key on one line, with everything that is not printable
escaped; or with --raw exactly its bytes and nothing else. With --json: an object
with "key" and "value", or "key_base64" and "value_base64" for what is not text.

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.NotFound, exit.NoDatabase, exit.InUse, exit.Newer),
		Example: `  lsmdb get mydata fruit/apple
  lsmdb get mydata --hex 00ff
  lsmdb get mydata picture --raw > apple.png`,
		Args: console.Arguments(2, 2),
		RunE: c.Interruptible(g.run),
	}
	g.form.AddFlags(cmd)
	cmd.Flags().BoolVarP(&g.raw, "raw", "r", false, "print the bytes of the value and nothing else")
	return cmd
}

func (g *get) run(_ context.Context, args []string) (err error) {
	key, err := g.form.Parse("key", args[1])
	if err != nil {
		return err
	}
	database, err := access.Open(g.console, args[0], access.Reading, nil)
	if err != nil {
		return err
	}
	defer access.Closing(database, &err)
	value, err := database.Get(key)
	if errors.Is(err, db.ErrNotFound) {
		return &exit.Error{Code: exit.NotFound, Sentence: "no such key: " + g.form.Format(key), Cause: err}
	}
	if err != nil {
		return err
	}
	switch {
	case g.console.JSON:
		_, err = g.console.Out.Write(text.AppendJSONLine(nil, text.Entry{Key: key, Value: value}))
	case g.raw:
		_, err = g.console.Out.Write(value)
	default:
		_, err = g.console.Out.Write(append([]byte(g.form.Format(value)), '\n'))
	}
	return err
}
