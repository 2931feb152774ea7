package command_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lsmdb/cmd/lsmdb/internal/commandtest"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// salvaged runs salvage, which must not change the old database, and returns the new one, what
// JSON says, and the exit code.
func salvaged(t *testing.T, dir string) (to string, report map[string]any, code int) {
	t.Helper()
	before := fixture.Picture(t, dir)
	to = filepath.Join(t.TempDir(), "new")
	got := commandtest.Execute(t, "", "salvage", dir, to, "--json")
	if got.Err != "" {
		t.Errorf("error output %q", got.Err)
	}
	if after := fixture.Picture(t, dir); after != before {
		t.Errorf("the old database was\n%s and is\n%s", before, after)
	}
	report = commandtest.Object(t, got.Out)
	if ok := report["ok"] == true; ok != (got.Code == exit.OK) || ok != (len(report["losses"].([]any)) == 0) {
		t.Errorf("exit code %d with %v", got.Code, report)
	}
	return to, report, got.Code
}

func TestSalvageSoundDatabase(t *testing.T) {
	dir, _ := commandtest.BigTable(t)
	to, report, code := salvaged(t, dir)
	if code != exit.OK || report["entries"] != 1000.0 {
		t.Errorf("exit code %d, %v", code, report)
	}
	if commandtest.Succeed(t, "", "dump", to) != commandtest.Succeed(t, "", "dump", dir) {
		t.Error("something else was rescued")
	}
	commandtest.Contains(t, commandtest.Succeed(t, "", "verify", to), "sound")
	out := commandtest.Succeed(t, "", "salvage", dir, filepath.Join(t.TempDir(), "new"))
	commandtest.Contains(t, out, "rescued 1,000 entries", "verified", "nothing is lost")
}

// Without files that only lead to the entries all of them are rescued.
func TestSalvageWithoutTheWayIn(t *testing.T) {
	for _, missing := range []string{"LOCK", "CURRENT", "MANIFEST-*"} {
		dir, _ := commandtest.BigTable(t)
		want := commandtest.Succeed(t, "", "dump", dir)
		if err := os.Remove(commandtest.FileLike(t, dir, missing)); err != nil {
			t.Fatal(err)
		}
		to, report, code := salvaged(t, dir)
		if got := commandtest.Succeed(t, "", "dump", to); got != want {
			t.Errorf("without %s %d bytes are rescued of %d", missing, len(got), len(want))
		}
		if doubtful := missing == "MANIFEST-*"; (code == exit.Failed) != doubtful || doubtful && report["losses"].([]any)[0].(map[string]any)["doubtful"] != true {
			t.Errorf("without %s: exit code %d, %v", missing, code, report)
		}
	}
}

func TestSalvageDamagedTable(t *testing.T) {
	dir, path := commandtest.BigTable(t)
	commandtest.Damage(t, path, 2000)
	to, report, code := salvaged(t, dir)
	losses := report["losses"].([]any)
	if code != exit.Failed || len(losses) != 1 {
		t.Fatalf("exit code %d, %v", code, report)
	}
	loss := losses[0].(map[string]any)
	if loss["file"] != filepath.Base(path) || loss["doubtful"] != false || loss["offset"].(float64) > 2000 || loss["first_seq"].(float64) < 1 || !strings.Contains(loss["detail"].(string), "checksum") {
		t.Errorf("%v", loss)
	}
	found := commandtest.Succeed(t, "", "dump", to)
	missing := 0
	for i := range 1000 {
		key := fmt.Sprintf("key%04d", i)
		if strings.Contains(found, key) {
			continue
		}
		if missing++; key < loss["from"].(string) || key > loss["to"].(string) {
			t.Errorf("%s is missing, the loss is %v", key, loss)
		}
	}
	if missing == 0 || missing > 100 || report["entries"] != float64(1000-missing) {
		t.Errorf("%d are missing, %v", missing, report["entries"])
	}
	got := commandtest.Execute(t, "", "salvage", dir, filepath.Join(t.TempDir(), "new"))
	commandtest.Contains(t, got.Out, "lost: "+filepath.Base(path)+" at offset", "checksum", "keys key0", "sequence number", "rescued", "1 loss, 0 doubts")
	if got.Code != exit.Failed || got.Err != "" {
		t.Errorf("exit code %d, %q", got.Code, got.Err)
	}
}

