package stages

import (
	"context"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/budget"
	"lsmdb/internal/changes"
	"lsmdb/internal/view"
	"lsmdb/manifest"
	"lsmdb/memtable"
	"lsmdb/wal"
)

// maxGroupBytes bounds the memory of a commit group: large enough to amortise a
// sync, small enough that the first member does not wait long for the last.
const maxGroupBytes = 1 << 20

// maxTurns bounds how often the Writer gives way while a group forms: some 20
// microseconds where nobody else wants the processor, a fraction of a sync. Where others
// do, base.LongTurn is the bound.
const maxTurns = 200

// crowd is the size of a group from which on its members are answered one by one, so
// that the first are back while the Writer is at work on the last. Smaller groups are
// faster answered at once.
const crowd = 17

// timedGroups is how many groups the time of one of them stands for. To look at the
// clock costs as much as a short commit. Syncs and rotations are timed always.
const timedGroups = 16

// Writer is the stage through which every write passes, one group at a time.
//
//   - Owns: the WAL, from the first write on, the active memtable (as its only
//     writer), the next sequence number.
//   - Sends to it: callers, through the door. The steward closes its inbox.
//   - Blocks it: the file system; before the first write the Keeper, which takes the
//     database over; the Flusher's full inbox, the back-pressure that callers feel.
//   - On an error of the WAL: answers the group in hand and returns. What it
//     wrote is then indeterminate, and nothing is written after it.
//   - Drains by writing everything that is queued, then finishes the WAL.
type Writer struct {
	env       *Environment
	published *view.Published
	inbox     *Inbox[*Commit]    // capacity: a burst of clients queues without waiting
	courtesy  courtesy           // of the callers, after they have sent
	preparer  *Inbox[*wal.Ahead] // the Writer is its only sender
	flusher   *Inbox[Sealed]     // so here; see room
	keeper    *Inbox[*Proposal]
	compactor chan<- struct{} // nudges it
	changes   *changes.Log    // is told of segments, syncs and loads

	closing <-chan struct{} // closed by Close before it waits for anything

	// Room has a place for each message in the Flusher's inbox, but those that a large commit
	// sends: the Writer takes it, waiting, and the Flusher gives it back when it has the
	// message. Place is that of a large commit: who prepares one takes it, waiting, and gives it
	// back if that is dropped, the Writer if there is a shortage, and otherwise the Flusher when
	// it lies in tables. Nobody closes them. Capacities: flusherCapacity, 1.
	room, place chan struct{}

	transactions atomic.Int64 // open ones, counted by those who begin and end them
	recent       view.Recent  // what they have to be compared with
	stored       atomic.Int64 // Queued commits that are visible; the Writer alone sets this

	log    *wal.Writer // nil: nothing was written yet
	active *memtable.Memtable
	next   base.Seq

	pace      pace          // by which it goes while flushes are behind
	courteous base.Courtesy // of the Writer itself
	proven    int64         // where the log proves by itself that all before was durable: behind a mark or the header

	group    []*Commit // the group in hand
	size     int64     // what it takes in memory
	durable  bool      // a member asked for a sync
	answered int       // size of the group before
	groups   uint64
	waited   time.Duration // of the group in hand's time, what syncs and rotations took
	sampled  time.Time     // when a group was timed last
	counted  time.Duration // as busy since then
	parts    [][]byte      // its WAL record
	header   []byte        // first part
	stirred  int64         // what the Compactor knows of the memtable
	ranges   int64         // range deletes so far

	// statsMu lets Metrics copy stats; the Writer takes it once per group.
	statsMu sync.Mutex
	stats   WriterStats

	syncedAhead uint64 // the segment that is synced, or was, before the change to the next; 0: none

	shortage base.Shortage // also of callers who prepare a large commit

	watch *Clock
	began atomic.Int64 // when the group in hand was begun, by watch

	closed *manifest.CleanMark // set when the WAL was finished; read after the Writer ended
}

