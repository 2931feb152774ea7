//go:build unix

package shell_test

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"lsmdb/cmd/lsmdb/internal/commandtest"
	"lsmdb/cmd/lsmdb/internal/exit"
)

// A signal ends a shell that waits for more input, and closes the database.
func TestSignals(t *testing.T) {
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		dir := filepath.Join(t.TempDir(), "db")
		command, errOut := commandtest.CommandProcess(t, "shell", dir)
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
		if code := command.ProcessState.ExitCode(); code != exit.Interrupted || !strings.Contains(errOut.String(), "interrupted") {
			t.Errorf("%v: exit code %d, %s", signal, code, errOut)
		}
		if got := commandtest.Succeed(t, "", "scan", dir); got != "a\t1\n" {
			t.Errorf("%v: %q", signal, got)
		}
		// The database was closed, not left to recovery.
		commandtest.Contains(t, commandtest.Succeed(t, "", "stats", dir), "was closed properly")
	}
}
