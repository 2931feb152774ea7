package simulation

import (
	"bytes"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
	"lsmdb/memtable"
	"lsmdb/stages"
)

// world is one life of the simulated machine: from an open of the database until it was
// closed, killed, or lost its power. Every step that others can see is parked at its
// gate: changes of files, what stages say in the log after they got an answer, and
// every call of a client. The scheduler lets one of them go at a time.
type world struct {
	s  *simulation
	wg sync.WaitGroup // clients and what they started

	// mu guards the rest. All goroutines of the engine meet here.
	mu     sync.Mutex
	parked []*parking
	dead   bool            // nothing is done any more
	active int             // clients that have not ended
	last   string          // key of whom was let go last
	reader map[string]bool // ids of goroutines that are clients: their reads do not park

	issuing map[string]*issued // by ids of goroutines, what they have issued last

	db        *db.DB
	openErr   error
	closing   bool
	takenOver bool
	stalled   bool
	rotating  bool // the Writer makes a new segment
	rewriting bool // the Keeper makes a new MANIFEST of a database that is running
	flushing  bool // a client waits for a flush
	locked    bool // the directory was about to be locked
	short     bool // the shortage of the plan is there
	queued    int  // writes so far
	caughtUp  int  // so many of them can be seen for certain
}

// parking is one goroutine waiting at the gate.
type parking struct {
	key     string // who it is and what it wants, the same in every run
	op      *vfstest.Op
	release chan error // the scheduler sends what is to become of it
}

func newWorld(s *simulation) *world {
	return &world{s: s, reader: make(map[string]bool), issuing: make(map[string]*issued)}
}

// gate waits until the scheduler picks the caller. An error means that it must not act.
func (w *world) gate(key string, op *vfstest.Op) error {
	w.mu.Lock()
	if w.dead {
		w.mu.Unlock()
		return fixture.ErrDead
	}
	p := &parking{key: key, op: op, release: make(chan error, 1)}
	w.parked = append(w.parked, p)
	w.mu.Unlock()
	return <-p.release
}

func (w *world) isStalled() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stalled
}

// goroutineID tells goroutines apart. It is another one in each run, so it serves for
// nothing but looking up.
func goroutineID() string {
	var buffer [40]byte
	text := buffer[:runtime.Stack(buffer[:], false)]
	return string(bytes.Fields(text)[1])
}

// inject is asked before every operation on files. What only looks at files passes, and
// so does all that opens a table, for which the engine holds a mutex. But a compaction
// parks at the first block of each input: before it takes a number for its output.
func (w *world) inject(op vfstest.Op) error {
	name := filepath.Base(op.Name)
	var key string
	switch op.Kind {
	case vfstest.OpRead:
		if op.Offset > 0 || !strings.HasSuffix(name, ".sst") || w.isClient() || isLoading() {
			return w.unparked(&op)
		}
		key = "read " + name
		if onStack("stages.(*Writer).admit(") { // a compaction may read the same
			key = "the Writer: " + key
		}
	case vfstest.OpCreate, vfstest.OpSync, vfstest.OpRemove, vfstest.OpRename, vfstest.OpTruncate:
		key = string(op.Kind) + " " + name
	case vfstest.OpWrite:
		key = fmt.Sprintf("write %s %d+%d", name, op.Offset, op.Length)
	case vfstest.OpSyncDir:
		// Whoever syncs a directory has just done something to a file in it.
		w.mu.Lock()
		key = "syncdir after " + w.last
		w.mu.Unlock()
	default:
		return w.unparked(&op)
	}
	w.note(key)
	i := w.prepared(name)
	if i != nil && op.Kind == vfstest.OpRemove {
		if _, err := w.s.disk.Stat(op.Name); err == nil { // it has got no place: it was refused, or is not sent at all
			i.removed = true
		}
	}
	err := w.gate(key, &op)
	if i != nil && i.waits {
		w.prepares(i, op.Kind)
	}
	return err
}

