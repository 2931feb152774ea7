package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lsmdb/db"
)

func TestVerifySound(t *testing.T) {
	dir, _ := bigTable(t)
	out := succeed(t, "", "verify", dir, "--files")
	contains(t, out, "CURRENT", "table", "1,000", "sound: read", "no problem found")
	v := object(t, succeed(t, "", "verify", dir, "--json"))
	problems, ok := v["problems"].([]any)
	if v["ok"] != true || len(v["files"].([]any)) < 3 || !ok || len(problems) != 0 {
		t.Errorf("got %v", v)
	}
}

func TestVerifyDamaged(t *testing.T) {
	dir, path := bigTable(t)
	damage(t, path, 2000)
	got := execute(t, "", "verify", dir)
	if got.code != exitFailure || got.err != "" {
		t.Errorf("exit code %d, %q", got.code, got.err)
	}
	contains(t, got.out, filepath.Base(path)+" at offset", "checksum", "damaged: 1 problem in "+dir)
	got = execute(t, "", "verify", dir, "--json")
	v := object(t, got.out)
	problems, _ := v["problems"].([]any)
	if got.code != exitFailure || v["ok"] != false || len(problems) != 1 || problems[0].(map[string]any)["file"] != filepath.Base(path) {
		t.Errorf("got %v", v)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	got = execute(t, "", "verify", dir)
	contains(t, got.out, filepath.Base(path), "the database does not open")
}

// Every single damaged byte of a small database is found, or lies where no byte
// matters; in no case does verify fail to end, and what it calls sound reads back.
func TestVerifyFindsFlips(t *testing.T) {
	dir := filledDatabase(t, "a", "1", "b", "2", "c", "3")
	want := succeed(t, "", "dump", dir)
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
			damage(t, path, offset)
			if got := execute(t, "", "verify", dir); got.code == exitOK {
				t.Errorf("%s, byte %d of %d: a flipped bit is not noticed", name.Name(), offset, len(content))
			}
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := succeed(t, "", "dump", dir); got != want {
		t.Errorf("the database was not put back: %q", got)
	}
}

func TestStats(t *testing.T) {
	dir, _ := bigTable(t)
	contains(t, succeed(t, "", "stats", dir), "The tree, by level", "1,000", "Facts", "sequence number", "was closed properly")
	v := object(t, succeed(t, "", "stats", dir, "--json"))
	if levels, _ := v["levels"].([]any); len(levels) != db.NumLevels || v["sequence"] != 1000.0 {
		t.Errorf("got %v", v)
	}
	crashed := unclosedDatabase(t, putEach("a", "1"))
	contains(t, succeed(t, "", "stats", crashed), "was not closed: replayed 1 log segment, 2 operations")
}

func TestCompact(t *testing.T) {
	dir, _ := bigTable(t)
	succeed(t, "", "delete", dir, "key0001", "key0002")
	contains(t, succeed(t, "", "compact", dir), "compacted in", "The tree, by level", "998")
	v := object(t, succeed(t, "", "compact", dir, "--from", "key0100", "--to", "key0200", "--json"))
	if v["after"] == nil || v["before"] == nil {
		t.Errorf("got %v", v)
	}
	if got := succeed(t, "", "scan", dir, "--count"); !strings.HasPrefix(got, "998 entries") {
		t.Errorf("got %q", got)
	}
	fail(t, exitUsage, []string{"malformed --from"}, "", "compact", dir, "--hex", "--from", "x")
}

func TestInterruptedCommands(t *testing.T) {
	dir, _ := bigTable(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, args := range [][]string{{"scan", dir}, {"verify", dir}, {"put", dir, "k", "v"}, {"tour", "--source", dir}} {
		got := executeContext(t, ctx, "", args...)
		if got.code != exitInterrupted || !strings.Contains(got.err, "interrupted") {
			t.Errorf("%q: %+v", args, got)
		}
	}
}

// --verbose shows the database's events, and --json makes them JSON.
func TestVerbose(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	got := execute(t, "a\tb\n", "load", dir, "--verbose", "--json")
	if got.code != exitOK || got.err == "" {
		t.Fatalf("got %+v", got)
	}
	for line := range strings.Lines(got.err) {
		object(t, line)
	}
	if got := execute(t, "", "stats", dir); got.err != "" {
		t.Errorf("events without --verbose: %q", got.err)
	}
}
