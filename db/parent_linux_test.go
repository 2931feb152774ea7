package db

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// TestUnreadableParent makes databases below a directory that may be written and passed
// through, but not read.
func TestUnreadableParent(t *testing.T) {
	top, err := os.MkdirTemp("", "lsmdb-parent-")
	must(t, err)
	defer os.RemoveAll(top)
	above := filepath.Join(top, "above")
	must(t, os.Chmod(top, 0o755))
	must(t, os.Mkdir(above, 0o700))
	must(t, os.Chmod(above, 0o311))
	if os.Geteuid() == 0 { // who may read everything
		const nobody = 65534
		must(t, os.Chown(above, nobody, nobody))
		runtime.LockOSThread() // the identity is this thread's, on which Open runs
		defer runtime.UnlockOSThread()
		must(t, syscall.Setfsuid(nobody))
		defer syscall.Setfsuid(0)
	}
	if _, err := os.ReadDir(above); err == nil {
		t.Skip("the directory can be read")
	}
	for _, dir := range []string{filepath.Join(above, "db"), filepath.Join(above, "deep", "er", "db")} {
		d, err := Open(dir, nil)
		must(t, err)
		must(t, d.Sync(t.Context()))
		must(t, d.Close())
	}
}
