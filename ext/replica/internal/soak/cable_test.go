//go:build unix

package soak

import (
	"net"
	"sync"
	"testing"
)

// cable carries the connections that one node makes to another, and can be cut.
type cable struct {
	listener net.Listener
	target   string

	mu      sync.Mutex
	cut     bool
	stalled chan struct{} // closed when bytes flow again; nil: they flow
	conns   map[net.Conn]bool
}

// lay lays a cable to an address.
func lay(t *testing.T, target string) *cable {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{listener: l, target: target, conns: map[net.Conn]bool{}}
	go c.accept()
	t.Cleanup(func() {
		l.Close()
		c.heal()
		c.sever()
	})
	return c
}

func (c *cable) accept() {
	for {
		from, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.mu.Lock()
		cut := c.cut
		c.mu.Unlock()
		if cut {
			from.Close()
			continue
		}
		go c.carry(from)
	}
}

func (c *cable) carry(from net.Conn) {
	to, err := net.Dial("tcp", c.target)
	if err != nil {
		from.Close()
		return
	}
	c.mu.Lock()
	c.conns[from], c.conns[to] = true, true
	if c.cut { // meanwhile
		from.Close()
		to.Close()
	}
	c.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { c.copy(to, from) })
	both.Go(func() { c.copy(from, to) })
	both.Wait()
	c.mu.Lock()
	delete(c.conns, from)
	delete(c.conns, to)
	c.mu.Unlock()
}

func (c *cable) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		c.mu.Lock()
		stalled := c.stalled
		c.mu.Unlock()
		if stalled != nil {
			<-stalled
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// sever breaks all connections, and those to come.
func (c *cable) sever() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
	for conn := range c.conns {
		conn.Close()
	}
}

// stall keeps what is sent, until the cable is healed: then it arrives late.
func (c *cable) stall() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stalled == nil {
		c.stalled = make(chan struct{})
	}
}

func (c *cable) heal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = false
	if c.stalled != nil {
		close(c.stalled)
		c.stalled = nil
	}
}
