package main

import (
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"

	"lsmdb/db"
	"lsmdb/internal/base"
)

// put stores one entry.
type put struct {
	console *console
	form    textForm
	file    string
	noSync  bool
}

func newPut(c *console) *cobra.Command {
	p := &put{console: c}
	cmd := &cobra.Command{
		Use:   "put DIR KEY [VALUE]",
		Short: "Store a value under a key",
		Long: `Store a value under a key. A value that is there already is replaced; the
database is created if DIR does not exist.

The value is the third argument, or the content of --file, byte for byte ("-" is
standard input).

` + exitHelp(exitOK, exitFailure, exitUsage, exitNoDatabase, exitInUse, exitNewer, exitInterrupted),
		Example: `  lsmdb put mydata fruit/apple red
  lsmdb put mydata --hex 00ff 0102
  lsmdb put mydata picture --file apple.png
  lsmdb put mydata log --file - < app.log`,
		Args: arguments(2, 3),
		RunE: c.interruptible(p.run),
	}
	p.form.addFlags(cmd)
	cmd.Flags().StringVarP(&p.file, "file", "f", "", "take the value from a file")
	cmd.Flags().BoolVar(&p.noSync, "no-sync", false, "do not wait for the disk; a power failure may lose the entry")
	return cmd
}

func (p *put) run(ctx context.Context, args []string) (err error) {
	key, err := p.form.parse("key", args[1])
	if err != nil {
		return err
	}
	value, err := p.value(ctx, args[2:])
	if err != nil {
		return err
	}
	if err := checkEntry(key, value); err != nil { // before a database is created for it
		return err
	}
	database, err := p.console.open(args[0], creating, nil)
	if err != nil {
		return err
	}
	defer closing(database, &err)
	batch := database.NewBatch()
	if err := batch.Put(key, value); err != nil {
		return err
	}
	if err := database.Apply(ctx, batch, durability(p.noSync)); err != nil {
		return err
	}
	if p.console.json {
		line := appendJSONField([]byte{'{'}, "key", key)
		p.console.printf("%s,\"value_bytes\":%d}\n", line, len(value))
	}
	return nil
}

// value is the third argument or the content of the file.
func (p *put) value(ctx context.Context, argument []string) ([]byte, error) {
	switch {
	case p.file != "" && len(argument) > 0:
		return nil, usagef("a value and --file: only one of them")
	case p.file == "-":
		return readValue(newInterruptibleReader(ctx, p.console.in))
	case p.file != "":
		f, err := os.Open(p.file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return readValue(f)
	case len(argument) == 0:
		return nil, usagef("the value is missing: give it as the third argument or with --file")
	}
	return p.form.parse("value", argument[0])
}

// readValue reads a value, and one byte more than is allowed at most.
func readValue(from io.Reader) ([]byte, error) {
	return io.ReadAll(io.LimitReader(from, base.MaxValueBytes+1))
}

// checkEntry refuses what exceeds the limits, in words for a person.
func checkEntry(key, value []byte) error {
	if len(key) > base.MaxKeyBytes {
		return &failure{code: exitFailure, cause: db.ErrKeyTooLarge,
			sentence: "the key is too large: " + count(len(key)) + " bytes; at most " + count(base.MaxKeyBytes) + " are allowed"}
	}
	if len(value) > base.MaxValueBytes {
		return &failure{code: exitFailure, cause: db.ErrValueTooLarge,
			sentence: "the value is too large; at most " + count(base.MaxValueBytes) + " bytes are allowed"}
	}
	return nil
}

// durability is what --no-sync asks for.
func durability(noSync bool) db.Durability {
	if noSync {
		return db.NoSync
	}
	return db.Sync
}
