package recovery

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/internal/changes"
	"lsmdb/wal"
)

// keep finds out which segments stay for those who follow the changes when the database is
// taken over: the newest ones, within Options.KeepChangesBytes. Of a chain, which was
// replayed, they are followed back to those that were kept before. Where a link is missing or
// damaged, there the history that is kept begins.
func (r *replay) keep(chain []*segment) {
	left, next, previous := r.options.KeepChangesBytes, r.lastSeq+1, uint64(0)
	retain := func(number uint64, first base.Seq, reader *wal.Reader) bool {
		left -= reader.SizeBytes()
		fits := left >= 0 && (previous == 0 || previous == number) && first <= next
		if fits {
			next, previous = first, reader.Previous().Segment
			r.kept = append(r.kept, changes.Segment(number, first, reader.SizeBytes()))
		}
		return fits
	}
	for _, s := range slices.Backward(chain) {
		switch {
		case s.operations == 0 && len(r.kept) == 0: // nobody has begun it
			previous = s.reader.Previous().Segment
			continue
		case left <= 0 || !retain(s.number, s.first, s.reader):
			return
		case !s.reader.End().Sealed && len(r.kept) == 1:
			r.unsynced = s.path
		}
	}
	for _, number := range slices.Backward(r.retired()) {
		if left <= 0 {
			return
		}
		err := r.retainRetired(number, next, retain)
		if errors.Is(err, errUnfit) {
			return
		}
		if err != nil {
			r.directory.Logger.Warn().Uint64("segment", number).Err(err).Msg("changes are kept from behind this log on")
			return
		}
	}
}

// errUnfit says that a segment does not fit among those that are kept.
var errUnfit = errors.New("it is no part of what is kept")

// retainRetired retains a segment that was flushed before this Open. If it is empty, it is as if
// it began where what follows it does.
func (r *replay) retainRetired(number uint64, next base.Seq, retain func(uint64, base.Seq, *wal.Reader) bool) error {
	path := base.WALPath(r.directory.Dir, number)
	file, err := r.directory.FS.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	reader, err := wal.Open(file, path, number)
	if err != nil {
		return err
	}
	payload, offset, err := reader.Next()
	switch {
	case err == nil:
		h, _, err := base.DecodeGroup(payload)
		if err != nil {
			return base.DamageAt(path, offset, err)
		}
		next = h.First
	case err != io.EOF:
		return err
	}
	if reader.Empty() || !retain(number, next, reader) {
		return errUnfit
	}
	return nil
}

// retired returns the numbers of the segments that recovery does not need, ascending.
func (o *Opening) retired() (numbers []uint64) {
	for _, name := range o.files.all {
		if t, number := base.ParseFileName(name); t == base.FileWAL && number < o.state.OldestWAL {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	return numbers
}

// setChanges notes what there is to follow once the database is taken over.
func (o *Opening) setChanges(segments []changes.Part) {
	o.changes = changes.Join(segments, o.state.Loaded, o.replay.lastSeq+1)
	if o.options.KeepChangesBytes <= 0 {
		o.changes = o.changes[len(o.changes)-1:]
	}
}

// Changes returns what there is to follow, if all of it is durable already; otherwise nil, and
// Begun tells.
func (o *Opening) Changes() []changes.Part {
	if len(o.replay.memtables) > 0 {
		return nil
	}
	return o.changes
}

// Kept describes what a database that is not taken over has for those who follow.
func (o *Opening) Kept() (s changes.Stats) {
	s.Oldest = uint64(o.changes[0].First) - 1
	for _, p := range o.changes {
		if p.Segment != 0 && p.Segment < o.state.OldestWAL {
			s.Segments++
			s.Bytes += p.Bytes
		}
	}
	return s
}

// syncKept makes what was replayed durable where it was read: what a killed process has left
// in memory of the system must not be lost from what is kept once the tables have it. If
// that fails, nothing is kept, as nobody knows what is there.
func (o *Opening) syncKept() {
	if o.unsynced == "" {
		return
	}
	if err := o.directory.FS.SyncFile(o.unsynced); err != nil {
		o.directory.Logger.Warn().Err(fmt.Errorf("syncing %s: %w", o.unsynced, err)).Msg("changes before this open are not kept")
		o.changes = o.changes[len(o.changes)-1:]
	}
	o.unsynced = ""
}

// isKept reports whether a file stays for those who follow the changes.
func (o *Opening) isKept(name string) bool {
	return slices.ContainsFunc(o.changes, func(p changes.Part) bool { return p.Segment != 0 && base.WALName(p.Segment) == name })
}
