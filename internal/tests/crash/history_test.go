package crash

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
)

// recording is a history that the engine went through on a disk that was recorded.
type recording struct {
	name    string
	options db.Options
	clock   *fixture.Clock // of the options; it stands where the history left it
	trace   *vfstest.Trace
	views   []fixture.State // after each batch; the first one is empty
	ends    map[uint64]int  // batches by the sequence number that they end with
	last    uint64          // sequence number of the last one
	keys    map[string]bool
	origin  *recording // whose database is gone on with; nil: none's
	copied  int        // batches that the checkpoint has

	followed bool // somebody follows the changes all the time, and all logs are kept
}

// Marks in the trace. Their value counts batches.
const (
	markIssued = "issued" // so many may be there from now on
	markSynced = "synced" // so many must be there from now on
	markClosed = "closed" // 1: a clean close must be noticed from now on; 0: no longer
	markCopied = "copied" // so many databases of checkpoints must be there
	markLost   = "lost:"  // and a file: its syncs make nothing certain any more
)

// add adds a batch to the model.
func (r *recording) add(c fixture.Commit) {
	v := maps.Clone(r.views[len(r.views)-1])
	v.Apply(c)
	r.views = append(r.views, v)
	r.last += c.Numbers()
	r.ends[r.last] = len(r.views) - 1
	for _, o := range c {
		r.keys[o.Key] = true
	}
}

// sweepKind is a kind of history. Its numbers are chosen so that everything it is for
// happens within some hundred operations on files.
type sweepKind struct {
	name       string
	windows    bool // files offer windows, and nothing is killed
	keys       int  // different ones
	keyBytes   int  // length of some of them; bounds of tables make the MANIFEST grow
	valueBytes int  // greatest length
	noSync     int  // of a hundred writes
	whole      bool // the whole vocabulary is written
	followed   bool // somebody follows the changes
	run        func(s *scribe)
}

// scribe lets a history happen and writes down what must come of it.
type scribe struct {
	*recording
	t       testing.TB
	kind    sweepKind
	rng     *rand.Rand
	disk    *vfstest.Disk
	machine *fixture.Machine
	db      *db.DB
	written int

	told     uint64 // number of the last operation that whoever follows has heard of; his until unfollow returns
	unfollow func() // waits for his end, which the end of the process brings
}

// record goes through a history once.
func (k sweepKind) record(t testing.TB, seed uint64) *recording {
	t.Helper()
	s := &scribe{
		unfollow: func() {},
		t:        t, kind: k, rng: rand.New(rand.NewPCG(seed, uint64(len(k.name)))), disk: vfstest.NewDisk(),
		recording: &recording{name: fmt.Sprintf("%s/%d", k.name, seed), clock: fixture.NewClock(), views: []fixture.State{{}}, ends: map[uint64]int{0: 0}, keys: map[string]bool{"none": true}},
	}
	s.options = db.Options{MemtableBytes: 16 << 10, CacheBytes: -1, Compression: db.Compression(seed % 2), FilterBitsPerKey: []int{-1, 4}[seed/2%2]}
	if k.whole {
		s.options = fixture.Speaking(s.options, s.clock)
	}
	s.followed = k.followed
	s.keep(&s.options)
	windows := ""
	if k.windows {
		windows = t.TempDir()
	}
	s.trace = s.disk.Record(windows)
	k.run(s)
	if s.db != nil {
		fixture.Must(t, s.db.Close())
	}
	s.unfollow()
	s.trace.Stop()
	return s.recording
}

func (s *scribe) open() {
	s.unfollow()
	s.machine = fixture.NewMachine(s.disk)
	var fsys vfs.FS = s.machine
	if s.kind.windows {
		fsys = s.disk
	}
	s.disk.Mark(markClosed, 0)
	var err error
	s.db, err = db.Open(fixture.Dir, fixture.On(fsys, s.options))
	fixture.Must(s.t, err)
	if got := s.db.Metrics().Sequence; got != s.last {
		s.t.Fatalf("%s: sequence %d after an open, want %d", s.name, got, s.last)
	}
	if s.followed {
		s.follow()
	}
}

// synced notes that all that was issued is durable from now on.
func (s *scribe) synced(err error) {
	fixture.Must(s.t, err)
	s.disk.Mark(markSynced, len(s.views)-1)
}

func (s *scribe) close() {
	s.synced(s.db.Close())
	s.disk.Mark(markClosed, 1)
	s.db = nil
}

// kill ends the process and starts the next.
func (s *scribe) kill() {
	s.end()
	s.open()
}

// end kills the process. What is Queued the killed process may take with it; a read before
// that sees to it that nothing is.
func (s *scribe) end() {
	_, err := s.db.Has(nil)
	fixture.Must(s.t, err)
	s.machine.Kill(s.db)
}

// killIn kills a process at an operation of its Open, or of what the first sync needs.
func (s *scribe) killIn(operation int) {
	i, d, err := fixture.OpenUntil(s.disk, operation, false, nil, s.keep)
	if err == nil {
		i.Machine.Kill(d)
	}
}

// killBefore kills a process that takes over before its first operation of a kind, or if
// after is given, the first behind one of that kind.
func (s *scribe) killBefore(kind, after vfstest.OpKind) {
	m := fixture.NewMachine(s.disk)
	var reached atomic.Bool
	reached.Store(after == "")
	m.Fail(func(op vfstest.Op) error {
		if op.Kind == kind && reached.Load() {
			m.Killed.Store(true)
			return fixture.ErrDead
		}
		if op.Kind == after {
			reached.Store(true)
		}
		return nil
	})
	o := m.Options()
	s.keep(o)
	if d, err := db.Open(fixture.Dir, o); err == nil {
		_ = fixture.TakeOver(d)
		m.Kill(d)
	}
}

