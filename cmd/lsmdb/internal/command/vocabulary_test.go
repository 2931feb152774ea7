package command_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lsmdb/cmd/lsmdb/internal/command"
	"lsmdb/cmd/lsmdb/internal/commandtest"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/db"
)

// untilLater is an end of a value that these tests do not see.
const untilLater = "2200-01-02T03:04:05.000000006Z"

func TestPutUntil(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	commandtest.Succeed(t, "", "put", dir, "a", "1", "--until", untilLater)
	commandtest.Succeed(t, "", "put", dir, "b", "2", "--until", "7d")
	commandtest.Succeed(t, "", "put", dir, "c", "3")
	got := commandtest.Execute(t, "", "get", dir, "a")
	if got.Out != "1\n" || got.Err != "until "+untilLater+"\n" {
		t.Errorf("get: %+v", got)
	}
	if got := commandtest.Execute(t, "", "get", dir, "c"); got.Out != "3\n" || got.Err != "" {
		t.Errorf("get of what stays: %+v", got)
	}
	if got := commandtest.Succeed(t, "", "get", dir, "a", "--json"); got != `{"key":"a","value":"1","until":"`+untilLater+`"}`+"\n" {
		t.Errorf("get --json: %q", got)
	}
	if got := commandtest.Succeed(t, "", "scan", dir, "--to", "b"); got != "a\t1\t"+untilLater+"\n" {
		t.Errorf("scan: %q", got)
	}
	if got := commandtest.Succeed(t, "", "scan", dir, "--to", "b", "-k"); got != "a\t"+untilLater+"\n" {
		t.Errorf("scan -k: %q", got)
	}
	if got := commandtest.Succeed(t, "", "scan", dir, "--to", "b", "-k", "--json"); got != `{"key":"a","until":"`+untilLater+`"}`+"\n" {
		t.Errorf("scan -k --json: %q", got)
	}
	if got := commandtest.Succeed(t, "", "scan", dir, "--count"); got != "3 entries, 3 B in keys, 3 B in values, 2 of the values end\n" {
		t.Errorf("scan --count: %q", got)
	}
	if got := commandtest.Succeed(t, "", "scan", dir, "--count", "-k"); got != "3 entries, 3 B in keys, 2 of the values end\n" {
		t.Errorf("scan --count -k: %q", got)
	}
	v := commandtest.Object(t, commandtest.Succeed(t, "", "put", dir, "a", "1", "--until", untilLater, "--json"))
	if v["until"] != untilLater {
		t.Errorf("put --json: %v", v)
	}
	commandtest.Succeed(t, "", "put", dir, "a", "1")
	if got := commandtest.Succeed(t, "", "scan", dir, "--to", "b"); got != "a\t1\n" {
		t.Errorf("a put that stays: %q", got)
	}
}

// A value that has ended is gone for every command.
func TestEndedValue(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	commandtest.Succeed(t, "", "put", dir, "a", "1", "--until", "1ms")
	commandtest.Succeed(t, "", "put", dir, "b", "2") // takes a sync at least
	time.Sleep(2 * time.Millisecond)
	commandtest.Fail(t, exit.NotFound, []string{"no such key: a"}, "", "get", dir, "a")
	commandtest.Fail(t, exit.NotFound, []string{"no such key: a"}, "", "get", dir, "a", "--size")
	for _, args := range [][]string{{"scan", dir}, {"dump", dir, "--format", "tsv"}} {
		if got := commandtest.Succeed(t, "", args...); got != "b\t2\n" {
			t.Errorf("%s: %q", args[0], got)
		}
	}
}

