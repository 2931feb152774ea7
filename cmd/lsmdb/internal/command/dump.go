package command

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/display"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/text"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/internal/beside"
)

// dump writes entries in a form that load reads.
type dump struct {
	console *console.Console
	keys    keyRange
	format  string
}

func newDump(c *console.Console) *cobra.Command {
	d := &dump{console: c}
	cmd := &cobra.Command{
		Use:   "dump DIR [FILE]",
		Short: "Write entries as JSON Lines or tab-separated text",
		Long: `Write all entries, or a range of them, in the order of their keys to FILE, or to
standard output if there is no FILE or it is "-". "lsmdb load" reads it back, byte
for byte, with the time when a value ends. What was merged is written as the value
that it amounts to. All entries are of one instant. FILE appears only when it is
complete. A copy of everything as it lies in the files is faster: "lsmdb backup".

` + text.FormatHelp + `

The format is that of --format, else of the file's name (.tsv .tab .txt), else
JSON Lines. With --json, a summary is written at the end: to standard output, or
to standard error where the entries went to standard output.

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.NoDatabase, exit.InUse, exit.Newer, exit.Interrupted),
		Example: `  lsmdb dump mydata backup.jsonl
  lsmdb dump mydata --prefix fruit/ --format tsv | less
  lsmdb dump old | lsmdb load new`,
		Args: console.Arguments(1, 2),
		RunE: c.Interruptible(d.run),
	}
	d.keys.addFlags(cmd)
	d.keys.addPrefixFlag()
	cmd.Flags().StringVar(&d.format, "format", "", "jsonl or tsv")
	return cmd
}

func (d *dump) run(ctx context.Context, args []string) (err error) {
	format, err := text.CheckFormat(d.format)
	if err != nil {
		return err
	}
	q, err := d.keys.query()
	if err != nil {
		return err
	}
	name := "-"
	if len(args) == 2 {
		name = args[1]
	}
	if format == "" {
		format = text.FormatOfName(name)
	}
	if format == "" {
		format = text.JSONLines
	}
	database, err := access.Look(ctx, d.console, args[0], access.Reading)
	if err != nil {
		return err
	}
	defer access.Closing(database, &err)
	work := &dumping{database: database, query: q, display: d.console.NewDisplay(), start: time.Now()}
	if name == "-" {
		err = work.run(ctx, text.NewWriter(d.console.Out, format))
	} else {
		err = intoFile(name, func(f io.Writer) error { return work.run(ctx, text.NewWriter(f, format)) })
	}
	work.display.Clear()
	if err != nil {
		return err
	}
	return d.tell(name, work)
}

func (d *dump) tell(name string, work *dumping) error {
	elapsed := time.Since(work.start)
	if d.console.JSON {
		summary := *d.console
		if name == "-" {
			summary.Out = summary.Err
		}
		return summary.PrintJSON(map[string]any{"entries": work.entries, "bytes": work.entryBytes, "seconds": elapsed.Seconds()})
	}
	d.console.Notef("dumped %s, %s of keys and values, in %s\n", units.Plural(work.entries, "entry", "entries"), units.Size(work.entryBytes), units.Span(elapsed))
	return nil
}

// intoFile lets fill write a file that takes its name only when it is complete
// and on disk. Devices and pipes are written directly.
func intoFile(name string, fill func(io.Writer) error) error {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return cmp.Or(fill(f), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*.part")
	if failed := new(fs.PathError); errors.As(err, &failed) {
		failed.Path = name // the other name says nothing to whoever asked for this one
	}
	if err != nil {
		return err
	}
	err = fill(f)
	if err == nil {
		err = f.Sync()
	}
	err = cmp.Or(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// dumping walks a database and writes what it meets.
type dumping struct {
	database beside.Reader
	query    beside.Query
	display  *display.Display
	start    time.Time
	loaded   // written so far
}

func (d *dumping) run(ctx context.Context, to *text.Writer) error {
	d.query.NoCacheFill = true
	err := d.database.Scan(ctx, d.query, func(e beside.Entry) error {
		d.entries++
		d.entryBytes += int64(len(e.Key) + len(e.Value))
		if d.entries%1024 == 0 {
			d.display.Update(d.paint)
		}
		return to.Write(text.Entry(e))
	})
	if err != nil {
		return err
	}
	return to.Flush()
}

func (d *dumping) paint() []string {
	return []string{d.display.ProgressLine(display.Progress{Verb: "dumping", Done: d.entryBytes,
		Detail: units.Plural(d.entries, "entry", "entries"), Since: d.start})}
}
