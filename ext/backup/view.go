package backup

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"sort"
)

// view is what lies in a bucket, as of one listing. It is used by one goroutine.
type view struct {
	store  store
	points []named // by ascending sequence number
	logs   []epoch // ascending

	known   map[string]*point    // that were read
	headers map[string]logHeader // likewise
}

// epoch is the log of one Run.
type epoch struct {
	number uint64
	pieces []uint64 // their first operations, ascending
	sizes  []int64
	claim  bool // it is there
}

func (s store) view(ctx context.Context) (v *view, err error) {
	v = &view{store: s, known: make(map[string]*point), headers: make(map[string]logHeader)}
	if v.points, err = s.points(ctx); err != nil {
		return nil, err
	}
	objects, err := s.list(ctx, logPrefix)
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		number, first, ok := parseLogName(o.name)
		if !ok {
			continue
		}
		if n := len(v.logs); n == 0 || v.logs[n-1].number != number {
			v.logs = append(v.logs, epoch{number: number})
		}
		e := &v.logs[len(v.logs)-1]
		if first == 0 {
			e.claim = true
			continue
		}
		e.pieces, e.sizes = append(e.pieces, first), append(e.sizes, o.sizeBytes)
	}
	return v, nil
}

// point returns a point by its name.
func (v *view) point(ctx context.Context, name string) (*point, error) {
	if p := v.known[name]; p != nil {
		return p, nil
	}
	p, err := v.store.readPoint(ctx, name)
	if err == nil {
		v.known[name] = p
	}
	return p, err
}

// header returns the header of piece i of an epoch.
func (v *view) header(ctx context.Context, e *epoch, i int) (logHeader, error) {
	name := logName(e.number, e.pieces[i])
	if h, ok := v.headers[name]; ok {
		return h, nil
	}
	h, err := v.store.logHeaderOf(ctx, e.number, e.pieces[i])
	if err == nil {
		v.headers[name] = h
	}
	return h, err
}

// pieceOf returns the index of the last piece that begins at or before an operation; -1 if
// there is none.
func (e *epoch) pieceOf(seq uint64) int {
	return sort.Search(len(e.pieces), func(i int) bool { return e.pieces[i] > seq }) - 1
}

// leadsTo returns the newest point at or before seq from which a stretch of the log leads
// there; nil if there is none.
func (v *view) leadsTo(ctx context.Context, h logHeader, seq uint64) (*point, error) {
	begins, ok := parsePointName(h.Base)
	if !ok {
		return nil, damaged(logName(h.Epoch, h.First), "it begins with the point %q", h.Base)
	}
	for _, n := range slices.Backward(v.points) {
		switch {
		case n.seq > seq:
			continue
		case n.seq < begins:
			return nil, nil
		}
		p, err := v.point(ctx, n.name)
		if err != nil {
			return nil, err
		}
		if p.isOn(h) {
			return p, nil
		}
	}
	return nil, nil
}

// target is a state that can be restored: a point, and so much of the log behind it.
type target struct {
	*point
	base  string // of the stretch; "": no log is needed
	until uint64 // the last operation that may be in it
}

// find finds the state that is asked for.
func (v *view) find(ctx context.Context, at Point) (*target, error) {
	if len(v.points) == 0 {
		return nil, fmt.Errorf("%w: it has no point", ErrNotReached)
	}
	switch at.kind {
	case atSeq:
		return v.findSeq(ctx, at.seq)
	case atTime:
		return v.findTime(ctx, at.time.UnixNano())
	}
	return v.findLatest(ctx)
}

func (v *view) findSeq(ctx context.Context, seq uint64) (*target, error) {
	for _, n := range slices.Backward(v.points) {
		if n.seq == seq {
			p, err := v.point(ctx, n.name)
			return &target{point: p}, err
		}
	}
	for i := range slices.Backward(v.logs) {
		t, err := v.reach(ctx, &v.logs[i], seq)
		if t != nil || err != nil {
			return t, err
		}
	}
	oldest, newest := v.points[0].seq, v.points[len(v.points)-1].seq
	return nil, fmt.Errorf("%w: nothing leads to sequence number %d (its points are from %d to %d, and list shows where the log leads)",
		ErrNotReached, seq, oldest, newest)
}

// reach returns the way to the state at seq by the log of an epoch; nil if there is none.
func (v *view) reach(ctx context.Context, e *epoch, seq uint64) (*target, error) {
	i := e.pieceOf(seq)
	if i < 0 {
		return nil, nil
	}
	h, err := v.header(ctx, e, i)
	if err != nil {
		return nil, err
	}
	if h.Last < seq {
		return nil, v.lost(ctx, e, i, h)
	}
	p, err := v.leadsTo(ctx, h, seq)
	if err != nil || p == nil {
		return nil, err
	}
	return &target{point: p, base: h.Base, until: seq}, nil
}

// lost finds that the piece behind piece i is gone: the next one belongs to the same stretch,
// and does not follow.
func (v *view) lost(ctx context.Context, e *epoch, i int, h logHeader) error {
	if i+1 == len(e.pieces) {
		return nil
	}
	next, err := v.header(ctx, e, i+1)
	if err == nil && next.Base == h.Base && next.First != h.Last+1 {
		err = damaged(logName(e.number, h.Last+1), "it is missing")
	}
	return err
}

