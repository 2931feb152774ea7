package backup

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gocloud.dev/blob"

	"lsmdb/db"
)

// Run backs a database up until ctx ends: it takes a point at once, then ships the log, and
// takes further points. It returns the error of ctx then, after it has tried for some seconds
// to ship what is left.
//
// What the log cannot tell, which is a load (db.DB.Load), or what was given up before it was
// shipped (db.TrimmedError), begins a new stretch: Run takes a point and goes on from there.
// What lies between is not lost, but no state in between can be restored. Options.Logger
// hears of it, and List shows it. So it is good to have Options.KeepChangesBytes of the
// database larger than what is written while the bucket cannot be reached.
//
// While the bucket fails, Run tries again, for as long as it takes. Only before anything has
// succeeded, it returns the error soon. Other errors: ErrFenced when a newer Run has begun on
// the bucket; ErrForeign; db.ErrClosed when the database is closed; those of
// db.NewCheckpoint.
func Run(ctx context.Context, d *db.DB, bucket *blob.Bucket, o *Options) error {
	return run(ctx, local{d}, store{bucket}, o.resolved())
}

// run is Run.
func run(ctx context.Context, from source, s store, o Options) error {
	r := &runner{Options: o, from: from, store: s}
	var stop context.CancelFunc
	r.work, stop = context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(o.graceTime, stop) })()
	for {
		st, err := r.begin(ctx)
		if err == nil {
			err = st.run(ctx)
		}
		trimmed, gap := errors.AsType[*db.TrimmedError](err)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case gap:
			o.Logger.Warn().Uint64("behind", st.last()).Uint64("oldest", trimmed.Oldest).
				Msg("part of the log was given up before it was shipped: nothing between there and the next point can be restored")
		case errors.Is(err, errLoad):
			o.Logger.Info().Uint64("behind", st.last()).Msg("a load, which the log does not tell: a point is taken")
		default:
			return err
		}
		if !r.pause(ctx, o.LogInterval) {
			return ctx.Err()
		}
	}
}

// errLoad ends a stretch in front of a load.
var errLoad = errors.New("a load")

// goesOn reports whether another stretch follows one that ended so.
func goesOn(err error) bool { return errors.Is(err, errLoad) || errors.Is(err, db.ErrTrimmed) }

// runner is one Run.
type runner struct {
	Options
	from       source
	store      store
	work       context.Context // ends some time after that of Run
	epoch      uint64          // 0: none is claimed yet
	database   string
	earlierLog shipped       // what an earlier Run of this process has shipped, of the first stretch
	proven     atomic.Bool   // the bucket has taken something
	newest     atomic.Int64  // time that was given last
	checks     atomic.Uint64 // for a newer epoch
}

// now returns the time, never less than before.
func (r *runner) now() int64 {
	for {
		now, newest := time.Now().UnixNano(), r.newest.Load()
		now = max(now, newest)
		if r.newest.CompareAndSwap(newest, now) {
			return now
		}
	}
}

// pause waits, and reports false if ctx ends.
func (r *runner) pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

const (
	firstTries = 5 // before anything has succeeded
	firstPause = 20 * time.Millisecond
	lastPause  = 30 * time.Second
)

// retry does something with the bucket until it succeeds, unless trying again is no use.
func (r *runner) retry(ctx context.Context, what string, do func() error) error {
	for try, wait := 1, firstPause; ; try, wait = try+1, min(2*wait, lastPause) {
		err := do()
		switch {
		case err == nil:
			r.proven.Store(true)
			return nil
		case final(err), ctx.Err() != nil, try == firstTries && !r.proven.Load():
			return err
		}
		r.Logger.Warn().Err(err).Str("what", what).Int("try", try).Dur("again_in", wait).Msg("the bucket fails")
		if !r.pause(ctx, wait) {
			return err
		}
	}
}

