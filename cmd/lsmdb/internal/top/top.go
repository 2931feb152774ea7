// Package top is the subcommand that shows a database at work, again and again.
package top

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/internal/beside"
)

// top shows a database at work.
type top struct {
	console  *console.Console
	once     bool
	interval time.Duration

	dir    string
	pid    int // of the process that has the database open; 0: none has
	before *sample
}

// New returns the subcommand.
func New(c *console.Console) *cobra.Command {
	t := &top{console: c}
	cmd := &cobra.Command{
		Use:   "top DIR",
		Short: "Watch a database that a program has open",
		Long: `Watch a database that a program has open and serves by attach.Serve: the pipeline,
rates and times, the tree, memory, and what is pinned. Figures are those of the last
interval; the first ones, and those of --once, are of all the time since the database was
opened.

On a terminal the picture is redrawn until q or Ctrl-C. Elsewhere it is printed again
and again. With --json: an object on one line each time, with all metrics, whose counters
begin when the database is opened. A database that nobody has open is shown once.

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.NoDatabase, exit.InUse, exit.Newer),
		Example: `  lsmdb top mydata
  lsmdb top mydata --once
  lsmdb top mydata --json --interval 10s >> mydata.log`,
		Args: console.Arguments(1, 1),
		RunE: c.Interruptible(t.run),
	}
	cmd.Flags().BoolVar(&t.once, "once", false, "look once, and end")
	cmd.Flags().DurationVar(&t.interval, "interval", time.Second, "between two looks")
	return cmd
}

// leastInterval keeps looking from becoming work.
const leastInterval = 50 * time.Millisecond

func (t *top) run(ctx context.Context, args []string) (err error) {
	if t.interval < leastInterval {
		return exit.Usagef("--interval must be at least %v", leastInterval)
	}
	t.dir = args[0]
	database, err := access.Look(ctx, t.console, t.dir, access.Reading)
	if err != nil {
		return err
	}
	defer access.Closing(database, &err)
	if client, is := database.(*beside.Client); is {
		t.pid = client.Hello.PID
	} else {
		t.once = true
	}
	if t.once || t.console.JSON || !t.console.Interactive() {
		err = t.print(ctx, database)
	} else {
		err = t.watch(ctx, database)
	}
	return t.ended(ctx, err)
}

// print prints what there is, again and again.
func (t *top) print(ctx context.Context, database beside.Reader) error {
	tick := time.NewTicker(t.interval)
	defer tick.Stop()
	for {
		now, err := look(ctx, database)
		if err != nil {
			return err
		}
		if t.console.JSON {
			err = t.console.PrintJSON(now)
		} else {
			t.console.Printf("%s\n\n", strings.Join(t.lines(t.console.OutInk(), now), "\n"))
			err = t.console.Unwritten()
		}
		if t.once || err != nil {
			return err
		}
		t.before = now
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// watch shows what there is on the terminal, until a key or a signal ends that.
func (t *top) watch(ctx context.Context, database beside.Reader) error {
	screen, err := openScreen(t.console)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := t.draw(ctx, screen, database)
	if err := screen.close(); err != nil {
		return err
	}
	return ended
}

func (t *top) draw(ctx context.Context, s *screen, database beside.Reader) error {
	tick := time.NewTicker(t.interval)
	defer tick.Stop()
	keys := s.keys(ctx)
	for {
		now, err := look(ctx, database)
		if err != nil {
			return err
		}
		if err := s.show(t.lines(t.console.OutInk(), now)); err != nil {
			return err
		}
		t.before = now
		for again := false; !again; {
			select {
			case <-tick.C:
				again = true
			case key, more := <-keys:
				again = key == ' ' || key == '\r' // at once
				if !more || key == 'q' || key == 'Q' || key == controlC {
					return nil
				}
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// ended turns what ended the looking into the error of the command: an interrupt is how watching
// ends, and so is the end of the other process, if it was seen at work before.
func (t *top) ended(ctx context.Context, err error) error {
	switch {
	case err == nil || ctx.Err() != nil:
		return nil
	case t.before != nil && errors.Is(err, beside.ErrLost):
		t.console.Notef("%s\n", exit.Plain(err))
		return nil
	}
	return err
}
