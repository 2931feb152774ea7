// Package stages holds every goroutine of the engine. A stage is a struct with a
// typed inbox and one loop; it owns what it mutates, receives messages and sends
// messages, and shares nothing else but immutable values published atomically.
//
//	callers ──Commit──▶ Writer ──Sealed──▶ Flusher ──Proposal──▶ Keeper ──Obsolete──▶ Sweeper
//	                                                   ▲
//	                 Compactor ──▶ compaction worker ──┘
//
// Before its first group the Writer, too, sends the Keeper a proposal: to take the
// database over. While it fills a piece of the log, the Preparer makes the next.
//
// Blocking sends go down one order only: Writer, Flusher, compaction worker,
// Keeper, Sweeper. The Preparer waits for nobody. The Sweeper never waits for a stage, so
// it always comes back to its inbox. Nor does the Compactor's loop, which looks at what is published when it is
// nudged, and asks the Writer for a flush only if there is room in its inbox. So no cycle
// of waiting can form.
// What flows upward is a reply on a message's own channel of capacity 1, a
// channel closed once, or a state published atomically.
//
// The first error that a stage returns, or its panic, cancels all stages with that
// cause. Every write then fails with the cause; reads go on from the last
// published state.
package stages

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"lsmdb/compactor"
	"lsmdb/internal/base"
	"lsmdb/internal/changes"
	"lsmdb/internal/output"
	"lsmdb/internal/recovery"
	"lsmdb/internal/view"
	"lsmdb/manifest"
	"lsmdb/memtable"
	"lsmdb/wal"
)

// Capacities of the inboxes.
const (
	// A burst of this many clients queues without blocking. More would only hide
	// back-pressure, hold more memory, and make who submits without waiting wait
	// longer, if more rarely.
	writerCapacity = 64
	// The Writer asks for one piece of the log at a time.
	preparerCapacity = 1
	// One memtable may wait while one is being flushed and one is being filled:
	// enough to hide a slow flush, and a bound on memory.
	flusherCapacity = 1
	// The Keeper answers each proposal before its sender makes another.
	keeperCapacity = 8
	// One nudge is as good as many.
	compactorCapacity = 1
	// The Sweeper falls behind in bursts; that must not hold up the Keeper, which
	// flushes wait for.
	sweeperCapacity = 1024
)

// Start describes what recovery hands to the pipeline.
type Start struct {
	State  manifest.State       // of the tree; its LastSeq is that of the log
	Sealed []*memtable.Memtable // what the log holds, in no table yet; newest first
	Marked bool                 // the mark of a clean close holds until something changes

	// Changes are what there is to follow, all of it durable; nil: only the takeover tells.
	Changes []changes.Part

	Takeover takeover
}

// takeover is what puts Sealed into tables and begins the files that all changes go to:
// recovery.Opening, or a fake in tests. The Keeper calls it, after a shortage again.
type takeover interface {
	Begin() (recovery.Begun, error)
}

// Pipeline is the running stages of one open database.
type Pipeline struct {
	view.Published
	Snapshots
	Changes *changes.Log

	env       *Environment
	writer    *Writer
	preparer  *Preparer
	flusher   *Flusher
	keeper    *Keeper
	compactor *Compactor
	sweeper   *Sweeper
	door      *door

	queued    atomic.Int64   // Queued commits that were sent
	preparing sync.WaitGroup // callers of large commits, until these are stored or dropped

	group  *errgroup.Group
	ctx    context.Context // ends with the cause when a stage fails
	cancel context.CancelCauseFunc

	// closing is closed by Close, once. The steward, the Flusher and the Compactor
	// wait for it.
	closing   chan struct{}
	closeOnce sync.Once

	// Each is closed when its stage has ended; the steward waits for them.
	writerDone, flusherDone, compactorDone <-chan struct{}
}

