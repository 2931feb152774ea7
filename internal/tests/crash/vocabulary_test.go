package crash

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/door"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// pass lets so many seconds pass, in which values come to their end.
func (s *scribe) pass(seconds int) {
	s.clock.Set(s.clock.UnixNano() + int64(seconds)*int64(time.Second))
}

// load loads keys, of which all or none are there.
func (s *scribe) load(keys int) {
	var c fixture.Commit
	for range keys {
		c = append(c, fixture.Operation{Key: s.key(), Value: s.value()})
	}
	c = c.Sorted()
	s.synced(s.db.Sync(s.t.Context())) // what was issued before is one thing
	s.add(c)
	s.disk.Mark(markIssued, len(s.views)-1)
	s.synced(c.Load(s.t.Context(), s.db))
}

// Databases made of a checkpoint: one by links, one that was restored.
var copies = []string{"/base/copies/linked", "/base/copies/restored"}

// checkpoint makes a checkpoint, and databases of it while others write.
func (s *scribe) checkpoint() {
	c, err := s.db.NewCheckpoint(s.t.Context())
	s.synced(err)
	s.copied = len(s.views) - 1
	s.some(2)
	s.compact()
	fixture.Must(s.t, c.Link(copies[0]))
	s.disk.Mark(markCopied, 1)
	var stream bytes.Buffer
	_, err = c.WriteTo(&stream)
	fixture.Must(s.t, err)
	fixture.Must(s.t, c.Close())
	s.some(1)
	fixture.Must(s.t, door.Restore(s.t.Context(), &stream, s.disk, copies[1]))
	s.disk.Mark(markCopied, 2)
}

// lookAtCopies opens the databases that were made of the checkpoint. One that has a CURRENT
// must be whole.
func (s *sweep) lookAtCopies(disk *vfstest.Disk) (found int, err error) {
	for _, dir := range copies {
		if _, err := disk.Stat(filepath.Join(dir, base.CurrentName)); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		d, err := s.openAt(disk, dir)
		if err != nil {
			return found, fmt.Errorf("%s: %w", dir, err)
		}
		if err := errors.Join(s.isCopy(d), d.Close()); err != nil {
			return found, fmt.Errorf("%s: %w", dir, err)
		}
		found++
	}
	return found, nil
}

// isCopy compares a database with the checkpoint that it was made of.
func (s *sweep) isCopy(d *db.DB) error {
	r := s.recording
	if r.origin != nil {
		r = r.origin
	}
	if at := r.ends[d.Metrics().Sequence]; at != r.copied {
		return fmt.Errorf("%d batches are there, the checkpoint had %d", at, r.copied)
	}
	return s.compare(d, r.views[r.copied].At(s.clock.UnixNano()))
}
