package model

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// told is what somebody knows who follows the changes, by one loop after the other.
type told struct {
	at    uint64
	state fixture.State
	loads map[uint64]fixture.Commit // by their numbers
}

// follow goes on to the newest, and compares. Who finds that what he needs is not kept any more
// looks at the database, and goes on from there.
func (r *modelRun) follow() {
	r.sync()
	newest := r.db.Metrics().Sequence
	err := r.hear(newest)
	if trimmed, is := errors.AsType[*db.TrimmedError](err); is && trimmed.Oldest > r.told.at && trimmed.Oldest <= newest {
		r.told.at, r.told.state = newest, maps.Clone(r.h.Now)
		r.tally.trimmed++
		return
	}
	r.check(err)
	r.tally.followed++
	if !maps.Equal(r.told.state, r.h.Now) {
		r.check(errors.Join(errors.New("what was told does not make what is there"), fixture.Differ(r.h.Now.At(0), r.told.state.At(0))))
	}
}

// hear hears of changes up to a number.
func (r *modelRun) hear(newest uint64) error {
	if r.told.at >= newest {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute) // who waits in vain shall fail
	defer cancel()
	for c, err := range r.db.Changes(ctx, r.told.at) {
		switch {
		case err != nil:
			return err
		case c.First != r.told.at+1 || uint64(len(c.Ops)) != c.Seq-c.First+1:
			return fmt.Errorf("change %d to %d of %d operations follows %d", c.First, c.Seq, len(c.Ops), r.told.at)
		}
		for i, o := range c.Ops {
			commit := fixture.Told(o)
			if o.Kind == db.OpLoad {
				commit = r.told.loads[c.First+uint64(i)]
			}
			r.told.state.Apply(commit)
		}
		if r.told.at = c.Seq; c.Seq == newest {
			break
		}
	}
	return nil
}

// lost sees that an end of the process, or of the power, has taken nothing that was told.
func (r *modelRun) lost() {
	if newest := r.db.Metrics().Sequence; r.told.at > newest {
		r.check(fmt.Errorf("%d was told, but the newest number is %d", r.told.at, newest))
	}
}
