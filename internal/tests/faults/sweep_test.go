package faults

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// faultEvery sizes TestFaultSweep. The figures in docs/reliability.md were taken with
//
//	go test ./internal/tests/faults -run TestFaultSweep -v -faults.every 1 -timeout 60m
var faultEvery = flag.Int("faults.every", 0, "TestFaultSweep breaks every so many-th operation; 1: each; 0: as many as fit CI")

func faultStride() int {
	switch {
	case *faultEvery > 0:
		return *faultEvery
	case base.Invariants: // the race detector makes it slow
		return 131
	}
	return 37
}

// fault is one way in which an operation can fail.
type fault struct {
	name   string
	err    error
	sticky bool // so do all later ones of its kind on files of its type
	full   bool // instead, the disk has no room from here on

	errno syscall.Errno // instead, what may meet it does; sticky: for aWhile. 0: nothing does
}

var errFault = fmt.Errorf("injected: %w", syscall.EIO)

// faultsOf lists the ways in which an operation can fail, each once and sticky.
func faultsOf(kind vfstest.OpKind) []fault {
	full := fmt.Errorf("%w: injected", syscall.ENOSPC)
	single := []fault{{name: "I/O error", err: errFault}}
	add := func(name string, err error) { single = append(single, fault{name: name, err: err}) }
	switch kind {
	case vfstest.OpWrite:
		add("no space", full)
		add("short write", &vfstest.ShortWrite{Bytes: 5, Err: errFault})
		add("short write, no space", &vfstest.ShortWrite{Bytes: 5, Err: full})
		add("late", &vfstest.Late{Err: errFault})
	case vfstest.OpSync:
		add("no space", full)
		add("late", &vfstest.Late{Err: errFault})
		add("pages lost", &vfstest.Lost{Err: errFault})
		add("pages lost, visible", &vfstest.Lost{Err: errFault, Visible: true})
	case vfstest.OpCreate, vfstest.OpRename, vfstest.OpSyncDir, vfstest.OpTruncate:
		add("no space", full)
		add("late", &vfstest.Late{Err: errFault})
	case vfstest.OpClose, vfstest.OpRemove, vfstest.OpMkdir:
		add("late", &vfstest.Late{Err: errFault})
	}
	var all []fault
	for _, f := range single {
		all = append(all, f)
		f.name, f.sticky = f.name+", sticky", true
		all = append(all, f)
	}
	if kind == vfstest.OpWrite || kind == vfstest.OpCreate {
		all = append(all, fault{name: "full disk", full: true})
	}
	return all
}

// breakage makes an operation fail on a machine: the n-th, or, since stages act at the
// same time, the first one after it that is of the same kind and on a file of the same type.
type breakage struct {
	fault
	kind vfstest.OpKind
	file base.FileType

	mu    sync.Mutex // stages act at the same time
	left  int        // operations before
	fired int
	since time.Time // it fired first
	final bool      // it hit what may not be tried again
}

func (b *breakage) inject(m *fixture.Machine, op vfstest.Op) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left--
	switch elsewhere := op.Kind != b.kind || fileType(op) != b.file; {
	case b.left >= 0, b.fired > 0 && !b.sticky:
		return nil
	case b.errno != 0 && b.fired > 0 && time.Since(b.since) > aWhile:
		return nil
	case b.errno != 0 && (b.fired > 0 || !elsewhere):
		return b.short(m, op)
	case elsewhere:
		return nil
	}
	b.fired++
	if b.full {
		m.Disk.SetLimit(m.Disk.UsedBytes())
	}
	return b.err
}

func (b *breakage) hasFired() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fired > 0
}

func fileType(op vfstest.Op) base.FileType {
	t, _ := base.ParseFileName(op.Name[strings.LastIndex(op.Name, "/")+1:])
	return t
}

// faultHistories are what is done while something fails, and on what. Each letter is a step,
// see faultRun.step. A dot waits until nothing moves in the background.
var faultHistories = map[string]struct {
	steps string
	start func(t *testing.T) fixture.Filled
}{
	"creation, first writes": {"nsnsrc", nil},
	"rotation and flush":     {"nnnnsnnnnsnnnnsrnnnnnrx", nil},
	"flush and compaction":   {"nnsf.nnnsf.dnnsf.nnnfsC.rnsfC.rsx", nil},
	"MANIFEST rewrite":       {"sBf.Bf.nBf.sBf.rnsx", nil},
	"close and open again":   {"nnsfnsxrnsxrxrnnnnnnxrnfxr", nil},
	"the whole vocabulary":   {"vvsf.tvTf.vtfC.rvTskrtfx", nil},
	"queued writes":          {"nqqsqf.qqrqxqqrkqs", nil},
	"checkpoints and loads":  {"nvKLrnfL.vKCrLkrKx", nil},
	"recovery after a kill":  {"rnnsrfrkrsnkrnnnnnnnkrsx", func(t *testing.T) fixture.Filled { return fixture.NewFilled(t, db.Sync) }},
}