// Dumps carry when values end, in both formats, to the nanosecond.
func TestDumpCarriesUntil(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	commandtest.Succeed(t, "a\t1\t"+untilLater+"\nb\t2\n", "load", dir)
	for format, want := range map[string]string{
		"tsv":   "a\t1\t" + untilLater + "\nb\t2\n",
		"jsonl": `{"key":"a","value":"1","until":"` + untilLater + `"}` + "\n" + `{"key":"b","value":"2"}` + "\n",
	} {
		dumped := commandtest.Succeed(t, "", "dump", dir, "--format", format)
		if dumped != want {
			t.Errorf("%s: %q", format, dumped)
		}
		again := filepath.Join(t.TempDir(), "db")
		commandtest.Succeed(t, dumped, "load", again)
		if got := commandtest.Succeed(t, "", "dump", again, "--format", format); got != want {
			t.Errorf("%s, loaded and dumped again: %q", format, got)
		}
	}
}

// What has ended meanwhile hides what is there, and the load says so.
func TestLoadOfEnded(t *testing.T) {
	dir := commandtest.FilledDatabase(t, "a", "old")
	in := "a\t1\t2001-01-01T00:00:00Z\nb\t2\n"
	commandtest.Contains(t, commandtest.Succeed(t, in, "load", dir), "loaded 2 entries", "1 of them had ended already")
	if got := commandtest.Succeed(t, "", "scan", dir); got != "b\t2\n" {
		t.Errorf("got %q", got)
	}
	if v := commandtest.Object(t, commandtest.Succeed(t, in, "load", dir, "--json")); v["ended"] != 1.0 {
		t.Errorf("got %v", v)
	}
}

func TestDeleteRange(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"b", "d"}, "a d e\\xff"},
		{[]string{"b"}, "a"},
		{[]string{""}, ""},
		{[]string{"--prefix", "e"}, "a b c d"},
		{[]string{"--prefix", "ff", "--hex"}, "a b c d e\\xff"},
		{[]string{"62", "6300", "--hex"}, "a d e\\xff"},
		{[]string{`e\xff`, "--escaped"}, "a b c d"},
	} {
		dir := commandtest.FilledDatabase(t, "a", "1", "b", "2", "c", "3", "d", "4", "e\xff", "5")
		commandtest.Succeed(t, "", append([]string{"delete-range", dir}, c.args...)...)
		if got := strings.Join(strings.Fields(commandtest.Succeed(t, "", "scan", dir, "-k")), " "); got != c.want {
			t.Errorf("%q: left %q, want %q", c.args, got, c.want)
		}
	}
	dir := commandtest.FilledDatabase(t, "a", "1")
	v := commandtest.Object(t, commandtest.Succeed(t, "", "delete-range", dir, "b", "c\xff", "--json"))
	if v["start"] != "b" || v["end_base64"] != "Y/8=" {
		t.Errorf("got %v", v)
	}
	if v := commandtest.Object(t, commandtest.Succeed(t, "", "delete-range", dir, "b", "--json")); v["end"] != nil {
		t.Errorf("got %v", v)
	}
}

func TestMerge(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	commandtest.Succeed(t, "", "merge", dir, "n", "40", "--merger", "sum")
	commandtest.Succeed(t, "", "merge", dir, "n", "7") // the database knows how
	commandtest.Succeed(t, "", "merge", dir, "n", "--", "-5")
	if got := commandtest.Succeed(t, "", "get", dir, "n", "--number"); got != "42\n" {
		t.Errorf("got %q", got)
	}
	if got := commandtest.Succeed(t, "", "get", dir, "n", "--number", "--json"); got != `{"key":"n","number":42}`+"\n" {
		t.Errorf("got %q", got)
	}
}

func TestMergers(t *testing.T) {
	for name, want := range map[string]string{"max": "b", "append": "ba"} {
		dir := filepath.Join(t.TempDir(), "db")
		commandtest.Succeed(t, "", "merge", dir, "k", "b", "--merger", name)
		commandtest.Succeed(t, "", "merge", dir, "k", "a")
		if got := commandtest.Succeed(t, "", "get", dir, "k"); got != want+"\n" {
			t.Errorf("%s: %q", name, got)
		}
		if got := commandtest.Succeed(t, "", "dump", dir, "--format", "tsv"); got != "k\t"+want+"\n" { // as the value it amounts to
			t.Errorf("%s, dumped: %q", name, got)
		}
		commandtest.Fail(t, exit.Usage, []string{"merges by " + name, "--merger sum is another one"}, "", "merge", dir, "k", "1", "--merger", "sum")
	}
}

