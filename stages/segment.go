package stages

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/budget"
	"lsmdb/internal/output"
	"lsmdb/manifest"
	"lsmdb/memtable"
	"lsmdb/wal"
)

// What the Writer does with its log as a whole: the first segment, room for a
// group, the change to the next segment, syncs, marks and the end. The Preparer, who works
// for it alone, comes last.

// maxMarkBytes is more than a mark takes in the log: a chunk, at worst in the next block.
const maxMarkBytes = 128

// begin has the Keeper take the database over before the first write, and gets the
// WAL from it.
func (w *Writer) begin(ctx context.Context) error {
	if w.log != nil {
		return nil
	}
	start := time.Now()
	v := w.env.propose(ctx, w.keeper, &Proposal{reply: make(chan verdict)})
	w.waited += time.Since(start)
	if v.first != nil {
		w.goOnIn(v.first)
	}
	return v.err
}

// goOnIn makes an empty segment the Writer's log.
func (w *Writer) goOnIn(log *wal.Writer) {
	w.changes.Begin(log.Segment(), w.next)
	w.log, w.proven = log, log.Offset()
	log.Ask = func(a *wal.Ahead) { w.preparer.ch <- a } // there is room: see Preparer
}

// makeRoom ensures that memtable and WAL have room for the group, rotating if
// necessary. Nothing of the group is written yet, so its members may still
// abandon it while a full Flusher, or the first write, makes them wait here. After a
// shortage the group is refused and the next one tries again; any other error is final.
func (w *Writer) makeRoom(ctx context.Context) error {
	if err := w.begin(ctx); err != nil {
		return fmt.Errorf("taking the database over: %w", err)
	}
	if err := w.giveWay(ctx); err != nil || w.group[0].large != nil {
		return err
	}
	var count, payload, logBytes int64
	for _, c := range w.group {
		count += int64(c.count)
		payload += c.payloadBytes
		logBytes += int64(len(c.encoded))
	}
	if count == 0 {
		return w.tryRoom(ctx)
	}
	footprint := memtable.FootprintBytes(count, payload)
	if !w.active.Fits(footprint) {
		if err := w.replaceActive(ctx, footprint); err != nil {
			return err
		}
	}
	if err := w.keepPace(ctx, footprint); err != nil {
		return err
	}
	w.syncSoon()
	return w.reserve(base.GroupHeaderBytes + logBytes + maxMarkBytes)
}

func (w *Writer) reserve(recordBytes int64) error {
	if err := w.log.Reserve(recordBytes); err != nil {
		return fmt.Errorf("preparing the WAL: %w", err)
	}
	return nil
}

// leastRoomBytes in the log are what there has to be for a disk not to be full.
const leastRoomBytes = 64 << 10

// tryRoom looks, after a shortage, whether there is room again: for a longer log, or for one
// behind a large commit.
func (w *Writer) tryRoom(ctx context.Context) error {
	switch {
	case w.shortage.Now() == nil:
		return nil
	case w.log.Closed():
		return w.replaceActive(ctx, 0)
	}
	return w.reserve(w.log.ReservedBytes() - w.log.Offset() + leastRoomBytes)
}

// giveWay does what the memory budget asks for. Where memtables take more than their half,
// it waits for the Flusher to be done with those of this database. A memtable that is to be
// flushed before its time is; a shortage of anything else is no reason to refuse what still
// fits into it.
func (w *Writer) giveWay(ctx context.Context) error {
	account := w.env.Account
	if account.Pressed() && len(w.published.State().Sealed) > 0 {
		if err := w.awaitFlush(ctx); err != nil {
			return err
		}
	}
	if !account.MustFlush() {
		return nil
	}
	err := w.rotate(ctx, 0, nil)
	if base.IsShortage(err) {
		account.Flushing() // it is asked again when the memtable has grown
		return nil
	}
	return err
}

