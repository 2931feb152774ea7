package linear

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/anishathalye/porcupine"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// linearShape says what a history is like.
type linearShape struct {
	clients, steps int // steps of each client between two crashes
	keys, groups   int // groups of keys that no operation connects
	reserved       int // so many keys are not written by clients that act at random
	syncPercent    int // of the writes
	crashes        []crashKind
	keepNothing    bool // a power failure takes all that was not synced
	memtableBytes  int64
	maintained     bool // memtables are flushed and tables compacted beside the clients
}

// linearRun makes one history.
type linearRun struct {
	seed   uint64
	rng    *rand.Rand
	shape  linearShape
	disk   *vfstest.Disk
	clock  atomic.Int64 // of operations: it goes on by one at each beginning and end
	values atomic.Uint32
	tally  *linearTally
	tamper func(image) image // what a planted bug makes of a recovery; nil: nothing

	operations []porcupine.Operation
	sincePower int64 // when the last power failure was over, or the beginning
	sinceCrash int64 // when the process started
}

// linearTally counts what histories are for.
type linearTally struct {
	histories, operations, crashes       atomic.Int64
	flushes, compactions, unanswered     atomic.Int64
	lost, partlyLost, unansweredSurvived atomic.Int64 // crashes
}

// linearEpoch is the life of one process.
type linearEpoch struct {
	run       *linearRun
	db        *db.DB
	crash     crashKind
	countdown atomic.Int64 // operations on files until the crash
	dead      atomic.Bool  // no operation on files succeeds any more
	over      atomic.Bool  // clients shall come to an end
	once      sync.Once
	from, to  int64         // the crash lies between
	clone     *vfstest.Disk // what a power failure leaves
	crashRand *rand.Rand
	sequence  uint64 // at the beginning
}

func newLinearRun(seed uint64, shape linearShape, tally *linearTally) *linearRun {
	return &linearRun{seed: seed, rng: rand.New(rand.NewPCG(seed, 6)), shape: shape, tally: tally, disk: vfstest.NewDisk()}
}

func (r *linearRun) tick() int64 { return r.clock.Add(1) }

func (r *linearRun) number() number { return put(r.values.Add(1)) }

// run makes the history: a process for each crash, and at last one that only reads. Body,
// if there is one, acts beside the clients and chooses the time of the crash.
func (r *linearRun) run(body func(e *linearEpoch) *linearClient) error {
	e, err := r.open(r.shape.crashes[0])
	if err != nil {
		return err
	}
	for i := range r.shape.crashes {
		if err := e.live(r.rng, body); err != nil {
			e.kill()
			return err
		}
		next := noCrash
		if i+1 < len(r.shape.crashes) {
			next = r.shape.crashes[i+1]
		}
		if e, err = e.end(next); err != nil {
			return err
		}
	}
	r.operations = settle(r.operations)
	r.tally.histories.Add(1)
	r.tally.operations.Add(int64(len(r.operations)))
	return e.db.Close()
}

func (r *linearRun) open(crash crashKind) (*linearEpoch, error) {
	e := &linearEpoch{run: r, crash: crash, crashRand: rand.New(rand.NewPCG(r.rng.Uint64(), 1))}
	if r.shape.keepNothing {
		e.crashRand = nil
	}
	var err error
	e.db, err = db.Open(fixture.Dir, fixture.On(vfstest.NewFault(r.disk, e.onFile), linearOptions(db.Options{
		MemtableBytes: r.shape.memtableBytes,
		CacheBytes:    []int64{-1, 20 << 10, 0}[r.rng.IntN(3)],
		Memory:        []*db.MemoryBudget{nil, db.NewMemoryBudget(100 << 10)}[r.rng.IntN(2)],
	})))
	if err == nil {
		e.sequence = e.db.Metrics().Sequence
	}
	return e, err
}

// onFile comes before each operation on files. It lets others run, as a disk would, and
// makes the crash when its time has come.
func (e *linearEpoch) onFile(op vfstest.Op) error {
	if e.dead.Load() {
		return fixture.ErrDead
	}
	left := e.countdown.Add(-1)
	if op.Kind != vfstest.OpRead {
		for range uint64(left) * 0x9e3779b97f4a7c15 >> 61 {
			runtime.Gosched()
		}
	}
	if left == 0 {
		e.strike()
	}
	return nil
}

