package main

import (
	"cmp"
	"context"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"lsmdb/db"
)

// dump writes entries in a form that load reads.
type dump struct {
	console *console
	keys    keyRange
	format  string
}

func newDump(c *console) *cobra.Command {
	d := &dump{console: c}
	cmd := &cobra.Command{
		Use:   "dump DIR [FILE]",
		Short: "Write entries as JSON Lines or tab-separated text",
		Long: `Write all entries, or a range of them, in the order of their keys to FILE, or to
standard output if there is no FILE or it is "-". "lsmdb load" reads it back, byte
for byte. All entries are of one instant. FILE appears only when it is complete.

` + formatHelp + `

The format is that of --format, else of the file's name (.tsv .tab .txt), else
JSON Lines. With --json, a summary is written at the end: to standard output, or
to standard error where the entries went to standard output.

` + exitHelp(exitOK, exitFailure, exitUsage, exitNoDatabase, exitInUse, exitNewer, exitInterrupted),
		Example: `  lsmdb dump mydata backup.jsonl
  lsmdb dump mydata --prefix fruit/ --format tsv | less
  lsmdb dump old | lsmdb load new`,
		Args: arguments(1, 2),
		RunE: c.interruptible(d.run),
	}
	d.keys.form.addFlags(cmd)
	d.keys.addFlags(cmd)
	cmd.Flags().StringVar(&d.format, "format", "", "jsonl or tsv")
	return cmd
}

func (d *dump) run(ctx context.Context, args []string) (err error) {
	format, err := checkFormat(d.format)
	if err != nil {
		return err
	}
	bounds, err := d.keys.options()
	if err != nil {
		return err
	}
	name := "-"
	if len(args) == 2 {
		name = args[1]
	}
	if format == "" {
		format = formatOfName(name)
	}
	if format == "" {
		format = formatJSONLines
	}
	database, err := d.console.open(args[0], reading, nil)
	if err != nil {
		return err
	}
	defer closing(database, &err)
	work := &dumping{database: database, bounds: bounds, display: d.console.newDisplay(), start: time.Now()}
	if name == "-" {
		err = work.run(ctx, newRecordWriter(d.console.out, format))
	} else {
		err = intoFile(name, func(f io.Writer) error { return work.run(ctx, newRecordWriter(f, format)) })
	}
	work.display.clear()
	if err != nil {
		return err
	}
	return d.tell(name, work)
}

func (d *dump) tell(name string, work *dumping) error {
	elapsed := time.Since(work.start)
	if d.console.json {
		summary := *d.console
		if name == "-" {
			summary.out = summary.err
		}
		return summary.printJSON(map[string]any{"entries": work.entries, "bytes": work.entryBytes, "seconds": elapsed.Seconds()})
	}
	d.console.notef("dumped %s, %s of keys and values, in %s\n", plural(work.entries, "entry", "entries"), size(work.entryBytes), span(elapsed))
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
	database *db.DB
	bounds   *db.IterOptions
	display  *display
	start    time.Time
	loaded   // written so far
}

func (d *dumping) run(ctx context.Context, to *recordWriter) error {
	it, err := d.database.NewIterator(d.bounds)
	if err != nil {
		return err
	}
	defer it.Close()
	err = walk(ctx, it, false, func(key, value []byte) (bool, error) {
		d.entries++
		d.entryBytes += int64(len(key) + len(value))
		if d.entries%1024 == 0 {
			d.display.update(d.paint)
		}
		return true, to.write(key, value)
	})
	if err != nil {
		return err
	}
	return to.flush()
}

func (d *dumping) paint() []string {
	return []string{d.display.progressLine(progress{verb: "dumping", done: d.entryBytes,
		detail: plural(d.entries, "entry", "entries"), since: d.start})}
}
