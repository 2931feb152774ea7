// Package tour shows the database at its main job on real files.
package tour

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/display"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/db"
)

// tour shows the database at its main job on real files: load, kill, recover,
// change, compact, and check every byte against the files on disk.
type tour struct {
	console *console.Console
	display *display.Display
	ink     display.Ink

	directory string // --dir
	keep      bool
	source    string // --source
	inBrowser bool   // --serve

	minute time.Duration // that all acts of --serve take together

	dir      string // of the database
	tree     *sourceTree
	database *db.DB
	start    time.Time
	step     int

	acked        []bool // per file: the child said that it is durable
	ackedFiles   int
	ackedBytes   int64
	childMetrics db.Metrics // the last the child sent
	result       tourResult
}

// New makes the subcommand.
func New(c *console.Console) *cobra.Command {
	t := &tour{console: c, minute: minute}
	cmd := &cobra.Command{
		Use:   "tour",
		Short: "Watch lsmdb store, lose its process, recover and check real files",
		Long: `Store every file of the Go toolchain's source tree (path as key, content as
value) into a database in a temporary directory, and watch the pipeline do it. The
loading process is killed in the middle, without warning. The tour reopens the
database, says what recovery found, checks that every acknowledged file is there
byte for byte, finishes the load, overwrites and deletes a part, compacts, checks
everything again against the files on disk, measures, shows a transaction, merges, a
value that ends, a checkpoint and a range delete at work, and what the tree, the
stages and the timings look like. It takes less than a minute and leaves nothing
behind.

Any difference ends the tour with exit code 1 and names the key.

With --serve the database is shown in a browser instead, and has one thing after the
other to do: calm puts, a burst in which writers wait, reads, deletes, a merge. The
address that is printed works on this machine only. It goes on until an interrupt.

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.NoDatabase, exit.Interrupted),
		Example: `  lsmdb tour
  lsmdb tour --serve
  lsmdb tour --source ~/Documents
  lsmdb tour --dir /tmp/tour --keep && lsmdb stats /tmp/tour`,
		Args: console.Arguments(0, 0),
		RunE: c.Interruptible(t.run),
	}
	cmd.Flags().StringVar(&t.directory, "dir", "", "where to put the database: a directory that is empty or does not exist (default: a temporary one)")
	cmd.Flags().BoolVar(&t.keep, "keep", false, "do not remove the database at the end")
	cmd.Flags().BoolVar(&t.inBrowser, "serve", false, "show a database at work in a browser, until an interrupt")
	cmd.Flags().StringVar(&t.source, "source", "", "store the files below this directory instead of the Go source tree")
	return cmd
}

func (t *tour) run(ctx context.Context, _ []string) (err error) {
	t.display, t.ink, t.start = t.console.NewDisplay(), t.console.OutInk(), time.Now()
	root, err := findSource(ctx, t.source)
	if err != nil {
		return err
	}
	if t.inBrowser {
		return t.serve(ctx, root)
	}
	ctx, stop := console.UntilUnread(ctx)
	defer stop()
	remove, err := t.makeDirectory()
	if err != nil {
		return err
	}
	defer func() {
		t.display.Clear()
		if t.database != nil {
			access.Closing(t.database, &err)
		}
		if removeErr := remove(); err == nil {
			err = removeErr
		}
	}()
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return t.gather(ctx, root) },
		t.load, t.recover, t.check, t.finish, t.change, t.compact, t.verify, t.measure, t.more, t.examine,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return t.picture()
}

// minute is how long a person watches. Tests have less time.
var minute = time.Minute

const tourPreface = `A write passes five stages: writer > flusher > keeper > compactor > sweeper.
Each has a mailbox of bounded size; a full one holds up its senders.`

// makeDirectory settles where the database goes and returns what removes it.
func (t *tour) makeDirectory() (remove func() error, err error) {
	existed := false
	if t.directory == "" {
		t.dir, err = os.MkdirTemp("", "lsmdb-tour-")
	} else {
		t.dir = t.directory
		existed, err = claim(t.dir)
	}
	if err != nil {
		return nil, err
	}
	return func() error {
		switch {
		case t.keep:
			t.sayf("\nThe database stays in %s; look at it with \"lsmdb stats\", \"lsmdb scan --keys-only\", \"lsmdb inspect\".\n", t.dir)
			return nil
		case existed:
			return removeContents(t.dir)
		}
		return os.RemoveAll(t.dir)
	}, nil
}

// claim makes sure that dir is an empty directory, and says whether it was there.
func claim(dir string) (existed bool, err error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if err := access.CheckParent(dir); err != nil {
			return false, err
		}
		return false, os.Mkdir(dir, 0o700)
	case err != nil:
		return true, err
	case len(entries) > 0:
		return true, exit.Failf(exit.NoDatabase, "%s is not empty (it holds %s); the tour wants an empty directory, or none", dir, entries[0].Name())
	}
	return true, nil
}

func removeContents(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, entry.Name())))
	}
	return err
}

// sayf prints a lasting text, unless the output is for machines.
func (t *tour) sayf(format string, args ...any) {
	t.display.Clear()
	if !t.console.JSON {
		t.console.Printf(format, args...)
	}
}

// done prints a finished step: a number, a word, what happened, how long it took.
func (t *tour) done(name string, since time.Time, format string, args ...any) {
	t.step++
	head := fmt.Sprintf("%s %2d  %s  ", t.ink.Good("✓"), t.step, t.ink.Bold(fmt.Sprintf("%-8s", name)))
	t.sayf("%s%s\n", head, t.wrapped(fmt.Sprintf(format, args...)+" "+t.ink.Faint("· "+units.Span(time.Since(since)))))
}

// stepIndent is where the text of a step begins.
const stepIndent = 16

// wrapped breaks a text at the width of the terminal and indents what follows.
func (t *tour) wrapped(s string) string {
	if !t.console.OutTerminal {
		return s
	}
	columns, _ := t.console.TerminalSize()
	return strings.ReplaceAll(text.WrapSoft(s, max(columns-stepIndent-1, 30)), "\n", "\n"+strings.Repeat(" ", stepIndent))
}

// captions say in a sentence what one sees in a step.
var captions = map[string]string{
	"loading":    "in another process; each file is a commit, acknowledged once it is on disk",
	"checking":   "every acknowledged file must be there, byte for byte",
	"finishing":  "the rest of the files, now from this process",
	"changing":   "every fifth file is overwritten, every tenth deleted",
	"compacting": "tables are merged downwards; what is deleted or outdated leaves the disk",
	"verifying":  "every file against the disk, then one scan over everything",
	"measuring":  "random reads, reads of absent keys, short scans",
	"showing":    "load, transaction, merges, checkpoint, a value that ends, range delete",
}

// frame is the live picture of a step: a bar, its caption, the pipeline, the tree.
func (t *tour) frame(p display.Progress, m *db.Metrics) []string {
	line := t.display.ProgressLine(p)
	if !t.display.Terminal {
		return []string{line}
	}
	lines := []string{line, t.display.Ink.Faint("  " + captions[p.Verb])}
	if m == nil {
		return lines
	}
	return append(lines, display.PipelineLines(t.display.Ink, m)...)
}

// live is frame with the pipeline of this process's database.
func (t *tour) live(p display.Progress) {
	t.display.Update(func() []string {
		m := t.database.Metrics()
		return t.frame(p, &m)
	})
}
