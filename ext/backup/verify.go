package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"gocloud.dev/blob"
)

// Verify reads all that is in the bucket and checks it: that each point has all its tables, that
// their bytes are those that were uploaded, and that each stretch of the log is there without a
// gap. The error is ErrDamaged and names the first object that is wrong or missing.
//
// What nobody can know is not checked: that the newest piece of the log, or the newest point,
// was lost leaves a bucket that ends earlier.
func Verify(ctx context.Context, bucket *blob.Bucket) (*Report, error) {
	v, err := store{bucket}.view(ctx)
	if err != nil {
		return nil, err
	}
	c := &checking{view: v, ends: make(map[string]uint64)}
	if err := c.points(ctx); err != nil {
		return nil, err
	}
	if err := c.tables(ctx); err != nil {
		return nil, err
	}
	for i := range v.logs {
		if err := c.log(ctx, &v.logs[i]); err != nil {
			return nil, err
		}
	}
	return &c.report, nil
}

// checking is a Verify under way.
type checking struct {
	*view
	report Report

	needed []tableObject     // by the points, each once
	ends   map[string]uint64 // of the stretches of the log, by their bases: as far as they were followed
}

// points reads all points.
func (c *checking) points(ctx context.Context) error {
	once := make(map[string]tableObject)
	for _, n := range c.view.points {
		p, err := c.point(ctx, n.name)
		if err != nil {
			return err
		}
		for _, t := range p.Tables {
			known, is := once[t.Object]
			if is && known.SHA256 != t.SHA256 {
				return damaged(n.name, "it says something else of %s than an older point", t.Object)
			}
			if !is {
				once[t.Object] = t
				c.needed = append(c.needed, t)
				c.report.TableBytes += t.SizeBytes
			}
		}
		c.report.Points++
		c.report.Seq, c.report.Time, c.report.Point = p.Seq, p.Time, n.name
	}
	c.report.Tables = len(c.needed)
	return nil
}

// tables reads all tables.
func (c *checking) tables(ctx context.Context) error {
	done := int64(0)
	for _, t := range c.needed {
		object, err := c.store.open(ctx, t.Object)
		if err != nil {
			return err
		}
		h := sha256.New()
		n, err := io.Copy(io.MultiWriter(h, &counted{ctx, "tables", done, c.report.TableBytes}), object)
		_ = object.Close()
		if err != nil {
			return fmt.Errorf("lsmdb: backup: read %s: %w", t.Object, err)
		}
		if sum := hex.EncodeToString(h.Sum(nil)); n != t.SizeBytes || sum != t.SHA256 {
			return damaged(t.Object, "its %d bytes are not the %d that were uploaded", n, t.SizeBytes)
		}
		done += t.SizeBytes
	}
	return nil
}

// log reads the log of an epoch.
func (c *checking) log(ctx context.Context, e *epoch) error {
	if e.claim {
		if _, err := c.store.logHeaderOf(ctx, e.number, 0); err != nil {
			return err
		}
	}
	var before logHeader
	var borders []uint64 // of the points of the stretch
	for i, first := range e.pieces {
		tell(ctx, "log", int64(i), int64(len(e.pieces)))
		r, err := c.store.openLog(ctx, e.number, first)
		if err != nil {
			return err
		}
		if i == 0 || r.Base != before.Base {
			borders, err = c.begins(ctx, r.logHeader)
		} else if r.First != before.Last+1 {
			err = damaged(logName(e.number, before.Last+1), "it is missing")
		}
		if err == nil {
			err = c.frames(r, borders)
		}
		_ = r.Close()
		if err != nil {
			return err
		}
		before = r.logHeader
		c.ends[r.Base] = max(c.ends[r.Base], r.Last)
		if r.Last > c.report.Seq && len(borders) > 0 {
			c.report.Seq, c.report.Time = r.Last, moment(r.To)
		}
	}
	return nil
}

// begins checks that a stretch, whose first piece is given, begins where its oldest point needs
// it, and returns the sequence numbers of its points.
func (c *checking) begins(ctx context.Context, h logHeader) (borders []uint64, err error) {
	for _, n := range c.view.points {
		p, err := c.point(ctx, n.name)
		if err != nil {
			return nil, err
		}
		if p.isOn(h) {
			borders = append(borders, p.Seq)
		}
	}
	oldest := uint64(0)
	if len(c.view.points) > 0 {
		oldest = c.view.points[0].seq
	}
	reached := c.ends[h.Base] // by the epochs before
	if len(borders) > 0 {
		reached = max(reached, borders[0])
	}
	switch {
	case len(borders) > 0 && h.First > reached+1:
		return nil, damaged(logName(h.Epoch, reached+1), "it is missing")
	case len(borders) == 0 && h.Settled && h.Last > oldest:
		return nil, damaged(h.Base, "it is missing")
	}
	return borders, nil
}

// frames reads one piece. No point lies within a change.
func (c *checking) frames(r *logReader, borders []uint64) error {
	c.report.Objects++
	for {
		f, err := r.read()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		c.report.Operations += f.last - f.first + 1
		for _, seq := range borders {
			if f.first <= seq && seq < f.last {
				return damaged(r.name, "its change from %d to %d goes across the point at %d", f.first, f.last, seq)
			}
		}
	}
}
