package db_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// TestDirectoryChanges: whatever others do to the directory of an open database, nothing
// is acknowledged as durable that the next Open does not find, no second writer comes in,
// and no file of another database is touched.
func TestDirectoryChanges(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open directory cannot be moved")
	}
	for name, change := range map[string]func(t *testing.T, dir string){
		"LOCK removed":      func(t *testing.T, dir string) { fixture.Must(t, os.Remove(filepath.Join(dir, "LOCK"))) },
		"directory moved":   func(t *testing.T, dir string) { fixture.Must(t, os.Rename(dir, dir+"-elsewhere")) },
		"directory removed": func(t *testing.T, dir string) { fixture.Must(t, os.RemoveAll(dir)) },
		"log removed": func(t *testing.T, dir string) {
			logs, err := filepath.Glob(filepath.Join(dir, "*.wal"))
			fixture.Must(t, err)
			for _, log := range logs {
				fixture.Must(t, os.Remove(log))
			}
		},
		"replaced": func(t *testing.T, dir string) {
			fixture.Must(t, os.Rename(dir, dir+"-elsewhere"))
			other, err := db.Open(dir, nil)
			fixture.Must(t, err)
			fixture.Must(t, other.Put([]byte("other"), []byte("database")))
			t.Cleanup(func() {
				fixture.Must(t, other.Put([]byte("more"), nil))
				fixture.Must(t, other.Close())
				again, err := db.Open(dir, nil)
				fixture.Must(t, err)
				fixture.Must(t, fixture.Differ(fixture.View{"other": "database", "more": ""}, fixture.Contents(t, again)))
				fixture.Must(t, again.Close())
			})
		},
	} {
		for _, durability := range []db.Durability{db.Sync, db.NoSync} {
			t.Run(fmt.Sprint(name, durability), func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "db")
				d, err := db.Open(dir, &db.Options{MemtableBytes: 64 << 10, Durability: durability})
				fixture.Must(t, err)
				fixture.Must(t, d.Put([]byte("before"), nil, db.Sync))
				change(t, dir)
				if second, err := db.Open(dir, &db.Options{MustExist: true}); name == "LOCK removed" && !errors.Is(err, db.ErrLocked) {
					t.Errorf("a second writer: %v", err)
				} else if err == nil {
					fixture.Must(t, second.Close())
				}
				for i := 0; err == nil && i < 1000; i++ { // a rotation, or the first sync, notices
					err = d.Put(fmt.Appendf(nil, "k%d", i), make([]byte, 200))
					if err == nil && durability == db.Sync {
						t.Fatal("acknowledged as durable, and nobody will find it")
					}
				}
				if !errors.Is(err, db.ErrDisplaced) || !errors.Is(err, db.ErrReadOnly) {
					t.Errorf("writes: %v", err)
				}
				if err := d.Close(); !errors.Is(err, db.ErrDisplaced) {
					t.Errorf("Close: %v", err)
				}
			})
		}
	}
}
