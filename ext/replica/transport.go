package replica

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Each connection between nodes begins with a byte that says for whom it is.
const (
	forRaft = 'r'
	forPeer = 'p'
)

const (
	// greetingTimeout bounds how long a connection may take to say for whom it is, TLS included.
	greetingTimeout = 10 * time.Second

	// maxGreetings bounds the connections that have not said so yet.
	maxGreetings = 64
)

// wire is the one address of a node, at which Raft and the node itself listen.
type wire struct {
	listener net.Listener
	address  advertised
	tls      *tls.Config // nil: plain TCP
	dialer   func(ctx context.Context, address string) (net.Conn, error)

	raft, peer *inbound
	greetings  chan struct{}
	ctx        context.Context // ends with close
	cancel     context.CancelFunc
	accepting  sync.WaitGroup
}

// listen begins to listen. Connections wait until somebody accepts them.
func listen(listen, advertise string, t *tls.Config, dialer func(context.Context, string) (net.Conn, error)) (*wire, error) {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("replica: %w", err)
	}
	if advertise == "" {
		advertise = listener.Addr().String()
	}
	if host, _, err := net.SplitHostPort(advertise); err != nil || host == "" || net.ParseIP(host) != nil && net.ParseIP(host).IsUnspecified() {
		return nil, errors.Join(fmt.Errorf("replica: others cannot reach this node at %q: give its address in Members", advertise), listener.Close())
	}
	if dialer == nil {
		dialer = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	w := &wire{
		listener: listener, address: advertised(advertise), tls: mutual(t), dialer: dialer,
		greetings: make(chan struct{}, maxGreetings),
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.raft, w.peer = &inbound{w, make(chan net.Conn)}, &inbound{w, make(chan net.Conn)}
	w.accepting.Add(1)
	go w.accept()
	return w, nil
}

// mutual makes a TLS configuration one in which either side must show a certificate: who
// reaches this port can write.
func mutual(t *tls.Config) *tls.Config {
	if t == nil {
		return nil
	}
	t = t.Clone()
	t.MinVersion = max(t.MinVersion, tls.VersionTLS12)
	t.NextProtos = nil
	if t.ClientAuth < tls.RequireAndVerifyClientCert {
		t.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if t.ClientCAs == nil {
		t.ClientCAs = t.RootCAs
	}
	return t
}

// accept takes connections until the wire is closed.
func (w *wire) accept() {
	defer w.accepting.Done()
	for {
		conn, err := w.listener.Accept()
		switch {
		case err == nil:
		case errors.Is(err, net.ErrClosed):
			return
		default: // out of descriptors, perhaps
			select {
			case <-time.After(retryAfter):
				continue
			case <-w.ctx.Done():
				return
			}
		}
		select {
		case w.greetings <- struct{}{}:
			w.accepting.Add(1)
			go w.greet(conn)
		case <-w.ctx.Done():
			conn.Close()
			return
		}
	}
}

// greet finds out for whom a connection is, and hands it on.
func (w *wire) greet(conn net.Conn) {
	defer w.accepting.Done()
	raw := conn
	stop := context.AfterFunc(w.ctx, func() { raw.Close() })
	defer stop()
	conn, to := w.greeting(conn)
	<-w.greetings
	if to == nil {
		conn.Close()
		return
	}
	select {
	case to.conns <- conn:
	case <-w.ctx.Done():
		conn.Close()
	}
}

func (w *wire) greeting(conn net.Conn) (net.Conn, *inbound) {
	_ = conn.SetDeadline(time.Now().Add(greetingTimeout))
	if w.tls != nil {
		secure := tls.Server(conn, w.tls)
		conn = secure
		if secure.Handshake() != nil {
			return conn, nil
		}
	}
	var first [1]byte
	if _, err := conn.Read(first[:]); err != nil {
		return conn, nil
	}
	_ = conn.SetDeadline(time.Time{})
	switch first[0] {
	case forRaft:
		return conn, w.raft
	case forPeer:
		return conn, w.peer
	}
	return conn, nil
}

// dial connects to another node.
func (w *wire) dial(ctx context.Context, address string, to byte) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, greetingTimeout)
	defer cancel()
	conn, err := w.dialer(ctx, address)
	if err != nil {
		return nil, err
	}
	if w.tls != nil {
		t := w.tls
		if t.ServerName == "" {
			t = t.Clone()
			t.ServerName, _, _ = net.SplitHostPort(address)
		}
		secure := tls.Client(conn, t)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		conn = secure
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetWriteDeadline(deadline)
	}
	if _, err := conn.Write([]byte{to}); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, conn.SetWriteDeadline(time.Time{})
}

// close ends listening, for both. It is idempotent.
func (w *wire) close() error {
	w.cancel()
	err := w.listener.Close()
	w.accepting.Wait()
	if errors.Is(err, net.ErrClosed) { // by the other of the two
		return nil
	}
	return err
}

// inbound is the connections that are for one of the two. It is a net.Listener, and for Raft a
// raft.StreamLayer.
type inbound struct {
	wire  *wire
	conns chan net.Conn // greet sends, Accept receives; nobody closes it
}

var _ raft.StreamLayer = (*inbound)(nil)

func (i *inbound) Accept() (net.Conn, error) {
	select {
	case conn := <-i.conns:
		return conn, nil
	case <-i.wire.ctx.Done():
		return nil, net.ErrClosed
	}
}

func (i *inbound) Close() error   { return i.wire.close() }
func (i *inbound) Addr() net.Addr { return i.wire.address }

func (i *inbound) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return i.wire.dial(ctx, string(address), forRaft)
}

// advertised is the address at which others reach the node.
type advertised string

func (advertised) Network() string  { return "tcp" }
func (a advertised) String() string { return string(a) }
