//go:build !linux

package beside

import (
	"fmt"
	"path/filepath"
)

// longestAddress is how long the path of a socket may be where it may be shortest.
const longestAddress = 103

// Address returns the path to the socket in dir. It leads there until done is called.
func Address(dir string) (address string, done func() error, err error) {
	address = filepath.Join(dir, SocketName)
	if len(address) > longestAddress {
		return "", nil, fmt.Errorf("%s is too long for the path of a socket: %d bytes, at most %d", address, len(address), longestAddress)
	}
	return address, func() error { return nil }, nil
}
