package replica

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"
	"time"
)

// authority signs certificates of nodes.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pool        *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, pool: x509.NewCertPool()}
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.certificate)
	return a
}

// config is that of a node with a certificate for 127.0.0.1, or that of somebody without one.
func (a *authority) config(t *testing.T, certified bool) *tls.Config {
	t.Helper()
	c := &tls.Config{RootCAs: a.pool}
	if !certified {
		return c
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "node"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	c.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	return c
}

// TestTLS runs three nodes that talk by TLS, and lets strangers knock.
func TestTLS(t *testing.T) {
	a := newAuthority(t)
	c := newTrio(t, func(config *Config) { config.TLS = a.config(t, true) })
	at, leader := c.leader()
	_, follower := c.follower(at)
	put(t, follower, "k", "v") // Raft, and the forwarding
	for _, n := range c.nodes {
		holds(t, n, "k", "v")
	}
	other := newAuthority(t)
	foreign := other.config(t, true)
	foreign.RootCAs = a.pool
	for name, config := range map[string]*tls.Config{"no certificate": a.config(t, false), "a foreign certificate": foreign, "no TLS": nil} {
		t.Run(name, func(t *testing.T) {
			for _, to := range []byte{forRaft, forPeer} {
				if got := knock(t, leader.Address(), config, to); len(got) > 0 {
					t.Errorf("is answered %q", got)
				}
			}
		})
	}
	if got := knock(t, leader.Address(), a.config(t, true), forPeer); string(got) != "HTTP" {
		t.Errorf("a node's certificate is answered %q", got)
	}
	// The other way round: a node does not talk to somebody with a foreign certificate.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	heard := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			defer conn.Close()
			_, err = tls.Server(conn, other.config(t, true)).Read(make([]byte, 1))
		}
		heard <- err
	}()
	if _, err := leader.wire.dial(t.Context(), l.Addr().String(), forPeer); err == nil {
		t.Error("a node talks to a stranger")
	}
	if err := <-heard; err == nil {
		t.Error("a stranger hears a node")
	}
}

// knock asks for a node's term as its peers do, and returns the first four bytes of the answer.
func knock(t *testing.T, address string, config *tls.Config, to byte) []byte {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if config != nil {
		config = config.Clone()
		config.ServerName = "127.0.0.1"
		conn = tls.Client(conn, config)
	}
	_, _ = conn.Write([]byte{to})
	if to == forPeer {
		_, _ = io.WriteString(conn, "GET /term HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	} else {
		_, _ = conn.Write(make([]byte, 100))
	}
	answer := make([]byte, 4)
	n, err := io.ReadFull(conn, answer)
	if errors.As(err, new(net.Error)) && err.(net.Error).Timeout() {
		t.Error("the connection stays")
	}
	if answer[0] == 21 { // a TLS alert, to one who speaks no TLS
		return nil
	}
	return answer[:n]
}

// TestStrangers sees that what does not say for whom it is, is closed, and that a node that is
// closed lets go of who is connected.
func TestStrangers(t *testing.T) {
	w, err := listen("127.0.0.1:0", "", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", w.address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte{'x'}); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("a stranger is answered")
	}
	silent, err := net.Dial("tcp", w.address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	waiting, err := net.Dial("tcp", w.address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	if _, err := waiting.Write([]byte{forPeer}); err != nil { // whom nobody accepts
		t.Fatal(err)
	}
	if err := w.close(); err != nil {
		t.Error(err)
	}
	for _, c := range []net.Conn{silent, waiting} {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a closed node answers")
		}
	}
	if _, err := w.peer.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	if _, err := listen("0.0.0.0:0", "", nil, nil); err == nil {
		t.Error("a node listens where nobody knows its address")
	}
	if w, err := listen("0.0.0.0:0", "127.0.0.1:7", nil, nil); err != nil {
		t.Error(err)
	} else if w.close(); w.address != "127.0.0.1:7" {
		t.Errorf("the address is %s", w.address)
	}
}
