package shell_test

import (
	"path/filepath"
	"strings"
	"testing"

	"lsmdb/cmd/lsmdb/internal/commandtest"
	"lsmdb/cmd/lsmdb/internal/exit"
)

const (
	begun  = "a transaction has begun; commit or rollback ends it (time)\n"
	stored = "stored (time)\n"
)

func TestShellTransactions(t *testing.T) {
	for _, c := range []struct {
		name, in, want string
		failed         bool
	}{
		{"commit", "put a 1\nbegin\nput a 2\ndelete b\nget a\noutside get a\ncommit\nget a",
			stored + begun + stored + "deleted (time)\n2 (time)\n1 (time)\ncommitted (time)\n2 (time)\n", false},
		{"rollback", "put a 1\nbegin\nput a 2\nput b 3\nscan\nrollback\nscan",
			stored + begun + stored + stored + "a  2\nb  3\n2 entries (time)\nrolled back; nothing of it was stored\na  1\n1 entry (time)\n", false},
		{"conflict of a get", "put a 1\nbegin\nget a\noutside put a 2\nput b 3\ncommit\nget b\nrollback",
			stored + begun + "1 (time)\n" + stored + stored + "error: conflict: a, which the transaction has read, was changed after it began (by write 2); nothing of it was stored\n" +
				"not found (time)\nerror: no transaction is open; begin begins one\n", true},
		{"conflict of a scan", "begin\nscan from b to d\noutside put \"c c\" 2\nput x 3\ncommit",
			begun + "0 entries (time)\n" + stored + stored + "error: conflict: \"c c\", which the transaction has read, was changed after it began (by write 1); nothing of it was stored\n", true},
		{"no conflict", "begin\nscan from b to d\noutside put d 2\nput x 3\ncommit", begun + "0 entries (time)\n" + stored + stored + "committed (time)\n", false},
		{"no conflict of what is only written", "begin\nput a 1\noutside put a 2\ncommit\nget a", begun + stored + stored + "committed (time)\n1 (time)\n", false},
		{"size is a read", "put a 1\nbegin\nsize a\noutside put a 22\nput b 1\ncommit",
			stored + begun + "1 byte (time)\n" + stored + stored + "error: conflict: a, which the transaction has read, was changed after it began (by write 2); nothing of it was stored\n", true},
		{"twice", "begin\nbegin\nrollback", begun + "error: a transaction is open already; commit or rollback ends it\nrolled back; nothing of it was stored\n", true},
		{"without one", "commit\nrollback\noutside get a", strings.Repeat("error: no transaction is open; begin begins one\n", 3), true},
		{"words behind it", "begin now\nbegin\ncommit it\nrollback it\nrollback", "error: begin wants nothing behind it\n" + begun +
			"error: commit wants nothing behind it\nerror: rollback wants nothing behind it\nrolled back; nothing of it was stored\n", true},
		{"outside of nothing", "begin\noutside\noutside frob\noutside stats\noutside commit\nrollback", begun + "error: outside wants a command behind it, like: outside put KEY VALUE\n" +
			"error: no command frob; help lists them\nerror: stats does not go outside; get, scan, size, put, delete, delete-range and merge do\n" +
			"error: commit does not go outside; get, scan, size, put, delete, delete-range and merge do\nrolled back; nothing of it was stored\n", true},
		{"an error leaves it open", "begin\nput a 1\nget\ncommit\nget a", begun + stored + "error: get wants one key\ncommitted (time)\n1 (time)\n", true},
		{"the end of the input", "begin\nput a 1", begun + stored + "error: the shell ends, and the open transaction with it: it was rolled back, nothing of it was stored\n", true},
		{"the end of the shell", "begin\nput a 1\nexit", begun + stored + "error: the shell ends, and the open transaction with it: it was rolled back, nothing of it was stored\n", true},
		{"mistyped", "comit", "error: no command comit; did you mean commit? help lists them\n", true},
	} {
		if got := session(t, "", c.in); got.Out != c.want || (got.Code == exit.Failed) != c.failed {
			t.Errorf("%s: exit code %d, got\n%s\nwant\n%s%s", c.name, got.Code, got.Out, c.want, got.Err)
		}
	}
}

func TestShellTransactionsJSON(t *testing.T) {
	out := commandtest.Execute(t, "begin\nget a\noutside put a 1\nput b 1\ncommit\nbegin\nrollback\nbegin\ncommit", "shell", "--json").Out
	var lines []map[string]any
	for line := range strings.Lines(out) {
		lines = append(lines, commandtest.Object(t, line))
	}
	if len(lines) != 9 || lines[0]["begun"] != true || lines[4]["conflict"] != "a" || lines[4]["sequence"] != 1.0 || lines[6]["committed"] != false || lines[8]["committed"] != true {
		t.Errorf("got %s", out)
	}
}

// A transaction needs a database that is written.
func TestShellTransactionReadOnly(t *testing.T) {
	dir := commandtest.FilledDatabase(t, "a", "1")
	got := commandtest.Execute(t, "begin\nget a", "shell", dir, "--read-only")
	if got.Code != exit.Failed || !strings.Contains(got.Out, "read-only") || !strings.Contains(got.Out, "1  (") {
		t.Errorf("got %+v", got)
	}
}

// What is committed stays, what is rolled back by the end does not.
func TestShellTransactionKeepsData(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	session(t, dir, "begin", "put a 1", "put b 2", "commit", "begin", "delete a", "put c 3")
	if got := commandtest.Succeed(t, "", "scan", dir); got != "a\t1\nb\t2\n" {
		t.Errorf("got %q", got)
	}
}
