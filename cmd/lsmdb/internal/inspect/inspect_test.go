package inspect_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

// vocabulary is a database with one of everything in its log, and after flush in a table.
func vocabulary(t *testing.T, flush bool) (dir string) {
	t.Helper()
	until := time.Date(2200, 1, 2, 3, 4, 5, 6, time.UTC)
	return commandtest.UnclosedDatabaseWith(t, &db.Options{Merger: db.AppendBytes}, func(d *db.DB) error {
		snapshot, err := d.NewSnapshot() // what lies below is not put together yet
		if err != nil {
			return err
		}
		t.Cleanup(func() { snapshot.Close() })
		errs := []error{d.Put([]byte("count"), []byte("0")), d.Put([]byte("large"), bytes.Repeat([]byte("v"), 100_000)), d.Flush(t.Context()),
			d.PutUntil([]byte("session"), []byte("alice"), until), d.Merge([]byte("count"), []byte("1")),
			d.DeleteRange([]byte("a"), []byte("b\xff")), d.DeleteRange([]byte("z"), nil), d.Put([]byte("zz"), nil)}
		if flush {
			errs = append(errs, d.Flush(t.Context()))
		}
		return errors.Join(errs...)
	})
}

func TestInspectVocabularyInWAL(t *testing.T) {
	wal := newest(t, vocabulary(t, false), "*.wal")
	commandtest.Contains(t, commandtest.Succeed(t, "", "inspect", "wal", wal), "set-expiring session = alice  (5 bytes), until 2200-01-02T03:04:05.000000006Z",
		"merge  count = 1  (1 byte)", `range-delete a .. b\xff (excluded)`, "range-delete z .. (no end)", "set    zz =")
	objects := map[string]map[string]any{}
	for line := range strings.Lines(commandtest.Succeed(t, "", "inspect", "wal", wal, "--json")) {
		v := commandtest.Object(t, line)
		objects[v["type"].(string)] = v
	}
	if v := objects["set-expiring"]; v["until"] != "2200-01-02T03:04:05.000000006Z" || v["value_bytes"] != 5.0 || v["key"] != "session" {
		t.Errorf("set-expiring: %v", v)
	}
	if v := objects["range-delete"]; v["start"] != "z" || v["end"] != nil {
		t.Errorf("range-delete: %v", v)
	}
	if v := objects["merge"]; v["key"] != "count" || v["value_bytes"] != 1.0 {
		t.Errorf("merge: %v", v)
	}
}

func TestInspectVocabularyInTable(t *testing.T) {
	dir := vocabulary(t, true)
	table := newest(t, dir, "*.sst")
	out := commandtest.Succeed(t, "", "inspect", "table", table, "--entries")
	commandtest.Contains(t, out, "keys", "a .. zz", "range deletes", "2", "operands", "1", "expiring", "1, from 2200-01-02T03:04:05.000000006Z to 2200-01-02T03:04:05.000000006Z",
		"set-expiring session#3  = alice  (5 bytes), until 2200-", "range-delete", `range-delete a .. b\xff (excluded) #5`, "range-delete z ..", "#6", "sound")
	found := map[string]bool{}
	for line := range strings.Lines(commandtest.Succeed(t, "", "inspect", "table", table, "--entries", "--json")) {
		v := commandtest.Object(t, line)
		found[v["type"].(string)] = true
		if v["type"] == "properties" && (v["range_deletes"] != 2.0 || v["expiring"] != 1.0 || v["merges"] != 1.0 || v["earliest_expiry"] != "2200-01-02T03:04:05.000000006Z") {
			t.Errorf("properties: %v", v)
		}
	}
	if !found["range-delete"] || !found["set-expiring"] || !found["merge"] {
		t.Errorf("JSON lines of %v", found)
	}

	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(tables) != 2 {
		t.Fatalf("tables: %v, %v", tables, err)
	}
	out = commandtest.Succeed(t, "", "inspect", "table", tables[0])
	commandtest.Contains(t, out, "large values", "1, each in a block of its own", "a large value, large", "sound")

	out = commandtest.Succeed(t, "", "inspect", "manifest", commandtest.FileLike(t, dir, "MANIFEST-*"))
	commandtest.Contains(t, out, "merger lsmdb.AppendBytes", "+ level 0", "range deletes 2", "operands 1", "expiring 1, from 2200-", "the tree:", "merger lsmdb.AppendBytes")
}

// newest returns the last of the files in dir that match the pattern.
func newest(t *testing.T, dir, pattern string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s in %s: %v, %v", pattern, dir, names, err)
	}
	return names[len(names)-1]
}

// A table whose values mostly end says when half of all have.
func TestInspectHalfEnded(t *testing.T) {
	until := time.Date(2200, 1, 2, 3, 4, 5, 0, time.UTC)
	dir := commandtest.UnclosedDatabase(t, func(d *db.DB) error {
		return errors.Join(d.PutUntil([]byte("a"), nil, until), d.PutUntil([]byte("b"), nil, until.Add(time.Second)), d.Flush(t.Context()))
	})
	path := commandtest.FileLike(t, dir, "*.sst")
	commandtest.Contains(t, commandtest.Succeed(t, "", "inspect", "table", path), "expiring", "2, from 2200-01-02T03:04:05Z to 2200-01-02T03:04:06Z, half of all by 2200-01-02T03:04:05Z")
	line, _, _ := strings.Cut(commandtest.Succeed(t, "", "inspect", "table", path, "--json"), "\n")
	if v := commandtest.Object(t, line); v["half_expiry"] != "2200-01-02T03:04:05Z" {
		t.Errorf("got %v", v)
	}
}

// A loaded table does not know its sequence number; the MANIFEST does.
func TestInspectLoaded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	commandtest.Succeed(t, "", "put", dir, "x", "1")
	commandtest.Succeed(t, "a\t1\nb\t2\n", "load", dir, "--sorted")
	loaded := false
	paths, _ := filepath.Glob(filepath.Join(dir, "*.sst"))
	for _, path := range paths {
		line, _, _ := strings.Cut(commandtest.Succeed(t, "", "inspect", "table", path, "--json"), "\n")
		loaded = loaded || commandtest.Object(t, line)["loaded"] == true
	}
	if !loaded {
		t.Error("no table tells that it was loaded")
	}
	commandtest.Contains(t, commandtest.Succeed(t, "", "inspect", "manifest", newest(t, dir, "MANIFEST-*")), "sequence 2 to 2; loaded: 1 stands in place of the number")
}

// A load that those who follow the changes are to hear of.
func TestInspectLoadsInManifest(t *testing.T) {
	dir := t.TempDir()
	database, err := db.Open(dir, &db.Options{KeepChangesBytes: 1 << 20})
	if err == nil {
		load := func(yield func(k, v []byte) bool) { _ = yield([]byte("ape"), nil) && yield([]byte("bee"), nil) }
		err = errors.Join(database.Load(t.Context(), load), database.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	manifest := commandtest.FileLike(t, dir, "MANIFEST-*")
	commandtest.Contains(t, commandtest.Succeed(t, "", "inspect", "manifest", manifest), "load 1 from ape to bee")
	commandtest.Contains(t, commandtest.Succeed(t, "", "inspect", "manifest", manifest, "--json"), `"first":"ape"`, `"sequence":1`)
}
