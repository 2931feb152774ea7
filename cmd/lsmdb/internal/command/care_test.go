package command_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lsmdb/cmd/lsmdb/internal/commandtest"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/db"
)

func TestVerifySound(t *testing.T) {
	dir, _ := commandtest.BigTable(t)
	out := commandtest.Succeed(t, "", "verify", dir, "--files")
	commandtest.Contains(t, out, "CURRENT", "table", "1,000", "sound: read", "no problem found")
	v := commandtest.Object(t, commandtest.Succeed(t, "", "verify", dir, "--json"))
	problems, ok := v["problems"].([]any)
	if v["ok"] != true || len(v["files"].([]any)) < 3 || !ok || len(problems) != 0 {
		t.Errorf("got %v", v)
	}
}

func TestVerifyDamaged(t *testing.T) {
	dir, path := commandtest.BigTable(t)
	commandtest.Damage(t, path, 2000)
	got := commandtest.Execute(t, "", "verify", dir)
	if got.Code != exit.Failed || got.Err != "" {
		t.Errorf("exit code %d, %q", got.Code, got.Err)
	}
	commandtest.Contains(t, got.Out, filepath.Base(path)+" at offset", "checksum", "damaged: 1 problem in "+dir)
	got = commandtest.Execute(t, "", "verify", dir, "--json")
	v := commandtest.Object(t, got.Out)
	problems, _ := v["problems"].([]any)
	if got.Code != exit.Failed || v["ok"] != false || len(problems) != 1 || problems[0].(map[string]any)["file"] != filepath.Base(path) {
		t.Errorf("got %v", v)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	got = commandtest.Execute(t, "", "verify", dir)
	commandtest.Contains(t, got.Out, filepath.Base(path), "the database does not open")
}

// Every single damaged byte of a small database is found, or lies where no byte
// matters; in no case does verify fail to end, and what it calls sound reads back.
func TestVerifyFindsFlips(t *testing.T) {
	dir := commandtest.FilledDatabase(t, "a", "1", "b", "2", "c", "3")
	want := commandtest.Succeed(t, "", "dump", dir)
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		path := filepath.Join(dir, name.Name())
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for offset := range content {
			commandtest.Damage(t, path, offset)
			if got := commandtest.Execute(t, "", "verify", dir); got.Code == exit.OK {
				t.Errorf("%s, byte %d of %d: a flipped bit is not noticed", name.Name(), offset, len(content))
			}
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := commandtest.Succeed(t, "", "dump", dir); got != want {
		t.Errorf("the database was not put back: %q", got)
	}
}

func TestStats(t *testing.T) {
	dir, _ := commandtest.BigTable(t)
	commandtest.Contains(t, commandtest.Succeed(t, "", "stats", dir), "The tree, by level", "1,000", "Facts", "sequence number", "was closed properly")
	v := commandtest.Object(t, commandtest.Succeed(t, "", "stats", dir, "--json"))
	if levels, _ := v["levels"].([]any); len(levels) != db.NumLevels || v["sequence"] != 1000.0 {
		t.Errorf("got %v", v)
	}
	crashed := commandtest.UnclosedDatabase(t, commandtest.PutEach("a", "1"))
	commandtest.Contains(t, commandtest.Succeed(t, "", "stats", crashed), "was not closed: replayed 1 log segment, 2 operations")
}

// TestStatsOfChanges: what is kept for those who follow is told, also when no program runs.
func TestStatsOfChanges(t *testing.T) {
	dir := t.TempDir()
	database, err := db.Open(dir, &db.Options{KeepChangesBytes: 1 << 20})
	if err == nil {
		err = errors.Join(database.Put([]byte("a"), nil), database.Flush(t.Context()), database.Put([]byte("b"), nil), database.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	commandtest.Contains(t, commandtest.Succeed(t, "", "stats", dir), "changes", "1 old log,", "kept; behind sequence number 0")
	v := commandtest.Object(t, commandtest.Succeed(t, "", "stats", dir, "--json"))
	if kept, _ := v["changes"].(map[string]any); kept["kept_segments"] != 1.0 || kept["loops"] != 0.0 {
		t.Errorf("got %v", v["changes"])
	}
	commandtest.Contains(t, commandtest.Succeed(t, "", "verify", dir), "read 5 files")
	commandtest.Succeed(t, "", "put", dir, "c", "by command") // which takes nothing away
	database, err = db.Open(dir, &db.Options{KeepChangesBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer database.Close()
	told := ""
	for c, err := range database.Changes(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if told += string(c.Ops[0].Key); c.Seq == 3 {
			break
		}
	}
	if told != "abc" {
		t.Errorf("told of %s", told)
	}
}

func TestCompact(t *testing.T) {
	dir, _ := commandtest.BigTable(t)
	commandtest.Succeed(t, "", "delete", dir, "key0001", "key0002")
	commandtest.Contains(t, commandtest.Succeed(t, "", "compact", dir), "compacted in", "The tree, by level", "998")
	v := commandtest.Object(t, commandtest.Succeed(t, "", "compact", dir, "--from", "key0100", "--to", "key0200", "--json"))
	if v["after"] == nil || v["before"] == nil {
		t.Errorf("got %v", v)
	}
	if got := commandtest.Succeed(t, "", "scan", dir, "--count"); !strings.HasPrefix(got, "998 entries") {
		t.Errorf("got %q", got)
	}
	commandtest.Fail(t, exit.Usage, []string{"malformed --from"}, "", "compact", dir, "--hex", "--from", "x")
}

func TestInterruptedCommands(t *testing.T) {
	dir, _ := commandtest.BigTable(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, args := range [][]string{{"scan", dir}, {"verify", dir}, {"put", dir, "k", "v"}, {"tour", "--source", dir}} {
		got := commandtest.ExecuteContext(t, ctx, "", args...)
		if got.Code != exit.Interrupted || !strings.Contains(got.Err, "interrupted") {
			t.Errorf("%q: %+v", args, got)
		}
	}
}

// --verbose shows the database's events, and --json makes them JSON.
func TestVerbose(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	got := commandtest.Execute(t, "a\tb\n", "load", dir, "--verbose", "--json")
	if got.Code != exit.OK || got.Err == "" {
		t.Fatalf("got %+v", got)
	}
	for line := range strings.Lines(got.Err) {
		commandtest.Object(t, line)
	}
	if got := commandtest.Execute(t, "", "stats", dir); got.Err != "" {
		t.Errorf("events without --verbose: %q", got.Err)
	}
}
