package top_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lsmdb/cmd/lsmdb/internal/commandtest"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/db"
	"lsmdb/db/attach"
)

// served is a database that this process serves.
func served(t *testing.T) (dir string, d *db.DB) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "db")
	d = commandtest.OpenHere(t, dir)
	for i := range 300 {
		if err := d.Put(fmt.Appendf(nil, "key%d", i), []byte("value"), db.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := attach.Serve(d); err != nil {
		t.Fatal(err)
	}
	return dir, d
}

func TestOnce(t *testing.T) {
	dir, d := served(t)
	snapshot, err := d.NewSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	out := commandtest.Succeed(t, "", "top", dir, "--once")
	commandtest.Contains(t, out, filepath.Base(dir), fmt.Sprintf("process %d, open for", os.Getpid()), "writes", "operations", "log", "syncs", "reads", "spared", "cache",
		"stalls", "none", "flushes", "merges", "memory", "memtables", "stage", "writer", "flusher", "keeper", "compactor", "sweeper", "level 0", "snapshot", "open for", "keeps", "top_test")
	v := commandtest.Object(t, commandtest.Succeed(t, "", "top", dir, "--once", "--json"))
	if m, _ := v["metrics"].(map[string]any); m["sequence"] != 300.0 || v["time"] == nil || v["health"] != "" || len(v["pins"].([]any)) != 1 {
		t.Errorf("got %v", v)
	}
}

// Where nobody has the database open, there is one picture, and the database is not kept.
func TestAtRest(t *testing.T) {
	dir := commandtest.FilledDatabase(t, "k", "v")
	commandtest.Contains(t, commandtest.Succeed(t, "", "top", dir), filepath.Base(dir), "nobody has it open", "level 0")
	v := commandtest.Object(t, commandtest.Succeed(t, "", "top", dir, "--json"))
	if m, _ := v["metrics"].(map[string]any); m["sequence"] != 1.0 {
		t.Errorf("got %v", v)
	}
	commandtest.OpenHere(t, dir)
}

func TestInterval(t *testing.T) {
	dir, _ := served(t)
	for _, interval := range []string{"0s", "-1s", "1ms"} {
		commandtest.Fail(t, exit.Usage, []string{"--interval"}, "", "top", dir, "--interval", interval)
	}
}

// start starts it as a process of its own, and returns its output.
func start(t *testing.T, args ...string) (command *exec.Cmd, errOut *bytes.Buffer, lines *bufio.Scanner) {
	t.Helper()
	command, errOut = commandtest.CommandProcess(t, append([]string{"top"}, args...)...)
	out, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { command.Process.Kill(); command.Wait() })
	return command, errOut, bufio.NewScanner(out)
}

// find reads lines until one holds text.
func find(t *testing.T, lines *bufio.Scanner, text string) string {
	t.Helper()
	for lines.Scan() {
		if strings.Contains(lines.Text(), text) {
			return lines.Text()
		}
	}
	t.Fatalf("no %q came, %v", text, lines.Err())
	return ""
}

// Without a terminal it goes on until it is interrupted, which is no failure.
func TestUntilInterrupted(t *testing.T) {
	dir, d := served(t)
	command, errOut, lines := start(t, dir, "--interval", "50ms")
	find(t, lines, "writes")
	for range 2 { // of the last interval
		commandtest.Contains(t, find(t, lines, "process"), "open for", "; the last ")
	}
	if err := d.Put([]byte("k"), []byte("v")); err != nil {
		t.Fatal(err)
	}
	if err := command.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
	}
	if err := command.Wait(); err != nil || errOut.Len() > 0 {
		t.Errorf("%v, %s", err, errOut)
	}
}

// It ends with the process that it watches, and says so.
func TestUntilClosed(t *testing.T) {
	dir, d := served(t)
	command, errOut, lines := start(t, dir, "--json", "--interval", "50ms")
	find(t, lines, `"sequence":300`)
	find(t, lines, `"sequence":300`)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
	}
	if err := command.Wait(); err != nil || errOut.Len() > 0 {
		t.Errorf("%v, %s", err, errOut)
	}
	dir, d = served(t)
	command, errOut, lines = start(t, dir, "--interval", "50ms")
	find(t, lines, "writes")
	find(t, lines, "the last")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
	}
	if err := command.Wait(); err != nil || !strings.Contains(errOut.String(), "has closed it") {
		t.Errorf("%v, %s", err, errOut)
	}
}

// An ended context ends it as well.
func TestCanceled(t *testing.T) {
	dir, _ := served(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := commandtest.ExecuteContext(t, ctx, "", "top", dir); got.Code != exit.Interrupted && got.Code != exit.OK {
		t.Errorf("%+v", got)
	}
}
