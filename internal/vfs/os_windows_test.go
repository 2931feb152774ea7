package vfs

import "golang.org/x/sys/windows"

var diskFullCauses = []error{windows.ERROR_DISK_FULL, windows.ERROR_HANDLE_DISK_FULL, windows.ERROR_DISK_QUOTA_EXCEEDED}

// setUmask: Windows has none.
func setUmask(string) {}