func TestMergeMistakes(t *testing.T) {
	dir := commandtest.FilledDatabase(t, "a", "1")
	commandtest.Fail(t, exit.Usage, []string{"nothing says how to merge", "--merger sum, max or append"}, "", "merge", dir, "a", "1")
	commandtest.Fail(t, exit.Usage, []string{`"add"`, "sum, max or append"}, "", "merge", dir, "a", "1", "--merger", "add")
	commandtest.Fail(t, exit.Usage, []string{`not "one"`, "like 5 or -3"}, "", "merge", dir, "a", "one", "--merger", "sum")
	commandtest.Fail(t, exit.Usage, []string{"of 64 bits"}, "", "merge", dir, "a", "9223372036854775808", "--merger", "sum")
	commandtest.Succeed(t, "", "merge", dir, "a", "1", "--merger", "sum") // onto a value that is no number
	commandtest.Fail(t, exit.Failed, []string{"merging", "bytes"}, "", "get", dir, "a")
	missing := filepath.Join(t.TempDir(), "db")
	commandtest.Fail(t, exit.NoDatabase, []string{"no such directory"}, "", "merge", missing, "a", "1") // how could it know
	commandtest.Fail(t, exit.Usage, []string{`not "one"`}, "", "merge", missing, "a", "one", "--merger", "sum")
	if _, err := os.Stat(missing); !os.IsNotExist(err) {
		t.Errorf("a directory was made: %v", err)
	}
}

// What a program merges by an operator of its own, the command cannot read; the rest it can.
func TestUnknownMerger(t *testing.T) {
	dir := commandtest.UnclosedDatabaseWith(t, &db.Options{Merger: &db.Merger{Name: "ours", Merge: db.MaxBytes.Merge}}, func(d *db.DB) error {
		return errors.Join(d.Put([]byte("a"), []byte("1")), d.Merge([]byte("m"), []byte("x")))
	})
	if got := commandtest.Succeed(t, "", "get", dir, "a"); got != "1\n" {
		t.Errorf("got %q", got)
	}
	commandtest.Fail(t, exit.Failed, []string{"an operator that this command does not have", "sum, max and append"}, "", "get", dir, "m")
	commandtest.Fail(t, exit.Failed, []string{`merges by "ours"`, "does not have"}, "", "merge", dir, "m", "y")
	commandtest.Fail(t, exit.Usage, []string{"merges by ours", "--merger max is another one"}, "", "merge", dir, "m", "y", "--merger", "max")
	commandtest.Contains(t, commandtest.Execute(t, "merge m y\nget a", "shell", dir).Out, `merges by "ours"`, "1  (")
	commandtest.Succeed(t, "", "compact", dir) // and keeps the operands
	commandtest.Fail(t, exit.Failed, []string{"does not have"}, "", "get", dir, "m")
}

func TestSizeAndNumber(t *testing.T) {
	dir := commandtest.FilledDatabase(t, "a", "four", "b", strings.Repeat("v", 100_000), "c", "12345678")
	for key, want := range map[string]string{"a": "4\n", "b": "100000\n"} {
		if got := commandtest.Succeed(t, "", "get", dir, key, "--size"); got != want {
			t.Errorf("%s: %q", key, got)
		}
	}
	if got := commandtest.Succeed(t, "", "get", dir, "b", "--size", "--json"); got != `{"key":"b","value_bytes":100000}`+"\n" {
		t.Errorf("got %q", got)
	}
	if got := commandtest.Succeed(t, "", "get", dir, "c", "--number"); got != "4050765991979987505\n" {
		t.Errorf("got %q", got)
	}
	commandtest.Fail(t, exit.Failed, []string{"the value has 4 bytes; a number has eight"}, "", "get", dir, "a", "--number")
	commandtest.Fail(t, exit.Usage, []string{"only one of them"}, "", "get", dir, "a", "--number", "--size")
	commandtest.Fail(t, exit.NotFound, []string{"no such key: x"}, "", "get", dir, "x", "--size")
}

