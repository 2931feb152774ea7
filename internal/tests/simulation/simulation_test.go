// Package simulation runs the engine under a scheduler that is ruled by a seed. It
// consists of tests.
package simulation

import (
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
	"lsmdb/manifest"
)

var (
	simulations     = flag.Int("simulation.seeds", 0, "how many seeds the simulation runs; 0: what fits a test run")
	simulationFirst = flag.Uint64("simulation.first", 1, "the first seed of the simulation")
	replayEvery     = flag.Uint64("simulation.replay", 20, "how many seeds of the simulation pass until one is run twice")
	simulation1     = flag.Uint64("simulation.seed", 0, "run the simulation with this seed only, and show its schedule")
)

// simulationsByDefault are what takes some 20 s of two processors: fewer under the race detector, which makes them slow.
func simulationsByDefault() int {
	if base.Invariants {
		return 500
	}
	return 5_000
}

// TestSimulation runs the whole engine, clients included, under a scheduler that is
// ruled by a seed: it decides who goes next at every change of a file and every call,
// when time passes, which operations fail, and when the machine is killed or loses its
// power. Whatever it finds can be repeated with the seed.
//
// What is left to chance is what nobody sees: the order in which those go who were set
// free by the same step, up to the gate that each comes to next.
func TestSimulation(t *testing.T) {
	image := simulatedImage(t)
	var total schedulesMet
	began := time.Now()
	if *simulation1 != 0 {
		simulate(t, image, *simulation1, &total)
		t.Logf("%+v", total)
		return
	}
	n := *simulations
	if n == 0 {
		n = simulationsByDefault()
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // thousands of small databases are garbage
	var mu sync.Mutex
	var digest uint64 // of all schedules
	// One seed in some thousands does not repeat. Two compactions that only drop tables, and
	// begin in the same step, hand their edits to the Keeper in either order: no operation on
	// files comes before. And an edit was seen that was 11 bytes longer one time than the
	// other; why is not known yet. More would be something new.
	var strayed atomic.Int64
	shards := uint64(runtime.GOMAXPROCS(0))
	t.Run("seeds", func(t *testing.T) {
		for shard := range shards {
			t.Run(fmt.Sprint("shard ", shard), func(t *testing.T) {
				t.Parallel()
				var met schedulesMet
				var mine uint64
				for seed := *simulationFirst + shard; seed < *simulationFirst+uint64(n) && !t.Failed(); seed += shards {
					schedule := simulate(t, image, seed, &met)
					mine ^= digestOf(schedule)
					if seed/shards%*replayEvery != 0 {
						continue
					}
					if way := fork(schedule, simulate(t, image, seed, new(schedulesMet))); way != "" {
						strayed.Add(1)
						t.Logf("seed %d took two ways %s", seed, way)
					}
					met.Replayed++
				}
				mu.Lock()
				defer mu.Unlock()
				total.add(met)
				digest ^= mine
			})
		}
	})
	t.Logf("%d seeds, %.0f a second, %d of %d did not repeat, digest %016x: %+v",
		n, float64(n)/time.Since(began).Seconds(), strayed.Load(), total.Replayed, digest, total)
	if strayed.Load() > int64(1+total.Replayed/100) {
		t.Errorf("%d of %d seeds took two ways", strayed.Load(), total.Replayed)
	}
	v := reflect.ValueOf(total)
	for i := range v.NumField() {
		name, least := v.Type().Field(i).Name, 500
		if name == "ErrorWhileStalled" || name == "CrashInRewrite" { // some two in 500 seeds
			least = 5000
		}
		if n >= least && v.Field(i).Int() == 0 && !t.Failed() {
			t.Errorf("%s: this never happened", name)
		}
	}
}

// schedulesMet counts what the simulation must meet.
type schedulesMet struct {
	Steps, Lives, Replayed, Closed, Killed, PowerLost, Faults, Failures int
	ShortLives, Displaced, Shortages                                    int // Shortages: operations
	SnapshotInCompaction, ReleaseInCompaction                           int
	CloseInRotation                                                     int
	Abandoned, CancelledTooLate                                         int // during the commit of a group
	Queued, CaughtUp, HeldUp                                            int // writes; before reads; by a full disk
	Prepared                                                            int // operations on files of large commits, by their callers
	Committed, Conflicts, Ticks                                         int // of transactions; of the clock
	ErrorWhileStalled                                                   int
	CrashInRewrite, CrashInRecovery                                     int
	Flushes, Compactions, Moves, Stalls                                 int
}

func (m *schedulesMet) add(other schedulesMet) {
	sum, add := reflect.ValueOf(m).Elem(), reflect.ValueOf(other)
	for i := range sum.NumField() {
		sum.Field(i).SetInt(sum.Field(i).Int() + add.Field(i).Int())
	}
}

// simulatedImage is an empty database. Its random number is one of full length, so
// that the MANIFESTs of all runs are equally long.
func simulatedImage(t *testing.T) *vfstest.Disk {
	for {
		disk := vfstest.NewDisk()
		d, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{}))
		fixture.Must(t, err)
		fixture.Must(t, d.Close())
		fixture.Must(t, makeOther(disk))
		current, err := manifest.ReadCurrent(disk, fixture.Dir)
		fixture.Must(t, err)
		state, _, err := manifest.Load(disk, fixture.Dir, current.Manifest)
		fixture.Must(t, err)
		if state.DatabaseID>>63 != 0 {
			return disk
		}
	}
}

