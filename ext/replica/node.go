package replica

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"lsmdb/db"
	"lsmdb/ext/replica/internal/door"
	"lsmdb/ext/replica/raftlog"
)

// Config says who a node is.
type Config struct {
	// ID is the node's name, which no other node of the cluster ever had. A node that has lost
	// its disk needs another one: it may have voted, and does not know for whom.
	ID string

	// Dir holds everything of the node: log, state and snapshots. It is made where it is missing.
	Dir string

	// Listen is where the node listens for others, host:port. Default: a free port of
	// 127.0.0.1. Whoever reaches an address without TLS can read and write everything.
	Listen string

	// Members are the founders of the cluster, the same list on each of them. Where the
	// directory has a state already, only the node's own address is taken from it. A node
	// that has neither waits until somebody calls Join.
	Members []Member

	// Raft has timeouts, and when snapshots are taken. LocalID, NoSnapshotRestoreOnStart and
	// ShutdownOnRemove are filled in. Default: raft.DefaultConfig without its log.
	Raft *raft.Config

	// DB are options of the two databases, log and state. Default: the defaults of db.
	DB *db.Options

	// TLS makes nodes talk by TLS alone: each shows a certificate, and wants to see one that
	// RootCAs (for who is called) or ClientCAs (for who calls; default: RootCAs) have signed.
	// Default: none.
	TLS *tls.Config

	dial func(ctx context.Context, address string) (net.Conn, error) // of tests
}

func init() {
	door.Dial = func(config any, dial func(context.Context, string) (net.Conn, error)) { config.(*Config).dial = dial }
}

// Member is a node as others know it.
type Member struct {
	ID      string `json:"id"`
	Address string `json:"address"` // host:port at which the others reach it
}

// Node is a member of a cluster whose nodes all hold the same database. Its methods are safe
// for concurrent use.
type Node struct {
	id        string
	config    *raft.Config
	fsm       *FSM
	log       *raftlog.Store
	wire      *wire
	raft      *raft.Raft
	transport *raft.NetworkTransport
	server    *http.Server
	client    *http.Client

	leading leading
	ready   atomic.Uint64 // the term in which the state holds all entries of earlier terms

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	closing sync.Once
	end     error // of Close
	running sync.WaitGroup

	stopping sync.Once
	stopped  error // of stopRaft
}

// Start starts a node. It returns when what the directory holds is open; a leader is elected
// when a majority of the members has started. Ctx bounds the start only. Close the node.
//
// Errors: those of db.Open; what is wrong with the configuration; and those of the network.
func Start(ctx context.Context, c Config) (*Node, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if c.ID == "" || c.Dir == "" {
		return nil, errors.New("replica: a node needs an ID and a Dir")
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("replica: %w", err)
	}
	n := &Node{id: c.ID}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if err := n.start(&c); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Node) start(c *Config) (err error) {
	if n.config, err = raftConfig(c); err != nil {
		return err
	}
	if n.log, err = raftlog.Open(filepath.Join(c.Dir, "log"), c.DB); err != nil {
		return err
	}
	if n.fsm, err = Open(filepath.Join(c.Dir, "state"), c.DB); err != nil {
		return err
	}
	snapshots, err := openSnapshots(c.Dir, n.config)
	if err != nil {
		return err
	}
	if n.wire, err = listen(c.listen(), c.advertise(), c.TLS, c.dial); err != nil {
		return err
	}
	n.transport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: n.wire.raft, MaxPool: 3, Timeout: 10 * time.Second, Logger: n.config.Logger,
	})
	if err := n.found(c.Members, snapshots); err != nil {
		return err
	}
	if n.config.NoSnapshotRestoreOnStart, err = holdsSnapshot(n.fsm, snapshots, n.log); err != nil {
		return err
	}
	if n.raft, err = raft.NewRaft(n.config, n.fsm, n.log, n.log, snapshots, n.transport); err != nil {
		return fmt.Errorf("replica: %w", err)
	}
	n.leading.confirm = n.confirmOnce
	n.serve()
	n.running.Add(1)
	go n.watch()
	return nil
}

