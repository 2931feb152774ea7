package inspect_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lsmdb/cmd/lsmdb/internal/commandtest"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/db"
)

func TestInspectWAL(t *testing.T) {
	dir := commandtest.UnclosedDatabase(t, commandtest.PutEach("apple", "red", "bin\x00", "\xff", "plum", strings.Repeat("blue ", 100)))
	wal := commandtest.FileLike(t, dir, "*.wal")
	out := commandtest.Succeed(t, "", "inspect", "wal", wal)
	commandtest.Contains(t, out, "the first segment", "27  commit, sequence 1 to 1", "set    apple = red  (3 bytes)", "log durable to",
		`set    bin\x00 = \xff  (1 byte)`, "set    plum = blue blue", "...  (500 bytes)", `delete gone\n`,
		"4 records with 4 operations; not closed; it ends cleanly at offset")
	commandtest.Contains(t, commandtest.Succeed(t, "", "inspect", "wal", wal, "--hex"), "set    6170706c65 = 726564")
	commandtest.Contains(t, commandtest.Succeed(t, "", "inspect", "wal", wal, "--limit", "2"), "set    apple", "... and 6 lines more", "4 records with 4 operations")

	var kinds []string
	for line := range strings.Lines(commandtest.Succeed(t, "", "inspect", "wal", wal, "--json")) {
		if kind := commandtest.Object(t, line)["type"].(string); kind != "mark" { // where the Writer had the time
			kinds = append(kinds, kind)
		}
	}
	if got := strings.Join(kinds, " "); got != "header record set record set record set record delete verdict" {
		t.Errorf("JSON lines: %s", got)
	}

	// Under another name the number must be given, and must be right.
	saved := filepath.Join(dir, "saved.bin")
	if err := os.Rename(wal, saved); err != nil {
		t.Fatal(err)
	}
	commandtest.Fail(t, exit.Usage, []string{"--number"}, "", "inspect", "wal", saved)
	commandtest.Contains(t, commandtest.Succeed(t, "", "inspect", "wal", saved, "--number", strings.TrimLeft(strings.TrimSuffix(filepath.Base(wal), ".wal"), "0")), "4 records")
	if got := commandtest.Execute(t, "", "inspect", "wal", saved, "--number", "99"); got.Code != exit.Failed || !strings.Contains(got.Out, "recovery refuses this file") {
		t.Errorf("wrong number: %+v", got)
	}
}

// What stands behind damage is printed too, and the damage with its offset.
func TestInspectDamagedWAL(t *testing.T) {
	dir := commandtest.UnclosedDatabase(t, commandtest.PutEach("a", "1", "b", "2", "c", "3"))
	wal := commandtest.FileLike(t, dir, "*.wal")
	commandtest.Damage(t, wal, 40)
	got := commandtest.Execute(t, "", "inspect", "wal", wal)
	if got.Code != exit.Failed || got.Err != "" {
		t.Errorf("exit code %d, %q", got.Code, got.Err)
	}
	commandtest.Contains(t, got.Out, "27  unreadable", "set    b = 2", "set    c = 3", "damage at offset 27", "says that the log was durable", "recovery refuses this file")
	got = commandtest.Execute(t, "", "inspect", "wal", wal, "--limit", "1")
	commandtest.Contains(t, got.Out, "27  unreadable", "commit, sequence 2", "damage at offset 27", "lines more")
}

// A torn tail is no damage.
func TestInspectTornWAL(t *testing.T) {
	dir := commandtest.UnclosedDatabase(t, commandtest.PutEach("a", "1", "b", strings.Repeat("long", 20_000)))
	wal := commandtest.FileLike(t, dir, "*.wal")
	out := commandtest.Succeed(t, "", "inspect", "wal", wal)
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
	commandtest.Contains(t, commandtest.Succeed(t, "", "inspect", "wal", wal), "set    a = 1", "unreadable", "a record without its end",
		"1 record with 1 operation; recovery cuts off", fmt.Sprintf("at offset %d", offset))
}

