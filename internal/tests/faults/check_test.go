package faults

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing/synctest"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
)

// aMinute is more than any back-off, on the clock of the bubble.
const aMinute = time.Minute

// open opens the database and checks what it holds.
func (r *faultRun) open() {
	d, err := db.Open(fixture.Dir, r.machine.Options())
	if err != nil {
		r.expected("Open", err)
		r.unopen++
		return
	}
	r.d = d
	found, err := fixture.Scan(d)
	if err != nil {
		r.expected("a scan", err)
		if found, err = r.scanUnbroken(); err != nil {
			r.errorf("a scan after Open: %v", err)
			return
		}
	}
	// What was not synced before is durable only with the next sync.
	r.h.Commits, r.h.Now = r.reopened(r.certain(), d, found)
	r.maybe = nil
}

// scanUnbroken reads with the fault away for a moment.
func (r *faultRun) scanUnbroken() (fixture.View, error) {
	inject := r.machine.Inject.Swap(nil)
	defer r.machine.Inject.Store(inject)
	return fixture.Scan(r.d)
}

// certain is how many commits must be there without a power failure: all, unless the
// file system threw away what was not synced.
func (r *faultRun) certain() int {
	if r.fault != nil && r.fault.hasFired() {
		if _, lost := r.fault.err.(*vfstest.Lost); lost {
			return r.h.Durable
		}
	}
	return len(r.h.Commits)
}

// reopened checks what an open found, at least the first certain commits, and possibly the
// one that failed too. It returns how many commits it found and what they make.
func (r *faultRun) reopened(certain int, d *db.DB, found fixture.View) (commits []fixture.Commit, now fixture.State) {
	r.t.Helper()
	h := fixture.History{Start: maps.Clone(r.h.Start), StartAt: r.h.StartAt, Commits: slices.Clone(r.h.Commits)}
	h.Commits = append(h.Commits, r.maybe...)
	issued := h.Commits
	sequence := d.Metrics().Sequence
	now = maps.Clone(r.h.Start)
	if err := h.ReopenedAt(r.now(), certain, sequence, found); err != nil {
		r.errorf("after Open: %v", err)
	}
	n, at := 0, r.h.StartAt
	for ; n < len(issued) && at < sequence; n++ {
		now.Apply(issued[n])
		at += issued[n].Numbers()
	}
	return issued[:n], now
}

// read checks that everything can be read, but for what the fault hits.
func (r *faultRun) read() {
	found, err := fixture.Scan(r.d)
	if err != nil {
		r.expected("a scan", err)
	} else if err := fixture.Differ(r.h.Now.At(r.now()), found); err != nil {
		r.errorf("a scan shows something else: %v", err)
	}
	keys := r.h.Now.Keys(r.now())
	for i := r.written % 5; i < len(keys); i += 5 {
		key := keys[i]
		value, _ := r.h.Now.Get(key, r.now())
		got, err := r.d.Get([]byte(key))
		switch {
		case errors.Is(err, db.ErrNotFound):
			r.errorf("%s is not found", fixture.Short(key))
		case err != nil:
			r.expected("Get", err)
		case string(got) != value:
			r.errorf("%s has value %s, want %s", fixture.Short(key), fixture.Short(string(got)), fixture.Short(value))
		}
	}
}

// close closes the database, after which nothing of it may be open. Goroutines that
// are left the bubble notices.
func (r *faultRun) close() {
	r.stopped = r.stopped || r.d.Metrics().Failure != ""
	r.expected("Close", r.d.Close())
	if n := r.machine.OpenFiles(); n != 0 {
		r.errorf("%d files are open after Close", n)
	}
	r.d = nil
}

// finish mends the machine and checks what is left of the database, in this process and
// after a power failure.
func (r *faultRun) finish() {
	if r.d != nil {
		r.read()
	}
	r.machine.Fail(nil)
	synctest.Wait() // a stage may be at the fault just now
	r.machine.Disk.SetLimit(0)
	if r.d == nil {
		r.open()
	}
	if r.d == nil {
		r.errorf("does not open on a machine that was mended")
		return
	}
	r.read()
	r.goOn()
	r.losePower(nil)
	r.losePower(rand.New(rand.NewPCG(uint64(r.written), uint64(len(r.what)))))
	r.close()
	r.open()
	if r.d == nil {
		return
	}
	r.write(fixture.Commit{{Key: "last", Value: "word"}}, db.Sync)
	if r.h.Now["last"].Value != "word" {
		r.errorf("cannot be written to after a new open")
	}
	r.losePower(nil)
	r.close()
	r.verify(r.machine.Disk)
}

// goOn writes on a machine that was mended. A full disk leaves nothing behind; other
// faults may have stopped the database, for which a new open is the cure.
func (r *faultRun) goOn() {
	acknowledged := len(r.h.Commits)
	r.write(fixture.Commit{{Key: "healed", Value: "yes"}}, db.Sync)
	took := len(r.h.Commits) > acknowledged
	failure := r.d.Metrics().Failure
	if took == (failure != "") {
		r.errorf("the write after the fault was taken: %v, and Failure is %q", took, failure)
	}
	if !took && (r.fault == nil || !r.fault.mayStop()) {
		r.errorf("what passes by itself stopped the database for good: %s", failure)
	}
	r.read()
}

// losePower opens what a power failure would leave now.
func (r *faultRun) losePower(rng *rand.Rand) {
	disk := r.machine.Disk.CrashClone(rng)
	d, err := db.Open(fixture.Dir, fixture.On(disk, r.speaking(db.Options{MemtableBytes: 1})))
	if err != nil {
		r.errorf("open after a power failure: %v", err)
		return
	}
	found, err := fixture.Scan(d)
	if err != nil {
		r.errorf("scan after a power failure: %v", err)
	}
	r.reopened(r.h.Durable, d, found)
	if err := d.Close(); err != nil {
		r.errorf("Close after a power failure: %v", err)
	}
	r.verify(disk)
}

func (r *faultRun) verify(disk vfs.FS) {
	report, err := fixture.VerifyOn(disk, fixture.Dir)
	if err != nil || !report.OK() {
		r.errorf("Verify: %v", fmt.Sprint(report, err))
	}
}
