package stages

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"lsmdb/compactor"
	"lsmdb/internal/base"
	"lsmdb/internal/changes"
	"lsmdb/internal/recovery"
	"lsmdb/internal/view"
	"lsmdb/manifest"
	"lsmdb/memtable"
	"lsmdb/wal"
)

// Keeper is the stage that keeps the tree: it takes the database over, writes every
// change to the MANIFEST, publishes the resulting version, and says what became
// obsolete.
//
//   - Owns: the MANIFEST, CURRENT, the current state; the first WAL segment, until
//     the Writer has it.
//   - Sends to it: the Flusher, the compaction workers and, once, the Writer. The
//     steward closes its inbox when the last of them has ended.
//   - Blocks it: the file system; the inbox of the Sweeper, which never sends to a stage
//     and so always comes back to it.
//   - On an error of MANIFEST, CURRENT or directory: returns it. What was proposed
//     may or may not be in the MANIFEST, so nothing is deleted any more.
//   - Drains by applying what is queued; then it marks CURRENT as cleanly closed
//     and closes the inbox of the Sweeper. Where nothing was changed
//     since the clean close before, it changes nothing either: that mark still holds.
//     A shortage then only costs the mark: what is acknowledged is durable without.
type Keeper struct {
	env       *Environment
	published *view.Published
	inbox     *Inbox[*Proposal]
	compactor chan<- struct{}  // nudges it
	sweeper   *Inbox[Obsolete] // the Keeper is its only sender
	changes   *changes.Log     // is told what there is when the database is taken over

	start Start       // empty once the database is taken over
	first *wal.Writer // the segment that was begun then, until the Writer has it
	state manifest.State
	log   *manifest.Log // nil: the database is not taken over
	bound int64         // the MANIFEST is rewritten when it is larger

	shortage base.Shortage
	hold     chan struct{} // not nil while level 0 is too full; closed when it no longer is
	logBytes atomic.Int64  // size of the MANIFEST, for Metrics

	// clean tells where the WAL ended, once the Writer has ended in good order; nil: it has
	// not.
	clean func() *manifest.CleanMark
}

// Proposal is the message that asks the Keeper to change the tree.
type Proposal struct {
	Edit    *manifest.Edit     // nil: only take the database over; the verdict brings the first WAL segment
	Flushed *memtable.Memtable // whose entries the added tables hold; leaves the read state. nil for a compaction
	Segment uint64             // the WAL segment that Flushed made obsolete; 0: none
	Load    *load              // whose tables are added, to the level that the Keeper finds; nil for all others

	// reply carries the one verdict, from the Keeper to the proposer. Capacity 1, so
	// answering never blocks; none without an edit, so that no segment is left behind
	// in it (the proposer makes that one). Nobody closes it.
	reply chan verdict
}

// verdict answers a proposal.
type verdict struct {
	err   error           // why the edit was not applied; see unwritten
	hold  <-chan struct{} // for flushes and loads: wait for this before the next one; nil: go on
	first *wal.Writer     // without an edit: the first segment. Whoever receives it owns it
}

// unwritten reports whether an edit is certainly not in the MANIFEST after a verdict.
func (v verdict) unwritten() bool { return base.IsShortage(v.err) || errors.Is(v.err, errOvertaken) }

// propose sends a proposal and waits for the verdict, no longer than ctx. Where the
// edit certainly was not written, the tables that it adds are nobody's, and are
// removed. Otherwise the MANIFEST may list them, whatever the error is.
func (e *Environment) propose(ctx context.Context, keeper *Inbox[*Proposal], p *Proposal) verdict {
	if p.Edit != nil {
		p.reply = make(chan verdict, 1)
	}
	v := verdict{err: keeper.send(ctx, p)}
	unwritten := v.err != nil
	if !unwritten {
		select {
		case v = <-p.reply:
			unwritten = v.unwritten()
		case <-ctx.Done():
			v.err = context.Cause(ctx)
		}
	}
	if unwritten && p.Edit != nil {
		e.RemoveTables(p.Edit)
	}
	return v
}

// succeed proposes new tables, the heirs, which readers then find cached as far as runs are: the
// tables that they replace or join. As far as the cache has room that is done before anybody
// can read them, and the rest when replaced tables have made room. A second look finds what
// was read during the first. If they certainly do not become part of the tree nothing of them
// stays.
func (e *Environment) succeed(ctx context.Context, keeper *Inbox[*Proposal], runs [][]*manifest.TableMeta, heirs []*manifest.TableMeta, p *Proposal) verdict {
	var courtesy base.Courtesy
	goOn := func() bool {
		courtesy.Give()
		return ctx.Err() == nil
	}
	e.Succeed(runs, heirs).Fill(goOn)
	left := e.Succeed(runs, heirs)
	left.Fill(goOn)
	v := e.propose(ctx, keeper, p)
	if v.err == nil {
		left.Fill(goOn)
	}
	return v
}

