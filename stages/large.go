package stages

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"lsmdb/internal/base"
	"lsmdb/internal/budget"
	"lsmdb/memtable"
	"lsmdb/wal"
)

// A commit that needs half a memtable or more would hold everybody up while the Writer logs and
// inserts it. So its caller prepares that before he sends it: a memtable, in which the numbers
// of operations count from 1, and a log segment under a temporary name, durable but for the
// numbers at its beginning. What is left to the Writer takes no longer than two rotations: it
// seals the active memtable, makes the prepared segment the next one, publishes the prepared
// memtable, and seals that too. If the commit is refused, all that was prepared goes.
//
// One at a time has a place, from before it is prepared until its memtable lies in tables. So
// large commits take no more memory than one of them does. Who sends them waits for those
// before, and the Writer for nobody: the Flusher's inbox has room for what one seals.

// largeSeals is how many memtables a large commit seals.
const largeSeals = 2

// large is what was prepared of a commit. It is the caller's until he sends the commit, and
// again when that is refused or was abandoned; the Writer's once it has taken the commit.
type large struct {
	pipeline *Pipeline
	memtable *memtable.Memtable
	log      *wal.Writer
	ended    bool // it is part of the database, or was dropped
}

// Prepare prepares a commit that is large. Enqueue does it for whoever has not. An error says
// that the commit cannot be sent: the context's, a shortage, or a refusal.
func (p *Pipeline) Prepare(ctx context.Context, c *Commit) error {
	if groupSize(c) < p.env.MemtableBytes/2 || c.count == 0 || c.large != nil && !c.large.ended {
		return nil
	}
	if err := c.check(); err != nil {
		return err
	}
	interrupted := func() error {
		select {
		case <-p.door.shutting:
			return p.Refusal()
		default:
			return ctx.Err()
		}
	}
	if !p.door.admit(&p.preparing) {
		return p.Refusal()
	}
	select {
	case p.writer.place <- struct{}{}:
	case <-ctx.Done():
		p.preparing.Done()
		return ctx.Err()
	case <-p.door.shutting:
		p.preparing.Done()
		return p.Refusal()
	}
	c.large = &large{pipeline: p}
	err := c.large.prepare(&c.Operations, interrupted)
	if err == nil {
		return nil
	}
	if stopped := interrupted(); stopped != nil {
		err = stopped
	} else if base.IsShortage(err) {
		p.writer.shortage.Note(err)
	} else { // the log of all can no longer be relied upon
		err = p.Fail(err)
	}
	c.Drop()
	return err
}

// interruptOperations is how many operations a caller inserts between two looks whether he is
// to go on.
const interruptOperations = 4 << 10

func (l *large) prepare(o *Operations, interrupted func() error) (err error) {
	if err := l.prepareLog(o, interrupted); err != nil {
		return err
	}
	account := l.pipeline.env.Account
	l.memtable = memtable.New(memtable.FootprintBytes(int64(o.count), o.payloadBytes))
	seq := base.Seq(0)
	for op := range o.all() {
		if seq++; seq%interruptOperations == 0 {
			if l.memtable.Charge(account, budget.Sealed) {
				account.Settle()
			}
			if err := interrupted(); err != nil {
				return err
			}
		}
		l.memtable.Apply(op, seq)
	}
	l.memtable.Charge(account, budget.Sealed)
	return nil
}

// prepareLog makes the segment, instead of the one that there may be.
func (l *large) prepareLog(o *Operations, interrupted func() error) (err error) {
	l.dropLog()
	unnumbered := base.GroupHeader{Count: o.count}.AppendTo(nil)
	if l.log, err = l.pipeline.env.PrepareSegment(interrupted, unnumbered, o.encoded); err != nil {
		return fmt.Errorf("preparing a WAL segment: %w", err)
	}
	return nil
}

func (l *large) dropLog() {
	if l.log == nil {
		return
	}
	env := l.pipeline.env
	if err := l.log.Discard(env.FS); err != nil {
		env.Logger.Warn().Uint64("segment", l.log.Segment()).Err(err).Msg("a prepared WAL segment stays until the next open")
	}
	l.log = nil
}

