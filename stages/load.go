package stages

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"lsmdb/compactor"
	"lsmdb/internal/base"
	"lsmdb/manifest"
)

// A load makes tables that its caller has written part of the tree, as one operation of
// the history. It goes the way of a flush:
//
//   - The Compactor reserves the range of the tables: nothing is merged there, so no job
//     that is under way can write between them.
//   - The Writer seals the memtable, so that the log goes on in an empty segment, and waits.
//     The entries of the tables get the next number; what it writes later has later ones,
//     and nobody may see these before the load.
//   - The Flusher writes what was sealed before to tables, which the loaded ones supersede.
//     Then it has the Keeper add these to the deepest level that holds nothing of their
//     range, and nothing above.
//   - The Writer shows the number and answers the caller.
//
// The log does not tell of a load. The MANIFEST does, and that the number is taken: so the
// first record of the segment has the next one. Should the process end before, nobody has
// the tables, the next Open removes them, and the number is free.
type load struct {
	tables       []*manifest.TableMeta // ascending; their entries have a placeholder for the number
	lower, upper []byte                // first and last user key
	number       base.Seq
	reservation  *reservation

	// done carries the outcome from the Flusher to the Writer. Capacity 1, so that sending
	// never blocks; nobody closes it.
	done chan error
}

// Load adds tables, which are durable but listed nowhere, to the tree. They share no
// key. On an error they are removed, unless the database failed. Ctx bounds the wait until
// the Writer takes it.
func (p *Pipeline) Load(ctx context.Context, tables []*manifest.TableMeta) error {
	for {
		l := &load{
			tables: tables, done: make(chan error, 1),
			lower: tables[0].Smallest.UserKey(), upper: tables[len(tables)-1].Largest.UserKey(),
		}
		if err := p.load(ctx, l); !errors.Is(err, errRevoked) {
			return err
		}
	}
}

func (p *Pipeline) load(ctx context.Context, l *load) error {
	c := NewCommit()
	c.seal, c.load = true, l
	r, err := p.reserve(ctx, l.lower, l.upper)
	if err == nil {
		defer p.giveBack(r)
		l.reservation = r
		err = p.Enqueue(ctx, c)
	}
	sent := err == nil
	if sent {
		select {
		case err = <-c.reply:
		case <-ctx.Done():
			if sent = !c.Abandon(); sent {
				err = c.Wait()
			} else {
				err = ctx.Err()
			}
		}
	}
	if !sent || base.IsShortage(err) { // then the tables are nobody's for certain
		p.env.RemoveTables(l.edit(0))
	}
	return err
}

// TableLimitBytes is the size of the largest tables.
func (p *Pipeline) TableLimitBytes() int64 { return p.env.Policy.TableLimitBytes }

// edit adds the tables to a level.
func (l *load) edit(level int) *manifest.Edit {
	e := &manifest.Edit{LastSeq: l.number}
	for _, t := range l.tables {
		e.Added = append(e.Added, manifest.AddedTable{Level: level, Meta: t})
	}
	return e
}

// endLoad waits until the Flusher has carried out a load that was handed on. Then its
// number is taken, and everybody may see it.
func (w *Writer) endLoad(ctx context.Context, l *load) error {
	start := time.Now()
	defer func() { w.waited += time.Since(start) }()
	select {
	case err := <-l.done:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	w.next++
	w.published.Announce(l.number)
	w.published.Fill(l.lower, l.upper)
	w.published.Show(l.number)
	w.published.Fill(l.lower, l.upper)
	return nil
}

// load gives the tables of a load their number and has the Keeper add them to the tree.
// An error ends the stage.
func (f *Flusher) load(ctx context.Context, l *load) error {
	if f.left != nil || !l.reservation.use() {
		l.done <- cmp.Or(f.left, errRevoked)
		return nil
	}
	for _, t := range l.tables {
		t.Renumber(l.number)
	}
	level := compactor.LoadLevel(f.published.State().Version, l.lower, l.upper)
	v := f.env.propose(ctx, f.keeper, &Proposal{Edit: l.edit(level)})
	if v.err != nil && !base.IsShortage(v.err) {
		return v.err
	}
	if v.err == nil {
		f.env.Logger.Info().Int("tables", len(l.tables)).Int("level", level).Msg("tables loaded")
	}
	l.done <- v.err
	return nil
}

// reservation asks the Compactor to keep away from a range of user keys.
type reservation struct {
	job     *compactor.Job // which stands for the range among the running ones
	granted chan struct{}  // the loop sends once, the caller receives; capacity 1, never closed
	phase   atomic.Uint32
}

// The phases of a reservation. The Flusher uses a granted one, unless the Compactor has
// revoked it: it does so when level 0 is full, because the Flusher waits for that to change
// before it comes to the load.
const (
	reservationAsked uint32 = iota
	reservationGranted
	reservationUsed
	reservationRevoked
)

var errRevoked = errors.New("the reservation for a load was revoked")

// use reports whether nothing was merged in the range since it was granted, nor will be
// before it is given back.
func (r *reservation) use() bool {
	return r.phase.CompareAndSwap(reservationGranted, reservationUsed)
}

// reserve waits until no compaction is under way from lower to upper, both included.
// None will be until giveBack.
func (p *Pipeline) reserve(ctx context.Context, lower, upper []byte) (*reservation, error) {
	r := &reservation{job: compactor.Reserve(lower, upper), granted: make(chan struct{}, 1)}
	if err := p.ask(ctx, p.compactor.reservations, r); err != nil {
		return nil, err
	}
	select {
	case <-r.granted:
		return r, nil
	case <-ctx.Done():
		p.giveBack(r)
		return nil, ctx.Err()
	case <-p.closing:
	case <-p.ctx.Done():
	}
	p.giveBack(r)
	return nil, p.Refusal()
}

// giveBack ends a reservation.
func (p *Pipeline) giveBack(r *reservation) { _ = p.ask(context.Background(), p.compactor.released, r) }

// ask sends a request to the Compactor, whose loop takes it at once while it runs.
func (p *Pipeline) ask(ctx context.Context, to chan<- *reservation, r *reservation) error {
	select {
	case to <- r:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.compactor.idle: // it starts no job any more
		return p.Refusal()
	case <-p.ctx.Done():
		return p.Refusal()
	}
}

// grant answers the reservations that nothing is in the way of. While level 0 is too
// full, none is, and those that are not in use are revoked.
func (c *Compactor) grant() {
	crowded := len(c.newest.Version.Levels[0]) >= c.env.Policy.L0Limit
	select {
	case <-c.stuck: // then the Flusher waits no more, perhaps for ever
		crowded = false
	default:
	}
	for _, r := range c.reserved {
		switch {
		case crowded:
			r.phase.CompareAndSwap(reservationGranted, reservationRevoked)
		case slices.ContainsFunc(c.running, r.job.Collides):
		case r.phase.CompareAndSwap(reservationAsked, reservationGranted):
			r.granted <- struct{}{}
		}
	}
}

// underWay is what picking must keep away from: running jobs and reserved ranges.
func (c *Compactor) underWay() []*compactor.Job {
	jobs := c.running[:len(c.running):len(c.running)]
	for _, r := range c.reserved {
		crowded := len(c.newest.Version.Levels[0]) >= c.env.Policy.L0Limit/2
		if phase := r.phase.Load(); phase == reservationRevoked || phase == reservationAsked && crowded {
			continue // level 0 is relieved first
		}
		jobs = append(jobs, r.job)
	}
	return jobs
}
