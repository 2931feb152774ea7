package stages

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Commit is the message that asks the Writer to make a batch of operations part
// of the history. The sender fills it, calls Pipeline.Enqueue, and may touch it
// again only after Wait returned, except to Abandon it.
type Commit struct {
	Ops          []byte // encoded operations (base.AppendSet, base.AppendDelete)
	Count        uint32 // how many
	PayloadBytes int64  // their keys and values
	Sync         bool   // answer only when it is durable

	// seal asks for a rotation after this commit. The Flusher answers such a
	// commit, once everything before it lies in tables.
	seal bool

	phase atomic.Uint32

	// reply carries the one answer. The Writer (or, for a seal, the Flusher; or the
	// steward where neither can) sends, the caller receives, nobody closes it.
	// Capacity 1: answering never blocks. nil: the commit is a pending one.
	reply chan error

	// resolved replaces reply for a commit that any number of goroutines may wait
	// for. The first of them makes the channel, unless the answer is there already:
	// most are never waited for. Who answers stores the answer in result, then puts
	// answered here and closes what was here before.
	resolved atomic.Pointer[chan struct{}]
	result   error
}

// answered stands for the channel of every pending commit that nobody waited for
// before its answer came.
var answered = make(chan struct{})

func init() { close(answered) }

// The phases of a commit. Abandon and the Writer compete for a queued one.
const (
	commitQueued uint32 = iota
	commitTaken
	commitAbandoned
)

// NewCommit returns an empty commit whose answer Wait returns, to one caller.
func NewCommit() *Commit { return &Commit{reply: make(chan error, 1)} }

// NewPendingCommit returns an empty commit whose answer closes Resolved; any
// number of callers may look at it then. It serves once.
func NewPendingCommit() *Commit { return &Commit{} }

// Reset empties an answered commit for another use; Ops keeps its memory.
func (c *Commit) Reset() {
	c.Ops, c.Count, c.PayloadBytes = c.Ops[:0], 0, 0
	c.Sync, c.seal = false, false
	c.phase.Store(commitQueued)
}

// Wait returns the Writer's answer. It must be called at most once per Enqueue.
func (c *Commit) Wait() error { return <-c.reply }

// Answered is the channel on which the answer arrives, for callers that wait for
// something else too.
func (c *Commit) Answered() <-chan error { return c.reply }

// Resolved is closed when a pending commit is answered; then Result holds. Each call
// may return another channel.
func (c *Commit) Resolved() <-chan struct{} {
	if c.resolved.Load() == nil {
		waiting := make(chan struct{})
		c.resolved.CompareAndSwap(nil, &waiting)
	}
	return *c.resolved.Load()
}

// Result is the answer of a pending commit, valid once Resolved is closed.
func (c *Commit) Result() error { return c.result }

// Abandon takes a commit back that the Writer has not begun to write. If it
// reports true, the commit will never be applied nor answered, and the Writer
// will not look at Ops again. If false, the answer is near: call Wait.
func (c *Commit) Abandon() bool {
	return c.phase.CompareAndSwap(commitQueued, commitAbandoned)
}

// take claims the commit for the Writer.
func (c *Commit) take() bool { return c.phase.CompareAndSwap(commitQueued, commitTaken) }

// answer sends the answer. Only the first one counts: after a panic, what was in
// hand is answered again, to be sure.
func (c *Commit) answer(err error) {
	if c.reply != nil {
		select {
		case c.reply <- err:
		default:
		}
		return
	}
	if c.resolved.Load() == &answered {
		return
	}
	c.result = err
	if waiting := c.resolved.Swap(&answered); waiting != nil {
		close(*waiting)
	}
}

// door lets callers into the Writer's inbox until it is shut. After shut has
// returned, no caller is sending and none will.
type door struct {
	// mu is held for reading by every caller while it sends and for writing by
	// shut, which thereby waits for the last sender. Only so may the inbox be closed.
	mu     sync.RWMutex
	isShut bool

	// shutting is closed by shut, once, to release callers that wait for room.
	shutting chan struct{}
}

func newDoor() *door { return &door{shutting: make(chan struct{})} }

// enter sends c into the inbox, waiting for room until ctx ends. entered is
// false where the door is shut.
func (d *door) enter(ctx context.Context, inbox *Inbox[*Commit], c *Commit) (entered bool, err error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.isShut {
		return false, nil
	}
	if inbox.trySend(c) {
		return true, nil
	}
	start := time.Now()
	defer func() { inbox.blocked.Add(int64(time.Since(start))) }()
	select {
	case inbox.ch <- c:
		return true, nil
	case <-ctx.Done():
		return true, ctx.Err()
	case <-d.shutting:
		return false, nil
	}
}

// shut refuses callers from now on. Only the steward calls it, once.
func (d *door) shut() {
	close(d.shutting)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.isShut = true
}

// Rearm makes an answered commit ready to be sent again with the same operations.
func (c *Commit) Rearm() { c.phase.Store(commitQueued) }
