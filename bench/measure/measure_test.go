package measure

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestWhatIsWrittenIsCounted(t *testing.T) {
	const size = 1 << 20
	before := Now()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	used := Now().Sub(before)
	if _, err := os.Stat("/proc/self/io"); err == nil && used.WrittenBytes < size {
		t.Errorf("%d bytes written, want at least %d", used.WrittenBytes, size)
	}
	if err := DropPageCache(filepath.Dir(path)); err != nil {
		t.Error(err)
	}
	disk, err := DirectoryBytes(filepath.Dir(path))
	if err != nil || disk < size || disk > 2*size {
		t.Errorf("%d bytes on disk, %v", disk, err)
	}
}

func TestLatenciesOfClientsAreMerged(t *testing.T) {
	a, b := NewLatencies(), NewLatencies()
	for range 99 {
		a.Record(time.Microsecond)
	}
	b.Record(time.Hour) // beyond what is kept
	a.Merge(b)
	s := a.Summary()
	if s.Count != 100 || a.Count() != 100 || s.P50 != 1000 || s.Max < int64(59*time.Second) {
		t.Errorf("summary: %+v", s)
	}
}

func TestQuietReturnsOnceNothingHappens(t *testing.T) {
	if err := Quiet(100*time.Millisecond, time.Minute); err != nil {
		t.Error(err)
	}
}