// prepared returns the large commit that the caller has issued, if it is the one with that file.
func (w *world) prepared(name string) *issued {
	if !strings.HasSuffix(name, ".wal.tmp") {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.issuing[goroutineID()]
}

// prepares is called when an operation on the file of a large commit goes on. Its caller sends it
// when it was synced in the end, behind all that others have sent meanwhile.
func (w *world) prepares(i *issued, kind vfstest.OpKind) {
	w.s.met.Prepared++
	if kind == vfstest.OpTruncate {
		i.written = true
	} else if kind == vfstest.OpSync && i.written {
		i.waits = false
		w.s.history.put(i)
		if i.queued {
			w.queued++
		}
	}
}

// put adds a commit to the history, or moves it there: behind all others but those that wait.
func (h *simulatedHistory) put(i *issued) {
	h.commits = slices.DeleteFunc(h.commits, func(o *issued) bool { return o == i })
	n := len(h.commits)
	for n > 0 && h.commits[n-1].waits && !i.waits {
		n--
	}
	h.commits = slices.Insert(h.commits, n, i)
}

// isLarge reports whether a commit is prepared before it is sent.
func (w *world) isLarge(ops fixture.Commit) bool {
	payload := 0
	for _, o := range ops {
		payload += len(o.Key)
		if !o.Delete {
			payload += len(o.Value)
		}
		if o.Until != 0 && !o.Delete && !o.Range && !o.Merge {
			payload += base.ExpiryBytes
		}
	}
	return len(ops) > 0 && 64+memtable.FootprintBytes(int64(len(ops)), int64(payload)) >= w.s.memtableBytes/2
}

// isLoading reports whether the caller opens a table, the first block of which may be one
// that is loaded then: its range deletes.
func isLoading() bool { return onStack("sstable.(*Table).load(") }

// onStack reports whether the caller was called by a function.
func onStack(function string) bool {
	var buffer [8 << 10]byte
	return bytes.Contains(buffer[:runtime.Stack(buffer[:], false)], []byte(function))
}

func (w *world) passing() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return fixture.ErrDead
	}
	return nil
}

// isClient reports whether a client is asking, perhaps because the Writer has sent its
// transaction back.
func (w *world) isClient() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dead || w.reader[goroutineID()]
}

// isReader reports whether a client is asking that was let go.
func (w *world) isReader() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dead || (w.last == "opened" || strings.HasPrefix(w.last, "client ")) && w.reader[goroutineID()]
}

// note keeps track of what the stages are doing.
func (w *world) note(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.takenOver || w.closing {
		return
	}
	switch {
	case strings.HasPrefix(key, "create ") && strings.HasSuffix(key, ".wal"):
		w.rotating = true
	case strings.HasPrefix(key, "create MANIFEST"):
		w.rewriting = true
	}
}

// logGates are events after which a stage parks: there, the one whom it answered or who
// answered it goes on at the same time, and both would take file numbers.
var logGates = []string{
	"memtable flushed", "flush failed", "compacted", "the database is read-only", "writers are held back", "writers go on", "level 0 was full",
}

// Write takes an event of the log.
func (w *world) Write(line []byte) (int, error) {
	text := string(bytes.TrimSpace(line))
	w.mu.Lock()
	switch {
	case strings.Contains(text, `"taken over"`):
		w.takenOver = true
	case strings.Contains(text, "queued writes wait for room"):
		w.s.met.HeldUp++
	case strings.Contains(text, "writers are held back"):
		w.stalled = true
	case strings.Contains(text, "writers go on"):
		w.stalled = false
	case strings.Contains(text, "the database is read-only") && !w.dead:
		if w.stalled {
			w.s.met.ErrorWhileStalled++
		}
		w.s.met.Failures++
	}
	w.mu.Unlock()
	if slices.ContainsFunc(logGates, func(event string) bool { return strings.Contains(text, event) }) {
		w.gate("log "+text, nil)
	}
	return len(line), nil
}

