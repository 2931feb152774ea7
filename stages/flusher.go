package stages

import (
	"context"
	"fmt"
	"time"

	"lsmdb/flusher"
	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/internal/view"
	"lsmdb/manifest"
)

// Flusher is the stage that turns sealed memtables into tables of level 0, in
// the order in which they were sealed.
//
//   - Owns: the table files being built.
//   - Sends to it: the Writer, which also closes its inbox. A full inbox is what
//     blocks the Writer.
//   - Blocks it: the file system; the Keeper's answer; a level 0 that is too full,
//     until compaction has caught up (this is how a slow Compactor reaches writers).
//   - On an error: a shortage is waited out, other errors are tried three times.
//   - Drains by flushing what is queued. After a shortage during shutdown it tries once
//     more and then leaves the rest to the WAL, which holds all of it.
type Flusher struct {
	env       *Environment
	published *view.Published // for the tree
	snapshots *Snapshots
	inbox     *Inbox[Sealed]
	keeper    *Inbox[*Proposal] // shared with the compaction workers
	closing   <-chan struct{}   // closed by Close before it waits for anything
	stuck     <-chan struct{}   // closed by the Compactor when level 0 cannot shrink any more
	jobs      jobCounter
	work      *progress // of the flush under way, for the Writer
	pace      pace      // by which it goes while level 0 is nearly full

	shortage base.Shortage

	waiter *Commit // of the memtable in hand, not answered yet; nil: none
	left   error   // why a memtable, and so all after it, was left to the WAL; nil: none was
}

// run is the stage's loop.
func (f *Flusher) run(ctx context.Context) error {
	for s := range f.inbox.ch {
		start := time.Now()
		err := f.handle(ctx, s)
		f.inbox.worked(1, time.Since(start))
		if err != nil {
			return err
		}
	}
	return nil
}

// handle flushes one memtable, answers its waiter, and holds the next one back
// while level 0 is too full.
func (f *Flusher) handle(ctx context.Context, s Sealed) error {
	var verdict verdict
	var err error
	giveBack(s.room)
	f.work.ahead.Add(-s.ahead)
	f.waiter = s.waiter
	if s.Memtable != nil && f.left == nil {
		verdict, err = f.flush(ctx, s)
	}
	if err != nil {
		return err // the waiter is answered by refuse, when no stage goes on any more
	}
	giveBack(s.place)
	if s.waiter != nil && s.waiter.load != nil {
		if verdict, err = f.load(ctx, s.waiter.load); err != nil {
			return err
		}
		f.waiter = nil // the Writer answers
	}
	f.answer(f.left)
	if verdict.hold == nil {
		return nil
	}
	start := time.Now()
	select {
	case <-verdict.hold:
	case <-f.stuck:
	case <-f.closing:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	f.env.Logger.Info().Dur("waited", time.Since(start)).Msg("level 0 was full: flushing waited for compaction")
	return nil
}

// giveBack gives back a place, unless it is nobody's.
func giveBack(place <-chan struct{}) {
	select {
	case <-place:
	default:
	}
}

// answer tells the waiter of the memtable in hand, if there is one, the outcome.
func (f *Flusher) answer(err error) {
	if f.waiter != nil {
		f.waiter.answer(err)
		f.waiter = nil
	}
}

// flush repeats attempts until one succeeds or the error is one to give up on.
func (f *Flusher) flush(ctx context.Context, s Sealed) (verdict, error) {
	var retry output.BackOff
	closing := false
	for {
		v, err := f.attempt(ctx, s)
		f.shortage.Note(err)
		if err == nil {
			return v, nil
		}
		if closing && base.IsShortage(err) {
			f.left = err
			f.env.Logger.Warn().Err(err).Msg("a memtable is not flushed before the end; the log keeps it")
			return verdict{}, nil
		}
		if wait := retry.After(err); !wait || context.Cause(ctx) != nil {
			return verdict{}, err
		}
		f.jobs.count(func(s *JobStats) { s.Retries++ })
		f.env.Logger.Error().Err(err).Dur("retry_in", retry.Delay).Msg("flush failed")
		select {
		case <-time.After(retry.Delay):
		case <-f.closing:
			closing = true
		case <-ctx.Done():
			return verdict{}, context.Cause(ctx)
		}
	}
}

// attempt writes the memtable to a table and has the Keeper add it to the tree.
func (f *Flusher) attempt(ctx context.Context, s Sealed) (v verdict, err error) {
	done, err := f.jobs.run(0, func() (JobStats, error) {
		readers := f.snapshots.Readers(f.published.Ended)
		tree := f.published.State().Version // which holds all that was sealed before
		deletes := flusher.RangeDeletes(s.Memtable, tree, readers)
		job := f.work.begin(uint64(s.Memtable.Len()), nil)
		defer job.end()
		tables, err := flusher.Run(ctx, f.env.Directory, s.Memtable.NewIterator(), deletes, readers, func(entries, bytes int64) {
			job.read(entries, bytes)
			f.keepPace(ctx, entries, job.unread, s.Memtable.Len())
		})
		if err != nil {
			return JobStats{}, fmt.Errorf("flushing a memtable of WAL segment %d: %w", s.Segment, err)
		}
		edit := &manifest.Edit{OldestWAL: s.Next, LastSeq: s.LastSeq}
		edit.Add(0, tables...)
		v = f.env.succeed(ctx, f.keeper, tree.TopRuns(), tables, &Proposal{Edit: edit, Flushed: s.Memtable, Segment: s.Segment})
		done := written(tables)
		done.EntriesIn = uint64(s.Memtable.Len())
		return done, v.err
	})
	if err == nil {
		f.env.Logger.Info().Int64("memtable_bytes", s.Memtable.UsedBytes()).Uint64("segment", s.Segment).
			Uint64("table_bytes", done.BytesWritten).Dur("took", done.Time).Msg("memtable flushed")
	}
	return v, err
}

// keepPace slows a flush down that has read some entries, and has some of all to go, while
// level 0 is nearly full: once it is, the next flush could not begin before a compaction is
// done. Of the room, half is left for what comes after the work that is known.
func (f *Flusher) keepPace(ctx context.Context, read, unread, all int64) {
	_, _ = f.pace.keep(ctx, read, func() (room, work int64) { // the flush looks at ctx itself
		tree, policy := f.published.State().Version, &f.env.Policy
		left := policy.L0Limit - len(tree.Levels[0])
		if work = f.pace.work.left.Load(); work == 0 || left > policy.L0Limit/4 {
			return 0, 0
		}
		if f.pace.work.relieving.Load() == 0 { // that comes behind what is running
			work += policy.MergeEntries(tree)
		}
		return (int64(left-1)*all + unread) / 2, work
	}, f.stuck, f.closing)
}

// refuse answers the waiters of what is in hand and of what is still queued
// after the stage failed.
func (f *Flusher) refuse(cause error) {
	f.answer(refused(cause))
	for s := range f.inbox.ch {
		f.waiter = s.waiter
		f.answer(refused(cause))
	}
}
