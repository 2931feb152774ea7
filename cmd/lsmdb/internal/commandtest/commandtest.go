// Package commandtest runs whole command lines in tests, and makes the databases that
// they work on.
package commandtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"lsmdb/cmd/lsmdb/internal/command"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/text"
	"lsmdb/db"
)

// RunAsCommand makes the test program behave as the command itself: the tour
// re-executes os.Executable for its loading process.
const RunAsCommand = "LSMDB_TEST_RUN_AS_COMMAND"

// Outcome is what a command line came to.
type Outcome struct {
	Out  string
	Err  string
	Code int
}

// Execute runs a command line in this process, with buffers for a console.
func Execute(t *testing.T, input string, args ...string) Outcome {
	t.Helper()
	return ExecuteContext(t, context.Background(), input, args...)
}

// ExecuteContext is Execute with a context, which a signal would end.
func ExecuteContext(t *testing.T, ctx context.Context, input string, args ...string) Outcome {
	t.Helper()
	var out, errOut bytes.Buffer
	c := &console.Console{In: strings.NewReader(input), Out: &out, Err: &errOut, MemtableBytes: 1 << 20} // quick to make
	code := command.Run(ctx, args, c)
	return Outcome{out.String(), errOut.String(), code}
}

// Succeed runs a command line that must succeed and returns its output.
func Succeed(t *testing.T, input string, args ...string) string {
	t.Helper()
	got := Execute(t, input, args...)
	if got.Code != exit.OK {
		t.Fatalf("lsmdb %.200q: exit code %d, %.300s", args, got.Code, got.Err)
	}
	return got.Out
}

// Fail runs a command line that must end with a code and an error that holds all
// of the words.
func Fail(t *testing.T, code int, words []string, input string, args ...string) Outcome {
	t.Helper()
	got := Execute(t, input, args...)
	if got.Code != code {
		t.Errorf("lsmdb %.200q: exit code %d, want %d; %.300s", args, got.Code, code, got.Err)
	}
	for _, word := range words {
		if !strings.Contains(got.Err, word) {
			t.Errorf("lsmdb %.200q: error %.300q does not say %q", args, got.Err, word)
		}
	}
	return got
}

// Object decodes one line of JSON.
func Object(t *testing.T, line string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(line), &v); err != nil {
		t.Fatalf("%q is no JSON object: %v", line, err)
	}
	return v
}

// FilledDatabase makes a database with some entries and closes it.
func FilledDatabase(t *testing.T, entries ...string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "db")
	var input strings.Builder
	for i := 0; i < len(entries); i += 2 {
		input.Write(text.AppendTSV(nil, text.Entry{Key: []byte(entries[i]), Value: []byte(entries[i+1])}))
	}
	Succeed(t, input.String(), "load", dir, "--format", "tsv")
	return dir
}

// OpenHere opens a database in this process until the test ends.
func OpenHere(t *testing.T, dir string) *db.DB {
	t.Helper()
	return openWith(t, dir, &db.Options{})
}

func openWith(t *testing.T, dir string, o *db.Options) *db.DB {
	t.Helper()
	o.MemtableBytes = 1 << 20
	database, err := db.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := database.Close(); err != nil {
			t.Error(err)
		}
	})
	return database
}

// Damage flips a bit of a file.
func Damage(t *testing.T, path string, offset int) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[offset] ^= 0x10
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// FileLike returns the only file in dir that matches the pattern.
func FileLike(t *testing.T, dir, pattern string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(names) != 1 {
		t.Fatalf("%s in %s: %v, %v", pattern, dir, names, err)
	}
	return names[0]
}

// UnclosedDatabase copies a database while it is open, as a crash leaves it.
func UnclosedDatabase(t *testing.T, fill func(d *db.DB) error) (dir string) {
	t.Helper()
	return UnclosedDatabaseWith(t, &db.Options{}, fill)
}

// UnclosedDatabaseWith is UnclosedDatabase with options.
func UnclosedDatabaseWith(t *testing.T, o *db.Options, fill func(d *db.DB) error) (dir string) {
	t.Helper()
	open := filepath.Join(t.TempDir(), "open")
	database := openWith(t, open, o)
	if err := fill(database); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(open)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// PutEach stores entries as commits of their own.
func PutEach(keysAndValues ...string) func(*db.DB) error {
	return func(d *db.DB) error {
		for i := 0; i < len(keysAndValues); i += 2 {
			if err := d.Put([]byte(keysAndValues[i]), []byte(keysAndValues[i+1])); err != nil {
				return err
			}
		}
		return d.Delete([]byte("gone\n"))
	}
}

// Contains checks the output of a command for lines, in their order.
func Contains(t *testing.T, output string, parts ...string) {
	t.Helper()
	rest := output
	for _, part := range parts {
		_, after, found := strings.Cut(rest, part)
		if !found {
			t.Fatalf("no %q, or not in its place, in:\n%s", part, output)
		}
		rest = after
	}
}

// BigTable makes a database of one table with many blocks.
func BigTable(t *testing.T) (dir, path string) {
	t.Helper()
	var entries []string
	for i := range 1000 {
		entries = append(entries, fmt.Sprintf("key%04d", i), strings.Repeat(string(rune('a'+i%26)), 100))
	}
	dir = FilledDatabase(t, entries...)
	return dir, FileLike(t, dir, "*.sst")
}

// CommandProcess is this program as a process of its own.
func CommandProcess(t *testing.T, args ...string) (command *exec.Cmd, errOut *bytes.Buffer) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command, errOut = exec.Command(program, args...), &bytes.Buffer{}
	command.Env = append(os.Environ(), RunAsCommand+"=yes")
	command.Stderr = errOut
	return command, errOut
}

// OnTerminal runs a command line that must succeed as on a terminal, and checks that
// what it draws there is taken away again. It returns what was written, without colours.
func OnTerminal(t *testing.T, input string, args ...string) (out, shown string) {
	t.Helper()
	var outBuffer, errBuffer bytes.Buffer
	c := &console.Console{In: strings.NewReader(input), Out: &outBuffer, Err: &errBuffer, OutTerminal: true, ErrTerminal: true}
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	if code := command.Run(t.Context(), args, c); code != exit.OK {
		t.Fatalf("%q: exit code %d, %s", args, code, errBuffer.String())
	}
	if drawn, cleared := strings.Count(errBuffer.String(), "\x1b[K"), strings.Count(errBuffer.String(), "\x1b[J"); drawn == 0 || cleared < 2 {
		t.Errorf("%q: %d lines drawn, cleared %d times", args, drawn, cleared)
	}
	return escapes.ReplaceAllString(outBuffer.String(), ""), escapes.ReplaceAllString(errBuffer.String(), "")
}

var escapes = regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]`)

// Main is the TestMain of packages whose tests start the command as a process.
func Main(m *testing.M) {
	if os.Getenv(RunAsCommand) != "" {
		os.Exit(command.Run(context.Background(), os.Args[1:], console.Standard()))
	}
	os.Exit(m.Run())
}
