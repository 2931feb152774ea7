package replica

import (
	"errors"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// ofRaft is what we use of the clusters of Raft's own tests.
type ofRaft interface {
	Leader() *raft.Raft
	Followers() []*raft.Raft
	Disconnect(raft.ServerAddress)
	FullyConnect()
	EnsureSamePeers(*testing.T)
	Close()
}

// newOfRaft makes a cluster of Raft's own tests whose state machines are ours. They lie in the
// order of its servers.
func newOfRaft(t *testing.T, peers int) (ofRaft, []*FSM) {
	conf := quick(t)
	conf.TrailingLogs = 10
	var machines []*FSM
	c := raft.MakeClusterCustom(t, &raft.MakeClusterOpts{
		Peers: peers, Bootstrap: true, Conf: conf, LongstopTimeout: time.Minute,
		MakeFSMFunc: func() raft.FSM {
			f := openFSM(t, t.TempDir(), small())
			machines = append(machines, f)
			return f
		},
	})
	return c, machines
}

// applyThrough applies commands through whoever leads, until so many are accepted.
func applyThrough(t *testing.T, c ofRaft, from, to int) {
	t.Helper()
	leader := c.Leader() // which waits until it is stable
	for i := from; i < to; {
		previous := NewCommand().Put(key(i), key(i))
		if i > 0 {
			previous.Expect(key(i-1), key(i-1))
		}
		future := leader.Apply(previous.Encode(), time.Minute)
		if err := future.Error(); err != nil { // stored or not: it is the same when it is stored twice
			leader = c.Leader()
			continue
		}
		if err, _ := future.Response().(error); err != nil {
			t.Fatal(err)
		}
		i++
	}
}

// ensureSame waits until all state machines have the same contents.
func ensureSame(t *testing.T, machines []*FSM, keys int) {
	t.Helper()
	want := map[string]string{}
	for i := range keys {
		want[string(key(i))] = string(key(i))
	}
	for i, f := range machines {
		for ctx := within(t); !maps.Equal(contents(t, f), want); time.Sleep(5 * time.Millisecond) {
			if ctx.Err() != nil {
				t.Fatalf("machine %d has %d keys, and should have %d", i, len(contents(t, f)), keys)
			}
		}
	}
}

// TestClusterOfRaft runs clusters of Raft's tests on our state machine: applies, a leader that is
// cut off, a follower that needs a snapshot, a snapshot that a user restores.
func TestClusterOfRaft(t *testing.T) {
	c, machines := newOfRaft(t, 3)
	defer c.Close()
	applyThrough(t, c, 0, 50)
	ensureSame(t, machines, 50)

	// The leader is cut off; the others go on, and take a snapshot that it lacks.
	old := c.Leader()
	address := addressOf(t, old)
	c.Disconnect(address)
	for old.State() == raft.Leader {
		time.Sleep(time.Millisecond)
	}
	applyThrough(t, c, 50, 150)
	leader := c.Leader()
	if err := leader.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	c.FullyConnect()
	ensureSame(t, machines, 150)
	c.EnsureSamePeers(t)
	if restored := func() (sum uint64) {
		for _, f := range machines {
			sum += f.restored()
		}
		return sum
	}(); restored == 0 {
		t.Error("nobody was restored from a snapshot")
	}

	// A user restores the snapshot: what came after it is gone, everywhere, and new entries count.
	leader = c.Leader()
	taken := leader.Snapshot()
	if err := taken.Error(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
		t.Fatal(err)
	} else if err == nil {
		meta, reader, err := taken.Open()
		if err != nil {
			t.Fatal(err)
		}
		applyThrough(t, c, 150, 170)
		if err := c.Leader().Restore(meta, reader, time.Minute); err != nil {
			t.Fatal(err)
		}
		ensureSame(t, machines, 150)
		applyThrough(t, c, 150, 160)
		ensureSame(t, machines, 160)
	}
}

// TestConcurrentApplies has many apply at once, so that entries come in runs.
func TestConcurrentApplies(t *testing.T) {
	c, machines := newOfRaft(t, 3)
	defer c.Close()
	leader := c.Leader()
	var work sync.WaitGroup
	var mu sync.Mutex
	accepted := 0
	for w := range 8 {
		work.Go(func() {
			for i := range 30 { // of eight who want the same key, one gets it
				future := leader.Apply(NewCommand().Expect(key(i), nil).Put(key(i), key(i)).Encode(), time.Minute)
				if err := future.Error(); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				err, _ := future.Response().(error)
				if err != nil && !errors.Is(err, ErrMismatch) {
					t.Error(err)
				}
				mu.Lock()
				if err == nil {
					accepted++
				}
				mu.Unlock()
			}
		})
	}
	work.Wait()
	if accepted != 30 {
		t.Errorf("%d of 240 were accepted, and 30 should be", accepted)
	}
	ensureSame(t, machines, 30)
}

func addressOf(t *testing.T, r *raft.Raft) raft.ServerAddress {
	t.Helper()
	address, _ := r.LeaderWithID()
	if address == "" {
		t.Fatalf("%v does not lead", r)
	}
	return address
}