// simulation is the run of one seed.
type simulation struct {
	t       *testing.T
	image   *vfstest.Disk // what the first life begins with
	rng     *rand.Rand
	disk    *vfstest.Disk
	history simulatedHistory
	faults  faultPlan
	met     *schedulesMet

	clock *fixture.Clock
	now   int64 // what it says

	memtableBytes int64
	valueBytes    int
	largeKeys     bool   // of the sort that fills a MANIFEST
	starved       string // whose key has this in it has to wait

	life  int
	steps int
	idle  int // steps since somebody moved
	trace []string

	mu  sync.Mutex // guards err
	err error      // the first
}

// digestOf is equal for equal schedules.
func digestOf(schedule []string) uint64 {
	hash := fnv.New64a()
	for _, line := range schedule {
		hash.Write([]byte(line))
		hash.Write([]byte{'\n'})
	}
	return hash.Sum64()
}

// fork says where the schedules of two runs of one seed differ; empty: nowhere.
func fork(first, second []string) string {
	n := 0
	for n < min(len(first), len(second)) && first[n] == second[n] {
		n++
	}
	if n == max(len(first), len(second)) {
		return ""
	}
	return fmt.Sprintf("after %d steps:\n%s\nthen\n%s\nor\n%s", n, strings.Join(first[max(0, n-20):n], "\n"),
		strings.Join(first[n:min(n+3, len(first))], "\n"), strings.Join(second[n:min(n+3, len(second))], "\n"))
}

// simulate runs a seed and returns its schedule.
func simulate(t *testing.T, image *vfstest.Disk, seed uint64, met *schedulesMet) []string {
	s := &simulation{t: t, image: image, rng: rand.New(rand.NewPCG(seed, 9)), disk: image.CrashClone(nil), met: met, clock: fixture.NewClock()}
	s.now = s.clock.UnixNano()
	s.memtableBytes = []int64{2 << 10, 4 << 10, 16 << 10}[s.rng.IntN(3)]
	s.valueBytes = []int{40, 600, 2000}[s.rng.IntN(3)]
	if s.largeKeys = s.rng.IntN(10) == 0; s.largeKeys && s.rng.IntN(2) == 0 {
		s.memtableBytes = 24 << 10 // of which one of them takes less than half: the Writer inserts it itself, and is soon held back
	}
	s.starved = []string{"", "", ".sst", ".wal", "MANIFEST", "client", "read ", "log "}[s.rng.IntN(8)]
	defer func() {
		if r := recover(); r != nil { // a goroutine that is left, or a deadlock
			fmt.Fprintf(os.Stderr, "seed %d, step %d of life %d: %v\n%v\nthe last of its schedule:\n%s\n",
				seed, s.steps, s.life, r, s.err, strings.Join(s.trace[max(0, len(s.trace)-40):], "\n"))
			panic(r)
		}
	}()
	synctest.Test(t, func(*testing.T) { s.run() })
	if *simulation1 != 0 {
		t.Logf("schedule:\n%s", strings.Join(s.trace, "\n"))
	}
	if s.err != nil {
		t.Errorf("seed %d, step %d of life %d: %v\nrepeat it with: go test ./internal/tests/simulation -run 'TestSimulation$' -simulation.seed=%d -v\nthe last of its schedule:\n%s",
			seed, s.steps, s.life, s.err, seed, strings.Join(s.trace[max(0, len(s.trace)-40):], "\n"))
	}
	met.Steps += s.steps
	return s.trace
}