// Sealed is the message that hands a full memtable to the Flusher.
type Sealed struct {
	Memtable *memtable.Memtable // nil: nothing to flush, only a waiter to answer
	Segment  uint64             // the WAL segment that feeds it, obsolete once it is flushed
	Next     uint64             // the segment of the next memtable
	LastSeq  base.Seq           // of the newest operation before Next, which need not be in any table
	waiter   *Commit            // answered when this memtable and all before it are in tables; may be nil

	room  <-chan struct{} // has a place for the message; nil: it needs none
	ahead int64           // entries that the Writer's pace counts as work until the Flusher has the message
	place <-chan struct{} // has one for the memtable until it is in tables; nil: it needs none
}

// run is the stage's loop.
func (w *Writer) run(ctx context.Context) error {
	w.sampled = time.Now()
	for {
		first, open, err := w.receive(ctx)
		if err != nil {
			return err
		}
		if !open {
			return w.finish(ctx)
		}
		w.groups++
		w.began.Store(w.watch.Now())
		w.courtesy.commits.Store(2*w.stats.Commits + 1)
		timed := w.groups%timedGroups == 1
		var start time.Time
		if timed {
			start = time.Now()
		}
		w.waited = 0
		w.collect(first)
		n := len(w.group)
		if err := w.writeGroup(ctx); err != nil {
			return err
		}
		w.answered = n
		busy := w.waited
		if timed {
			busy += w.sample(start)
		}
		w.counted += busy
		w.inbox.worked(n, busy)
		w.courtesy.commits.Store(2*w.stats.Commits + uint64(min(1, len(w.inbox.ch)))) // more waits: still at work
	}
}

// sample estimates the work on the groups since the last one that was timed, without
// what they waited for: as much as on the one that began at start, but never more time
// than has passed.
func (w *Writer) sample(start time.Time) time.Duration {
	now := time.Now()
	most := now.Sub(w.sampled) - w.counted - w.waited
	w.sampled, w.counted = now, -w.waited
	return max(0, min(timedGroups*(now.Sub(start)-w.waited), most))
}

// receive returns the next commit, or open as false after the last one. Before the Writer
// waits for long, it leaves a mark.
func (w *Writer) receive(ctx context.Context) (first *Commit, open bool, err error) {
	if w.unproven() && ctx.Err() == nil {
		w.courteous.Give() // whoever was answered may write again at once
		select {
		case first, open = <-w.inbox.ch:
			return first, open, nil
		default:
		}
		if err := w.mark(); err != nil {
			return nil, false, err
		}
	}
	first, open = <-w.inbox.ch
	return first, open, nil
}

// collect makes a group of first and what else waits. A commit that seals ends
// its group.
//
// Whoever was answered last is likely to write again at once, but needs the
// processor to do so. Before a sync it is worth giving them the chance: otherwise
// one half of the clients waits while the other half's group is synced, and each
// write takes two syncs. A client alone never waits for others.
func (w *Writer) collect(first *Commit) {
	w.group = append(w.group[:0], first)
	w.size, w.durable = groupSize(first), first.Sync
	more := w.drain()
	var spent time.Duration
	for turns := 0; more && w.durable && len(w.group) < w.answered && turns < maxTurns && spent < base.LongTurn; turns++ {
		took, again := w.courteous.Give()
		spent += took
		more = w.drain() && again
	}
}

// drain adds what waits to the group. It reports whether more may be added.
func (w *Writer) drain() bool {
	limit := min(maxGroupBytes, w.env.MemtableBytes/4)
	for w.size < limit && !w.group[len(w.group)-1].seal {
		select {
		case c, open := <-w.inbox.ch:
			if !open {
				return false
			}
			w.group = append(w.group, c)
			w.size += groupSize(c)
			w.durable = w.durable || c.Sync
		default:
			return true
		}
	}
	return false
}

// groupSize is what a commit counts towards the bound of its group: the memory that
// it takes, so that neither many tiny operations nor many empty commits are free.
func groupSize(c *Commit) int64 {
	return 64 + memtable.FootprintBytes(int64(c.count), c.payloadBytes)
}

