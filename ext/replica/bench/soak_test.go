package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/metrics"
	"github.com/hashicorp/raft-wal/verifier"

	"lsmdb/db"
	"lsmdb/db/dbtest"
	"lsmdb/ext/replica/raftlog"
	"lsmdb/internal/tests/fixture"
)

var (
	soakCommands = flag.Int("soak.commands", 400, "how many commands the soak applies")
	soakSeed     = flag.Uint64("soak.seed", 1, "what chooses its troubles")
)

const members = 3

// checkpoint is the command after which the verifiers compare what they have read with what the
// leader has written.
var checkpoint = []byte("checkpoint")

// cluster is three nodes in one process, each on a computer of its own.
type cluster struct {
	t        *testing.T
	rng      *rand.Rand
	nodes    [members]*member
	applied  [][]byte // commands that were acknowledged
	verified atomic.Int64
	missed   atomic.Int64 // ranges that a node did not have as a whole

	mu   sync.Mutex // verifiers report at any time
	cuts []verifier.LogRange
}

// cutter tells the cluster where the end of a log was removed. The verifier does not notice that:
// what was removed stays in its sum, and in the one that it sends if its node leads. So a range with
// a cut has a wrong sum, on all nodes, whatever the stores do.
type cutter struct {
	*verifier.LogStore
	cluster *cluster
}

func (s *cutter) DeleteRange(from, to uint64) error {
	if last, err := s.LastIndex(); err != nil || to >= last {
		s.cluster.mu.Lock()
		s.cluster.cuts = append(s.cluster.cuts, verifier.LogRange{Start: from, End: to + 1})
		s.cluster.mu.Unlock()
	}
	return s.LogStore.DeleteRange(from, to)
}

// isCut reports whether the end of some node's log was removed within a range.
func (c *cluster) isCut(r verifier.LogRange) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.cuts, func(cut verifier.LogRange) bool { return cut.Start < r.End && r.Start < cut.End })
}

// member is one node.
type member struct {
	name      raft.ServerID
	db        *db.DB
	snapshots *raft.InmemSnapshotStore
	raft      *raft.Raft
	fsm       *raft.MockFSM
	transport *raft.InmemTransport
	verifier  *cutter
	stopping  *atomic.Bool // what its verifier reports from now on is of a store that is closed
	cutOff    bool
}

// TestSoak has the verifier of raft-wal look at the logs of three nodes that lose their power,
// their network and their leader, and take snapshots. It compares what each has stored, and
// reads back, with what the leader was given.
//
//	go test . -run '^TestSoak$' -v -timeout 0 -soak.commands 200000
func TestSoak(t *testing.T) {
	c := &cluster{t: t, rng: rand.New(rand.NewPCG(*soakSeed, 6))}
	for i := range c.nodes {
		c.nodes[i] = &member{
			name:      raft.ServerID(fmt.Sprint("node", i)),
			db:        dbtest.Open(t, &db.Options{MemtableBytes: 64 << 10, Durability: db.Queued}),
			snapshots: raft.NewInmemSnapshotStore(),
		}
	}
	for i := range c.nodes {
		c.start(i, true)
	}
	defer func() {
		for i := range c.nodes {
			c.stop(i)
		}
	}()
	for len(c.applied) < *soakCommands && !t.Failed() {
		for range 10 {
			command := fmt.Appendf(nil, "%d:%s", len(c.applied), bytes.Repeat([]byte("x"), c.rng.IntN(2000)))
			c.apply(command)
			c.applied = append(c.applied, command)
		}
		c.apply(checkpoint)
		c.trouble()
	}
	c.heal()
	before := c.verified.Load()
	c.apply(checkpoint)
	c.apply(checkpoint) // the range between both is whole on every node
	for i := range c.nodes {
		c.agree(i)
	}
	c.wait("reports of the last ranges", func() bool { return c.verified.Load() >= before+members })
	t.Logf("%d commands, %d ranges verified, %d not there as a whole", len(c.applied), c.verified.Load(), c.missed.Load())
}

// start starts a node on what its disk holds.
func (c *cluster) start(i int, bootstrap bool) {
	c.t.Helper()
	m := c.nodes[i]
	s, err := raftlog.StoreIn(m.db, []byte("group/"))
	fixture.Must(c.t, err)
	stopping := new(atomic.Bool)
	isCheckpoint := func(l *raft.Log) (bool, error) {
		return l.Type == raft.LogCommand && bytes.Equal(l.Data, checkpoint), nil
	}
	m.stopping = stopping
	m.verifier = &cutter{verifier.NewLogStore(s, isCheckpoint, func(r verifier.VerificationReport) { c.report(m.name, s, stopping, r) }, &metrics.NoOpCollector{}), c}
	m.fsm = new(raft.MockFSM)
	_, m.transport = raft.NewInmemTransport(raft.ServerAddress(m.name))
	config := raft.DefaultConfig()
	config.LocalID, config.LogOutput, config.LogLevel = m.name, io.Discard, "off"
	config.HeartbeatTimeout, config.ElectionTimeout, config.LeaderLeaseTimeout = 300*time.Millisecond, 300*time.Millisecond, 300*time.Millisecond
	config.CommitTimeout, config.TrailingLogs, config.SnapshotThreshold = 5*time.Millisecond, 60, 1<<40
	config.MaxAppendEntries = 16
	if bootstrap {
		var founders raft.Configuration
		for _, other := range c.nodes {
			founders.Servers = append(founders.Servers, raft.Server{ID: other.name, Address: raft.ServerAddress(other.name)})
		}
		fixture.Must(c.t, raft.BootstrapCluster(config, m.verifier, s, m.snapshots, m.transport, founders))
	}
	m.raft, err = raft.NewRaft(config, m.fsm, m.verifier, s, m.snapshots, m.transport)
	fixture.Must(c.t, err)
	c.connect(i)
}