// run is the stage's loop. It watches ctx too, because after a failure its
// senders leave without its inbox being closed.
//
// What a log held is taken over at once. Without room for that, it is left to
// whoever proposes something.
func (k *Keeper) run(ctx context.Context) error {
	if len(k.start.Sealed) > 0 {
		if err := k.begin(ctx); err != nil && !base.IsShortage(err) {
			return err
		}
	}
	for ctx.Err() == nil { // after a failure, not even what is queued
		select {
		case p, open := <-k.inbox.ch:
			if !open {
				return k.finish(ctx)
			}
			start := time.Now()
			if err := k.handle(ctx, p); err != nil {
				return err
			}
			k.inbox.worked(1, time.Since(start))
		case <-ctx.Done():
		}
	}
	return nil
}

// begin takes the database over, unless that is done: before the first change, so
// who only reads changes no file and waits for no sync. Until it has returned no
// stage writes anything but tables that no MANIFEST lists. So whatever must be on disk
// before the first write is acknowledged, is. After a shortage nothing is changed, and
// it may be called again.
func (k *Keeper) begin(ctx context.Context) error {
	if k.log != nil {
		return nil
	}
	b, err := k.start.Takeover.Begin()
	k.shortage.Note(err)
	if err != nil {
		k.env.Logger.Error().Err(err).Msg("the database could not be taken over")
		return err
	}
	k.start, k.first, k.state = Start{}, b.Log, b.State
	k.setLog(b.Manifest)
	k.changes.Resume(b.Changes)
	k.published.Advance(b.State.Version, k.published.State().Sealed...) // nothing was sealed since
	nudge(k.compactor)
	return nil
}

// handle applies one proposal. An error ends the stage.
func (k *Keeper) handle(ctx context.Context, p *Proposal) error {
	err := k.begin(ctx)
	if err != nil && !base.IsShortage(err) {
		return err
	}
	if p.Edit == nil || err != nil {
		select {
		case p.reply <- verdict{err: err, first: k.first}:
			k.first = nil
		case <-ctx.Done(): // the Writer, who does nothing but wait for this, may have left
		}
		return nil
	}
	v, obsolete, err := k.apply(p)
	if err != nil {
		return err
	}
	nudge(k.compactor) // also when a load was faster than one of its jobs
	k.holdBack()
	if p.Flushed != nil || p.Load != nil {
		v.hold = k.hold
	}
	p.reply <- v
	for _, o := range obsolete {
		if err := k.sweeper.send(ctx, o); err != nil {
			return err
		}
	}
	return k.rewrite(ctx)
}

// apply writes the edit, publishes what it makes of the tree, and lists what
// nothing needs any more.
func (k *Keeper) apply(p *Proposal) (verdict, []Obsolete, error) {
	edit := p.Edit
	edit.NextFile = k.env.Numbers.Peek()
	for _, a := range edit.Added {
		edit.LastSeq = max(edit.LastSeq, a.Meta.LargestSeq)
	}
	edit.LastSeq = max(edit.LastSeq, k.state.LastSeq)
	edit.Now = k.published.NotBefore(0)
	previous := k.state.Version
	if p.Load != nil {
		level := compactor.LoadLevel(previous, p.Load.lower, p.Load.upper)
		for i := range edit.Added {
			edit.Added[i].Level = level
		}
	} else if compactor.Overtaken(edit, previous) {
		return verdict{err: errOvertaken}, nil, nil
	}
	next, err := k.state.Apply(edit)
	if err != nil {
		return verdict{}, nil, fmt.Errorf("invariant: the tree refuses its own edit: %w", err)
	}
	if err := k.log.Append(edit); err != nil {
		if base.IsShortage(err) {
			return verdict{err: err}, nil, nil
		}
		return verdict{}, nil, fmt.Errorf("writing the MANIFEST: %w", err)
	}
	for _, a := range edit.Added {
		k.env.Attach(a.Meta)
	}
	k.state = next
	k.logBytes.Store(k.log.Offset())
	k.published.Advance(next.Version, p.Flushed)
	return verdict{}, k.obsolete(p, previous), nil
}

// obsolete lists the files that p made superfluous: tables it removed without
// adding them elsewhere, and the WAL segment of a flushed memtable.
func (k *Keeper) obsolete(p *Proposal, previous *manifest.Version) []Obsolete {
	var list []Obsolete
	for _, r := range p.Edit.Removed {
		tables := previous.Levels[r.Level]
		t := tables[slices.IndexFunc(tables, func(t *manifest.TableMeta) bool { return t.Number == r.Number })]
		if !k.state.Version.Lists(t) {
			t.Handle.Retire()
			list = append(list, Obsolete{Name: base.TableName(t.Number), Table: t})
		}
	}
	if p.Segment != 0 {
		list = append(list, Obsolete{Name: base.WALName(p.Segment), Segment: p.Segment})
	}
	return list
}