// strike makes the crash, if there is to be one and there was none yet.
func (e *linearEpoch) strike() {
	e.once.Do(func() {
		switch e.crash {
		case powerLost:
			e.from = e.run.tick()
			e.clone = e.run.disk.CrashClone(e.crashRand)
			e.to = e.run.tick()
			e.over.Store(true)
		case processKilled:
			e.dead.Store(true) // clients end one by one, when a write fails
		}
	})
}

// ending tells that a failure is what the crash makes of it.
func (e *linearEpoch) ending() bool { return e.over.Load() || e.dead.Load() }

// live lets clients act side by side.
func (e *linearEpoch) live(rng *rand.Rand, body func(e *linearEpoch) *linearClient) error {
	s := e.run.shape
	if body == nil {
		e.countdown.Store(1 + rng.Int64N(int64(2*s.clients*s.steps)))
	}
	clients := make([]*linearClient, s.clients)
	var all, beside sync.WaitGroup
	var done atomic.Bool
	for i := range clients {
		clients[i] = &linearClient{epoch: e, rng: rand.New(rand.NewPCG(rng.Uint64(), 2))}
		all.Go(clients[i].run)
	}
	watcher := &linearClient{epoch: e, rng: rand.New(rand.NewPCG(rng.Uint64(), 4))}
	beside.Go(func() { watcher.watch(&done) })
	var maintenance error
	if s.maintained {
		seed := rng.Uint64()
		beside.Go(func() { maintenance = e.maintain(rand.New(rand.NewPCG(seed, 3)), &done) })
	}
	if body != nil {
		clients = append(clients, body(e))
	}
	all.Wait()
	done.Store(true)
	beside.Wait()
	e.strike()
	m := e.db.Metrics()
	e.run.tally.flushes.Add(int64(m.Flush.Jobs))
	e.run.tally.compactions.Add(int64(m.Compact.Jobs))
	errs := []error{maintenance}
	var operations []porcupine.Operation
	for _, c := range append(clients, watcher) {
		errs = append(errs, c.err)
		operations = append(operations, c.operations...)
	}
	e.keep(operations)
	return errors.Join(errs...)
}

// maintain changes where the data lies.
func (e *linearEpoch) maintain(rng *rand.Rand, done *atomic.Bool) error {
	for !done.Load() && !e.over.Load() {
		var err error
		switch rng.IntN(8) {
		case 0:
			err = e.db.Compact(context.Background(), nil, nil)
		case 1:
			err = e.db.Flush(context.Background())
		}
		if err != nil {
			if e.ending() {
				return nil
			}
			return err
		}
		for range rng.IntN(100) {
			runtime.Gosched()
		}
	}
	return nil
}

// keep adds operations to the history as they look after the crash: what came later never
// happened, what had no answer yet may have happened or not.
func (e *linearEpoch) keep(operations []porcupine.Operation) {
	if e.crash == processKilled {
		e.from, e.to = e.run.tick(), e.run.tick()
	}
	for _, o := range operations {
		c := o.Input.(*call)
		if e.crash != noCrash {
			if o.Call > e.to || o.Return > e.from && c.kind == callRead {
				continue
			}
			if o.Return > e.from {
				c.crash, c.queued, o.Return = noCrash, false, e.to
				e.run.tally.unanswered.Add(1)
			}
		}
		e.run.operations = append(e.run.operations, o)
	}
}

