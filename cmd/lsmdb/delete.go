package main

import (
	"context"

	"github.com/spf13/cobra"
)

// deletion deletes keys.
type deletion struct {
	console *console
	form    textForm
	noSync  bool
}

func newDelete(c *console) *cobra.Command {
	d := &deletion{console: c}
	cmd := &cobra.Command{
		Use:     "delete DIR KEY...",
		Aliases: []string{"del", "rm", "remove"},
		Short:   "Delete keys",
		Long: `Delete one key or several; all of them or, if it fails, none. Deleting a key that
is not there is no error.

` + exitHelp(exitOK, exitFailure, exitUsage, exitNoDatabase, exitInUse, exitNewer, exitInterrupted),
		Example: `  lsmdb delete mydata fruit/apple
  lsmdb delete mydata fruit/apple fruit/plum
  lsmdb delete mydata --escaped 'line one\nline two'`,
		Args: arguments(2, -1),
		RunE: c.interruptible(d.run),
	}
	d.form.addFlags(cmd)
	cmd.Flags().BoolVar(&d.noSync, "no-sync", false, "do not wait for the disk; a power failure may undo it")
	return cmd
}

func (d *deletion) run(ctx context.Context, args []string) (err error) {
	keys := make([][]byte, 0, len(args)-1)
	for _, argument := range args[1:] {
		key, err := d.form.parse("key", argument)
		if err != nil {
			return err
		}
		if err := checkEntry(key, nil); err != nil {
			return err
		}
		keys = append(keys, key)
	}
	database, err := d.console.open(args[0], writing, nil)
	if err != nil {
		return err
	}
	defer closing(database, &err)
	batch := database.NewBatch()
	for _, key := range keys {
		if err := batch.Delete(key); err != nil {
			return err
		}
	}
	if err := database.Apply(ctx, batch, durability(d.noSync)); err != nil {
		return err
	}
	if d.console.json {
		return d.console.printJSON(map[string]int{"keys": len(keys)})
	}
	return nil
}
