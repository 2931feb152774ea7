//go:build unix

package main

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// commandProcess is this program as a process of its own.
func commandProcess(t *testing.T, args ...string) (command *exec.Cmd, errOut *bytes.Buffer) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command, errOut = exec.Command(program, args...), &bytes.Buffer{}
	command.Env = append(os.Environ(), runAsCommand+"=yes")
	command.Stderr = errOut
	return command, errOut
}

// A tour whose output nobody reads any more removes its directory all the same.
func TestTourUnread(t *testing.T) {
	root, _ := smallTree(t)
	temporary := temporaries(t)
	command, errOut := commandProcess(t, "tour", "--source", root)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	command.Stdout = writer
	command.Run()
	writer.Close()
	if code := command.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit code %d, %s", code, errOut)
	}
	wantEmpty(t, temporary)
}

// A signal ends a shell that waits for more input, and closes the database.
func TestSignals(t *testing.T) {
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		dir := filepath.Join(t.TempDir(), "db")
		command, errOut := commandProcess(t, "shell", dir)
		lines, err := command.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		answers, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := lines.Write([]byte("put a 1\n")); err != nil {
			t.Fatal(err)
		}
		if answer, err := bufio.NewReader(answers).ReadString('\n'); err != nil || !strings.HasPrefix(answer, "stored") {
			t.Fatalf("answer %q, %v", answer, err)
		}
		if err := command.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		command.Wait()
		if code := command.ProcessState.ExitCode(); code != exitInterrupted || !strings.Contains(errOut.String(), "interrupted") {
			t.Errorf("%v: exit code %d, %s", signal, code, errOut)
		}
		if got := succeed(t, "", "scan", dir); got != "a\t1\n" {
			t.Errorf("%v: %q", signal, got)
		}
		// The database was closed, not left to recovery.
		contains(t, succeed(t, "", "stats", dir), "was closed properly")
	}
}
