package db

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
)

// aMinute is more than any back-off, on the clock of the bubble.
const aMinute = time.Minute

// open opens the database and checks what it holds.
func (r *faultRun) open() {
	d, err := Open(at, r.machine.options())
	if err != nil {
		r.expected("Open", err)
		r.unopen++
		return
	}
	r.d = d
	found, err := scan(d)
	if err != nil {
		r.expected("a scan", err)
		if found, err = r.scanUnbroken(); err != nil {
			r.errorf("a scan after Open: %v", err)
			return
		}
	}
	// What was not synced before is durable only with the next sync.
	r.h.commits, r.h.now = r.reopened(r.certain(), d, found)
	r.maybe = nil
}

// scanUnbroken reads with the fault away for a moment.
func (r *faultRun) scanUnbroken() (view, error) {
	inject := r.machine.inject.Swap(nil)
	defer r.machine.inject.Store(inject)
	return scan(r.d)
}

// certain is how many commits must be there without a power failure: all, unless the
// file system threw away what was not synced.
func (r *faultRun) certain() int {
	if r.fault != nil && r.fault.hasFired() {
		if _, lost := r.fault.err.(*vfstest.Lost); lost {
			return r.h.durable
		}
	}
	return len(r.h.commits)
}

// reopened checks what an open found, at least the first certain commits, and possibly the
// one that failed too. It returns how many commits it found and what they make.
func (r *faultRun) reopened(certain int, d *DB, found view) (commits []commit, now view) {
	r.t.Helper()
	h := history{start: maps.Clone(r.h.start), startAt: r.h.startAt, commits: slices.Clone(r.h.commits)}
	if r.maybe != nil {
		h.commits = append(h.commits, r.maybe)
	}
	issued := h.commits
	sequence := d.Metrics().Sequence
	if err := h.reopened(certain, sequence, found); err != nil {
		r.errorf("after Open: %v", err)
	}
	n, at := 0, r.h.startAt
	for ; n < len(issued) && at < sequence; n++ {
		at += uint64(len(issued[n]))
	}
	return issued[:n], found
}

// scan reads everything.
func scan(d *DB) (view, error) {
	it, err := d.NewIterator(nil)
	if err != nil {
		return nil, err
	}
	v := view{}
	for key, value := range it.All() {
		v[string(key)] = string(value)
	}
	return v, errors.Join(it.Err(), it.Close())
}

// read checks that everything can be read, but for what the fault hits.
func (r *faultRun) read() {
	found, err := scan(r.d)
	if err != nil {
		r.expected("a scan", err)
	} else if err := differ(r.h.now, found); err != nil {
		r.errorf("a scan shows something else: %v", err)
	}
	keys := slices.Sorted(maps.Keys(r.h.now))
	for i := r.written % 5; i < len(keys); i += 5 {
		key, value := keys[i], r.h.now[keys[i]]
		got, err := r.d.Get([]byte(key))
		switch {
		case errors.Is(err, ErrNotFound):
			r.errorf("%s is not found", short(key))
		case err != nil:
			r.expected("Get", err)
		case string(got) != value:
			r.errorf("%s has value %s, want %s", short(key), short(string(got)), short(value))
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
	r.machine.fail(nil)
	r.machine.disk.SetLimit(0)
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
	r.write(commit{{key: "last", value: "word"}}, Sync)
	if r.h.now["last"] != "word" {
		r.errorf("cannot be written to after a new open")
	}
	r.losePower(nil)
	r.close()
	r.verify(r.machine.disk)
}

// goOn writes on a machine that was mended. A full disk leaves nothing behind; other
// faults may have stopped the database, for which a new open is the cure.
func (r *faultRun) goOn() {
	acknowledged := len(r.h.commits)
	r.write(commit{{key: "healed", value: "yes"}}, Sync)
	took := len(r.h.commits) > acknowledged
	failure := r.d.Metrics().Failure
	if took == (failure != "") {
		r.errorf("the write after the fault was taken: %v, and Failure is %q", took, failure)
	}
	if !took && (r.fault == nil || r.fault.full) {
		r.errorf("a full disk stopped the database for good: %s", failure)
	}
	r.read()
}

// losePower opens what a power failure would leave now.
func (r *faultRun) losePower(rng *rand.Rand) {
	disk := r.machine.disk.CrashClone(rng)
	d, err := Open(at, &Options{MemtableBytes: 1, fs: disk})
	if err != nil {
		r.errorf("open after a power failure: %v", err)
		return
	}
	found, err := scan(d)
	if err != nil {
		r.errorf("scan after a power failure: %v", err)
	}
	r.reopened(r.h.durable, d, found)
	if err := d.Close(); err != nil {
		r.errorf("Close after a power failure: %v", err)
	}
	r.verify(disk)
}

func (r *faultRun) verify(disk vfs.FS) {
	report, err := verify(r.t.Context(), disk, at, nil)
	if err != nil || !report.OK() {
		r.errorf("Verify: %v", fmt.Sprint(report, err))
	}
}