func TestLoadSorted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	var lines strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&lines, "key%05d\t%d\n", i, i)
	}
	commandtest.Contains(t, commandtest.Succeed(t, lines.String(), "load", dir, "--sorted"), "loaded 5,000 entries")
	if got := commandtest.Succeed(t, "", "dump", dir, "--format", "tsv"); got != lines.String() {
		t.Errorf("not what was loaded: %.100q", got)
	}
	commandtest.Succeed(t, "key00001\tnew\nkey00001a\t\n", "load", dir, "--sorted") // over what is there
	if got := commandtest.Succeed(t, "", "scan", dir, "key00001"); got != "key00001\tnew\nkey00001a\t\n" {
		t.Errorf("got %q", got)
	}
	for in, words := range map[string][]string{
		"a\t1\nc\t2\nb\\n\t3\n":              {"standard input, line 3", `key b\n does not come after c`, "nothing was stored", "LC_ALL=C sort"},
		"a\t1\na\t2\n":                       {"line 2", "key a does not come after a", "nothing was stored"},
		"a\t1\nb\n":                          {"line 2", "no tab", "nothing was stored"},
		"\t1\n\t2\n":                         {"line 2", `key "" does not come after ""`},
		"a\t1\nb\t2\t" + untilLater + "\n":   {"line 2", "only what stays", "nothing was stored"},
		strings.Repeat("k", 1<<16) + "\tv\n": {"line 1", "the key is too large", "nothing was stored"},
	} {
		dir := filepath.Join(t.TempDir(), "db")
		commandtest.Fail(t, exit.Failed, words, in, "load", dir, "--sorted")
		if got := commandtest.Succeed(t, "", "scan", dir); got != "" {
			t.Errorf("%.20q: %q stayed", in, got)
		}
	}
	if v := commandtest.Object(t, commandtest.Succeed(t, "a\t1\n", "load", dir, "--sorted", "--json")); v["entries"] != 1.0 {
		t.Errorf("got %v", v)
	}
}

// An interrupted sorted load leaves nothing.
func TestLoadSortedInterrupted(t *testing.T) {
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
	in := &signallingReader{from: input, second: cancel}
	code := command.Run(ctx, []string{"load", dir, "--sorted"}, &console.Console{In: in, Out: &out, Err: &errOut})
	if code != exit.Interrupted || !strings.Contains(errOut.String(), "interrupted; nothing was stored") {
		t.Errorf("exit code %d, %s", code, errOut.String())
	}
	if got := commandtest.Succeed(t, "", "scan", dir); got != "" {
		t.Errorf("got %q", got)
	}
}

// vocabularyDatabase has one of everything.
func vocabularyDatabase(t *testing.T) (dir, content string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "db")
	commandtest.Succeed(t, "", "merge", dir, "n", "5", "--merger", "append")
	commandtest.Succeed(t, "", "put", dir, "a", "1", "--until", untilLater)
	for _, key := range []string{"b", "c", "d"} {
		commandtest.Succeed(t, "", "put", dir, key, key)
	}
	commandtest.Succeed(t, "", "delete-range", dir, "b", "c")
	commandtest.Succeed(t, "", "delete", dir, "d")
	content = commandtest.Succeed(t, "", "dump", dir)
	if want := `{"key":"a","value":"1","until":"` + untilLater + `"}` + "\n" + `{"key":"c","value":"c"}` + "\n" + `{"key":"n","value":"5"}` + "\n"; content != want {
		t.Fatalf("got %q", content)
	}
	return dir, content
}

