package stages

import (
	"container/list"
	"sync"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/output"
)

// Snapshots registers the sequence numbers that somebody still reads at, so that
// flushes and compactions keep what they can see.
//
// Callers register and release from any goroutine while jobs list, hence the
// mutex. It also orders the two: the sequence number is taken under it. A job
// lists the snapshots after it has chosen its inputs, so a snapshot that it does
// not find is newer than everything in them.
type Snapshots struct {
	clock   func() int64 // what time it is, in nanoseconds since 1970; it never runs back. nil: the system's
	mu      sync.Mutex
	open    list.List // of *Snapshot, oldest first: later ones see no less
	awaited base.Seq  // see await
}

// Snapshot is one registration.
type Snapshot struct {
	seq   base.Seq
	now   int64
	place *list.Element
}

// Seq returns the sequence number at which the snapshot reads.
func (s *Snapshot) Seq() base.Seq { return s.seq }

// Now returns the time at which the snapshot reads: a value is there while that is before
// its end.
func (s *Snapshot) Now() int64 { return s.now }

// acquire registers a snapshot of what is visible now, which never becomes less.
func (r *Snapshots) acquire(visible func() base.Seq) *Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &Snapshot{seq: visible(), now: r.now()}
	s.place = r.open.PushBack(s)
	return s
}

// release ends a registration. It reports true if the Compactor waits for that.
func (r *Snapshots) release(s *Snapshot) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open.Remove(s.place)
	return r.arrived()
}

// await has release report true, once, when no snapshot is older than seq; 0 takes that
// back. It reports true instead if none is now.
func (r *Snapshots) await(seq base.Seq) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.awaited = seq
	return r.arrived()
}

// arrived reports whether what was awaited has come, and ends the waiting.
func (r *Snapshots) arrived() bool {
	if r.awaited == 0 || r.oldest() < r.awaited {
		return false
	}
	r.awaited = 0
	return true
}

// oldest returns the oldest snapshot's number, base.MaxSeq if there is none.
func (r *Snapshots) oldest() base.Seq {
	if first := r.open.Front(); first != nil {
		return first.Value.(*Snapshot).seq
	}
	return base.MaxSeq
}

// now asks the clock.
func (r *Snapshots) now() int64 {
	if r.clock == nil {
		return time.Now().UnixNano()
	}
	return r.clock()
}

// Readers returns the open snapshots. Of those with the same number the first has the
// earliest time. Whoever comes later has none that is before the last one here: the clock
// is asked under the mutex, too.
func (r *Snapshots) Readers() (readers output.Readers) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for e := r.open.Front(); e != nil; e = e.Next() {
		s := e.Value.(*Snapshot)
		if n := len(readers.Snapshots); n == 0 || readers.Snapshots[n-1] < s.seq {
			readers.Snapshots = append(readers.Snapshots, s.seq)
			readers.Nows = append(readers.Nows, s.now)
		}
	}
	readers.Nows = append(readers.Nows, r.now())
	return readers
}

// Count returns how many snapshots are open and the oldest one's sequence number,
// which is base.MaxSeq when there is none.
func (r *Snapshots) Count() (open int, oldest base.Seq) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open.Len(), r.oldest()
}