// New starts the stages.
func New(env *Environment, start Start) *Pipeline {
	p := assemble(env, start)
	p.writerDone = p.launch("writer", p.writer.run, func() {
		p.writer.release()
		p.writer.answer(p.Refusal())
		close(p.preparer.inbox.ch)
		close(p.flusher.inbox.ch)
	})
	p.launch("preparer", p.preparer.run, p.preparer.decline)
	p.flusherDone = p.launch("flusher", p.flusher.run, func() { p.flusher.refuse(p.Refusal()) })
	p.launch("keeper", p.keeper.run, func() {
		p.keeper.release()
		close(p.sweeper.inbox.ch)
	})
	p.compactorDone = p.launch("compactor", p.compactor.run, func() { p.compactor.refuse(p.Refusal()) })
	p.launch("sweeper", p.sweeper.run, func() {})
	p.launch("steward", p.steward, func() {})
	return p
}

// assemble makes the stages and joins them by their inboxes.
func assemble(env *Environment, start Start) *Pipeline {
	p := &Pipeline{
		env:     env,
		door:    newDoor(),
		closing: make(chan struct{}),
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	p.group, p.ctx = errgroup.WithContext(ctx)
	p.cancel = cancel
	active := memtable.New(0) // the first write brings a larger one
	commits := newInbox[*Commit](writerCapacity)
	p.preparer = &Preparer{inbox: newInbox[*wal.Ahead](preparerCapacity)}
	sealed := newInbox[Sealed](flusherCapacity + largeSeals)
	proposals := newInbox[*Proposal](keeperCapacity)
	obsolete := newInbox[Obsolete](sweeperCapacity)

	p.writer = &Writer{
		env: env, published: &p.Published, inbox: commits, preparer: p.preparer.inbox, flusher: sealed, keeper: proposals,
		active: active, next: start.State.LastSeq + 1, closing: p.closing, pace: pace{work: newProgress()},
		room: make(chan struct{}, flusherCapacity), place: make(chan struct{}, 1), watch: NewClock(),
	}
	p.compactor = newCompactor(env, &p.Published, &p.Snapshots, proposals)
	p.compactor.launch, p.compactor.seal = p.launch, p.requestFlush
	p.writer.compactor = p.compactor.inbox.ch
	p.Merger, p.Clock, p.Frugal = env.Merger, env.Clock, env.Account.Bounded()
	if p.Frugal {
		env.Account.Wake = p.wake
	}
	p.NotBefore(start.State.Now)
	p.Publish(&view.State{Active: active, Sealed: start.Sealed, Version: start.State.Version}, start.State.LastSeq)
	p.flusher = &Flusher{
		env: env, published: &p.Published, snapshots: &p.Snapshots, inbox: sealed, keeper: proposals,
		closing: p.closing, stuck: p.compactor.stuck, work: p.writer.pace.work, pace: pace{work: p.compactor.toil},
	}
	p.keeper = &Keeper{
		env: env, published: &p.Published, inbox: proposals, compactor: p.compactor.inbox.ch, sweeper: obsolete,
		start: start, clean: func() *manifest.CleanMark { return p.writer.closed },
	}
	p.sweeper = &Sweeper{env: env, published: &p.Published, inbox: obsolete, unread: make(chan struct{}, 1), closing: p.closing}
	p.follow(start)
	p.Detoured = func() { nudge(p.compactor.inbox.ch) }
	p.Unread = func() { nudge(p.sweeper.unread) }
	return p
}

// follow joins the stages with those who follow the changes.
func (p *Pipeline) follow(start Start) {
	env := p.env
	path := func(segment uint64) string { return base.WALPath(env.Dir, segment) }
	p.Changes = changes.NewLog(env.FS, path, env.KeepChangesBytes, func() { nudge(p.sweeper.unread) })
	if start.Changes != nil {
		p.Changes.Resume(start.Changes)
	}
	p.writer.changes, p.keeper.changes, p.sweeper.changes = p.Changes, p.Changes, p.Changes
}

// launch runs body as a goroutine of the group. A panic becomes an error. On an
// error everything is cancelled before after runs, which settles what the stage
// leaves behind. Then done is closed.
func (p *Pipeline) launch(stage string, body func(context.Context) error, after func()) (done <-chan struct{}) {
	ended := make(chan struct{})
	p.group.Go(func() error {
		defer close(ended)
		err := p.guard(stage, body)
		if err != nil {
			p.fail(stage, err)
		}
		after()
		return err
	})
	return ended
}

// Aside runs a job of a caller beside him, who must wait for its end. A panic becomes an
// error. Close does not wait: what the caller began may outlast the database.
func (p *Pipeline) Aside(job func() error) (wait func() error) {
	outcome := make(chan error, 1)
	go func() { outcome <- p.guard("load", func(context.Context) error { return job() }) }()
	return sync.OnceValue(func() error { return <-outcome })
}

// guard turns a panic of body into an error that carries the stack.
func (p *Pipeline) guard(stage string, body func(context.Context) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic in stage %s: %v\n%s", stage, r, debug.Stack())
		}
	}()
	return body(p.ctx)
}