// raftConfig completes a copy of the configuration of Raft.
func raftConfig(c *Config) (*raft.Config, error) {
	conf := raft.DefaultConfig()
	conf.Logger = hclog.NewNullLogger()
	if c.Raft != nil {
		given := *c.Raft
		conf = &given
	}
	conf.LocalID = raft.ServerID(c.ID)
	conf.ShutdownOnRemove = false // it would leave requests without an answer; who removes a node closes it
	if conf.Logger == nil {
		output := conf.LogOutput
		if output == nil {
			output = os.Stderr
		}
		conf.Logger = hclog.New(&hclog.LoggerOptions{Name: "raft", Level: hclog.LevelFromString(conf.LogLevel), Output: output})
	}
	if err := raft.ValidateConfig(conf); err != nil {
		return nil, fmt.Errorf("replica: Config.Raft: %w", err)
	}
	return conf, nil
}

func (c *Config) listen() string {
	if c.Listen == "" {
		return "127.0.0.1:0"
	}
	return c.Listen
}

// advertise is the node's address as the founders know it, if they do.
func (c *Config) advertise() string {
	for _, m := range c.Members {
		if m.ID == c.ID {
			return m.Address
		}
	}
	return ""
}

// openSnapshots opens the place of snapshots, without those that a killed process began.
func openSnapshots(dir string, conf *raft.Config) (*raft.FileSnapshotStore, error) {
	unfinished, err := filepath.Glob(filepath.Join(dir, "snapshots", "*.tmp"))
	if err != nil {
		return nil, err
	}
	for _, path := range unfinished {
		if err := os.RemoveAll(path); err != nil {
			return nil, err
		}
	}
	return raft.NewFileSnapshotStoreWithLogger(dir, 2, conf.Logger)
}

// found makes the founders a cluster, if the node knows of none yet.
func (n *Node) found(members []Member, snapshots raft.SnapshotStore) error {
	exists, err := raft.HasExistingState(n.log, n.log, snapshots)
	if err != nil || exists || len(members) == 0 {
		return err
	}
	var founders raft.Configuration
	for _, m := range members {
		founders.Servers = append(founders.Servers, raft.Server{ID: raft.ServerID(m.ID), Address: raft.ServerAddress(m.Address)})
	}
	if err := raft.BootstrapCluster(n.config, n.log, n.log, snapshots, n.transport, founders); err != nil {
		return fmt.Errorf("replica: Config.Members: %w", err)
	}
	return nil
}

// holdsSnapshot tells whether the state has everything that the newest snapshot has, so that
// Raft need not restore it. That a snapshot lies in its place does not mean that it was ever
// restored: the process may have been killed between the two.
func holdsSnapshot(fsm *FSM, snapshots raft.SnapshotStore, log raft.LogStore) (bool, error) {
	list, err := snapshots.List()
	if err != nil || len(list) == 0 {
		return true, err
	}
	newest := list[0]
	var entry raft.Log
	for index := fsm.Applied() + 1; index <= newest.Index; index++ {
		// The state machine is not given entries of Raft's own. One that is not there any more, or
		// is another than that of the snapshot, may have been anything.
		err := log.GetLog(index, &entry)
		if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
			return false, err
		}
		if err != nil || entry.Type == raft.LogCommand || entry.Type == raft.LogConfiguration || index == newest.Index && entry.Term != newest.Term {
			return false, nil
		}
	}
	return true, nil
}

// watchEvery is how often the node looks whether time must be told.
const watchEvery = time.Second

// tickAfter is how far the clock of the commands may lie behind while nothing is written, but
// values end.
const tickAfter = 10 * time.Second

// watch ends Raft when the state machine has failed, and lets values end while nobody writes.
func (n *Node) watch() {
	defer n.running.Done()
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.fsm.Failed():
			_ = n.stopRaft() // Close returns what went wrong
			return
		case now := <-ticker.C:
			if n.raft.State() == raft.Leader && n.fsm.tick(now.Add(-tickAfter)) {
				_, _ = n.propose(n.ctx, NewCommand().Encode()) // or with the next one
			}
			_ = n.fsm.publish() // what fails is known to Failed
		}
	}
}

