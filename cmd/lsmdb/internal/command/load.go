package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/text"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/db"
)

// load stores the entries of a file or of standard input.
type load struct {
	console     *console.Console
	format      string
	sorted      bool
	compression access.Compression
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

With --sorted the keys must ascend strictly, as in a dump. Then tables are written at
once and no log, which is several times as fast, and everything becomes visible
together at the end; after an error nothing of it stays.

The format is that of --format, else of the file's name (.jsonl .ndjson .json, or
.tsv .tab .txt), else JSON Lines if the first line begins with a brace.

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.NoDatabase, exit.InUse, exit.Newer, exit.Interrupted),
		Example: `  lsmdb load mydata entries.jsonl
  printf 'apple\tred\nplum\tblue\n' | lsmdb load mydata
  lsmdb dump old | lsmdb load new --sorted --compression zstd`,
		Args: console.Arguments(1, 2),
		RunE: c.Interruptible(l.run),
	}
	cmd.Flags().StringVar(&l.format, "format", "", "jsonl or tsv")
	cmd.Flags().BoolVar(&l.sorted, "sorted", false, "the keys ascend: write tables at once, all of it or nothing")
	l.compression.AddFlag(cmd)
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
	input, totalBytes, err := openInput(ctx, l.console, name, "entries")
	if err != nil {
		return err
	}
	defer input.Close()
	if format == "" {
		format = text.FormatOfName(name)
	}
	compression, err := l.compression.Option()
	if err != nil {
		return err
	}
	database, err := access.Open(l.console, args[0], access.Creating, func(o *db.Options) { o.Compression = compression })
	if err != nil {
		return err
	}
	defer access.Closing(database, &err)
	work := &loading{
		database: database, records: text.NewReader(input, format), totalBytes: totalBytes,
		display: l.console.NewDisplay(), batch: database.NewBatch(), spare: database.NewBatch(), start: time.Now(),
	}
	if l.sorted {
		err = work.runSorted(ctx)
	} else {
		err = work.run(ctx)
	}
	work.display.Clear()
	return l.tell(name, work, err)
}

// tell reports the result, also that of a load that stopped early.
func (l *load) tell(name string, work *loading, err error) error {
	elapsed := time.Since(work.start)
	if err == nil {
		if l.console.JSON {
			return l.console.PrintJSON(map[string]any{"entries": work.entries, "bytes": work.entryBytes,
				"lines": work.records.Line, "ended": work.ended, "seconds": elapsed.Seconds()})
		}
		ended := ""
		if work.ended > 0 {
			ended = "; " + units.Count(work.ended) + " of them had ended already, and nobody will see them"
		}
		l.console.Printf("loaded %s, %s of keys and values, in %s (%s)%s\n", units.Plural(work.entries, "entry", "entries"),
			units.Size(work.entryBytes), units.Span(elapsed), units.Rate(work.entryBytes, elapsed), ended)
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
		if l.sorted {
			f.Hint = "mend the line, or sort by key (LC_ALL=C sort), or load without --sorted"
		}
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
