package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"lsmdb/db"
)

// get prints one value.
type get struct {
	console *console
	form    textForm
	raw     bool
}

func newGet(c *console) *cobra.Command {
	g := &get{console: c}
	cmd := &cobra.Command{
		Use:   "get DIR KEY",
		Short: "Print the value of a key",
		Long: `Print the value of a key on one line, with everything that is not printable
escaped; or with --raw exactly its bytes and nothing else. With --json: an object
with "key" and "value", or "key_base64" and "value_base64" for what is not text.

` + exitHelp(exitOK, exitFailure, exitUsage, exitNotFound, exitNoDatabase, exitInUse, exitNewer),
		Example: `  lsmdb get mydata fruit/apple
  lsmdb get mydata --hex 00ff
  lsmdb get mydata picture --raw > apple.png`,
		Args: arguments(2, 2),
		RunE: c.interruptible(g.run),
	}
	g.form.addFlags(cmd)
	cmd.Flags().BoolVarP(&g.raw, "raw", "r", false, "print the bytes of the value and nothing else")
	return cmd
}

func (g *get) run(_ context.Context, args []string) (err error) {
	key, err := g.form.parse("key", args[1])
	if err != nil {
		return err
	}
	database, err := g.console.open(args[0], reading, nil)
	if err != nil {
		return err
	}
	defer closing(database, &err)
	value, err := database.Get(key)
	if errors.Is(err, db.ErrNotFound) {
		return &failure{code: exitNotFound, sentence: "no such key: " + g.form.format(key), cause: err}
	}
	if err != nil {
		return err
	}
	switch {
	case g.console.json:
		_, err = g.console.out.Write(appendJSONLine(nil, key, value))
	case g.raw:
		_, err = g.console.out.Write(value)
	default:
		_, err = g.console.out.Write(append([]byte(g.form.format(value)), '\n'))
	}
	return err
}