// settle says more of the writes without an answer. What a read showed was in the log, and
// survives a killed process. What nothing ever showed is left out: a place behind the cut of
// the crash explains as much, and each would double what a check has to try. What was merged
// shows under other numbers, and so does what it was merged onto; that is left alone.
func settle(operations []porcupine.Operation) []porcupine.Operation {
	var merged [maxLinearKeys]bool
	read := map[number]bool{}
	seen := map[number]bool{0: true} // a deleted key looks like one that never was
	for _, o := range operations {
		c := o.Input.(*call)
		for _, w := range c.writes {
			merged[w.key] = merged[w.key] || w.merge
		}
		for _, found := range c.images {
			for _, value := range found {
				seen[value] = true
				read[value] = read[value] || c.kind == callRead && value != 0
			}
		}
	}
	return slices.DeleteFunc(operations, func(o porcupine.Operation) bool {
		c := o.Input.(*call)
		if c.kind != callWrite || c.crash != noCrash || slices.ContainsFunc(c.writes, func(w keyValue) bool { return merged[w.key] }) {
			return false
		}
		if slices.ContainsFunc(c.writes, func(w keyValue) bool { return read[w.value] }) {
			c.crash = processKilled
		}
		return !c.queued && !slices.ContainsFunc(c.writes, func(w keyValue) bool { return seen[w.value] })
	})
}

// kill ends the process.
func (e *linearEpoch) kill() {
	e.over.Store(true)
	e.dead.Store(true)
	e.db.Close()
}

// end ends the process in its way and starts the next one, which looks at all there is.
func (e *linearEpoch) end(next crashKind) (*linearEpoch, error) {
	r := e.run
	closing := r.tick()
	if e.crash == noCrash {
		if err := e.db.Close(); err != nil {
			return nil, err
		}
	}
	e.kill()
	if e.clone != nil {
		r.disk = e.clone
	}
	started, err := r.open(next)
	if err != nil {
		return nil, fmt.Errorf("open after a %s: %w", e.crash, err)
	}
	found, err := started.recovered()
	if err != nil {
		started.kill()
		return nil, fmt.Errorf("after a %s: %w", e.crash, err)
	}
	if r.tamper != nil {
		found, r.tamper = r.tamper(found), nil
	}
	add := func(c *call, from, to int64) {
		r.operations = append(r.operations, porcupine.Operation{ClientId: r.shape.clients, Input: c, Call: from, Return: to})
	}
	opened := r.tick()
	switch e.crash {
	case noCrash:
		// The close was a barrier. Nobody writes, so each key may be read alone, and keys
		// that are independent stay so.
		add(&call{kind: callWrite, crash: powerLost}, closing, opened)
		for key := range r.shape.keys {
			add(&call{kind: callRead, keys: keyRange{key, key + 1}, images: []image{found}}, r.tick(), r.tick())
		}
	default:
		e.count(started.sequence)
		since := r.sinceCrash
		if e.crash == powerLost {
			since = r.sincePower
		}
		add(&call{kind: callCut, crash: e.crash, images: []image{found}}, since, e.to)
		add(&call{kind: callCrash, crash: e.crash, images: []image{found}}, opened, r.tick())
		if e.crash == powerLost {
			r.sincePower = r.tick()
		}
	}
	r.sinceCrash = r.tick()
	return started, nil
}

// recovered reads everything, in two ways that must agree.
func (e *linearEpoch) recovered() (image, error) {
	it, err := e.db.NewIterator(nil)
	if err != nil {
		return image{}, err
	}
	found, err := iterate(it, false)
	if err = errors.Join(err, it.Close()); err != nil {
		return found, err
	}
	var again image
	for key := range e.run.shape.keys {
		if err := getImage(e.db, key, &again); err != nil {
			return found, err
		}
	}
	if again != found {
		return found, fmt.Errorf("an iterator finds %v, gets find %v", found, again)
	}
	return found, nil
}

// count notes what the crash did, told by the sequence number after it.
func (e *linearEpoch) count(recovered uint64) {
	t := e.run.tally
	t.crashes.Add(1)
	answered := e.sequence
	for _, o := range e.run.operations {
		if c := o.Input.(*call); c.kind == callWrite && (c.crash != noCrash || c.queued) && o.Call > e.run.sinceCrash {
			answered += uint64(len(c.writes))
		}
	}
	switch {
	case recovered < answered:
		t.lost.Add(1)
		if recovered > e.sequence {
			t.partlyLost.Add(1)
		}
	case recovered > answered:
		t.unansweredSurvived.Add(1)
	}
}
