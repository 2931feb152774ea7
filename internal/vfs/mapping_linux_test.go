package vfs

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestTouchChangesNothing, and is no business of a window that shows nothing.
func TestTouchChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := OS.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := bytes.Repeat([]byte("touched?"), 5000)
	if _, err := f.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	w, err := f.(LogFile).Map(0, int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if start, end := w.Bounds(); start != 0 || end != int64(len(data)) {
		t.Errorf("the window is from %d to %d", start, end)
	}
	w.Touch(5000)
	w.Touch(1 << 30)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	w.Touch(0) // nothing is there: a fault, but not the end of the process
	if _, err := f.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	w.Touch(0)
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, data) {
		t.Errorf("the file is another now, %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w.Touch(0)
	if start, end := w.Bounds(); start != end {
		t.Errorf("a closed window from %d to %d", start, end)
	}
}

// TestNoWindowsWhereWritesPassThem: of some file systems nobody can say that writes and mapped
// memory see each other.
func TestNoWindowsWhereWritesPassThem(t *testing.T) {
	defer func() { fstatfs = unix.Fstatfs }()
	f, err := OS.Create(filepath.Join(t.TempDir(), "log"))
	if err == nil {
		err = f.Truncate(WindowAlignBytes)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for kind, want := range map[uint32]error{
		unix.EXT4_SUPER_MAGIC: nil,
		unix.V9FS_MAGIC:       errors.ErrUnsupported,
		unix.CIFS_SUPER_MAGIC: errors.ErrUnsupported,
		unix.SMB2_SUPER_MAGIC: errors.ErrUnsupported,
	} {
		fstatfs = func(fd int, s *unix.Statfs_t) error {
			*(*uint32)(unsafe.Pointer(&s.Type)) = kind // as wide as the system has it
			return nil
		}
		w, err := f.(LogFile).Map(0, WindowAlignBytes)
		if !errors.Is(err, want) || (err == nil) != w.Covers(0, 1) {
			t.Errorf("file system %#x: %v", kind, err)
		}
		_ = w.Close()
	}
}

// TestAwaitWritebackTellsOfTheDisk alone: where the system refuses the call, as a sandbox may,
// nothing is lost that a sync would not tell.
func TestAwaitWritebackTellsOfTheDisk(t *testing.T) {
	defer func() { syncFileRange = unix.SyncFileRange }()
	f, err := OS.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for given, want := range map[syscall.Errno]error{
		unix.EIO: unix.EIO, unix.ENOSPC: unix.ENOSPC, unix.ENOSYS: nil, unix.EPERM: nil, unix.EINVAL: nil,
	} {
		syncFileRange = func(int, int64, int64, int) error { return given }
		if err := f.(WritebackFile).AwaitWriteback(0, 1<<20); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%v gives %v", given, err)
		}
	}
}