// fail cancels all stages with err, unless something failed before.
func (p *Pipeline) fail(stage string, err error) {
	if p.ctx.Err() == nil {
		p.env.Logger.Error().Str("stage", stage).Err(err).Msg("the database is read-only from now on")
	}
	p.cancel(err)
}

// Fail makes the database read-only because of what a caller met who wrote tables himself,
// and returns what writes fail with from now on.
func (p *Pipeline) Fail(err error) error {
	p.fail("caller", err)
	return p.Refusal()
}

// steward ends the stages in order, upstream first, when Close asks for it or a
// stage failed. After a failure it also answers the commits nobody else can.
func (p *Pipeline) steward(ctx context.Context) error {
	select {
	case <-p.closing:
	case <-ctx.Done():
	}
	p.door.shut()
	close(p.writer.inbox.ch)
	<-p.writerDone
	for c := range p.writer.inbox.ch {
		c.answer(p.Refusal())
	}
	<-p.flusherDone
	close(p.compactor.stopping)
	<-p.compactorDone
	if ctx.Err() == nil {
		close(p.keeper.inbox.ch)
	}
	return nil
}

// Enqueue sends a commit to the Writer, waiting for room until ctx ends. Once it
// returned nil, exactly one answer will come, unless the commit is abandoned. It may
// be there already: see courtesy.
//
// A Queued commit is the Writer's once Enqueue returned nil: nobody waits for it.
func (p *Pipeline) Enqueue(ctx context.Context, c *Commit) error {
	err := p.Prepare(ctx, c)
	if err != nil {
		return err
	}
	if c.Queued {
		p.queued.Add(1) // before it can be stored
		if err = p.enter(ctx, c); err != nil {
			p.queued.Add(-1)
		}
	} else {
		p.writer.courtesy.arrive()
		if err = p.enter(ctx, c); err == nil {
			p.writer.courtesy.giveWay(c)
		}
	}
	if err != nil {
		c.Drop()
	}
	return err
}

// Behind reports whether a commit that was Queued may not be visible yet. Once an empty one
// that is sent now is answered, all that were sent before are.
func (p *Pipeline) Behind() bool { return p.queued.Load() != p.writer.stored.Load() }

// Flush seals the active memtable and waits until it and all before it are in
// tables.
func (p *Pipeline) Flush(ctx context.Context) error {
	c := NewCommit()
	c.seal = true
	if err := p.Enqueue(ctx, c); err != nil {
		return err
	}
	select {
	case err := <-c.reply:
		return err
	case <-ctx.Done():
		c.Abandon()
		return ctx.Err()
	}
}

// requestFlush asks the Writer to seal the active memtable and returns where the answer
// will come, an error if its inbox is full. It never waits, as the Compactor calls it.
func (p *Pipeline) requestFlush() <-chan error {
	c := NewCommit()
	c.seal = true
	now, cancel := context.WithCancel(p.ctx)
	cancel()
	if err := p.enter(now, c); err != nil {
		c.answer(err)
	}
	return c.reply
}

