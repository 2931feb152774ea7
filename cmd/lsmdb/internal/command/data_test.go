package command_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"lsmdb/cmd/lsmdb/internal/command"
	"lsmdb/cmd/lsmdb/internal/commandtest"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/internal/base"
)

func TestPutGetDelete(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	commandtest.Succeed(t, "", "put", dir, "fruit/apple", "red")
	commandtest.Succeed(t, "", "put", dir, "--hex", "00ff", "0a5c")
	commandtest.Succeed(t, "", "put", dir, "--no-sync", "empty", "")
	commandtest.Succeed(t, "line one\nline two\n", "put", dir, "text", "--file", "-")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte{0, 1, 2}, 0o600); err != nil {
		t.Fatal(err)
	}
	commandtest.Succeed(t, "", "put", dir, "from file", "--file", file)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"fruit/apple"}, "red\n"},
		{[]string{"fruit/apple", "--hex"}, ""}, // not hexadecimal
		{[]string{"00ff", "--hex"}, "0a5c\n"},
		{[]string{`\x00\xff`, "--escaped"}, `\n\\` + "\n"},
		{[]string{"AP8=", "--base64"}, "Clw=\n"},
		{[]string{`\x00\xff`, "--escaped", "--raw"}, "\n\\"},
		{[]string{"empty"}, "\n"},
		{[]string{"empty", "--raw"}, ""},
		{[]string{"text"}, `line one\nline two\n` + "\n"},
		{[]string{"text", "--raw"}, "line one\nline two\n"},
		{[]string{"from file", "--hex"}, ""},
		{[]string{"from file", "--json"}, `{"key":"from file","value_base64":"AAEC"}` + "\n"},
		{[]string{"fruit/apple", "--json"}, `{"key":"fruit/apple","value":"red"}` + "\n"},
	} {
		if got := commandtest.Execute(t, "", append([]string{"get", dir}, c.args...)...); got.Out != c.want {
			t.Errorf("get %q: got %q, want %q; %s", c.args, got.Out, c.want, got.Err)
		}
	}
	commandtest.Succeed(t, "", "delete", dir, "fruit/apple", "text", "never there")
	commandtest.Fail(t, exit.NotFound, []string{"no such key: fruit/apple"}, "", "get", dir, "fruit/apple")
	got := commandtest.Fail(t, exit.NotFound, nil, "", "get", dir, "fruit/apple", "--json")
	if v := commandtest.Object(t, got.Err); v["kind"] != "not-found" {
		t.Errorf("got %v", v)
	}
	commandtest.Succeed(t, "", "rm", dir, "00ff", "--hex")
	if got := commandtest.Succeed(t, "", "scan", dir, "--keys-only"); got != "empty\nfrom file\n" {
		t.Errorf("left over: %q", got)
	}
}

func TestPutJSON(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	v := commandtest.Object(t, commandtest.Succeed(t, "", "put", dir, "a", "four", "--json"))
	if v["key"] != "a" || v["value_bytes"] != 4.0 {
		t.Errorf("got %v", v)
	}
	if v := commandtest.Object(t, commandtest.Succeed(t, "", "delete", dir, "a", "b", "--json")); v["keys"] != 2.0 {
		t.Errorf("got %v", v)
	}
}

// What exceeds a limit is refused before anything, the directory included, exists.
func TestLimits(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	long := strings.Repeat("k", base.MaxKeyBytes+1)
	commandtest.Fail(t, exit.Failed, []string{"the key is too large", "65,536", "65,535"}, "", "put", dir, long, "v")
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("a directory was made: %v", err)
	}
	commandtest.Succeed(t, "", "put", dir, long[1:], "v")
	commandtest.Fail(t, exit.Failed, []string{"the key is too large"}, "", "delete", dir, "a", long)
	got := commandtest.Fail(t, exit.Failed, []string{"standard input, line 2", "the key is too large", "1 entry before it is stored"}, "a\tb\n"+long+"\tc\nd\te\n", "load", dir)
	if got.Out != "" {
		t.Errorf("load said %q", got.Out)
	}
	if got := commandtest.Succeed(t, "", "scan", dir, "--limit", "1"); got != "a\tb\n" {
		t.Errorf("the line before the bad one is not there: %q", got)
	}
	if got := commandtest.Succeed(t, "", "scan", dir, "--count"); !strings.HasPrefix(got, "2 entries") {
		t.Errorf("got %q", got)
	}
}

