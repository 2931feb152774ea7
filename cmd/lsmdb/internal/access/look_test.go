package access_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"lsmdb/cmd/lsmdb/internal/commandtest"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/db"
	"lsmdb/db/attach"
	"lsmdb/internal/beside"
)

// must ends the test if there is an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// open opens a database in this process until the test ends, or it is closed.
func open(t *testing.T, dir string, o *db.Options) *db.DB {
	t.Helper()
	d, err := db.Open(dir, o)
	must(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

// fillOdd stores what is hard to print or to count: in tables, and above them.
func fillOdd(t *testing.T, d *db.DB) {
	t.Helper()
	future := time.Date(2999, 12, 31, 23, 59, 59, 123456789, time.UTC)
	for round := range 2 {
		for i := range 300 {
			must(t, d.Put(fmt.Appendf(nil, "many/%04d", i), fmt.Appendf(nil, "round %d", round)))
		}
		for _, e := range [][2]string{{"", "of the empty key"}, {"empty", ""}, {"tab\tnew\nline", "a\tb\\\n"}, {"\x00\xff\xfe", "\x80"}, {"ümlaut", "ß"},
			{"-dash", "--json"}, {"large", strings.Repeat("large ", 20_000)}, {"gone", "x"}, {"range/1", "x"}, {"range/2", "x"}, {"range/9", "x"}} {
			must(t, d.Put([]byte(e[0]), []byte(e[1])))
		}
		must(t, d.PutUntil([]byte("ends"), []byte("later"), future))
		must(t, d.PutUntil([]byte("ended"), []byte("before"), time.Unix(1, 0)))
		must(t, d.Delete([]byte("gone")))
		must(t, d.DeleteRange([]byte("range/1"), []byte("range/5")))
		must(t, d.DeleteRange([]byte("many/0100"), []byte("many/0200")))
		must(t, d.Merge([]byte("sum"), []byte{5, 0, 0, 0, 0, 0, 0, 0}))
		if round == 0 {
			must(t, d.Flush(t.Context()))
		}
	}
}

// reads are the command lines that look at such a database.
func reads(dir string) [][]string {
	var lines [][]string
	for _, key := range []string{`\`, "empty", `tab\tnew\nline`, `\x00\xff\xfe`, "ümlaut", "large", "gone", "range/1", "range/2", "range/9", "ends", "ended", "sum", "none", "many/0150"} {
		for _, form := range [][]string{nil, {"--raw"}, {"--json"}, {"--size"}, {"--size", "--json"}, {"--number"}} {
			lines = append(lines, append([]string{"get", dir, "--escaped", key}, form...))
		}
	}
	lines = append(lines, []string{"get", dir, "--hex", ""}, []string{"get", dir, "--", "-dash"}, []string{"get", dir, strings.Repeat("k", db.MaxKeyBytes+1)})
	for _, part := range [][]string{nil, {"--prefix", "many/"}, {"--prefix", "range/"}, {"--from", "e", "--to", "many/0005"}, {"--from", "z", "--to", "a"},
		{"--hex", "--prefix", "00ff"}, {"--to", ""}, {"--from", ""}, {"--prefix", ""}} {
		lines = append(lines, append([]string{"dump", dir}, part...), append([]string{"dump", dir, "--format", "tsv"}, part...))
		for _, form := range [][]string{nil, {"--json"}, {"--reverse"}, {"--keys-only"}, {"--json", "--keys-only", "--reverse"}, {"--limit", "1"}, {"--limit", "7", "--reverse"},
			{"--count"}, {"--count", "--json"}, {"--count", "--keys-only", "--limit", "3"}} {
			lines = append(lines, append(append([]string{"scan", dir}, part...), form...))
		}
	}
	return append(lines, []string{"scan", dir, "many/00"}, []string{"scan", dir, "--limit", "-1"})
}

// Every command that reads says the same of a database whether nobody has it open or it
// asks whoever has.
func TestReadsBesideAndAtRest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	d := open(t, dir, &db.Options{MemtableBytes: 1 << 20, Merger: db.SumInt64})
	fillOdd(t, d)
	server, err := attach.Serve(d)
	must(t, err)
	var beside []commandtest.Outcome
	for _, line := range reads(dir) {
		beside = append(beside, commandtest.Execute(t, "", line...))
	}
	must(t, server.Close()) // which waits for what is still on its way
	if pinned := d.Metrics(); pinned.Iterator.Open+pinned.Snapshot.Open > 0 {
		t.Errorf("something stayed open: %+v", pinned.Iterator)
	}
	for _, line := range reads(dir) {
		if got := commandtest.Execute(t, "", line...); got.Code != exit.InUse && got.Code != exit.Usage {
			t.Fatalf("%.100q was not asked for beside: %+v", line, got)
		}
	}
	must(t, d.Close())
	found := 0
	for i, line := range reads(dir) {
		atRest := commandtest.Execute(t, "", line...)
		if line[0] == "dump" { // tells how long it took
			atRest.Err, beside[i].Err = cutTime(atRest.Err), cutTime(beside[i].Err)
		}
		if atRest != beside[i] {
			t.Errorf("%.100q:\nbeside:  %.500q\nat rest: %.500q", line, fmt.Sprint(beside[i]), fmt.Sprint(atRest))
		}
		if len(atRest.Out) > 0 {
			found++
		}
	}
	if found < 115 {
		t.Errorf("only %d commands found something", found)
	}
}

func cutTime(said string) string {
	said, _, _ = strings.Cut(said, ", in ")
	return said
}

// What a damaged table costs is said in the same words.
func TestDamageBesideAndAtRest(t *testing.T) {
	dir, table := commandtest.BigTable(t)
	commandtest.Damage(t, table, 2000)
	d := open(t, dir, nil)
	_, err := attach.Serve(d)
	must(t, err)
	lines := [][]string{{"scan", dir}, {"get", dir, "key0000"}, {"get", dir, "key0020"}, {"get", dir, "key0999"}, {"dump", dir, "--json"}, {"scan", dir, "--count"}}
	var beside []commandtest.Outcome
	for _, line := range lines {
		beside = append(beside, commandtest.Execute(t, "", line...))
	}
	must(t, d.Close())
	for i, line := range lines {
		if atRest := commandtest.Execute(t, "", line...); atRest != beside[i] {
			t.Errorf("%q:\nbeside:  %.500q\nat rest: %.500q", line, fmt.Sprint(beside[i]), fmt.Sprint(atRest))
		}
	}
	if !strings.Contains(beside[0].Err, "damaged") {
		t.Errorf("no damage was met: %+v", beside[0])
	}
}

// Who asks beside why things are as they are is told the same as at rest. (The tree does not
// change in between, as all of it was compacted.)
func TestInsightBesideAndAtRest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	d := open(t, dir, &db.Options{MemtableBytes: 1 << 20, Merger: db.SumInt64})
	fillOdd(t, d)
	must(t, d.Compact(t.Context(), nil, nil))
	_, err := attach.Serve(d)
	must(t, err)
	look := func() (spaces []string, found []db.Explanation) {
		for _, part := range [][]string{nil, {"--prefix", "many/"}, {"--from", "e", "--to", "many/0005"}, {"--from", "", "--to", ""}, {"--prefix", "none"}} {
			spaces = append(spaces, commandtest.Succeed(t, "", append([]string{"space", dir, "--json"}, part...)...))
		}
		for _, key := range []string{"empty", `\x00\xff\xfe`, "gone", "ends", "ended", "sum", "none", "many/0150"} {
			var e db.Explanation
			must(t, json.Unmarshal([]byte(commandtest.Execute(t, "", "explain", dir, "--escaped", key, "--json").Out), &e))
			e.Steps, e.Time = nil, 0 // how it went differs
			found = append(found, e)
		}
		return spaces, found
	}
	spaces, found := look()
	must(t, d.Close())
	spacesAtRest, atRest := look()
	if !slices.Equal(spaces, spacesAtRest) || strings.HasPrefix(spaces[0], `{"live_bytes":0,`) || !strings.HasPrefix(spaces[4], `{"live_bytes":0,`) {
		t.Errorf("beside:  %s\nat rest: %s", spaces, spacesAtRest)
	}
	if !reflect.DeepEqual(atRest, found) || found[0].DecidedBy != "put" || found[2].DecidedBy != "nothing" {
		t.Errorf("beside:  %+v\nat rest: %+v", found, atRest)
	}
}

// What keeps something is told of the program that has the database open.
func TestPinsBeside(t *testing.T) {
	dir := commandtest.FilledDatabase(t, "k", "v")
	d := open(t, dir, nil)
	_, err := attach.Serve(d)
	must(t, err)
	if got := commandtest.Succeed(t, "", "pins", dir, "--json"); got != "[]\n" {
		t.Errorf("got %q", got)
	}
	s, err := d.NewSnapshot()
	must(t, err)
	defer s.Close()
	want, err := json.Marshal(d.Pins())
	must(t, err)
	if got := commandtest.Succeed(t, "", "pins", dir, "--json"); got != string(want)+"\n" || !strings.Contains(got, "TestPinsBeside") {
		t.Errorf("got %s, want %s", got, want)
	}
	commandtest.Contains(t, commandtest.Succeed(t, "", "pins", dir), "snapshot", "TestPinsBeside")
}

// Beside a process that does not serve the database, the message says how it could.
func TestUnattached(t *testing.T) {
	dir := commandtest.FilledDatabase(t, "k", "v")
	open(t, dir, nil)
	lines := [][]string{{"get", dir, "k"}, {"scan", dir}, {"dump", dir}, {"stats", dir}, {"checkpoint", dir, dir + ".copy"}, {"top", dir}, {"explain", dir, "k"}, {"space", dir}, {"pins", dir}}
	for _, line := range lines {
		commandtest.Fail(t, exit.InUse, []string{dir + " is in use", "attach.Serve"}, "", line...)
		commandtest.Fail(t, exit.InUse, []string{`"exit":5`, "attach.Serve"}, "", append(line, "--json")...)
	}
	l, err := net.Listen("unix", filepath.Join(dir, beside.SocketName))
	must(t, err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	must(t, l.Close())
	for _, line := range lines { // what a process that was killed left helps nobody
		commandtest.Fail(t, exit.InUse, []string{dir + " is in use", "attach.Serve"}, "", line...)
	}
	if _, err := os.Stat(dir + ".copy"); !os.IsNotExist(err) {
		t.Errorf("something was copied: %v", err)
	}
}

// Who writes needs the database for himself.
func TestWritersBeside(t *testing.T) {
	dir := commandtest.FilledDatabase(t, "k", "v")
	d := open(t, dir, nil)
	_, err := attach.Serve(d)
	must(t, err)
	for name, line := range everyCommand(dir) {
		switch name {
		case "top":
			commandtest.Succeed(t, "", append(line, "--once")...)
		case "get", "scan", "dump", "stats", "explain", "space", "pins", "checkpoint":
			commandtest.Succeed(t, "", line...)
		default:
			commandtest.Fail(t, exit.InUse, []string{"in use"}, "", line...)
		}
	}
	if v, err := d.Get([]byte("k")); err != nil || string(v) != "v" {
		t.Errorf("now it is %q, %v", v, err)
	}
}

// A checkpoint is made by the process that has the database open, wherever the command was
// started.
func TestCheckpointBeside(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	d := open(t, dir, nil)
	must(t, d.Put([]byte("k"), []byte("v")))
	_, err := attach.Serve(d)
	must(t, err)
	t.Chdir(t.TempDir())
	v := commandtest.Object(t, commandtest.Succeed(t, "", "checkpoint", dir, "copy", "--json"))
	if v["sequence"] != float64(d.Metrics().Sequence) || v["files"] != 3.0 {
		t.Errorf("got %v", v)
	}
	if got := commandtest.Succeed(t, "", "scan", "copy"); got != "k\tv\n" {
		t.Errorf("the copy has %q", got)
	}
	if names, err := filepath.Glob("copy/*"); err != nil || strings.Contains(fmt.Sprint(names), beside.SocketName) {
		t.Errorf("the copy has the files %v, %v", names, err)
	}
	commandtest.Fail(t, exit.NoDatabase, []string{"is not empty"}, "", "checkpoint", dir, "copy")
}

// A lone socket is what is left where everything else was removed.
func TestLoneSocket(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, beside.SocketName))
	must(t, err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	must(t, l.Close())
	commandtest.Fail(t, exit.NoDatabase, []string{"there is no database in it"}, "", "get", dir, "k")
	commandtest.Succeed(t, "", "put", dir, "k", "v")
	if got := commandtest.Succeed(t, "", "get", dir, "k"); got != "v\n" {
		t.Errorf("got %q", got)
	}
}

// ownerVariable makes the test program a process that has a database open until it is
// killed, or its standard input ends. It holds the directory, behind "serve " if that is
// served.
const ownerVariable = "LSMDB_TEST_OWNER"

// TestOwner is that process.
func TestOwner(t *testing.T) {
	dir := os.Getenv(ownerVariable)
	if dir == "" {
		t.Skip("the process that TestProcesses starts")
	}
	dir, served := strings.CutPrefix(dir, "serve ")
	d := open(t, dir, nil)
	if served {
		_, err := attach.Serve(d)
		must(t, err)
	}
	must(t, d.Put([]byte("k"), []byte("v")))
	fmt.Println("open")
	io.Copy(io.Discard, os.Stdin)
	must(t, d.Close())
}

// owner starts it and waits until it has opened the database.
func owner(t *testing.T, what string) (process *exec.Cmd, end func()) {
	t.Helper()
	program, err := os.Executable()
	must(t, err)
	process = exec.Command(program, "-test.run=^TestOwner$", "-test.v")
	process.Env = append(os.Environ(), ownerVariable+"="+what)
	input, err := process.StdinPipe()
	must(t, err)
	output, err := process.StdoutPipe()
	must(t, err)
	must(t, process.Start())
	t.Cleanup(func() { process.Process.Kill(); process.Wait() })
	lines := bufio.NewScanner(output)
	for lines.Scan() && lines.Text() != "open" {
	}
	must(t, lines.Err())
	return process, func() { input.Close(); io.Copy(io.Discard, output); must(t, process.Wait()) }
}

// Two processes: a reader beside an owner, also after that one was killed, when the socket
// leads nowhere.
func TestProcesses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	get := func() commandtest.Outcome { return commandtest.Execute(t, "", "get", dir, "k") }
	found := commandtest.Outcome{Out: "v\n"}
	killed, _ := owner(t, "serve "+dir)
	if got := get(); got != found {
		t.Fatalf("beside: %+v", got)
	}
	if c, err := beside.Dial(t.Context(), dir); err != nil || c.Hello.PID != killed.Process.Pid {
		t.Errorf("%+v, %v; the process is %d", c, err, killed.Process.Pid)
	}
	must(t, killed.Process.Kill())
	killed.Wait()
	if _, err := os.Lstat(filepath.Join(dir, beside.SocketName)); err != nil {
		t.Fatalf("the killed process left no socket: %v", err)
	}
	if got := get(); got != found {
		t.Errorf("at rest, beside a stale socket: %+v", got)
	}
	_, end := owner(t, dir)
	if got := get(); got.Code != exit.InUse || !strings.Contains(got.Err, "attach.Serve") {
		t.Errorf("beside a process that serves nothing: %+v", got)
	}
	end()
	_, end = owner(t, "serve "+dir)
	if got := get(); got != found {
		t.Errorf("beside the next one: %+v", got)
	}
	end()
	if _, err := os.Lstat(filepath.Join(dir, beside.SocketName)); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
	if got := get(); got != found {
		t.Errorf("at rest: %+v", got)
	}
}
