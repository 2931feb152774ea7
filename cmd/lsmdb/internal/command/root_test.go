package command_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"lsmdb/cmd/lsmdb/internal/command"
	"lsmdb/cmd/lsmdb/internal/commandtest"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
)

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{}, {"tour"}, {"shell"}, {"put"}, {"get"}, {"delete"}, {"scan"}, {"load"}, {"dump"}, {"delete-range"}, {"merge"}, {"checkpoint"}, {"backup"}, {"restore"}, {"stats"}, {"explain"}, {"space"}, {"pins"},
		{"compact"}, {"verify"}, {"salvage"}, {"inspect"}, {"inspect", "wal"}, {"inspect", "table"}, {"inspect", "manifest"}} {
		help := commandtest.Succeed(t, "", append(args, "--help")...)
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
	if text := commandtest.Succeed(t, "", "--version"); !strings.HasPrefix(text, "lsmdb version ") || !strings.Contains(text, "go1.") {
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
		{[]string{"help", "gte"}, []string{`no command "gte"`, `did you mean "get"`}},
		{[]string{"get", "", "key"}, []string{"the name of the directory is empty"}},
		{[]string{"put", "", "key", "value"}, []string{"the name of the directory is empty"}},
		{[]string{"scan", "dir", "--limit", "x"}, []string{`--limit does not take "x"`}},
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
		{[]string{"delete-rnage"}, []string{`did you mean "delete-range"`}},
		{[]string{"delete-range", "dir"}, []string{"which keys?", "--prefix"}},
		{[]string{"delete-range", "dir", "b", "a"}, []string{"START, which is included, must come before END"}},
		{[]string{"delete-range", "dir", "a", ""}, []string{"no key lies between them"}},
		{[]string{"delete-range", "dir", "a", "--prefix", "b"}, []string{"only one of them"}},
		{[]string{"delete-range", "dir", "zz", "--hex"}, []string{"malformed START", `"zz"`}},
		{[]string{"merge", "dir", "k"}, []string{"lsmdb merge DIR KEY OPERAND"}},
		{[]string{"put", "dir", "k", "v", "--until", "tomorrow"}, []string{`--until: "tomorrow" is no time`, "7d", "2030-12-31"}},
		{[]string{"put", "dir", "k", "v", "--until", "2001-01-01"}, []string{`--until: "2001-01-01" is over already`}},
		{[]string{"explain", "dir"}, []string{"lsmdb explain DIR KEY"}},
		{[]string{"space", "dir", "more"}, []string{"lsmdb space DIR"}},
		{[]string{"space", "dir", "--prefix", "zz", "--hex"}, []string{"malformed --prefix", `"zz"`}},
		{[]string{"checkpoint", "dir"}, []string{"lsmdb checkpoint DIR COPY"}},
		{[]string{"restore", "file"}, []string{"lsmdb restore FILE DIR"}},
		{[]string{"restore", "file", ""}, []string{"the name of the directory is empty"}},
	} {
		got := commandtest.Fail(t, exit.Usage, c.words, "", c.args...)
		if got.Out != "" {
			t.Errorf("lsmdb %q wrote %q to its output", c.args, got.Out)
		}
	}
}

func TestErrorsAsJSON(t *testing.T) {
	got := commandtest.Fail(t, exit.NoDatabase, nil, "", "get", filepath.Join(t.TempDir(), "none"), "key", "--json")
	v := commandtest.Object(t, got.Err)
	if v["kind"] != "no-database" || v["exit"] != float64(exit.NoDatabase) || !strings.Contains(v["error"].(string), "no such directory") {
		t.Errorf("got %v", v)
	}
}

// Results that cannot be written are an error, whatever the command.
func TestUnwrittenResults(t *testing.T) {
	dir := commandtest.FilledDatabase(t, "a", "1")
	for _, args := range [][]string{{"stats", dir}, {"explain", dir, "a"}, {"explain", dir, "a", "--json"}, {"space", dir}, {"space", dir, "--json"}, {"pins", dir}, {"pins", dir, "--json"}, {"scan", dir, "--count"}, {"scan", dir}, {"get", dir, "a"}, {"verify", dir}, {"compact", dir},
		{"put", dir, "a", "1", "--json"}, {"dump", dir}, {"backup", dir}, {"get", dir, "a", "--size"}, {"delete-range", dir, "x", "--json"}, {"merge", dir, "m", "1", "--merger", "max", "--json"},
		{"checkpoint", dir, t.TempDir()}, {"salvage", dir, t.TempDir()}, {"salvage", dir, t.TempDir(), "--json"}, {"inspect", "manifest", filepath.Join(dir, "CURRENT")}, {"inspect", "manifest", filepath.Join(dir, "CURRENT"), "--json"}} {
		var errOut bytes.Buffer
		code := command.Run(t.Context(), args, &console.Console{In: strings.NewReader(""), Out: fullDisk{}, Err: &errOut})
		if code != exit.Failed || !strings.Contains(errOut.String(), "the disk behind it is full") {
			t.Errorf("%q: exit code %d, %q", args, code, errOut.String())
		}
	}
}

// fullDisk takes nothing.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("the disk behind it is full") }