func (s *simulation) tell(line string) {
	if len(line) > 200 {
		line = line[:200]
	}
	s.trace = append(s.trace, line)
}

// fail ends the simulation with the first error it is told.
func (s *simulation) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
}

func (s *simulation) failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err != nil
}

// run goes through a few lives. The last one ends in peace, and then everything that was
// acknowledged must be there.
func (s *simulation) run() {
	lives := 2 + s.rng.IntN(2)
	for s.life = 1; s.life <= lives && !s.failed(); s.life++ {
		s.live(s.life == lives)
		s.putBack()
	}
	if s.failed() {
		return
	}
	w := newWorld(s)
	d, err := db.Open(fixture.Dir, fixture.On(s.disk, fixture.Speaking(db.Options{MemtableBytes: 1, ReadOnly: true}, s.clock)))
	if err != nil {
		s.fail(fmt.Errorf("the last open: %w", err))
		return
	}
	w.reopened(d)
	want, err := look(d.NewIterator(nil))
	s.fail(err)
	for key, value := range want {
		if got, err := d.Get([]byte(key)); string(got) != value || err != nil {
			s.fail(fmt.Errorf("Get %s: %s, %v, an iterator says %s", fixture.Short(key), fixture.Short(string(got)), err, fixture.Short(value)))
		}
	}
	s.fail(d.Close())
}

// live is one life: an open, clients, an end.
func (s *simulation) live(last bool) {
	s.met.Lives++
	s.tell(fmt.Sprintf("life %d", s.life))
	w := newWorld(s)
	// Table files lead to the world. Did it lead on to their tables, the collector would
	// never have them closed.
	defer func() { w.db = nil }()
	s.faults = faultPlan{}
	crashAt := 1 << 30
	if !last {
		s.faults = s.newFaultPlan()
		crashAt = s.rng.IntN([]int{20, 150, 400}[s.rng.IntN(3)])
	}
	w.active = 1
	w.wg.Go(w.begin)
	for step := 0; !s.failed(); step++ {
		synctest.Wait()
		if step == crashAt && w.active > 0 {
			s.crash(w)
			return
		}
		w.trouble()
		if s.steps++; w.step() {
			break
		}
	}
	if s.failed() {
		w.kill()
		return
	}
	w.wg.Wait()
	s.history.forget()
	s.count(w)
	if last && w.openErr != nil {
		s.fail(fmt.Errorf("open: %w", w.openErr))
	}
}

// begin opens the database, checks what it finds, and starts the clients.
func (w *world) begin() {
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.active--
	}()
	if w.gate("open", nil) != nil {
		return
	}
	d, err := w.open()
	if err != nil {
		w.openErr = err
		if !w.s.faults.happened && w.passing() == nil {
			w.s.fail(fmt.Errorf("open: %w", err))
		}
		return
	}
	w.db = d
	id := goroutineID()
	w.mu.Lock()
	w.reader[id] = true
	w.mu.Unlock()
	if w.gate("opened", nil) != nil {
		return
	}
	w.reopened(d)
	w.mu.Lock()
	w.active += 3
	w.mu.Unlock()
	for i := range 3 {
		c := &simulatedClient{w: w, id: i, rng: rand.New(rand.NewPCG(w.s.rng.Uint64(), 1))}
		w.wg.Go(c.run)
	}
}

