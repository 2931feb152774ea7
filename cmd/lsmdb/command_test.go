package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lsmdb/db"
)

// runAsCommand makes the test program behave as the command itself: the tour
// re-executes os.Executable for its loading process.
const runAsCommand = "LSMDB_TEST_RUN_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(runAsCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

// outcome is what a command line came to.
type outcome struct {
	out  string
	err  string
	code int
}

// execute runs a command line in this process, with buffers for a console.
func execute(t *testing.T, input string, args ...string) outcome {
	t.Helper()
	return executeContext(t, context.Background(), input, args...)
}

func executeContext(t *testing.T, ctx context.Context, input string, args ...string) outcome {
	t.Helper()
	var out, errOut bytes.Buffer
	c := &console{in: strings.NewReader(input), out: &out, err: &errOut, memtableBytes: 1 << 20} // quick to make
	code := run(ctx, args, c)
	return outcome{out.String(), errOut.String(), code}
}

// succeed runs a command line that must succeed and returns its output.
func succeed(t *testing.T, input string, args ...string) string {
	t.Helper()
	got := execute(t, input, args...)
	if got.code != exitOK {
		t.Fatalf("lsmdb %.200q: exit code %d, %.300s", args, got.code, got.err)
	}
	return got.out
}

// fail runs a command line that must end with a code and an error that holds all
// of the words.
func fail(t *testing.T, code int, words []string, input string, args ...string) outcome {
	t.Helper()
	got := execute(t, input, args...)
	if got.code != code {
		t.Errorf("lsmdb %.200q: exit code %d, want %d; %.300s", args, got.code, code, got.err)
	}
	for _, word := range words {
		if !strings.Contains(got.err, word) {
			t.Errorf("lsmdb %.200q: error %.300q does not say %q", args, got.err, word)
		}
	}
	return got
}

// object decodes one line of JSON.
func object(t *testing.T, line string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(line), &v); err != nil {
		t.Fatalf("%q is no JSON object: %v", line, err)
	}
	return v
}

// filledDatabase makes a database with some entries and closes it.
func filledDatabase(t *testing.T, entries ...string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "db")
	var input strings.Builder
	for i := 0; i < len(entries); i += 2 {
		input.Write(appendTSV(nil, []byte(entries[i]), []byte(entries[i+1])))
	}
	succeed(t, input.String(), "load", dir, "--format", "tsv")
	return dir
}

// openHere opens a database in this process until the test ends.
func openHere(t *testing.T, dir string) *db.DB {
	t.Helper()
	database, err := db.Open(dir, &db.Options{MemtableBytes: 1 << 20})
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

// damage flips a bit of a file.
func damage(t *testing.T, path string, offset int) {
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

// fileLike returns the only file in dir that matches the pattern.
func fileLike(t *testing.T, dir, pattern string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(names) != 1 {
		t.Fatalf("%s in %s: %v, %v", pattern, dir, names, err)
	}
	return names[0]
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{}, {"tour"}, {"shell"}, {"put"}, {"get"}, {"delete"}, {"scan"}, {"load"}, {"dump"}, {"stats"},
		{"compact"}, {"verify"}, {"inspect"}, {"inspect", "wal"}, {"inspect", "table"}, {"inspect", "manifest"}} {
		help := succeed(t, "", append(args, "--help")...)
		for _, part := range []string{"Exit codes:", "Examples:", "--json"} {
			if !strings.Contains(help, part) {
				t.Errorf("the help of %q has no %q", args, part)
			}
		}
		for line := range strings.Lines(help) {
			if len(line) > 100 && !strings.HasPrefix(strings.TrimSpace(line), "-") {
				t.Errorf("the help of %q has a line of %d characters: %s", args, len(line), line)
			}
		}
	}
}

func TestVersion(t *testing.T) {
	if text := succeed(t, "", "--version"); !strings.HasPrefix(text, "lsmdb version ") || !strings.Contains(text, "go1.") {
		t.Errorf("--version says %q", text)
	}
}

func TestUsageErrors(t *testing.T) {
	for _, c := range []struct {
		args  []string
		words []string
	}{
		{[]string{"frob"}, []string{`no command "frob"`}},
		{[]string{"scna"}, []string{`no command "scna"`, `did you mean "scan"`}},
		{[]string{"get", "dir"}, []string{"lsmdb get DIR KEY"}},
		{[]string{"get", "dir", "key", "more"}, []string{"lsmdb get DIR KEY"}},
		{[]string{"get", "dir", "key", "--frob"}, []string{"--frob"}},
		{[]string{"put", "dir", "key", "-5"}, []string{"-5", `behind "--"`}},
		{[]string{"put", "dir", "key"}, []string{"the value is missing"}},
		{[]string{"put", "dir", "key", "value", "--file", "f"}, []string{"only one of them"}},
		{[]string{"put", "dir", "zz", "00", "--hex"}, []string{"malformed key", `"zz"`}},
		{[]string{"put", "dir", "00", "0", "--hex"}, []string{"malformed value", `"0"`}},
		{[]string{"get", "dir", "a", "--hex", "--base64"}, []string{"--base64 and --hex: only one of them"}},
		{[]string{"get", "dir", `\q`, "--escaped"}, []string{`unknown escape \q`}},
		{[]string{"scan", "dir", "a", "--prefix", "b"}, []string{"only one of them"}},
		{[]string{"scan", "dir", "--limit", "-1"}, []string{"--limit"}},
		{[]string{"load", "dir", "--format", "xml"}, []string{`"xml"`, "jsonl", "tsv"}},
		{[]string{"dump", "dir", "--format", "xml"}, []string{`"xml"`}},
		{[]string{"inspect"}, []string{"wal, table or manifest"}},
		{[]string{"inspect", "dir"}, []string{"wal, table or manifest", `"dir"`}},
		{[]string{"shell", "--read-only"}, []string{"DIR"}},
	} {
		got := fail(t, exitUsage, c.words, "", c.args...)
		if got.out != "" {
			t.Errorf("lsmdb %q wrote %q to its output", c.args, got.out)
		}
	}
}

func TestErrorsAsJSON(t *testing.T) {
	got := fail(t, exitNoDatabase, nil, "", "get", filepath.Join(t.TempDir(), "none"), "key", "--json")
	v := object(t, got.err)
	if v["kind"] != "no-database" || v["exit"] != float64(exitNoDatabase) || !strings.Contains(v["error"].(string), "no such directory") {
		t.Errorf("got %v", v)
	}
}
