package vfstest

import (
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"lsmdb/internal/vfs"
)

// TestLostPages: what a sync drops is gone at once or with the power, and the next sync
// does not bring it back; what is written to a page later does.
func TestLostPages(t *testing.T) {
	for _, visible := range []bool{false, true} {
		d := NewDisk()
		f, arm := failing(d, OpSync, &Lost{Err: errInjected, Visible: visible})
		file, err := f.Create("/f")
		must(t, err)
		must(t, d.SyncDir("/"))
		must(t, second(file.WriteAt([]byte("old"), 0)))
		must(t, file.Sync())
		must(t, second(file.WriteAt([]byte("NEW"), 0)))
		must(t, second(file.WriteAt([]byte("more"), pageBytes)))
		arm()
		wantErr(t, "sync", file.Sync(), errInjected)
		want := map[bool]string{false: "old", true: "NEW"}[visible]
		if got := get(f, "/f"); !strings.HasPrefix(got, want) || strings.Contains(got, "more") != visible {
			t.Errorf("visible %v: the file holds %.10q", visible, got)
		}
		retried := file.(*faultFile).under
		must(t, retried.Sync())
		if got := strings.TrimRight(get(d.CrashClone(nil), "/f"), "\x00"); got != "old" {
			t.Errorf("visible %v: the next sync made %.10q durable", visible, got)
		}
		must(t, second(file.WriteAt([]byte("!"), 3)))
		must(t, retried.Sync())
		if got := strings.TrimRight(get(d.CrashClone(nil), "/f"), "\x00"); got != want+"!" {
			t.Errorf("visible %v: after another write %.10q is durable", visible, got)
		}
		if used := d.UsedBytes(); used != int64(len(get(d, "/f"))) {
			t.Errorf("visible %v: %d bytes used", visible, used)
		}
	}
}

func TestOpenFilesAreCounted(t *testing.T) {
	f, arm := failing(NewDisk(), OpClose, errInjected)
	one, err := f.Create("/f")
	must(t, err)
	two, err := f.Open("/f")
	must(t, err)
	if _, err := f.Open("/none"); err == nil || f.OpenFiles() != 2 {
		t.Errorf("%v, %d files are open, want 2", err, f.OpenFiles())
	}
	must(t, one.Close())
	if one.Close() == nil || f.OpenFiles() != 1 {
		t.Errorf("%d files are open, want 1", f.OpenFiles())
	}
	arm()
	wantErr(t, "close", two.Close(), errInjected) // and has closed
	if n := f.OpenFiles(); n != 0 {
		t.Errorf("%d files are open, want 0", n)
	}
}

// TestLogFileFaults needs files that offer windows.
func TestLogFileFaults(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("files of this system offer no windows")
	}
	var fail error
	var seen []OpKind
	f := NewFault(vfs.OS, func(op Op) error {
		seen = append(seen, op.Kind)
		return fail
	})
	file, err := f.Create(filepath.Join(t.TempDir(), "log"))
	must(t, err)
	log := file.(vfs.LogFile)
	must(t, log.Allocate(0, vfs.WindowAlignBytes))
	w, err := log.Map(0, vfs.WindowAlignBytes)
	must(t, err)
	must(t, second(w.WriteAt([]byte("x"), 0)))
	must(t, w.Close())
	log.StartWriteback(0, 1)
	fail = errInjected
	wantErr(t, "allocate", log.Allocate(0, 1), errInjected)
	wantErr(t, "map", second(log.Map(0, vfs.WindowAlignBytes)), errInjected)
	fail = Gone
	w, err = log.Map(0, vfs.WindowAlignBytes)
	must(t, err)
	if n, err := w.WriteAt([]byte("y"), 0); err == nil {
		t.Errorf("%d bytes were stored into nothing", n)
	}
	fail = nil
	must(t, w.Close())
	must(t, file.Close())
	if len(seen) != 7 || seen[1] != OpAllocate || seen[2] != OpMap {
		t.Errorf("saw %v", seen)
	}
}