// A record whose first chunk is damaged leaves chunks behind that belong nowhere.
func TestInspectRecordWithoutStart(t *testing.T) {
	dir := commandtest.UnclosedDatabase(t, commandtest.PutEach("a", "1", "b", strings.Repeat("long", 20_000), "c", "3"))
	wal := commandtest.FileLike(t, dir, "*.wal")
	commandtest.Damage(t, wal, 1000)
	got := commandtest.Execute(t, "", "inspect", "wal", wal)
	if got.Code != exit.Failed {
		t.Errorf("exit code %d", got.Code)
	}
	commandtest.Contains(t, got.Out, "set    a = 1", "unreadable", "a middle chunk of a record whose start is lost", "a last chunk of a record whose start is lost", "set    c = 3", "damage at offset")
	if strings.Contains(got.Out, "set    b") {
		t.Errorf("a record without its start is printed:\n%s", got.Out)
	}
}

func TestInspectEmptyWAL(t *testing.T) {
	file := filepath.Join(t.TempDir(), "000007.wal")
	if err := os.WriteFile(file, make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	commandtest.Contains(t, commandtest.Succeed(t, "", "inspect", "wal", file), "0 records", "never held a record")
	commandtest.Fail(t, exit.Failed, []string{"no such file"}, "", "inspect", "wal", file+".not")
	commandtest.Fail(t, exit.Usage, []string{"is a directory"}, "", "inspect", "wal", filepath.Dir(file))
}

func TestInspectManifest(t *testing.T) {
	dir := commandtest.FilledDatabase(t, "apple", "red", "plum", "blue")
	commandtest.Succeed(t, "", "compact", dir)
	path := commandtest.FileLike(t, dir, "MANIFEST-*")
	out := commandtest.Succeed(t, "", "inspect", "manifest", path)
	commandtest.Contains(t, out, "edit database", "next file", "+ level", "2 entries, 0 deletes", "apple .. plum", "the tree:", "1 table", "closed properly")
	var tree map[string]any
	for line := range strings.Lines(commandtest.Succeed(t, "", "inspect", "manifest", path, "--json")) {
		if v := commandtest.Object(t, line); v["type"] == "tree" {
			tree = v
		}
	}
	if levels, _ := tree["levels"].([]any); len(levels) != 1 {
		t.Errorf("tree: %v", tree)
	}
	current := filepath.Join(dir, "CURRENT")
	commandtest.Contains(t, commandtest.Succeed(t, "", "inspect", "manifest", current), filepath.Base(path)+" counts", "ends at offset", "closed properly")

	commandtest.Damage(t, path, 45)
	got := commandtest.Execute(t, "", "inspect", "manifest", path)
	if got.Code != exit.Failed || strings.Contains(got.Out, "the tree:") {
		t.Errorf("exit code %d:\n%s", got.Code, got.Out)
	}
	commandtest.Contains(t, got.Out, "unreadable", "damage at offset 27", "recovery refuses this file")
	commandtest.Damage(t, current, 5)
	got = commandtest.Execute(t, "", "inspect", "manifest", current)
	if got.Code != exit.Failed {
		t.Errorf("exit code %d", got.Code)
	}
	commandtest.Contains(t, got.Out, "damage at offset 0", "the database does not open")
}

// Where an edit is lost, the tree is not known any more, but later edits are shown.
func TestInspectManifestWithHole(t *testing.T) {
	dir := commandtest.UnclosedDatabase(t, func(d *db.DB) error {
		for _, key := range []string{"a", "b", "c"} {
			if err := errors.Join(d.Put([]byte(key), nil), d.Flush(t.Context())); err != nil {
				return err
			}
		}
		return nil
	})
	path := commandtest.FileLike(t, dir, "MANIFEST-*")
	var offsets []int
	for line := range strings.Lines(commandtest.Succeed(t, "", "inspect", "manifest", path, "--json")) {
		if v := commandtest.Object(t, line); v["type"] == "edit" {
			offsets = append(offsets, int(v["offset"].(float64)))
		}
	}
	if len(offsets) < 4 {
		t.Fatalf("edits at %v", offsets)
	}
	commandtest.Damage(t, path, offsets[1]+10)
	got := commandtest.Execute(t, "", "inspect", "manifest", path)
	if got.Code != exit.Failed || strings.Contains(got.Out, "the tree:") {
		t.Errorf("exit code %d:\n%s", got.Code, got.Out)
	}
	commandtest.Contains(t, got.Out, fmt.Sprintf("%d  edit", offsets[0]), fmt.Sprintf("%d  unreadable", offsets[1]), fmt.Sprintf("%d  edit", offsets[2]), "c .. c",
		fmt.Sprintf("damage at offset %d", offsets[1]))
}

func TestInspectOpenDatabase(t *testing.T) {
	dir := commandtest.UnclosedDatabase(t, commandtest.PutEach("a", "1"))
	commandtest.Contains(t, commandtest.Succeed(t, "", "inspect", "manifest", filepath.Join(dir, "CURRENT")), "the next opening replays the log")
}

func TestInspectTable(t *testing.T) {
	_, path := commandtest.BigTable(t)
	out := commandtest.Succeed(t, "", "inspect", "table", path)
	commandtest.Contains(t, out, "Properties", "1,000, of them 0 deletes", "key0000 .. key0999", "0  data", "snappy", "key0000 ..", "filter", "index", "properties", "sound: every byte was read and checked")
	out = commandtest.Succeed(t, "", "inspect", "table", path, "--entries", "--limit", "0")
	if n := strings.Count(out, "            set    key"); n != 1000 {
		t.Errorf("%d entries listed", n)
	}
	commandtest.Contains(t, out, "set    key0000#1", "aaaa", "...  (100 bytes)", "set    key0999#1000")
	out = commandtest.Succeed(t, "", "inspect", "table", path, "--entries", "--limit", "5")
	if n := strings.Count(out, "            set    key"); n != 4 {
		t.Errorf("%d entries listed with a limit of 5 lines", n)
	}
	commandtest.Contains(t, out, "lines more (--limit 0 lists all)")
	for line := range strings.Lines(commandtest.Succeed(t, "", "inspect", "table", path, "--json", "--entries", "--limit", "0")) {
		if v := commandtest.Object(t, line); v["type"] == "set" && (v["key"] == nil || v["value_bytes"] != 100.0) {
			t.Fatalf("got %v", v)
		}
	}
}

// One damaged block does not hide the others.
func TestInspectDamagedTable(t *testing.T) {
	dir, path := commandtest.BigTable(t)
	commandtest.Damage(t, path, 2000)
	got := commandtest.Execute(t, "", "inspect", "table", path, "--entries", "--limit", "0")
	if got.Code != exit.Failed {
		t.Errorf("exit code %d", got.Code)
	}
	commandtest.Contains(t, got.Out, "set    key0000#1", "damage at offset", "checksum", "set    key0999#1000", "damaged: 1 problem")
	if n := strings.Count(got.Out, "            set    key"); n < 900 || n >= 1000 {
		t.Errorf("%d entries listed", n)
	}
	// The key behind the damage still reads; a scan stops at it and says where.
	commandtest.Contains(t, commandtest.Succeed(t, "", "get", dir, "key0999"), "llll")
	commandtest.Fail(t, exit.Failed, []string{"the database is damaged", filepath.Base(path), "at offset"}, "", "scan", dir)

	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content[:len(content)-10], 0o600); err != nil {
		t.Fatal(err)
	}
	got = commandtest.Execute(t, "", "inspect", "table", path)
	if got.Code != exit.Failed {
		t.Errorf("cut: exit code %d", got.Code)
	}
	commandtest.Contains(t, got.Out, "damage", "does not open")
}
