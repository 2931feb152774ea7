package debug

import (
	"crypto/rand"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"lsmdb/db"
	"lsmdb/internal/inside"
	"lsmdb/manifest"
)

const (
	interval  = time.Second
	keptRows  = 300 // of the curves: five minutes
	workShare = 300 // what may take long takes at most one part in so many of the time
)

// sampler looks at the database once per second while there are viewers, and keeps the
// curves of the last minutes.
type sampler struct {
	database *db.DB
	epoch    string // tells this sampler's rows from those of another process

	// start starts a goroutine; benchmarks measure what it takes.
	start func(work func())

	// The mutex is taken once per second by the sampler and by each viewer, which copies a few
	// pointers and writes to its connection without it. Nobody reads a file while he has it: a
	// disk that hangs holds up no viewer.
	mu      sync.Mutex
	viewers int
	stop    chan struct{} // closed when the last viewer leaves
	changed chan struct{} // closed with the next frame, and replaced
	now     frame
	rows    []json.RawMessage // the last ones, the oldest first
	row     int64             // number of the newest; 0: there is none

	before  *sample
	tree    *picture
	version *manifest.Version // that the tree shows
	births  births
	pins    pinsSeen
	asked   bool // somebody looks for pins at this moment

	drawing, feeling, asking pace // the tree, its heat, for the pins
}

// pinsSeen are the pins of a moment; zero: nobody has looked yet.
type pinsSeen struct {
	at   time.Time
	list []db.Pin
}

// frame is what viewers get of a moment, encoded once for all of them.
type frame struct {
	state  []byte
	tree   []byte
	treeID int64
	closed bool // the database is: there will be no other
}

func newSampler(d *db.DB) *sampler {
	return &sampler{database: d, epoch: rand.Text()[:8], changed: make(chan struct{}), start: func(work func()) { go work() }}
}

// join begins the visit of a viewer, who must leave. When it returns, there is a frame.
func (s *sampler) join() (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.viewers++
	if s.viewers == 1 {
		s.stop = make(chan struct{})
		// Who comes back at once finds what he left.
		if s.before == nil || time.Since(s.before.at) >= interval/2 {
			s.sample()
		}
		stop := s.stop
		s.start(func() { s.run(stop) })
	}
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.viewers--; s.viewers == 0 {
			close(s.stop)
		}
	})
}

// run samples until nobody looks any more, or the database is closed.
func (s *sampler) run(stop <-chan struct{}) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		if s.tick(stop) {
			return
		}
	}
}

// tick takes a sample. It reports whether it was the last one.
func (s *sampler) tick(stop <-chan struct{}) (last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != stop || s.viewers == 0 || s.now.closed { // another one samples now, or nobody
		return true
	}
	s.sample()
	return s.now.closed
}

// finish makes the last frame, if the database is closed, and reports whether it is. It is for
// viewers who cannot wait for the next tick.
func (s *sampler) finish() (closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.now.closed && inside.Look(s.database).Closed {
		s.sample()
	}
	return s.now.closed
}

// sample looks at the database and makes the frame of this moment. The caller has the mutex.
func (s *sampler) sample() {
	now := &sample{at: time.Now(), metrics: s.database.Metrics(), inside: inside.Look(s.database)}
	if s.version != now.inside.Version {
		s.drawing.keep(now.at, func() { s.draw(now) })
	}
	s.births.note(now.inside.Version, now.at)
	if !s.asked { // otherwise tables are read that nobody else reads
		s.feeling.keep(now.at, s.tree.feel)
	}
	if !now.inside.Closed {
		now.health = s.database.Health()
		s.ask(now)
	}
	now.pins = s.pins
	state := newState(s.before, now)
	if now.inside.Closed {
		state.Headline, state.Tone = "The database was closed.", ended
		state.Why = why(state)
	}
	state.Tree.ID, state.Marks = s.tree.ID, s.tree.mark(&now.inside, &s.births, now.at)
	s.now.state, s.now.closed = encode(state), now.inside.Closed
	s.rows = append(s.rows, encode(newRow(s.before, now)))
	if s.row++; len(s.rows) > keptRows {
		s.rows = s.rows[1:]
	}
	s.before = now
	close(s.changed)
	s.changed = make(chan struct{})
}

// ask has somebody look for the pins, unless that is too early or somebody still does. While
// snapshots are open that reads samples of tables, for as long as the disk takes. The caller has
// the mutex.
func (s *sampler) ask(now *sample) {
	if now.metrics.Snapshot.Open == 0 {
		s.asking.next = time.Time{} // then it is cheap
	}
	if s.asked || now.at.Before(s.asking.next) {
		return
	}
	s.asked = true
	s.start(func() {
		start := time.Now()
		list := s.database.Pins()
		took := time.Since(start)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked, s.pins = false, pinsSeen{start, list}
		s.asking.done(start, took)
		s.tree.overlook() // that this has read samples of tables
	})
}

// draw draws the tree that there is now.
func (s *sampler) draw(now *sample) {
	tree := draw(s.now.treeID+1, &now.inside)
	tree.takeOver(s.tree)
	s.tree, s.version = tree, now.inside.Version
	s.now.tree, s.now.treeID = encode(tree), tree.ID
}

// pace has work done the more rarely, the longer it takes.
type pace struct {
	took [4]time.Duration // the last times
	n    int
	next time.Time
}

// keep does the work, unless that is too early. What counts is the shortest of the last
// times: where others want the processor, the clock goes on while the work does not.
func (p *pace) keep(now time.Time, work func()) {
	if now.Before(p.next) {
		return
	}
	start := time.Now()
	work()
	p.done(now, time.Since(start))
}

// done notes how long work took that was begun at a time.
func (p *pace) done(begun time.Time, took time.Duration) {
	p.took[p.n%len(p.took)] = took
	p.n++
	p.next = begun.Add(workShare * slices.Min(p.took[:min(p.n, len(p.took))]))
}

// encode is for what always can be encoded.
func encode(v any) []byte {
	encoded, err := json.Marshal(v)
	if err != nil {
		panic("invariant: what viewers get are plain values: " + err.Error())
	}
	return encoded
}

// news is what a viewer has not got yet.
type news struct {
	frame
	first   int64 // number of the first of the rows
	rows    []json.RawMessage
	changed <-chan struct{} // closed when there is more
}

// since returns what has come after a row.
func (s *sampler) since(row int64) news {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.row - int64(len(s.rows)) + 1
	n := news{frame: s.now, first: max(first, row+1), changed: s.changed}
	if row > s.row { // of another epoch
		n.first = first
	}
	n.rows = slices.Clone(s.rows[n.first-first:])
	return n
}
