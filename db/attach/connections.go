package attach

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// connections are those that are open.
type connections struct {
	// The mutex makes one step of what happens to a connection, and of the end of all. Nobody
	// waits for anything while he has it.
	mu     sync.Mutex
	states map[*connection]http.ConnState
}

// connection notes what becomes of connections. One that begins something while the others
// were ended is closed here.
func (s *Server) connection(c net.Conn, state http.ConnState) {
	s.connections.mu.Lock()
	defer s.connections.mu.Unlock()
	switch state {
	case http.StateClosed, http.StateHijacked:
		delete(s.connections.states, c.(*connection))
		s.running.Done()
		return
	case http.StateNew:
		s.running.Add(1)
	}
	if s.connections.states == nil {
		s.connections.states = make(map[*connection]http.ConnState)
	}
	s.connections.states[c.(*connection)] = state
	if s.ctx.Err() != nil {
		c.Close()
	}
}

// end closes connections on which nobody answers. The others close when the answer has ended,
// which it does because its context has: so whoever reads hears why. He has no time for more
// questions, and little for the rest of the answer.
func (c *connections) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for open, state := range c.states {
		if state != http.StateActive {
			open.Close()
			continue
		}
		_ = open.SetReadDeadline(past)
		open.hurry()
	}
}

// lastWords is how long a write may take when the server ends. What somebody who reads is told
// takes no time; whoever stalls is not waited for longer, and not at all if he has done so for
// as long.
const lastWords = time.Second / 2

// past is a deadline at which nobody has time left.
var past = time.Unix(1, 0)

// patient gives every write to a connection some time and no more.
type patient struct {
	net.Listener
	server *Server
}

// Accept implements net.Listener.
func (p patient) Accept() (net.Conn, error) {
	c, err := p.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &connection{Conn: c, patience: p.server.patience, ctx: p.server.ctx}, nil
}

// connection is one whose writes end.
type connection struct {
	net.Conn
	patience time.Duration
	ctx      context.Context // of the server: when it ends there is less time

	mu    sync.Mutex // makes one step of allow, and one of hurry
	began time.Time  // the latest write
}

// patientBytes are given their own time: who takes a long value slowly is not cut off.
const patientBytes = 64 << 10

// Write implements net.Conn.
func (c *connection) Write(p []byte) (written int, err error) {
	for more := true; more && err == nil; more = written < len(p) {
		if err = c.allow(); err == nil {
			var n int
			n, err = c.Conn.Write(p[written:min(written+patientBytes, len(p))])
			written += n
		}
	}
	return written, err
}

// allow gives the next write its time. An end of the server is either seen here, or hurry comes
// behind.
func (c *connection) allow() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.began = time.Now()
	if c.ctx.Err() != nil {
		return c.SetWriteDeadline(c.began.Add(lastWords))
	}
	return c.SetWriteDeadline(c.began.Add(c.patience))
}

// hurry leaves a write that is under way little time. The server has ended.
func (c *connection) hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.SetWriteDeadline(c.began.Add(lastWords))
}

// SetReadDeadline implements net.Conn. When the server ends, nobody is to ask any more.
func (c *connection) SetReadDeadline(t time.Time) error {
	err := c.Conn.SetReadDeadline(t)
	if c.ctx.Err() != nil {
		err = c.Conn.SetReadDeadline(past)
	}
	return err
}
