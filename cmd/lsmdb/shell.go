package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"lsmdb/db"
)

// shell is an interactive session with one database.
type shell struct {
	console  *console
	database *db.DB
	input    lineSource
	failed   bool // a command went wrong; tells scripts

	noHistory bool
	noSync    bool
	readOnly  bool
}

func newShell(c *console) *cobra.Command {
	s := &shell{console: c}
	cmd := &cobra.Command{
		Use:   "shell [DIR]",
		Short: "Work with a database interactively",
		Long: `Work with a database interactively: put, get, delete, scan, stats, clear, help, exit.
Each answer shows how long the database took, in microseconds. The database is
created if DIR does not exist; without DIR it lives in memory and is gone at the
end.

On a terminal there are line editing, completion (Tab) and a history, which is
kept in the user's state directory unless --no-history is given. Elsewhere lines
are read from standard input without prompts; the exit code is 1 then if any of
them failed. With --json, each answer is an object.

Words are separated by spaces; one that holds spaces stands in double quotes. The
escapes \\ \t \n \r \xHH \" hold everywhere, and results use them.

` + exitHelp(exitOK, exitFailure, exitUsage, exitNoDatabase, exitInUse, exitNewer, exitInterrupted),
		Example: "  lsmdb shell\n  lsmdb shell mydata\n  printf 'put apple red\\nget apple\\n' | lsmdb shell mydata",
		Args:    arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.started = true
			return s.run(cmd.Context(), args)
		},
	}
	cmd.Flags().BoolVar(&s.noHistory, "no-history", false, "neither read nor keep the history of lines")
	cmd.Flags().BoolVar(&s.noSync, "no-sync", false, "writes do not wait for the disk")
	cmd.Flags().BoolVar(&s.readOnly, "read-only", false, "write nothing to DIR")
	return cmd
}

func (s *shell) run(ctx context.Context, args []string) (err error) {
	interactive := s.console.interactive()
	session := ctx
	if interactive {
		// What is typed after a signal may end an abandoned prompt, which changes the
		// terminal once more: the last word is here.
		if mode, err := term.GetState(int(os.Stdin.Fd())); err == nil {
			defer term.Restore(int(os.Stdin.Fd()), mode)
		}
		var stop context.CancelFunc
		session, stop = untilTerminated(ctx)
		defer stop()
	}
	if s.database, err = s.open(args); err != nil {
		return err
	}
	defer closing(s.database, &err)
	if interactive {
		history := historyFile()
		if s.noHistory {
			history = ""
		}
		s.input = newEditedLines(session, s.complete, history)
		s.welcome(args)
	} else {
		stopped, stop := untilInterrupted(ctx)
		defer stop()
		s.input = newPlainLines(stopped, s.console.in)
	}
	err = s.loop(ctx)
	if closeErr := s.input.close(); closeErr != nil {
		s.console.notef("%s\n", s.console.errInk().faint("the history is not kept: "+closeErr.Error()))
	}
	if err == nil && s.failed && !s.console.inTerminal {
		err = errShown
	}
	return err
}

func (s *shell) open(args []string) (*db.DB, error) {
	durable := func(o *db.Options) { o.Durability = durability(s.noSync) }
	switch {
	case len(args) == 0 && s.readOnly:
		return nil, usagef("--read-only needs a DIR")
	case len(args) == 0:
		return db.Open("", &db.Options{InMemory: true, MemtableBytes: s.console.memtableBytes, Logger: s.console.logger()})
	case s.readOnly:
		return s.console.open(args[0], reading, durable)
	}
	return s.console.open(args[0], creating, durable)
}

func (s *shell) welcome(args []string) {
	i := s.console.outInk()
	where := "in memory; it is gone at the end"
	if len(args) == 1 {
		m := s.database.Metrics()
		where = args[0] + ", " + recoverySentence(&m.Recovery)
	}
	s.console.printf("%s %s\n%s\n\n", i.bold("lsmdb"), where, i.faint("help lists the commands; Tab completes; exit or Ctrl-D ends"))
}

// loop reads and executes lines until the input ends.
func (s *shell) loop(ctx context.Context) error {
	for {
		line, err := s.input.read("lsmdb> ")
		switch {
		case errors.Is(err, errAborted):
			s.console.printf("%s\n", s.console.outInk().faint("exit or Ctrl-D ends the shell"))
			continue
		case err != nil:
			if s.console.interactive() {
				s.console.printf("\n")
			}
			if err == io.EOF {
				return nil
			}
			return &failure{code: exitInterrupted, sentence: "interrupted", cause: err}
		}
		if !s.execute(ctx, line) {
			return nil
		}
	}
}

// execute runs one line; an interrupt ends the command and not the shell. It
// returns false when the shell is to end.
func (s *shell) execute(ctx context.Context, line string) (more bool) {
	words, err := splitWords(line)
	if err == nil && len(words) == 0 {
		return true
	}
	s.input.remember(line)
	ctx, stop := untilInterrupted(ctx)
	defer stop()
	var answer answer
	if err == nil {
		command := findShellCommand(string(words[0].text))
		switch {
		case words[0].is("exit") || words[0].is("quit"):
			return false
		case command == nil:
			err = usagef("no command %s; help lists them", quote(words[0].text))
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

// answer is what a command has to say.
type answer struct {
	text    string         // for people; may have several lines
	object  map[string]any // for machines
	elapsed time.Duration  // what the database took
	untimed bool           // no time was measured
}

// show prints an answer with its time.
func (s *shell) show(command word, a answer) {
	if s.console.json {
		object := map[string]any{"command": string(command.text), "microseconds": a.elapsed.Microseconds()}
		for k, v := range a.object {
			object[k] = v
		}
		s.console.printJSON(object)
		return
	}
	text := strings.TrimRight(a.text, "\n")
	if !a.untimed {
		text += "  " + s.console.outInk().faint("("+micros(a.elapsed)+")")
	}
	s.console.printf("%s\n", text)
}

// fail prints why a command failed.
func (s *shell) fail(err error) {
	s.failed = true
	f := explain(err)
	if s.console.json {
		s.console.printf("%s\n", f.json())
		return
	}
	s.console.printf("%s %s\n", s.console.outInk().bad("error:"), f.sentence)
}

// complete proposes lines for the one that was begun: commands, then keys.
func (s *shell) complete(line string) []string {
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
	if command == nil || !command.takesKey || strings.ContainsAny(rest, " \"\\") {
		return nil
	}
	return s.completeKey(name, rest)
}

// completeKey proposes the first keys that begin as the word does.
func (s *shell) completeKey(name, begun string) []string {
	it, err := s.database.NewIterator(&db.IterOptions{Prefix: []byte(begun)})
	if err != nil {
		return nil
	}
	defer it.Close()
	var lines []string
	for key := range it.All() {
		if lines = append(lines, name+" "+quote(key)); len(lines) == 20 {
			break
		}
	}
	return lines
}
