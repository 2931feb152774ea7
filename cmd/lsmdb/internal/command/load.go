package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/text"
	"lsmdb/cmd/lsmdb/internal/units"
)

// load stores the entries of a file or of standard input.
type load struct {
	console *console.Console
	format  string
}

func newLoad(c *console.Console) *cobra.Command {
	l := &load{console: c}
	cmd := &cobra.Command{
		Use:   "load DIR [FILE]",
		Short: "Store entries from JSON Lines or tab-separated text",
		Long: `Store the entries of a file, or of standard input if there is no FILE or it is
"-". The database is created if DIR does not exist. Entries replace what is there
under their keys; the last of several with the same key wins.

A malformed line, or one that exceeds a limit, ends the load with an error that
names the line's number and what was expected; everything before that line is
stored and stays, nothing behind it is. Mend the line and load again. The entries
are durable when the command is done, not one by one.

` + text.FormatHelp + `

The format is that of --format, else of the file's name (.jsonl .ndjson .json, or
.tsv .tab .txt), else JSON Lines if the first line begins with a brace.

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.NoDatabase, exit.InUse, exit.Newer, exit.Interrupted),
		Example: `  lsmdb load mydata entries.jsonl
  printf 'apple\tred\nplum\tblue\n' | lsmdb load mydata
  lsmdb dump old | lsmdb load new`,
		Args: console.Arguments(1, 2),
		RunE: c.Interruptible(l.run),
	}
	cmd.Flags().StringVar(&l.format, "format", "", "jsonl or tsv")
	return cmd
}

func (l *load) run(ctx context.Context, args []string) (err error) {
	format, err := text.CheckFormat(l.format)
	if err != nil {
		return err
	}
	name := "-"
	if len(args) == 2 {
		name = args[1]
	}
	input, totalBytes, err := l.input(ctx, name)
	if err != nil {
		return err
	}
	defer input.Close()
	if format == "" {
		format = text.FormatOfName(name)
	}
	database, err := access.Open(l.console, args[0], access.Creating, nil)
	if err != nil {
		return err
	}
	defer access.Closing(database, &err)
	work := &loading{
		database: database, records: text.NewReader(input, format), totalBytes: totalBytes,
		display: l.console.NewDisplay(), batch: database.NewBatch(), spare: database.NewBatch(), start: time.Now(),
	}
	err = work.run(ctx)
	work.display.Clear()
	return l.tell(name, work, err)
}

// input opens what is to be read. totalBytes is 0 where the size is not known.
func (l *load) input(ctx context.Context, name string) (input io.ReadCloser, totalBytes int64, err error) {
	if name == "-" {
		if l.console.InTerminal {
			l.console.Notef("reading entries from the terminal; end with Ctrl-D\n")
		}
		return io.NopCloser(console.NewReader(ctx, l.console.In)), 0, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case info.IsDir():
		err = exit.Failf(exit.Failed, "%s is a directory; load reads a file", name)
	case info.Mode().IsRegular():
		return f, info.Size(), nil
	default: // a named pipe may keep us waiting
		return struct {
			io.Reader
			io.Closer
		}{console.NewReader(ctx, f), f}, 0, nil
	}
	if err != nil {
		f.Close()
	}
	return nil, 0, err
}

// tell reports the result, also that of a load that stopped early.
func (l *load) tell(name string, work *loading, err error) error {
	elapsed := time.Since(work.start)
	if err == nil {
		if l.console.JSON {
			return l.console.PrintJSON(map[string]any{"entries": work.entries, "bytes": work.entryBytes,
				"lines": work.records.Line, "seconds": elapsed.Seconds()})
		}
		l.console.Printf("loaded %s, %s of keys and values, in %s (%s)\n", units.Plural(work.entries, "entry", "entries"),
			units.Size(work.entryBytes), units.Span(elapsed), units.Rate(work.entryBytes, elapsed))
		return nil
	}
	if name == "-" {
		name = "standard input"
	}
	f := *exit.Explain(err)
	f.Details = map[string]any{"entries": work.entries}
	var malformed *text.MalformedLine
	switch {
	case errors.As(err, &malformed):
		f.Code = exit.Failed
		f.Details["line"] = malformed.Line
		f.Sentence = fmt.Sprintf("%s, %v", name, malformed)
		f.Hint = "mend the line and load everything again: what is stored already is only replaced"
	case errors.Is(err, text.ErrForeign):
		f.Sentence = name + ": " + f.Sentence
	}
	f.Sentence += "; " + keptSentence(work.entries)
	return &f
}

func keptSentence(entries int64) string {
	switch entries {
	case 0:
		return "nothing was stored"
	case 1:
		return "1 entry before it is stored"
	}
	return units.Count(entries) + " entries before it are stored"
}
