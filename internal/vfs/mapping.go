package vfs

import (
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"unsafe"
)

// LogFile is what some systems' files offer besides to a log that is written often
// and synced rarely: with it, a short record costs neither a system call nor a
// second write of its bytes.
type LogFile interface {
	File
	WritebackFile
	// Allocate grows the file, which ends at offset, by length bytes that are zero and
	// have their place on the disk, without writing them.
	Allocate(offset, length int64) error
	// Map opens a window on a part of the file, which must exist. offset is a multiple
	// of WindowAlignBytes.
	Map(offset, length int64) (*Window, error)
}

// WindowAlignBytes divides the offset of every window: no page is longer.
const WindowAlignBytes = 64 << 10

// Window is a part of a file mapped into memory. What is written into it belongs to
// the file at once, exactly as after a WriteAt: a killed process loses nothing of it,
// every reader sees it, and Sync of the file makes it durable. One goroutine at a
// time uses a window.
type Window struct {
	offset int64 // of its first byte in the file
	memory []byte
}

// Covers reports whether the window shows the length bytes from offset on. A nil
// window shows none.
func (w *Window) Covers(offset int64, length int) bool {
	return w != nil && offset >= w.offset && offset+int64(length) <= w.offset+int64(len(w.memory))
}

// Bounds returns which part of the file the window shows. A nil or closed window shows none.
func (w *Window) Bounds() (start, end int64) {
	if w == nil {
		return 0, 0
	}
	return w.offset, w.offset + int64(len(w.memory))
}

// Touch has the system provide the memory behind an offset now, and not when something is
// first written there. It changes nothing, also where somebody else writes meanwhile, in
// this window or another or to the file. A fault is left to who writes.
func (w *Window) Touch(from int64) {
	const pageBytes = 4 << 10 // or more
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { _ = recover() }()
	for at := max(0, from-w.offset) &^ (pageBytes - 1); at < int64(len(w.memory)); at += pageBytes {
		atomic.OrUint32((*uint32)(unsafe.Pointer(&w.memory[at])), 0)
	}
}

// WriteAt copies p into the file; Covers must hold. Where a write would fail the
// memory is not there, because the disk failed or somebody cut the file: the
// processor's fault becomes an error, after which part of p may be written.
func (w *Window) WriteAt(p []byte, offset int64) (n int, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if fault := recover(); fault != nil {
			n, err = 0, fmt.Errorf("write to mapped memory at offset %d: %v", offset, fault)
		}
	}()
	return copy(w.memory[offset-w.offset:], p), nil
}
