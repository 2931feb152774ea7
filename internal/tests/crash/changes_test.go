package crash

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// markTold is in the trace behind each change that somebody has heard of, with the number of
// its last operation: no power failure may take that.
const markTold = "told"

// followedKinds are histories of sweepKinds in which logs are kept and somebody follows the
// changes all the time.
func followedKinds() (list []sweepKind) {
	for _, name := range []string{"short life", "rotation", "rare syncs", "large batches", "windows", "killed recovery", "killed before a sync", "failed WAL sync", "vocabulary", "load"} {
		k := sweepKinds[slices.IndexFunc(sweepKinds, func(k sweepKind) bool { return k.name == name })]
		k.name, k.followed = k.name+", followed", true
		list = append(list, k)
	}
	return list
}

// keep sets the option that keeps all logs, if somebody follows.
func (s *scribe) keep(o *db.Options) {
	if s.followed {
		o.KeepChangesBytes = 1 << 30
	}
}

// follow begins to follow the database that was opened, behind what was told before. It ends
// with the process.
func (s *scribe) follow() {
	done := make(chan error, 1)
	s.unfollow = func() {
		if err := <-done; err != nil {
			s.t.Errorf("%s: %v", s.name, err)
		}
		s.unfollow = func() {}
	}
	d := s.db
	go func() {
		for c, err := range d.Changes(s.t.Context(), s.told) {
			switch {
			case errors.Is(err, db.ErrClosed) || errors.Is(err, fixture.ErrDead):
				done <- nil
				return
			case err == nil && c.First != s.told+1:
				err = fmt.Errorf("change %d follows %d", c.First, s.told)
			}
			if err != nil {
				done <- err
				return
			}
			s.told = c.Seq
			s.disk.Mark(markTold, int(c.Seq))
		}
	}()
}

// lookAtChanges follows a database from its first write on, and compares what that makes with
// what was there after each batch.
func (s *sweep) lookAtChanges(d *db.DB, newest uint64) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute) // who waits in vain shall fail
	defer cancel()
	for at := uint64(0); at < newest; {
		err := s.followFrom(ctx, d, &at, newest)
		trimmed, is := errors.AsType[*db.TrimmedError](err)
		if is && errors.Is(err, db.ErrCorrupt) && len(s.lost) > 0 && trimmed.Oldest > at {
			at = trimmed.Oldest // a log that could not be synced ends too early, which is noticed
		} else if err != nil {
			return fmt.Errorf("changes behind %d: %w", at, err)
		}
	}
	return nil
}

func (s *sweep) followFrom(ctx context.Context, d *db.DB, at *uint64, newest uint64) error {
	before, ok := s.ends[*at]
	if !ok {
		return errors.New("that is in the middle of a batch")
	}
	state := maps.Clone(s.views[before])
	for c, err := range d.Changes(ctx, *at) {
		if err != nil {
			return err
		}
		batches, ok := s.ends[c.Seq]
		if c.First != *at+1 || !ok || c.Seq > newest {
			return fmt.Errorf("a change from %d to %d, where %d is the newest", c.First, c.Seq, newest)
		}
		*at = c.Seq
		state.Apply(s.commitOf(c, batches))
		if !maps.Equal(state, s.views[batches]) {
			return fmt.Errorf("the change up to %d makes %v, not %v", c.Seq, state, s.views[batches])
		}
		if c.Seq == newest {
			break
		}
	}
	return nil
}

// commitOf is a change in the words of the model. What was loaded, it knows only from that.
func (s *sweep) commitOf(c db.Change, batches int) (commit fixture.Commit) {
	for _, o := range c.Ops {
		if o.Kind != db.OpLoad {
			commit = append(commit, fixture.Told(o)...)
			continue
		}
		for key, e := range s.views[batches] {
			if key >= string(o.Key) && key < string(o.End) && s.views[batches-1][key] != e {
				commit = append(commit, fixture.Operation{Key: key, Value: e.Value})
			}
		}
	}
	return commit
}
