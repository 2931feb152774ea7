package vfs

// setUmask: Windows has none.
func setUmask(string) {}