// final reports whether the same would fail again.
func final(err error) bool {
	for _, target := range []error{ErrFenced, ErrForeign, errTaken, db.ErrCorrupt, db.ErrClosed, db.ErrReadOnly, db.ErrIncompatible} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// wholeChecks is how many checks may pass before one looks at all epochs.
const wholeChecks = 64

// check fails with ErrFenced if somebody has begun a newer epoch. Mostly it asks only for the
// next one, which is cheap however much lies in the bucket. That claim may have been removed
// together with all of its epoch, if this process was stopped for long: so now and then, and
// before a point is written, all are looked at.
func (r *runner) check(ctx context.Context, whole bool) error {
	newer := uint64(0)
	if r.checks.Add(1)%wholeChecks != 0 && !whole {
		claimed, err := r.store.Exists(ctx, logName(r.epoch+1, 0))
		if err != nil {
			return fmt.Errorf("lsmdb: backup: look for a newer epoch: %w", err)
		}
		if claimed {
			newer = r.epoch + 1
		}
	} else {
		epochs, err := r.store.epochs(ctx)
		if err != nil {
			return err
		}
		if len(epochs) > 0 {
			newer = epochs[len(epochs)-1]
		}
	}
	if newer > r.epoch {
		return fmt.Errorf("%w: epoch %d began behind this one's %d", ErrFenced, newer, r.epoch)
	}
	return nil
}

// begin begins a stretch: it makes a checkpoint and, if that is the first one, claims an epoch.
// The caller's turn to take points is given back by stretch.run.
func (r *runner) begin(ctx context.Context) (*stretch, error) {
	m := r.from.memory()
	if err := m.take(ctx); err != nil {
		return nil, err
	}
	var t *taking
	err := r.retry(ctx, "begin", func() (err error) {
		logged, err := r.before(ctx)
		if err != nil {
			return err
		}
		if t, err = begin(ctx, r.from, r.store, r.earlierLog.base, r.now); err != nil {
			return err
		}
		if logged != nil && (logged.Database != t.point.Database || logged.Last > t.point.Seq) {
			err = fmt.Errorf("%w: its log is of database %s and reaches to %d, this is %s at %d", ErrForeign,
				logged.Database, logged.Last, t.point.Database, t.point.Seq)
		}
		if err == nil && r.epoch == 0 {
			r.database = t.point.Database
			err = r.claim(ctx)
		} else if err == nil {
			err = r.check(ctx, true)
		}
		if err != nil {
			_ = t.Close()
		}
		return err
	})
	if err != nil {
		m.giveBack()
		return nil, err
	}
	st := &stretch{runner: r, taking: t, base: t.point.name, after: t.point.Seq}
	if r.earlierLog.base != "" {
		st.base, st.after = r.earlierLog.base, r.earlierLog.seq
		st.settled.Store(true)
	}
	t.belong(r.epoch, st.base)
	if !st.held() {
		m.note(shipped{st.base, st.after})
	}
	st.taken, st.added, st.points = make(chan struct{}, 1), make(chan struct{}, 1), make(chan error, 1)
	st.piece.logHeader = logHeader{Database: r.database, Epoch: r.epoch}
	st.newestSeq, st.shippedSeq = st.after, st.after
	return st, nil
}

// before looks at what there was before this Run. It returns the header of the newest piece of
// the log; nil if there is none.
func (r *runner) before(ctx context.Context) (newest *logHeader, err error) {
	r.earlierLog = shipped{}
	if r.epoch != 0 { // it was looked at
		return nil, nil
	}
	points, err := r.store.points(ctx)
	if err != nil {
		return nil, err
	}
	if known := r.from.memory().farthest(); slices.ContainsFunc(points, func(n named) bool { return n.name == known.base }) {
		r.earlierLog = known
	}
	epochs, err := r.store.epochs(ctx)
	for i := len(epochs) - 1; i >= 0 && err == nil; i-- {
		var pieces []uint64
		if pieces, err = r.store.pieces(ctx, epochs[i]); err != nil || len(pieces) == 0 {
			continue
		}
		h, err := r.store.logHeaderOf(ctx, epochs[i], pieces[len(pieces)-1])
		return &h, err
	}
	return nil, err
}

// claim makes the next epoch this one's.
func (r *runner) claim(ctx context.Context) error {
	epochs, err := r.store.epochs(ctx)
	if err != nil {
		return err
	}
	next := uint64(1)
	if len(epochs) > 0 {
		next = epochs[len(epochs)-1] + 1
	}
	claim := logHeader{Database: r.database, Epoch: next, Claim: rand.Text()}
	for err = errTaken; errors.Is(err, errTaken); claim.Epoch++ {
		if err = r.store.put(ctx, logName(claim.Epoch, 0), claim.head()); err == nil {
			r.epoch = claim.Epoch
		}
	}
	return err
}

// stretch is a part of the log that can be restored from the point that it begins with.
type stretch struct {
	*runner
	taking *taking
	base   string // the name of that point
	after  uint64 // what was shipped before, or lies in the point

	settled atomic.Bool // it is in the bucket
	points  chan error  // the outcome of the point that is being taken; from the goroutine that takes it; for one

	mu        sync.Mutex // between the goroutine that reads and the one that ships
	piece     piece      // what was read and not shipped
	newestSeq uint64     // that was read

	shippedSeq uint64 // whose goroutine ships

	eager atomic.Bool   // added tells of each change
	added chan struct{} // from who reads: there is enough to be shipped; for one, nobody closes it
	taken chan struct{} // from who ships: there is room; for one, nobody closes it
}

func (st *stretch) last() uint64 {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.newestSeq
}

// signal tells something that need be told only once until it is heard.
func signal(to chan<- struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

// pieceBytes is how much is collected before it is shipped without waiting for the interval.
const pieceBytes = 8 << 20

// read collects changes until ctx ends, or something that cannot be shipped comes.
func (st *stretch) read(ctx context.Context) error {
	for c, err := range st.from.changes(ctx, st.after) {
		if err != nil {
			return err
		}
		for _, op := range c.Ops {
			if op.Kind == db.OpLoad {
				return errLoad
			}
		}
		if err := st.add(ctx, c); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// add adds a change, when there is room.
func (st *stretch) add(ctx context.Context, c db.Change) error {
	for {
		st.mu.Lock()
		room := len(st.piece.frames) < pieceBytes
		var err error
		if room {
			if err = st.piece.add(c, st.now()); err == nil {
				st.newestSeq = c.Seq
			}
			room = len(st.piece.frames) < pieceBytes
			st.mu.Unlock()
			if !room || st.eager.Load() {
				signal(st.added)
			}
			return err
		}
		st.mu.Unlock()
		select {
		case <-st.taken:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// take returns what was collected; nil if there is nothing.
func (st *stretch) take() *piece {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.piece.Frames == 0 {
		return nil
	}
	p := st.piece
	st.piece = piece{logHeader: logHeader{Database: p.Database, Epoch: p.Epoch}}
	signal(st.taken)
	return &p
}

// full reports whether there is enough to be shipped.
func (st *stretch) full() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.piece.frames) >= pieceBytes
}

// held reports whether nothing may be shipped: it is not certain that the point that was there
// already is of this history.
func (st *stretch) held() bool { return st.taking.reused && !st.taking.sure && !st.settled.Load() }

// ship ships what was collected.
func (st *stretch) ship(ctx context.Context) error {
	if st.held() {
		return nil
	}
	p := st.take()
	if p == nil {
		return nil
	}
	p.Base, p.Settled = st.base, st.settled.Load()
	head := p.head()
	err := st.retry(ctx, "log", func() error {
		if err := st.check(st.work, false); err != nil {
			return err
		}
		return st.store.put(st.work, logName(p.Epoch, p.First), head, p.frames)
	})
	if errors.Is(err, errTaken) {
		err = fmt.Errorf("%w: %w", ErrFenced, err)
	}
	if err == nil {
		st.shippedSeq = p.Last
		st.from.memory().note(shipped{st.base, p.Last})
		st.Logger.Debug().Uint64("first", p.First).Uint64("last", p.Last).Int("bytes", len(p.frames)).Msg("log shipped")
	}
	return err
}