// write makes the group in hand part of the history and answers its members. An
// error ends the stage; refusals that leave the database sound do not. Who is unanswered
// then hears of it when all stages are cancelled: nobody who knows of a failure may be
// told afterwards that something was Queued.
func (w *Writer) write(ctx context.Context) error {
	if ctx.Err() != nil {
		w.answer(refused(context.Cause(ctx)))
		return nil
	}
	shortage := w.makeRoom(ctx)
	if base.IsShortage(shortage) && w.hasQueued() {
		shortage = w.hold(ctx, shortage, w.makeRoom)
	}
	w.shortage.Note(shortage)
	switch {
	case ctx.Err() != nil: // it failed meanwhile: no member may hear that all before it is stored
		w.answer(refused(context.Cause(ctx)))
		return nil
	case shortage != nil && !base.IsShortage(shortage):
		return shortage
	case w.log == nil:
		w.answer(shortage)
		return nil
	}
	if err := w.takeMembers(shortage); err != nil || len(w.group) == 0 {
		return err
	}
	if c := w.group[0]; c.large != nil {
		return w.writeLarge(ctx, c)
	}
	if err := w.commit(); err != nil {
		return err
	}
	return w.acknowledge(ctx)
}

// answer sends err to every member of the group that has no answer yet. Members that
// were abandoned get an answer that nobody reads.
func (w *Writer) answer(err error) {
	for _, c := range w.group {
		if c != nil {
			c.answer(err)
		}
	}
	clear(w.group)
	w.group = w.group[:0]
}

// handOn sends a sealed memtable to the Flusher. While that has to wait, writers
// are stalled, and everybody can see it. It fails only with the cause of ctx.
func (w *Writer) handOn(ctx context.Context, s Sealed) error {
	if !w.flusherFull() {
		return w.sendOn(ctx, s)
	}
	start := time.Now()
	w.count(func(s *WriterStats) { s.Stalls++; s.Stalled = true })
	w.env.Logger.Info().Int("queued", len(w.flusher.ch)).Msg("writers are held back until a memtable is flushed")
	err := w.sendOn(ctx, s)
	waited := time.Since(start)
	w.count(func(s *WriterStats) { s.Stalled = false; s.StallTime += waited })
	w.env.Logger.Info().Dur("waited", waited).Msg("writers go on")
	return err
}

// flusherFull reports whether sendOn would have to wait.
func (w *Writer) flusherFull() bool { return len(w.room) == cap(w.room) }