// open opens the database with a policy under which a small tree has
// much to do, and without a cache: a compaction that needs to read nothing would
// not park.
func (w *world) open() (*db.DB, error) {
	var budget *db.MemoryBudget
	if w.s.memtableBytes == 4<<10 {
		budget = db.NewMemoryBudget(16 << 10) // memtables always take more than their half
	}
	return db.Open(fixture.Dir, fixture.Tuned(vfstest.NewFault(w.s.disk, w.inject), func(e *stages.Environment) {
		e.MemtableBytes = w.s.memtableBytes
		e.Workers = 2
		e.Policy.L0Trigger, e.Policy.L0Limit = 3, 5
	}, fixture.Speaking(db.Options{
		MemtableBytes: 1, CacheBytes: -1, Memory: budget, Compression: db.NoCompression, Logger: zerolog.New(w).Level(zerolog.InfoLevel),
	}, w.s.clock)))
}

func (w *world) swapFlushing(now bool) (before bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before, w.flushing = w.flushing, now
	return before
}

func (w *world) isClosing() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closing
}

// kill ends the process: what waits and whatever comes gets ErrDead, nothing is done.
func (w *world) kill() {
	w.mu.Lock()
	w.dead = true
	for _, p := range w.parked {
		p.release <- fixture.ErrDead
	}
	w.parked = nil
	w.mu.Unlock()
	w.wg.Wait()
	if w.db != nil {
		w.db.Close()
	}
}

// step lets one of those who are parked go, or time pass where there is none. It
// reports whether all have ended.
func (w *world) step() (ended bool) {
	w.mu.Lock()
	waiting, active := len(w.parked), w.active
	w.mu.Unlock()
	switch {
	case waiting == 0 && active == 0:
		return true
	case waiting == 0 || w.s.rng.IntN(100) == 0:
		w.s.tell("time passes")
		w.mu.Lock()
		w.last = "time passes"
		w.mu.Unlock()
		time.Sleep(60 * time.Millisecond)
		if waiting > 0 {
			return false
		}
		if w.s.idle++; w.s.idle > 1000 {
			w.s.fail(fmt.Errorf("nothing has moved for a minute: a deadlock"))
		}
		return false
	}
	w.s.idle = 0
	w.mu.Lock()
	p := w.pick()
	w.mu.Unlock()
	err := w.s.faults.of(w, p)
	if err != nil {
		w.s.tell(fmt.Sprintf("%s: %v", p.key, err))
	} else {
		w.s.tell(p.key)
	}
	p.release <- err
	return false
}

// pick takes one out of those who are parked. Some seeds let one sort of them starve,
// so that the others run far ahead of it. The caller holds mu.
func (w *world) pick() *parking {
	slices.SortFunc(w.parked, func(a, b *parking) int { return strings.Compare(a.key, b.key) })
	for i := 1; i < len(w.parked); i++ {
		if w.parked[i].key == w.parked[i-1].key {
			w.s.fail(fmt.Errorf("two goroutines are parked as %q: the run could not be repeated", w.parked[i].key))
		}
	}
	var fed []int
	for i, p := range w.parked {
		if w.s.starved == "" || !strings.Contains(p.key, w.s.starved) {
			fed = append(fed, i)
		}
	}
	n := 0
	if len(fed) > 0 && w.s.rng.IntN(16) > 0 {
		n = fed[w.s.rng.IntN(len(fed))]
	} else {
		n = w.s.rng.IntN(len(w.parked))
	}
	p := w.parked[n]
	w.parked = slices.Delete(w.parked, n, n+1)
	w.last = p.key
	switch {
	case strings.HasPrefix(p.key, "syncdir") && strings.Contains(p.key, ".wal"):
		w.rotating = false
	case strings.HasPrefix(p.key, "syncdir") && strings.Contains(p.key, base.CurrentName):
		w.rewriting = false
	}
	return p
}
