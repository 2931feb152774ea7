package shell_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"lsmdb/cmd/lsmdb/internal/commandtest"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/shell"
	"lsmdb/cmd/lsmdb/internal/units"
)

// session runs lines through a shell and returns the answers without their times.
func session(t *testing.T, dir string, lines ...string) commandtest.Outcome {
	t.Helper()
	args := []string{"shell", "--no-history"}
	if dir != "" {
		args = append(args, dir)
	}
	got := commandtest.Execute(t, strings.Join(lines, "\n"), args...)
	got.Out = regexp.MustCompile(`  \([0-9,]+ µs\)\n`).ReplaceAllString(got.Out, " (time)\n")
	got.Out = regexp.MustCompile(`Z, in [^ \n]+( |\n)`).ReplaceAllString(got.Out, "Z, TIME$1")
	return got
}

func TestShell(t *testing.T) {
	for _, c := range []struct {
		name, in, want string
		failed         bool
	}{
		{"put and get", "put apple red\nget apple", "stored (time)\nred (time)\n", false},
		{"other names", "set a 1\nupdate a 2\nget a\nrm a\nremove a\ndel a\nget a",
			"stored (time)\nstored (time)\n2 (time)\ndeleted (time)\ndeleted (time)\ndeleted (time)\nnot found (time)\n", false},
		{"a value is the rest of the line", "put a one  two \nget a", "stored (time)\none  two (time)\n", false},
		{"quotes", `put "a b" " c\t\"d\" "` + "\n" + `get "a b"`, "stored (time)\n" + ` c\t"d" ` + " (time)\n", false},
		{"escapes", `put \x00\xff \n` + "\n" + `get \x00\xff`, "stored (time)\n" + `\n` + " (time)\n", false},
		{"empty value", "put a \"\"\nget a", "stored (time)\n (time)\n", false},
		{"empty lines", "\n  \nput a b\n\n", "stored (time)\n", false},
		{"unknown command", "frob\nput a b", "error: no command frob; help lists them\nstored (time)\n", true},
		{"no key", "get", "error: get wants one key\n", true},
		{"two keys", "get a b", "error: get wants one key\n", true},
		{"no value", "put a", "error: put wants a key and a value\n", true},
		{"open quote", `put "a b`, "error: a quote is not closed\n", true},
		{"after the quote", `put "a"b c`, "error: a quote ends in the middle of a word; write \\\" for a quote inside\n", true},
		{"after the quoted value", `put a "b" c`, "error: something follows the quoted value\n", true},
		{"bad escape", `get \q`, `error: unknown escape \q (known: \\ \t \n \r \xHH)` + "\n", true},
		{"exit", "exit\nput a b", "", false},
		{"quit", "quit\nput a b", "", false},
		{"scan", "put a/1 x\nput a/2 \"\"\nput b y\nscan a/", "stored (time)\nstored (time)\nstored (time)\na/1  x\na/2  \n2 entries (time)\n", false},
		{"scan with bounds", "put a 1\nput b 2\nput c 3\nput d 4\nscan from b to d reverse", strings.Repeat("stored (time)\n", 4) + "c  3\nb  2\n2 entries (time)\n", false},
		{"scan with a limit", "put a 1\nput b 2\nscan limit 1", strings.Repeat("stored (time)\n", 2) + "a  1\n1 entry, and there are more (limit N) (time)\n", false},
		{"scan for a keyword", "put from 1\nput a 2\nscan \"from\"", strings.Repeat("stored (time)\n", 2) + "from  1\n1 entry (time)\n", false},
		{"scan shows keys that can be typed", `put "a b" 1` + "\nscan", "stored (time)\n\"a b\"  1\n1 entry (time)\n", false},
		{"scan, nonsense", "scan a b\nscan limit\nscan limit x\nscan limit 0", "error: scan wants one prefix; b is a second one\n" +
			"error: limit wants a word behind it\nerror: limit wants a number from 1 up, not x\nerror: limit wants a number from 1 up, not 0\n", true},
		{"clear, no", "put a 1\nclear\nno\nget a", "stored (time)\ndelete every entry of this database? yes or no:\nnothing was deleted\n1 (time)\n", false},
		{"clear, yes", "put a 1\nput b 2\nclear\nyes\nscan", "stored (time)\nstored (time)\ndelete every entry of this database? yes or no:\n2 entries deleted (time)\n0 entries (time)\n", false},
		{"clear, end of input", "put a 1\nclear", "stored (time)\ndelete every entry of this database? yes or no:\nnothing was deleted\n", false},
		{"clear with a word", "clear a", "error: clear wants nothing behind it; it deletes everything\n", true},
		{"delete-range", "put a 1\nput b 2\nput c 3\ndelete-range b c\nscan --keys\ndelete-range \"\"\nscan", strings.Repeat("stored (time)\n", 3) + "deleted (time)\na\nc\n2 entries (time)\ndeleted (time)\n0 entries (time)\n", false},
		{"delete-range, nonsense", "delete-range\ndelete-range b a\ndelete-range a a\ndelete-range a b c", "error: delete-range wants the first key, and the one before which it ends, or no end\n" +
			strings.Repeat("error: no key lies between them: START, which is included, must come before END, which is not\n", 2) + "error: delete-range wants the first key, and the one before which it ends, or no end\n", true},
		{"size", "put a four\nsize a\nput a \"\"\nsize a\nsize b\nsize", "stored (time)\n4 bytes (time)\nstored (time)\n0 bytes (time)\nnot found (time)\nerror: size wants one key\n", true},
		{"until", "put a one two --until 2200-01-02T03:04:05Z\nput b --until 2200-01-02T03:04:05Z 2\nput c --until\nput c \"--until\"", "stored  until 2200-01-02T03:04:05Z, TIME (time)\nstored  until 2200-01-02T03:04:05Z, TIME (time)\n" +
			"error: --until wants a word behind it\nstored (time)\n", true},
		{"until, shown", "put a 1 --until 2200-01-02T03:04:05Z\nput b 2\nget a\nscan\nscan --keys", "stored  until 2200-01-02T03:04:05Z, TIME (time)\nstored (time)\n1  until 2200-01-02T03:04:05Z, TIME (time)\n" +
			"a  1  until 2200-01-02T03:04:05Z, TIME\nb  2\n2 entries (time)\na  until 2200-01-02T03:04:05Z, TIME\nb\n2 entries (time)\n", false},
		{"until, nonsense", "put a 1 --until soon\nput a 1 --until -5m\nput a --until 5m", "error: --until: \"soon\" is no time: wanted is a time to live (90s, 10m, 36h, 7d), or a time (2030-12-31, \"2030-12-31 18:00\", 2030-12-31T18:00:00Z)\n" +
			"error: --until: \"-5m\" is over already\nerror: put wants a key and a value\n", true},
		{"merge without a merger", "merge a 1", "error: nothing says how to merge here: --merger sum, max or append, when it is opened; the database keeps that\n", true},
		{"key too large", "put " + strings.Repeat("k", 1<<16) + " v", "error: the key is too large: 65,536 bytes; at most 65,535 are allowed\n", true},
	} {
		if got := session(t, "", c.in); got.Out != c.want || (got.Code == exit.Failed) != c.failed {
			t.Errorf("%s: exit code %d, got\n%s\nwant\n%s%s", c.name, got.Code, got.Out, c.want, got.Err)
		}
	}
}

