package replica

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// gate holds up what comes back on connections, as a process that is stopped would: what was
// answered before lies there, and is read when it goes on.
type gate struct {
	mu     sync.Mutex
	closed chan struct{} // closed when the gate opens; nil: it is open
	cut    bool          // nothing is dialed, and nothing goes out
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.closed)
	g.closed = nil
}

func (g *gate) setCut(cut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cut = cut
}

func (g *gate) isCut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cut
}

var errCut = errors.New("the cable is cut")

func (g *gate) dial(ctx context.Context, address string) (net.Conn, error) {
	if g.isCut() {
		return nil, errCut
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &gated{conn, g}, nil
}

// gated is a connection that goes through a gate.
type gated struct {
	net.Conn
	gate *gate
}

func (c *gated) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.gate.mu.Lock()
	closed := c.gate.closed
	c.gate.mu.Unlock()
	if closed != nil {
		<-closed
	}
	return n, err
}

func (c *gated) Write(p []byte) (int, error) {
	if c.gate.isCut() {
		return 0, errors.Join(errCut, c.Conn.Close())
	}
	return c.Conn.Write(p)
}

// TestDeposedLeader reads from a node that leads as far as it knows, while the others have elected
// another one and written. Answers to its heartbeats lie in its buffers, from when it still
// led: they arrive while the read waits, and mean nothing any more.
func TestDeposedLeader(t *testing.T) {
	var fromOld gate
	toOld := map[string]*gate{"b": {}, "c": {}}
	var old string
	c := newTrio(t, func(config *Config) {
		if config.ID == "a" { // which believes that it leads for a long time
			config.Raft.HeartbeatTimeout, config.Raft.ElectionTimeout, config.Raft.LeaderLeaseTimeout = time.Minute, time.Minute, time.Minute
			config.dial = fromOld.dial
			old = config.Listen
			return
		}
		g := toOld[config.ID]
		config.dial = func(ctx context.Context, address string) (net.Conn, error) {
			if address == old {
				return g.dial(ctx, address)
			}
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	})
	a := c.nodes[0]
	for a.raft.State() != raft.Leader {
		for _, n := range c.nodes[1:] {
			if n.raft.State() == raft.Leader {
				_ = n.raft.LeadershipTransferToServer("a", raft.ServerAddress(old)).Error() // or again
			}
		}
		time.Sleep(time.Millisecond)
	}
	put(t, a, "k", "1")
	if got, err := a.Get(within(t), []byte("k")); err != nil || string(got) != "1" {
		t.Fatalf("before: %q, %v", got, err)
	}

	fromOld.shut()
	for _, g := range toOld {
		g.setCut(true)
	}
	next := func() *Node {
		for {
			for _, n := range c.nodes[1:] {
				if n.raft.State() == raft.Leader {
					return n
				}
			}
			time.Sleep(time.Millisecond)
		}
	}()
	put(t, next, "k", "2")
	if a.raft.State() != raft.Leader {
		t.Fatal("the test shows nothing: the old leader knows that it is none")
	}
	type answer struct {
		value []byte
		err   error
	}
	read := make(chan answer)
	go func() {
		value, err := a.Get(within(t), []byte("k"))
		read <- answer{value, err}
	}()
	time.Sleep(50 * time.Millisecond) // the question is asked, whoever is asked
	fromOld.open()
	if got := <-read; !errors.Is(got.err, ErrNotLeader) {
		t.Errorf("a leader that was deposed reads %q, %v", got.value, got.err)
	}
	for _, g := range toOld {
		g.setCut(false)
	}
	holds(t, a, "k", "2")
}

// TestNewLeader reads from a node that has just been elected. It has an entry of its predecessor in
// its log, which was acknowledged, and does not know yet that a majority has it: it must not
// read before it does.
func TestNewLeader(t *testing.T) {
	var hold holding
	c := newTrio(t, func(config *Config) {
		config.Raft.CommitTimeout = time.Minute // nobody is told what is committed, unless by the next entry
		config.dial = hold.dial
	})
	at, leader := c.leader()
	put(t, leader, "k", "1")
	put(t, leader, "k", "2")
	hold.begin()
	t.Cleanup(hold.end) // or nothing could be closed
	c.stop(at)
	for tries := 0; tries < 3; {
		for _, n := range c.nodes {
			if n == nil || n.raft.State() != raft.Leader {
				continue
			}
			tries++
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			got, err := n.Get(ctx, []byte("k"))
			cancel()
			if !errors.Is(err, ErrNotLeader) {
				t.Fatalf("before it can know, it reads %q, %v", got, err)
			}
		}
		time.Sleep(time.Millisecond)
	}
	hold.end()
	_, next := c.leader()
	if got, err := next.Get(within(t), []byte("k")); err != nil || string(got) != "2" {
		t.Errorf("then it reads %q, %v", got, err)
	}
}

// holding holds up entries and heartbeats between nodes, but neither votes nor questions.
type holding struct {
	mu   sync.Mutex
	held chan struct{} // closed when it ends; nil: nothing is held
}

func (h *holding) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = make(chan struct{})
}

func (h *holding) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held != nil {
		close(h.held)
		h.held = nil
	}
}

func (h *holding) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &heldConn{Conn: conn, holding: h, gone: make(chan struct{})}, nil
}

type heldConn struct {
	net.Conn
	holding *holding
	once    sync.Once
	gone    chan struct{} // closed by Close
}

func (c *heldConn) Close() error {
	c.once.Do(func() { close(c.gone) })
	return c.Conn.Close()
}

func (c *heldConn) Write(p []byte) (int, error) {
	const appendEntries = 0 // Raft begins each request with its kind
	c.holding.mu.Lock()
	held := c.holding.held
	c.holding.mu.Unlock()
	if held != nil && p[0] == appendEntries {
		select {
		case <-held:
		case <-c.gone:
		}
	}
	return c.Conn.Write(p)
}