// TestFaultSweep breaks each file-system operation of the histories in every way. No
// hang, no panic (each run is a bubble of its own, which notices when nothing can move any
// more, and goroutines that are left), no false acknowledgement, nothing left open; reads
// go on; whatever opens afterwards holds what was acknowledged; a full disk passes.
func TestFaultSweep(t *testing.T) {
	eachHistory(t, func(t *testing.T, name string, start *fixture.Filled, ops []vfstest.Op) {
		figures := make(map[string]int)
		for n := 0; n < len(ops); n += faultStride() {
			for _, f := range faultsOf(ops[n].Kind) {
				r := &faultRun{
					start: start, steps: faultHistories[name].steps,
					what:  fmt.Sprintf("%s: %s at operation %d of %d, %s %s", name, f.name, n, len(ops), ops[n].Kind, ops[n].Name),
					fault: &breakage{fault: f, kind: ops[n].Kind, file: fileType(ops[n]), left: n},
				}
				r.run(t)
				figures["runs"]++
				figures[r.outcome()]++
			}
		}
		t.Logf("%d operations, %v", len(ops), figures)
	})
}

// eachHistory carries each history out without a fault, and passes on its operations.
func eachHistory(t *testing.T, sweep func(t *testing.T, name string, start *fixture.Filled, ops []vfstest.Op)) {
	for _, name := range slices.Sorted(maps.Keys(faultHistories)) {
		t.Run(name, func(t *testing.T) {
			h := faultHistories[name]
			var start *fixture.Filled
			if h.start != nil {
				f := h.start(t)
				start = &f
			}
			var ops []vfstest.Op
			whole := &faultRun{start: start, steps: h.steps, what: name + ", no fault", seen: &ops}
			whole.run(t)
			sweep(t, name, start, ops)
		})
	}
}

// faultRun is one history with one fault.
type faultRun struct {
	t     *testing.T
	what  string
	steps string
	start *fixture.Filled
	fault *breakage     // nil: none
	seen  *[]vfstest.Op // the operations, if wanted

	clock   *fixture.Clock // nil: the history knows no time
	machine *fixture.Machine
	d       *db.DB           // nil: the open failed
	h       fixture.History  // what was acknowledged
	maybe   []fixture.Commit // failed, and may be there after the next open, those behind the first only with it
	written int              // counts values
	copies  int              // databases made of checkpoints
	refused int              // writes that ErrDiskFull or a context refused
	stopped bool             // the database turned read-only at some time
	unopen  int              // opens that failed

	complaints int
}

func (r *faultRun) outcome() string {
	switch {
	case !r.fault.hasFired():
		return "not reached"
	case r.stopped:
		return "turned read-only"
	case r.unopen > 0:
		return "open refused"
	case r.refused > 0:
		return "writes refused for a while"
	}
	return "no effect"
}

func (r *faultRun) errorf(format string, args ...any) {
	r.t.Helper()
	if r.complaints++; r.complaints <= 3 { // the rest follows from these
		r.t.Errorf("%s: %s", r.what, fmt.Sprintf(format, args...))
	}
}

// run carries the history out in a bubble.
func (r *faultRun) run(t *testing.T) {
	defer func() {
		if p := recover(); p != nil {
			t.Fatalf("%s: %v", r.what, p)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		r.t = t
		disk := vfstest.NewDisk()
		r.h = fixture.History{Now: fixture.State{}, Start: fixture.State{}}
		if r.start != nil {
			disk = r.start.Disk(t)
			r.h = fixture.History{Now: fixture.StateOf(r.start.Want), Start: fixture.StateOf(r.start.Want), StartAt: r.start.Sequence}
		}
		if strings.ContainsAny(r.steps, wholeSteps) {
			r.clock = fixture.NewClock()
		}
		r.boot(disk)
		r.open()
		for _, step := range r.steps {
			r.step(step)
		}
		r.finish()
	})
}

