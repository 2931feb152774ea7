package stages

import (
	"sync"
	"sync/atomic"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/internal/view"
)

// Snapshots registers the sequence numbers that somebody still reads at, so that
// flushes and compactions keep what they can see.
//
// Callers register and release from any goroutine while jobs list, hence the
// mutex. It also orders the two: the sequence number is taken under it. A job
// lists the snapshots after it has chosen its inputs, so a snapshot that it does
// not find is newer than everything in them.
type Snapshots struct {
	mu      sync.Mutex
	ends    Snapshot // of the ring of open ones; behind it lies the oldest: later ones see no less
	open    int
	awaited base.Seq // see await
}

// Snapshot is one registration. It lies in what its owner holds anyway, as many live
// for one read only.
type Snapshot struct {
	at             view.At
	previous, next *Snapshot // nil: not open
	transaction    bool      // it is that of one

	Closed      atomic.Bool // its owner's, for whom there is room here
	view.Opened             // set by its owner before
}

// At returns the instant at which the snapshot reads. Without a time, no value that it
// sees ends.
func (s *Snapshot) At() view.At { return s.at }

// Register registers a snapshot of what is visible now, which never becomes less. Its time
// is taken in there, too: whoever finds it missing in a list, and takes the time before
// that, has no later one.
func (r *Snapshots) Register(s *Snapshot, now func() view.At) *Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.at = now()
	if r.open == 0 {
		r.ends.previous, r.ends.next = &r.ends, &r.ends
	}
	s.previous, s.next = r.ends.previous, &r.ends
	s.previous.next, r.ends.previous = s, s
	r.open++
	return s
}

// Unregister ends a registration. It reports true if the Compactor waits for that.
func (r *Snapshots) Unregister(s *Snapshot) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.next != nil {
		s.previous.next, s.next.previous = s.next, s.previous
		s.previous, s.next = nil, nil
		r.open--
	}
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
	if r.open > 0 {
		return r.ends.next.at.Seq
	}
	return base.MaxSeq
}

// Readers returns the open snapshots, and the time. Of those with the same number the first
// has the earliest. Whoever comes later has none that is before this one: the clock is
// asked under the mutex, too.
func (r *Snapshots) Readers(clock func() int64) (readers output.Readers) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.ends
	for range r.open {
		s = s.next
		at := s.at
		if n := len(readers.Snapshots); n == 0 || readers.Snapshots[n-1] < at.Seq {
			readers.Snapshots = append(readers.Snapshots, at.Seq)
			readers.Nows = append(readers.Nows, at.Now)
		}
	}
	readers.Nows = append(readers.Nows, clock())
	return readers
}

// Open returns the open snapshots, oldest first.
func (r *Snapshots) Open() (list []view.OpenSnapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.ends
	for range r.open {
		s = s.next
		list = append(list, view.OpenSnapshot{Opened: s.Opened, At: s.at, Transaction: s.transaction})
	}
	return list
}

// Clock tells the time at which something is opened, where that must cost nothing. While it is
// asked all the time, it looks at the real clock once in clockStep; it has no timer
// otherwise.
type Clock struct {
	now   atomic.Int64 // 0: nobody has asked for a while
	timer *time.Timer  // makes it 0
}

const clockStep = 10 * time.Millisecond

// NewClock makes one, to be stopped.
func NewClock() *Clock {
	c := new(Clock)
	c.timer = time.AfterFunc(clockStep, func() { c.now.Store(0) })
	return c
}

// Now returns the time in nanoseconds since 1970, which may be clockStep behind. It is odd where
// the real clock was asked.
func (c *Clock) Now() int64 {
	if now := c.now.Load(); now != 0 {
		return now
	}
	return c.read()
}

func (c *Clock) read() int64 {
	now := time.Now().UnixNano() &^ 1
	if c.now.CompareAndSwap(0, now) {
		c.timer.Reset(clockStep)
	}
	return now | 1
}

// Stop stops the timer, and the time.
func (c *Clock) Stop() {
	c.timer.Stop()
	c.now.Store(time.Now().UnixNano() &^ 1)
}

// Count returns how many snapshots are open and the oldest one's sequence number, 0 when
// there is none.
func (r *Snapshots) Count() (open int, oldest base.Seq) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open > 0 {
		oldest = r.oldest()
	}
	return r.open, oldest
}
