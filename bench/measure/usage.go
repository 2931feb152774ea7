// Package measure reads what an operation costs: time, processor, memory, disk.
package measure

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Usage is what this process has used since it began.
type Usage struct {
	CPU          time.Duration // user and system, all threads
	Allocations  uint64        // objects on the Go heap
	AllocBytes   uint64
	WrittenBytes uint64 // see readIO
	ReadBytes    uint64 // see readIO
	DeviceReads  uint64 // bytes fetched from the device, not from the page cache
}

// Now returns the usage up to now. What /proc does not offer counts as zero.
func Now() Usage {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic("invariant: getrusage of the process itself: " + err.Error())
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u := Usage{
		CPU:         time.Duration(r.Utime.Nano() + r.Stime.Nano()),
		Allocations: m.Mallocs,
		AllocBytes:  m.TotalAlloc,
	}
	readIO(&u)
	return u
}

// Sub returns what was used between v and u.
func (u Usage) Sub(v Usage) Usage {
	return Usage{
		CPU:          u.CPU - v.CPU,
		Allocations:  u.Allocations - v.Allocations,
		AllocBytes:   u.AllocBytes - v.AllocBytes,
		WrittenBytes: u.WrittenBytes - v.WrittenBytes,
		ReadBytes:    u.ReadBytes - v.ReadBytes,
		DeviceReads:  u.DeviceReads - v.DeviceReads,
	}
}

// readIO takes the larger of two counters of /proc/self/io: wchar counts what is
// given to write calls, and misses memory maps; write_bytes counts pages made dirty,
// by maps as well, and misses pages that are written again before they reach the
// device. For reads likewise: rchar misses maps, read_bytes misses what the page cache
// holds.
func readIO(u *Usage) {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return
	}
	counters := map[string]uint64{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		counters[name], _ = strconv.ParseUint(value, 10, 64)
	}
	u.WrittenBytes = max(counters["wchar"], counters["write_bytes"])
	u.ReadBytes = max(counters["rchar"], counters["read_bytes"])
	u.DeviceReads = counters["read_bytes"]
}

// DirectoryBytes returns the blocks that the files below dir occupy on disk.
func DirectoryBytes(dir string) (uint64, error) { return bytesOf(dir, "") }

// TableBytes counts tables only, of engines whose tables are so named. A log may be
// kept to be used again, and then hides whether anything else has become smaller.
func TableBytes(dir string) (uint64, error) { return bytesOf(dir, ".sst") }

func bytesOf(dir, suffix string) (uint64, error) {
	var total uint64
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(name, suffix) {
			return ignoreMissing(err)
		}
		info, err := entry.Info()
		if err != nil {
			return ignoreMissing(err)
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			total += uint64(stat.Blocks) * 512
		}
		return nil
	})
	return total, err
}

// ignoreMissing forgives a file that an engine removed during the walk.
func ignoreMissing(err error) error {
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

// Quiet waits until the process has done next to nothing for a while, the window:
// background work of the engine, whichever it is, is over. It gives up after limit.
func Quiet(window, limit time.Duration) error {
	const busyWrites = 64 << 10
	busyCPU := window / 20
	deadline := time.Now().Add(limit)
	last := Now()
	for time.Now().Before(deadline) {
		time.Sleep(window)
		now := Now()
		if used := now.Sub(last); used.CPU < busyCPU && used.WrittenBytes < busyWrites {
			return nil
		}
		last = now
	}
	return fmt.Errorf("background work did not end within %v", limit)
}
