package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"lsmdb/ext/replica"
)

// cluster is three nodes, each a process.
type cluster struct {
	nodes  []*node
	client *http.Client
}

type node struct {
	id          string
	peer, http  string // addresses
	dir, errors string
	arguments   []string
	process     *exec.Cmd
	gone        chan struct{} // closed when the process has ended
}

// newCluster chooses addresses, and starts nothing.
func newCluster(dir string) (*cluster, error) {
	c := &cluster{client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}, Timeout: 15 * time.Second}}
	for _, id := range []string{"a", "b", "c"} {
		addresses, err := freeAddresses(2)
		if err != nil {
			return nil, err
		}
		c.nodes = append(c.nodes, &node{id: id, peer: addresses[0], http: addresses[1], dir: filepath.Join(dir, id), errors: filepath.Join(dir, id+".log")})
	}
	for _, n := range c.nodes {
		n.arguments = []string{"serve", "--id", n.id, "--dir", n.dir, "--listen", n.peer, "--http", n.http, "--trailing-logs", "64", "--verbose"}
		for _, m := range c.nodes {
			n.arguments = append(n.arguments, "--member", m.id+"="+m.peer)
		}
	}
	return c, nil
}

// freeAddresses finds ports of this machine that nobody listens on.
func freeAddresses(count int) (addresses []string, err error) {
	for range count {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}

// start starts the process of a node.
func (n *node) start() error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(n.errors, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	n.process = exec.Command(program, n.arguments...)
	n.process.Stdout, n.process.Stderr = log, log
	if err := n.process.Start(); err != nil {
		return err
	}
	gone, process := make(chan struct{}), n.process
	n.gone = gone
	go func() {
		_ = process.Wait()
		close(gone)
	}()
	return nil
}

// kill ends the process at once, as kill -9 does, and waits until it is gone.
func (n *node) kill() {
	if n.process != nil && n.process.Process != nil {
		_ = n.process.Process.Kill() // it may have ended by itself
		<-n.gone
	}
}

// running tells whether the process is there.
func (n *node) running() bool {
	select {
	case <-n.gone:
		return false
	default:
		return true
	}
}

// status asks a node what it knows.
func (c *cluster) status(ctx context.Context, n *node) (s replica.Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	body, code, err := c.do(ctx, http.MethodGet, n, "/status", nil)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("node %s answered %d", n.id, code)
	}
	if err == nil {
		err = json.Unmarshal(body, &s)
	}
	return s, err
}

func (c *cluster) do(ctx context.Context, method string, n *node, path string, body []byte) ([]byte, int, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+n.http+path, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	response, err := c.client.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return answer, response.StatusCode, err
}

// put stores a file through a node, and returns nil when it is acknowledged.
func (c *cluster) put(ctx context.Context, n *node, f file) error {
	answer, code, err := c.do(ctx, http.MethodPut, n, keyPath(f.key)+"?timeout=3s", f.value)
	if err == nil && code != http.StatusNoContent {
		err = fmt.Errorf("node %s answered %d: %s", n.id, code, answer)
	}
	return err
}

func keyPath(key string) string {
	parts := strings.Split(key, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return "/kv/" + strings.Join(parts, "/")
}

// leader waits until a node says that it leads.
func (c *cluster) leader(ctx context.Context) (leader *node, err error) {
	err = c.await(ctx, "a leader is elected", func() (bool, error) {
		for _, n := range c.nodes {
			if !n.running() {
				continue
			}
			if s, err := c.status(ctx, n); err == nil && s.State == "Leader" {
				leader = n
				return true, nil
			}
		}
		return false, nil
	})
	return leader, err
}

// await asks again and again until something holds.
func (c *cluster) await(ctx context.Context, what string, holds func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		ok, err := holds()
		if ok || err != nil {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w%s", what, ctx.Err(), c.lastWords())
		}
	}
}

// lastWords is what the nodes wrote last, to tell what went wrong.
func (c *cluster) lastWords() string {
	var b strings.Builder
	for _, n := range c.nodes {
		text, _ := os.ReadFile(n.errors)
		if len(text) > 1000 {
			text = text[len(text)-1000:]
		}
		fmt.Fprintf(&b, "\nnode %s wrote:\n%s", n.id, text)
	}
	return b.String()
}

func (c *cluster) close() {
	for _, n := range c.nodes {
		n.kill()
	}
	c.client.CloseIdleConnections()
}
