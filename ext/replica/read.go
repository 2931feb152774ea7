package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"lsmdb/db"
)

// ErrNotLeader: the node does not lead, or cannot make sure that it still does.
var ErrNotLeader = errors.New("replica: this node does not lead")

// ReadOption says what a read may show.
type ReadOption int

const (
	// Stale reads what this node holds, without asking anybody: it may lack the newest writes.
	Stale ReadOption = iota + 1

	// Forwarded has the node that leads answer where this one does not. While there is none, the
	// read waits, until ctx ends.
	Forwarded
)

func has(options []ReadOption, option ReadOption) bool {
	for _, o := range options {
		if o == option {
			return true
		}
	}
	return false
}

// Get returns a copy of the value of key, or db.ErrNotFound. It is linearizable: it shows every
// write that was acknowledged, on whatever node, before Get was called. Only the node that
// leads can promise that, so others return an error that Is ErrNotLeader, as does one that a
// majority does not answer. With Stale it shows what this node holds.
//
// No log entry is written for it. Gets that wait at the same time share one question to the
// other nodes.
func (n *Node) Get(ctx context.Context, key []byte, o ...ReadOption) ([]byte, error) {
	if has(o, Stale) {
		value, _, err := n.fsm.get(key, time.Time{})
		return value, err
	}
	for {
		value, err := n.getHere(ctx, key)
		if !errors.Is(err, ErrNotLeader) || !has(o, Forwarded) {
			return value, err
		}
		if value, err = n.getElsewhere(ctx, key); !errors.Is(err, ErrNotLeader) {
			return value, err
		}
		if err := n.again(ctx); err != nil {
			return nil, err
		}
	}
}

// getHere is a linearizable Get by this node, if it leads.
func (n *Node) getHere(ctx context.Context, key []byte) ([]byte, error) {
	if err := n.leading.check(ctx); err != nil {
		return nil, err
	}
	value, ended, err := n.fsm.get(key, time.Now())
	if err != nil || !ended {
		return value, err
	}
	// All who read from now on, also from a leader whose clock is behind, must see that it has ended.
	if err := n.Apply(ctx, NewCommand()); err != nil {
		return nil, err
	}
	value, _, err = n.fsm.get(key, time.Time{})
	return value, err
}

// View calls fn with a snapshot, closes it when fn returns or panics, and returns fn's error
// unchanged. The snapshot is linearizable like a Get, or stale; Forwarded has no effect.
// Values that end may be shown for ten seconds longer while nothing is written.
func (n *Node) View(ctx context.Context, fn func(*db.Snapshot) error, o ...ReadOption) error {
	if !has(o, Stale) {
		if err := n.leading.check(ctx); err != nil {
			return err
		}
	}
	return n.fsm.View(fn)
}

// leading makes sure that a node leads, for many who want to know it at the same time.
type leading struct {
	confirm func() error // which begins after it is called

	// mu guards the rest. Nobody waits while it is held.
	mu      sync.Mutex
	running bool
	next    *round // for who comes now; nil: nobody waits
}

// round is one question to the others. It begins after all who wait for it have come.
type round struct {
	done chan struct{} // closed when err is there
	err  error
}

// check returns nil if the node led at some moment since check was called, and its state holds
// all that was acknowledged before.
func (l *leading) check(ctx context.Context) error {
	l.mu.Lock()
	if l.next == nil {
		l.next = &round{done: make(chan struct{})}
	}
	r := l.next
	if !l.running {
		l.running = true
		go l.run()
	}
	l.mu.Unlock()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run holds rounds until nobody waits any more.
func (l *leading) run() {
	for {
		l.mu.Lock()
		r := l.next
		l.next = nil
		l.running = r != nil
		l.mu.Unlock()
		if r == nil {
			return
		}
		r.err = l.confirm()
		close(r.done)
	}
}

// confirmOnce asks the other voters for their terms. If this node leads in a term, and a
// majority, itself included, says now that it has seen no later one, then nobody can have been
// elected in a later term until now: whoever voted for him would be among them, and would
// say so. So whatever was acknowledged until now was acknowledged by this node, which applies
// before it acknowledges, or lies before the first entry of its term, which it has applied.
//
// Raft's VerifyLeader is not enough: it also counts answers that were on their way before it
// was asked, and those may be older than another leader's writes where a process was stopped for
// a while.
func (n *Node) confirmOnce() error {
	term := n.raft.CurrentTerm()
	if n.raft.State() != raft.Leader {
		return ErrNotLeader
	}
	if n.ready.Load() != term {
		// Entries of earlier terms may be committed without this node knowing it yet.
		if _, err := await(n.ctx, n, func() raft.Future { return n.raft.Barrier(0) }); err != nil {
			return fmt.Errorf("%w: %w", ErrNotLeader, err)
		}
		if !n.leads(term) {
			return ErrNotLeader
		}
		n.ready.Store(term)
	}
	if !n.majority(term) || !n.leads(term) {
		return ErrNotLeader
	}
	return nil
}

// leads tells whether the node leads in a term.
func (n *Node) leads(term uint64) bool {
	return n.raft.State() == raft.Leader && n.raft.CurrentTerm() == term
}

// majority tells whether a majority of the voters answers that it has seen no term later than term.
func (n *Node) majority(term uint64) bool {
	ctx, cancel := context.WithTimeout(n.ctx, n.config.ElectionTimeout)
	defer cancel() // who answers later is not waited for
	servers := n.raft.GetConfiguration().Configuration().Servers
	voters, agreed, asked := 0, 0, 0
	answers := make(chan bool, len(servers)) // so that nobody who is late waits
	for _, server := range servers {
		if server.Suffrage != raft.Voter {
			continue
		}
		voters++
		if string(server.ID) == n.id {
			agreed++
			continue
		}
		asked++
		go func() {
			seen, err := n.askTerm(ctx, Member{string(server.ID), string(server.Address)})
			answers <- err == nil && seen <= term
		}()
	}
	for ; asked > 0 && agreed <= voters/2; asked-- {
		if <-answers {
			agreed++
		}
	}
	return agreed > voters/2
}
