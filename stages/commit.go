package stages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/view"
	"lsmdb/memtable"
)

// Operations are what a commit makes part of the history, encoded one after the other.
// They are added by Add and nowhere else, so that the count, the bytes and the memory that
// they will take always agree. The zero value is empty.
type Operations struct {
	encoded      []byte
	count        uint32
	payloadBytes int64 // their keys and values
	merges       bool  // one is an operand
}

// Add adds an operation, and copies key and value, as base.AppendOp takes them. The value of a
// delete is nil. A range without keys is not added. An operation beyond a limit is refused
// (ErrKeyTooLarge, ErrValueTooLarge, ErrBatchTooLarge) and changes nothing.
func (o *Operations) Add(kind base.Kind, key, value []byte, until int64) error {
	keyBytes, valueBytes := len(key), len(value)
	if kind == base.KindRangeDelete {
		if value != nil && bytes.Compare(key, value) >= 0 {
			return nil
		}
		keyBytes, valueBytes = max(keyBytes, valueBytes), min(keyBytes, valueBytes)
	}
	if err := o.admit(keyBytes, valueBytes); err != nil {
		return err
	}
	switch kind {
	case base.KindMerge:
		o.merges = true
	case base.KindSetExpiring:
		o.payloadBytes += base.ExpiryBytes
	}
	o.encoded = base.AppendOp(o.encoded, kind, key, value, until)
	return nil
}

// admit counts an operation that is about to be added, unless it is beyond a limit.
func (o *Operations) admit(keyBytes, valueBytes int) error {
	const mostAdded = 1 + 3 + 4 + base.ExpiryBytes // to key and value by the encoding
	payload := int64(keyBytes) + int64(valueBytes)
	total := int64(len(o.encoded)) + payload + mostAdded
	footprint := memtable.FootprintBytes(int64(o.count)+1, o.payloadBytes+payload+base.ExpiryBytes)
	if err := base.CheckSizes(keyBytes, valueBytes); err != nil {
		return err
	}
	if total > base.MaxBatchBytes || footprint > memtable.MaxArenaBytes()/2 {
		return fmt.Errorf("%w: %d bytes, which take %d in memory; at most %d and %d", base.ErrBatchTooLarge,
			total, footprint, base.MaxBatchBytes, memtable.MaxArenaBytes()/2)
	}
	o.count++
	o.payloadBytes += payload
	return nil
}

// check finds operations that were changed by somebody else than Add,
// before they are logged: a log that cannot be decoded is a database that cannot be
// opened.
func (o *Operations) check() error {
	count, payload, err := base.CountOps(o.encoded)
	if err == nil && (count != o.count || payload != o.payloadBytes) {
		err = fmt.Errorf("%d operations with %d bytes of keys and values are encoded, but %d with %d were added",
			count, payload, o.count, o.payloadBytes)
	}
	if err != nil {
		err = fmt.Errorf("lsmdb: operations were changed on their way to the log, and are not stored: %w", err)
	}
	return err
}

// all walks the operations, which check has found in order.
func (o *Operations) all() iter.Seq[base.Op] { return o.From(0) }

// From walks the operations that were added when Bytes had returned a number.
func (o *Operations) From(offset int) iter.Seq[base.Op] {
	return func(yield func(base.Op) bool) {
		for rest := o.encoded[offset:]; len(rest) > 0; {
			op, next, err := base.DecodeOp(rest)
			if err != nil {
				panic(fmt.Sprintf("invariant: a batch that was checked is malformed: %v", err))
			}
			if rest = next; !yield(op) {
				return
			}
		}
	}
}

// NeedMerger reports whether one of them is an operand.
func (o *Operations) NeedMerger() bool { return o.merges }

// Len returns the number of operations.
func (o *Operations) Len() int { return int(o.count) }

// Bytes returns their encoded size.
func (o *Operations) Bytes() int { return len(o.encoded) }

// Clear leaves no operation, and keeps the memory.
func (o *Operations) Clear() { *o = Operations{encoded: o.encoded[:0]} }

