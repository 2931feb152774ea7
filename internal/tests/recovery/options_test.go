package recovery

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
	"lsmdb/stages"
)

// TestLogOfLargerMemtables: a log that was written with large memtables does not become
// thousands of tables for a process that wants small ones and has few descriptors.
func TestLogOfLargerMemtables(t *testing.T) {
	m := fixture.NewMachine(vfstest.NewDisk())
	d, err := db.Open(fixture.Dir, fixture.On(m, db.Options{MemtableBytes: 32 << 20, Durability: db.NoSync, Compression: db.NoCompression}))
	fixture.Must(t, err)
	value := make([]byte, 1000)
	const entries = 20_000
	for i := range entries {
		fixture.Must(t, d.Put(fmt.Appendf(nil, "key%06d", i*7919%entries), value))
	}
	m.Kill(d)
	small := db.Options{MemtableBytes: 64 << 10, MaxOpenFiles: 32}
	d, err = db.Open(fixture.Dir, fixture.Tuned(m.Disk, func(e *stages.Environment) { e.RecoveryBytes = 4 << 20 }, small))
	fixture.Must(t, err)
	fixture.Must(t, fixture.TakeOver(d))
	if got := d.Metrics().Recovery; got.TablesWritten > 8 || got.Operations != entries {
		t.Errorf("%+v", got)
	}
	for i := range 2000 {
		fixture.Must(t, d.Put(fmt.Appendf(nil, "key%06d", i), value))
		if open := d.Metrics().Files.OpenTables; open > 32 {
			t.Fatalf("%d tables are open", open)
		}
	}
	for deadline := time.Now().Add(time.Minute); d.Metrics().Levels[0].Tables > 8; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("level 0 has %d tables", d.Metrics().Levels[0].Tables)
		}
	}
	fixture.Must(t, d.Close())
}

// TestUnreadableTable: Open names a table that is a link, or cannot be read, and changes
// nothing; so it does the next time.
func TestUnreadableTable(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need a privilege")
	}
	for how, spoil := range map[string]func(path, elsewhere string) error{
		"link": func(path, elsewhere string) error {
			if err := os.Rename(path, elsewhere); err != nil {
				return err
			}
			return os.Symlink(elsewhere, path)
		},
		"directory": func(path, elsewhere string) error {
			if err := os.Rename(path, elsewhere); err != nil {
				return err
			}
			return os.Mkdir(path, 0o700)
		},
		"no permission": func(path, _ string) error {
			if os.Geteuid() == 0 {
				return os.ErrPermission // root reads everything: nothing to test
			}
			return os.Chmod(path, 0)
		},
	} {
		t.Run(how, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "db")
			d, err := db.Open(dir, &db.Options{MemtableBytes: 64 << 10})
			fixture.Must(t, err)
			fixture.FillTables(t, d, 2000)
			fixture.Must(t, d.Compact(t.Context(), nil, nil))
			fixture.Must(t, d.Close())
			tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
			fixture.Must(t, err)
			if err := spoil(tables[len(tables)/2], filepath.Join(t.TempDir(), "elsewhere")); err == os.ErrPermission {
				t.Skip("root may read everything")
			} else {
				fixture.Must(t, err)
			}
			before := listing(t, dir)
			for range 2 {
				_, err := db.Open(dir, nil)
				if err == nil || !strings.Contains(err.Error(), filepath.Base(tables[len(tables)/2])) {
					t.Errorf("Open: %v", err)
				}
				if after := listing(t, dir); after != before {
					t.Errorf("before %s, after %s", before, after)
				}
			}
		})
	}
}

// TestEmptyPath: a path that somebody forgot to set is no place for a database.
func TestEmptyPath(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := db.Open("", nil); err == nil {
		t.Error("it opens")
	}
	if left := listing(t, "."); left != "" {
		t.Errorf("left: %s", left)
	}
}

// listing names the files of a directory, with their sizes; the note in LOCK may come and
// go.
func listing(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	fixture.Must(t, err)
	var text strings.Builder
	for _, e := range entries {
		if info, err := e.Info(); err == nil && e.Name() != "LOCK" {
			fmt.Fprintf(&text, "%s %d %v\n", e.Name(), info.Size(), info.Mode())
		}
	}
	return text.String()
}
