package backup

import (
	"cmp"
	"context"
	"sort"
	"time"

	"gocloud.dev/blob"
)

// Listed is a point in the bucket, and how far the log leads from it.
type Listed struct {
	Name   string    `json:"name"`
	Seq    uint64    `json:"sequence"`
	Time   time.Time `json:"time"`
	Tables int       `json:"tables"`
	Bytes  int64     `json:"bytes"` // of its tables; points share most of them

	// Every state from Seq to LogSeq can be restored; the newest of them is of LogTime.
	LogSeq  uint64    `json:"log_sequence"`
	LogTime time.Time `json:"log_time"`
}

// List returns the points in the bucket, oldest first. It reads the points, and of the log
// only what its pieces say of themselves. Verify reads all.
func List(ctx context.Context, bucket *blob.Bucket) ([]Listed, error) {
	v, err := store{bucket}.view(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]Listed, 0, len(v.points))
	for _, n := range v.points {
		p, err := v.point(ctx, n.name)
		if err != nil {
			return nil, err
		}
		l := Listed{Name: n.name, Seq: p.Seq, Time: p.Time, Tables: len(p.Tables), LogSeq: p.Seq, LogTime: p.Time}
		for _, t := range p.Tables {
			l.Bytes += t.SizeBytes
		}
		for i := range v.logs {
			if err := v.extend(ctx, &l, p, &v.logs[i]); err != nil {
				return nil, err
			}
		}
		all = append(all, l)
	}
	return all, nil
}

// extend finds how much farther the log of an epoch leads from a point.
func (v *view) extend(ctx context.Context, l *Listed, p *point, e *epoch) error {
	i := e.pieceOf(l.LogSeq + 1)
	if i < 0 {
		return nil
	}
	h, err := v.header(ctx, e, i)
	if err != nil || !p.isOn(h) || h.Last <= l.LogSeq {
		return err
	}
	// Bases ascend: the stretch ends where the next one begins.
	end := i + sort.Search(len(e.pieces)-i, func(k int) bool {
		of, failed := v.header(ctx, e, i+k)
		err = cmp.Or(err, failed)
		return of.Base != h.Base
	})
	if err != nil {
		return err
	}
	last, err := v.header(ctx, e, end-1)
	if err == nil {
		l.LogSeq, l.LogTime = last.Last, moment(last.To)
	}
	return err
}
