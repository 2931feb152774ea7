package stages

import (
	"slices"
	"sync"

	"lsmdb/internal/base"
)

// Snapshots registers the sequence numbers that somebody still reads at, so that
// flushes and compactions keep what they can see.
//
// Callers register and release from any goroutine while jobs list, hence the
// mutex. It also orders the two: the sequence number is taken under it. A job
// lists the snapshots after it has chosen its inputs, so a snapshot that it does
// not find is newer than everything in them.
type Snapshots struct {
	mu   sync.Mutex
	open map[*Snapshot]struct{}
}

// Snapshot is one registration.
type Snapshot struct{ seq base.Seq }

// Seq returns the sequence number at which the snapshot reads.
func (s *Snapshot) Seq() base.Seq { return s.seq }

// acquire registers a snapshot of what is visible now.
func (r *Snapshots) acquire(visible func() base.Seq) *Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &Snapshot{seq: visible()}
	if r.open == nil {
		r.open = make(map[*Snapshot]struct{})
	}
	r.open[s] = struct{}{}
	return s
}

// release ends a registration.
func (r *Snapshots) release(s *Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, s)
}

// List returns the sequence numbers of the open snapshots, ascending, without
// repetition.
func (r *Snapshots) List() []base.Seq {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]base.Seq, 0, len(r.open))
	for s := range r.open {
		list = append(list, s.seq)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Count returns how many snapshots are open and the oldest one's sequence number,
// which is base.MaxSeq when there is none.
func (r *Snapshots) Count() (open int, oldest base.Seq) {
	r.mu.Lock()
	defer r.mu.Unlock()
	oldest = base.MaxSeq
	for s := range r.open {
		oldest = min(oldest, s.seq)
	}
	return len(r.open), oldest
}
