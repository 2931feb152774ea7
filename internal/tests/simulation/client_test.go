package simulation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/door"
	"lsmdb/internal/tests/fixture"
)

var errCancelled = context.Canceled

// simulatedClient uses the database as one goroutine does. All writes are batches: the
// messages of Put and Delete are recycled through a pool, and a channel must not leave its
// bubble. Gets count at random for read-triggered compactions; so it reads by
// iterators.
type simulatedClient struct {
	w      *world
	id     int
	rng    *rand.Rand
	values int
	held   []heldView
}

// heldView is a snapshot or an iterator with what it has to show.
type heldView struct {
	snapshot *db.Snapshot // nil: the iterator
	iterator *db.Iterator
	want     fixture.View
}

// action is a call, and how often it is made.
type action struct {
	weight int
	name   string
	do     func()
}

// run makes calls until it has made enough or the machine died. The first client
// closes the database in the end.
func (c *simulatedClient) run() {
	id := goroutineID()
	c.w.mu.Lock()
	c.w.reader[id] = true
	c.w.mu.Unlock()
	actions := []action{
		{12, "write", c.write}, {5, "cancelled write", c.cancelled}, {5, "submit", c.submit}, {2, "sync", c.sync}, {2, "flush", c.flush},
		{2, "compact", c.compact}, {3, "snapshot", c.snapshot}, {2, "iterator", c.iterate}, {4, "look", c.look}, {2, "release", c.release},
		{3, "tick", c.tick}, {6, "transaction", c.transact},
	}
	total := 0
	for _, a := range actions {
		total += a.weight
	}
	for i := range 3 + c.rng.IntN(14) {
		n, a := c.rng.IntN(total), 0
		for ; n >= actions[a].weight; a++ {
			n -= actions[a].weight
		}
		if c.park(fmt.Sprintf("call %d: %s", i, actions[a].name)) != nil {
			break
		}
		actions[a].do()
	}
	for len(c.held) > 0 {
		// Each release is a step: it may start a compaction, which looks at those left.
		_ = c.park("release at the end")
		c.release()
	}
	if c.id == 0 && c.park("close") == nil {
		c.close()
	}
	c.w.mu.Lock()
	c.w.active--
	c.w.mu.Unlock()
}

func (c *simulatedClient) park(what string) error {
	return c.w.gate(fmt.Sprintf("client %d: %s", c.id, what), nil)
}

// fill fills a batch.
func (c *simulatedClient) fill() (*db.Batch, fixture.Commit) {
	b := c.w.db.NewBatch()
	var ops fixture.Commit
	for range 1 + c.rng.IntN(4) {
		ops = append(ops, c.operation())
	}
	c.w.s.fail(ops.Fill(b))
	return b, ops
}

func (c *simulatedClient) operation() fixture.Operation {
	o := fixture.Operation{Key: c.key(), Delete: c.rng.IntN(4) == 0}
	if !o.Delete {
		c.values++
		o.Value = fmt.Sprintf("%d.%d.%d,%s", c.w.s.life, c.id, c.values, strings.Repeat("v", c.rng.IntN(c.w.s.valueBytes)))
	}
	return fixture.Varied(c.rng, o, c.key(), c.w.s.now)
}

func (c *simulatedClient) key() string {
	key := fmt.Sprintf("key%d", c.rng.IntN(12))
	if c.w.s.largeKeys {
		key += strings.Repeat("k", 9000)
	}
	return key
}

// issue notes a commit that is about to be sent.
func (c *simulatedClient) issue(ops fixture.Commit, d db.Durability) *issued {
	i := &issued{ops: ops, sync: d == db.Sync, queued: d == db.Queued, late: c.w.s.faults.displaced, waits: c.w.isLarge(ops)}
	if i.queued {
		c.w.s.met.Queued++
		if !i.waits {
			c.w.queued++
		}
	}
	c.w.s.history.put(i)
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.w.issuing[goroutineID()] = i
	return i
}

func (c *simulatedClient) durability() db.Durability { return db.Durability(c.rng.IntN(3)) }

func (c *simulatedClient) write() {
	b, ops := c.fill()
	d := c.durability()
	i := c.issue(ops, d)
	c.w.settle(i, c.w.db.Apply(context.Background(), b, d), false)
}

// cancelled writes a batch and takes it back, if it is not too late for that.
func (c *simulatedClient) cancelled() {
	b, ops := c.fill()
	d := c.durability()
	ctx, cancel := context.WithCancel(context.Background())
	asked := false // written and read by one goroutine at a time: only one goes
	c.values++
	name := fmt.Sprintf("cancel %d", c.values)
	c.w.wg.Go(func() {
		if c.park(name) == nil {
			asked = true
		}
		cancel()
	})
	i := c.issue(ops, d)
	err := c.w.db.Apply(ctx, b, d)
	c.w.settle(i, err, true)
	switch {
	case c.w.passing() != nil:
	case err == nil && asked:
		c.w.s.met.CancelledTooLate++
	case errors.Is(err, errCancelled) && asked:
		c.w.s.met.Abandoned++
	}
}

