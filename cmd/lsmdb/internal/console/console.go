// Package console is where a command reads from and writes to, and how it is
// interrupted.
package console

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/rs/zerolog"
	"golang.org/x/term"

	"lsmdb/cmd/lsmdb/internal/display"
	"lsmdb/cmd/lsmdb/internal/exit"
)

// Console is where a command reads from and writes to. Results go to out,
// progress and errors to err. Tests give it buffers, which are no terminals.
type Console struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer

	InTerminal  bool
	OutTerminal bool
	ErrTerminal bool

	JSON    bool // --json: results for machines
	Verbose bool // --verbose: the database's events on err
	Started bool // the command line is right, its command runs

	MemtableBytes int64 // of the databases that are opened; 0: the default

	unwritten error // of writing results, the first
}

// Standard is the console of the process.
func Standard() *Console {
	return &Console{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		InTerminal:  term.IsTerminal(int(os.Stdin.Fd())),
		OutTerminal: term.IsTerminal(int(os.Stdout.Fd())),
		ErrTerminal: term.IsTerminal(int(os.Stderr.Fd())),
	}
}

// Interactive reports whether a person types and reads.
func (c *Console) Interactive() bool { return c.InTerminal && c.OutTerminal }

// Printf writes text to out. A failure is reported when the command is done.
func (c *Console) Printf(format string, args ...any) {
	_, err := fmt.Fprintf(c.Out, format, args...)
	c.unwritten = cmp.Or(c.unwritten, err)
}

// Unwritten returns the first error of writing results. (A pipe that nobody reads ends
// the process by its signal.)
func (c *Console) Unwritten() error { return c.unwritten }

// Notef writes a remark for people to err; machines are spared it.
func (c *Console) Notef(format string, args ...any) {
	if !c.JSON {
		fmt.Fprintf(c.Err, format, args...)
	}
}

// PrintJSON writes v to out as one line.
func (c *Console) PrintJSON(v any) error {
	encoder := json.NewEncoder(c.Out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	c.unwritten = cmp.Or(c.unwritten, err)
	return err
}

// Logger returns where the database's events go: nowhere, unless --verbose.
func (c *Console) Logger() zerolog.Logger {
	if !c.Verbose {
		return zerolog.Nop()
	}
	if c.JSON {
		return zerolog.New(c.Err).With().Timestamp().Logger()
	}
	return zerolog.New(zerolog.ConsoleWriter{Out: c.Err, NoColor: !c.ErrInk().On, TimeFormat: "15:04:05.000"}).
		With().Timestamp().Logger()
}

// OutInk returns the colours of the results.
func (c *Console) OutInk() display.Ink { return display.NewInk(c.OutTerminal) }

// ErrInk returns the colours of progress and errors.
func (c *Console) ErrInk() display.Ink { return display.NewInk(c.ErrTerminal) }

// TerminalSize returns columns and rows of the terminal behind err.
func (c *Console) TerminalSize() (columns, rows int) {
	if f, ok := c.Err.(*os.File); ok {
		if columns, rows, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
			return columns, rows
		}
	}
	return 80, 24
}

// Report writes err to the console's error output and returns the exit code.
func (c *Console) Report(err error) int {
	f := exit.Explain(err)
	switch {
	case f.Shown:
	case c.JSON:
		fmt.Fprintf(c.Err, "%s\n", f.JSON())
	default:
		fmt.Fprintf(c.Err, "%s %s\n", c.ErrInk().Bad("lsmdb:"), f.Sentence)
		if f.Hint != "" {
			fmt.Fprintf(c.Err, "  %s\n", c.ErrInk().Faint(f.Hint))
		}
	}
	return f.Code
}

// NewDisplay returns a display on err.
func (c *Console) NewDisplay() *display.Display {
	return display.New(c.Err, c.ErrInk(), c.ErrTerminal && !c.Verbose, c.JSON, c.TerminalSize)
}
