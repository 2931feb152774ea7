// Package corruption damages databases in every place and sees that nothing damaged
// passes for data. It consists of tests.
package corruption

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// corruptBits sizes TestCorruptionSweep. The figures in docs/reliability.md were taken with
//
//	go test ./internal/tests/corruption -run TestCorruptionSweep -v -corruption.bits 8 -timeout 60m
var corruptBits = flag.Int("corruption.bits", 1, "TestCorruptionSweep turns so many bits of each byte over; 8: all, also of a log's unused space")

// victim is a small database that is to be damaged.
type victim struct {
	fixture.Files
	killed   bool
	views    map[uint64]fixture.State // after each commit, by sequence number
	sequence uint64
	history  []numbered // all that was written, in order
	stale    []fixture.Files
	absent   []string // keys that were deleted, or never there
	proven   [2]int64 // where in lastLog the last synced group begins and ends; a mark follows it
}

// victimNow is when victims are looked at: some values have come to their end.
var victimNow = fixture.Epoch.Add(10 * time.Second).UnixNano()

// opening are the options with which they are.
func opening(o db.Options) db.Options {
	clock := fixture.NewClock()
	clock.Set(victimNow)
	return fixture.Speaking(o, clock)
}

// vocabulary writes what is neither a put nor a delete.
func (v *victim) vocabulary(t *testing.T, d *db.DB, durable db.Durability) {
	soon, late := fixture.Epoch.Add(5*time.Second).UnixNano(), fixture.Epoch.Add(time.Hour).UnixNano()
	v.apply(t, d, durable, fixture.Operation{Key: "key07", Value: "key08\x00", Range: true})
	v.apply(t, d, durable, fixture.Operation{Key: "key10", Value: "an operand", Merge: true}, fixture.Operation{Key: "key41", Value: "onto nothing", Merge: true},
		fixture.Operation{Key: "key13", Value: "ends", Until: soon}, fixture.Operation{Key: "key42", Value: "stays for long", Until: late})
	v.apply(t, d, durable, fixture.Operation{Key: "key10", Value: "another", Merge: true}, fixture.Operation{Key: "key13", Value: "behind the end", Merge: true},
		fixture.Operation{Key: "key43", Value: "ends", Until: soon}, fixture.Operation{Key: "key44", Value: strings.Repeat("large", 1000)})
}

// load adds a table that was loaded.
func (v *victim) load(t *testing.T, d *db.DB) {
	c := fixture.Commit{{Key: "key45", Value: "loaded"}, {Key: "key46", Value: "loaded, too"}}.Sorted()
	fixture.Must(t, c.Load(t.Context(), d))
	v.note(d, c)
}

func (v *victim) want() fixture.View { return v.views[v.sequence].At(victimNow) }

// apply commits to the database and notes what that makes.
func (v *victim) apply(t *testing.T, d *db.DB, durable db.Durability, c ...fixture.Operation) {
	t.Helper()
	fixture.Must(t, d.Apply(t.Context(), fixture.Commit(c).Batch(d), durable))
	v.note(d, c)
}

// numbered is an operation and its sequence number.
type numbered struct {
	seq uint64
	fixture.Operation
}

// note notes what is there after a commit.
func (v *victim) note(d *db.DB, c fixture.Commit) {
	next := maps.Clone(v.views[v.sequence])
	next.Apply(c)
	for i, o := range c {
		v.history = append(v.history, numbered{v.sequence + 1 + min(uint64(i), c.Numbers()-1), o})
	}
	v.sequence = d.Metrics().Sequence
	v.views[v.sequence] = next
}

// newVictim makes a database with two levels of tables, a MANIFEST with edits, and
// a log with something in it, of three segments where the process was killed.
func newVictim(t *testing.T, killed bool) *victim {
	t.Helper()
	v := &victim{killed: killed, views: map[uint64]fixture.State{0: {}}, absent: []string{"key05", "key15", "none", "", "key43"}}
	m := fixture.NewMachine(vfstest.NewDisk())
	m.Clock = fixture.NewClock()
	d := m.OpenDB(t)
	keep := func() { v.stale = append(v.stale, fixture.FilesOf(t, m.Disk, fixture.Dir)) }
	rng := rand.NewChaCha8([32]byte{})
	put := func(i, length int) fixture.Operation {
		value := make([]byte, length) // that does not compress
		rng.Read(value)
		return fixture.Operation{Key: fmt.Sprintf("key%02d", i), Value: string(value)}
	}
	for i := range 30 {
		v.apply(t, d, db.NoSync, put(i, 200+i*10))
	}
	keep()
	fixture.Must(t, d.Compact(t.Context(), nil, nil))
	keep()
	for i := range 10 {
		v.apply(t, d, db.NoSync, put(i*3, 250), fixture.Operation{Key: fmt.Sprintf("key%02d", 5+i%2*10), Delete: true})
	}
	v.vocabulary(t, d, db.NoSync)
	fixture.Must(t, d.Flush(t.Context()))
	v.load(t, d)
	keep()
	for i := range 3 {
		v.apply(t, d, db.NoSync, put(i, 500))
		fixture.Must(t, d.Flush(t.Context()))
		keep()
	}
	if killed {
		m.Failing(vfstest.OpCreate, ".sst", syscall.ENOSPC)
		v.apply(t, d, db.Sync, put(39, 1000), put(38, 1000))
		keep()
		v.apply(t, d, db.Sync, put(39, 33<<10)) // a record of several chunks, and a segment of its own
	}
	v.vocabulary(t, d, db.Sync)
	for i := range 6 {
		v.apply(t, d, db.Sync, put(20+i, 20), fixture.Operation{Key: "key15", Delete: true})
		keep()
	}
	if killed {
		m.LeaveMark(t)
		m.Kill(d)
		v.findProven(t, m.Disk)
	} else {
		fixture.Must(t, d.Close())
	}
	v.Files = fixture.FilesOf(t, m.Disk, fixture.Dir)
	t.Logf("%d files: %s", len(v.Files), v.sizes())
	return v
}

