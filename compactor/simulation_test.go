package compactor

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/manifest"
	"lsmdb/sstable"
)

// world is a tree whose tables are lists of keys in memory. Jobs are picked and cut
// by the real code; everything any reader could see is known.
type world struct {
	t         *testing.T
	rng       *rand.Rand
	policy    Policy
	version   *manifest.Version
	tables    map[uint64][]base.InternalKey
	history   []base.InternalKey // everything ever written
	snapshots []base.Seq
	running   []flight
	setAside  map[uint64]error
	lastSeq   base.Seq
	number    uint64

	flushedBytes, writtenBytes int64
	jobs                       int
}

// flight is a job that was run and whose edit is yet to be applied.
type flight struct {
	job       *Job
	outputs   []*manifest.TableMeta
	doneBytes int64 // of reading and writing
}

func (f flight) through() bool {
	return f.job.Trivial || f.doneBytes >= f.job.InputBytes()+totalBytes(f.outputs)
}

const toyEntryBytes = 100

func newWorld(t *testing.T, seed uint64, memtableBytes int64) *world {
	return &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 7)), policy: NewPolicy(memtableBytes),
		version: &manifest.Version{}, tables: make(map[uint64][]base.InternalKey), setAside: make(map[uint64]error),
	}
}

// flush adds a table of level 0 with n new entries; next chooses their keys.
func (w *world) flush(n int, next func() string, deletes float64) {
	var entries []base.InternalKey
	for range n {
		w.lastSeq++
		kind := base.KindSet
		if w.rng.Float64() < deletes {
			kind = base.KindDelete
		}
		entries = append(entries, base.MakeInternalKey([]byte(next()), w.lastSeq, kind))
	}
	slices.SortFunc(entries, base.Compare)
	w.history = append(w.history, entries...)
	entries = w.keep(entries, nil)
	meta := w.newTable(entries)
	w.flushedBytes += meta.SizeBytes
	w.apply(&manifest.Edit{Added: []manifest.AddedTable{{Level: 0, Meta: meta}}})
}

func (w *world) newTable(entries []base.InternalKey) *manifest.TableMeta {
	w.number++
	w.tables[w.number] = entries
	m := &manifest.TableMeta{Number: w.number, Summary: sstable.Summary{
		SizeBytes:   int64(len(entries)) * toyEntryBytes,
		Smallest:    entries[0],
		Largest:     entries[len(entries)-1],
		SmallestSeq: base.MaxSeq,
		Entries:     uint64(len(entries)),
	}}
	for i, k := range entries {
		m.SmallestSeq, m.LargestSeq = min(m.SmallestSeq, k.Seq()), max(m.LargestSeq, k.Seq())
		if k.Kind() == base.KindDelete {
			m.Deletes++
		}
		if i > 0 && bytes.Equal(k.UserKey(), entries[i-1].UserKey()) {
			m.Shadowed++
		}
	}
	w.writtenBytes += m.SizeBytes
	return m
}

func (w *world) apply(e *manifest.Edit) {
	w.t.Helper()
	v, err := w.version.Apply(e)
	if err != nil {
		w.t.Fatal(err)
	}
	w.version = v
}

func (w *world) readers() output.Readers {
	return output.Readers{Snapshots: slices.Compact(slices.Clone(w.snapshots))}
}

func (w *world) situation() Situation {
	return Situation{Policy: w.policy, Version: w.version, Running: w.jobsRunning(), SetAside: w.setAside, Readers: w.readers()}
}

