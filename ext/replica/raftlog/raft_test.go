package raftlog_test

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"lsmdb/db/dbtest"
	"lsmdb/ext/replica/raftlog"
	"lsmdb/internal/tests/fixture"
)

// node is a Raft node alone.
type node struct {
	*raft.Raft
	fsm *raft.MockFSM
}

func startNode(t *testing.T, s *raftlog.Store, snapshots raft.SnapshotStore, timeout time.Duration, bootstrap bool) *node {
	t.Helper()
	config := raft.DefaultConfig()
	config.LocalID, config.LogOutput, config.RestoreCommittedLogs = "alone", io.Discard, true
	config.HeartbeatTimeout, config.ElectionTimeout, config.LeaderLeaseTimeout = timeout, timeout, timeout
	config.TrailingLogs = 5 // as the test below expects
	address, transport := raft.NewInmemTransport("alone")
	if bootstrap {
		fixture.Must(t, raft.BootstrapCluster(config, s, s, snapshots, transport, raft.Configuration{Servers: []raft.Server{{ID: config.LocalID, Address: address}}}))
	}
	n := &node{fsm: &raft.MockFSM{}}
	var err error
	n.Raft, err = raft.NewRaft(config, n.fsm, s, s, snapshots, transport)
	fixture.Must(t, err)
	t.Cleanup(func() { fixture.Must(t, n.Shutdown().Error()) })
	return n
}

// wait waits until the state machine has so many commands, and compares them.
func (n *node) wait(t *testing.T, commands int) {
	t.Helper()
	for len(n.fsm.Logs()) < commands {
		time.Sleep(time.Millisecond)
	}
	for i, command := range n.fsm.Logs()[:commands] {
		if want := fmt.Sprint("command ", i); string(command) != want {
			t.Errorf("%s, want %s", command, want)
		}
	}
}

// lead waits until the node leads.
func (n *node) lead() {
	for n.State() != raft.Leader {
		time.Sleep(time.Millisecond)
	}
}

// TestNodeComesBack: a node whose power has failed has its log and its term again. What it
// knew to be committed is applied before anybody is elected. A snapshot trims the log.
func TestNodeComesBack(t *testing.T) {
	const commands, trailing = 40, 5
	snapshots := raft.NewInmemSnapshotStore()
	d := dbtest.Open(t)
	s := storeIn(t, d, "x")
	n := startNode(t, s, snapshots, 20*time.Millisecond, true)
	n.lead()
	for i := range commands {
		fixture.Must(t, n.Apply(fmt.Append(nil, "command ", i), 0).Error())
		if i == commands/2 { // raft v1.8.0 forgets who is a member if no snapshot has it: see StageCommitIndex
			fixture.Must(t, n.Snapshot().Error())
			last := n.LastIndex()
			wantBounds(t, s, last-trailing+1, last)
		}
	}
	n.wait(t, commands)
	term, last := n.Stats()["term"], n.LastIndex()

	d = dbtest.Crash(t, d)
	again := startNode(t, storeIn(t, d, "x"), snapshots, time.Hour, false)
	again.wait(t, commands-1) // that the last one was committed was not written any more
	if got := again.Stats()["term"]; got != term || again.LastIndex() != last {
		t.Errorf("term %s, last index %d, want %s, %d", got, again.LastIndex(), term, last)
	}

	d = dbtest.Crash(t, d)
	s = storeIn(t, d, "x")
	elected := startNode(t, s, snapshots, 20*time.Millisecond, false)
	elected.wait(t, commands)
	elected.lead()
	snapshot := elected.Snapshot()
	fixture.Must(t, snapshot.Error())
	last = elected.LastIndex()
	wantBounds(t, s, last-trailing+1, last)

	// A snapshot that an operator restores replaces the log: nothing of the old one stays.
	meta, reader, err := snapshot.Open()
	fixture.Must(t, err)
	defer reader.Close()
	fixture.Must(t, elected.Restore(meta, reader, 0))
	first, err := s.FirstIndex()
	fixture.Must(t, err)
	if first <= last {
		t.Errorf("the log begins with %d; that of before ended with %d", first, last)
	}
	elected.wait(t, commands)
}