func TestCheckpoint(t *testing.T) {
	dir, content := vocabularyDatabase(t)
	copied := filepath.Join(t.TempDir(), "copy")
	commandtest.Contains(t, commandtest.Succeed(t, "", "checkpoint", dir, copied), "copied to "+copied, "files", "as of sequence number 7")
	commandtest.Succeed(t, "", "put", dir, "later", "1")
	if got := commandtest.Succeed(t, "", "dump", copied); got != content {
		t.Errorf("the copy holds %q", got)
	}
	commandtest.Contains(t, commandtest.Succeed(t, "", "verify", copied), "sound")
	commandtest.Succeed(t, "", "merge", copied, "n", "6") // it is a database of its own, and knows how to merge
	if got := commandtest.Succeed(t, "", "get", copied, "n"); got != "56\n" {
		t.Errorf("got %q", got)
	}
	v := commandtest.Object(t, commandtest.Succeed(t, "", "checkpoint", dir, t.TempDir(), "--json"))
	if v["sequence"] != 8.0 || v["files"].(float64) < 3 {
		t.Errorf("got %v", v)
	}
	commandtest.Fail(t, exit.NoDatabase, []string{"is not empty", "an empty directory, or none"}, "", "checkpoint", dir, copied)
	commandtest.Fail(t, exit.NoDatabase, []string{"no such directory", "its parent is not"}, "", "checkpoint", dir, filepath.Join(copied, "a", "b"))
	commandtest.Fail(t, exit.Usage, []string{"the name of the directory is empty"}, "", "checkpoint", dir, "")
}

func TestBackupAndRestore(t *testing.T) {
	dir, content := vocabularyDatabase(t)
	file := filepath.Join(t.TempDir(), "backup")
	if got := commandtest.Execute(t, "", "backup", dir, file); got.Code != exit.OK || !strings.Contains(got.Err, "as of sequence number 7") {
		t.Fatalf("got %+v", got)
	}
	stream, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []struct{ name, in string }{{file, ""}, {"-", commandtest.Succeed(t, "", "backup", dir)}} {
		restored := filepath.Join(t.TempDir(), "db")
		commandtest.Contains(t, commandtest.Succeed(t, from.in, "restore", from.name, restored), "restored", "to "+restored, "everything was verified")
		if got := commandtest.Succeed(t, "", "dump", restored); got != content {
			t.Errorf("restored from %s: %q", from.name, got)
		}
		commandtest.Fail(t, exit.NoDatabase, []string{"is not empty"}, from.in, "restore", from.name, restored)
	}
	stream[len(stream)/2] ^= 1
	restored := filepath.Join(t.TempDir(), "db")
	commandtest.Fail(t, exit.Failed, []string{"standard input is no backup, or not as it was written", "nothing was restored"}, string(stream), "restore", "-", restored)
	commandtest.Fail(t, exit.Failed, []string{"standard input is no backup"}, "something else", "restore", "-", restored)
	if names, err := os.ReadDir(restored); err == nil && len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
	commandtest.Fail(t, exit.Failed, []string{"is a directory; a backup is a file"}, "", "restore", dir, restored)
	commandtest.Fail(t, exit.Failed, []string{"no such file"}, "", "restore", file+".not", restored)
	if v := commandtest.Object(t, commandtest.Succeed(t, "", "restore", file, filepath.Join(t.TempDir(), "db"), "--json")); v["bytes"] != float64(len(stream)) {
		t.Errorf("restore --json: %v", v)
	}
	v := commandtest.Object(t, commandtest.Execute(t, "", "backup", dir, "--json").Err)
	if v["bytes"] != float64(len(stream)) || v["sequence"] != 7.0 {
		t.Errorf("got %v", v)
	}
}

// A damaged database makes no backup, and leaves no file.
func TestBackupOfDamage(t *testing.T) {
	dir, path := commandtest.BigTable(t)
	commandtest.Damage(t, path, 2000)
	parent := t.TempDir()
	commandtest.Fail(t, exit.Failed, []string{"the database is damaged", filepath.Base(path)}, "", "backup", dir, filepath.Join(parent, "backup"))
	if names, err := os.ReadDir(parent); err != nil || len(names) > 0 {
		t.Errorf("left behind: %v, %v", names, err)
	}
}