// Commit is the message that asks the Writer to make operations part of the history. The
// sender fills it, calls Pipeline.Enqueue, and may touch it again only after the answer,
// except to Abandon it. Each call of the API has a commit of its own, so that there is
// one receiver for each answer.
type Commit struct {
	Operations
	Reading      // of a transaction
	Sync    bool // answer only when it is durable

	// Queued says that it was acknowledged when it was sent: the Writer keeps it until there
	// is room for it. Behind it calls Recycle, if there is one, in place of an answer.
	Queued  bool
	Recycle func()

	// seal asks for a rotation after this commit. The Flusher answers such a
	// commit, once everything before it lies in tables.
	seal bool

	load  *load  // of tables; nil for all others
	large *large // what was prepared of it; nil: nothing

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

// Reset empties an answered commit for another use. The operations keep their memory.
func (c *Commit) Reset() {
	c.Clear()
	c.Reading = Reading{}
	c.Sync, c.seal, c.Queued, c.large = false, false, false, nil
	c.phase.Store(commitQueued)
}

// Wait returns the answer. It must be called at most once per Enqueue.
func (c *Commit) Wait() error { return c.heard(<-c.reply) }

// heard drops what was prepared if the answer is that it is not needed any more.
func (c *Commit) heard(answer error) error {
	if answer != nil && answer != errLate {
		c.Drop()
	}
	return answer
}

// WaitOrAbandon is Wait, but takes the commit back, and returns the context's error, if
// ctx ends before the Writer has begun to write.
func (c *Commit) WaitOrAbandon(ctx context.Context) error {
	done := ctx.Done()
	if done == nil {
		return c.Wait()
	}
	select {
	case err := <-c.reply:
		return c.heard(err)
	case <-done:
		if c.Abandon() {
			return c.heard(ctx.Err())
		}
		return c.Wait()
	}
}

// WaitOrLeave is Wait for an empty commit, of which it does not matter what becomes of it. It
// reports false if ctx ends before the answer: then the Writer may have the commit for as long as
// it likes, and nobody else may use it again.
func (c *Commit) WaitOrLeave(ctx context.Context) (answered bool) {
	select {
	case <-c.reply:
		return true
	case <-ctx.Done():
		c.Abandon()
		return false
	}
}

// Resolved is closed when a pending commit is answered; then Result holds. Each call
// may return another channel.
func (c *Commit) Resolved() <-chan struct{} {
	if c.resolved.Load() == nil {
		waiting := make(chan struct{})
		c.resolved.CompareAndSwap(nil, &waiting)
	}
	return *c.resolved.Load()
}

// IsResolved reports whether Resolved is closed.
func (c *Commit) IsResolved() bool { return c.resolved.Load() == &answered }

// Result is the answer of a pending commit, valid once Resolved is closed.
func (c *Commit) Result() error { return c.result }

// Abandon takes a commit back that the Writer has not begun to write. If it
// reports true, the commit will never be applied nor answered, and the Writer will not
// look at the encoded operations, though still at their number. If false, the answer is near: call Wait.
func (c *Commit) Abandon() bool {
	return c.phase.CompareAndSwap(commitQueued, commitAbandoned)
}

// Abandoned reports whether Abandon took the commit back.
func (c *Commit) Abandoned() bool { return c.phase.Load() == commitAbandoned }

// take claims the commit for the Writer.
func (c *Commit) take() bool { return c.phase.CompareAndSwap(commitQueued, commitTaken) }

// answer sends the answer. Only the first one counts: after a panic, what was in
// hand is answered again, to be sure.
func (c *Commit) answer(err error) {
	if err != nil && (c.Queued || c.reply == nil) { // nobody else would
		c.Drop()
	}
	if c.Queued && c.Recycle != nil {
		if err == nil { // otherwise it may be answered again
			c.Recycle()
		}
		return
	}
	if c.reply != nil {
		select {
		case c.reply <- err:
		default:
		}
		return
	}
	if c.IsResolved() {
		return
	}
	c.result = err
	if waiting := c.resolved.Swap(&answered); waiting != nil {
		close(*waiting)
	}
}

// Reading makes the commit of a transaction conditional: it is written if nothing that was
// read was changed since. The sender looks at memtables and tables for that (Look), which
// takes as long as it takes; what comes between that and the commit's turn, the Writer
// knows by heart. So nobody locks anything: the Writer sees every write.
type Reading struct {
	Reads   *view.Reads // nil: the commit is unconditional
	Through base.Seq    // up to here nothing was changed
	late    bool        // the Writer has forgotten too much once
}

var errLate = errors.New("invariant: a commit that came too late was not sent again")

// CameLate reports whether an answer says that the Writer did not remember enough, as
// happens once at most. The commit has to be looked at and sent again then.
func (c *Commit) CameLate(answer error) bool {
	if answer != errLate {
		return false
	}
	c.phase.Store(commitQueued)
	return true
}

// littleNews is how many operations are sooner compared by the Writer than looked for.
const littleNews = 16

// Look looks for changes of what a commit depends on, and leaves little to the Writer. It
// returns a *base.ConflictError if there are any, and errors of tables.
func (p *Pipeline) Look(c *Commit) error {
	visible := p.Visible() // before the state is loaded, which holds all of this then
	if visible == c.Through || visible-c.Through <= littleNews && c.Through >= p.writer.recent.Since() {
		return nil
	}
	conflict, err := p.Changed(c.Reads, c.Through)
	if conflict != nil {
		return conflict
	}
	c.Through = visible
	return err
}

// admit decides whether a member may become part of the history behind last, and remembers
// what it changes then. A transaction's that comes too late for the second time has the
// Writer look itself, so that nobody has to try for ever.
func (w *Writer) admit(c *Commit, last base.Seq) error {
	if c.Reads != nil {
		var conflict *base.ConflictError
		if c.Through < w.recent.Since() {
			var err error
			if c.late = !c.late; c.late {
				return errLate
			}
			if conflict, err = w.published.Changed(c.Reads, c.Through); err != nil {
				return err
			}
		}
		if conflict == nil {
			conflict = w.recent.Changed(c.Reads, c.Through)
		}
		if conflict != nil {
			return conflict
		}
	}
	switch {
	case c.load != nil: // its keys are in tables
		w.recent.Forget(last + 1)
		return nil
	case c.large != nil || groupSize(c) > maxGroupBytes: // the group ends with it
		w.recent.Forget(last + base.Seq(c.count))
		return nil
	}
	for op := range c.all() {
		last++
		w.recent.Add(op, last)
	}
	return nil
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

// enter sends c into the Writer's inbox, waiting for room until ctx ends or the door is
// shut.
func (p *Pipeline) enter(ctx context.Context, c *Commit) error {
	d, inbox := p.door, p.writer.inbox
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.isShut || c.Queued && p.ctx.Err() != nil { // nobody would hear that it is lost
		return p.Refusal()
	}
	if inbox.trySend(c) {
		return nil
	}
	start := time.Now()
	defer func() { inbox.blocked.Add(int64(time.Since(start))) }()
	select {
	case inbox.ch <- c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-d.shutting:
		return p.Refusal()
	}
}

// shut refuses callers from now on. Only the steward calls it, once.
func (d *door) shut() {
	close(d.shutting)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.isShut = true
}
