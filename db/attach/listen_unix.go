//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package attach

import (
	"errors"
	"net"
	"os"
	"syscall"

	"lsmdb/internal/beside"
)

// nobody reports whether an attempt to connect to a socket failed because nobody listens there
// any more.
func nobody(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// listen makes the socket and listens. Package net cannot do that: it listens as soon as
// there is a name, with a mode that depends on the umask of the process.
func listen(dir string) (net.Listener, error) {
	address, done, err := beside.Address(dir)
	if err != nil {
		return nil, err
	}
	defer done()
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	socket := os.NewFile(uintptr(fd), address)
	defer socket.Close()      // the listener has one of its own
	syscall.Fchmod(fd, 0o600) // on Linux the name gets this mode; elsewhere a socket has none
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: address}); err != nil {
		return nil, os.NewSyscallError("bind "+address, err)
	}
	// Nobody connects before it listens, so the mode counts from the beginning.
	err = os.Chmod(address, 0o600)
	if err == nil {
		err = os.NewSyscallError("listen", syscall.Listen(fd, syscall.SOMAXCONN))
	}
	var l net.Listener
	if err == nil {
		l, err = net.FileListener(socket)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(address))
	}
	return l, nil
}
