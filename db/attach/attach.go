// Package attach lets other processes look at a database while this one has it open: the
// lsmdb command ("lsmdb get", "scan", "dump", "stats", "top", ...), or whatever speaks HTTP.
//
//	s, err := attach.Serve(d)
//
// Serve listens on a Unix socket named ATTACH in the directory of the database. The socket
// has mode 0600: it is for this user and the superuser, like the files beside it. Nothing
// listens on a network.
//
// Whoever forwards the socket to a port, as in "ssh -L 8080:mydata/ATTACH machine", sees the
// live page of package debug in a browser. Everybody who can reach that port can read the
// database, too, with a program that is no browser.
//
// What is asked for costs this process what the read itself costs. Each answer is of one
// instant. Nobody can write through the socket.
package attach

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"lsmdb/db"
	"lsmdb/internal/beside"
	"lsmdb/internal/door"
)

// Server serves a database until it is closed. Its methods may be called concurrently.
type Server struct {
	db       *db.DB
	patience time.Duration
	guest    door.Guest // of the database, which tells when it closes
	http     http.Server

	ctx    context.Context // of all requests
	cancel context.CancelFunc

	running     sync.WaitGroup // what listens, and the connections
	connections connections

	mu     sync.Mutex // makes one step of begin, and one of leave
	root   *os.Root   // the directory; nil: nothing listens
	socket fs.FileInfo
	left   bool
}

// patience is how long somebody may keep an answer waiting before he has read some more of
// it. Until then, a scan keeps what it shows from being deleted.
const patience = 15 * time.Second

// Serve makes the socket of a database and returns when it listens. It serves until the
// Server or the database is closed; a database has one Server at a time.
//
// A socket that a killed process left is replaced, unless somebody listens there. Where the
// path of the socket is longer than a socket's may be (some 100 bytes), Serve works on Linux
// and is refused elsewhere.
//
// Errors: db.ErrClosed; db.ErrReadOnly if the database was opened read-only, as nothing is
// written to its directory then, and others can open it read-only, too; what the system says.
// A database with InMemory has no directory for a socket. Whatever is named ATTACH there and is
// no socket stays, and is in the way.
func Serve(d *db.DB) (*Server, error) { return serve(d, patience) }

func serve(d *db.DB, patience time.Duration) (*Server, error) {
	s := &Server{db: d, patience: patience}
	s.guest = door.Guest{Leave: s.leave, Gone: s.wait}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	dir, events, err := door.Receive(d, &s.guest)
	if err == nil {
		if err = s.begin(dir, events); err != nil {
			door.Dismiss(d, &s.guest)
		}
	}
	if err != nil {
		s.cancel()
		return nil, fmt.Errorf("lsmdb: attach: %w", err)
	}
	return s, nil
}

// begin listens, unless the database was closed meanwhile.
func (s *Server) begin(dir string, events io.Writer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left {
		return db.ErrClosed
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	var listener net.Listener
	if err = removeStale(root, dir); err == nil {
		listener, err = listen(dir)
	}
	if err != nil {
		return errors.Join(err, root.Close())
	}
	if s.socket, err = root.Lstat(beside.SocketName); err != nil { // the path led elsewhere
		return errors.Join(err, listener.Close(), root.Close())
	}
	s.root = root
	s.http = http.Server{
		Handler: s.routes(), ReadHeaderTimeout: s.patience, IdleTimeout: idleConnection,
		BaseContext: func(net.Listener) context.Context { return s.ctx },
		ConnState:   s.connection,
		ErrorLog:    log.New(events, "attach: ", 0),
	}
	s.running.Go(func() { _ = s.http.Serve(patient{listener, s}) }) // http.ErrServerClosed, in the end
	return nil
}

// idleConnection is how long a connection may wait for its next question.
const idleConnection = time.Minute

// removeStale removes the socket that a killed process left, and nothing else: neither what is
// no socket, nor one where somebody listens, although he cannot have the database open.
func removeStale(root *os.Root, dir string) error {
	info, err := root.Lstat(beside.SocketName)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s in the directory is no socket, and in the way: remove it", beside.SocketName)
	}
	address, done, err := beside.Address(dir)
	if err != nil {
		return err
	}
	defer done()
	somebody, err := net.Dial("unix", address)
	if err == nil {
		err = errors.Join(errors.New("a process listens there"), somebody.Close())
	}
	if !nobody(err) {
		return fmt.Errorf("%s in the directory is in the way, and may be in use: %w", beside.SocketName, err)
	}
	return root.Remove(beside.SocketName)
}

// Close ends all answers, also those under way, removes the socket and waits until nothing
// of the server runs. A copy that a checkpoint makes is given up, and taken away again. What
// takes long is a read of a disk that hangs, or of a key for which a Merger works. Who has just
// stopped to read his answer holds it up for half a second at most. The database stays open.
// Close is idempotent.
func (s *Server) Close() error {
	s.leave()
	s.wait()
	door.Dismiss(s.db, &s.guest)
	return nil
}

// leave stops listening and ends all requests, and waits for none.
func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left {
		return
	}
	s.left = true
	if s.root == nil {
		s.cancel()
		return
	}
	// Before others can get the lock of the database, and with it the name; and before anybody
	// loses his connection, who then sees that this was no accident.
	if info, err := s.root.Lstat(beside.SocketName); err == nil && os.SameFile(info, s.socket) {
		_ = s.root.Remove(beside.SocketName) // else it is stale, which is nobody's obstacle
	}
	_ = s.root.Close()
	s.cancel()
	_ = s.http.Shutdown(s.ctx) // which has ended: it stops listening, and waits for no connection
	s.connections.end()
}

// wait waits for what leave has ended.
func (s *Server) wait() { s.running.Wait() }
