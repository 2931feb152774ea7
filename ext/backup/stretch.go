package backup

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// idleTicks is after how many intervals without a change somebody looks for a newer epoch.
const idleTicks = 10

// run takes the point of the stretch, and beside that reads and ships the log, until ctx ends or
// the stretch does. When it returns, nothing of it runs.
func (st *stretch) run(ctx context.Context) (err error) {
	reading, stopReading := context.WithCancel(st.work)
	taking, stopTaking := context.WithCancel(ctx)
	ended := make(chan error, 1) // the end of what reads; for one
	go func() { ended <- st.read(reading) }()
	busy := true // a point is being taken
	go st.takeFirst(taking)
	reads := true
	defer func() {
		stopReading()
		if reads {
			<-ended
		}
		if !goesOn(err) { // otherwise its point is as good as any
			stopTaking()
		}
		if busy {
			if failed := <-st.points; failed != nil && goesOn(err) {
				err = failed
			}
		}
		stopTaking()
	}()

	log, point := time.NewTicker(st.LogInterval), time.NewTicker(st.PointInterval)
	defer log.Stop()
	defer point.Stop()
	idle := 0
	for {
		select {
		case <-log.C:
			if idle++; st.last() != st.shippedSeq {
				idle = 0
				err = st.ship(ctx)
			} else if idle%idleTicks == 0 {
				err = st.look(ctx)
			}
		case <-st.added:
			if st.full() {
				err = st.ship(ctx)
			}
		case <-point.C:
			if !busy {
				busy = true
				go st.takeAnother(taking)
			}
		case err = <-st.points:
			busy = false
		case err = <-ended:
			reads = false
			if shipErr := st.ship(ctx); shipErr != nil {
				err = shipErr
			}
		case <-ctx.Done():
			st.leave(ended, &reads)
			return ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

// look looks for a newer epoch. That the bucket fails does not matter as long as there is
// nothing to ship.
func (st *stretch) look(ctx context.Context) error {
	err := st.check(ctx, false)
	if errors.Is(err, ErrFenced) {
		return err
	}
	return nil
}

// leave ships what is left, if that can be done in time.
func (st *stretch) leave(ended <-chan error, reads *bool) {
	if !st.settled.Load() {
		return
	}
	st.eager.Store(true)
	until, err := st.from.settle(st.work)
	for err == nil && *reads && st.last() < until && st.work.Err() == nil {
		select {
		case <-st.added:
			if st.full() {
				err = st.ship(st.work)
			}
		case <-ended:
			*reads = false
		case <-st.work.Done():
		}
	}
	if err == nil {
		err = st.ship(st.work)
	}
	if err != nil {
		st.Logger.Warn().Err(err).Msg("what was written last could not be shipped")
	}
}

// takeFirst takes the point that the stretch begins with.
func (st *stretch) takeFirst(ctx context.Context) {
	err := st.finish(ctx, st.taking)
	_ = st.taking.Close()
	st.from.memory().giveBack()
	if err == nil {
		st.settled.Store(true)
	}
	st.points <- err
}

// takeAnother takes a point on the way. If that fails, the log goes on, and so may the next.
func (st *stretch) takeAnother(ctx context.Context) {
	err := st.another(ctx)
	if err != nil && !errors.Is(err, ErrFenced) && ctx.Err() == nil {
		st.Logger.Error().Err(err).Msg("no point was taken: the next attempt is in an interval")
		err = nil
	}
	st.points <- err
}

func (st *stretch) another(ctx context.Context) error {
	m := st.from.memory()
	if err := m.take(ctx); err != nil {
		return err
	}
	defer m.giveBack()
	var t *taking
	err := st.retry(ctx, "point", func() (err error) {
		t, err = begin(ctx, st.from, st.store, st.base, st.now)
		return err
	})
	if err != nil {
		return err
	}
	defer t.Close()
	t.belong(st.epoch, st.base)
	return st.finish(ctx, t)
}

// finish completes a point.
func (st *stretch) finish(ctx context.Context, t *taking) error {
	err := st.retry(ctx, "point", func() error {
		if err := st.check(ctx, true); err != nil {
			return err
		}
		return t.finish(ctx)
	})
	switch {
	case errors.Is(err, errTaken):
		return fmt.Errorf("%w: %w", ErrFenced, err)
	case err == nil:
		st.Logger.Info().Uint64("sequence", t.report.Seq).Str("point", t.report.Point).Int("uploaded", t.report.Uploaded).
			Int64("uploaded_bytes", t.report.UploadedBytes).Msg("point taken")
	}
	return err
}
