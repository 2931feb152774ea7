package replica

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"lsmdb/db"
)

// TestStartFails sees that a node that cannot start says why, and leaves nothing open.
func TestStartFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wrong := quick(t)
	wrong.HeartbeatTimeout = 0
	twice := []Member{{"a", "127.0.0.1:1"}, {"a", "127.0.0.1:2"}}
	for name, c := range map[string]Config{
		"no ID":          {Dir: dir},
		"no Dir":         {ID: "a"},
		"a file":         {ID: "a", Dir: file},
		"a taken port":   {ID: "a", Dir: dir, Listen: taken.Addr().String()},
		"no address":     {ID: "a", Dir: dir, Listen: "0.0.0.0:0"},
		"wrong timeouts": {ID: "a", Dir: dir, Raft: wrong},
		"members twice":  {ID: "a", Dir: dir, Members: twice},
		"wrong options":  {ID: "a", Dir: dir, DB: &db.Options{InMemory: true}},
	} {
		if n, err := Start(context.Background(), c); err == nil {
			t.Errorf("%s: it starts", name)
			n.Close()
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Start(ctx, Config{ID: "a", Dir: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("when ctx has ended: %v", err)
	}
	n, err := Start(context.Background(), Config{ID: "a", Dir: dir, Raft: quick(t)}) // nobody holds it
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Start(context.Background(), Config{ID: "a", Dir: dir}); !errors.Is(err, db.ErrLocked) {
		t.Errorf("a second time: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if err := n.Apply(within(t), NewCommand()); !errors.Is(err, db.ErrClosed) {
		t.Errorf("a write when it is closed: %v", err)
	}
	if _, err := n.Get(within(t), nil, Stale); !errors.Is(err, db.ErrClosed) {
		t.Errorf("a read when it is closed: %v", err)
	}
}

// TestFailedNode sees that a leader whose state machine has failed leaves the lead to others.
func TestFailedNode(t *testing.T) {
	c := newTrio(t, nil)
	at, leader := c.leader()
	put(t, leader, "k", "1")
	broken := errors.New("the disk is broken")
	leader.fsm.fail(broken)
	<-leader.Failed()
	if err := leader.Apply(within(t), NewCommand()); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a write through a node that has failed: %v", err)
	}
	if leader.Status().Failure == "" {
		t.Error("its status does not say that it has failed")
	}
	c.stop(at)
	_, next := c.leader()
	put(t, next, "k", "2")
	n := c.start(at) // it goes on where it was
	holds(t, n, "k", "2")
}

// TestValuesEnd sees that a value ends for all who read from now on, though nobody writes.
func TestValuesEnd(t *testing.T) {
	c := newTrio(t, nil)
	_, leader := c.leader()
	until := time.Now().Add(500 * time.Millisecond)
	if err := leader.Apply(within(t), NewCommand().PutUntil([]byte("k"), []byte("v"), until).PutUntil([]byte("later"), []byte("v"), until.Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	if _, err := leader.Get(within(t), []byte("k")); err != nil && time.Now().Before(until) {
		t.Errorf("before its end: %v", err)
	}
	for !time.Now().After(until) {
		time.Sleep(time.Millisecond)
	}
	_, leader = c.leader()
	if got, err := leader.Get(within(t), []byte("k")); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("after its end: %q, %v", got, err)
	}
	for _, n := range c.nodes {
		holds(t, n, "k", "") // that it has ended has come to all
		holds(t, n, "later", "v")
	}
	if leader.fsm.tick(until) || !leader.fsm.tick(until.Add(time.Minute)) {
		t.Error("the clock is moved on while values end, and only then")
	}
}