// holdBack decides whether flushes and loads must wait for level 0 to shrink.
func (k *Keeper) holdBack() {
	full := len(k.state.Version.Levels[0]) >= k.env.Policy.L0Limit
	switch {
	case full && k.hold == nil:
		k.hold = make(chan struct{})
	case !full && k.hold != nil:
		close(k.hold)
		k.hold = nil
	}
}

// rewrite replaces a MANIFEST that outgrew its bound by a snapshot of the state.
// A shortage is no reason to stop: the old one still serves.
func (k *Keeper) rewrite(ctx context.Context) error {
	if k.log.Offset() <= k.bound {
		return nil
	}
	number := k.env.Numbers.Next()
	k.state.NextFile, k.state.Loaded = max(k.state.NextFile, k.env.Numbers.Peek()), k.changes.Loaded(k.state.Loaded)
	log, err := manifest.CreateLog(k.env.FS, k.env.Dir, number, k.state)
	switch {
	case base.IsShortage(err):
		k.postpone(err)
		return nil
	case err != nil:
		return fmt.Errorf("rewriting the MANIFEST: %w", err)
	}
	err = manifest.WriteCurrent(k.env.FS, k.env.Dir, manifest.Current{Manifest: number})
	old := log
	switch {
	case base.IsShortage(err):
		k.postpone(err)
	case err != nil:
		return errors.Join(fmt.Errorf("switching CURRENT: %w", err), log.Close())
	default:
		old = k.log
		k.setLog(log)
	}
	if err := old.Close(); err != nil {
		return fmt.Errorf("closing an obsolete MANIFEST: %w", err)
	}
	return k.sweeper.send(ctx, Obsolete{Name: base.ManifestName(old.Segment())})
}

// postpone goes on with a MANIFEST that there was no room to rewrite.
func (k *Keeper) postpone(err error) {
	k.env.Logger.Warn().Err(err).Msg("the MANIFEST is not rewritten now")
	k.bound *= 2
}

// setLog makes log the MANIFEST and bounds its growth.
func (k *Keeper) setLog(log *manifest.Log) {
	k.log = log
	k.bound = manifestBound(log.Offset())
	k.logBytes.Store(log.Offset())
}

// manifestBound is the size at which a MANIFEST that began with snapshotBytes is
// rewritten: the edits then outweigh the snapshot several times, so rewriting
// costs little beside writing them.
func manifestBound(snapshotBytes int64) int64 { return 4*snapshotBytes + 64<<10 }

// release closes the files that finish did not. Every edit in the MANIFEST is
// durable and the segment is empty, so an error here changes nothing.
func (k *Keeper) release() { recovery.Begun{Manifest: k.log, Log: k.first}.Close() }

// finish ends the MANIFEST of an orderly shutdown, and the WAL where there was no
// write. The clean-close mark comes last: it tells the next open where both must end.
func (k *Keeper) finish(ctx context.Context) error {
	if k.log == nil && k.start.Marked && len(k.start.Sealed) == 0 && k.published.NotBefore(0) <= k.start.State.Now {
		return nil
	}
	err := k.env.CheckPlace() // the last time: who hears that all is well may never open again
	if err == nil {
		err = k.mark(ctx)
	}
	if base.IsShortage(err) {
		k.env.Logger.Warn().Err(err).Msg("the database is closed without the mark of a clean close")
		return nil
	}
	return err
}

// mark ends the files and then says in CURRENT where.
func (k *Keeper) mark(ctx context.Context) error {
	if err := k.begin(ctx); err != nil {
		return err
	}
	clean := k.clean()
	if k.first != nil {
		walEnd, err := k.first.Finish()
		if err != nil {
			return fmt.Errorf("finishing WAL segment %d: %w", k.first.Segment(), err)
		}
		clean = &manifest.CleanMark{WAL: k.first.Segment(), WALEnd: walEnd}
	}
	if now := k.published.NotBefore(0); now > k.state.Now {
		if err := k.log.Append(&manifest.Edit{Now: now}); err != nil {
			return fmt.Errorf("writing the MANIFEST: %w", err)
		}
	}
	end, err := k.log.Finish()
	if err != nil {
		return fmt.Errorf("finishing the MANIFEST: %w", err)
	}
	if clean == nil || ctx.Err() != nil {
		return nil
	}
	clean.ManifestEnd = end
	if err := manifest.WriteCurrent(k.env.FS, k.env.Dir, manifest.Current{Manifest: k.log.Segment(), Clean: clean}); err != nil {
		return fmt.Errorf("marking the database as cleanly closed: %w", err)
	}
	return nil
}
