package shell

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/peterh/liner"
	"golang.org/x/sync/errgroup"

	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/text"
)

// lineSource is where the shell's lines come from: a terminal with line editing,
// or any reader. io.EOF ends the shell; errAborted drops the line.
type lineSource interface {
	read(prompt string) (string, error)
	remember(line string) // for the history
	close() error
}

var errAborted = errors.New("line aborted")

// plainLines reads lines from a file or pipe, without prompts.
type plainLines struct {
	from  *bufio.Reader
	begun bool
}

func newPlainLines(ctx context.Context, in io.Reader) *plainLines {
	return &plainLines{from: bufio.NewReader(console.NewReader(ctx, in))}
}

func (p *plainLines) read(string) (string, error) {
	if !p.begun {
		p.begun = true
		if err := text.SkipMark(p.from, 1); err != nil {
			return "", err
		}
	}
	line, err := p.from.ReadString('\n')
	if err == io.EOF && line != "" {
		err = nil
	}
	return strings.TrimRight(line, "\r\n"), err
}

func (p *plainLines) remember(string) {}
func (p *plainLines) close() error    { return nil }

// editedLines reads lines from the terminal, with editing, history and
// completion. A signal ends a read with the context's error.
type editedLines struct {
	ctx      context.Context
	terminal *liner.State
	history  string // file; "": none
}

func newEditedLines(ctx context.Context, complete func(line string) []string, history string) *editedLines {
	e := &editedLines{ctx: ctx, terminal: liner.NewLiner(), history: history}
	e.terminal.SetCtrlCAborts(true)
	e.terminal.SetTabCompletionStyle(liner.TabPrints)
	e.terminal.SetCompleter(complete)
	if history != "" {
		if f, err := os.Open(history); err == nil {
			e.terminal.ReadHistory(f) // a history that cannot be read is no reason to refuse work
			f.Close()
		}
	}
	return e
}

func (e *editedLines) read(prompt string) (string, error) {
	ctx, stop := console.UntilInterrupted(e.ctx)
	defer stop()
	if ctx.Err() != nil { // a signal came while a command was running
		return "", ctx.Err()
	}
	var line string
	var prompting errgroup.Group
	answered := make(chan error, 1)
	prompting.Go(func() error {
		var err error
		line, err = e.terminal.Prompt(prompt)
		answered <- err
		return nil
	})
	var err error
	select {
	case err = <-answered:
	case <-ctx.Done(): // nobody waits for the prompt any more; the process ends soon
	}
	switch {
	case ctx.Err() != nil: // a line that came at the same time does not count
		return "", ctx.Err()
	case errors.Is(err, liner.ErrPromptAborted):
		err = errAborted
	}
	return line, err
}

func (e *editedLines) remember(line string) { e.terminal.AppendHistory(line) }

// close gives the terminal back and keeps the history.
func (e *editedLines) close() error {
	err := e.terminal.Close()
	if e.history != "" {
		err = errors.Join(err, e.save())
	}
	return err
}

func (e *editedLines) save() error {
	if err := os.MkdirAll(filepath.Dir(e.history), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(e.history, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = e.terminal.WriteHistory(f)
	return errors.Join(err, f.Close())
}

// historyFile is where the shell keeps its history: in the directory that the
// platform has for state of programs. "" where there is none.
func historyFile() string {
	dir := os.Getenv("XDG_STATE_HOME")
	if dir == "" && runtime.GOOS != "windows" && runtime.GOOS != "darwin" {
		if home, err := os.UserHomeDir(); err == nil {
			dir = filepath.Join(home, ".local", "state")
		}
	}
	if dir == "" {
		dir, _ = os.UserConfigDir()
	}
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "lsmdb", "shell-history")
}
