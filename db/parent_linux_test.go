package db_test

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// TestUnreadableParent makes databases below a directory that may be written and passed
// through, but not read.
func TestUnreadableParent(t *testing.T) {
	top, err := os.MkdirTemp("", "lsmdb-parent-")
	fixture.Must(t, err)
	defer os.RemoveAll(top)
	above := filepath.Join(top, "above")
	fixture.Must(t, os.Chmod(top, 0o755))
	fixture.Must(t, os.Mkdir(above, 0o700))
	fixture.Must(t, os.Chmod(above, 0o311))
	if os.Geteuid() == 0 { // who may read everything
		const nobody = 65534
		fixture.Must(t, os.Chown(above, nobody, nobody))
		runtime.LockOSThread() // the identity is this thread's, on which Open runs
		defer runtime.UnlockOSThread()
		fixture.Must(t, syscall.Setfsuid(nobody))
		defer syscall.Setfsuid(0)
	}
	if _, err := os.ReadDir(above); err == nil {
		t.Skip("the directory can be read")
	}
	for _, dir := range []string{filepath.Join(above, "db"), filepath.Join(above, "deep", "er", "db")} {
		d, err := db.Open(dir, nil)
		fixture.Must(t, err)
		fixture.Must(t, d.Sync(t.Context()))
		fixture.Must(t, d.Close())
	}
}
