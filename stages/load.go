package stages

import (
	"context"
	"errors"
	"time"

	"lsmdb/internal/base"
	"lsmdb/manifest"
)

// A load makes tables that its caller has written part of the tree, as one operation of
// the history. It goes the way of a flush:
//
//   - The Writer seals the memtable, so that the log goes on in an empty segment, and waits.
//     The entries of the tables get the next number; what it writes later has later ones,
//     and nobody may see these before the load.
//   - The Flusher writes what was sealed before to tables, which the loaded ones supersede.
//     Then it has the Keeper add these to the deepest level that holds nothing of their
//     range, and nothing above. If level 0 is too full then, it waits as behind a flush.
//   - The Writer shows the number and answers the caller.
//
// Compactions go on meanwhile. What one merges lies below the loaded tables if it has
// anything of their range. But they may have come between its inputs, into the level
// that its outputs are for: then the Keeper refuses these, and the merge is done again.
//
// The log does not tell of a load. The MANIFEST does, and that the number is taken, and, for
// those who follow the changes, where the load lies if logs are kept for them: so the
// first record of the segment has the next one. Should the process end before, nobody has
// the tables, the next Open removes them, and the number is free.
type load struct {
	tables       []*manifest.TableMeta // ascending; their entries have a placeholder for the number
	lower, upper []byte                // first and last user key
	number       base.Seq

	// done carries the outcome from the Flusher to the Writer. Capacity 1, so that sending
	// never blocks; nobody closes it.
	done chan error
}

// Load adds tables, which are durable but listed nowhere, to the tree. They share no
// key. On an error they are removed, unless the database failed. Ctx bounds the wait until
// the Writer takes it.
func (p *Pipeline) Load(ctx context.Context, tables []*manifest.TableMeta) error {
	c := NewCommit()
	c.seal, c.load = true, &load{
		tables: tables, done: make(chan error, 1),
		lower: tables[0].Smallest.UserKey(), upper: tables[len(tables)-1].Largest.UserKey(),
	}
	err := p.Enqueue(ctx, c)
	unsent := err != nil
	if !unsent {
		err = c.WaitOrAbandon(ctx)
	}
	if unsent || c.Abandoned() || base.IsShortage(err) { // then the tables are nobody's for certain
		p.env.RemoveTables(c.load.edit())
	}
	return err
}

// TableLimitBytes is the size of the largest tables.
func (p *Pipeline) TableLimitBytes() int64 { return p.env.Policy.TableLimitBytes }

// edit adds the tables, to a level that the Keeper will choose.
func (l *load) edit() *manifest.Edit {
	e := &manifest.Edit{LastSeq: l.number}
	e.Add(0, l.tables...)
	return e
}

// loaded is what those need to know of it who follow the changes.
func (l *load) loaded() manifest.Loaded {
	return manifest.Loaded{Seq: l.number, First: l.lower, Last: l.upper}
}

// endLoad waits until the Flusher has carried out a load that was handed on. Then its
// number is taken, everybody may see it, and the caller is answered.
func (w *Writer) endLoad(ctx context.Context, c *Commit) error {
	l, start := c.load, time.Now()
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
	w.changes.Load(l.loaded())
	nudge(w.compactor) // it leaves alone what is not visible
	c.answer(nil)
	return nil
}

// load gives the tables of a load their number and has the Keeper add them to the tree.
// An error ends the stage.
func (f *Flusher) load(ctx context.Context, l *load) (verdict, error) {
	if f.left != nil {
		l.done <- f.left
		return verdict{}, nil
	}
	for _, t := range l.tables {
		t.Renumber(l.number)
	}
	edit := l.edit()
	if f.env.KeepChangesBytes > 0 {
		edit.Loaded = []manifest.Loaded{l.loaded()}
	}
	v := f.env.propose(ctx, f.keeper, &Proposal{Edit: edit, Load: l})
	if v.err != nil && !base.IsShortage(v.err) {
		return v, v.err
	}
	if v.err == nil {
		f.env.Logger.Info().Int("tables", len(l.tables)).Int("level", edit.Added[0].Level).Msg("tables loaded")
	}
	l.done <- v.err
	return v, nil
}

// errOvertaken says that a load came between the inputs of a compaction.
var errOvertaken = errors.New("loaded tables lie where the outputs were to go")