func (c *simulatedClient) submit() {
	b, ops := c.fill()
	d := c.durability()
	i := c.issue(ops, d)
	p, err := c.w.db.Submit(context.Background(), b, d)
	if err != nil {
		c.w.settle(i, err, false)
		return
	}
	i.pending, i.queued = p, false // it is answered when it is written
}

func (c *simulatedClient) sync() {
	i := c.issue(nil, db.Sync)
	c.w.settle(i, c.w.db.Sync(context.Background()), false)
}

// flush flushes, unless another client is at it: with two flushes in the Writer's inbox it
// is a matter of luck whether the Flusher is fast enough not to hold the Writer back.
func (c *simulatedClient) flush() {
	if c.w.swapFlushing(true) {
		return
	}
	defer c.w.swapFlushing(false)
	i := c.issue(nil, db.Sync)
	c.w.settle(i, c.w.db.Flush(context.Background()), false)
}

// compact does what Compact does, but parks between its halves: otherwise the second
// one looks at the next file number while the Flusher takes it. A database that has
// failed, but not ended, might take the request or not.
func (c *simulatedClient) compact() {
	c.flush()
	if c.park("compact") != nil || c.w.isClosing() || c.w.db.Metrics().Failure != "" {
		return
	}
	err := door.Compact(c.w.db)
	if err != nil && !errors.Is(err, db.ErrClosed) && !c.w.s.faults.happened && c.w.passing() == nil {
		c.w.s.fail(fmt.Errorf("compact: %w", err))
	}
}

func (c *simulatedClient) snapshot() {
	if !c.catchUp() {
		return
	}
	floor := c.w.floor()
	s, err := c.w.db.NewSnapshot()
	if err != nil {
		c.refused("snapshot", err)
		return
	}
	if c.w.db.Metrics().Compact.Running > 0 {
		c.w.s.met.SnapshotInCompaction++
	}
	c.held = append(c.held, heldView{snapshot: s, want: c.w.seen(floor, base.Seq(c.w.db.Metrics().Sequence))})
}

func (c *simulatedClient) iterate() {
	if !c.catchUp() {
		return
	}
	floor := c.w.floor()
	it, err := c.w.db.NewIterator(nil)
	if err != nil {
		c.refused("iterator", err)
		return
	}
	c.held = append(c.held, heldView{iterator: it, want: c.w.seen(floor, base.Seq(c.w.db.Metrics().Sequence))})
}

// look reads through one of those held, or if there is none, what is there now.
func (c *simulatedClient) look() {
	if len(c.held) == 0 {
		c.iterate()
	}
	if len(c.held) > 0 {
		c.compare(c.held[c.rng.IntN(len(c.held))])
	}
}

func (c *simulatedClient) compare(h heldView) {
	if h.snapshot != nil {
		got, err := look(h.snapshot.NewIterator(nil))
		if err == nil {
			err = fixture.Differ(h.want, got)
		}
		c.refused("a snapshot", err)
		return
	}
	got := fixture.View{}
	for ok := h.iterator.First(); ok; ok = h.iterator.Next() {
		got[string(h.iterator.Key())] = string(h.iterator.Value())
	}
	err := h.iterator.Err()
	if err == nil {
		err = fixture.Differ(h.want, got)
	}
	c.refused("an iterator", err)
}

// refused takes an error for a failure unless the database is closed.
func (c *simulatedClient) refused(what string, err error) {
	if err != nil && c.w.passing() == nil && !c.w.s.faults.gone() && !(c.w.closing && errors.Is(err, db.ErrClosed)) {
		c.w.s.fail(fmt.Errorf("%s: %w", what, err))
	}
}

func (c *simulatedClient) release() {
	if len(c.held) == 0 {
		return
	}
	h := c.held[0]
	c.held = c.held[1:]
	if h.snapshot != nil {
		if c.w.passing() == nil && c.w.db.Metrics().Compact.Running > 0 {
			c.w.s.met.ReleaseInCompaction++
		}
		c.refused("close a snapshot", h.snapshot.Close())
		return
	}
	c.refused("close an iterator", h.iterator.Close())
}

// close closes the database, whatever the others are doing.
func (c *simulatedClient) close() {
	w := c.w
	w.mu.Lock()
	w.closing = true
	if w.rotating {
		w.s.met.CloseInRotation++
	}
	w.mu.Unlock()
	late := w.s.faults.displaced
	err := w.db.Close()
	if w.passing() != nil {
		return
	}
	w.s.met.Closed++
	w.s.history.resolve(w)
	if err != nil {
		if !w.s.faults.happened {
			w.s.fail(fmt.Errorf("close: %w", err))
		}
		return
	}
	if late && w.isTakenOver() {
		w.s.fail(fmt.Errorf("closed in good order, but %s", w.s.faults.displacement))
	}
	for _, i := range w.s.history.commits {
		i.sync = i.sync || i.acked // Close makes all of them durable
	}
}
