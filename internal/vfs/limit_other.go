//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd)

package vfs

// DescriptorLimit returns how many descriptors this process may have, 0 where the system
// does not tell.
func DescriptorLimit() int { return 0 }