// Drop removes what was prepared for a commit that will not be stored. It is idempotent, and
// does nothing where the commit was stored or nothing was prepared.
func (c *Commit) Drop() {
	l := c.large
	if l == nil || l.ended {
		return
	}
	l.dropLog()
	if l.memtable != nil {
		l.memtable.Release()
		l.memtable.Free()
	}
	<-l.pipeline.writer.place
	l.end()
}

// end notes that nobody is to drop it any more.
func (l *large) end() {
	l.ended = true
	l.pipeline.preparing.Done()
}

// admit counts a caller unless the door is shut. Whoever has shut it can wait for all that were
// counted.
func (d *door) admit(callers *sync.WaitGroup) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.isShut {
		return false
	}
	callers.Add(1)
	return true
}

// writeGroup writes the group in hand, a large commit at its end by itself.
func (w *Writer) writeGroup(ctx context.Context) error {
	end := len(w.group) - 1
	last := w.group[end]
	if end > 0 && last.large != nil {
		w.group[end], w.group = nil, w.group[:end]
		err := w.write(ctx)
		if w.group = append(w.group, last); err != nil { // then nobody in it is answered yet
			return err
		}
	}
	return w.write(ctx)
}

// writeLarge makes a large commit, which was taken, part of the history, and answers it.
func (w *Writer) writeLarge(ctx context.Context, c *Commit) error {
	if err := w.number(base.GroupHeader{First: w.next, Count: c.count}); err != nil {
		return err
	}
	c.large.memtable.Follow(w.next - 1)
	var before Sealed
	place := func(context.Context) (err error) {
		before, err = w.change(func(previous wal.Previous) (*wal.Writer, error) { return w.placeLarge(c, previous) },
			func() *memtable.Memtable { return c.large.memtable })
		return err
	}
	err := place(ctx)
	if base.IsShortage(err) && c.Queued {
		err = w.hold(ctx, err, place)
	}
	switch {
	case base.IsShortage(err):
		w.shortage.Note(err)
		w.answer(err)
		return nil
	case err != nil:
		return err
	}
	w.showLarge(c)
	w.answer(nil)
	if err := w.handOnLarge(ctx, before); err != nil {
		return err
	}
	after, err := w.change(w.env.NewSegment, func() *memtable.Memtable { return w.published.NewMemtable(w.env.MemtableBytes) })
	if err == nil {
		after.place = w.place
		return w.handOnLarge(ctx, after)
	}
	if base.IsShortage(err) { // whatever comes next seals it, as it takes nothing more
		w.shortage.Note(err)
		<-w.place
		err = nil
	}
	return err
}

// placeLarge makes the segment of a large commit the one behind previous. If so many files were
// made meanwhile that the numbers have come to it, it is made again.
func (w *Writer) placeLarge(c *Commit, previous wal.Previous) (*wal.Writer, error) {
	l := c.large
	if l.log == nil || l.log.Segment() < previous.Segment {
		if err := l.prepareLog(&c.Operations, func() error { return nil }); err != nil {
			return nil, err
		}
	}
	if err := w.env.PlaceSegment(l.log, previous, w.header); err != nil {
		return nil, err
	}
	l.end()
	return l.log, w.env.CheckPlace()
}

// showLarge makes a large commit visible, whose memtable is the active one.
func (w *Writer) showLarge(c *Commit) {
	last := w.next - 1 + base.Seq(c.count)
	w.published.Announce(last)
	if w.active.Expiring() {
		w.published.Applied(base.Op{Kind: base.KindSetExpiring}, last, 0)
	}
	if it := w.active.NewIterator(); it.First() {
		lower := bytes.Clone(it.Key().UserKey())
		it.Last()
		w.published.Fill(lower, it.Key().UserKey())
	}
	w.next = last + 1
	w.published.Show(last)
	w.changes.Durable(w.log.Offset())
	if c.Queued {
		w.stored.Add(1)
	}
	w.count(func(s *WriterStats) {
		s.Commits++
		s.Large++
		s.Groups++
		s.Operations += uint64(c.count)
		s.UserBytes += uint64(c.payloadBytes)
		s.LogBytes += uint64(w.log.Offset())
	})
	nudge(w.compactor)
}

// handOnLarge sends what a large commit has sealed to the Flusher, without waiting.
func (w *Writer) handOnLarge(ctx context.Context, s Sealed) error {
	s.ahead = s.Memtable.Len()
	w.pace.work.ahead.Add(s.ahead)
	return w.flusher.send(ctx, s)
}
