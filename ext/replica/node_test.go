package replica

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"lsmdb/db"
)

// quick is a configuration of Raft for one process under the race detector.
func quick(t testing.TB) *raft.Config {
	c := raft.DefaultConfig()
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 800*time.Millisecond, 800*time.Millisecond, 800*time.Millisecond
	c.CommitTimeout = 5 * time.Millisecond
	c.SnapshotInterval, c.SnapshotThreshold, c.TrailingLogs = time.Hour, 1<<40, 10
	c.Logger = hclog.New(&hclog.LoggerOptions{Level: hclog.Off})
	return c
}

// trio is three nodes of one process.
type trio struct {
	t       testing.TB
	configs []Config
	nodes   []*Node
}

// newTrio starts three nodes. Edit may change their configurations.
func newTrio(t testing.TB, edit func(*Config)) *trio {
	t.Helper()
	c := &trio{t: t, nodes: make([]*Node, 3)}
	dir := t.TempDir()
	var members []Member
	for i := range 3 {
		members = append(members, Member{string(rune('a' + i)), freeAddress(t)})
	}
	for i, m := range members {
		config := Config{ID: m.ID, Dir: filepath.Join(dir, m.ID), Listen: m.Address, Members: members, Raft: quick(t), DB: small()}
		if edit != nil {
			edit(&config)
		}
		c.configs = append(c.configs, config)
		c.start(i)
	}
	t.Cleanup(func() {
		for i := range c.nodes {
			c.stop(i)
		}
	})
	return c
}