func TestShellMerge(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	got := commandtest.Execute(t, "merge n 5\nmerge n -2\nmerge n two\nget n\nbegin\nmerge n 1\nget n\noutside get n\nrollback", "shell", dir, "--merger", "sum")
	commandtest.Contains(t, got.Out, "merged", "merged", `error: sum wants a whole number of 64 bits, like 5 or -3, not "two"`, `\x03\x00\x00\x00\x00\x00\x00\x00  = 3`, "= 4", "= 3", "rolled back")
	got = commandtest.Execute(t, "merge n 10\nget n", "shell", dir) // the database knows how
	commandtest.Contains(t, got.Out, "merged", "= 13")
	commandtest.Fail(t, exit.Usage, []string{"merges by sum", "--merger max is another one"}, "", "shell", dir, "--merger", "max")
	commandtest.Fail(t, exit.Usage, []string{`"add"`, "sum, max or append"}, "", "shell", "--merger", "add")
	got = commandtest.Execute(t, "merge a one two\nmerge a  three\nget a", "shell", "--merger", "append")
	commandtest.Contains(t, got.Out, "one twothree  (")
}

func TestShellJSONVocabulary(t *testing.T) {
	out := commandtest.Execute(t, "put a 1 --until 2200-01-02T03:04:05Z\nget a\nscan --keys\nsize a\ndelete-range a b\nget a\nmerge n 1", "shell", "--json", "--merger", "sum").Out
	var lines []map[string]any
	for line := range strings.Lines(out) {
		lines = append(lines, commandtest.Object(t, line))
	}
	if len(lines) != 7 || lines[0]["until"] != "2200-01-02T03:04:05Z" || lines[1]["until"] != "2200-01-02T03:04:05Z" || lines[3]["value_bytes"] != 1.0 ||
		lines[4]["deleted_range"] != true || lines[5]["found"] != false || lines[6]["merged"] != 1.0 {
		t.Errorf("got %s", out)
	}
	if entry := lines[2]["entries"].([]any)[0].(map[string]any); entry["value"] != nil || entry["until"] != "2200-01-02T03:04:05Z" {
		t.Errorf("scan --keys: %v", entry)
	}
}