// crash kills the process, and in two of three cases takes the power away.
func (s *simulation) crash(w *world) {
	w.mu.Lock()
	parked := len(w.parked)
	for _, p := range w.parked {
		if p.op == nil {
			parked--
		}
	}
	if w.rewriting {
		s.met.CrashInRewrite++
	}
	if s.life > 1 && !w.takenOver && parked > 0 {
		s.met.CrashInRecovery++
	}
	w.mu.Unlock()
	s.history.resolve(w)
	s.history.forget()
	s.count(w)
	if s.rng.IntN(3) == 0 {
		s.tell("killed")
		s.met.Killed++
		w.kill()
		return
	}
	s.tell("power lost")
	s.met.PowerLost++
	s.history.lost = true
	rng := s.rng
	if rng.IntN(4) == 0 {
		rng = nil
	}
	after := s.disk.CrashClone(rng)
	w.kill()
	s.disk = after
}

// count adds what the stages did.
func (s *simulation) count(w *world) {
	if w.db == nil {
		return
	}
	m := w.db.Metrics()
	if n := s.faults.short.met(); n > 0 {
		s.met.ShortLives++
		s.met.Shortages += n
	}
	if p := &s.faults; p.short.errno != 0 && m.Failure != "" && !p.short.final && !strings.Contains(m.Failure, "closed while writes that were queued waited") {
		s.fail(fmt.Errorf("what passes by itself was taken for final: %s", m.Failure))
	}
	s.met.Flushes += int(m.Flush.Jobs)
	s.met.Compactions += int(m.Compact.Jobs)
	s.met.Moves += int(m.Compact.Moves)
	s.met.Stalls += int(m.Stalls.Count)
}

// faultPlan says which operations of one life fail.
type faultPlan struct {
	from, until int    // steps
	part        string // of the key
	percent     int
	full        bool // the disk is: files do not grow
	stalled     bool // only while writers are held back
	happened    bool

	short        shortage // instead
	displacement string   // instead; empty: none
	displaced    bool
}

func (s *simulation) newFaultPlan() faultPlan {
	p := faultPlan{from: s.steps + s.rng.IntN(200), percent: 100}
	p.part = []string{"", ".sst", ".wal", "MANIFEST", "CURRENT", "syncdir"}[s.rng.IntN(6)]
	switch s.rng.IntN(12) {
	case 0: // once, perhaps
		p.until = p.from + 1 + s.rng.IntN(10)
	case 1, 2: // for ever
		p.until = 1 << 30
	case 3:
		p.until, p.part, p.percent, p.full = p.from+20+s.rng.IntN(200), "", 60, true
	case 4, 5:
		p.until, p.short = p.from+20+s.rng.IntN(400), s.newShortage()
	case 6:
		p.until, p.displacement = 1<<30, []string{moved, replaced, removed, lockRemoved}[s.rng.IntN(4)]
	case 7:
		p.from, p.until, p.part, p.stalled = s.steps, 1<<30, "", true
	default:
		return faultPlan{}
	}
	return p
}

// of decides whether an operation fails, and how.
func (p *faultPlan) of(w *world, who *parking) error {
	s := w.s
	if who.op == nil || p.displacement != "" {
		return nil
	}
	if p.short.errno != 0 {
		return w.shortOf(who.op)
	}
	if s.steps < p.from || s.steps >= p.until || !strings.Contains(who.key, p.part) || s.rng.IntN(100) >= p.percent {
		return nil
	}
	grows := who.op.Kind == vfstest.OpCreate || who.op.Kind == vfstest.OpWrite
	if p.full && !grows {
		return nil
	}
	if p.stalled && !w.isStalled() {
		return nil
	}
	p.happened = true
	s.met.Faults++
	if p.full {
		return syscall.ENOSPC
	}
	switch n := s.rng.IntN(4); {
	case n == 0:
		return &vfstest.Late{Err: fixture.ErrDisk}
	case n == 1 && who.op.Kind == vfstest.OpWrite:
		return &vfstest.ShortWrite{Bytes: s.rng.IntN(64), Err: fixture.ErrDisk}
	}
	return fixture.ErrDisk
}
