package base

import "syscall"

// EnlargePages lets the memory at an address, which nobody has touched yet, have pages of
// 2 MiB where the system would give them to those only who ask: a first touch costs as much
// for them as for some of the small ones, of which there would be 512. It promises nothing,
// and where there is no memory it does nothing.
func EnlargePages(at, lengthBytes uintptr) {
	const hugePage = 14 // MADV_HUGEPAGE
	_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, at, lengthBytes, hugePage)
}
