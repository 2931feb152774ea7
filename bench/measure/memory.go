package measure

import (
	"bufio"
	"bytes"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"
)

// ResetPeakMemory makes PeakMemory start anew; where the system refuses, peaks stay
// those of the whole process.
func ResetPeakMemory() {
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
}

// PeakMemory returns VmHWM, the highest resident set, in bytes; 0 when unknown.
func PeakMemory() uint64 { return memoryField("VmHWM:") }

// ResidentMemory returns VmRSS, the resident set now, in bytes; 0 when unknown.
func ResidentMemory() uint64 { return memoryField("VmRSS:") }

func memoryField(name string) uint64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		if rest, found := strings.CutPrefix(lines.Text(), name); found {
			kilobytes, _ := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kilobytes << 10
		}
	}
	return 0
}

// CollectorTime returns the processor time that Go's collector has taken, idle processors
// included. The runtime counts it when a collection ends, so this makes one.
func CollectorTime() time.Duration {
	runtime.GC()
	sample := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}}
	metrics.Read(sample)
	return time.Duration(sample[0].Value.Float64() * float64(time.Second))
}
