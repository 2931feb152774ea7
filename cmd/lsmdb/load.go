package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"lsmdb/db"
)

// load stores the entries of a file or of standard input.
type load struct {
	console *console
	format  string
}

func newLoad(c *console) *cobra.Command {
	l := &load{console: c}
	cmd := &cobra.Command{
		Use:   "load DIR [FILE]",
		Short: "Store entries from JSON Lines or tab-separated text",
		Long: `Store the entries of a file, or of standard input if there is no FILE or it is
"-". The database is created if DIR does not exist. Entries replace what is there
under their keys; the last of several with the same key wins.

A malformed line, or one that exceeds a limit, ends the load with an error that
names the line's number; everything before that line is kept. The entries are
durable when the command is done, not one by one.

` + formatHelp + `

The format is that of --format, else of the file's name (.jsonl .ndjson .json, or
.tsv .tab .txt), else JSON Lines if the first line begins with a brace.

` + exitHelp(exitOK, exitFailure, exitUsage, exitNoDatabase, exitInUse, exitNewer, exitInterrupted),
		Example: `  lsmdb load mydata entries.jsonl
  printf 'apple\tred\nplum\tblue\n' | lsmdb load mydata
  lsmdb dump old | lsmdb load new`,
		Args: arguments(1, 2),
		RunE: c.interruptible(l.run),
	}
	cmd.Flags().StringVar(&l.format, "format", "", "jsonl or tsv")
	return cmd
}

func (l *load) run(ctx context.Context, args []string) (err error) {
	format, err := checkFormat(l.format)
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
		format = formatOfName(name)
	}
	database, err := l.console.open(args[0], creating, nil)
	if err != nil {
		return err
	}
	defer closing(database, &err)
	work := &loading{
		database: database, records: newRecordReader(input, format), totalBytes: totalBytes,
		display: l.console.newDisplay(), batch: database.NewBatch(), spare: database.NewBatch(), start: time.Now(),
	}
	err = work.run(ctx)
	work.display.clear()
	return l.tell(name, work, err)
}

// input opens what is to be read. totalBytes is 0 where the size is not known.
func (l *load) input(ctx context.Context, name string) (input io.ReadCloser, totalBytes int64, err error) {
	if name == "-" {
		if l.console.inTerminal {
			l.console.notef("reading entries from the terminal; end with Ctrl-D\n")
		}
		return io.NopCloser(newInterruptibleReader(ctx, l.console.in)), 0, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case info.IsDir():
		err = failf(exitFailure, "%s is a directory; load reads a file", name)
	case info.Mode().IsRegular():
		return f, info.Size(), nil
	default: // a named pipe may keep us waiting
		return struct {
			io.Reader
			io.Closer
		}{newInterruptibleReader(ctx, f), f}, 0, nil
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
		if l.console.json {
			return l.console.printJSON(map[string]any{"entries": work.entries, "bytes": work.entryBytes,
				"lines": work.records.line, "seconds": elapsed.Seconds()})
		}
		l.console.printf("loaded %s, %s of keys and values, in %s (%s)\n", plural(work.entries, "entry", "entries"),
			size(work.entryBytes), span(elapsed), rate(work.entryBytes, elapsed))
		return nil
	}
	if name == "-" {
		name = "standard input"
	}
	f := *explain(err)
	f.details = map[string]any{"entries": work.entries}
	var malformed *malformedLine
	if errors.As(err, &malformed) {
		f.code = exitFailure
		f.details["line"] = malformed.line
		f.sentence = fmt.Sprintf("%s, %v", name, malformed)
	}
	f.sentence += "; " + keptSentence(work.entries)
	return &f
}

func keptSentence(entries int64) string {
	switch entries {
	case 0:
		return "nothing was stored"
	case 1:
		return "1 entry before it is stored"
	}
	return count(entries) + " entries before it are stored"
}

// loading moves entries from lines into the database, batch by batch. While the
// pipeline works on one batch, the next is being filled.
type loading struct {
	database   *db.DB
	records    *recordReader
	totalBytes int64
	display    *display
	start      time.Time

	batch   *db.Batch   // being filled
	spare   *db.Batch   // belongs to the database until pending resolves
	pending *db.Pending // nil: none
	waiting loaded      // what the pending batch holds
	filling loaded      // what batch holds
	loaded              // what is acknowledged
}

type loaded struct {
	entries    int64
	entryBytes int64 // keys and values
}

// Batches are large enough to make their overhead small, and small enough that
// the pipeline is never idle for long.
const (
	loadBatchBytes   = 1 << 20
	loadBatchEntries = 2000
)

// run loads everything. Whatever ends it, the entries counted are durable then;
// the first error is the one that is returned.
func (l *loading) run(ctx context.Context) error {
	err := l.fill(ctx)
	toTheEnd := context.WithoutCancel(ctx)
	if err == io.EOF {
		err = l.submit(ctx)
	} else if errors.As(err, new(*malformedLine)) || ctx.Err() != nil {
		err = cmp.Or(l.submit(toTheEnd), err) // what came before is kept
	}
	err = cmp.Or(err, l.settle(toTheEnd))
	if err == nil { // a table opens at once, a log must be read
		return l.database.Flush(ctx)
	}
	return cmp.Or(err, l.database.Sync(toTheEnd))
}

// fill reads lines into batches and hands full ones over, until the input ends
// (io.EOF) or something is wrong.
func (l *loading) fill(ctx context.Context) error {
	for {
		key, value, err := l.records.next()
		if err != nil {
			return err
		}
		if err := checkEntry(key, value); err != nil {
			return &malformedLine{l.records.line, err}
		}
		if err := l.batch.Put(key, value); err != nil {
			return err
		}
		l.filling.entries++
		l.filling.entryBytes += int64(len(key) + len(value))
		if l.batch.Len() >= loadBatchEntries || l.batch.Bytes() >= loadBatchBytes {
			if err := cmp.Or(ctx.Err(), l.submit(ctx)); err != nil {
				return err
			}
			l.display.update(l.paint)
		}
	}
}

// submit waits for the batch before and hands the filled one to the writer.
func (l *loading) submit(ctx context.Context) error {
	if err := l.settle(ctx); err != nil || l.batch.Len() == 0 {
		return err
	}
	pending, err := l.database.Submit(ctx, l.batch, db.NoSync)
	if err != nil {
		return err
	}
	l.pending, l.waiting, l.filling = pending, l.filling, loaded{}
	l.batch, l.spare = l.spare, l.batch
	return nil
}

// settle waits for the pending batch and counts it.
func (l *loading) settle(ctx context.Context) error {
	if l.pending == nil {
		return nil
	}
	err := l.pending.Wait(ctx)
	if err != nil && ctx.Err() != nil {
		return err // still pending: settled at the end
	}
	l.pending = nil
	if err != nil {
		return err
	}
	l.entries += l.waiting.entries
	l.entryBytes += l.waiting.entryBytes
	l.spare.Reset()
	return nil
}

func (l *loading) paint() []string {
	line := l.display.progressLine(progress{verb: "loading", done: l.records.readBytes, total: l.totalBytes,
		detail: plural(l.entries, "entry", "entries"), since: l.start})
	if !l.display.terminal {
		return []string{line}
	}
	m := l.database.Metrics()
	return append([]string{line}, pipelineLines(l.display.ink, &m)...)
}
