package beside

import (
	"fmt"
	"os"
	"path/filepath"
)

// longestAddress is how long the path of a socket may be, without the zero behind it.
const longestAddress = 107

// Address returns a path to the socket in dir that is short enough for a socket. It leads
// there until done is called.
func Address(dir string) (address string, done func() error, err error) {
	address = filepath.Join(dir, SocketName)
	if len(address) <= longestAddress {
		return address, func() error { return nil }, nil
	}
	handle, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", handle.Fd(), SocketName), handle.Close, nil
}
