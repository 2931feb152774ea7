package stages

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/changes"
	"lsmdb/internal/vfs"
	"lsmdb/internal/view"
	"lsmdb/manifest"
)

// Sweeper is the stage that deletes files which no durable state names any more.
//
//   - Owns: deletions and their pace: one file at a time, piece by piece, giving way in between. A table
//     is closed and deleted when the last reader that may come to it has left. Flushed
//     memtables that readers keep it moves out of memory, into a file without a name.
//   - Sends to it: the Keeper, which also closes its inbox; readers that leave, and those who
//     follow the changes (nudges).
//   - Blocks it: the file system. It sends to nobody.
//   - On an error: logs it and tries again now and then; what is still there in the
//     end, the next open removes.
//   - Drains by deleting what is queued; after a failure it deletes nothing more.
type Sweeper struct {
	env       *Environment
	published *view.Published
	changes   *changes.Log // says which logs stay for those who follow
	inbox     *Inbox[Obsolete]
	unread    chan struct{}   // readers send without waiting when the last one has left a replaced state, and who follows when a log can go, the loop receives, nobody closes; capacity 1 remembers it
	closing   <-chan struct{} // closed by Close before it waits for anything
	left      []*Obsolete     // is still there
	swept     int             // messages so far
	deleted   atomic.Int64
	pending   atomic.Int64
	courtesy  base.Courtesy
	unmovable bool        // the file system cannot do what moving a memtable needs
	ended     atomic.Bool // in good order: what is left is nobody's any more
}

// sweepsPerRetry is how many files are deleted before those that could not be are tried
// again.
const sweepsPerRetry = 128

// Obsolete is the message that names a file to delete.
type Obsolete struct {
	Name  string              // without directory
	Table *manifest.TableMeta // of a table that may be read; nil for other files

	Segment uint64 // of a log that recovery does not need; 0 for other files

	failed bool // it could not be deleted
}

// run is the stage's loop.
func (s *Sweeper) run(ctx context.Context) error {
	for {
		o, open, unread := s.next()
		switch {
		case !open && ctx.Err() == nil: // the last look
			s.sweep(true)
			s.ended.Store(true)
			return nil
		case !open:
			return nil
		case ctx.Err() != nil:
		case unread:
			s.sweep(false)
		default:
			start := time.Now()
			if o.Segment == 0 || !s.changes.Flush(o.Segment) {
				s.left = append(s.left, &o)
			}
			s.swept++
			s.sweep(s.swept%sweepsPerRetry == 0)
			if o.Segment != 0 { // its memtable was flushed
				s.moveAside()
			}
			s.inbox.worked(1, time.Since(start))
			s.courtesy.Give()
		}
	}
}

// next returns the next message, or unread if readers left. Messages come first: so the
// order in which files go does not depend on luck.
func (s *Sweeper) next() (o Obsolete, open, unread bool) {
	select {
	case o, open = <-s.inbox.ch:
		return o, open, false
	default:
	}
	select {
	case o, open = <-s.inbox.ch:
		return o, open, false
	case <-s.unread:
		return o, true, true
	}
}

// sweep deletes what is left, but for tables that somebody may still read. With again it
// tries also what could not be deleted before.
func (s *Sweeper) sweep(again bool) {
	for _, segment := range s.changes.Trim() {
		s.left = append(s.left, &Obsolete{Name: base.WALName(segment)})
	}
	needed := s.published.Needed()
	s.left = slices.DeleteFunc(s.left, func(o *Obsolete) bool {
		switch {
		case o.Table != nil && !needed(o.Table):
			if err := o.Table.Handle.Close(); err != nil {
				s.env.Logger.Warn().Uint64("table", o.Table.Number).Err(err).Msg("closing an obsolete table")
			}
			o.Table = nil
		case o.Table != nil || o.failed && !again:
			return false
		}
		o.failed = !s.remove(o.Name)
		return !o.failed
	})
	s.pending.Store(int64(len(s.left)))
}

// remove deletes a file, and reports whether it is gone.
func (s *Sweeper) remove(name string) bool {
	if err := vfs.RemoveInSteps(s.env.FS, filepath.Join(s.env.Dir, name), s.pause); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.env.Logger.Warn().Str("file", name).Err(err).Msg("an obsolete file could not be deleted yet")
		return false
	}
	s.deleted.Add(1)
	s.env.Logger.Debug().Str("file", name).Msg("obsolete file deleted")
	return true
}

// pause leaves the disk to others between two pieces of a file, four times as long as one took:
// some 250 MB a second are given back. Close waits for no pause.
func (s *Sweeper) pause(took time.Duration) {
	timer := time.NewTimer(4 * took)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.closing:
	}
}

// moveAside bounds the memory of memtables that are in tables already and that iterators
// keep: beyond what one memtable takes, they go to the disk. Where that fails, they stay.
func (s *Sweeper) moveAside() {
	if s.unmovable {
		return
	}
	err := s.published.MoveAside(s.env.MemtableBytes, s.env.MoveOut)
	s.unmovable = errors.Is(err, errors.ErrUnsupported)
	if err != nil && !s.unmovable {
		s.env.Logger.Warn().Err(err).Msg("memtables that iterators keep stay in memory")
	}
}

// removeLeft deletes the rest when no reader is left: all tables are closed.
func (s *Sweeper) removeLeft() {
	for _, o := range s.left {
		o.Table = nil
	}
	s.sweep(true)
}
