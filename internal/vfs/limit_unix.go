//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package vfs

import "syscall"

// DescriptorLimit returns how many descriptors this process may have, 0 where the system
// does not tell.
func DescriptorLimit() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return int(min(uint64(limit.Cur), 1<<30))
}