// A log that was not closed is doubtful from its last number on, whatever it holds.
func TestSalvageUnclosed(t *testing.T) {
	dir := commandtest.UnclosedDatabase(t, commandtest.PutEach("a", "1", "b", "2"))
	to, report, code := salvaged(t, dir)
	losses := report["losses"].([]any)
	if code != exit.Failed || len(losses) != 1 || losses[0].(map[string]any)["doubtful"] != true || losses[0].(map[string]any)["first_seq"] != 3.0 {
		t.Errorf("exit code %d, %v", code, report)
	}
	if got := commandtest.Succeed(t, "", "scan", to); got != "a\t1\nb\t2\n" {
		t.Errorf("rescued: %q", got)
	}
	got := commandtest.Execute(t, "", "salvage", dir, filepath.Join(t.TempDir(), "new"))
	commandtest.Contains(t, got.Out, "doubtful: ", ".wal at offset", "all keys", "sequence numbers from 3", "no certain loss, 1 doubt")
}

// Keys that are no text are told in base64.
func TestSalvageBinaryKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	d, err := db.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	keys := [][]byte{{}, {0, 0xff}, {0xfe}}
	for _, key := range keys {
		if err := d.Put(key, bytes.Repeat([]byte{7}, 5000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(commandtest.FileLike(t, dir, "*.sst")); err != nil {
		t.Fatal(err)
	}
	_, report, code := salvaged(t, dir)
	loss := report["losses"].([]any)[0].(map[string]any)
	if code != exit.Failed || loss["from"] != "" || loss["to_base64"] != base64.StdEncoding.EncodeToString(keys[2]) || loss["offset"] != -1.0 || loss["first_seq"] != 1.0 || loss["last_seq"] != 3.0 {
		t.Errorf("exit code %d, %v", code, report)
	}
}

// Operands stay operands: the operator that the database keeps still reads them.
func TestSalvageOperands(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	for range 3 {
		commandtest.Succeed(t, "", "merge", dir, "n", "5", "--merger", "sum")
	}
	to, _, code := salvaged(t, dir)
	if got := commandtest.Succeed(t, "", "get", to, "n"); code != exit.OK || got != "\\x0f\\x00\\x00\\x00\\x00\\x00\\x00\\x00\n" {
		t.Errorf("exit code %d, %q", code, got)
	}
}

func TestSalvageRefusals(t *testing.T) {
	dir, _ := commandtest.BigTable(t)
	empty, absent := t.TempDir(), filepath.Join(t.TempDir(), "new")
	commandtest.Fail(t, exit.Usage, []string{"SRC DST"}, "", "salvage", dir)
	commandtest.Fail(t, exit.Usage, []string{"empty"}, "", "salvage", dir, "")
	commandtest.Fail(t, exit.NoDatabase, []string{"no such directory"}, "", "salvage", absent, absent+"2")
	commandtest.Fail(t, exit.NoDatabase, []string{"is empty"}, "", "salvage", empty, absent)
	commandtest.Fail(t, exit.NoDatabase, []string{"is not empty"}, "", "salvage", dir, dir)
	commandtest.Fail(t, exit.Usage, []string{"lies within"}, "", "salvage", dir, filepath.Join(dir, "new"))
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err == nil {
		commandtest.Fail(t, exit.Usage, []string{"lies within"}, "", "salvage", dir, filepath.Join(link, "new"))
	}
	commandtest.OpenHere(t, dir)
	commandtest.Fail(t, exit.InUse, []string{"in use"}, "", "salvage", dir, absent)
	if _, err := os.Stat(absent); err == nil {
		t.Error("a directory was made")
	}
}
