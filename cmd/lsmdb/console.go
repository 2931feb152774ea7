package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/rs/zerolog"
	"golang.org/x/term"
)

// console is where a command reads from and writes to. Results go to out,
// progress and errors to err. Tests give it buffers, which are no terminals.
type console struct {
	in  io.Reader
	out io.Writer
	err io.Writer

	inTerminal  bool
	outTerminal bool
	errTerminal bool

	json    bool // --json: results for machines
	verbose bool // --verbose: the database's events on err
	started bool // the command line is right, its command runs

	memtableBytes int64 // of the databases that are opened; 0: the default
}

// standardConsole is the console of the process.
func standardConsole() *console {
	return &console{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		inTerminal:  term.IsTerminal(int(os.Stdin.Fd())),
		outTerminal: term.IsTerminal(int(os.Stdout.Fd())),
		errTerminal: term.IsTerminal(int(os.Stderr.Fd())),
	}
}

// interactive reports whether a person types and reads.
func (c *console) interactive() bool { return c.inTerminal && c.outTerminal }

// printf writes text to out. A failure to write is not checked here: a closed
// pipe ends the process by its signal, and a full disk behind out is caught by
// the commands that write data (dump, scan, get).
func (c *console) printf(format string, args ...any) {
	fmt.Fprintf(c.out, format, args...)
}

// notef writes a remark for people to err; machines are spared it.
func (c *console) notef(format string, args ...any) {
	if !c.json {
		fmt.Fprintf(c.err, format, args...)
	}
}

// printJSON writes v to out as one line.
func (c *console) printJSON(v any) error {
	encoder := json.NewEncoder(c.out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// logger returns where the database's events go: nowhere, unless --verbose.
func (c *console) logger() zerolog.Logger {
	if !c.verbose {
		return zerolog.Nop()
	}
	if c.json {
		return zerolog.New(c.err).With().Timestamp().Logger()
	}
	return zerolog.New(zerolog.ConsoleWriter{Out: c.err, NoColor: !c.errInk().on, TimeFormat: "15:04:05.000"}).
		With().Timestamp().Logger()
}

// outInk and errInk return the colours of the two outputs.
func (c *console) outInk() ink { return ink{on: c.outTerminal && coloursWanted()} }
func (c *console) errInk() ink { return ink{on: c.errTerminal && coloursWanted()} }

// coloursWanted follows https://no-color.org and terminals that say they have none.
func coloursWanted() bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && text.ANSICodesSupported
}

// terminalSize returns columns and rows of the terminal behind err.
func (c *console) terminalSize() (columns, rows int) {
	if f, ok := c.err.(*os.File); ok {
		if columns, rows, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
			return columns, rows
		}
	}
	return 80, 24
}

// ink colours text where the output is a terminal and leaves it alone otherwise.
type ink struct{ on bool }

func (i ink) paint(s string, colours ...text.Color) string {
	if !i.on || s == "" {
		return s
	}
	return text.Escape(s, text.Colors(colours).EscapeSeq())
}

func (i ink) bold(s string) string   { return i.paint(s, text.Bold) }
func (i ink) faint(s string) string  { return i.paint(s, text.Faint) }
func (i ink) good(s string) string   { return i.paint(s, text.FgGreen) }
func (i ink) bad(s string) string    { return i.paint(s, text.FgRed, text.Bold) }
func (i ink) warm(s string) string   { return i.paint(s, text.FgYellow) }
func (i ink) accent(s string) string { return i.paint(s, text.FgCyan) }