func TestShellKeepsData(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	session(t, dir, "put a 1", "put b 2", "delete a")
	if got := commandtest.Succeed(t, "", "scan", dir); got != "b\t2\n" {
		t.Errorf("got %q", got)
	}
	got := commandtest.Execute(t, "put c 3\nget b", "shell", dir, "--read-only")
	if got.Code != exit.Failed || !strings.Contains(got.Out, "read-only") || !strings.Contains(got.Out, "2  (") {
		t.Errorf("read-only: %+v", got)
	}
}

func TestShellStatsAndHelp(t *testing.T) {
	commandtest.Contains(t, session(t, "", "put a 1", "stats").Out, "The tree, by level", "The stages and their mailboxes", "writer", "sweeper", "Since it was opened", "1 operation", "Facts", "(time)")
	help := session(t, "", "help").Out
	for _, name := range shell.CommandNames() {
		if !strings.Contains(help, name) {
			t.Errorf("the help lacks %s", name)
		}
	}
}

func TestShellJSON(t *testing.T) {
	out := commandtest.Execute(t, "put a \\xff\nget a\nget b\nscan\nfrob\nclear\nyes\nstats\nhelp", "shell", "--json").Out
	var lines []map[string]any
	for line := range strings.Lines(out) {
		lines = append(lines, commandtest.Object(t, line))
	}
	if len(lines) != 8 {
		t.Fatalf("%d answers: %s", len(lines), out)
	}
	if lines[1]["value_base64"] != "/w==" || lines[1]["found"] != true || lines[1]["microseconds"] == nil || lines[2]["found"] != false {
		t.Errorf("get: %v, %v", lines[1], lines[2])
	}
	if entries := lines[3]["entries"].([]any); len(entries) != 1 || entries[0].(map[string]any)["key"] != "a" {
		t.Errorf("scan: %v", lines[3])
	}
	if lines[4]["kind"] != "usage" || lines[5]["deleted"] != 1.0 || lines[6]["metrics"] == nil {
		t.Errorf("got %v, %v", lines[4], lines[5])
	}
}

// Clearing more than one batch, and only what was there.
func TestShellClearsMany(t *testing.T) {
	const batchEntries = 2000 // of clear
	var entries []string
	for i := range 2*batchEntries + 5 {
		entries = append(entries, "key"+string(rune('a'+i%26))+strings.Repeat("x", i%7)+units.Count(i), "v")
	}
	dir := commandtest.FilledDatabase(t, entries...)
	commandtest.Contains(t, session(t, dir, "clear", "yes").Out, units.Count(2*batchEntries+5)+" entries deleted")
	if got := commandtest.Succeed(t, "", "scan", dir); got != "" {
		t.Errorf("left over: %.100q", got)
	}
}

// Without a terminal there is no history.
func TestNoHistoryOfScripts(t *testing.T) {
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	commandtest.Succeed(t, "put a secret", "shell")
	if names, err := os.ReadDir(state); err != nil || len(names) > 0 {
		t.Errorf("a script left a history: %v, %v", names, err)
	}
}

// A script from Windows: its mark is skipped, another encoding refused.
func TestShellScriptFromWindows(t *testing.T) {
	if got := session(t, "", "\ufeffput a 1\r\nget a\r\n"); got.Code != exit.OK || got.Out != "stored (time)\n1 (time)\n" {
		t.Errorf("got %+v", got)
	}
	if got := session(t, "", "g\x00e\x00t\x00 \x00a\x00\n\x00"); got.Code != exit.Failed || !strings.Contains(got.Err, "UTF-16") || got.Out != "" {
		t.Errorf("got %+v", got)
	}
}
