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

func TestAlarmIsNeverEarly(t *testing.T) {
	alarm, err := NewAlarm()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []time.Duration{-time.Second, 0, 100 * time.Microsecond, 2 * time.Millisecond} {
		start := time.Now()
		if err := alarm.Sleep(d); err != nil || time.Since(start) < d {
			t.Errorf("woken after %v instead of %v, %v", time.Since(start), d, err)
		}
	}
	if err := alarm.Close(); err != nil {
		t.Error(err)
	}
	if err := alarm.Sleep(time.Millisecond); err == nil {
		t.Error("sleeps although it is closed")
	}
}

func TestMemoryAndCollector(t *testing.T) {
	if resident, peak := ResidentMemory(), PeakMemory(); resident == 0 || peak < resident/2 {
		t.Errorf("resident %d, peak %d", resident, peak)
	}
	first := CollectorTime()
	if second := CollectorTime(); first <= 0 || second <= first {
		t.Errorf("the collector took %v, then %v", first, second)
	}
}
