package command

import (
	"context"
	"io"
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
