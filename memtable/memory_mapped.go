//go:build (darwin || dragonfly || freebsd || linux || netbsd || openbsd) && !race

package memtable

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// leastMapped is the least size of an arena outside of Go's heap: smaller ones come and
// go too fast for system calls.
const leastMapped = 1 << 20

// mapCells returns zeroed memory outside of Go's heap, or nil where there is none.
func mapCells(count int64) []cell {
	if count*cellBytes < leastMapped {
		return nil
	}
	at, err := unix.MmapPtr(-1, 0, nil, uintptr(count*cellBytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil
	}
	return unsafe.Slice((*cell)(at), count)
}

// unmapCells gives back what mapCells returned.
func unmapCells(cells []cell) {
	if err := unix.MunmapPtr(unsafe.Pointer(&cells[0]), uintptr(len(cells)*cellBytes)); err != nil {
		panic("invariant: an arena cannot be given back: " + err.Error())
	}
}

// enlargePages lets memory that mapCells returned, and that was not touched yet, have pages
// of 2 MiB where the system can do that. It promises nothing.
func enlargePages(memory []byte) {
	const hugePage = 14 // MADV_HUGEPAGE
	if runtime.GOOS == "linux" && len(memory) >= leastMapped {
		_ = unix.Madvise(memory, hugePage)
	}
}
