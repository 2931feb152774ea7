package manifest

import (
	"errors"
	"syscall"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/vfstest"
)

// TestCreateLogFaults fails each operation in turn: no file stays behind.
func TestCreateLogFaults(t *testing.T) {
	injected := errors.New("injected")
	for failing := 0; ; failing++ {
		mem := newDir(t)
		count := 0
		fault := vfstest.NewFault(mem, func(op vfstest.Op) error {
			if op.Kind == vfstest.OpCheck {
				return nil // no answer is no bad news
			}
			count++
			if count-1 == failing {
				return injected
			}
			return nil
		})
		log, err := CreateLog(fault, testDir, 7, State{DatabaseID: 1})
		if count <= failing {
			count = failing + 1 // closing below is not part of it
			if err != nil || failing < 6 {
				t.Fatalf("%d operations, %v", failing, err)
			}
			if _, _, err := Load(mem.CrashClone(nil), testDir, 7); err != nil {
				t.Fatalf("not durable: %v", err)
			}
			if err := log.Close(); err != nil {
				t.Fatal(err)
			}
			return
		}
		names, listErr := mem.List(testDir)
		if log != nil || !errors.Is(err, injected) || listErr != nil || len(names) != 0 {
			t.Fatalf("operation %d failed: %v; left behind: %v %v", failing, err, names, listErr)
		}
	}
}

// TestCreateLogFailsForGood has the directory's sync fail and then, on a full disk, also
// the removal of the file: that must not look as if waiting for room would cure it.
func TestCreateLogFailsForGood(t *testing.T) {
	injected := errors.New("injected")
	fault := vfstest.NewFault(newDir(t), func(op vfstest.Op) error {
		switch op.Kind {
		case vfstest.OpSyncDir:
			return injected
		case vfstest.OpRemove:
			return syscall.ENOSPC
		}
		return nil
	})
	if _, err := CreateLog(fault, testDir, 7, State{DatabaseID: 1}); !errors.Is(err, injected) || errors.Is(err, base.ErrDiskFull) {
		t.Error(err)
	}
}