// awaitFlush waits until all memtables that were sealed are flushed. It fails only with the
// cause of ctx.
func (w *Writer) awaitFlush(ctx context.Context) error {
	start, before := time.Now(), w.waited
	w.count(func(s *WriterStats) { s.Stalls++; s.Stalled = true })
	defer func() {
		waited := time.Since(start)
		w.waited = before + waited
		w.count(func(s *WriterStats) { s.Stalled = false; s.StallTime += waited })
	}()
	flushed := NewCommit()
	if err := w.sendOn(ctx, Sealed{waiter: flushed}); err != nil {
		return err
	}
	select {
	case <-flushed.reply: // where the Flusher has given up, this is the end anyway
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// keepPace slows the Writer down when the Flusher's inbox is full: once the memtable is full
// too, it could not be handed on before the flush under way is done.
func (w *Writer) keepPace(ctx context.Context, footprint int64) error {
	if !w.flusherFull() {
		w.pace.bound = false
		return nil
	}
	waited, err := w.pace.keep(ctx, footprint, func() (room, work int64) {
		if !w.flusherFull() {
			return 0, 0
		}
		if work = w.pace.work.left.Load(); work > 0 {
			work += w.pace.work.ahead.Load()
		}
		return w.active.CapacityBytes() - w.active.UsedBytes(), work
	}, nil, nil)
	w.waited += waited
	return err
}

// syncSoon has the segment synced beside the Writer when its memtable is nearly full. So the
// change to the next one waits for little of the disk.
func (w *Writer) syncSoon() {
	capacity := w.active.CapacityBytes()
	if w.syncedAhead != w.log.Segment() && w.active.UsedBytes() > capacity-capacity/16 && w.log.SyncAhead() {
		w.syncedAhead = w.log.Segment()
	}
}

// replaceActive puts a memtable with room for footprint bytes in the place of
// the active one.
func (w *Writer) replaceActive(ctx context.Context, footprint int64) error {
	if w.active.Empty() {
		w.active = w.published.NewMemtable(max(w.env.MemtableBytes, footprint))
		w.published.Rotate(w.active)
		return nil
	}
	return w.rotate(ctx, footprint, nil)
}

func (w *Writer) hasQueued() bool {
	return slices.ContainsFunc(w.group, func(c *Commit) bool { return c.Queued })
}

// hold keeps the members that were acknowledged when they were queued until there is room
// for them: again looks whether there is. Meanwhile callers feel that the inbox is full.
// Others who write are refused, as without them; who only wants a sync or a flush wants
// theirs, too. It gives up when the database is closed.
func (w *Writer) hold(ctx context.Context, shortage error, again func(context.Context) error) error {
	w.refuse(shortage)
	start, before := time.Now(), w.waited
	defer func() { w.waited = before + time.Since(start) }()
	closing := false
	for retry := (output.BackOff{}); base.IsShortage(shortage) && !closing; {
		retry.After(shortage)
		w.shortage.Note(shortage)
		w.env.Logger.Error().Err(shortage).Dur("retry_in", retry.Delay).Msg("queued writes wait for room")
		select {
		case <-time.After(retry.Delay):
		case <-w.closing:
			closing = true
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		shortage = again(ctx)
	}
	if base.IsShortage(shortage) {
		// It does not pass by itself any more.
		return fmt.Errorf("closed while writes that were queued waited for room: they are lost: %v", shortage)
	}
	return shortage
}

// refuse answers the members that write and that nobody promised anything yet.
func (w *Writer) refuse(shortage error) {
	w.group = slices.DeleteFunc(w.group, func(c *Commit) bool {
		refused := c.count > 0 && !c.Queued
		if refused {
			c.answer(shortage)
		}
		return refused
	})
}

// rotate seals the active memtable: it changes to a new one, with room for footprint bytes, and
// only then sends the sealed one on.
func (w *Writer) rotate(ctx context.Context, footprint int64, waiter *Commit) error {
	start, before := time.Now(), w.waited
	defer func() { w.waited = before + time.Since(start) }()
	sealed, err := w.change(w.env.NewSegment, func() *memtable.Memtable {
		return w.published.NewMemtable(max(w.env.MemtableBytes, footprint))
	})
	if err != nil {
		return err
	}
	sealed.waiter = waiter
	return w.handOn(ctx, sealed)
}

// change makes the segment durable, opens the next, and publishes the new read state. It
// returns what it has sealed.
//
// The old segment is synced before the next one exists, so a segment that has a
// successor has no torn tail: recovery may take any damage in it for what it is.
func (w *Writer) change(open func(wal.Previous) (*wal.Writer, error), active func() *memtable.Memtable) (sealed Sealed, err error) {
	start, before := time.Now(), w.waited
	defer func() { w.waited = before + time.Since(start) }()
	if err := w.syncAll(); err != nil {
		return sealed, err
	}
	next, err := open(wal.Previous{Segment: w.log.Segment(), End: w.log.Offset()})
	if err != nil {
		return sealed, fmt.Errorf("opening a WAL segment: %w", err)
	}
	if err := w.log.Close(); err != nil {
		return sealed, errors.Join(fmt.Errorf("closing WAL segment %d: %w", w.log.Segment(), err), next.Close())
	}
	w.changes.Durable(w.log.Offset())
	sealed = Sealed{Memtable: w.active, Segment: w.log.Segment(), Next: next.Segment(), LastSeq: w.next - 1}
	w.goOnIn(next)
	w.active.Charge(w.env.Account, budget.Sealed)
	w.env.Account.Flushing()
	w.active = active()
	w.published.Rotate(w.active)
	took := time.Since(start)
	w.count(func(s *WriterStats) { s.Rotations++; s.RotationTime += took })
	return sealed, nil
}

// syncLog makes every group in the segment durable. A mark behind the last one says that
// they are, and is not worth a sync of its own.
func (w *Writer) syncLog() error {
	if w.proven == w.log.Offset() {
		return w.env.CheckPlace()
	}
	return w.syncAll()
}

// syncAll makes the segment durable, unless it is already: then only the place is checked,
// because who is answered may hear of this durability for the first time.
func (w *Writer) syncAll() error {
	if w.log.Durable() == w.log.Offset() {
		return w.env.CheckPlace()
	}
	start := time.Now()
	err := w.log.Sync()
	if err == nil {
		err = w.env.CheckPlace()
	}
	if err != nil {
		return fmt.Errorf("syncing WAL segment %d: %w", w.log.Segment(), err)
	}
	took := time.Since(start)
	w.waited += took
	w.count(func(s *WriterStats) { s.Syncs++; s.SyncTime += took })
	return nil
}

// unproven reports whether the last group in the log was synced and nothing behind it says
// so.
func (w *Writer) unproven() bool {
	return w.log != nil && w.proven != w.log.Offset() && w.log.Durable() == w.log.Offset()
}

// mark appends an empty group to a log whose last group was synced. It is not synced
// itself. As every record, it tells how far the log was durable: so damage to the last
// group of a process that was killed is no torn tail. There is room for it: see makeRoom.
func (w *Writer) mark() error {
	if w.log.ReservedBytes()-w.log.Offset() < maxMarkBytes || w.next > base.MaxSeq {
		return nil
	}
	w.parts = append(w.parts[:0], nil)
	err := w.append(base.GroupHeader{First: w.next})
	w.proven = w.log.Offset()
	return err
}

// finish ends the WAL of an orderly shutdown with its clean-close mark.
func (w *Writer) finish(ctx context.Context) error {
	if ctx.Err() != nil || w.log == nil || w.log.Closed() { // no room for a log behind a large commit: there is no mark
		return nil
	}
	end, err := w.log.Finish()
	if err != nil {
		return fmt.Errorf("finishing WAL segment %d: %w", w.log.Segment(), err)
	}
	w.closed = &manifest.CleanMark{WAL: w.log.Segment(), WALEnd: end}
	return nil
}

// release ends the WAL where finish did not, because something failed. What was
// acknowledged is made durable if the WAL itself is sound; errors change nothing
// any more.
func (w *Writer) release() {
	if w.log != nil {
		_ = w.log.Sync()
		_ = w.log.Close()
	}
}

// Preparer is the stage that makes what the Writer will need soon, so that nobody's write
// waits for it: the next piece of the log, allocated, mapped and touched.
//
//   - Owns: nothing but what it makes, until that is answered.
//   - Sends to it: the Writer, which also closes its inbox. There is room for the one that
//     can be under way. The answer is in the message.
//   - Blocks it: the file system.
//   - On an error: makes nothing. The Writer then does it for itself, and says why it cannot.
//   - Drains by making what is queued. After a panic it declines the rest.
type Preparer struct {
	inbox *Inbox[*wal.Ahead]
}

// run is the stage's loop. It ends after the Writer, which may wait for answers till then.
func (p *Preparer) run(context.Context) error {
	for a := range p.inbox.ch {
		start := time.Now()
		a.Prepare()
		p.inbox.worked(1, time.Since(start))
	}
	return nil
}

// decline answers what nobody will make any more.
func (p *Preparer) decline() {
	for a := range p.inbox.ch {
		a.Decline()
	}
}
