package db

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"lsmdb/internal/vfstest"
)

// recording is a history that the engine went through on a disk that was recorded.
type recording struct {
	name    string
	options Options
	trace   *vfstest.Trace
	views   []view         // after each batch; the first one is empty
	ends    map[uint64]int // batches by the sequence number that they end with
	last    uint64         // sequence number of the last one
	keys    map[string]bool
}

// Marks in the trace. Their value counts batches.
const (
	markIssued = "issued" // so many may be there from now on
	markSynced = "synced" // so many must be there from now on
)

// batchEnds adds a batch to the model and returns its number.
func (r *recording) add(c commit) {
	v := maps.Clone(r.views[len(r.views)-1])
	v.apply(c)
	r.views = append(r.views, v)
	r.last += uint64(len(c))
	r.ends[r.last] = len(r.views) - 1
	for _, o := range c {
		r.keys[o.key] = true
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
	rounds     int
	run        func(s *scribe)
}

// scribe lets a history happen and writes down what must come of it.
type scribe struct {
	*recording
	t       testing.TB
	kind    sweepKind
	rng     *rand.Rand
	disk    *vfstest.Disk
	machine *machine
	db      *DB
	written int
}

// record goes through a history once.
func (k sweepKind) record(t testing.TB, seed uint64) *recording {
	t.Helper()
	s := &scribe{
		t: t, kind: k, rng: rand.New(rand.NewPCG(seed, uint64(len(k.name)))), disk: vfstest.NewDisk(),
		recording: &recording{name: fmt.Sprintf("%s/%d", k.name, seed), views: []view{{}}, ends: map[uint64]int{0: 0}, keys: map[string]bool{"none": true}},
	}
	s.options = Options{MemtableBytes: 16 << 10, CacheBytes: -1, Compression: Compression(seed % 2), FilterBitsPerKey: []int{-1, 4}[seed/2%2]}
	windows := ""
	if k.windows {
		windows = t.TempDir()
	}
	s.trace = s.disk.Record(windows)
	k.run(s)
	if s.db != nil {
		must(t, s.db.Close())
	}
	s.trace.Stop()
	return s.recording
}

func (s *scribe) open() {
	s.machine = newMachine(s.disk)
	options := s.options
	options.fs = s.machine
	if s.kind.windows {
		options.fs = s.disk
	}
	var err error
	s.db, err = Open(at, &options)
	must(s.t, err)
	if got := s.db.Metrics().Sequence; got != s.last {
		s.t.Fatalf("%s: sequence %d after an open, want %d", s.name, got, s.last)
	}
}

// synced notes that all that was issued is durable from now on.
func (s *scribe) synced(err error) {
	must(s.t, err)
	s.disk.Mark(markSynced, len(s.views)-1)
}

func (s *scribe) close() {
	s.synced(s.db.Close())
	s.db = nil
}

// kill ends the process and starts the next.
func (s *scribe) kill() {
	s.machine.kill(s.db)
	s.open()
}

// killIn kills a process at an operation of its Open, or of what the first sync needs.
func (s *scribe) killIn(operation int) {
	i, d, err := openUntil(s.disk, operation, false, nil)
	if err == nil {
		i.machine.kill(d)
	}
}

func (s *scribe) key() string {
	n := s.rng.IntN(s.kind.keys)
	key := fmt.Sprintf("key%03d", n)
	if s.kind.keyBytes > 0 && n%3 == 0 {
		key += string(bytes.Repeat([]byte{byte('a' + n%26)}, s.kind.keyBytes))
	}
	return key
}

func (s *scribe) operation() operation {
	s.written++
	if s.rng.IntN(6) == 0 {
		return operation{key: s.key(), delete: true}
	}
	value := fmt.Appendf(nil, "%d:", s.written)
	for n := s.rng.IntN(s.kind.valueBytes + 1); len(value) < n; {
		value = append(value, byte(s.rng.Uint32())) // does not compress
	}
	return operation{key: s.key(), value: string(value)}
}

func (s *scribe) durability() Durability {
	if s.rng.IntN(100) < s.kind.noSync {
		return NoSync
	}
	return Sync
}

// write issues a batch of so many operations and waits for it.
func (s *scribe) write(operations int, durability Durability) {
	b, c := s.batch(operations)
	err := s.db.Apply(s.t.Context(), b, durability)
	s.acknowledged(err, len(c), durability)
}

func (s *scribe) acknowledged(err error, _ int, durability Durability) {
	must(s.t, err)
	if durability == Sync {
		s.synced(nil)
	}
}

// batch makes a batch and notes that it is issued.
func (s *scribe) batch(operations int) (*Batch, commit) {
	b := s.db.NewBatch()
	var c commit
	for range operations {
		o := s.operation()
		c = append(c, o)
		if o.delete {
			must(s.t, b.Delete([]byte(o.key)))
		} else {
			must(s.t, b.Put([]byte(o.key), []byte(o.value)))
		}
	}
	s.add(c)
	s.disk.Mark(markIssued, len(s.views)-1)
	return b, c
}

// submit issues some batches without waiting in between, so that they form groups.
func (s *scribe) submit(batches int) {
	var pending []*Pending
	synced := false
	for range batches {
		b, _ := s.batch(1 + s.rng.IntN(3))
		d := s.durability()
		p, err := s.db.Submit(s.t.Context(), b, d)
		must(s.t, err)
		pending, synced = append(pending, p), d == Sync
	}
	for _, p := range pending {
		must(s.t, p.Wait(s.t.Context()))
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

// sweepKinds are the histories of the sweep. Together they come to every sync of the
// engine, which TestEverySyncIsNecessary checks.
var sweepKinds = []sweepKind{
	{name: "short life", keys: 12, valueBytes: 300, noSync: 40, run: func(s *scribe) {
		s.open()
		s.some(8)
		s.flush()
		s.some(6)
		s.close()
		s.open()
		s.some(3)
		s.kill()
		s.some(3)
		s.close()
		s.open() // only to read
		s.close()
		s.open()
		s.some(2)
		s.compact()
		s.some(2)
	}},
	{name: "rotation", keys: 20, valueBytes: 3000, noSync: 50, run: func(s *scribe) {
		s.open()
		s.some(30)
		s.kill()
		s.some(12)
	}},
	{name: "rare syncs", keys: 20, valueBytes: 900, noSync: 97, run: func(s *scribe) {
		s.open()
		s.some(25)
		s.kill()
		s.some(25)
		s.close()
	}},
	{name: "compaction", keys: 10, valueBytes: 400, noSync: 70, run: func(s *scribe) {
		s.open()
		for range 4 {
			s.some(6)
			s.flush()
		}
		s.compact()
		s.some(4)
		s.compact()
		s.kill()
		s.some(3)
		s.compact()
	}},
	{name: "many tables", keys: 14, valueBytes: 200, noSync: 90, run: func(s *scribe) {
		s.open()
		for range 10 {
			s.some(2)
			s.flush()
		}
		s.some(2)
		s.kill()
		s.some(2)
	}},
	{name: "long keys", keys: 9, keyBytes: 9000, valueBytes: 100, noSync: 30, run: func(s *scribe) {
		s.open()
		for range 9 {
			s.some(2)
			s.flush()
		}
		s.some(2)
		s.close()
		s.open()
		s.some(2)
	}},
	{name: "large batches", keys: 30, valueBytes: 5000, noSync: 50, run: func(s *scribe) {
		s.open()
		for range 5 {
			s.write(3+s.rng.IntN(20), s.durability())
		}
		s.kill()
		s.write(10, NoSync)
		s.write(1, Sync)
	}},
	{name: "windows", windows: true, keys: 20, valueBytes: 700, noSync: 100, run: func(s *scribe) {
		s.open()
		for range 30 {
			s.write(1, NoSync)
		}
		s.write(1, Sync)
		for range 24 {
			s.write(1+s.rng.IntN(2), NoSync)
		}
		s.flush()
		for range 20 {
			s.write(1, NoSync)
		}
		s.close()
		s.open()
		s.write(2, NoSync)
	}},
	{name: "killed creation", keys: 5, valueBytes: 100, noSync: 50, run: func(s *scribe) {
		s.killIn(3 + s.rng.IntN(12))
		s.killIn(3 + s.rng.IntN(20))
		s.open()
		s.some(3)
		s.close()
	}},
	{name: "killed recovery", keys: 9, valueBytes: 2000, noSync: 60, run: func(s *scribe) {
		s.open()
		s.some(12)
		s.machine.kill(s.db)
		for range 3 {
			s.killIn(20 + s.rng.IntN(30))
		}
		s.open()
		s.some(4)
	}},
}
