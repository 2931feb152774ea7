package access_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lsmdb/cmd/lsmdb/internal/commandtest"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/internal/base"
)

// everyCommand is a command line of each subcommand that opens a database.
func everyCommand(dir string) map[string][]string {
	return map[string][]string{
		"put": {"put", dir, "k", "v"}, "get": {"get", dir, "k"}, "delete": {"delete", dir, "k"}, "scan": {"scan", dir},
		"load": {"load", dir}, "dump": {"dump", dir}, "stats": {"stats", dir}, "compact": {"compact", dir},
		"verify": {"verify", dir}, "shell": {"shell", dir}, "delete-range": {"delete-range", dir, "a", "b"}, "merge": {"merge", dir, "k", "v", "--merger", "append"},
		"explain": {"explain", dir, "k"}, "space": {"space", dir}, "pins": {"pins", dir}, "top": {"top", dir},
		"checkpoint": {"checkpoint", dir, dir + ".copy"}, "backup": {"backup", dir},
	}
}

// creates says which subcommands make a database.
func creates(name string) bool {
	return name == "put" || name == "load" || name == "shell" || name == "merge"
}

func TestNoSuchDirectory(t *testing.T) {
	for name, args := range everyCommand(filepath.Join(t.TempDir(), "none")) {
		if !creates(name) {
			commandtest.Fail(t, exit.NoDatabase, []string{"no such directory", "none"}, "", args...)
		}
	}
	// The parent is not made, so that a mistyped path does not become directories.
	for name, args := range everyCommand(filepath.Join(t.TempDir(), "none", "db")) {
		if creates(name) {
			commandtest.Fail(t, exit.NoDatabase, []string{"no such directory", "its parent is not"}, "", args...)
		}
	}
}

func TestDirectoryWithSomethingElse(t *testing.T) {
	dir := t.TempDir()
	stranger := filepath.Join(dir, "holiday.jpg")
	if err := os.WriteFile(stranger, []byte("picture"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range everyCommand(dir) {
		commandtest.Fail(t, exit.NoDatabase, []string{"holds something else", "holiday.jpg"}, "", args...)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("the directory was changed: %v, %v", names, err)
	}
	for _, args := range everyCommand(stranger) {
		commandtest.Fail(t, exit.NoDatabase, []string{"is a file"}, "", args...)
	}
}

func TestEmptyDirectory(t *testing.T) {
	for name := range everyCommand("") {
		dir := t.TempDir()
		args := everyCommand(dir)[name]
		if creates(name) {
			commandtest.Succeed(t, "", args...)
		} else {
			commandtest.Fail(t, exit.NoDatabase, []string{"is empty"}, "", args...)
		}
	}
}

// A creation that was interrupted left LOCK behind, and nothing else.
func TestHalfMadeDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, base.LockName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	commandtest.Fail(t, exit.NoDatabase, []string{"there is no database in it"}, "", "get", dir, "k")
	commandtest.Succeed(t, "", "put", dir, "k", "v")
}

func TestForeignDatabase(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"CURRENT": "MANIFEST-000004\n", "LOCK": "", "MANIFEST-000004": "x", "000003.log": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range everyCommand(dir) {
		commandtest.Fail(t, exit.NoDatabase, []string{"LevelDB"}, "", args...)
	}
}

func TestFileOfDatabaseAsDirectory(t *testing.T) {
	dir := commandtest.FilledDatabase(t, "a", "1")
	commandtest.Fail(t, exit.NoDatabase, []string{"is a file", "lsmdb inspect table"}, "", "get", commandtest.FileLike(t, dir, "*.sst"), "a")
	commandtest.Fail(t, exit.NoDatabase, []string{"lsmdb inspect manifest"}, "", "get", commandtest.FileLike(t, dir, "MANIFEST-*"), "a")
	commandtest.Fail(t, exit.NoDatabase, []string{"lsmdb inspect wal"}, "", "get", commandtest.FileLike(t, dir, "*.wal"), "a")
}

func TestLockedDatabase(t *testing.T) {
	dir := commandtest.FilledDatabase(t, "k", "v")
	commandtest.OpenHere(t, dir)
	for _, args := range everyCommand(dir) {
		commandtest.Fail(t, exit.InUse, []string{dir + " is in use", fmt.Sprint(os.Getpid()), "several may read"}, "", args...)
	}
}

// Readers share a database.
func TestReadersTogether(t *testing.T) {
	dir := commandtest.FilledDatabase(t, "k", "v")
	got := commandtest.Succeed(t, "get k\n", "shell", dir, "--read-only")
	if !strings.HasPrefix(got, "v  (") {
		t.Errorf("got %q", got)
	}
	got = commandtest.Succeed(t, "", "get", dir, "k")
	if got != "v\n" {
		t.Errorf("got %q", got)
	}
}

func TestNewerDatabase(t *testing.T) {
	dir := commandtest.FilledDatabase(t, "k", "v")
	text := "lsmdb-current 99\nsomething else 12\n"
	text += fmt.Sprintf("checksum %08x\n", base.Checksum(0, []byte(text)))
	if err := os.WriteFile(filepath.Join(dir, base.CurrentName), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range everyCommand(dir) {
		if name != "verify" {
			commandtest.Fail(t, exit.Newer, []string{"newer version of lsmdb", "99"}, "", args...)
		}
	}
	got := commandtest.Execute(t, "", "verify", dir)
	if got.Code != exit.Failed || !strings.Contains(got.Out, "CURRENT") || !strings.Contains(got.Out, "99") {
		t.Errorf("verify: %+v", got)
	}
}

func TestCorruptDatabase(t *testing.T) {
	dir := commandtest.FilledDatabase(t, "k", "v")
	commandtest.Damage(t, commandtest.FileLike(t, dir, "MANIFEST-*"), 40)
	for name, args := range everyCommand(dir) {
		if name != "verify" {
			commandtest.Fail(t, exit.Failed, []string{"the database is damaged", "MANIFEST-", "at offset 27", "lsmdb verify", "lsmdb inspect"}, "", args...)
		}
	}
	// Data files without CURRENT: never create over somebody's data.
	dir = commandtest.FilledDatabase(t, "k", "v")
	if err := os.Remove(filepath.Join(dir, base.CurrentName)); err != nil {
		t.Fatal(err)
	}
	for name, args := range everyCommand(dir) {
		if name != "verify" {
			commandtest.Fail(t, exit.Failed, []string{"CURRENT"}, "", args...)
		}
	}
}

// Reading works where nothing may be written.
func TestReadOnlyDirectory(t *testing.T) {
	dir := commandtest.FilledDatabase(t, "k", "v")
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o700)
	for _, args := range [][]string{{"get", dir, "k"}, {"scan", dir}, {"dump", dir}, {"stats", dir}, {"verify", dir}} {
		commandtest.Succeed(t, "", args...)
	}
	probe := filepath.Join(dir, "probe")
	if err := os.WriteFile(probe, nil, 0o600); err == nil {
		os.Remove(probe)
		return // the mode does not bind this user; TestExplain covers the sentence
	}
	for _, args := range [][]string{{"put", dir, "k", "v"}, {"delete", dir, "k"}, {"compact", dir}, {"put", filepath.Join(dir, "sub"), "k", "v"}} {
		commandtest.Fail(t, exit.Failed, []string{"permission denied", "check the owner and the mode"}, "", args...)
	}
}