// keep returns what a Retention keeps of some entries.
func (w *world) keep(entries []base.InternalKey, elide func([]byte) bool) (kept []base.InternalKey) {
	w.t.Helper()
	retention := output.NewRetention(output.Scope{Readers: w.readers(), Elide: elide})
	write := func(key base.InternalKey, _ []byte) error {
		kept = append(kept, key.Clone())
		return nil
	}
	for _, k := range entries {
		if err := retention.Take(k, nil, write); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := retention.End(write); err != nil {
		w.t.Fatal(err)
	}
	return kept
}

func (w *world) jobsRunning() []*Job {
	var jobs []*Job
	for _, f := range w.running {
		jobs = append(jobs, f.job)
	}
	return jobs
}

// start picks a job and computes its outputs with the snapshots of now.
func (w *world) start() bool {
	job := Pick(w.situation())
	if job == nil {
		return false
	}
	w.launch(job)
	return true
}

func (w *world) launch(job *Job) {
	w.t.Helper()
	w.jobs++
	if job.Trivial {
		w.running = append(w.running, flight{job: job})
	} else {
		w.running = append(w.running, flight{job: job, outputs: w.merge(job)})
	}
	checkJobs(w.t, w.version, w.jobsRunning(), w.setAside)
}

// merge is Run without files: the same retention, depths and cutter.
func (w *world) merge(job *Job) []*manifest.TableMeta {
	var entries []base.InternalKey
	for _, in := range job.tables() {
		entries = append(entries, w.tables[in.Number]...)
	}
	slices.SortFunc(entries, base.Compare)
	read := len(entries)
	holdsNo := job.elision(w.version)
	entries = w.keep(entries, func(key []byte) bool { return holdsNo(key, key) })
	cutter := job.cutter()
	var outputs []*manifest.TableMeta
	var current []base.InternalKey
	for _, k := range entries {
		if n := len(current); n > 0 && !bytes.Equal(current[n-1].UserKey(), k.UserKey()) &&
			cutter(int64(n)*toyEntryBytes, k.UserKey()) {
			outputs, current = append(outputs, w.newTable(current)), nil
		}
		current = append(current, k)
	}
	if len(current) > 0 {
		outputs = append(outputs, w.newTable(current))
	}
	if job.Reason == ReasonGarbage && read == len(entries) {
		w.t.Fatalf("%s dropped nothing", job)
	}
	return outputs
}

// work gives running jobs, up to parallel ones, a number of bytes to read and write;
// those that are through land.
func (w *world) work(bytes int64, parallel int) {
	const slice = 4 << 10
	for ; bytes > 0; bytes -= slice {
		for len(w.running) < parallel && w.start() {
		}
		for i := range w.running {
			w.running[i].doneBytes += slice / int64(len(w.running))
		}
		if i := slices.IndexFunc(w.running, flight.through); i >= 0 {
			w.landThis(i)
		}
	}
}

// land applies the edit of a random running job.
func (w *world) land() {
	w.landThis(w.rng.IntN(len(w.running)))
}

func (w *world) landThis(i int) {
	f := w.running[i]
	w.running = slices.Delete(w.running, i, i+1)
	w.apply(f.job.Edit(f.outputs))
}

// check compares what every reader sees in the tree, newest place first, with the
// history, and that no table lists garbage that the sequence of levels forbids.
func (w *world) check() {
	w.t.Helper()
	for _, at := range append(slices.Clone(w.snapshots), base.MaxSeq) {
		want := make(map[string]base.InternalKey)
		for _, k := range w.history {
			if best, ok := want[string(k.UserKey())]; k.Seq() <= at && (!ok || best.Seq() < k.Seq()) {
				want[string(k.UserKey())] = k
			}
		}
		got := make(map[string]base.InternalKey)
		for _, tables := range w.version.Levels {
			for _, table := range tables {
				for _, k := range w.tables[table.Number] {
					if _, ok := got[string(k.UserKey())]; !ok && k.Seq() <= at {
						got[string(k.UserKey())] = k
					}
				}
			}
		}
		for key, k := range want {
			found, ok := got[key]
			if lost := !ok && k.Kind() == base.KindSet; lost || (ok && base.Compare(found, k) != 0) {
				w.t.Fatalf("reader at %d should see %s, sees %v", at, k, found)
			}
		}
		for key := range got {
			if _, ok := want[key]; !ok {
				w.t.Fatalf("reader at %d sees %s, which was never written", at, got[key])
			}
		}
	}
}

// settle runs jobs, up to parallel ones at a time, until there is nothing to do.
func (w *world) settle(parallel int) {
	w.t.Helper()
	for steps := 0; ; steps++ {
		if steps > 100_000 {
			w.t.Fatal("compaction does not come to an end")
		}
		if len(w.running) < parallel && w.start() {
			continue
		}
		if len(w.running) == 0 {
			return
		}
		w.land()
	}
}

// checkShape checks that a settled tree is within its targets.
func (w *world) checkShape() {
	w.t.Helper()
	if n := len(w.version.Levels[0]); n >= w.policy.L0Trigger {
		w.t.Fatalf("level 0 holds %d tables", n)
	}
	targets := w.policy.Targets(w.version)
	for level := 1; level < bottom; level++ {
		if size := totalBytes(w.version.Levels[level]); size > targets.Bytes[level] {
			w.t.Fatalf("level %d holds %d bytes, its target is %d", level, size, targets.Bytes[level])
		}
	}
}

// garbageLeft counts the entries that compaction could have dropped: those that
// lie below level 0 where nothing lies deeper.
func (w *world) garbageLeft() (entries uint64) {
	k := newPicker(Situation{Policy: w.policy, Version: w.version, Readers: w.readers()})
	for level := 1; level <= bottom; level++ {
		for _, table := range w.version.Levels[level] {
			if k.hasGarbage(table) && k.lowest(level, table) {
				entries += table.Deletes + table.Shadowed
			}
		}
	}
	return entries
}

// keys returns a chooser of random keys; the empty key and prefixes of each other
// are among them.
func (w *world) keys(space int) func() string {
	return func() string {
		n := w.rng.IntN(space)
		return fmt.Sprintf("%04d", n)[:min(4, n)]
	}
}

// TestSimulation lets everything happen in random order: flushes, parallel jobs of
// both kinds that end in any order, snapshots, tables set aside.
func TestSimulation(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { simulate(t, seed) })
	}
}