// killInFlush kills the process before the edit of a flush is synced.
func (s *scribe) killInFlush() {
	s.machine.Fail(func(op vfstest.Op) error {
		if op.Kind == vfstest.OpSync && strings.Contains(op.Name, "MANIFEST") {
			s.machine.Killed.Store(true)
			return fixture.ErrDead
		}
		return nil
	})
	_ = s.db.Flush(s.t.Context())
	s.machine.Kill(s.db)
}

// failSync lets the next sync of a file fail whose name matches, as when the
// system then forgets what it could not write: no later sync makes that durable.
func (s *scribe) failSync(matches func(name string) bool) {
	var failed atomic.Bool
	s.machine.Fail(func(op vfstest.Op) error {
		if op.Kind != vfstest.OpSync || !matches(op.Name) || failed.Swap(true) {
			return nil
		}
		s.disk.Mark(markLost+op.Name, 0)
		return fixture.ErrDisk
	})
}

// afterFailure ends a process whose sync failed, and starts the next.
func (s *scribe) afterFailure() {
	_ = s.db.Close()
	s.open()
}

// flushAndRest flushes and waits until what follows a flush is done too: a rewrite of the
// MANIFEST, and removals. Nothing tells that, so the disk is watched until it is idle.
func (s *scribe) flushAndRest() {
	var operations atomic.Int64
	s.machine.Fail(func(vfstest.Op) error {
		operations.Add(1)
		return nil
	})
	s.flush()
	for before := int64(-1); before != operations.Load(); time.Sleep(2 * time.Millisecond) {
		before = operations.Load()
	}
	s.machine.Fail(nil)
}

// flushMeanwhile writes while the Flusher has not begun to write its table.
func (s *scribe) flushMeanwhile(writes int) {
	reached, release, flushed := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	var once sync.Once
	s.machine.Fail(func(op vfstest.Op) error {
		if op.Kind == vfstest.OpCreate && strings.HasSuffix(op.Name, ".sst") {
			once.Do(func() { close(reached) })
			<-release
		}
		return nil
	})
	go func() { flushed <- s.db.Flush(s.t.Context()) }()
	<-reached
	for range writes {
		s.write(1, db.Sync)
	}
	close(release)
	s.synced(<-flushed)
	s.machine.Fail(nil)
}

func (s *scribe) key() string {
	n := s.rng.IntN(s.kind.keys)
	key := fmt.Sprintf("key%03d", n)
	if s.kind.keyBytes > 0 && n%3 == 0 {
		key += string(bytes.Repeat([]byte{byte('a' + n%26)}, s.kind.keyBytes))
	}
	return key
}

func (s *scribe) operation() fixture.Operation {
	s.written++
	o := fixture.Operation{Key: s.key(), Delete: s.rng.IntN(6) == 0}
	if !o.Delete {
		o.Value = s.value()
	}
	if s.kind.whole {
		o = fixture.Varied(s.rng, o, s.key(), s.clock.UnixNano())
	}
	return o
}

func (s *scribe) value() string {
	value := fmt.Appendf(nil, "%d:", s.written)
	for n := s.rng.IntN(s.kind.valueBytes + 1); len(value) < n; {
		value = append(value, byte(s.rng.Uint32())) // does not compress
	}
	return string(value)
}

func (s *scribe) durability() db.Durability {
	if s.rng.IntN(100) < s.kind.noSync {
		return db.NoSync + db.Durability(s.rng.IntN(2)) // or Queued
	}
	return db.Sync
}

// write issues a batch of so many operations and waits for it.
func (s *scribe) write(operations int, durability db.Durability) {
	fixture.Must(s.t, s.try(operations, durability))
}

// try is write where a failure is no surprise.
func (s *scribe) try(operations int, durability db.Durability) error {
	err := s.db.Apply(s.t.Context(), s.batch(operations), durability)
	if err == nil && durability == db.Sync {
		s.synced(nil)
	}
	return err
}

// batch makes a batch and notes that it is issued.
func (s *scribe) batch(operations int) *db.Batch {
	b := s.db.NewBatch()
	var c fixture.Commit
	for range operations {
		c = append(c, s.operation())
	}
	fixture.Must(s.t, c.Fill(b))
	s.add(c)
	s.disk.Mark(markIssued, len(s.views)-1)
	return b
}

// submit issues some batches without waiting in between, so that they form groups.
func (s *scribe) submit(batches int) {
	var pending []*db.Pending
	synced := false
	for range batches {
		b := s.batch(1 + s.rng.IntN(3))
		d := s.durability()
		p, err := s.db.Submit(s.t.Context(), b, d)
		fixture.Must(s.t, err)
		pending, synced = append(pending, p), d == db.Sync
	}
	for _, p := range pending {
		fixture.Must(s.t, p.Wait(s.t.Context()))
	}
	if synced { // the last one, and so all
		s.synced(nil)
	}
}

// some writes as a program does.
func (s *scribe) some(writes int) {
	for range writes {
		switch n := s.rng.IntN(10); {
		case n < 6:
			s.write(1, s.durability())
		case n < 8:
			s.write(1+s.rng.IntN(5), s.durability())
		case n == 8:
			s.submit(1 + s.rng.IntN(4))
		default:
			s.synced(s.db.Sync(s.t.Context()))
		}
	}
}

func (s *scribe) flush()   { s.synced(s.db.Flush(s.t.Context())) }
func (s *scribe) compact() { s.synced(s.db.Compact(s.t.Context(), nil, nil)) }
