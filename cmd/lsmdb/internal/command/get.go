package command

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/text"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/db"
)

// get prints one value.
type get struct {
	console *console.Console
	form    text.Form
	raw     bool
	number  bool
	size    bool
}

func newGet(c *console.Console) *cobra.Command {
	g := &get{console: c}
	cmd := &cobra.Command{
		Use:   "get DIR KEY",
		Short: "Print the value of a key",
		Long: `Print the value of a key on one line, with everything that is not printable
escaped; or with --raw exactly its bytes and nothing else. --size prints how many
those are, and reads no large value for it. With --json: an object with "key" and
"value", or "key_base64" and "value_base64" for what is not text. When the value
ends is in "until" then, and otherwise on standard error.

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.NotFound, exit.NoDatabase, exit.InUse, exit.Newer),
		Example: `  lsmdb get mydata fruit/apple
  lsmdb get mydata --hex 00ff
  lsmdb get mydata picture --raw > apple.png
  lsmdb get mydata counter --number`,
		Args: console.Arguments(2, 2),
		RunE: c.Interruptible(g.run),
	}
	g.form.AddFlags(cmd)
	cmd.Flags().BoolVarP(&g.raw, "raw", "r", false, "print the bytes of the value and nothing else")
	cmd.Flags().BoolVar(&g.number, "number", false, "print the value, which must be eight bytes of \"merge --merger sum\", as a number")
	cmd.Flags().BoolVar(&g.size, "size", false, "print the length of the value in bytes")
	cmd.MarkFlagsMutuallyExclusive("raw", "number", "size")
	return cmd
}

func (g *get) run(ctx context.Context, args []string) (err error) {
	key, err := g.form.Parse("key", args[1])
	if err != nil {
		return err
	}
	database, err := access.Look(ctx, g.console, args[0], access.Reading)
	if err != nil {
		return err
	}
	defer access.Closing(database, &err)
	if g.size {
		n, err := database.GetSize(ctx, key)
		if err != nil {
			return g.explain(key, err)
		}
		return g.printSize(key, n)
	}
	e, err := database.Get(ctx, key)
	if err != nil {
		return g.explain(key, err)
	}
	return g.print(text.Entry(e))
}

func (g *get) explain(key []byte, err error) error {
	if errors.Is(err, db.ErrNotFound) {
		return &exit.Error{Code: exit.NotFound, Sentence: "no such key: " + g.form.Format(key), Cause: err}
	}
	return err
}

func (g *get) printSize(key []byte, n int) error {
	if g.console.JSON {
		g.console.Printf("%s,\"value_bytes\":%d}\n", text.AppendJSONField([]byte{'{'}, "key", key), n)
	} else {
		g.console.Printf("%d\n", n)
	}
	return nil
}

func (g *get) print(e text.Entry) (err error) {
	n, isNumber := access.Number(e.Value)
	switch {
	case g.number && !isNumber:
		return exit.Failf(exit.Failed, "the value has %s; a number has eight", units.Plural(len(e.Value), "byte", "bytes"))
	case g.console.JSON && g.number:
		g.console.Printf("%s,\"number\":%d%s}\n", text.AppendJSONField([]byte{'{'}, "key", e.Key), n, text.AppendJSONUntil(nil, e.Until))
	case g.console.JSON:
		_, err = g.console.Out.Write(text.AppendJSONLine(nil, e))
	case g.number:
		g.console.Printf("%d\n", n)
	case g.raw:
		_, err = g.console.Out.Write(e.Value)
	default:
		_, err = g.console.Out.Write(append([]byte(g.form.Format(e.Value)), '\n'))
	}
	if !e.Until.IsZero() {
		g.console.Notef("until %s\n", text.FormatUntil(e.Until))
	}
	return err
}