func TestCompression(t *testing.T) {
	sizes := map[string]int64{}
	text := strings.Repeat("somewhat more than nothing, again and again and ", 20)
	for _, name := range []string{"none", "snappy", "zstd"} {
		dir := filepath.Join(t.TempDir(), "db")
		var lines strings.Builder
		for i := range 3000 {
			fmt.Fprintf(&lines, "key%05d\t%d %s\n", i, i*i, text)
		}
		commandtest.Succeed(t, lines.String(), "load", dir, "--sorted", "--compression", name)
		commandtest.Succeed(t, "", "compact", dir, "--compression", name)
		report, err := db.Verify(t.Context(), dir, nil)
		if err != nil || !report.OK() {
			t.Fatalf("%s: %v, %v", name, report, err)
		}
		for _, f := range report.Files {
			sizes[name] += f.Bytes
		}
	}
	if sizes["none"] <= sizes["snappy"] || sizes["snappy"] <= sizes["zstd"] {
		t.Errorf("bytes: %v", sizes)
	}
	commandtest.Fail(t, exit.Usage, []string{`"gzip"`, "none, snappy or zstd"}, "", "load", filepath.Join(t.TempDir(), "db"), "--compression", "gzip")
	commandtest.Fail(t, exit.Usage, []string{`"gzip"`}, "", "compact", t.TempDir(), "--compression", "gzip")
	commandtest.Fail(t, exit.Usage, []string{`"gzip"`}, "", "shell", "--compression", "gzip")
}

// verify and stats count what lies in the tables.
func TestCounts(t *testing.T) {
	dir := commandtest.UnclosedDatabase(t, func(d *db.DB) error {
		key := []byte("key")
		for _, err := range []error{d.Put(key, key), d.Put([]byte("other"), key), d.Flush(t.Context()), d.PutUntil(key, key, time.Now().Add(time.Hour)),
			d.DeleteRange([]byte("o"), []byte("p")), d.Flush(t.Context())} {
			if err != nil {
				return err
			}
		}
		return nil
	})
	commandtest.Contains(t, commandtest.Succeed(t, "", "stats", dir), "in the tables", "1 range delete, 1 value that ends")
	commandtest.Contains(t, commandtest.Succeed(t, "", "verify", dir, "--files"), "1 range delete, 1 value that ends", "sound", "(with 1 range delete, 1 value that ends)")
	v := commandtest.Object(t, commandtest.Succeed(t, "", "stats", dir, "--json"))
	if level := v["levels"].([]any)[0].(map[string]any); level["range_deletes"] != 1.0 || level["expiring"] != 1.0 || level["merges"] != 0.0 {
		t.Errorf("got %v", level)
	}
	found := false
	for _, f := range commandtest.Object(t, commandtest.Succeed(t, "", "verify", dir, "--json"))["files"].([]any) {
		found = found || f.(map[string]any)["range_deletes"] == 1.0
	}
	if !found {
		t.Error("verify --json counts no range delete")
	}
}

// Whoever wants no values reads no large ones, not even damaged ones.
func TestKeysWithoutLargeValues(t *testing.T) {
	dir := commandtest.FilledDatabase(t, "a", "1", "b", strings.Repeat("value", 20_000), "c", "3")
	commandtest.Damage(t, commandtest.FileLike(t, dir, "*.sst"), 500)
	commandtest.Fail(t, exit.Failed, []string{"the database is damaged"}, "", "scan", dir)
	commandtest.Fail(t, exit.Failed, []string{"the database is damaged"}, "", "get", dir, "b")
	if got := commandtest.Succeed(t, "", "scan", dir, "-k"); got != "a\nb\nc\n" {
		t.Errorf("scan -k: %q", got)
	}
	if got := commandtest.Succeed(t, "", "scan", dir, "-k", "--count"); got != "3 entries, 3 B in keys\n" {
		t.Errorf("scan -k --count: %q", got)
	}
	if got := commandtest.Succeed(t, "", "get", dir, "b", "--size"); got != "100000\n" {
		t.Errorf("get --size: %q", got)
	}
	commandtest.Contains(t, commandtest.Execute(t, "size b\nscan --keys\nclear\nyes", "shell", dir).Out, "100,000 bytes", "a\nb\nc\n3 entries", "3 entries deleted")
}