// sendOn sends a message to the Flusher when it has room for that. It fails only with the
// cause of ctx.
func (w *Writer) sendOn(ctx context.Context, s Sealed) error {
	start := time.Now()
	defer func() { w.flusher.blocked.Add(int64(time.Since(start))) }()
	select {
	case w.room <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	s.room = w.room
	return w.flusher.send(ctx, s)
}

// takeMembers claims the members that were not abandoned. After a shortage it refuses
// those that write; the others, who only want a sync or a flush, need no room. A member
// that could not be read back is answered, too, and never reaches the log; nor does that
// of a transaction whose reads do not hold any more. If one that was Queued cannot be
// stored, that is a failure, as nobody else would tell.
func (w *Writer) takeMembers(shortage error) (failure error) {
	if shortage != nil {
		w.refuse(shortage)
	}
	kept, last := w.group[:0], w.next-1
	remember := w.recent.Begin(last, w.transactions.Load() > 0)
	for _, c := range w.group {
		if !c.take() {
			continue
		}
		var err error
		if c.large == nil {
			err = c.check()
		}
		if err == nil && remember {
			err = w.admit(c, last)
		}
		if err != nil {
			if c.Queued {
				failure = err
			}
			c.answer(err)
			continue
		}
		last += base.Seq(c.count)
		kept = append(kept, c)
	}
	clear(w.group[len(kept):])
	w.group = kept
	return failure
}

// commit appends the group to the WAL as one record, syncs if a member asked for
// it, inserts into the memtable and makes it visible, in this order.
func (w *Writer) commit() error {
	header := base.GroupHeader{First: w.next}
	w.parts = append(w.parts[:0], nil)
	durable := false // among those that were not abandoned
	var payload int64
	for _, c := range w.group {
		header.Count += c.count
		payload += c.payloadBytes
		durable = durable || c.Sync
		if c.count > 0 {
			w.parts = append(w.parts, c.encoded)
		}
	}
	before := w.log.Offset()
	if header.Count > 0 {
		if err := w.append(header); err != nil {
			return err
		}
	}
	if durable {
		if err := w.syncLog(); err != nil {
			return err
		}
	}
	clear(w.parts) // a large batch must not stay reachable from here
	w.count(func(s *WriterStats) {
		s.Commits += uint64(len(w.group))
		s.Groups++
		s.Operations += uint64(header.Count)
		s.UserBytes += uint64(payload)
		s.LogBytes += uint64(w.log.Offset() - before)
	})
	w.insert()
	w.changes.Durable(w.log.Durable()) // mostly as before
	return nil
}

// append writes a record that consists of a header and the parts behind the first.
func (w *Writer) append(header base.GroupHeader) error {
	if err := w.number(header); err != nil {
		return err
	}
	w.parts[0] = w.header
	if err := w.log.Append(w.parts...); err != nil {
		return fmt.Errorf("writing WAL segment %d: %w", w.log.Segment(), err)
	}
	return nil
}

// number encodes the header of a record, and fails where the numbers have run out.
func (w *Writer) number(header base.GroupHeader) error {
	w.header = header.AppendTo(w.header[:0])
	_, _, err := base.DecodeGroup(w.header)
	return err
}

// insert puts the group's operations into the memtable and makes them visible. Members
// of a crowd are answered on the way; their places in the group are nil then.
func (w *Writer) insert() {
	last := w.next - 1
	for _, c := range w.group {
		last += base.Seq(c.count)
	}
	w.published.Announce(last)
	queued := w.stored.Load()
	crowded := len(w.group) >= crowd
	for i, c := range w.group {
		for op := range c.all() {
			if op.Kind == base.KindRangeDelete {
				w.ranges++
			}
			w.active.Apply(op, w.next)
			if op.Kind > base.KindDelete {
				w.published.Applied(op, w.next, w.active.Len())
			}
			if !op.Kind.Removes() {
				w.published.Fill(op.Key, op.Key)
			}
			w.next++
		}
		if c.Queued {
			queued++
		}
		if crowded && !c.seal {
			w.published.Show(w.next - 1)
			w.group[i] = nil // the sender's again, as soon as it is answered
			c.answer(nil)
		}
	}
	w.published.Show(w.next - 1)
	w.stored.Store(queued)
	if w.active.Charge(w.env.Account, budget.Active) {
		w.env.Account.Settle()
	}
	w.stir()
}

// stir tells the Compactor now and then that the memtable holds more than before, and of
// each range delete: once nobody writes, it may be worth flushing.
func (w *Writer) stir() {
	stirred := w.ranges<<32 + int64(bits.Len64(uint64(w.active.Deletes()))) + (64*16*w.active.UsedBytes()/w.env.MemtableBytes)&^63
	if stirred != w.stirred {
		w.stirred = stirred
		nudge(w.compactor)
	}
}

// acknowledge answers the members. A member that seals is the last one: it goes
// to the Flusher, behind the memtable that ends with it.
func (w *Writer) acknowledge(ctx context.Context) error {
	end := len(w.group) - 1
	last := w.group[end]
	if last == nil || !last.seal {
		w.answer(nil)
		return nil
	}
	w.group[end] = nil
	w.answer(nil)
	w.group = append(w.group, last)
	var err error
	if last.load != nil {
		last.load.number = w.next
		if w.active.Empty() {
			// Who looks at the state of now must not see what is written after the load.
			w.active = w.published.NewMemtable(w.env.MemtableBytes)
			w.published.Rotate(w.active)
		}
	}
	if !w.active.Empty() {
		err = w.rotate(ctx, 0, last)
	} else if err = w.env.CheckPlace(); err == nil {
		err = w.handOn(ctx, Sealed{LastSeq: w.next - 1, waiter: last})
	}
	if err == nil && last.load != nil {
		err = w.endLoad(ctx, last)
	}
	switch {
	case err == nil:
		clear(w.group) // the Flusher answers
	case base.IsShortage(err):
		w.answer(err)
		err = nil
	case ctx.Err() != nil: // that is the stage's end already
		w.answer(refused(err))
		err = nil
	}
	return err
}