func TestScan(t *testing.T) {
	dir := commandtest.FilledDatabase(t, "a", "1", "b/1", "2", "b/2", "3", "c\n", "4", "d", "")
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "a\t1\nb/1\t2\nb/2\t3\nc\\n\t4\nd\t\n"},
		{[]string{"b/"}, "b/1\t2\nb/2\t3\n"},
		{[]string{"--prefix", "b/", "--keys-only"}, "b/1\nb/2\n"},
		{[]string{"--from", "b/2", "--to", "d"}, "b/2\t3\nc\\n\t4\n"},
		{[]string{"--reverse", "--limit", "2"}, "d\t\nc\\n\t4\n"},
		{[]string{"--limit", "1"}, "a\t1\n"},
		{[]string{"--limit", "5"}, "a\t1\nb/1\t2\nb/2\t3\nc\\n\t4\nd\t\n"},
		{[]string{"--hex", "63"}, "630a\t34\n"},
		{[]string{"--escaped", `c\n`}, "c\\n\t4\n"},
		{[]string{"none"}, ""},
		{[]string{"b/", "--count"}, "2 entries, 6 B in keys, 2 B in values\n"},
		{[]string{"--count", "--json"}, `{"entries":5,"key_bytes":10,"value_bytes":4}` + "\n"},
		{[]string{"--count", "--limit", "3", "--reverse"}, "3 entries, 6 B in keys, 2 B in values\n"},
		{[]string{"--json", "--from", "c"}, `{"key":"c\n","value":"4"}` + "\n" + `{"key":"d","value":""}` + "\n"},
		{[]string{"--json", "--keys-only", "b/1"}, `{"key":"b/1"}` + "\n"},
	} {
		if got := commandtest.Succeed(t, "", append([]string{"scan", dir}, c.args...)...); got != c.want {
			t.Errorf("scan %q: got %q, want %q", c.args, got, c.want)
		}
	}
}

// Whatever lies in a database comes back from dump and load, in both formats,
// through files and through pipes.
func TestDumpLoadRoundTrip(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	for round := range 8 {
		var entries []string
		for range 1 + random.IntN(200) {
			entries = append(entries, anyBytes(random, 30), anyBytes(random, 100))
		}
		dir := commandtest.FilledDatabase(t, entries...)
		want := commandtest.Succeed(t, "", "scan", dir, "--hex")
		format := []string{"jsonl", "tsv"}[round%2]
		again := filepath.Join(t.TempDir(), "again")
		if round%4 < 2 {
			file := filepath.Join(t.TempDir(), "dump."+format)
			commandtest.Succeed(t, "", "dump", dir, file)
			commandtest.Succeed(t, "", "load", again, file)
		} else {
			commandtest.Succeed(t, commandtest.Succeed(t, "", "dump", dir, "--format", format), "load", again)
		}
		if got := commandtest.Succeed(t, "", "scan", again, "--hex"); got != want {
			t.Fatalf("round %d, %s: got %q, want %q", round, format, got, want)
		}
	}
}

// More than one batch, a table behind it, and what the command says.
func TestLoadMany(t *testing.T) {
	const batchEntries = 2000 // of load
	dir := filepath.Join(t.TempDir(), "db")
	var input bytes.Buffer
	for i := range 3*batchEntries + 7 {
		fmt.Fprintf(&input, "key%06d\t%s\n", i, strings.Repeat("v", i%50))
	}
	v := commandtest.Object(t, commandtest.Succeed(t, input.String(), "load", dir, "--json"))
	if v["entries"] != float64(3*batchEntries+7) || v["lines"] != v["entries"] {
		t.Errorf("got %v", v)
	}
	if got := commandtest.Succeed(t, "", "dump", dir, "--format", "tsv"); got != input.String() {
		t.Errorf("%d bytes came back, want %d", len(got), input.Len())
	}
	if got := commandtest.Succeed(t, "", "load", dir, "--format", "tsv"); !strings.HasPrefix(got, "loaded 0 entries") {
		t.Errorf("an empty input: %q", got)
	}
}

func TestLoadStopsAtMalformedLine(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	file := filepath.Join(t.TempDir(), "input.jsonl")
	content := `{"key":"a","value":"1"}` + "\n\n" + `{"key":"b","value":"2"}` + "\n" + `{"key":"c","value":3}` + "\n" + `{"key":"d","value":"4"}`
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	commandtest.Fail(t, exit.Failed, []string{file, "line 4", "column 20", "2 entries before it are stored"}, "", "load", dir, file)
	got := commandtest.Fail(t, exit.Failed, nil, "", "load", dir, file, "--json")
	if v := commandtest.Object(t, got.Err); v["line"] != 4.0 || v["entries"] != 2.0 {
		t.Errorf("got %v", v)
	}
	if got := commandtest.Succeed(t, "", "scan", dir); got != "a\t1\nb\t2\n" {
		t.Errorf("got %q", got)
	}
	commandtest.Fail(t, exit.Failed, []string{"line 1", "nothing was stored"}, "no tab", "load", dir)
	commandtest.Fail(t, exit.Failed, []string{"standard input, line 3", "3 columns", "KEY<TAB>VALUE", "2 entries before it are stored", "load everything again"}, "a\tb\nc\td\na\tb\tc\ne\tf\n", "load", dir)
	commandtest.Fail(t, exit.Failed, []string{"no such file"}, "", "load", dir, file+".not")
	commandtest.Fail(t, exit.Failed, []string{"is a directory"}, "", "load", dir, filepath.Dir(file))
}

