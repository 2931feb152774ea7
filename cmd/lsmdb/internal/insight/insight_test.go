package insight_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"lsmdb/cmd/lsmdb/internal/commandtest"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/db"
)

// decide makes a database in which each kind of entry decides about a key; the last ones
// lie in the log.
func decide(t *testing.T) (dir string) {
	t.Helper()
	dir = commandtest.FilledDatabase(t, "put", "1", "delete", "2", "range/1", "3", "\x00\xff", "4")
	commandtest.Succeed(t, "", "compact", dir)
	commandtest.Succeed(t, "", "delete", dir, "delete")
	commandtest.Succeed(t, "", "delete-range", dir, "--prefix", "range/")
	commandtest.Succeed(t, "", "merge", dir, "merge", "5", "--merger", "sum")
	return dir
}

func TestExplain(t *testing.T) {
	dir := decide(t)
	for _, c := range []struct {
		key, by  string
		code     int
		sentence string
	}{
		{"put", "put", exit.OK, "put has a value, which lies in table 00"},
		{"merge", "merge", exit.OK, "merge has a value that operands make; the newest of them lies in a memtable, and in the log."},
		{"delete", "delete", exit.NotFound, "delete has no value: it was deleted. The delete lies in "},
		{"range/1", "range-delete", exit.NotFound, "range/1 has no value: a range that it lies in was deleted."},
		{"none", "nothing", exit.NotFound, "none has no value: nothing is known of it."},
	} {
		got := commandtest.Execute(t, "", "explain", dir, c.key)
		if got.Code != c.code || got.Err != "" {
			t.Errorf("%s: exit code %d, %q", c.key, got.Code, got.Err)
		}
		commandtest.Contains(t, got.Out, c.sentence, "What was asked, in this order", "memtable")
		got = commandtest.Execute(t, "", "explain", dir, c.key, "--json")
		var e db.Explanation
		if err := json.Unmarshal([]byte(got.Out), &e); err != nil || got.Code != c.code || got.Err != "" || e.DecidedBy != c.by || e.Found != (c.code == exit.OK) || string(e.Key) != c.key {
			t.Errorf("%s: exit code %d, %q, %+v, %v", c.key, got.Code, got.Out, e, err)
		}
	}
	v := commandtest.Object(t, commandtest.Succeed(t, "", "explain", dir, "00ff", "--hex", "--json"))
	if v["key_base64"] != "AP8=" || v["found"] != true || v["level"] == -1.0 || v["table"] == 0.0 || v["time_ns"] == nil {
		t.Errorf("got %v", v)
	}
	commandtest.Contains(t, commandtest.Succeed(t, "", "explain", dir, "00ff", "--hex"), "00ff has a value", "table", "L", "the file")
	commandtest.Fail(t, exit.NoDatabase, []string{"no such directory"}, "", "explain", filepath.Join(dir, "none"), "k")
}

// TestPinsAtRest: what no program has open keeps nothing.
func TestPinsAtRest(t *testing.T) {
	dir := commandtest.FilledDatabase(t, "a", "1")
	if got := commandtest.Succeed(t, "", "pins", dir); got != "Nothing is open that keeps anything.\n" {
		t.Errorf("got %q", got)
	}
	if got := commandtest.Succeed(t, "", "pins", dir, "--json"); got != "[]\n" {
		t.Errorf("got %q", got)
	}
}

func TestSpace(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	var input strings.Builder
	for i := range 4000 {
		fmt.Fprintf(&input, "%c/%04d\t%0100d\n", 'a'+i%2, i, i)
	}
	commandtest.Succeed(t, input.String(), "load", dir)
	commandtest.Succeed(t, "", "compact", dir)
	commandtest.Contains(t, commandtest.Succeed(t, "", "space", dir), "What the tables hold, by level", "L", "100 %", "all", "Nearly all of that is needed")
	commandtest.Succeed(t, "", "delete-range", dir, "--prefix", "a/")
	commandtest.Contains(t, commandtest.Succeed(t, "", "space", dir), "all", "50 %", "is not live: \"lsmdb compact "+dir+"\" gives back about")
	space := func(args ...string) (s db.Space) {
		t.Helper()
		out := commandtest.Succeed(t, "", append([]string{"space", dir, "--json"}, args...)...)
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		return s
	}
	whole, dead, live := space(), space("--prefix", "a/"), space("--prefix", "b/")
	if whole.DeadBytes == 0 || dead.LiveBytes != 0 || live.DeadBytes != 0 || dead.DeadBytes < whole.DeadBytes*9/10 || live.LiveBytes < whole.LiveBytes*9/10 {
		t.Errorf("%+v, of it %+v and %+v", whole, dead, live)
	}
	half := space("--prefix", "b/", "--from", "a", "--to", "b/2000")
	if half.LiveBytes < live.LiveBytes*4/10 || half.LiveBytes > live.LiveBytes*6/10 {
		t.Errorf("%+v of %+v", half, live)
	}
	if from := space("--from", "b/2000"); from.DeadBytes != 0 || from.LiveBytes+half.LiveBytes < live.LiveBytes*9/10 {
		t.Errorf("%+v and %+v of %+v", from, half, live)
	}
	if got := commandtest.Succeed(t, "", "space", dir, "--prefix", "none"); got != "The tables hold nothing of it. What is only in the log does not count.\n" {
		t.Errorf("got %q", got)
	}
	commandtest.Fail(t, exit.NoDatabase, []string{"no such directory"}, "", "space", filepath.Join(dir, "none"))
}