func freeAddress(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (c *trio) start(i int) *Node {
	c.t.Helper()
	n, err := Start(context.Background(), c.configs[i])
	if err != nil {
		c.t.Fatal(err)
	}
	c.nodes[i] = n
	return n
}

func (c *trio) stop(i int) {
	if c.nodes[i] == nil {
		return
	}
	if err := c.nodes[i].Close(); err != nil {
		c.t.Errorf("node %s: %v", c.configs[i].ID, err)
	}
	c.nodes[i] = nil
}

// leader waits until one of the running nodes leads, and answers a linearizable read.
func (c *trio) leader() (int, *Node) {
	c.t.Helper()
	for {
		for i, n := range c.nodes {
			if n == nil {
				continue
			}
			if _, err := n.Get(within(c.t), []byte("?")); err == nil || errors.Is(err, db.ErrNotFound) {
				return i, n
			}
		}
		if c.t.Context().Err() != nil {
			c.t.Fatal("no leader")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// follower returns a running node that is not the one given.
func (c *trio) follower(leader int) (int, *Node) {
	for i, n := range c.nodes {
		if n != nil && i != leader {
			return i, n
		}
	}
	c.t.Fatal("no follower")
	return 0, nil
}

// within is a context that ends long after what is waited for should have come.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// put stores a value through a node.
func put(t testing.TB, n *Node, key, value string) {
	t.Helper()
	apply(t, n, NewCommand().Put([]byte(key), []byte(value)))
}

// apply applies a command that may be applied twice: on a machine that is busy a leader may be lost.
func apply(t testing.TB, n *Node, c *Command) {
	t.Helper()
	for ctx := within(t); ; {
		err := n.Apply(ctx, c)
		if err == nil {
			return
		}
		if !errors.Is(err, ErrUncertain) || ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// holds waits until a node itself holds a value; an empty one is none.
func holds(t testing.TB, n *Node, key, value string) {
	t.Helper()
	for ctx := within(t); ; {
		got, err := n.Get(ctx, []byte(key), Stale)
		if err != nil && !errors.Is(err, db.ErrNotFound) {
			t.Fatal(err)
		}
		if string(got) == value {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("node %s has %q, and should have %q", n.id, got, value)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func TestNode(t *testing.T) {
	c := newTrio(t, nil)
	at, leader := c.leader()
	put(t, leader, "k", "1")
	if got, err := leader.Get(within(t), []byte("k")); err != nil || string(got) != "1" {
		t.Errorf("the leader reads %q, %v", got, err)
	}
	_, follower := c.follower(at)
	put(t, follower, "k", "2") // is forwarded
	if got, err := leader.Get(within(t), []byte("k")); err != nil || string(got) != "2" {
		t.Errorf("the leader reads %q, %v", got, err)
	}
	if _, err := follower.Get(within(t), []byte("k")); !errors.Is(err, ErrNotLeader) {
		t.Errorf("another node reads: %v", err)
	}
	if err := follower.View(within(t), func(*db.Snapshot) error { return nil }); !errors.Is(err, ErrNotLeader) {
		t.Errorf("View on another node: %v", err)
	}
	if got, err := follower.Get(within(t), []byte("k"), Forwarded); err != nil || string(got) != "2" {
		t.Errorf("another node asks the leader and reads %q, %v", got, err)
	}
	if _, err := follower.Get(within(t), []byte("none"), Forwarded); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("another node asks the leader for nothing: %v", err)
	}
	for _, n := range c.nodes {
		holds(t, n, "k", "2")
		err := n.View(within(t), func(s *db.Snapshot) error {
			_, err := s.Get([]byte("k"))
			return err
		}, Stale)
		if err != nil {
			t.Error(err)
		}
	}
	status := follower.Status()
	if status.State != "Follower" || status.Leader != leader.id || len(status.Members) != 3 || status.ID != follower.id || status.Failure != "" {
		t.Errorf("status: %+v", status)
	}
}

// TestUpdate runs transactions that read and write the same keys on all nodes at once: each
// must have the effect that it has alone.
func TestUpdate(t *testing.T) {
	c := newTrio(t, nil)
	c.leader()
	const each = 15
	var acknowledged, uncertain atomic.Int64 // on a machine that is busy, a leader may be lost
	var work sync.WaitGroup
	for _, n := range c.nodes {
		for range 2 {
			work.Go(func() {
				for range each {
					err := n.Update(within(t), func(tx *Tx) error {
						value, err := tx.Get([]byte("count"))
						if err != nil && !errors.Is(err, db.ErrNotFound) {
							return err
						}
						count, _ := strconv.Atoi(string(value))
						return tx.Put([]byte("count"), strconv.AppendInt(nil, int64(count+1), 10))
					})
					switch {
					case err == nil:
						acknowledged.Add(1)
					case errors.Is(err, ErrUncertain):
						uncertain.Add(1)
					default:
						t.Error(err)
					}
				}
			})
		}
	}
	work.Wait()
	_, leader := c.leader()
	got, err := leader.Get(within(t), []byte("count"))
	if count, _ := strconv.ParseInt(string(got), 10, 64); err != nil || count < acknowledged.Load() || count > acknowledged.Load()+uncertain.Load() {
		t.Errorf("%d transactions and perhaps %d more counted to %s, %v", acknowledged.Load(), uncertain.Load(), got, err)
	}
}

func TestTransaction(t *testing.T) {
	c := newTrio(t, nil)
	_, n := c.leader()
	put(t, n, "a", "1")
	put(t, n, "b", "2")
	own := errors.New("of its own")
	runs := 0
	err := n.Update(within(t), func(tx *Tx) error {
		runs++
		get := func(key, want string) {
			t.Helper()
			if got, err := tx.Get([]byte(key)); string(got) != want || (err != nil) != (want == "") || err != nil && !errors.Is(err, db.ErrNotFound) {
				t.Errorf("%s is %q, %v, and should be %q", key, got, err, want)
			}
		}
		get("a", "1")
		if runs == 1 {
			get("none", "")
		}
		tx.Put([]byte("a"), []byte("3"))
		get("a", "3")
		tx.Delete([]byte("a"))
		get("a", "")
		tx.Put([]byte("c"), []byte("4"))
		tx.DeleteRange([]byte("b"), nil)
		get("b", "")
		get("c", "")
		tx.PutUntil([]byte("d"), []byte("5"), time.Now().Add(time.Hour))
		get("d", "5")
		tx.PutUntil([]byte("e"), []byte("6"), time.Now().Add(-time.Hour))
		get("e", "")
		if runs == 1 { // somebody else writes what was read
			put(t, n, "none", "")
			put(t, n, "none2", "x")
		}
		if runs == 1 {
			return nil
		}
		return own
	})
	// The value of "none" is there now, though it is empty.
	if !errors.Is(err, own) || runs != 2 {
		t.Errorf("%v after %d runs", err, runs)
	}
	if got, err := n.Get(within(t), []byte("a")); string(got) != "1" || err != nil {
		t.Errorf("a transaction that failed left %q, %v", got, err)
	}
	// One that only reads is as of now, too.
	if err := n.Update(within(t), func(tx *Tx) error { _, err := tx.Get([]byte("a")); return err }); err != nil {
		t.Error(err)
	}
	var kept *Tx
	err = n.Update(within(t), func(tx *Tx) error {
		kept = tx
		if err := tx.Put(make([]byte, db.MaxKeyBytes), nil); !errors.Is(err, db.ErrKeyTooLarge) {
			t.Errorf("a long key: %v", err)
		}
		return nil
	})
	if !errors.Is(err, db.ErrKeyTooLarge) {
		t.Errorf("a transaction with a long key: %v", err)
	}
	if _, err := kept.Get(nil); !errors.Is(err, db.ErrClosed) {
		t.Errorf("a transaction that ended: %v", err)
	}
	// Expectations, and no second try.
	if err := n.Apply(within(t), NewCommand().Expect([]byte("a"), []byte("0")).Put([]byte("a"), nil)); !errors.Is(err, ErrMismatch) {
		t.Errorf("a wrong expectation: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	err = n.Update(ctx, func(tx *Tx) error {
		if _, err := tx.Get([]byte("a")); err != nil {
			return err
		}
		put(t, n, "a", time.Now().String())
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("when ctx has ended: %v", err)
	}
}

// TestNoMajority sees that a node that is alone acknowledges nothing and reads nothing but what it
// holds, and says why.
func TestNoMajority(t *testing.T) {
	c := newTrio(t, nil)
	at, leader := c.leader()
	put(t, leader, "k", "1")
	for i := range c.nodes {
		if i != at {
			c.stop(i)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	before := leader.raft.LastIndex()
	err := leader.Update(ctx, func(tx *Tx) error { return tx.Put([]byte("k"), []byte("2")) })
	if logged := leader.raft.LastIndex() > before; logged && !errors.Is(err, ErrUncertain) || !logged && !errors.Is(err, ErrNotLeader) {
		t.Errorf("a write without a majority, in the log: %v: %v", logged, err)
	}
	if _, err := leader.Get(within(t), []byte("k")); !errors.Is(err, ErrNotLeader) {
		t.Errorf("a read without a majority: %v", err)
	}
	if _, err := leader.Get(within(t), []byte("k"), Stale); err != nil {
		t.Errorf("a stale read: %v", err)
	}
	brief, end := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer end()
	if _, err := leader.Get(brief, []byte("k"), Forwarded); !errors.Is(err, ErrNotLeader) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a read when there is nobody to forward it to: %v", err)
	}
	ctx, cancel = context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	for leader.raft.State() == raft.Leader {
		time.Sleep(time.Millisecond)
	}
	err = leader.Update(ctx, func(tx *Tx) error { return tx.Put([]byte("k"), []byte("3")) })
	if !errors.Is(err, ErrNotLeader) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a write when nobody leads: %v", err)
	}
}

// TestMembers adds a node, which catches up, and takes the leader out.
func TestMembers(t *testing.T) {
	c := newTrio(t, nil)
	at, leader := c.leader()
	put(t, leader, "k", "1")
	c.configs, c.nodes = append(c.configs, Config{ID: "d", Dir: t.TempDir(), Raft: quick(t), DB: small()}), append(c.nodes, nil)
	d := c.start(3)
	if _, err := d.Get(within(t), []byte("k")); !errors.Is(err, ErrNotLeader) {
		t.Errorf("a node of no cluster reads: %v", err)
	}
	_, follower := c.follower(at)
	if err := follower.Join(within(t), Member{"d", d.Address()}); err != nil {
		t.Fatal(err)
	}
	holds(t, d, "k", "1")
	if err := follower.Join(within(t), Member{ID: "e"}); err == nil {
		t.Error("a member without an address joins")
	}
	if err := leader.Leave(within(t)); err != nil {
		t.Fatal(err)
	}
	c.stop(at)
	_, next := c.leader()
	if len(next.Status().Members) != 3 {
		t.Errorf("after the leader left: %+v", next.Status())
	}
	put(t, d, "k", "2")
	holds(t, next, "k", "2")
}

// TestCatchUp lets a node miss more than the log keeps: it gets a checkpoint, while the others go on.
func TestCatchUp(t *testing.T) {
	c := newTrio(t, nil)
	at, leader := c.leader()
	down, _ := c.follower(at)
	put(t, leader, "k-before", "1")
	c.stop(down)
	for i := range 60 {
		put(t, leader, fmt.Sprintf("k-%d", i), "v")
	}
	if err := leader.Snapshot(); err != nil {
		t.Fatal(err)
	}
	put(t, leader, "last", "v")
	n := c.start(down)
	holds(t, n, "last", "v")
	holds(t, n, "k-59", "v")
	holds(t, n, "k-before", "1")
	if n.Status().Restored == 0 {
		t.Error("it caught up, but not from a checkpoint")
	}
	// It starts again from its own state, not from the checkpoint.
	c.stop(down)
	n = c.start(down)
	holds(t, n, "last", "v")
	if got := n.Status().Restored; got != 1 {
		t.Errorf("after a start, %d snapshots were restored", got)
	}
}

// TestSnapshotThatWasNeverRestored starts a node that was killed between receiving a snapshot and
// restoring it. Its log and its snapshot are ahead of its state, which must not be believed
// to hold what they hold.
func TestSnapshotThatWasNeverRestored(t *testing.T) {
	c := newTrio(t, nil)
	at, leader := c.leader()
	down, n := c.follower(at)
	put(t, leader, "k", "1")
	holds(t, n, "k", "1")
	c.stop(down)
	for i := range 60 {
		put(t, leader, fmt.Sprintf("k-%d", i), "v")
	}
	if err := leader.Snapshot(); err != nil {
		t.Fatal(err)
	}
	// What Raft does when it receives one, up to where the process is killed.
	newest, err := raft.NewFileSnapshotStoreWithLogger(c.configs[at].Dir, 2, quick(t).Logger)
	if err != nil {
		t.Fatal(err)
	}
	list, err := newest.List()
	if err != nil || len(list) == 0 {
		t.Fatal(err)
	}
	copySnapshot(t, c.configs[at].Dir, c.configs[down].Dir, list[0].ID)
	for i := range c.nodes {
		c.stop(i)
	}
	// Alone it elects nobody, so nothing comes from others: it must know by itself.
	n = c.start(down)
	holds(t, n, "k-59", "v")
	if n.Status().Restored != 1 {
		t.Error("the snapshot was not restored")
	}
}
