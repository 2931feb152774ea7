//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd)

package attach

import (
	"errors"
	"io/fs"
	"net"

	"lsmdb/internal/beside"
)

// nobody reports whether an attempt to connect to a socket failed because nobody listens there
// any more.
func nobody(err error) bool {
	var failed *net.OpError
	return errors.As(err, &failed) && failed.Op == "dial" && !errors.Is(err, fs.ErrPermission)
}

// listen makes the socket and listens, where the system has such. Whoever may use the
// directory may use it.
func listen(dir string) (net.Listener, error) {
	address, done, err := beside.Address(dir)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.Listen("unix", address)
	if u, is := l.(interface{ SetUnlinkOnClose(unlink bool) }); is {
		u.SetUnlinkOnClose(false) // whoever made the socket removes it
	}
	return l, err
}