// Address returns where others reach the node.
func (n *Node) Address() string { return n.wire.address.String() }

// Leader returns the node that leads, as far as this one knows; ok tells whether it knows one.
func (n *Node) Leader() (leader Member, ok bool) {
	address, id := n.raft.LeaderWithID()
	return Member{string(id), string(address)}, id != ""
}

// Snapshot takes a snapshot now, and lets Raft drop log entries that it covers, but for
// TrailingLogs of them.
func (n *Node) Snapshot() error {
	err := n.raft.Snapshot().Error()
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	return err
}

// Failed is closed when the node has failed and takes no more part; see FSM.Failed.
func (n *Node) Failed() <-chan struct{} { return n.fsm.Failed() }

// Status is what a node knows of itself and of the cluster.
type Status struct {
	ID       string   `json:"id"`
	Address  string   `json:"address"`
	State    string   `json:"state"`  // Follower, Candidate, Leader or Shutdown
	Leader   string   `json:"leader"` // its ID; empty: unknown
	Term     uint64   `json:"term"`
	Last     uint64   `json:"last_index"`     // of the log
	Commit   uint64   `json:"commit_index"`   // known to lie on a majority
	Applied  uint64   `json:"applied_index"`  // newest entry with a command that the state holds
	Snapshot uint64   `json:"snapshot_index"` // of the newest snapshot
	Restored uint64   `json:"restored"`       // how many snapshots the state has been replaced by, ever
	Members  []Member `json:"members"`
	Failure  string   `json:"failure,omitempty"`
}

// Status returns what the node knows.
func (n *Node) Status() Status {
	snapshot, _ := strconv.ParseUint(n.raft.Stats()["last_snapshot_index"], 10, 64) // Raft tells it nowhere else
	s := Status{
		ID: n.id, Address: n.Address(), State: n.raft.State().String(), Term: n.raft.CurrentTerm(), Last: n.raft.LastIndex(),
		Commit: n.raft.CommitIndex(), Applied: n.fsm.Applied(), Snapshot: snapshot, Restored: n.fsm.restored(),
	}
	if leader, ok := n.Leader(); ok {
		s.Leader = leader.ID
	}
	for _, m := range n.raft.GetConfiguration().Configuration().Servers {
		s.Members = append(s.Members, Member{string(m.ID), string(m.Address)})
	}
	if err := n.fsm.Err(); err != nil {
		s.Failure = err.Error()
	}
	return s
}

// Close ends the node. The others elect another leader if this one leads. What is under way
// here fails, and may or may not be stored. It is idempotent.
func (n *Node) Close() error {
	n.closing.Do(func() {
		n.cancel()
		if n.fsm != nil {
			n.fsm.cancel() // which waits for a full disk, perhaps
		}
		if n.server != nil {
			n.end = n.server.Close()
		}
		n.end = errors.Join(n.end, n.stopRaft())
		if n.wire != nil {
			n.end = errors.Join(n.end, n.wire.close())
		}
		n.running.Wait()
		if n.client != nil {
			n.client.CloseIdleConnections()
		}
		for _, c := range []io.Closer{closer(n.fsm), closer(n.log)} {
			n.end = errors.Join(n.end, c.Close())
		}
	})
	return n.end
}

// stopRaft ends Raft and waits until nothing of it runs. It is idempotent.
func (n *Node) stopRaft() error {
	n.stopping.Do(func() {
		if n.raft != nil {
			n.stopped = n.raft.Shutdown().Error()
		} else if n.transport != nil {
			n.stopped = n.transport.Close()
		}
	})
	return n.stopped
}

// closer makes nothing something that can be closed.
func closer[T any, P interface {
	*T
	io.Closer
}](p P) io.Closer {
	if p == nil {
		return io.NopCloser(nil)
	}
	return p
}
