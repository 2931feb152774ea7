package command

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/display"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/db"
)

// backup writes a database into one file.
type backup struct{ console *console.Console }

func newBackup(c *console.Console) *cobra.Command {
	b := &backup{console: c}
	return &cobra.Command{
		Use:   "backup DIR [FILE]",
		Short: "Write a database into one file, for restore",
		Long: `Write the whole database to FILE, or to standard output if there is no FILE or it is
"-". "lsmdb restore" makes the same database of it again. Everything is read and
checked on the way, so a damaged database makes no backup. FILE appears only when it is
complete.

What is in the log is written to tables before, so this command writes to DIR. The
database must not be open elsewhere. A program that has it open makes backups
itself, while it goes on: db.NewCheckpoint. A dump ("lsmdb dump") is text that other
programs read; a backup is as small as the database and faster both ways.

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.NoDatabase, exit.InUse, exit.Newer, exit.Interrupted),
		Example: `  lsmdb backup mydata mydata.backup
  lsmdb backup mydata | ssh elsewhere lsmdb restore - mydata
  lsmdb restore mydata.backup mydata`,
		Args: console.Arguments(1, 2),
		RunE: c.Interruptible(b.run),
	}
}

func (b *backup) run(ctx context.Context, args []string) (err error) {
	name := "-"
	if len(args) == 2 {
		name = args[1]
	}
	if name == "-" && b.console.OutTerminal {
		return exit.Usagef("a backup is no text for a terminal; name a FILE, or send it on")
	}
	database, err := access.Open(b.console, args[0], access.Writing, nil)
	if err != nil {
		return err
	}
	defer access.Closing(database, &err)
	c, err := database.NewCheckpoint(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	work := b.begin(ctx, c)
	if name == "-" {
		err = work.into(b.console.Out)
	} else {
		err = intoFile(name, work.into)
	}
	work.display.Clear()
	if err != nil {
		return err
	}
	return b.tell(name, c, work)
}

// writing is a backup in progress.
type writing struct {
	ctx        context.Context
	checkpoint *db.Checkpoint
	to         io.Writer
	display    *display.Display
	progress   display.Progress
}

func (b *backup) begin(ctx context.Context, c *db.Checkpoint) *writing {
	_, sizeBytes := filesOf(c)
	return &writing{ctx: ctx, checkpoint: c, display: b.console.NewDisplay(),
		progress: display.Progress{Verb: "writing", Total: sizeBytes, Since: time.Now()}}
}

func (w *writing) into(to io.Writer) error {
	w.to = to
	_, err := w.checkpoint.WriteTo(w)
	return err
}

// Write passes on what the checkpoint writes.
func (w *writing) Write(p []byte) (n int, err error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err = w.to.Write(p)
	w.progress.Done += int64(n)
	w.display.Update(func() []string { return []string{w.display.ProgressLine(w.progress)} })
	return n, err
}

func (b *backup) tell(name string, c *db.Checkpoint, work *writing) error {
	written, elapsed := work.progress.Done, time.Since(work.progress.Since)
	if b.console.JSON {
		summary := *b.console
		if name == "-" {
			summary.Out = summary.Err
		}
		return summary.PrintJSON(map[string]any{"sequence": c.Seq(), "bytes": written, "seconds": elapsed.Seconds()})
	}
	b.console.Notef("wrote %s as of sequence number %s, in %s (%s)\n", units.Size(written), units.Count(c.Seq()), units.Span(elapsed), units.Rate(written, elapsed))
	return nil
}

// restore makes a database of a backup.
type restore struct{ console *console.Console }

func newRestore(c *console.Console) *cobra.Command {
	r := &restore{console: c}
	return &cobra.Command{
		Use:   "restore FILE DIR",
		Short: "Make a database of what backup wrote",
		Long: `Make a database in DIR of a backup, or of standard input if FILE is "-". DIR must be
empty or not exist. Everything is checked, and verified once more when it is in its
place; if one byte of the backup is not as it was, nothing is restored, and DIR is
empty or absent as before.

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.NoDatabase, exit.Newer, exit.Interrupted),
		Example: `  lsmdb restore mydata.backup mydata
  ssh elsewhere lsmdb backup mydata | lsmdb restore - mydata`,
		Args: console.Arguments(2, 2),
		RunE: c.Interruptible(r.run),
	}
}

func (r *restore) run(ctx context.Context, args []string) error {
	name, dir := args[0], args[1]
	if err := checkTarget(dir); err != nil {
		return err
	}
	input, totalBytes, err := openInput(ctx, r.console, name, "a backup")
	if err != nil {
		return err
	}
	defer input.Close()
	d := r.console.NewDisplay()
	from := &progressReader{from: input, display: d, progress: display.Progress{Verb: "restoring", Total: totalBytes, Since: time.Now()}}
	err = db.Restore(ctx, from, dir)
	d.Clear()
	if err != nil {
		return r.explain(name, err)
	}
	read, elapsed := from.progress.Done, time.Since(from.progress.Since)
	if r.console.JSON {
		return r.console.PrintJSON(map[string]any{"bytes": read, "seconds": elapsed.Seconds()})
	}
	r.console.Printf("restored %s to %s in %s (%s); everything was verified\n", units.Size(read), dir, units.Span(elapsed), units.Rate(read, elapsed))
	return nil
}

// explain says that it is the backup that is damaged, and not a database.
func (r *restore) explain(name string, err error) error {
	if !errors.Is(err, db.ErrCorrupt) {
		return err
	}
	if name == "-" {
		name = "standard input"
	}
	return &exit.Error{Code: exit.Failed, Cause: err, Sentence: name + " is no backup, or not as it was written: " + exit.Plain(err) + "; nothing was restored"}
}

// progressReader shows how much of an input was read.
type progressReader struct {
	from     io.Reader
	display  *display.Display
	progress display.Progress
}

func (r *progressReader) Read(p []byte) (n int, err error) {
	n, err = r.from.Read(p)
	r.progress.Done += int64(n)
	r.display.Update(func() []string { return []string{r.display.ProgressLine(r.progress)} })
	return n, err
}

// openInput opens what is to be read, standard input for "-". What says what the command
// reads. totalBytes is 0 where the size is not known.
func openInput(ctx context.Context, c *console.Console, name, what string) (input io.ReadCloser, totalBytes int64, err error) {
	if name == "-" {
		if c.InTerminal {
			c.Notef("reading %s from the terminal; end with Ctrl-D\n", what)
		}
		return io.NopCloser(console.NewReader(ctx, c.In)), 0, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case info.IsDir():
		err = exit.Failf(exit.Failed, "%s is a directory; %s is a file", name, what)
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
