package shell_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"lsmdb/cmd/lsmdb/internal/commandtest"
	"lsmdb/cmd/lsmdb/internal/exit"
)

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
	term := commandtest.NewTerminal(t)
	before := term.Mode(t)
	dir := filepath.Join(t.TempDir(), "db")
	command, _ := commandtest.CommandProcess(t, "shell", "--no-history", dir)
	command.Env = append(command.Env, "TERM=xterm")
	command.Stdin, command.Stdout, command.Stderr = term.Program, term.Program, term.Program
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(30*time.Second, func() { command.Process.Kill() }).Stop()
	term.WaitFor(t, "lsmdb> ")
	term.Enter(t, "put a 1")
	term.WaitFor(t, "stored")
	term.WaitFor(t, "lsmdb> ")
	if err := command.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	if line != "" {
		term.Enter(t, line)
	}
	term.WaitFor(t, "interrupted")
	command.Wait()
	if code := command.ProcessState.ExitCode(); code != exit.Interrupted {
		t.Errorf("exit code %d", code)
	}
	if after := term.Mode(t); after != before {
		t.Errorf("the terminal is not as it was: %+v instead of %+v", after, before)
	}
	commandtest.Contains(t, commandtest.Succeed(t, "", "stats", dir), "was closed properly")
}

// The prompt tells of an open transaction.
func TestPromptInTransaction(t *testing.T) {
	term := commandtest.NewTerminal(t)
	command, _ := commandtest.CommandProcess(t, "shell", "--no-history")
	command.Env = append(command.Env, "TERM=xterm")
	command.Stdin, command.Stdout, command.Stderr = term.Program, term.Program, term.Program
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(30*time.Second, func() { command.Process.Kill() }).Stop()
	for _, step := range [][2]string{{"lsmdb> ", "begin"}, {"lsmdb, in a transaction> ", "put a 1"}, {"lsmdb, in a transaction> ", "commit"}, {"lsmdb> ", "begin"},
		{"lsmdb, in a transaction> ", "exit"}, {"rolled back", ""}} {
		term.WaitFor(t, step[0])
		if step[1] != "" {
			term.Enter(t, step[1])
		}
	}
	if err := command.Wait(); err != nil {
		t.Errorf("on a terminal a mistake is no exit code: %v", err)
	}
}
