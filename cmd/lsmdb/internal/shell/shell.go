// Package shell is the interactive session with a database.
package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/display"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/text"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/db"
)

// shell is an interactive session with one database.
type shell struct {
	console  *console.Console
	database *db.DB
	merger   *db.Merger // of the database; nil: none, or one that only has a name here
	recorded string     // its name
	tx       *db.Tx     // the open transaction; nil: none
	input    lineSource
	failed   bool // a command went wrong; tells scripts

	mergerName  string // --merger
	compression access.Compression
	noHistory   bool
	noSync      bool
	readOnly    bool
}

// New makes the subcommand.
func New(c *console.Console) *cobra.Command {
	s := &shell{console: c}
	cmd := &cobra.Command{
		Use:   "shell [DIR]",
		Short: "Work with a database interactively",
		Long: `Work with a database interactively: put, get, delete, scan and more; help lists
all commands. Each answer shows how long the database took, in microseconds. The
database is created if DIR does not exist; without DIR it lives in memory and is
gone at the end.

begin begins a transaction, and the prompt says so: what follows is seen in it and
nowhere else, until commit stores all of it, or rollback nothing. If what it read
was changed meanwhile, commit fails and names the key. "outside put KEY VALUE" is
somebody else's write, to see that.

On a terminal there are line editing, completion (Tab) and a history, which is
kept in the user's state directory unless --no-history is given. Elsewhere lines
are read from standard input without prompts; the exit code is 1 then if any of
them failed. With --json, each answer is an object.

Words are separated by spaces; one that holds spaces stands in double quotes. The
escapes \\ \t \n \r \xHH \" hold everywhere, and results use them.

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.NoDatabase, exit.InUse, exit.Newer, exit.Interrupted),
		Example: "  lsmdb shell\n  lsmdb shell mydata\n  printf 'put apple red\\nget apple\\n' | lsmdb shell mydata",
		Args:    console.Arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.Started = true
			return s.run(cmd.Context(), args)
		},
	}
	cmd.Flags().StringVar(&s.mergerName, "merger", "", access.MergerHelp)
	s.compression.AddFlag(cmd)
	cmd.Flags().BoolVar(&s.noHistory, "no-history", false, "neither read nor keep the history of lines")
	cmd.Flags().BoolVar(&s.noSync, "no-sync", false, "writes do not wait for the disk")
	cmd.Flags().BoolVar(&s.readOnly, "read-only", false, "write nothing to DIR")
	return cmd
}

func (s *shell) run(ctx context.Context, args []string) (err error) {
	interactive := s.console.Interactive()
	session := ctx
	if interactive {
		// What is typed after a signal may end an abandoned prompt, which changes the
		// terminal once more: the last word is here.
		if mode, err := term.GetState(int(os.Stdin.Fd())); err == nil {
			defer term.Restore(int(os.Stdin.Fd()), mode)
		}
		var stop context.CancelFunc
		session, stop = console.UntilTerminated(ctx)
		defer stop()
	}
	if s.database, err = s.open(args); err != nil {
		return err
	}
	defer access.Closing(s.database, &err)
	if interactive {
		history := historyFile()
		if s.noHistory {
			history = ""
		}
		s.input = newEditedLines(session, s.complete, history)
		s.welcome(args)
	} else {
		stopped, stop := console.UntilInterrupted(ctx)
		defer stop()
		s.input = newPlainLines(stopped, s.console.In)
	}
	err = s.loop(ctx)
	s.abandon()
	if closeErr := s.input.close(); closeErr != nil {
		s.console.Notef("%s\n", s.console.ErrInk().Faint("the history is not kept: "+closeErr.Error()))
	}
	if err == nil && s.failed && !s.console.InTerminal {
		err = exit.ErrShown
	}
	return err
}

func (s *shell) open(args []string) (*db.DB, error) {
	var err error
	if s.merger, err = access.CheckMerger(s.mergerName); err != nil {
		return nil, err
	}
	compression, err := s.compression.Option()
	if err != nil {
		return nil, err
	}
	tune := func(o *db.Options) {
		o.Durability, o.Merger, o.Compression = access.Durability(s.noSync), s.merger, compression
	}
	how := access.Creating
	switch {
	case len(args) == 0 && s.readOnly:
		return nil, exit.Usagef("--read-only needs a DIR")
	case len(args) == 0:
		return db.Open("", &db.Options{InMemory: true, MemtableBytes: s.console.MemtableBytes, Logger: s.console.Logger(), Merger: s.merger})
	case s.readOnly:
		how = access.Reading
	}
	database, err := access.Open(s.console, args[0], how, tune)
	if err == nil && s.merger == nil {
		s.recorded, s.merger = access.RecordedMerger(args[0])
	}
	return database, err
}

func (s *shell) welcome(args []string) {
	i := s.console.OutInk()
	where := "in memory; it is gone at the end"
	if len(args) == 1 {
		m := s.database.Metrics()
		where = args[0] + ", " + display.RecoverySentence(&m.Recovery)
	}
	s.console.Printf("%s %s\n%s\n\n", i.Bold("lsmdb"), where, i.Faint("help lists the commands; Tab completes; exit or Ctrl-D ends"))
}

// loop reads and executes lines until the input ends.
func (s *shell) loop(ctx context.Context) error {
	for {
		line, err := s.input.read(s.prompt())
		switch {
		case errors.Is(err, errAborted):
			s.console.Printf("%s\n", s.console.OutInk().Faint("exit or Ctrl-D ends the shell"))
			continue
		case err != nil:
			if s.console.Interactive() {
				s.console.Printf("\n")
			}
			if err == io.EOF {
				return nil
			}
			return err // of a signal, or of the input
		}
		if !s.execute(ctx, line) {
			return nil
		}
	}
}

func (s *shell) prompt() string {
	if s.tx != nil {
		return "lsmdb, in a transaction> "
	}
	return "lsmdb> "
}

// execute runs one line; an interrupt ends the command and not the shell. It
// returns false when the shell is to end.
func (s *shell) execute(ctx context.Context, line string) (more bool) {
	words, err := text.SplitWords(line)
	if err == nil && len(words) == 0 {
		return true
	}
	s.input.remember(line)
	ctx, stop := console.UntilInterrupted(ctx)
	defer stop()
	var answer answer
	if err == nil {
		command := findShellCommand(string(words[0].Text))
		switch {
		case words[0].Is("exit") || words[0].Is("quit"):
			return false
		case command == nil:
			err = errNoCommand(words[0])
		default:
			answer, err = command.run(s, ctx, line, words[1:])
		}
	}
	if err != nil {
		s.fail(err)
		return true
	}
	s.show(words[0], answer)
	return true
}

// errNoCommand is the error for a word that is no command, and proposes the nearest.
func errNoCommand(word text.Word) error {
	names := &cobra.Command{Use: "shell", SuggestionsMinimumDistance: 2}
	for _, name := range shellCommandNames() {
		names.AddCommand(&cobra.Command{Use: name, Run: func(*cobra.Command, []string) {}})
	}
	hint := "help lists them"
	if close := names.SuggestionsFor(string(word.Text)); len(close) > 0 {
		hint = fmt.Sprintf("did you mean %s? %s", close[0], hint)
	}
	return exit.Usagef("no command %s; %s", text.Quote(word.Text), hint)
}

// answer is what a command has to say.
type answer struct {
	text    string         // for people; may have several lines
	object  map[string]any // for machines
	elapsed time.Duration  // what the database took
	untimed bool           // no time was measured
}

// show prints an answer with its time.
func (s *shell) show(command text.Word, a answer) {
	if s.console.JSON {
		object := map[string]any{"command": string(command.Text), "microseconds": a.elapsed.Microseconds()}
		for k, v := range a.object {
			object[k] = v
		}
		s.console.PrintJSON(object)
		return
	}
	text := strings.TrimRight(a.text, "\n")
	if !a.untimed {
		text += "  " + s.console.OutInk().Faint("("+units.Micros(a.elapsed)+")")
	}
	s.console.Printf("%s\n", text)
}

// fail prints why a command failed.
func (s *shell) fail(err error) {
	s.failed = true
	f := exit.Explain(err)
	if s.console.JSON {
		s.console.Printf("%s\n", f.JSON())
		return
	}
	s.console.Printf("%s %s\n", s.console.OutInk().Bad("error:"), f.Sentence)
}

// complete proposes lines for the one that was begun: commands, then keys.
func (s *shell) complete(line string) []string {
	if inner, found := strings.CutPrefix(line, "outside "); found {
		lines := s.complete(inner)
		for i := range lines {
			lines[i] = "outside " + lines[i]
		}
		return lines
	}
	name, rest, found := strings.Cut(line, " ")
	if !found {
		var lines []string
		for _, n := range shellCommandNames() {
			if strings.HasPrefix(n, name) {
				lines = append(lines, n+" ")
			}
		}
		return lines
	}
	command := findShellCommand(name)
	if command == nil || !command.actsOnData || strings.ContainsAny(rest, " \"\\") {
		return nil
	}
	return s.completeKey(name, rest)
}

// completeKey proposes the first keys that begin as the word does.
func (s *shell) completeKey(name, begun string) []string {
	it, err := s.database.NewIterator(&db.IterOptions{Prefix: []byte(begun), KeysOnly: true}) // a transaction would count it as read
	if err != nil {
		return nil
	}
	defer it.Close()
	var lines []string
	for key := range it.All() {
		if lines = append(lines, name+" "+text.Quote(key)); len(lines) == 20 {
			break
		}
	}
	return lines
}
