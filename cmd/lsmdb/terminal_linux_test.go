package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newTerminal returns both ends of a terminal: what a person has, and what a program has.
func newTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	person = os.NewFile(uintptr(fd), "/dev/ptmx") // not blocking: reads have a deadline
	t.Cleanup(func() { person.Close() })
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

// waitFor reads from the terminal until that text was shown.
func waitFor(t *testing.T, person *os.File, text string) {
	t.Helper()
	person.SetReadDeadline(time.Now().Add(20 * time.Second))
	var shown strings.Builder
	buffer := make([]byte, 4096)
	for !strings.Contains(shown.String(), text) {
		n, err := person.Read(buffer)
		shown.Write(buffer[:n])
		if err != nil {
			t.Fatalf("%v; shown: %q", err, shown.String())
		}
	}
}

// A signal at the prompt ends the shell, closes the database and leaves the terminal
// as it was.
func TestSignalAtThePrompt(t *testing.T) {
	for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGHUP, os.Interrupt} {
		t.Run(signal.String(), func(t *testing.T) {
			person, program := newTerminal(t)
			before, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "db")
			command, _ := commandProcess(t, "shell", "--no-history", dir)
			command.Env = append(command.Env, "TERM=xterm")
			command.Stdin, command.Stdout, command.Stderr = program, program, program
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			defer command.Process.Kill()
			waitFor(t, person, "lsmdb> ")
			if _, err := person.WriteString("put a 1\r"); err != nil {
				t.Fatal(err)
			}
			waitFor(t, person, "stored")
			waitFor(t, person, "lsmdb> ")
			if err := command.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			waitFor(t, person, "interrupted")
			command.Wait()
			if code := command.ProcessState.ExitCode(); code != exitInterrupted {
				t.Errorf("exit code %d", code)
			}
			after, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
			if err != nil {
				t.Fatal(err)
			}
			if *after != *before {
				t.Errorf("the terminal is not as it was: %+v instead of %+v", after, before)
			}
			contains(t, succeed(t, "", "stats", dir), "was closed properly")
		})
	}
}
