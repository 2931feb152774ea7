package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"lsmdb/db"
)

// ErrUncertain: the write was on its way when the answer could not be waited for any longer, or
// the node that led was lost. It may be stored, now or later, or not. A read tells; to be safe
// without one, make the write depend on what it changes.
var ErrUncertain = errors.New("replica: it is not known whether the write was stored")

// Update runs fn in a transaction. What fn reads is what this node holds, and is compared where
// the changes are applied: with the newest state, on each node alike. If something differs, nothing
// is stored, and fn runs again; so fn may be called several times, and must do nothing that
// cannot be done twice. Transactions have the effect that they would have one after the other, in an
// order in which each comes behind all that were acknowledged before it began: also those that
// write nothing.
//
// When Update returns nil, a majority of the nodes has the changes on disk. On a node that does
// not lead they are sent to the one that does; while there is none, Update waits. When ctx ends, the
// error Is that of ctx, and besides: ErrNotLeader, if no leader was found, and nothing is stored;
// ErrMismatch, if others changed what fn read in each run, and nothing is stored; ErrUncertain
// otherwise. An error of fn is returned unchanged, and nothing is stored. Values and keys beyond
// the limits of db are errors, as is a transaction of more than a quarter of db.MaxBatchBytes.
func (n *Node) Update(ctx context.Context, fn func(tx *Tx) error) error {
	for {
		command, err := n.attempt(fn)
		if err != nil {
			return err
		}
		index, err := n.submit(ctx, command)
		if !errors.Is(err, ErrMismatch) {
			return err
		}
		// A node that does not lead comes to know what the leader knew.
		if behind := n.fsm.waitApplied(ctx, index); behind != nil {
			return fmt.Errorf("%w: %w", behind, err)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// attempt runs fn once.
func (n *Node) attempt(fn func(tx *Tx) error) (*Command, error) {
	tx, err := n.fsm.begin()
	if err != nil {
		return nil, err
	}
	defer tx.end()
	if err := fn(tx); err != nil {
		return nil, err
	}
	return tx.commit()
}

// Apply applies a command: waits and errors are those of Update, but it is not tried again
// after ErrMismatch.
func (n *Node) Apply(ctx context.Context, c *Command) error {
	_, err := n.submit(ctx, c)
	return err
}

// retrySubmit is how long a command waits before it looks for a leader again.
const retrySubmit = 20 * time.Millisecond

// submit brings a command to the leader, whoever that is, and returns the index of its entry, if
// it got one.
func (n *Node) submit(ctx context.Context, c *Command) (index uint64, err error) {
	data := c.Encode()
	if _, err := decode(data); err != nil { // it would be refused after all that
		return 0, err
	}
	for {
		index, err = n.propose(ctx, data)
		if errors.Is(err, ErrNotLeader) {
			index, err = n.proposeElsewhere(ctx, data)
		}
		if !errors.Is(err, ErrNotLeader) {
			return index, err
		}
		if err := n.again(ctx); err != nil {
			return 0, err
		}
	}
}

// again waits before a leader is looked for once more, or says why that is of no use.
func (n *Node) again(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrNotLeader, ctx.Err())
	case <-n.ctx.Done():
		return db.ErrClosed
	case <-n.fsm.Failed():
		return fmt.Errorf("%w: %w", ErrNotLeader, n.fsm.Err())
	case <-time.After(retrySubmit):
		return nil
	}
}

// propose has a command applied, if this node leads.
func (n *Node) propose(ctx context.Context, data []byte) (index uint64, err error) {
	if n.raft.State() != raft.Leader {
		return 0, ErrNotLeader
	}
	stamp(data, time.Now())
	future, err := await(ctx, n, func() raft.ApplyFuture { return n.raft.Apply(data, enqueueTimeout(ctx)) })
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress), errors.Is(err, raft.ErrEnqueueTimeout):
		return 0, fmt.Errorf("%w: %w", ErrNotLeader, err) // it is in no log
	case err != nil:
		return 0, fmt.Errorf("%w: %w", ErrUncertain, err)
	}
	return future.Index(), response(future.Response())
}

// errGone: the answer of Raft was not waited for any longer.
var errGone = errors.New("replica: Raft has not answered")

// await asks Raft for something and waits for the answer. If the error is errGone, there is none.
func await[F raft.Future](ctx context.Context, n *Node, ask func() F) (F, error) {
	type answer struct {
		future F
		err    error
	}
	answers := make(chan answer, 1)
	go func() { // ends with the answer, or with Raft
		future := ask()
		answers <- answer{future, future.Error()}
	}()
	var none F
	select {
	case a := <-answers:
		return a.future, a.err
	case <-ctx.Done():
		return none, fmt.Errorf("%w: %w", errGone, ctx.Err())
	case <-n.ctx.Done():
		return none, fmt.Errorf("%w: %w", errGone, db.ErrClosed)
	}
}

// enqueueTimeout is for how long Raft may take to accept a command.
func enqueueTimeout(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return max(time.Until(deadline), time.Nanosecond)
	}
	return 0
}

// response is what the state machine answered.
func response(r any) error {
	err, _ := r.(error)
	var refused *refusal
	if err == nil || errors.Is(err, ErrMismatch) || errors.As(err, &refused) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUncertain, err) // this node has failed; the others apply it
}