// stop ends a node.
func (c *cluster) stop(i int) {
	c.t.Helper()
	m := c.nodes[i]
	m.stopping.Store(true)
	c.disconnect(i)
	fixture.Must(c.t, m.raft.Shutdown().Error())
	fixture.Must(c.t, m.transport.Close())
	fixture.Must(c.t, m.verifier.Close())
}

// report judges what a verifier has found. It may be that a node has not the whole range, as it
// was trimmed, or came with a snapshot; and see cutter.
func (c *cluster) report(name raft.ServerID, s *raftlog.Store, stopping *atomic.Bool, r verifier.VerificationReport) {
	switch {
	case stopping.Load():
	case errors.Is(r.Err, verifier.ErrRangeMismatch), r.Err != nil && c.isCut(r.Range):
		c.missed.Add(1)
	case r.Err != nil:
		switch first, err := s.FirstIndex(); {
		case errors.Is(r.Err, raft.ErrLogNotFound) && first > r.Range.Start: // trimmed meanwhile
			c.missed.Add(1)
		case err == nil: // or it was closed meanwhile
			c.t.Errorf("%s: range %s: %v", name, r.Range, r.Err)
		}
	default:
		c.verified.Add(1)
	}
}

func (c *cluster) connect(i int) {
	m := c.nodes[i]
	m.cutOff = false
	for j, other := range c.nodes {
		if j != i && other.raft != nil && !other.cutOff {
			m.transport.Connect(raft.ServerAddress(other.name), other.transport)
			other.transport.Connect(raft.ServerAddress(m.name), m.transport)
		}
	}
}

func (c *cluster) disconnect(i int) {
	m := c.nodes[i]
	m.cutOff = true
	m.transport.DisconnectAll()
	for j, other := range c.nodes {
		if j != i {
			other.transport.Disconnect(raft.ServerAddress(m.name))
		}
	}
}

// heal connects those that are cut off.
func (c *cluster) heal() {
	for i, m := range c.nodes {
		if m.cutOff {
			c.connect(i)
		}
	}
}

// trouble lets something happen to some node.
func (c *cluster) trouble() {
	c.t.Helper()
	i := c.rng.IntN(members)
	m := c.nodes[i]
	switch c.rng.IntN(6) {
	case 0: // the power fails
		c.heal()
		c.stop(i)
		before := m.db
		m.db = dbtest.Crash(c.t, before)
		fixture.Must(c.t, before.Close())
		c.start(i, false)
	case 1: // the log is trimmed
		if err := m.raft.Snapshot().Error(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
			c.t.Error(err)
		}
	case 2: // one is cut off; if it leads, it stores entries that it must give up
		c.heal()
		m.raft.Apply([]byte("perhaps"), 0)
		c.disconnect(i)
		for range 3 {
			m.raft.Apply([]byte("perhaps"), 0)
		}
	case 3:
		c.heal()
		_ = m.raft.LeadershipTransfer().Error() // only a leader can
	case 4:
		c.heal()
	}
}

// apply has a command acknowledged, however often the leader changes meanwhile.
func (c *cluster) apply(command []byte) {
	c.t.Helper()
	c.wait("a leader that applies", func() bool {
		for _, m := range c.nodes {
			if m.raft.State() == raft.Leader && !m.cutOff && m.raft.Apply(command, 0).Error() == nil {
				return true
			}
		}
		return false
	})
}

// agree waits until a node has applied all commands that were acknowledged, in order, each perhaps
// more than once: who is told of a failure tries again.
func (c *cluster) agree(i int) {
	c.t.Helper()
	c.wait("the same commands everywhere", func() bool {
		logs := slices.DeleteFunc(slices.Clone(c.nodes[i].fsm.Logs()), func(command []byte) bool {
			return bytes.Equal(command, checkpoint) || string(command) == "perhaps"
		})
		return slices.EqualFunc(slices.CompactFunc(logs, bytes.Equal), c.applied, bytes.Equal)
	})
}

// wait waits until a condition holds, or the test has failed: then it may never hold.
func (c *cluster) wait(what string, holds func() bool) {
	c.t.Helper()
	told := false
	for began := time.Now(); !c.t.Failed() && !holds(); time.Sleep(time.Millisecond) {
		if !told && time.Since(began) > time.Minute {
			told = true
			c.t.Logf("still waiting for %s", what) // until the test's own time is over
		}
	}
}