// wake sends the Writer an empty commit if there is room in its inbox: where there is none,
// it will look anyway.
func (p *Pipeline) wake() {
	now, cancel := context.WithCancel(p.ctx)
	cancel()
	_ = p.enter(now, NewCommit())
}

// Compact merges everything whose user key lies between lower and upper
// (inclusive; nil: unbounded) down into one level.
func (p *Pipeline) Compact(ctx context.Context, lower, upper []byte) error {
	r := &rangeRequest{
		ctx:    ctx,
		bounds: compactor.Range{Lower: bytes.Clone(lower), Upper: bytes.Clone(upper), Through: p.Visible(), Before: p.env.Numbers.Peek()},
		reply:  make(chan error, 1),
	}
	select {
	case p.compactor.requests <- r:
	case <-ctx.Done():
		return ctx.Err()
	case <-p.compactorDone:
		return p.Refusal()
	}
	select {
	case err := <-r.reply:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Acquire registers s as a snapshot of what is visible now, and returns it.
func (p *Pipeline) Acquire(s *Snapshot) *Snapshot { return p.Register(s, p.At) }

// Release ends a snapshot; what only it needed may be compacted away.
func (p *Pipeline) Release(s *Snapshot) {
	if p.Unregister(s) {
		nudge(p.compactor.inbox.ch)
	}
}

// Begin is Acquire for a transaction.
func (p *Pipeline) Begin(s *Snapshot) *Snapshot {
	p.writer.transactions.Add(1)
	s.transaction = true
	return p.Acquire(s)
}

// End is Release for a transaction.
func (p *Pipeline) End(s *Snapshot) {
	p.Release(s)
	p.writer.transactions.Add(-1)
}

// nudge makes a stage look for work again. Sending never waits: one nudge is as good as
// two.
func nudge(stage chan<- struct{}) {
	select {
	case stage <- struct{}{}:
	default:
	}
}

// Failed returns the error that stopped the stages, nil while they run or after an
// orderly Close.
func (p *Pipeline) Failed() error {
	cause := context.Cause(p.ctx)
	if errors.Is(cause, context.Canceled) {
		return nil
	}
	return cause
}

// Refusal is the error of a write that the pipeline no longer takes.
func (p *Pipeline) Refusal() error {
	if cause := p.Failed(); cause != nil {
		return refused(cause)
	}
	return base.ErrClosed
}

// refused wraps the cause of a failure for callers: the database is read-only now,
// and this is why.
func refused(cause error) error {
	if errors.Is(cause, base.ErrReadOnly) {
		return cause
	}
	return fmt.Errorf("%w after a failure: %w", base.ErrReadOnly, cause)
}

// Close ends the stages in order and waits for them. It returns the error that
// stopped them before, or that stopping met. It is idempotent.
func (p *Pipeline) Close() error {
	p.closeOnce.Do(func() { close(p.closing) })
	err := p.group.Wait()
	p.preparing.Wait()
	p.writer.watch.Stop()
	p.cancel(context.Canceled)
	return cmp.Or(p.Failed(), err)
}

// SweepLeft tries once more to delete the obsolete files that could not be deleted:
// some systems refuse it while they are open. Call it after Close, when the tables
// are closed and nobody reads them.
func (p *Pipeline) SweepLeft() {
	if p.sweeper.ended.Load() {
		p.sweeper.removeLeft()
	}
}

// Environment is what all stages of one database share. Nothing in it changes after
// the start.
type Environment struct {
	*output.Directory
	MemtableBytes int64 // a memtable is sealed when it holds about this much
	RecoveryBytes int64 // the same of those that recovery fills
	Policy        compactor.Policy
	Workers       int              // compactions at a time, at least 1
	Clock         func() time.Time // by which values end; nil: time.Now

	KeepChangesBytes int64         // of logs that were flushed, for those who follow the changes; see changes.NewLog
	IdleDelay        time.Duration // without a write, after which the house is idle; 0: a second
}

// idleDelay returns IdleDelay or its default.
func (e *Environment) idleDelay() time.Duration { return cmp.Or(e.IdleDelay, time.Second) }