func simulate(t *testing.T, seed uint64) {
	w := newWorld(t, seed, 1<<10)
	w.policy.BaseBytes, w.policy.TableBytes, w.policy.TableLimitBytes = 4<<10, 800, 3200
	w.policy.Multiplier = 2 + int64(w.rng.IntN(4))
	next := w.keys(50 + w.rng.IntN(400))
	deletes := []float64{0, 0.2, 0.7}[w.rng.IntN(3)]
	var manual *Range
	for step := range 300 {
		switch w.rng.IntN(12) {
		case 0, 1, 2:
			if len(w.version.Levels[0]) < w.policy.L0Limit {
				w.flush(1+w.rng.IntN(30), next, deletes)
			}
		case 3, 4, 5:
			if len(w.running) < 4 {
				w.start()
			}
		case 6, 7:
			if len(w.running) > 0 {
				w.land()
			}
		case 8:
			w.changeSnapshots()
		case 9:
			if manual == nil {
				manual = w.randomRange(next)
			}
			if w.startRange(*manual) {
				manual = nil
			}
		case 10:
			w.changeSetAside()
		case 11:
			w.startIdle()
		}
		if step%10 == 0 {
			w.check()
		}
	}
	w.setAside = nil
	w.settle(3)
	w.check()
	w.checkShape()
	w.snapshots = nil
	w.settle(3)
	w.check()
	w.checkShape()
	if n := w.garbageLeft(); n > 0 {
		t.Errorf("%d entries of garbage are left", n)
	}
	w.rest()
	w.check()
	w.checkShape()
}

// startIdle picks a job that is worth it, if nothing is running.
func (w *world) startIdle() bool {
	if len(w.running) > 0 {
		return false
	}
	job := PickIdle(w.situation())
	if job != nil {
		w.launch(job)
	}
	return job != nil
}

// rest settles, and does what there is to do while nobody writes, until that is nothing.
func (w *world) rest() {
	w.t.Helper()
	w.settle(2)
	for steps := 0; w.startIdle(); steps++ {
		if steps > 10_000 {
			w.t.Fatal("idle work does not come to an end")
		}
		w.land()
		w.settle(2)
	}
}

func (w *world) changeSnapshots() {
	if len(w.snapshots) > 0 && w.rng.IntN(2) == 0 {
		i := w.rng.IntN(len(w.snapshots))
		w.snapshots = slices.Delete(slices.Clone(w.snapshots), i, i+1)
		return
	}
	w.snapshots = append(slices.Clone(w.snapshots), w.lastSeq)
}

// changeSetAside takes a random table that no job uses, or lets all go.
func (w *world) changeSetAside() {
	if w.rng.IntN(2) == 0 {
		clear(w.setAside)
		return
	}
	k := newPicker(w.situation())
	level := w.rng.IntN(manifest.NumLevels)
	if tables := w.version.Levels[level]; len(tables) > 0 {
		if table := tables[w.rng.IntN(len(tables))]; k.free(table) {
			w.setAside[table.Number] = base.ErrCorrupt
		}
	}
}

func (w *world) randomRange(next func() string) *Range {
	a, b := next(), next()
	r := &Range{Lower: []byte(min(a, b)), Upper: []byte(max(a, b)), Through: w.lastSeq}
	if w.rng.IntN(3) == 0 {
		r.Lower = nil
	}
	if w.rng.IntN(3) == 0 {
		r.Upper = nil
	}
	return r
}

// startRange takes a step of a manual compaction and reports whether it is done.
func (w *world) startRange(r Range) bool {
	job, done := PickRange(w.situation(), r)
	if job != nil {
		w.launch(job)
	}
	return done
}
