package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lsmdb/db"
)

// unclosedDatabase copies a database while it is open, as a crash leaves it.
func unclosedDatabase(t *testing.T, fill func(d *db.DB) error) (dir string) {
	t.Helper()
	open := filepath.Join(t.TempDir(), "open")
	database := openHere(t, open)
	if err := fill(database); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(open)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// putEach stores entries as commits of their own.
func putEach(keysAndValues ...string) func(*db.DB) error {
	return func(d *db.DB) error {
		for i := 0; i < len(keysAndValues); i += 2 {
			if err := d.Put([]byte(keysAndValues[i]), []byte(keysAndValues[i+1])); err != nil {
				return err
			}
		}
		return d.Delete([]byte("gone\n"))
	}
}

// contains checks the output of a command for lines, in their order.
func contains(t *testing.T, output string, parts ...string) {
	t.Helper()
	rest := output
	for _, part := range parts {
		_, after, found := strings.Cut(rest, part)
		if !found {
			t.Fatalf("no %q, or not in its place, in:\n%s", part, output)
		}
		rest = after
	}
}

func TestInspectWAL(t *testing.T) {
	dir := unclosedDatabase(t, putEach("apple", "red", "bin\x00", "\xff", "plum", strings.Repeat("blue ", 100)))
	wal := fileLike(t, dir, "*.wal")
	out := succeed(t, "", "inspect", "wal", wal)
	contains(t, out, "the first segment", "27  commit, sequence 1 to 1", "set    apple = red  (3 bytes)", "log durable to",
		`set    bin\x00 = \xff  (1 byte)`, "set    plum = blue blue", "...  (500 bytes)", `delete gone\n`,
		"4 records with 4 operations; not closed; it ends cleanly at offset")
	contains(t, succeed(t, "", "inspect", "wal", wal, "--hex"), "set    6170706c65 = 726564")
	contains(t, succeed(t, "", "inspect", "wal", wal, "--limit", "2"), "set    apple", "... and 6 lines more", "4 records with 4 operations")

	var kinds []string
	for line := range strings.Lines(succeed(t, "", "inspect", "wal", wal, "--json")) {
		kinds = append(kinds, object(t, line)["type"].(string))
	}
	if got := strings.Join(kinds, " "); got != "header record set record set record set record delete verdict" {
		t.Errorf("JSON lines: %s", got)
	}

	// Under another name the number must be given, and must be right.
	saved := filepath.Join(dir, "saved.bin")
	if err := os.Rename(wal, saved); err != nil {
		t.Fatal(err)
	}
	fail(t, exitUsage, []string{"--number"}, "", "inspect", "wal", saved)
	contains(t, succeed(t, "", "inspect", "wal", saved, "--number", strings.TrimLeft(strings.TrimSuffix(filepath.Base(wal), ".wal"), "0")), "4 records")
	if got := execute(t, "", "inspect", "wal", saved, "--number", "99"); got.code != exitFailure || !strings.Contains(got.out, "recovery refuses this file") {
		t.Errorf("wrong number: %+v", got)
	}
}

// What stands behind damage is printed too, and the damage with its offset.
func TestInspectDamagedWAL(t *testing.T) {
	dir := unclosedDatabase(t, putEach("a", "1", "b", "2", "c", "3"))
	wal := fileLike(t, dir, "*.wal")
	damage(t, wal, 40)
	got := execute(t, "", "inspect", "wal", wal)
	if got.code != exitFailure || got.err != "" {
		t.Errorf("exit code %d, %q", got.code, got.err)
	}
	contains(t, got.out, "27  unreadable", "set    b = 2", "set    c = 3", "damage at offset 27", "says that the log was durable", "recovery refuses this file")
	got = execute(t, "", "inspect", "wal", wal, "--limit", "1")
	contains(t, got.out, "27  unreadable", "commit, sequence 2", "damage at offset 27", "lines more")
}

// A torn tail is no damage.
func TestInspectTornWAL(t *testing.T) {
	dir := unclosedDatabase(t, putEach("a", "1", "b", strings.Repeat("long", 20_000)))
	wal := fileLike(t, dir, "*.wal")
	out := succeed(t, "", "inspect", "wal", wal)
	var offset int
	for line := range strings.Lines(out) {
		if strings.Contains(line, "sequence 2 to 2") {
			if _, err := fmt.Sscan(line, &offset); err != nil {
				t.Fatal(err)
			}
		}
	}
	content, err := os.ReadFile(wal)
	if err != nil {
		t.Fatal(err)
	}
	clear(content[offset+40_000:]) // the machine stopped in the middle of the second record
	if err := os.WriteFile(wal, content, 0o600); err != nil {
		t.Fatal(err)
	}
	contains(t, succeed(t, "", "inspect", "wal", wal), "set    a = 1", "unreadable", "a record without its end",
		"1 record with 1 operation; recovery cuts off", fmt.Sprintf("at offset %d", offset))
}

// A record whose first chunk is damaged leaves chunks behind that belong nowhere.
func TestInspectRecordWithoutStart(t *testing.T) {
	dir := unclosedDatabase(t, putEach("a", "1", "b", strings.Repeat("long", 20_000), "c", "3"))
	wal := fileLike(t, dir, "*.wal")
	damage(t, wal, 1000)
	got := execute(t, "", "inspect", "wal", wal)
	if got.code != exitFailure {
		t.Errorf("exit code %d", got.code)
	}
	contains(t, got.out, "set    a = 1", "unreadable", "a middle chunk of a record whose start is lost", "a last chunk of a record whose start is lost", "set    c = 3", "damage at offset")
	if strings.Contains(got.out, "set    b") {
		t.Errorf("a record without its start is printed:\n%s", got.out)
	}
}

func TestInspectEmptyWAL(t *testing.T) {
	file := filepath.Join(t.TempDir(), "000007.wal")
	if err := os.WriteFile(file, make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	contains(t, succeed(t, "", "inspect", "wal", file), "0 records", "never held a record")
	fail(t, exitFailure, []string{"no such file"}, "", "inspect", "wal", file+".not")
	fail(t, exitUsage, []string{"is a directory"}, "", "inspect", "wal", filepath.Dir(file))
}

func TestInspectManifest(t *testing.T) {
	dir := filledDatabase(t, "apple", "red", "plum", "blue")
	succeed(t, "", "compact", dir)
	path := fileLike(t, dir, "MANIFEST-*")
	out := succeed(t, "", "inspect", "manifest", path)
	contains(t, out, "edit database", "next file", "+ level", "2 entries, 0 deletes", "apple .. plum", "the tree:", "1 table", "closed properly")
	var tree map[string]any
	for line := range strings.Lines(succeed(t, "", "inspect", "manifest", path, "--json")) {
		if v := object(t, line); v["type"] == "tree" {
			tree = v
		}
	}
	if levels, _ := tree["levels"].([]any); len(levels) != 1 {
		t.Errorf("tree: %v", tree)
	}
	current := filepath.Join(dir, "CURRENT")
	contains(t, succeed(t, "", "inspect", "manifest", current), filepath.Base(path)+" counts", "ends at offset", "closed properly")

	damage(t, path, 45)
	got := execute(t, "", "inspect", "manifest", path)
	if got.code != exitFailure || strings.Contains(got.out, "the tree:") {
		t.Errorf("exit code %d:\n%s", got.code, got.out)
	}
	contains(t, got.out, "unreadable", "damage at offset 27", "recovery refuses this file")
	damage(t, current, 5)
	got = execute(t, "", "inspect", "manifest", current)
	if got.code != exitFailure {
		t.Errorf("exit code %d", got.code)
	}
	contains(t, got.out, "damage at offset 0", "the database does not open")
}

// Where an edit is lost, the tree is not known any more, but later edits are shown.
func TestInspectManifestWithHole(t *testing.T) {
	dir := unclosedDatabase(t, func(d *db.DB) error {
		for _, key := range []string{"a", "b", "c"} {
			if err := errors.Join(d.Put([]byte(key), nil), d.Flush(t.Context())); err != nil {
				return err
			}
		}
		return nil
	})
	path := fileLike(t, dir, "MANIFEST-*")
	var offsets []int
	for line := range strings.Lines(succeed(t, "", "inspect", "manifest", path, "--json")) {
		if v := object(t, line); v["type"] == "edit" {
			offsets = append(offsets, int(v["offset"].(float64)))
		}
	}
	if len(offsets) < 4 {
		t.Fatalf("edits at %v", offsets)
	}
	damage(t, path, offsets[1]+10)
	got := execute(t, "", "inspect", "manifest", path)
	if got.code != exitFailure || strings.Contains(got.out, "the tree:") {
		t.Errorf("exit code %d:\n%s", got.code, got.out)
	}
	contains(t, got.out, fmt.Sprintf("%d  edit", offsets[0]), fmt.Sprintf("%d  unreadable", offsets[1]), fmt.Sprintf("%d  edit", offsets[2]), "c .. c",
		fmt.Sprintf("damage at offset %d", offsets[1]))
}

func TestInspectOpenDatabase(t *testing.T) {
	dir := unclosedDatabase(t, putEach("a", "1"))
	contains(t, succeed(t, "", "inspect", "manifest", filepath.Join(dir, "CURRENT")), "the next opening replays the log")
}

// bigTable makes a database of one table with many blocks.
func bigTable(t *testing.T) (dir, path string) {
	t.Helper()
	var entries []string
	for i := range 1000 {
		entries = append(entries, fmt.Sprintf("key%04d", i), strings.Repeat(string(rune('a'+i%26)), 100))
	}
	dir = filledDatabase(t, entries...)
	return dir, fileLike(t, dir, "*.sst")
}

func TestInspectTable(t *testing.T) {
	_, path := bigTable(t)
	out := succeed(t, "", "inspect", "table", path)
	contains(t, out, "Properties", "1,000, of them 0 deletes", "key0000 .. key0999", "0  data", "snappy", "key0000 ..", "filter", "index", "properties", "sound: every byte was read and checked")
	out = succeed(t, "", "inspect", "table", path, "--entries", "--limit", "0")
	if n := strings.Count(out, "            set    key"); n != 1000 {
		t.Errorf("%d entries listed", n)
	}
	contains(t, out, "set    key0000#1", "aaaa", "...  (100 bytes)", "set    key0999#1000")
	out = succeed(t, "", "inspect", "table", path, "--entries", "--limit", "5")
	if n := strings.Count(out, "            set    key"); n != 4 {
		t.Errorf("%d entries listed with a limit of 5 lines", n)
	}
	contains(t, out, "lines more (--limit 0 lists all)")
	for line := range strings.Lines(succeed(t, "", "inspect", "table", path, "--json", "--entries", "--limit", "0")) {
		if v := object(t, line); v["type"] == "set" && (v["key"] == nil || v["value_bytes"] != 100.0) {
			t.Fatalf("got %v", v)
		}
	}
}

// One damaged block does not hide the others.
func TestInspectDamagedTable(t *testing.T) {
	dir, path := bigTable(t)
	damage(t, path, 2000)
	got := execute(t, "", "inspect", "table", path, "--entries", "--limit", "0")
	if got.code != exitFailure {
		t.Errorf("exit code %d", got.code)
	}
	contains(t, got.out, "set    key0000#1", "damage at offset", "checksum", "set    key0999#1000", "damaged: 1 problem")
	if n := strings.Count(got.out, "            set    key"); n < 900 || n >= 1000 {
		t.Errorf("%d entries listed", n)
	}
	// The key behind the damage still reads; a scan stops at it and says where.
	contains(t, succeed(t, "", "get", dir, "key0999"), "llll")
	fail(t, exitFailure, []string{"the database is damaged", filepath.Base(path), "at offset"}, "", "scan", dir)

	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content[:len(content)-10], 0o600); err != nil {
		t.Fatal(err)
	}
	got = execute(t, "", "inspect", "table", path)
	if got.code != exitFailure {
		t.Errorf("cut: exit code %d", got.code)
	}
	contains(t, got.out, "damage", "does not open")
}
