package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// Keep says what Prune leaves.
type Keep struct {
	Points int // the newest; at least 1
}

// Prune removes all but the newest points, the log in front of the oldest of these, and the
// tables that none of them needs. It may run beside a Run or Once: what is younger than the
// newest point may belong to one that is being taken, and stays. If it is interrupted, the
// bucket is whole, and another Prune goes on.
//
// A Restore to a point that is being removed fails.
func Prune(ctx context.Context, bucket *blob.Bucket, keep Keep) (*Report, error) {
	if keep.Points < 1 {
		return nil, errors.New("lsmdb: backup: prune: at least one point must be kept")
	}
	s := store{bucket}
	tables, err := s.list(ctx, tablesPrefix) // first: what comes later is not considered
	if err != nil {
		return nil, err
	}
	v, err := s.view(ctx)
	if err != nil {
		return nil, err
	}
	p := &pruning{view: v}
	if len(v.points) == 0 {
		return &p.report, nil // nothing tells what may be needed
	}
	if err := p.choose(ctx, max(0, len(v.points)-keep.Points)); err != nil { // before anything is removed
		return nil, err
	}
	if err := p.read(ctx); err != nil {
		return nil, err
	}
	for _, n := range v.points { // oldest first
		if slices.Contains(p.kept, n) {
			continue
		}
		if err := p.remove(ctx, n.name, p.sizes[n.name]); err != nil {
			return nil, err
		}
	}
	if err := p.logs(ctx); err != nil {
		return nil, err
	}
	for _, t := range tables {
		if !p.needed[t.name] && t.modified.Before(p.newest) {
			if err := p.remove(ctx, t.name, t.sizeBytes); err != nil {
				return nil, err
			}
		}
	}
	return &p.report, nil
}

// pruning is a Prune under way.
type pruning struct {
	*view
	kept   []named
	needed map[string]bool // tables
	sizes  map[string]int64
	newest time.Time // when the newest point was written, by the clock of the bucket
	report Report
}

// choose chooses the points that are kept: those from a place on. Where none of them is one from
// which the log leads that goes on behind the first of them, the newest one before them from
// which it does is kept as well.
func (p *pruning) choose(ctx context.Context, from int) error {
	p.kept = slices.Clone(p.view.points[from:])
	oldest := p.kept[0]
	for i := range p.view.logs {
		e := &p.view.logs[i]
		for k := max(0, e.pieceOf(oldest.seq)); k < len(e.pieces); k++ {
			h, err := p.header(ctx, e, k)
			if err != nil {
				return err
			}
			if h.Last <= oldest.seq {
				continue
			}
			source, err := p.leadsTo(ctx, h, h.Last)
			if err != nil {
				return err
			}
			if source != nil && source.Seq < oldest.seq {
				p.kept = append(p.kept, named{source.name, source.Seq})
			}
			break // what follows begins with a younger point
		}
	}
	slices.SortStableFunc(p.kept, func(a, b named) int { return cmp.Compare(a.seq, b.seq) })
	p.kept = slices.Compact(p.kept)
	return nil
}

// read reads the points that are kept.
func (p *pruning) read(ctx context.Context) error {
	objects, err := p.store.list(ctx, pointsPrefix)
	if err != nil {
		return err
	}
	p.needed, p.sizes = make(map[string]bool), make(map[string]int64)
	written := make(map[string]time.Time)
	for _, o := range objects {
		p.sizes[o.name], written[o.name] = o.sizeBytes, o.modified
	}
	for _, n := range p.kept {
		known, err := p.point(ctx, n.name)
		if err != nil {
			return err
		}
		for _, t := range known.Tables {
			p.needed[t.Object] = true
		}
		p.newest = written[n.name]
		p.report.Points++
		p.report.Seq, p.report.Time, p.report.Point = known.Seq, known.Time, n.name
	}
	return nil
}

// logs removes the pieces that end in front of the oldest point, and the claims of epochs of
// which nothing is left, but for the newest: its number must not be given again.
func (p *pruning) logs(ctx context.Context) error {
	oldest := p.kept[0].seq
	for i := range p.view.logs {
		e := &p.view.logs[i]
		left := len(e.pieces)
		for k, first := range e.pieces {
			if first > oldest {
				break
			}
			if k+1 == len(e.pieces) || e.pieces[k+1] > oldest+1 { // otherwise it ends in front of that
				h, err := p.header(ctx, e, k)
				if err != nil {
					return err
				}
				if h.Last > oldest {
					break
				}
			}
			if err := p.remove(ctx, logName(e.number, first), e.sizes[k]); err != nil {
				return err
			}
			left--
		}
		if left == 0 && e.claim && i < len(p.view.logs)-1 {
			if err := p.remove(ctx, logName(e.number, 0), 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// remove removes an object, which may have gone meanwhile.
func (p *pruning) remove(ctx context.Context, name string, sizeBytes int64) error {
	err := p.store.Delete(ctx, name)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil
	}
	if err != nil {
		return fmt.Errorf("lsmdb: backup: remove %s: %w", name, err)
	}
	p.report.Removed++
	p.report.RemovedBytes += sizeBytes
	return nil
}
