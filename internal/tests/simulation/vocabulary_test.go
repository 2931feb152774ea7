package simulation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
)

// tick moves the clock.
func (c *simulatedClient) tick() {
	s := c.w.s
	s.now += int64(c.rng.IntN(5)) * int64(time.Second)
	s.clock.Set(s.now)
	s.met.Ticks++
}

// transact goes through a transaction, in which others have their turns. What it has read
// nobody may have changed when it commits.
func (c *simulatedClient) transact() {
	if !c.catchUp() {
		return
	}
	floor := c.w.floor()
	// The commit is answered, and ends the transaction, in the middle of a step of the
	// Writer or the Flusher, which look at what is open. So another one stays open until the
	// next step of this client.
	open, err := c.w.db.Begin()
	if err != nil {
		c.refused("begin", err)
		return
	}
	defer open.Discard()
	tx, err := c.w.db.Begin()
	if err != nil {
		c.refused("begin", err)
		return
	}
	defer tx.Discard()
	begun := c.w.db.Metrics().Sequence
	then := c.w.s.now
	m := fixture.BeginModel(c.w.known(floor, base.Seq(begun)), then)
	for i := range 1 + c.rng.IntN(3) {
		if c.rng.IntN(2) == 0 && !c.walk(tx, m) {
			return
		}
		o := c.operation()
		if then < o.Until && o.Until <= c.w.s.now { // it depends on what else may end: see Tx.PutUntil
			o.Until = c.w.s.now + 1
		}
		if fixture.Commit([]fixture.Operation{o}).Fill(tx) != nil {
			return // closed meanwhile
		}
		m.Write(o)
		c.values++
		if c.park(fmt.Sprintf("transaction %d.%d", c.values, i)) != nil {
			return
		}
	}
	c.commit(tx, m, begun)
}

// walk reads a few keys. It returns false when that failed.
func (c *simulatedClient) walk(tx *db.Tx, m *fixture.Transaction) bool {
	o := &db.IterOptions{Lower: []byte(c.key())}
	it, err := tx.NewIterator(o)
	if err != nil {
		c.refused("an iterator of a transaction", err)
		return false
	}
	beside := m.Iterator(it, o)
	for range 1 + c.rng.IntN(3) {
		if err = beside.Move("fgn"[c.rng.IntN(3)], c.key()); err != nil {
			break
		}
	}
	c.refused("a walk of a transaction", err)
	c.refused("the end of a walk", it.Close())
	return err == nil
}

func (c *simulatedClient) commit(tx *db.Tx, m *fixture.Transaction, begun uint64) {
	d := c.durability()
	i := c.issue(m.Commit(), min(d, db.NoSync)) // nor is Queued acknowledged earlier
	err := tx.Commit(&sending{Context: context.Background(), c: c, i: i}, d)
	if c.w.passing() != nil {
		return
	}
	if errors.Is(err, db.ErrConflict) {
		i.answered, i.removed = true, true
		c.w.s.met.Conflicts++
	} else if c.w.settle(i, err, false); err == nil {
		c.w.s.met.Committed++
	}
	// Those who were answered at the same time note that, too.
	if c.values++; c.park(fmt.Sprintf("committed %d", c.values)) != nil {
		return
	}
	c.w.s.history.resolve(c.w)
	if c.w.s.history.unplaced(i) {
		return
	}
	certain, possible := m.Conflicts(c.w.s.history.between(begun, i))
	if err == nil && certain || errors.Is(err, db.ErrConflict) && !possible {
		c.w.s.fail(fmt.Errorf("a transaction of %d operations that began at %d: %v, but what it has read was changed: %v", len(m.Commit()), begun, err, certain))
	}
}

// sending is the context of a transaction's commit, which is asked for its error before
// each time that the commit is sent to the Writer: twice if the Writer knew too little of
// what came before. The second time is a step of the schedule; so commits are noted in the
// order in which they come to the Writer.
type sending struct {
	context.Context
	c    *simulatedClient
	i    *issued
	sent bool
}

func (s *sending) Err() error {
	if s.i.waits { // it is being prepared; others may be sent before it even after that
		s.sent = true
		return nil
	}
	if s.sent {
		s.i.removed = true // until then
		s.c.values++
		if err := s.c.park(fmt.Sprintf("send again %d", s.c.values)); err != nil {
			return err // a dead machine: it is not sent, and all clients go at once
		}
		s.i.removed = false
		s.c.w.s.history.put(s.i)
	}
	s.sent = true
	return nil
}

// unplaced reports whether it is not known which commits came before one of them.
func (h *simulatedHistory) unplaced(end *issued) bool {
	for _, c := range h.commits {
		if c == end {
			return false
		}
		if !c.answered && !c.removed {
			return true
		}
	}
	return false
}

// between are the commits behind a sequence number and before one of them.
func (h *simulatedHistory) between(begun uint64, end *issued) (list []fixture.Commit) {
	sum := uint64(0)
	for _, c := range h.commits {
		if c == end {
			break
		}
		if !c.removed {
			if sum >= begun {
				list = append(list, c.ops)
			}
			sum += c.ops.Numbers()
		}
	}
	return list
}
