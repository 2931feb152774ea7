//go:build !(unix || js || wasip1 || windows)

package vfs

// isDiskFull: this system has no code for it.
func isDiskFull(error) bool { return false }
