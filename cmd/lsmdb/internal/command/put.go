package command

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/text"
	"lsmdb/db"
	"lsmdb/internal/base"
)

// put stores one entry.
type put struct {
	console *console.Console
	form    text.Form
	file    string
	until   string
	noSync  bool
}

func newPut(c *console.Console) *cobra.Command {
	p := &put{console: c}
	cmd := &cobra.Command{
		Use:   "put DIR KEY [VALUE]",
		Short: "Store a value under a key",
		Long: `Store a value under a key. A value that is there already is replaced; the
database is created if DIR does not exist.

The value is the third argument, or the content of --file, byte for byte ("-" is
standard input). With --until it ends by itself: the key is as good as deleted
then, and its space comes back. --until takes
` + text.UntilHelp + `.

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.NoDatabase, exit.InUse, exit.Newer, exit.Interrupted),
		Example: `  lsmdb put mydata fruit/apple red
  lsmdb put mydata --hex 00ff 0102
  lsmdb put mydata picture --file apple.png
  lsmdb put mydata session/17 alice --until 30m
  lsmdb put mydata log --file - < app.log`,
		Args: console.Arguments(2, 3),
		RunE: c.Interruptible(p.run),
	}
	p.form.AddFlags(cmd)
	cmd.Flags().StringVarP(&p.file, "file", "f", "", "take the value from a file")
	cmd.Flags().StringVar(&p.until, "until", "", "when the value ends: 90s, 10m, 7d, 2030-12-31, ...")
	cmd.Flags().BoolVar(&p.noSync, "no-sync", false, "do not wait for the disk; a power failure may lose the entry")
	return cmd
}

func (p *put) run(ctx context.Context, args []string) (err error) {
	key, err := p.form.Parse("key", args[1])
	if err != nil {
		return err
	}
	value, err := p.value(ctx, args[2:])
	if err != nil {
		return err
	}
	e := text.Entry{Key: key, Value: value}
	if p.until != "" {
		if e.Until, err = text.ParseUntil(p.until, time.Now()); err != nil {
			return exit.Usagef("--until: %v", err)
		}
	}
	if err := access.CheckEntry(key, value); err != nil { // before a database is created for it
		return err
	}
	database, err := access.Open(p.console, args[0], access.Creating, nil)
	if err != nil {
		return err
	}
	defer access.Closing(database, &err)
	if err := apply(ctx, database, p.noSync, func(w access.Writer) error { return access.Put(w, e.Key, e.Value, e.Until) }); err != nil {
		return err
	}
	if p.console.JSON {
		line := text.AppendJSONField([]byte{'{'}, "key", key)
		p.console.Printf("%s,\"value_bytes\":%d%s}\n", line, len(value), text.AppendJSONUntil(nil, e.Until))
	}
	return nil
}

// apply does something as one commit.
func apply(ctx context.Context, database *db.DB, noSync bool, do func(w access.Writer) error) error {
	batch := database.NewBatch()
	if err := do(batch); err != nil {
		return err
	}
	return database.Apply(ctx, batch, access.Durability(noSync))
}

// value is the third argument or the content of the file.
func (p *put) value(ctx context.Context, argument []string) ([]byte, error) {
	switch {
	case p.file != "" && len(argument) > 0:
		return nil, exit.Usagef("a value and --file: only one of them")
	case p.file == "-":
		return readValue(console.NewReader(ctx, p.console.In))
	case p.file != "":
		f, err := os.Open(p.file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return readValue(f)
	case len(argument) == 0:
		return nil, exit.Usagef("the value is missing: give it as the third argument or with --file")
	}
	return p.form.Parse("value", argument[0])
}

// readValue reads a value, and one byte more than is allowed at most.
func readValue(from io.Reader) ([]byte, error) {
	return io.ReadAll(io.LimitReader(from, base.MaxValueBytes+1))
}