// findLatest finds the newest state.
func (v *view) findLatest(ctx context.Context) (*target, error) {
	newest := v.points[len(v.points)-1]
	for i := range slices.Backward(v.logs) {
		e := &v.logs[i]
		for k := range slices.Backward(e.pieces) {
			h, err := v.header(ctx, e, k)
			if err != nil {
				return nil, err
			}
			if h.Last <= newest.seq {
				return v.only(ctx, newest.name)
			}
			p, err := v.leadsTo(ctx, h, h.Last)
			switch {
			case err != nil:
				return nil, err
			case p != nil:
				return &target{point: p, base: h.Base, until: h.Last}, nil
			case h.Settled:
				return nil, damaged(h.Base, "it is missing")
			}
			// Run was interrupted before the point was there: what comes before counts.
		}
	}
	return v.only(ctx, newest.name)
}

func (v *view) only(ctx context.Context, name string) (*target, error) {
	p, err := v.point(ctx, name)
	return &target{point: p}, err
}

// findTime finds the newest state of a time or before.
func (v *view) findTime(ctx context.Context, time int64) (*target, error) {
	var newest *point
	for _, n := range slices.Backward(v.points) {
		p, err := v.point(ctx, n.name)
		if err != nil {
			return nil, err
		}
		if p.Time.UnixNano() <= time {
			newest = p
			break
		}
	}
	if newest == nil {
		return nil, fmt.Errorf("%w: the first point is of %s", ErrNotReached, v.known[v.points[0].name].Time)
	}
	for i := range slices.Backward(v.logs) {
		t, err := v.before(ctx, &v.logs[i], time)
		switch {
		case err != nil:
			return nil, err
		case t != nil && t.until > newest.Seq:
			return t, nil
		case t != nil:
			return &target{point: newest}, nil
		}
	}
	return &target{point: newest}, nil
}

// before returns the way to the newest state of an epoch that is of a time or before; nil if
// there is none.
func (v *view) before(ctx context.Context, e *epoch, time int64) (*target, error) {
	var failed error
	i := sort.Search(len(e.pieces), func(i int) bool {
		h, err := v.header(ctx, e, i)
		failed = cmp.Or(failed, err)
		return h.From > time
	}) - 1
	for ; i >= 0 && failed == nil; i-- {
		h, err := v.header(ctx, e, i)
		if err != nil {
			return nil, err
		}
		until, err := v.lastBefore(ctx, e, i, time)
		if err != nil {
			return nil, err
		}
		if until < v.points[0].seq { // only old points led there
			return nil, nil
		}
		p, err := v.leadsTo(ctx, h, until)
		switch {
		case err != nil:
			return nil, err
		case p != nil:
			return &target{point: p, base: h.Base, until: until}, nil
		case h.Settled:
			return nil, damaged(h.Base, "it is missing")
		}
	}
	return nil, failed
}

// lastBefore returns the last operation of piece i that is of a time or before.
func (v *view) lastBefore(ctx context.Context, e *epoch, i int, time int64) (seq uint64, err error) {
	r, err := v.store.openLog(ctx, e.number, e.pieces[i])
	if err != nil {
		return 0, err
	}
	defer r.Close()
	for {
		f, err := r.read()
		switch {
		case err == io.EOF:
			return seq, nil
		case err != nil:
			return 0, err
		case f.time > time:
			return seq, nil
		}
		seq = f.last
	}
}

// replay shows the changes between the point of a target and its state, oldest first.
func (v *view) replay(ctx context.Context, t *target, visit func(frame) error) (pieces int, err error) {
	if t.base == "" || t.until == t.Seq {
		return 0, nil
	}
	for next, more := t.Seq+1, true; more; pieces++ {
		r, err := v.pieceWith(ctx, t, next)
		if err != nil {
			return pieces, err
		}
		more, err = r.show(t, &next, visit)
		_ = r.Close()
		if err != nil {
			return pieces, err
		}
	}
	return pieces, nil
}

// pieceWith opens the piece of the newest epoch that has an operation of a stretch.
func (v *view) pieceWith(ctx context.Context, t *target, seq uint64) (*logReader, error) {
	missing := ""    // the name of a piece that is nowhere
	var first *epoch // the epoch whose first piece it may be
	var between bool // it lies between two of its epoch
	for i := range slices.Backward(v.logs) {
		e := &v.logs[i]
		if len(e.pieces) == 0 {
			continue
		}
		k := e.pieceOf(seq)
		h, err := v.header(ctx, e, max(0, k))
		switch {
		case err != nil:
			return nil, err
		case h.Base != t.base || h.Database != t.Database:
			continue
		case k < 0: // the epoch goes on behind it, and begins where the one before has ended
			missing, first = logName(e.number, seq), e
		case h.Last >= seq:
			return v.store.openLog(ctx, e.number, e.pieces[k])
		case k+1 < len(e.pieces):
			missing, between = logName(e.number, h.Last+1), true
		case first != nil && !between:
			missing = logName(first.number, h.Last+1)
		case missing == "":
			missing = logName(e.number, h.Last+1)
		}
	}
	return nil, damaged(cmp.Or(missing, logName(max(1, t.Epoch), seq)), "it is missing")
}

// show shows what a piece has from next on. It reports whether more is needed.
func (r *logReader) show(t *target, next *uint64, visit func(frame) error) (more bool, err error) {
	for {
		f, err := r.read()
		switch {
		case err == io.EOF:
			return true, nil
		case err != nil:
			return false, err
		case f.last > t.until:
			return false, nil
		case f.first < *next && f.last >= *next:
			return false, damaged(r.name, "its change from %d to %d goes across the point at %d", f.first, f.last, *next-1)
		case f.first == *next:
			if err := visit(f); err != nil {
				return false, err
			}
			*next = f.last + 1
		}
		if f.last == t.until {
			return false, nil
		}
	}
}
