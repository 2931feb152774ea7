//go:build unix

package soak

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"lsmdb/ext/replica"
)

// cluster is three processes and the cables between them.
type cluster struct {
	t      *testing.T
	nodes  []*process
	cables [][]*cable // from, to
}

// process is a node.
type process struct {
	config childConfig
	log    string
	cmd    *exec.Cmd
	stdin  io.Closer
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{t: t}
	dir := t.TempDir()
	var members []replica.Member
	for i := range 3 {
		members = append(members, replica.Member{ID: string(rune('a' + i)), Address: freeAddress(t)})
	}
	for i, m := range members {
		cables, dial := make([]*cable, 3), map[string]string{}
		for j, other := range members {
			if i != j {
				cables[j] = lay(t, other.Address)
				dial[other.Address] = cables[j].listener.Addr().String()
			}
		}
		c.cables = append(c.cables, cables)
		c.nodes = append(c.nodes, &process{log: filepath.Join(dir, m.ID+".log"), config: childConfig{
			ID: m.ID, Dir: filepath.Join(dir, m.ID), Listen: m.Address, HTTP: freeAddress(t), Members: members, Cables: dial,
		}})
	}
	t.Cleanup(func() {
		for _, n := range c.nodes {
			c.kill(n)
			if t.Failed() {
				text, _ := os.ReadFile(n.log)
				t.Logf("node %s wrote at last:\n%s", n.config.ID, text[max(0, len(text)-3000):])
			}
		}
	})
	for _, n := range c.nodes {
		c.start(n)
	}
	return c
}

func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start starts a node.
func (c *cluster) start(n *process) {
	text, err := json.Marshal(n.config)
	if err != nil {
		c.t.Error(err)
		return
	}
	log, err := os.OpenFile(n.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		c.t.Error(err)
		return
	}
	defer log.Close()
	n.cmd = exec.Command(os.Args[0])
	n.cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	n.cmd.Stdout, n.cmd.Stderr = log, log
	if n.stdin, err = n.cmd.StdinPipe(); err == nil {
		err = n.cmd.Start()
	}
	if err != nil {
		c.t.Error(err)
	}
}

// kill is kill -9, and waits until the process is gone.
func (c *cluster) kill(n *process) {
	if n.cmd == nil || n.cmd.Process == nil {
		return
	}
	_ = n.cmd.Process.Kill() // it may be gone
	_ = n.cmd.Wait()         // "signal: killed"
	n.cmd = nil
}

func (c *cluster) signal(n *process, s syscall.Signal) {
	if err := n.cmd.Process.Signal(s); err != nil {
		c.t.Errorf("node %s: %v", n.config.ID, err)
	}
}

// each calls do for the cables of a node, in both directions.
func (c *cluster) each(node int, do func(*cable)) {
	for other := range c.nodes {
		if other != node {
			do(c.cables[node][other])
			do(c.cables[other][node])
		}
	}
}

// patience is how long a request may take.
const patience = 1500 * time.Millisecond

// client sends no request twice: bodies cannot be read again, and those that have none are reads.
var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: patience + 500*time.Millisecond}

// notSent is the status where nobody listens.
const notSent = -1

// ask sends a request to a node. A status of 0 means that there is no answer.
func (c *cluster) ask(method string, node int, path string, body []byte) (answer []byte, status int) {
	ctx, cancel := context.WithTimeout(context.Background(), client.Timeout)
	defer cancel()
	var content io.Reader
	if body != nil {
		content = io.NopCloser(bytes.NewReader(body))
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+c.nodes[node].config.HTTP+path, content)
	if err != nil {
		c.t.Error(err)
		return nil, 0
	}
	response, err := client.Do(request)
	if dial := new(net.OpError); errors.As(err, &dial) && dial.Op == "dial" {
		return nil, notSent
	}
	if err != nil {
		return nil, 0
	}
	defer response.Body.Close()
	if answer, err = io.ReadAll(response.Body); err != nil {
		return nil, 0
	}
	return answer, response.StatusCode
}

// status asks a node what it knows; nil: it does not answer.
func (c *cluster) status(node int) *replica.Status {
	answer, status := c.ask(http.MethodGet, node, "/status", nil)
	var s replica.Status
	if status != http.StatusOK || json.Unmarshal(answer, &s) != nil {
		return nil
	}
	return &s
}

// leader guesses who leads.
func (c *cluster) leader() int {
	for i := range c.nodes {
		if s := c.status(i); s != nil && s.State == "Leader" {
			return i
		}
	}
	return 0
}

// settle waits until all three nodes have applied the same, and returns what each of them holds.
func (c *cluster) settle() []string {
	deadline := time.Now().Add(3 * time.Minute)
	for {
		var applied []uint64
		var contents []string
		for i := range c.nodes {
			s := c.status(i)
			answer, status := c.ask(http.MethodGet, i, "/kv?limit=10000", nil)
			if s != nil && status == http.StatusOK && s.Leader != "" && s.Applied > 0 {
				applied = append(applied, s.Applied)
				contents = append(contents, string(answer))
			}
		}
		if len(applied) == 3 && applied[0] == applied[1] && applied[1] == applied[2] {
			return contents
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("the nodes do not come together: they have applied %d", applied)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
