package stages

import (
	"context"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"lsmdb/internal/base"
	"lsmdb/sstable"
)

// Sweeper is the stage that deletes files which no durable state names any more.
//
//   - Owns: deletions and their pace: one file at a time, giving way in between.
//   - Sends to it: the Keeper, which also closes its inbox.
//   - Blocks it: the file system. It sends to nobody.
//   - On an error: logs it and tries again now and then; what is still there in the
//     end, the next open removes.
//   - Drains by deleting what is queued; after a failure it deletes nothing more.
type Sweeper struct {
	env       *Environment
	published *Published
	inbox     *Inbox[Obsolete]
	failed    []Obsolete // could not be deleted yet
	swept     int        // files since the garbage collector was last asked
	deleted   atomic.Int64
	pending   atomic.Int64
	courtesy  base.Courtesy
	ended     atomic.Bool // in good order: failed is nobody's any more
}

// sweepsPerCollection is how many files are deleted before the descriptors, the
// space and the memory of tables that nobody reads any more are worth a garbage
// collection: a program with a large heap may not collect for a long time.
const sweepsPerCollection = 128

// Obsolete is the message that names a file to delete, without directory.
type Obsolete struct {
	Name  string
	Table *sstable.Handle // of a table: nil for other files
}

// run is the stage's loop.
func (s *Sweeper) run(ctx context.Context) error {
	for o := range s.inbox.ch {
		if ctx.Err() != nil {
			continue
		}
		start := time.Now()
		s.sweep(o)
		s.collect()
		s.inbox.worked(1, time.Since(start))
		s.courtesy.Give()
	}
	if ctx.Err() == nil {
		s.again(s.sweep)
		s.ended.Store(true)
	}
	return nil
}

// again tries what could not be deleted before.
func (s *Sweeper) again(do func(Obsolete)) {
	failed := s.failed
	s.failed = nil
	for _, o := range failed {
		do(o)
	}
}

// collect has the garbage collector look for tables that nobody reads any more, if
// there may be many of them and they are still open.
func (s *Sweeper) collect() {
	if s.swept++; s.swept < sweepsPerCollection {
		return
	}
	s.swept = 0
	live := 0
	for _, tables := range s.published.State().Version.Levels {
		live += len(tables)
	}
	if s.env.Files.Len() > live+sweepsPerCollection/2 {
		runtime.GC()
	}
	s.again(s.sweep)
}

// sweep deletes one file. Readers of older versions may still need a table: an
// open file outlives its name, so it is opened first if it never was.
func (s *Sweeper) sweep(o Obsolete) {
	if o.Table != nil {
		if _, err := o.Table.Table(); err != nil {
			s.env.Logger.Warn().Str("file", o.Name).Err(err).Msg("an obsolete table stays: it cannot be opened for its last readers")
			s.keep(o)
			return
		}
	}
	s.remove(o.Name)
}

func (s *Sweeper) remove(name string) {
	if err := s.env.FS.Remove(filepath.Join(s.env.Dir, name)); err != nil {
		s.env.Logger.Warn().Str("file", name).Err(err).Msg("an obsolete file could not be deleted yet")
		// Without its handle: where an open file cannot be deleted, that would keep it so.
		s.keep(Obsolete{Name: name})
		return
	}
	s.deleted.Add(1)
	s.pending.Store(int64(len(s.failed)))
	s.env.Logger.Debug().Str("file", name).Msg("obsolete file deleted")
}

// keep notes a file that is to be tried again.
func (s *Sweeper) keep(o Obsolete) {
	s.failed = append(s.failed, o)
	s.pending.Store(int64(len(s.failed)))
}

// removeLeft tries once more when no reader is left that could need a table.
func (s *Sweeper) removeLeft() { s.again(func(o Obsolete) { s.remove(o.Name) }) }
