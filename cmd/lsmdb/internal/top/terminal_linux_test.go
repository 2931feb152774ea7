package top_test

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lsmdb/cmd/lsmdb/internal/commandtest"
)

// On a terminal it shows one picture after the other until a key or a signal ends it, and
// leaves the terminal as it was.
func TestOnTerminal(t *testing.T) {
	dir, d := served(t)
	for name, end := range map[string]func(term *commandtest.Terminal, p *os.Process) error{
		"q": func(term *commandtest.Terminal, _ *os.Process) error {
			_, err := term.Person.WriteString("xq")
			return err
		},
		"control-c": func(term *commandtest.Terminal, _ *os.Process) error {
			_, err := term.Person.WriteString("\x03")
			return err
		},
		"terminate": func(_ *commandtest.Terminal, p *os.Process) error { return p.Signal(syscall.SIGTERM) },
		"hang up":   func(_ *commandtest.Terminal, p *os.Process) error { return p.Signal(syscall.SIGHUP) },
	} {
		t.Run(name, func(t *testing.T) { testOnTerminal(t, dir, end) })
	}
	t.Run("close", func(t *testing.T) {
		term := testOnTerminal(t, dir, func(*commandtest.Terminal, *os.Process) error { return d.Close() })
		term.WaitFor(t, "has closed it") // on the screen that stays
	})
}

func resize(t *testing.T, term *commandtest.Terminal, columns, rows uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(term.Program.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows}); err != nil {
		t.Fatal(err)
	}
}

func testOnTerminal(t *testing.T, dir string, end func(term *commandtest.Terminal, p *os.Process) error) (term *commandtest.Terminal) {
	t.Helper()
	term = commandtest.NewTerminal(t)
	resize(t, term, 200, 40)
	before := term.Mode(t)
	command, _ := commandtest.CommandProcess(t, "top", dir, "--interval", "50ms")
	command.Env = append(command.Env, "TERM=xterm")
	command.Stdin, command.Stdout, command.Stderr = term.Program, term.Program, term.Program
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(30*time.Second, func() { command.Process.Kill() }).Stop()
	term.WaitFor(t, "\x1b[?1049h") // another screen
	term.WaitFor(t, "memtables")
	term.WaitFor(t, "the last")
	if term.Mode(t) == before {
		t.Error("keys do not come one by one")
	}
	if err := end(term, command.Process); err != nil {
		t.Fatal(err)
	}
	term.WaitFor(t, "\x1b[?1049l") // and back
	if err := command.Wait(); err != nil {
		t.Error(err)
	}
	if after := term.Mode(t); after != before {
		t.Errorf("the terminal is not as it was: %+v instead of %+v", after, before)
	}
	return term
}

// The picture fits the terminal, also when that becomes smaller.
func TestResized(t *testing.T) {
	dir, _ := served(t)
	term := commandtest.NewTerminal(t)
	resize(t, term, 100, 40)
	command, _ := commandtest.CommandProcess(t, "top", dir, "--interval", "50ms")
	command.Env = append(command.Env, "TERM=xterm", "NO_COLOR=1")
	command.Stdin, command.Stdout, command.Stderr = term.Program, term.Program, term.Program
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(30*time.Second, func() { command.Process.Kill() }).Stop()
	defer command.Wait()
	term.WaitFor(t, "level 0")
	resize(t, term, 20, 4)
	fits := func(picture string) bool {
		lines := strings.Split(picture, "\r\n")
		for _, line := range lines {
			if len([]rune(strings.ReplaceAll(line, "\x1b[K", ""))) > 20 {
				return false
			}
		}
		return len(lines) == 4
	}
	term.WaitFor(t, "\x1b[H")
	shown := ""
	for range 200 { // pictures of before
		if shown = term.Until(t, "\x1b[J"); fits(strings.TrimPrefix(shown, "\x1b[H")) {
			break
		}
	}
	if !fits(strings.TrimPrefix(shown, "\x1b[H")) {
		t.Errorf("shown on 20 columns and 4 rows: %q", shown)
	}
	if _, err := term.Person.WriteString("q"); err != nil {
		t.Fatal(err)
	}
	term.WaitFor(t, "\x1b[?1049l")
}