func (v *victim) sizes() string {
	var text []string
	for _, name := range slices.Sorted(maps.Keys(v.Files)) {
		text = append(text, fmt.Sprintf("%s %d", name, len(v.Files[name])))
	}
	return strings.Join(text, ", ")
}

// findProven finds the last synced group. LeaveMark has seen the mark behind it.
func (v *victim) findProven(t *testing.T, disk *vfstest.Disk) {
	t.Helper()
	logs := fixture.FilesOf(t, disk, fixture.Dir).Named(".wal")
	records, offsets := fixture.Records(t, disk, logs[len(logs)-1])
	n := len(records) - 2
	for i, count := range map[int]uint32{n: 2, n + 1: 0} {
		if header, _, err := base.DecodeGroup(records[i]); err != nil || header.Count != count {
			t.Fatalf("record %d of %d has %d operations (%v), want %d", i, len(records), header.Count, err, count)
		}
	}
	v.proven = [2]int64{offsets[n], offsets[n+1]}
}

// provenBit reports whether a mutant has one bit of the last synced group turned over.
func (v *victim) provenBit(m mutant) bool {
	return v.killed && m.kind == "bit" && m.file == v.lastLog() && int64(m.at) >= v.proven[0] && int64(m.at) < v.proven[1]
}

// lastLog is the segment whose end may look torn after a kill.
func (v *victim) lastLog() string {
	logs := v.Named(".wal")
	return logs[len(logs)-1]
}

// mutant is a victim with damage: a change of one of its files, or others in their place.
type mutant struct {
	kind string // what was done
	file string // to which file; empty: to several
	what string // exactly where
	at   int    // of a bit: in which byte
	idle bool   // in the space behind the end of a log, which nobody reads again: one scan is enough
	make func(fixture.Files) fixture.Files
}

// TestCorruptionSweep damages a small database in every place. It must notice with the
// name of a file, or show what was written to it; never less or something else. The one
// exception is documented in docs/operations.md: the end of the log of a killed process.
func TestCorruptionSweep(t *testing.T) {
	for what, killed := range map[string]bool{"closed": false, "killed": true} {
		t.Run(what, func(t *testing.T) {
			v := newVictim(t, killed)
			for part, send := range map[string]func(chan<- mutant){
				"bits": v.bitFlips, "cuts": v.truncations, "blocks": v.blocks, "files": v.wholeFiles,
			} {
				t.Run(part, func(t *testing.T) {
					s := &corruptionSweep{t: t, victim: v, figures: make(map[string]map[verdict]int)}
					mutants := make(chan mutant, 100)
					var workers sync.WaitGroup
					for range runtime.GOMAXPROCS(0) {
						workers.Go(func() { s.work(mutants) })
					}
					send(mutants)
					close(mutants)
					workers.Wait()
					s.report()
				})
			}
		})
	}
}

// corruptionSweep counts what became of the mutants of one victim.
type corruptionSweep struct {
	t      *testing.T
	victim *victim
	alone  sync.RWMutex // held by who judges: shared, or alone where it is counted what that allocates

	mu        sync.Mutex // workers report
	figures   map[string]map[verdict]int
	complains int
	proven    int    // that hit the last synced group of a killed process
	worst     uint64 // bytes allocated for one mutant
}

// work judges mutants on a copy of the victim's files that is this worker's alone.
func (s *corruptionSweep) work(mutants <-chan mutant) {
	own := fixture.Files{}
	for name, data := range s.victim.Files {
		own[name] = slices.Clone(data)
	}
	done, skip := 0, false
	for m := range mutants {
		if skip = base.Invariants && m.kind != "bit" && !skip; skip { // the race detector makes it slow
			continue
		}
		damaged := m.make(own)
		s.alone.RLock()
		j := s.victim.judge(m, damaged)
		s.alone.RUnlock()
		if j.allocated > mostAllocated { // what the other workers allocated meanwhile is counted as well
			s.alone.Lock()
			j = s.victim.judge(m, damaged)
			s.alone.Unlock()
		}
		if m.kind == "bit" {
			m.make(own) // turns it back
		} else if done++; done%500 == 0 && j.bad() == "" {
			j.problem = judgeWriting(s.t, s.victim, damaged, j.verdict)
		}
		s.count(m, j)
	}
}

