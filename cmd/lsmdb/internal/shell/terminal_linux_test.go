package shell_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lsmdb/cmd/lsmdb/internal/commandtest"
	"lsmdb/cmd/lsmdb/internal/exit"
)

// terminal is both ends of one: what a person has, and what a program has.
type terminal struct {
	person, program *os.File
	unread          string
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	person := os.NewFile(uintptr(fd), "/dev/ptmx") // not blocking: reads have a deadline
	t.Cleanup(func() { person.Close() })
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { program.Close() })
	return &terminal{person: person, program: program}
}

// waitFor waits until that text was shown, behind what was waited for before.
func (term *terminal) waitFor(t *testing.T, text string) {
	t.Helper()
	term.person.SetReadDeadline(time.Now().Add(20 * time.Second))
	buffer := make([]byte, 4096)
	for !strings.Contains(term.unread, text) {
		n, err := term.person.Read(buffer)
		term.unread += string(buffer[:n])
		if err != nil {
			t.Fatalf("%v; shown: %q", err, term.unread)
		}
	}
	_, term.unread, _ = strings.Cut(term.unread, text)
}

func (term *terminal) enter(t *testing.T, line string) {
	t.Helper()
	if _, err := term.person.WriteString(line + "\r"); err != nil {
		t.Fatal(err)
	}
}

func (term *terminal) mode(t *testing.T) unix.Termios {
	t.Helper()
	mode, err := unix.IoctlGetTermios(int(term.program.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *mode
}

// A signal at the prompt ends the shell, closes the database and leaves the terminal
// as it was, also if a line is ended at the same time.
func TestSignalAtThePrompt(t *testing.T) {
	for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGHUP, os.Interrupt} {
		t.Run(signal.String(), func(t *testing.T) { testSignalAtThePrompt(t, signal, "") })
	}
	// (A SIGINT then may be the command's that the line begins.)
	for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(signal.String()+" and a line", func(t *testing.T) { testSignalAtThePrompt(t, signal, "get a") })
	}
}

func testSignalAtThePrompt(t *testing.T, signal os.Signal, line string) {
	term := newTerminal(t)
	before := term.mode(t)
	dir := filepath.Join(t.TempDir(), "db")
	command, _ := commandtest.CommandProcess(t, "shell", "--no-history", dir)
	command.Env = append(command.Env, "TERM=xterm")
	command.Stdin, command.Stdout, command.Stderr = term.program, term.program, term.program
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(30*time.Second, func() { command.Process.Kill() }).Stop()
	term.waitFor(t, "lsmdb> ")
	term.enter(t, "put a 1")
	term.waitFor(t, "stored")
	term.waitFor(t, "lsmdb> ")
	if err := command.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	if line != "" {
		term.enter(t, line)
	}
	term.waitFor(t, "interrupted")
	command.Wait()
	if code := command.ProcessState.ExitCode(); code != exit.Interrupted {
		t.Errorf("exit code %d", code)
	}
	if after := term.mode(t); after != before {
		t.Errorf("the terminal is not as it was: %+v instead of %+v", after, before)
	}
	commandtest.Contains(t, commandtest.Succeed(t, "", "stats", dir), "was closed properly")
}

// The prompt tells of an open transaction.
func TestPromptInTransaction(t *testing.T) {
	term := newTerminal(t)
	command, _ := commandtest.CommandProcess(t, "shell", "--no-history")
	command.Env = append(command.Env, "TERM=xterm")
	command.Stdin, command.Stdout, command.Stderr = term.program, term.program, term.program
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(30*time.Second, func() { command.Process.Kill() }).Stop()
	for _, step := range [][2]string{{"lsmdb> ", "begin"}, {"lsmdb, in a transaction> ", "put a 1"}, {"lsmdb, in a transaction> ", "commit"}, {"lsmdb> ", "begin"},
		{"lsmdb, in a transaction> ", "exit"}, {"rolled back", ""}} {
		term.waitFor(t, step[0])
		if step[1] != "" {
			term.enter(t, step[1])
		}
	}
	if err := command.Wait(); err != nil {
		t.Errorf("on a terminal a mistake is no exit code: %v", err)
	}
}