// boot gives the disk to a machine on which the fault is still to come, or to last.
func (r *faultRun) boot(disk *vfstest.Disk) {
	m := fixture.NewMachine(disk)
	m.Clock, r.machine = r.clock, m
	var mu sync.Mutex
	m.Fail(func(op vfstest.Op) error {
		if r.seen != nil {
			mu.Lock()
			*r.seen = append(*r.seen, op)
			mu.Unlock()
		}
		if r.fault != nil {
			return r.fault.inject(m, op)
		}
		return nil
	})
}

// now is what the clock says.
func (r *faultRun) now() int64 {
	if r.clock == nil {
		return 0
	}
	return r.clock.UnixNano()
}

// step does what a letter stands for. Where the database did not open, it tries that again.
func (r *faultRun) step(letter rune) {
	if r.d == nil {
		r.open()
	}
	if r.d == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), aMinute)
	defer cancel()
	switch letter {
	case 'n', 's': // ten writes, or one that is synced
		if letter == 'n' {
			for range 8 {
				r.write(r.commit(3, 0), db.NoSync)
			}
		}
		r.write(r.commit(1, 0), map[rune]db.Durability{'n': db.NoSync, 's': db.Sync}[letter])
	case 'B': // keys so long that the MANIFEST outgrows its bound
		r.write(r.commit(2, 20_000), db.NoSync)
	case 'd':
		r.write(fixture.Commit{{Key: "key03", Delete: true}, {Key: "key04", Delete: true}}, db.NoSync)
	case 'q':
		r.queue(ctx)
	case 'f':
		r.expected("Flush", r.d.Flush(ctx))
	case 'C':
		r.expected("Compact", r.d.Compact(ctx, nil, nil))
	case 'r':
		r.read()
	case 'x':
		r.close()
		r.open()
	case 'k':
		r.machine.Kill(r.d)
		r.boot(r.machine.Disk)
		r.d = nil
		r.open()
	case '.':
		synctest.Wait()
	default:
		r.wholeStep(ctx, letter)
	}
}

// commit makes a commit of n puts to keys that come again and again.
func (r *faultRun) commit(n, longer int) fixture.Commit {
	var c fixture.Commit
	for range n {
		r.written++
		key := fmt.Sprintf("key%02d%s", r.written*7%50, strings.Repeat("x", longer))
		c = append(c, fixture.Operation{Key: key, Value: fmt.Sprintf("%d %0300d", r.written, r.written)})
	}
	return c
}

func (r *faultRun) write(c fixture.Commit, durable db.Durability) {
	b := r.d.NewBatch()
	fixture.Must(r.t, c.Fill(b))
	ctx, cancel := context.WithTimeout(context.Background(), aMinute)
	defer cancel()
	r.wrote(c, durable, "Apply", r.d.Apply(ctx, b, durable))
}

// wrote notes what became of a commit.
func (r *faultRun) wrote(c fixture.Commit, durable db.Durability, what string, err error) {
	switch {
	case err == nil:
		if r.stopped && r.d.Metrics().Failure != "" {
			r.errorf("a database that turned read-only took a write")
		}
		r.h.Add(c, durable)
		return
	case errors.Is(err, db.ErrDiskFull), errors.Is(err, context.DeadlineExceeded):
		r.refused++
	case errors.Is(err, db.ErrReadOnly):
		r.stopped = true
		if r.maybe == nil {
			r.maybe = []fixture.Commit{c} // the first one only: nothing is written after it
		}
	}
	r.expected(what, err)
}

// expected checks that an error comes from the fault and nowhere else.
func (r *faultRun) expected(what string, err error) {
	r.t.Helper()
	switch {
	case err == nil:
	case r.fault == nil || !r.fault.hasFired():
		r.errorf("%s before the fault: %v", what, err)
	case r.fault.full && !errors.Is(err, db.ErrDiskFull) && !errors.Is(err, context.DeadlineExceeded):
		r.errorf("%s on a full disk: %v", what, err)
	case !strings.Contains(err.Error(), "injected") && !errors.Is(err, db.ErrDiskFull) && !errors.Is(err, context.DeadlineExceeded):
		r.errorf("%s does not say why: %v", what, err)
	}
	if errors.Is(err, db.ErrReadOnly) {
		r.stopped = true
		if r.fault == nil || !r.fault.mayStop() {
			r.errorf("%s: what passes by itself was taken for final: %v", what, err)
		}
	}
}