// A dump that fails leaves no file behind and touches none.
func TestDumpToFile(t *testing.T) {
	dir := commandtest.FilledDatabase(t, "a", "1", "b", "2")
	parent := t.TempDir()
	file := filepath.Join(parent, "dump.tsv")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	var many []string
	for i := range 600 { // more than Walk's step between two looks at the context
		many = append(many, fmt.Sprintf("%04d", i), "")
	}
	if got := commandtest.ExecuteContext(t, interrupted, "", "dump", commandtest.FilledDatabase(t, many...), file); got.Code != exit.Interrupted {
		t.Errorf("interrupted: %+v", got)
	}
	names, err := os.ReadDir(parent)
	if content, _ := os.ReadFile(file); err != nil || len(names) != 1 || string(content) != "old" {
		t.Errorf("after an interrupted dump: %v, %q, %v", names, content, err)
	}
	got := commandtest.Execute(t, "", "dump", dir, file, "--prefix", "b")
	if content, _ := os.ReadFile(file); got.Code != exit.OK || string(content) != "b\t2\n" || !strings.Contains(got.Err, "dumped 1 entry") {
		t.Errorf("got %+v, %q", got, content)
	}
	if v := commandtest.Object(t, commandtest.Execute(t, "", "dump", dir, file, "--json").Out); v["entries"] != 2.0 {
		t.Errorf("got %v", v)
	}
	if v := commandtest.Object(t, commandtest.Execute(t, "", "dump", dir, "--json").Err); v["entries"] != 2.0 {
		t.Errorf("got %v", v)
	}
	commandtest.Fail(t, exit.Failed, []string{filepath.Join(parent, "none", "x") + ": no such file"}, "", "dump", dir, filepath.Join(parent, "none", "x"))
	if runtime.GOOS != "windows" {
		commandtest.Succeed(t, "", "dump", dir, os.DevNull)
	}
}

// An interrupt while load waits for input ends it; what was read is stored.
func TestLoadInterrupted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	ctx, cancel := context.WithCancel(t.Context())
	input, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	defer feed.Close()
	if _, err := feed.WriteString("a\t1\nb\t2\n"); err != nil {
		t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	in := &signallingReader{from: input, second: cancel} // the first lines are in, and load asks for more
	code := command.Run(ctx, []string{"load", dir}, &console.Console{In: in, Out: &out, Err: &errOut})
	if code != exit.Interrupted || !strings.Contains(errOut.String(), "interrupted; 2 entries before it are stored") {
		t.Errorf("exit code %d, %s", code, errOut.String())
	}
	if got := commandtest.Succeed(t, "", "scan", dir); got != "a\t1\nb\t2\n" {
		t.Errorf("got %q", got)
	}
}

// signallingReader calls second when it is read for the second time.
type signallingReader struct {
	from   *os.File
	reads  int
	second func()
}

func (r *signallingReader) Read(p []byte) (int, error) {
	if r.reads++; r.reads == 2 {
		r.second()
	}
	return r.from.Read(p)
}

// anyBytes makes a key or value of characters that need care, or of any bytes.
func anyBytes(random *rand.Rand, most int) string {
	careful, p := []rune("{}\":\\\t\n\r ,é好😀x"), make([]byte, 0, 4*most)
	binary := random.IntN(2) == 0
	for range random.IntN(most + 1) {
		if binary {
			p = append(p, byte(random.Uint32()))
		} else {
			p = utf8.AppendRune(p, careful[random.IntN(len(careful))])
		}
	}
	return string(p)
}

// Files from Windows: a mark is skipped in files and on standard input, UTF-16 is refused
// by the file's name, and nothing of it is stored.
func TestLoadFromWindows(t *testing.T) {
	for name, content := range map[string]string{"a.tsv": "\ufeffapple\tred\r\n", "a.jsonl": "\ufeff{\"key\":\"apple\",\"value\":\"red\"}\r\n"} {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{file}, {}} {
			dir := filepath.Join(t.TempDir(), "db")
			commandtest.Succeed(t, content, append([]string{"load", dir}, args...)...)
			if got := commandtest.Succeed(t, "", "scan", dir); got != "apple\tred\n" {
				t.Errorf("%s %q: %q", name, args, got)
			}
		}
	}
	dir := filepath.Join(t.TempDir(), "db")
	commandtest.Fail(t, exit.Failed, []string{"standard input: the input is UTF-16, little endian", "nothing was stored", "iconv"}, "\xff\xfea\x00\t\x00b\x00\n\x00", "load", dir)
	if got := commandtest.Succeed(t, "", "scan", dir); got != "" {
		t.Errorf("stored: %q", got)
	}
}