func (s *corruptionSweep) count(m mutant, j judgement) {
	s.mu.Lock()
	defer s.mu.Unlock()
	row := m.kind + " of " + kindOfFile(m.file)
	if s.figures[row] == nil {
		s.figures[row] = make(map[verdict]int)
	}
	s.figures[row][j.verdict]++
	s.worst = max(s.worst, j.allocated)
	if s.victim.provenBit(m) {
		if s.proven++; j.verdict != atOpen {
			j.problem += " The last group was synced, and a mark proves it."
		}
	}
	if problem := j.bad(); problem != "" {
		if s.complains++; s.complains <= 20 {
			s.t.Errorf("%s %s %s: %s: %s", m.kind, m.file, m.what, j.verdict, problem)
		}
	}
}

func kindOfFile(name string) string {
	switch t, _ := base.ParseFileName(name); t {
	case base.FileCurrent:
		return "CURRENT"
	case base.FileManifest:
		return "MANIFEST"
	case base.FileTable:
		return "table"
	case base.FileWAL:
		return "WAL"
	}
	return "files"
}

func (s *corruptionSweep) report() {
	total := 0
	for _, row := range slices.Sorted(maps.Keys(s.figures)) {
		sum := 0
		for _, n := range s.figures[row] {
			sum += n
		}
		total += sum
		s.t.Logf("%-22s %7d mutants %v", row, sum, s.figures[row])
	}
	if s.victim.killed && s.figures["bit of WAL"] != nil {
		s.t.Logf("%d bits of the last synced group, each noticed at open", s.proven)
		if least := int(s.victim.proven[1] - s.victim.proven[0]); s.proven < least {
			s.t.Errorf("%d mutants of the %d bytes of the last synced group", s.proven, least)
		}
	}
	s.t.Logf("%d mutants, %d problems, at most %d KiB allocated for one", total, s.complains, s.worst>>10)
}

// names are the files that get damaged.
func (v *victim) names() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(v.Files)), func(name string) bool { return name == base.LockName })
}

// places lists offsets of a file: all of them, or by default some in the middle of a long one
// and in the space behind its end.
func (v *victim) places(name string) []int {
	data, used := v.Files[name], v.used(name)
	var list []int
	for i := range data {
		if i < 128 || i >= used-512 && i < used+64 || i < used && i%31 == 0 || i%509 == 0 || *corruptBits >= 8 {
			list = append(list, i)
		}
	}
	return list
}

// used is where the zeros begin that a file ends with.
func (v *victim) used(name string) int { return len(bytes.TrimRight(v.Files[name], "\x00")) }

func (v *victim) bitFlips(mutants chan<- mutant) {
	for _, name := range v.names() {
		for _, i := range v.places(name) {
			for b := range *corruptBits {
				bit := byte(1) << ((i + b) % 8)
				mutants <- mutant{kind: "bit", file: name, at: i, what: fmt.Sprintf("%#02x of byte %d", bit, i), idle: i > v.used(name)+64,
					make: func(f fixture.Files) fixture.Files {
						f[name][i] ^= bit
						return f
					}}
			}
		}
	}
}

func (v *victim) truncations(mutants chan<- mutant) {
	for _, name := range v.names() {
		for _, n := range v.places(name) {
			mutants <- mutant{kind: "cut", file: name, what: fmt.Sprintf("to %d bytes", n), idle: n > v.used(name)+64,
				make: func(f fixture.Files) fixture.Files { return f.With(name, f[name][:n:n]) }}
		}
	}
}

// judgeWriting does to a disk with a mutant what judge did without changing anything.
func judgeWriting(t *testing.T, v *victim, damaged fixture.Files, reading verdict) (problem string) {
	disk := damaged.Disk(t)
	d, err := db.Open(fixture.Dir, fixture.On(disk, opening(db.Options{MemtableBytes: 1})))
	if err != nil {
		if reading != atOpen && reading != atMissing {
			return fmt.Sprintf("opens read-only, but not for writing: %v", err)
		}
		return ""
	}
	defer d.Close()
	switch {
	case reading == atOpen || reading == atMissing:
		return "opens for writing, but not read-only"
	case reading != harmless:
		return ""
	}
	if err := errors.Join(fixture.TakeOver(d), d.Close()); err != nil {
		return err.Error()
	}
	d, err = db.Open(fixture.Dir, fixture.On(disk, opening(db.Options{MemtableBytes: 1})))
	if err != nil {
		return err.Error()
	}
	defer d.Close()
	found, err := fixture.Scan(d)
	return fmtError(errors.Join(err, fixture.Differ(v.want(), found)))
}

func fmtError(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// damagedFile is the file that an error names.
func damagedFile(err error) string {
	if damage, ok := errors.AsType[*db.CorruptionError](err); ok {
		return filepath.Base(damage.File)
	}
	return ""
}
