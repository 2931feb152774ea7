//go:build !linux

package base

// EnlargePages does nothing.
func EnlargePages(at, lengthBytes uintptr) {}
