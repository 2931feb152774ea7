package simulation

import (
	"context"
	"errors"
	"fmt"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
)

// issued is a commit of the simulation, in the order in which commits came to the
// Writer: only one client goes at a time.
type issued struct {
	ops     fixture.Commit
	sync    bool
	late    bool        // issued when the directory was displaced
	queued  bool        // acknowledged when it was Queued, and not seen since
	waits   bool        // a large one that its caller has not sent yet
	written bool        // all but the last sync of it is done
	pending *db.Pending // submitted and not seen answered yet

	answered bool
	acked    bool
	removed  bool // the answer was that nothing of it is stored
}

// simulatedHistory is what was issued since the database was made, without what
// was certainly not stored or was lost.
type simulatedHistory struct {
	commits []*issued
	lost    bool // the power failed since the database was last open
}

// acknowledged returns how many commits must be visible: those up to the last one that was
// acknowledged.
func (h *simulatedHistory) acknowledged() int { return h.last(func(*issued) bool { return true }) }

// certain returns how many must be there after the process has ended: those up to the last one
// that was not only Queued or, after a power failure, that was acknowledged with Sync.
func (h *simulatedHistory) certain() int {
	return h.last(func(c *issued) bool { return c.sync || !h.lost && !c.queued })
}

func (h *simulatedHistory) last(counts func(*issued) bool) int {
	n := 0
	for i, c := range h.commits {
		if c.acked && !c.removed && counts(c) {
			n = i + 1
		}
	}
	return n
}

// at finds the commit after which the sequence number was seq, and what was there
// then. At least the first certain commits are before that.
func (h *simulatedHistory) at(seq uint64, certain int) (fixture.State, int, error) {
	v, sum := fixture.State{}, uint64(0)
	for n := 0; ; n++ {
		if n >= certain && sum == seq {
			return v, n, nil
		}
		if n == len(h.commits) || sum > seq {
			return nil, 0, fmt.Errorf("sequence number %d is not the end of a commit from %d on: commit %d of %d ends at %d", seq, certain, n, len(h.commits), sum)
		}
		if c := h.commits[n]; !c.removed {
			v.Apply(c.ops)
			sum += c.ops.Numbers()
		}
	}
}

// resolve looks at the answers to submitted commits.
func (h *simulatedHistory) resolve(w *world) {
	for _, c := range h.commits {
		if c.pending == nil || c.answered {
			continue
		}
		select {
		case <-c.pending.Done():
			w.settle(c, c.pending.Wait(context.Background()), false)
		default:
		}
	}
}

// forget stops waiting for answers: those who could give them are gone.
func (h *simulatedHistory) forget() {
	for _, c := range h.commits {
		c.pending = nil
	}
}

// settle notes the answer to a commit.
func (w *world) settle(c *issued, err error, cancelled bool) {
	if w.passing() != nil {
		return // what was certain when the machine died was noted then
	}
	c.answered = true
	switch {
	case err == nil:
		if c.acked = true; c.late && c.sync {
			w.s.fail(fmt.Errorf("a commit of %d operations was acknowledged as durable, but %s", len(c.ops), w.s.faults.displacement))
		}
	case errors.Is(err, db.ErrReadOnly):
		if !w.s.faults.happened {
			w.s.fail(fmt.Errorf("a write failed, but no file did: %w", err))
		}
	case errors.Is(err, db.ErrDiskFull) && w.s.faults.happened, w.s.faults.isShortage(err), cancelled && errors.Is(err, errCancelled), errors.Is(err, db.ErrClosed) && w.closing:
		c.removed = true
	default:
		w.s.fail(fmt.Errorf("the answer to a write is %w", err))
	}
}

// look reads everything that an iterator shows.
func look(it *db.Iterator, err error) (fixture.View, error) {
	if err != nil {
		return nil, err
	}
	v := fixture.View{}
	for ok := it.First(); ok; ok = it.Next() {
		v[string(it.Key())] = string(it.Value())
	}
	return v, errors.Join(it.Err(), it.Close())
}

// floor is how many commits must be visible from now on.
func (w *world) floor() int {
	w.s.history.resolve(w)
	return w.s.history.acknowledged()
}

// seen checks what somebody sees who looks at sequence number seq, which was read after
// floor. It returns what it has to be.
func (w *world) seen(floor int, seq base.Seq) fixture.View {
	return w.known(floor, seq).At(w.s.now)
}

// known is what the database knows then.
func (w *world) known(floor int, seq base.Seq) fixture.State {
	h := &w.s.history
	h.resolve(w)
	v, n, err := h.at(uint64(seq), floor)
	if err != nil {
		w.s.fail(fmt.Errorf("what is visible now: %w", err))
		return fixture.State{}
	}
	for _, c := range h.commits[:n] {
		c.queued = false // what is visible is written, and survives a killed process
	}
	return v
}

// reopened checks what an open found: whole commits, a prefix of what was issued, and
// nothing missing that was certain. The rest is gone.
func (w *world) reopened(d *db.DB) {
	h := &w.s.history
	found, err := look(d.NewIterator(nil))
	if err != nil && w.s.faults.gone() { // of what the process took along nothing is known
		for _, c := range h.commits {
			c.acked = c.acked && !c.queued
		}
		return
	}
	if err != nil {
		w.s.fail(fmt.Errorf("reading what an open found: %w", err))
		return
	}
	want, n, err := h.at(d.Metrics().Sequence, h.certain())
	if err == nil {
		err = fixture.Differ(want.At(w.s.now), found)
	}
	if err != nil {
		w.s.fail(fmt.Errorf("after the open: %w", err))
		return
	}
	h.commits = h.commits[:n]
	for _, c := range h.commits {
		// What a power failure left is on the disk. What a killed process left need not
		// be, unless it was acknowledged.
		c.sync = h.lost || c.sync && c.acked
		c.answered, c.acked, c.queued = true, true, false
	}
	h.lost = false
}
